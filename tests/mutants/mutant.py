"""mutant.py -- one deliberate fault of the product, and how it is put into the tree.

The tables are the other files here, one per area, each a list MUTANTS. A mutant names the promise (P1..P10, docs/ARCHITECTURE.md)
that it breaks, the text that is replaced, and the tests of which one must fail. White space in `old` matches any white
space, with fault points in it or without, so that a reformatted line is still found; otherwise `old` stands in the file
exactly once.
"""
import dataclasses
import importlib
import pathlib
import re

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TABLES = ["store", "books", "blocks", "receipts", "delivery", "link"]


# What may lie between two words.
SPACE = r"\s+(?:FAULT_POINT\(\w+\);\s+)*"


class Stale(Exception):
    """The text that a mutant replaces is not there, or not once."""


@dataclasses.dataclass(frozen=True)
class Mutant:
    name: str
    promise: str  # The first promise that it breaks.
    file: str
    old: str
    new: str
    # Tests of which one must fail, quickest first: a name of `meson test`, or file.py::function of tests/system.
    tests: tuple

    def apply(self, text):
        """The text with the fault in it."""
        pattern = SPACE.join(re.escape(word) for word in self.old.split())
        found = list(re.finditer(pattern, text))
        if len(found) != 1:
            raise Stale(f"{self.name}: the text to replace stands {len(found)} times in {self.file}")
        return text[:found[0].start()] + self.new.strip() + text[found[0].end():]


def load():
    """All mutants, in the order of the tables."""
    return [mutant for table in TABLES for mutant in importlib.import_module(table).MUTANTS]


def is_system_test(test):
    return test.partition("::")[0].endswith(".py")
