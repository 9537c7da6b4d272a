#!/usr/bin/env python3
"""bits32.py BUILD -- what the agent is made of compiles for 32-bit devices without a warning.

Nothing is linked: the libraries of the other width are rarely installed, and their headers are the
same but for a few constants. Skipped where the compiler cannot do 32 bits at all.
"""
import pathlib
import subprocess
import sys

FOLDERS = ("relay/base", "proto", "config", "spool", "relay/net", "adapters/sidechain", "adapters/sidechain/*",
           "relay/edge")
WARNINGS = ("-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Wswitch-enum", "-Wformat=2", "-Wno-unused-parameter",
            "-Wno-psabi")


def compiler(root, build):
    return ["gcc", "-m32", "-std=gnu11", "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64", '-DZR_VERSION="0"', f"-I{root}",
            f"-I{build}", "-idirafter", "/usr/include/x86_64-linux-gnu", *WARNINGS, "-fsyntax-only"]


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    build = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else root / "build"
    command = compiler(root, build)
    probe = subprocess.run([*command, "-x", "c", "-"], input="#include <stdio.h>\n", capture_output=True, text=True)
    if probe.returncode != 0:
        print("bits32: skipped, this compiler has no 32-bit headers (gcc-multilib)")
        return 77
    failures = count = 0
    for folder in FOLDERS:
        for path in sorted(root.glob(f"{folder}/*.c")):
            count += 1
            run = subprocess.run([*command, str(path)], capture_output=True, text=True)
            if run.returncode != 0 or run.stderr:
                failures += 1
                print(run.stderr)
    print(f"bits32: {count} checked, {failures} problems")
    return 1 if failures or not count else 0


if __name__ == "__main__":
    sys.exit(main())
