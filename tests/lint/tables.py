#!/usr/bin/env python3
"""tables.py BUILD [--write] -- what is made from tables in the code is as the tables are now.

Manual pages and shell completions are committed, so that packages need no extra step; this test
makes them again and compares. With --write it writes them.
"""
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# file: program below the build folder, and its arguments.
MADE = {
    "docs/man/zonerelay.conf.5": ["tests/print_tables", "conf"],
    "docs/man/zonerelay-devchain.8": ["tests/print_tables", "devchain"],
    "docs/man/zonerelay-edge.8": ["tests/print_edge"],
    "docs/man/zonerelay.1": ["tests/print_tables", "commands"],
    "packaging/completions/zonerelay.bash": ["relay/cli/zonerelay", "completions", "bash"],
    "packaging/completions/_zonerelay": ["relay/cli/zonerelay", "completions", "zsh"],
}


def make(build, command):
    run = subprocess.run([str(build / command[0]), *command[1:]], capture_output=True, text=True, check=True)
    return run.stdout


def main():
    build = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build"
    write = "--write" in sys.argv[2:]
    failures = 0
    for name, command in MADE.items():
        text = make(build, command)
        path = ROOT / name
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            failures += 1
            print(f"{name} is not what the table says: run tests/lint/tables.py {build} --write")
    print(f"tables: {len(MADE)} files, {failures} out of date")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
