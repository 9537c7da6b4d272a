#!/usr/bin/env python3
"""size.py -- no function over 70 lines, no file over 900, no more than 6 parameters.

House style aims lower (median 15 lines, files about 600); these are the points where it breaks.
Generated code and tests are not counted; lists of rows (tables) are not functions.
"""
import pathlib
import re
import sys

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 900
PARAMETERS_MAX = 7  # Five, and err, and one callback argument.

START = re.compile(r"^[A-Za-z_][^;={}]*\([^;{}]*\)\s*$", re.M)


def functions(lines):
    """(name, first line, last line, parameter count) by the shape clang-format gives."""
    start = None
    for number, line in enumerate(lines):
        if line == "{" and number > 0:
            first = number - 1
            while first > 0 and (lines[first].startswith(("\t", " ")) or not re.match(r"[A-Za-z_]", lines[first])):
                first -= 1
            head = " ".join(part.strip() for part in lines[first:number])
            match = re.search(r"(\w+)\((.*)\)\s*(?:__attribute__.*)?$", head)
            start = (match.group(1), first, match.group(2)) if match else None
        elif line == "}" and start:
            name, first, parameters = start
            depth = parameter_count = 0
            for char in parameters:
                depth += (char == "(") - (char == ")")
                parameter_count += char == "," and depth == 0
            yield name, first + 1, number + 1, parameter_count + 1
            start = None


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    problems = []
    lengths = []
    for top in ("relay", "proto", "config", "spool", "adapters"):
        for path in sorted((root / top).rglob("*.[ch]")):
            lines = path.read_text(encoding="utf-8").split("\n")
            name = path.relative_to(root)
            if len(lines) > FILE_LINES_MAX:
                problems.append(f"{name}: {len(lines)} lines")
            for function, first, last, parameters in functions(lines):
                lengths.append(last - first + 1)
                if last - first + 1 > FUNCTION_LINES_MAX:
                    problems.append(f"{name}:{first}: {function} has {last - first + 1} lines")
                if parameters > PARAMETERS_MAX:
                    problems.append(f"{name}:{first}: {function} has {parameters} parameters")
    lengths.sort()
    print("\n".join(problems))
    if lengths:
        print(f"size: {len(lengths)} functions, median {lengths[len(lengths) // 2]} lines, "
              f"p90 {lengths[len(lengths) * 9 // 10]}, longest {lengths[-1]}; {len(problems)} problems")
    return 1 if problems or not lengths else 0


if __name__ == "__main__":
    sys.exit(main())
