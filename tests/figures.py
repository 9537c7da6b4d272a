#!/usr/bin/env python3
"""figures.py -- the table of figures in docs/TESTING.md: written by the tools that saw them, never by hand.

A run with --record replaces the rows that it has seen anew and leaves the others as they are. So does this, for the
output of a run that is over:

    figures.py "./dev test --mutants" <OUTPUT
"""
import datetime
import pathlib
import re
import sys

PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs/TESTING.md"
BEGIN = "<!-- figures: ./dev test --record -->\n"
END = "<!-- end of figures -->\n"
HEAD = "| Seen | How much | By | On |\n|---|---|---|---|\n"


def rows_of(table):
    rows = {}
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == 4 and cells[0] not in ("Seen", "---"):
            rows[cells[0]] = cells[1:]
    return rows


def summed(figures):
    """Counts of one name, from several tests of a run, are one count."""
    sums = {}
    for name, value in figures:
        if name in sums and str(value).isdigit() and str(sums[name]).isdigit():
            value = int(value) + int(sums[name])
        sums[name] = value
    return sums.items()


def record(figures, command, page=PAGE):
    """figures: (name, value) pairs."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    table, _, after = rest.partition(END)
    rows = rows_of(table)
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    for name, value in summed(figures):
        shown = f"{int(value):,}" if str(value).isdigit() else str(value)
        rows[str(name).replace("|", "/")] = [shown.replace("|", "/"), f"`{command}`", today]
    lines = [f"| {' | '.join([name, *cells])} |\n" for name, cells in sorted(rows.items())]
    page.write_text(before + BEGIN + HEAD + "".join(lines) + END + after, encoding="utf-8")


def figures_of(output):
    """What a program printed as "figure: NAME: VALUE"."""
    return re.findall(r"^figure: (.+): (.+)$", output, re.M)


if __name__ == "__main__":
    record(figures_of(sys.stdin.read()), sys.argv[1])
