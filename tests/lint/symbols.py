#!/usr/bin/env python3
"""symbols.py BUILD -- no two of our libraries define the same function.

Static libraries link in silence where they do, and the wrong one may be called.
"""
import collections
import pathlib
import subprocess
import sys


def main():
    build = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path("build")
    places = collections.defaultdict(set)
    libraries = [path for path in build.rglob("*.a") if "tests" not in path.relative_to(build).parts]
    for library in libraries:
        listing = subprocess.run(["nm", "--defined-only", "-g", "-A", str(library)], capture_output=True, text=True,
                                 check=False)
        for line in listing.stdout.splitlines():
            parts = line.split()
            if len(parts) >= 3 and parts[-2] in "TDBR":
                places[parts[-1]].add(line.split(":")[0].rpartition("/")[2] + ":" + line.split(":")[1])
    problems = {name: where for name, where in places.items() if len(where) > 1}
    for name, where in sorted(problems.items()):
        print(f"{name}: {', '.join(sorted(where))}")
    print(f"symbols: {len(places)} in {len(libraries)} libraries, {len(problems)} defined more than once")
    return 1 if problems or not places else 0


if __name__ == "__main__":
    sys.exit(main())
