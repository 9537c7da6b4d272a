"""Call n fails, n = 1, 2, 3 ... until a run is clean: of the gateway, the agent and the commands, as they really run.

What fails and how stands in nth_plan.py, how it is made to fail in tests/nth/nth.c, what must hold of a gateway
in nth_gateway.py. Each loop draws its order from the seed; the quick form is its first part, every row
of the plan once or more, the deep one goes on until every n was tried.
"""
import contextlib
import itertools
import random

import pytest

import nth
from nth_gateway import BUILD, GatewayUnderFault
from nth_plan import trials
from oracle import Violation

pytestmark = pytest.mark.skipif(nth.library(BUILD) is None, reason="skipped because tests/nth is not built here")


@pytest.fixture
def gateway(tmp_path, torture):
    with GatewayUnderFault(tmp_path, torture.seed) as made:
        yield made


class Tally:
    """What a loop did, for the figures; and what was wrong, all of it at the end."""

    VIOLATIONS_MAX = 8

    def __init__(self, torture, what):
        self.torture, self.what = torture, what
        self.runs = self.failed = self.ended = 0
        self.rows = set()
        self.violations = []

    def count(self, trial, rule):
        self.runs += 1
        if rule.failed:
            self.failed += 1
            self.rows.add((trial.function, trial.kind, trial.error))

    @contextlib.contextmanager
    def noting(self, again):
        """A violation does not end the loop: again() makes that it can go on."""
        try:
            yield
        except Violation as violation:
            self.violations.append(str(violation))
            if len(self.violations) == self.VIOLATIONS_MAX:
                self.close()
            again()

    def close(self):
        self.torture.figure(f"n-th failure: {self.what}", f"{self.runs} runs, {self.failed} with a failure, of {len(self.rows)} "
                            f"functions x callers x errors; {self.ended} ended honestly, {len(self.violations)} violations")
        if self.violations:
            raise Violation("\n\n".join(self.violations))


def chosen(torture, counts, quick, deep, most):
    return itertools.islice(trials(random.Random(torture.seed), counts, most=torture.rounds(10, most)),
                            torture.rounds(quick, deep))


def test_a_gateway_starts_or_says_why_not_whatever_call_fails(gateway, torture):
    board, tally = gateway.board, Tally(torture, "starts of the gateway")
    gateway.end()
    board.clear()
    gateway.start()
    counts = board.counts()
    gateway.end()
    for trial in chosen(torture, counts, quick=60, deep=10000, most=400):
        gateway.trial = trial
        with tally.noting(again=gateway.kill):
            with board.failing(*trial) as rule:
                gateway.spawn()
                if gateway.is_ready():
                    gateway.serve()
                gateway.end(gently=gateway.chance.random() < 0.02)
            tally.count(trial, rule)
            gateway.start()
            gateway.end()
    tally.ended = gateway.ended
    gateway.judge()
    tally.close()


def test_a_gateway_at_work_goes_on_or_ends_honestly_whatever_call_fails(gateway, torture):
    board, tally = gateway.board, Tally(torture, "gateway at work")
    board.clear()
    gateway.drop_link()
    gateway.serve()
    counts = board.counts()
    for trial in chosen(torture, counts, quick=80, deep=20000, most=400):
        gateway.trial = trial
        with tally.noting(again=gateway.restart):
            if gateway.chance.random() < 0.5:
                gateway.drop_link()
            with board.failing(*trial) as rule:
                gateway.serve()
            tally.count(trial, rule)
            gateway.must_be_well(rule)
    tally.ended = gateway.ended
    gateway.judge()
    tally.close()
