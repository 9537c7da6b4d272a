#!/usr/bin/env python3
"""headers.py BUILD -- every header compiles alone, and includes what it uses."""
import pathlib
import subprocess
import sys


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    build = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else root / "build"
    failures = count = 0
    for top in ("relay", "proto", "config", "spool", "adapters"):
        for path in sorted((root / top).rglob("*.h")):
            count += 1
            run = subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-fsyntax-only", "-Wall", "-Wextra",
                                  f"-I{root}", f"-I{build}", "-x", "c", str(path)],
                                 capture_output=True, text=True)
            if run.returncode != 0 or run.stderr:
                failures += 1
                print(run.stderr)
    print(f"headers: {count} checked, {failures} problems")
    return 1 if failures or not count else 0


if __name__ == "__main__":
    sys.exit(main())
