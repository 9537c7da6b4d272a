#!/usr/bin/env python3
"""tidy.py BUILD [PATH-PART...] -- clang-tidy 14 finds nothing in our code (.clang-tidy says what it looks for).

Another version has other opinions, so it is skipped then. PATH-PART chooses files whose path contains it.
"""
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

FOLDERS = ("relay", "proto", "spool", "config", "adapters")


def find_program():
    for name in ("clang-tidy-14", "clang-tidy"):
        path = shutil.which(name)
        if path and re.search(r"version 14\.", subprocess.run([path, "--version"], capture_output=True, text=True,
                                                              check=False).stdout):
            return path
    return None


def sources(root, build):
    """Our own files that the build compiles; what is generated lies in the build folder."""
    entries = json.loads((build / "compile_commands.json").read_text(encoding="utf-8"))
    paths = {(pathlib.Path(entry["directory"]) / entry["file"]).resolve() for entry in entries}
    return sorted(path for path in paths
                  if path.is_relative_to(root) and path.relative_to(root).parts[0] in FOLDERS)


def tidy(program, build, path):
    run = subprocess.run([program, "-p", str(build), "--quiet", str(path)], capture_output=True, text=True, check=False)
    return run.returncode, run.stdout.strip() or run.stderr.strip()


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    build = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else root / "build"
    program = find_program()
    if program is None:
        print("tidy: skipped, clang-tidy 14 is not installed")
        return 77
    paths = [path for path in sources(root, build)
             if len(sys.argv) < 3 or any(part in str(path.relative_to(root)) for part in sys.argv[2:])]
    failures, seen = 0, set()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, (status, text) in zip(paths, pool.map(lambda one: tidy(program, build, one), paths)):
            if status == 0:
                continue
            failures += 1
            if text not in seen:
                print(f"{path.relative_to(root)}:\n{text}", flush=True)
                seen.add(text)
    print(f"tidy: {len(paths)} files, {failures} with problems")
    return 1 if failures or not paths else 0


if __name__ == "__main__":
    sys.exit(main())
