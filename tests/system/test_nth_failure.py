"""Call n fails, n = 1, 2, 3 ... until a run is clean: of the gateway, the agent and the commands, as they really run.

What fails and how stands in nth_plan.py, how it is made to fail in tests/nth/nth.c, what must hold of each program
in nth_program.py and its kin. Each loop draws its order from the seed; the quick form is its first part,
the deep one goes on until every n was tried.
"""
import contextlib
import itertools
import os
import random

import pytest

import nth
from nth_agent import AgentUnderFault
from nth_commands import Commands
from nth_gateway import GatewayUnderFault
from nth_plan import FIRST, trials
from nth_program import BUILD
from oracle import Violation

pytestmark = pytest.mark.skipif(nth.preload_of(BUILD) is None, reason="skipped because tests/nth is not built here, or a sanitizer has the allocator")


QUICK_SEED = 1


@pytest.fixture
def gateway(tmp_path, torture):
    with GatewayUnderFault(tmp_path, torture.seed) as made:
        yield made


@pytest.fixture
def agent(tmp_path, torture):
    with AgentUnderFault(tmp_path, torture.seed) as made:
        yield made


class Tally:
    """What a loop did, for the figures; and what was wrong, all of it at the end."""

    VIOLATIONS_MAX = 8

    def __init__(self, torture, what):
        self.torture, self.what = torture, what
        self.runs = self.failed = self.ended = self.foreign_faults = 0
        self.rows = set()
        self.violations = []

    def take(self, program):
        self.foreign_faults = program.foreign_faults
        self.ended = program.ended

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
        text = (f"{self.runs} runs, {self.failed} with a failure, of {len(self.rows)} functions x callers x errors; "
                f"{self.ended} ended honestly, {len(self.violations)} violations")
        if self.foreign_faults:
            text += f", {self.foreign_faults} crashes inside a library"
        self.torture.figure(f"n-th failure: {self.what}", text)
        if self.violations:
            raise Violation("\n\n".join(self.violations))


def chosen(torture, counts, quick, deep, what=None):
    count = torture.rounds(quick, deep)
    # Not every n was tried yet: a quick run draws what it always draws, unless it is told a seed.
    seed = torture.seed if torture.deep or "ZR_SEED" in os.environ else QUICK_SEED
    drawn = trials(random.Random(seed), counts, most=torture.rounds(10, 400))
    return itertools.islice(itertools.chain(FIRST.get(what, []), drawn), count)


def try_starts(program, torture, tally, quick, deep):
    """Started with each call failing: it serves, or ends honestly; and the next start, without a fault, serves."""
    program.end()
    program.board.clear()
    program.start()
    counts = program.board.counts()
    program.end()
    for trial in chosen(torture, counts, quick, deep, tally.what):
        program.trial = trial
        with tally.noting(again=program.kill):
            with program.board.failing(*trial) as rule:
                program.spawn()
                if program.wait_ready():
                    program.serve()
                program.end(gently=program.chance.random() < 0.02)
            tally.count(trial, rule)
            program.start()
            program.end()
    tally.take(program)
    program.judge()
    tally.close()


def try_work(program, torture, tally, quick, deep):
    """One piece of work after the other, each with a call failing, in one process as long as it lives."""
    program.let_go()
    program.board.clear()
    program.serve()
    counts = program.board.counts()
    for trial in chosen(torture, counts, quick, deep, tally.what):
        program.trial = trial
        with tally.noting(again=program.restart):
            if program.chance.random() < 0.5:
                program.let_go()
            with program.board.failing(*trial) as rule:
                program.serve()
            tally.count(trial, rule)
            program.must_be_well(rule)
    tally.take(program)
    program.judge()
    tally.close()


def test_a_gateway_starts_or_says_why_not_whatever_call_fails(gateway, torture):
    try_starts(gateway, torture, Tally(torture, "gateway starts"), quick=30, deep=300)


def test_a_gateway_at_work_goes_on_or_ends_honestly_whatever_call_fails(gateway, torture):
    try_work(gateway, torture, Tally(torture, "gateway works"), quick=40, deep=500)


def test_an_agent_starts_or_says_why_not_whatever_call_fails(agent, torture):
    try_starts(agent, torture, Tally(torture, "agent starts"), quick=25, deep=300)


def test_an_agent_at_work_goes_on_or_ends_honestly_whatever_call_fails(agent, torture):
    try_work(agent, torture, Tally(torture, "agent works"), quick=35, deep=500)


def test_commands_say_the_right_thing_or_that_they_cannot_whatever_call_fails(tmp_path, torture):
    tally = Tally(torture, "commands")
    with Commands(tmp_path) as commands:
        every = commands.all()
        for command in every:
            counts = commands.begin(command)
            for trial in chosen(torture, counts, quick=4, deep=40):
                with tally.noting(again=lambda: None):
                    tally.count(trial, commands.attempt(command, trial))
            tally.take(commands)
            commands.clean(command)
            again = commands.answer(command, commands.run(command, failing=False))
            assert again == commands.good, f"{command.name} is not what it was: {commands.good}, {again}"
    tally.close()
