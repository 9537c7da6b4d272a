#!/usr/bin/env python3
"""run.py [NAME...] -- puts each deliberate fault into a copy of the tree and looks whether a test notices.

The copy is build-mutants/tree: what git knows and what is new, as it is now. It is built once; each mutant is one edit,
an incremental build of what its tests need, and its tests until the first that fails. Before that, the tests run without
any fault: they must pass, and their time bounds how long they may take with one. A mutant that cannot be applied or
compiled, and a test that fails without a fault, are errors and no kills. The last line is "mutants: K of N killed".

With --by TEST (once or more) these tests are to kill the chosen mutants, instead of their own: it shows what one of the
large ones (sim, test_power_cut.py) would catch alone.
"""
import argparse
import dataclasses
import fcntl
import filecmp
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from mutant import ROOT, Stale, is_system_test, load

FOLDER = ROOT / "build-mutants"
# Programs that no system test starts: not built for one.
NOT_FOR_SYSTEM_TESTS = ("tests/unit/", "tests/fuzz/", "tests/bench/", "tests/contract/", "tests/sim/")
UNHARMED_SECONDS_MAX = 300
END_SECONDS = 20  # From being asked to end until being killed.


@dataclasses.dataclass
class Outcome:
    passed: bool
    seconds: float
    what: str  # The first that failed inside it, as it calls itself.
    output: str


class Tree:
    """The copy, its build folder, and how its tests are run."""

    def __init__(self, folder):
        self.source = folder / "tree"
        self.build = folder / "build"
        self.tests = {}
        self.programs = []

    def refresh(self):
        """Only what has changed is copied, so that a second run builds little."""
        listing = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                                 capture_output=True, check=True).stdout
        names = {name for name in os.fsdecode(listing).split("\0") if name and (ROOT / name).is_file()}
        for name in names:
            source, copy = ROOT / name, self.source / name
            if not copy.exists() or not filecmp.cmp(source, copy, shallow=False):
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, copy)
                shutil.copymode(source, copy)
        for copy in [path for path in self.source.rglob("*") if path.is_file()]:
            if str(copy.relative_to(self.source)) not in names:
                copy.unlink()

    def configure(self):
        if not (self.build / "build.ninja").exists():
            # A fault may leave something unused behind; that is no reason to stop.
            subprocess.run(["meson", "setup", str(self.build), str(self.source), "-Dwerror=false"], check=True,
                           stdout=subprocess.DEVNULL)
        self.make(["build.ninja"])  # What meson's files say now.
        self.tests = {test["name"]: test for test in self.introspect("tests")}
        self.programs = [self.target(target["filename"][0]) for target in self.introspect("targets")
                         if target["type"] in ("executable", "shared library")]
        self.programs = [name for name in self.programs if not name.startswith(NOT_FOR_SYSTEM_TESTS)]

    def introspect(self, what):
        run = subprocess.run(["meson", "introspect", f"--{what}", str(self.build)], capture_output=True, check=True)
        return json.loads(run.stdout)

    def target(self, path):
        return os.path.relpath(os.path.join(self.build, path), self.build)

    def targets(self, tests):
        """What ninja has to make for these tests."""
        targets = set()
        for test in tests:
            if is_system_test(test):
                targets.update(self.programs)
            else:
                # Whatever of its command line lies in the build folder.
                words = [os.path.join(self.build.parent, word) for word in self.tests[test]["cmd"]]
                targets.update(self.target(word) for word in words if word.startswith(f"{self.build}/"))
        return sorted(targets)

    def make(self, targets):
        """None, or what the compiler said."""
        run = subprocess.run(["ninja", "-C", str(self.build), *targets], capture_output=True, text=True, check=False)
        return None if run.returncode == 0 else run.stdout[-4000:] + run.stderr[-4000:]

    def run(self, test, seconds_max=None):
        """Runs one test; what it leaves behind goes with it."""
        # Programs that commit thousands of times, in memory; the real daemons, whose sockets need a short path, on a disk.
        in_memory = not is_system_test(test) and os.access("/dev/shm", os.W_OK)
        scratch = pathlib.Path(tempfile.mkdtemp(prefix="zr-mutant-", dir="/dev/shm" if in_memory else "/tmp"))
        environment = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="STDOUT", ZR_BUILD=str(self.build), TMPDIR=str(scratch),
                           PYTHONDONTWRITEBYTECODE="1")
        if is_system_test(test):
            command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider",
                       f"--basetemp={scratch}/t", f"tests/system/{test}"]
            directory = self.source
        else:
            command, directory = self.tests[test]["cmd"], self.tests[test]["workdir"]
            environment.update(self.tests[test]["env"])
        try:
            return run_bounded(command, directory or self.build.parent, environment, seconds_max)
        finally:
            unmount_below(scratch)
            shutil.rmtree(scratch, ignore_errors=True)


