#!/usr/bin/env python3
"""vectors.py -- the vectors are what their generator computes, and the documents show just these.

In docs/*.md a fenced block "vector NAME" has lines of offset, hexadecimal and remark; together they
are the whole vector. docs/PROTOCOL.md names every message, field and enum value of proto/link.proto,
and the numbers in its tables of limits are those of the headers.
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
VECTORS = ROOT / "tests/data/vectors"
LINE = re.compile(r"^ *(\d+)  ((?:[0-9a-f]{2,8} ?)+?)(?:  .*)?$")


def read_vectors():
    vectors = {}
    for path in sorted(VECTORS.glob("*.txt")):
        for line in path.read_text(encoding="ascii").splitlines():
            name, _, digits = line.partition(" ")
            vectors.setdefault(name, []).append(bytes.fromhex("" if digits == "-" else digits))
    return vectors


def shown_bytes(lines):
    """The bytes of a block, or a complaint."""
    data = b""
    for line in lines:
        match = LINE.match(line)
        if not match:
            return f'not a line of a vector: "{line}"'
        if int(match.group(1)) != len(data):
            return f'the offset is {len(data)}, not as in "{line}"'
        data += bytes.fromhex(match.group(2))
    return data


def check_document(path, vectors):
    count = 0
    for match in re.finditer(r"^```vector (\S+)\n(.*?)^```$", path.read_text(encoding="utf-8"), re.M | re.S):
        name, found = match.group(1), shown_bytes(match.group(2).splitlines())
        count += 1
        if isinstance(found, str):
            yield f"{path.name}: {name}: {found}"
        elif found not in vectors.get(name, []):
            yield f"{path.name}: {name} is not the vector of that name"
    if path.name == "PROTOCOL.md" and count < 20:
        yield f"{path.name}: only {count} vectors"


def check_names(text):
    """Every name of link.proto stands in backquotes."""
    proto = re.sub(r"//.*", "", (ROOT / "proto/link.proto").read_text(encoding="utf-8"))
    shown = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", text))))
    names = re.findall(r"^\s*(?:repeated )?[\w.]+ (\w+) = \d+;", proto, re.M)
    names += re.findall(r"^\s*([A-Z_]+) = \d+;", proto, re.M) + re.findall(r"^message (\w+)", proto, re.M)
    oneof = re.search(r"oneof body \{(.*?)\}", proto, re.S).group(1)
    bodies = set(re.findall(r"(\w+) = \d+;", oneof))
    for name in names:
        if name not in bodies and name not in shown:
            yield f"PROTOCOL.md: nothing about `{name}` of link.proto"


def read_defines():
    defines = {}
    for path in [*(ROOT / "proto").glob("*.h"), ROOT / "relay/base/crypto.h", ROOT / "relay/base/bytes.h"]:
        for name, text in re.findall(r"^#define (\w+)\s+\(?([\dxu <()+*-]+?)\)?\s*(?:/\*.*)?$", path.read_text(encoding="utf-8"), re.M):
            text = re.sub(r"(\d)u", r"\1", text)
            if re.fullmatch(r"\d+( << \d+)?", text):
                value, _, shift = text.partition(" << ")
                defines[name] = int(value) << int(shift or 0)
    return defines


def check_limits(text):
    defines = read_defines()
    rows = re.findall(r"^\| [^|]+ \| (\d+) \| `(\w+)` \|$", text, re.M)
    if len(rows) < 15:
        yield f"PROTOCOL.md: only {len(rows)} limits"
    for value, name in rows:
        if defines.get(name) != int(value):
            yield f"PROTOCOL.md: {name} is {defines.get(name)}, not {value}"


def main():
    problems = []
    run = subprocess.run([sys.executable, "-B", str(VECTORS / "generate.py"), "--check"], capture_output=True, text=True, check=False)
    if run.returncode != 0:
        problems.append((run.stdout + run.stderr).strip())
    vectors = read_vectors()
    for path in sorted((ROOT / "docs").glob("*.md")):
        problems += check_document(path, vectors)
    protocol = (ROOT / "docs/PROTOCOL.md").read_text(encoding="utf-8")
    problems += [*check_names(protocol), *check_limits(protocol)]
    print("\n".join(problems) or f"vectors: {sum(map(len, vectors.values()))} vectors, documents agree")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
