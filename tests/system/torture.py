"""torture.py -- what every test that tries many things shares: how many, from which seed, and what it counted.

    def test_something(torture):
        chance = random.Random(torture.seed)
        for _ in range(torture.rounds(quick=20, deep=2000)): ...
        torture.figure("power cut: images of the gateway's store", images)

./dev test runs the quick form; ./dev test --deep [MINUTES] the deep one, scaled by the minutes given;
--seed S repeats what was drawn. Figures are printed at the end of a run: docs/TESTING.md has them from there.
"""
import json
import os
import random

MINUTES_OF_A_WHOLE_RUN = 60


class Torture:
    def __init__(self, test):
        self.test = test
        self.minutes = float(os.environ.get("ZR_DEEP", 0))
        self.seed = int(os.environ.get("ZR_SEED") or random.SystemRandom().randrange(1 << 32))
        print(f"seed {self.seed}: ./dev test --seed {self.seed} {test}")  # Shown where the test fails.

    @property
    def deep(self):
        return self.minutes > 0

    def rounds(self, quick, deep):
        """How many times to try: deep is for an hour's run."""
        return max(quick, int(deep * self.minutes / MINUTES_OF_A_WHOLE_RUN)) if self.deep else quick

    def figure(self, name, value):
        """A count or a measure (with its unit) that this run has seen."""
        line = json.dumps({"name": name, "value": value, "seed": self.seed}, ensure_ascii=False)
        if "ZR_FIGURES" in os.environ:
            with open(os.environ["ZR_FIGURES"], "a", encoding="utf-8") as figures:
                figures.write(line + "\n")
        print(f"figure: {name}: {value}")