def unmount_below(folder):
    """Small disks that a test has mounted and had no time to unmount."""
    mounts = pathlib.Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    for path in [line.split()[1] for line in mounts]:
        if path.startswith(f"{folder}/"):
            subprocess.run(["umount", path], check=False)


def run_bounded(command, directory, environment, seconds_max):
    """In a process group of its own, which ends with it: a daemon that hangs must not outlive its test."""
    began = time.monotonic()
    with tempfile.TemporaryFile("w+", errors="replace") as output, \
            subprocess.Popen(command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=output,
                             stderr=subprocess.STDOUT, start_new_session=True) as process:
        late = False
        try:
            process.wait(seconds_max)
        except subprocess.TimeoutExpired:
            late = True
            end_group(process, signal.SIGTERM)
        finally:
            end_group(process, signal.SIGKILL)
        seconds = time.monotonic() - began
        output.seek(0)
        text = output.read()
    what = f"no end within {seconds_max:.0f} s" if late else first_failure(text, process.returncode)
    return Outcome(process.returncode == 0 and not late, seconds, what, text[-6000:])


def end_group(process, number):
    try:
        os.killpg(process.pid, number)
        process.wait(END_SECONDS)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        pass


def first_failure(text, status):
    for pattern in (r"^\[ +(?:FAILED|ERROR) +\] (\w+)", r"^FAILED \S*::(\S+)", r"^ERROR \S*::(\S+)", r"^(.*violat.*)$"):
        found = re.search(pattern, text, re.M)
        if found:
            return found.group(1)[:90]
    return f"status {status}"


def say(text):
    print(text, flush=True)


def run_unharmed(tree, tests):
    """{test: seconds}; None if one fails although there is no fault."""
    problem = tree.make(tree.targets(tests))
    if problem:
        say(problem)
        return None
    seconds = {}
    for test in tests:
        outcome = tree.run(test, UNHARMED_SECONDS_MAX)
        seconds[test] = outcome.seconds
        if not outcome.passed:
            say(f"{test} fails without any fault: {outcome.what}\n{outcome.output}")
            return None
    return seconds


def run_mutant(tree, mutant, seconds):
    """(verdict, remark)"""
    path = tree.source / mutant.file
    before = path.read_text(encoding="utf-8")
    try:
        path.write_text(mutant.apply(before), encoding="utf-8")
        for test in mutant.tests:
            problem = tree.make(tree.targets([test]))
            if problem:
                return "ERROR", f"it does not compile\n{problem}"
            outcome = tree.run(test, 20 + 5 * seconds[test])
            if not outcome.passed:
                return "killed", f"{test}: {outcome.what}" if outcome.what not in test else test
        return "SURVIVED", ", ".join(mutant.tests)
    except Stale as stale:
        return "ERROR", str(stale)
    finally:
        path.write_text(before, encoding="utf-8")


def chosen(mutants, names):
    return [mutant for mutant in mutants
            if not names or any(name in mutant.name or name == mutant.promise for name in names)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="only mutants whose name contains one of these, or that break this promise")
    parser.add_argument("--by", metavar="TEST", action="append", default=[], help="the tests that are to kill them")
    arguments = parser.parse_args()
    mutants = chosen(load(), arguments.names)
    if arguments.by:
        mutants = [dataclasses.replace(mutant, tests=tuple(arguments.by)) for mutant in mutants]
    tree = Tree(FOLDER)
    FOLDER.mkdir(exist_ok=True)
    with open(FOLDER / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # Two runs would put their faults into one tree.
        return run_all(tree, mutants)


def run_all(tree, mutants):
    tree.refresh()
    tree.configure()
    tests = list(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
    began = time.monotonic()
    say(f"== {len(mutants)} mutants; first their {len(tests)} tests without any")
    seconds = run_unharmed(tree, tests)
    killed = []
    if seconds is not None:
        say(f"== passed in {time.monotonic() - began:.0f} s with the build")
        for mutant in mutants:
            mutant_began = time.monotonic()
            verdict, remark = run_mutant(tree, mutant, seconds)
            killed += [mutant] if verdict == "killed" else []
            say(f"{verdict:8} {mutant.promise:3} {mutant.name:42} {time.monotonic() - mutant_began:5.1f} s  {remark}")
    for promise in sorted({mutant.promise for mutant in mutants}, key=lambda name: int(name[1:])):
        of_it = [mutant for mutant in mutants if mutant.promise == promise]
        say(f"figure: mutants: against {promise}: {sum(one in killed for one in of_it)} of {len(of_it)} killed")
    say(f"figure: mutants: seconds for all: {time.monotonic() - began:.0f}")
    say(f"mutants: {len(killed)} of {len(mutants)} killed")
    return 0 if len(killed) == len(mutants) > 0 else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # What is under way ends with us.
    sys.exit(main())
