#!/usr/bin/env python3
"""run.py -- runs every test of one kind and ends with one line: "N passed, N failed[, N skipped]".

Three runners stand behind it: meson's (unit tests, fuzz corpora, simulation, contracts), pytest's
(system tests with the real programs) and the lints. Each test is one line of the sum.
"""
import argparse
import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

import figures

ROOT = pathlib.Path(__file__).resolve().parents[1]

# How much longer a wait may take (tests/system/world.py), by kind.
SLOW = {"sanitize": 4, "threads": 8}
# ThreadSanitizer is for what has threads: the gateway, and what it is made of. No suppressions: it follows the
# mutexes of nng and libevent, though these are not built with it.
THREADS_SUITES = ["unit", "contract"]
THREADS_SYSTEM = ["test_gateway.py", "test_operator.py", "test_restore.py", "test_edge.py"]


class Sum:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.figures = []  # (name, value): what the tests that try many things have counted.

    def add(self, name, outcome, detail=""):
        if outcome == "passed":
            self.passed += 1
        elif outcome == "skipped":
            self.skipped += 1
            print(f"SKIPPED {name} {detail}")
        else:
            self.failed += 1
            print(f"FAILED  {name}\n{detail}")

    def line(self):
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


def wanted(name, names):
    return not names or any(part in name for part in names)


def prepare_sanitizer(build, kind):
    """Every process that a sanitizer finds something in leaves a file in the folder that this gives."""
    if kind not in SLOW:
        return None
    reports = build / "reports"
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir()
    common = f"log_path={reports}/report:log_exe_name=1"
    os.environ.setdefault("ZR_SLOW", str(SLOW[kind]))
    os.environ["ASAN_OPTIONS"] = f"{common}:detect_leaks=1:allocator_may_return_null=1"
    os.environ["UBSAN_OPTIONS"] = f"{common}:print_stacktrace=1"
    os.environ["TSAN_OPTIONS"] = f"{common}:allocator_may_return_null=1"
    return reports


def count_reports(reports, total):
    """Also of daemons whose exit status no test asks for."""
    for report in sorted(reports.iterdir()):
        total.add(f"sanitizer: {report.name}", "failed", report.read_text(errors="replace")[:6000])
    if not any(reports.iterdir()):
        total.add("sanitizer: no report", "passed")


def run_meson(build, names, total, suites=None):
    listing = subprocess.run(["meson", "introspect", "--tests", str(build)], capture_output=True, text=True, check=True)
    chosen = sorted({test["name"] for test in json.loads(listing.stdout) if wanted(test["name"], names)
                     and (suites is None or any(one.rpartition(":")[2] in suites for one in test["suite"]))})
    if not chosen:
        return
    print(f"== unit, fuzz, simulation and contract tests ({len(chosen)})", flush=True)
    environment = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="STDOUT")
    times = float(os.environ.get("ZR_SLOW", 1)) * max(1, float(os.environ.get("ZR_DEEP", 0)))
    slower = ["--timeout-multiplier", str(times)]
    run = subprocess.run(["meson", "test", "-C", str(build), "--no-rebuild", *slower, *chosen], env=environment,
                         capture_output=True, text=True, check=False)
    log = build / "meson-logs" / "testlog.json"
    if not log.exists():
        total.add("meson test", "failed", run.stdout + run.stderr)
        return
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        count_meson(json.loads(line), total)


def count_meson(result, total):
    """One cmocka program holds many tests; what it printed says how each went."""
    output = result.get("stdout", "") + result.get("stderr", "")
    total.figures += figures.figures_of(result.get("stdout", ""))
    inner = re.findall(r"^\[ +(OK|FAILED|SKIPPED) +\] (\w+)", output, re.M)
    good = result["result"] in ("OK", "EXPECTEDFAIL")
    if result["result"] == "SKIP":
        total.add(result["name"], "skipped", last_line(output))
        return
    if not inner or not good:
        total.add(result["name"], "passed" if good else "failed", output[-6000:])
        return
    for outcome, name in dict((name, outcome) for outcome, name in inner).items():
        total.add(f"{result['name']}: {outcome}", {"OK": "passed", "SKIPPED": "skipped"}.get(name, "failed"),
                  skip_reason(output, outcome))


def skip_reason(output, name):
    match = re.search(r"skip(?:ped|s)?[^\n]*because[^\n]*|skipped:[^\n]*", output)
    return match.group(0) if match else ""


