#!/usr/bin/env python3
"""mutants.py BUILD -- the deliberate faults of tests/mutants still fit the tree.

Each finds the text that it replaces, names tests that there are, and breaks a promise; every promise has one at least.
What the faults are for, ./dev test --mutants shows; it takes much longer.
"""
import collections
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/mutants"))
import mutant  # noqa: E402

PROMISES = {f"P{number}" for number in range(1, 11)}


def meson_tests(build):
    run = subprocess.run(["meson", "introspect", "--tests", build], capture_output=True, check=True)
    return {test["name"] for test in json.loads(run.stdout)}


def is_there(test, known):
    if not mutant.is_system_test(test):
        return test in known
    file, _, function = test.partition("::")
    path = ROOT / "tests/system" / file
    function = function.partition("[")[0]
    return path.exists() and re.search(rf"^def {function or 'test_'}", path.read_text(encoding="utf-8"), re.M)


def problems(mutants, known):
    names = collections.Counter(one.name for one in mutants)
    for one in mutants:
        try:
            if one.apply((ROOT / one.file).read_text(encoding="utf-8")) == (ROOT / one.file).read_text(encoding="utf-8"):
                yield f"{one.name}: changes nothing"
        except (OSError, mutant.Stale) as error:
            yield str(error)
        if names[one.name] > 1:
            yield f"{one.name}: the name of two"
        if one.promise not in PROMISES:
            yield f"{one.name}: {one.promise} is no promise"
        if not one.tests:
            yield f"{one.name}: no test is to kill it"
        for test in one.tests:
            if not is_there(test, known):
                yield f"{one.name}: there is no test {test}"
    for promise in sorted(PROMISES - {one.promise for one in mutants}):
        yield f"no mutant breaks {promise}"


def main():
    build = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "build")
    mutants = mutant.load()
    found = list(problems(mutants, meson_tests(build)))
    print("\n".join(found) if found else f"mutants: {len(mutants)} fit")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
