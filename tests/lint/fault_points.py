#!/usr/bin/env python3
"""fault_points.py [BUILD] -- every fault point is listed once and placed once, and no release has one.

relay/base/fault_point.h lists them; the compiler refuses a name that is not there, this test one that
is placed nowhere (tests/system/test_kill.py, one that is never come to). What goes out is configured
here, as a packager's and as the RPM's build would be, and asked what it would compile.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLE = ROOT / "relay/base/fault_point.h"
# Builds that go out, by what is said to meson; the RPM's is in its spec file.
RELEASES = {"release": ["-Dbuildtype=release"]}


def listed():
    return re.findall(r"^\s+X\((\w+), (\w+), \"(.+?)\"\)", TABLE.read_text(encoding="utf-8"), re.M)


def placed():
    places = {}
    for top in ("relay", "proto", "config", "spool", "adapters"):
        for path in sorted((ROOT / top).rglob("*.c")):
            for name in re.findall(r"^\s+FAULT_POINT\((\w+)\);$", path.read_text(encoding="utf-8"), re.M):
                places.setdefault(name, []).append(path.relative_to(ROOT).as_posix())
    return places


def rpm_options():
    spec = (ROOT / "packaging/rpm/zonerelay.spec").read_text(encoding="utf-8")
    setup = re.search(r"^meson setup build((?:.*\\\n)*.*)$", spec, re.M)[1]
    return [option for option in re.findall(r"-D\S+", setup) if "systemd" not in option]


def check_table():
    places = placed()
    names = [name for name, _, _ in listed()]
    for name in names:
        if len(places.get(name, [])) != 1:
            yield f"{name} is placed {len(places.get(name, []))} times: {', '.join(places.get(name, []))}"
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{name} is listed twice"


def check_release(what, options):
    with tempfile.TemporaryDirectory(prefix="zonerelay-lint-") as folder:
        setup = subprocess.run(["meson", "setup", folder, str(ROOT), *options], capture_output=True, text=True, check=False)
        if setup.returncode != 0:
            yield f"a {what} build cannot be configured:\n{setup.stdout[-2000:]}"
            return
        commands = (pathlib.Path(folder) / "compile_commands.json").read_text(encoding="utf-8")
    for trace in ("ZR_FAULT_POINTS", "fault_point.c"):
        if trace in commands:
            yield f"a {what} build compiles {trace}"


def main():
    problems = list(check_table())
    for what, options in {**RELEASES, "package": rpm_options()}.items():
        problems += check_release(what, options)
    for problem in problems:
        print(problem)
    print(f"fault points: {len(listed())}, {len(problems)} problems")
    return 1 if problems or not listed() else 0


if __name__ == "__main__":
    sys.exit(main())