def last_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def parallel():
    """System tests wait more than they compute: some more than there are cores, each file in one process."""
    if importlib.util.find_spec("xdist") is None:
        return []
    return ["-n", str((os.cpu_count() or 1) * 3 // 2), "--dist", "loadfile"]


def run_pytest(build, names, total, files=None):
    if not list((ROOT / "tests").glob("system/test_*.py")):
        return
    print("== system tests", flush=True)
    report = build / "pytest.xml"
    report.unlink(missing_ok=True)
    # Not in the build folder: a socket's path must be short.
    folder = tempfile.mkdtemp(prefix="zonerelay-tests-")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}",
               f"--basetemp={folder}", *parallel(),
               "--durations=8", *(str(ROOT / "tests/system" / file) for file in files or [""])]
    if names:
        command += ["-k", " or ".join(re.sub(r"\W", "_", name) for name in names)]
    seen = build / "figures.jsonl"
    seen.unlink(missing_ok=True)
    environment = dict(os.environ, ZR_BUILD=str(build.resolve()), ZR_FIGURES=str(seen.resolve()),
                       PYTHONDONTWRITEBYTECODE="1")
    run = subprocess.run(command, env=environment, cwd=ROOT, check=False)
    if seen.exists():
        total.figures += [(one["name"], one["value"]) for one in map(json.loads, seen.read_text().splitlines())]
    if run.returncode in (0, 5):  # 5: no test of that name.
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"== what the failed tests left: {folder}", flush=True)
    if not report.exists():
        total.add("pytest", "failed", f"pytest ended with {run.returncode} and wrote no report")
        return
    cases = list(xml.etree.ElementTree.parse(report).getroot().iter("testcase"))
    for case in cases:
        name = f"{case.get('classname', '').rpartition('.')[2]}: {case.get('name')}"
        skipped, failure = case.find("skipped"), case.find("failure")
        failure = case.find("error") if failure is None else failure
        if failure is not None:
            total.add(name, "failed", (failure.text or failure.get("message") or "")[-6000:])
        elif skipped is not None:
            total.add(name, "skipped", skipped.get("message", ""))
        else:
            total.add(name, "passed")


def run_fuzzers(build, names, total, minutes):
    """Half of the minutes, shared by all targets: a finding, and what it was found with, ends a target."""
    targets = [path.stem for path in sorted((ROOT / "tests/fuzz").glob("fuzz_*.c")) if wanted(path.stem, names)]
    if not targets:
        return
    seconds = max(5, int(minutes * 30 / len(targets)))
    print(f"== fuzz targets ({len(targets)}), {seconds} s each", flush=True)
    for target in targets:
        corpus = build / "corpus" / target.removeprefix("fuzz_")
        corpus.mkdir(parents=True, exist_ok=True)
        run = subprocess.run([build / "tests/fuzz" / target, f"-max_total_time={seconds}", "-print_final_stats=1",
                              f"-artifact_prefix={corpus.parent}/{target}-", corpus, ROOT / "tests/fuzz/corpus" / corpus.name],
                             capture_output=True, text=True, errors="replace", check=False)
        total.add(target, "failed" if run.returncode else "passed", run.stderr[-6000:])
        executions = re.search(r"stat::number_of_executed_units: *(\d+)", run.stderr)
        total.figures.append((f"{target}: executions", executions[1] if executions else "none"))


def run_lints(build, names, total, deep):
    scripts = sorted((ROOT / "tests/lint").glob("*.py"))
    if not deep:
        scripts = [script for script in scripts if "tidy" not in script.name]
    for script in scripts:
        name = f"lint: {script.stem}"
        if not wanted(name, names):
            continue
        run = subprocess.run([sys.executable, str(script), str(build)], cwd=ROOT, capture_output=True, text=True, check=False)
        outcome = {0: "passed", 77: "skipped"}.get(run.returncode, "failed")
        total.add(name, outcome, (run.stdout + run.stderr)[-6000:])


def command_of(arguments):
    words = ["./dev", "test"]
    words += ["--deep", str(arguments.deep)] if arguments.deep else []
    words += ["--seed", str(arguments.seed)] if arguments.seed is not None else []
    return " ".join([*words, *arguments.names])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"))
    parser.add_argument("--kind", choices=["plain", "sanitize", "threads", "lint"], default="plain")
    parser.add_argument("--programs-only", action="store_true", help="leave the system tests out")
    parser.add_argument("--deep", type=int, metavar="MINUTES", help="the long form, scaled to so many minutes")
    parser.add_argument("--seed", type=int, help="repeats what a run with this seed has drawn")
    parser.add_argument("--record", action="store_true", help="write the figures into docs/TESTING.md")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    if arguments.deep:
        os.environ["ZR_DEEP"] = str(arguments.deep)
    if arguments.seed is not None:
        os.environ["ZR_SEED"] = str(arguments.seed)
    build = arguments.build.resolve()
    total = Sum()
    reports = prepare_sanitizer(build, arguments.kind)
    if arguments.kind in ("plain", "lint"):
        run_lints(build, arguments.names, total, deep=arguments.kind == "lint")
    if arguments.kind != "lint":
        threads = arguments.kind == "threads"
        run_meson(build, arguments.names, total, THREADS_SUITES if threads else None)
        if not arguments.programs_only:
            run_pytest(build, arguments.names, total, THREADS_SYSTEM if threads else None)
        if arguments.deep and arguments.kind == "plain":
            run_fuzzers(pathlib.Path("build-fuzz").resolve(), arguments.names, total, arguments.deep)
    if reports:
        count_reports(reports, total)
    if not total.passed + total.failed:
        total.add("anything", "failed", "no test ran: " + " ".join(arguments.names))
    if total.figures:
        print("== figures")
        for name, value in total.figures:
            print(f"{name}: {value}")
    if arguments.record and not total.failed:
        figures.record(total.figures, command_of(arguments))
    print(total.line())
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
