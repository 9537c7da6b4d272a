"""nth_program.py -- one of our daemons whose calls fail: what must hold of any of them, whatever it does.

After any failure it either goes on and serves the next piece of work, or ends with a status of its manual,
having said why; and without a failure it starts again.
"""
import os
import pathlib
import random
import re
import time

from nth import Board
from oracle import Oracle, Violation
from world import ROOT, SLOW, World

BUILD = pathlib.Path(os.environ.get("ZR_BUILD", ROOT / "build"))
PATIENCE_S = 30
DESCRIPTORS_MORE = 12  # Than at the start: links, and calls of the main chain, that are just being closed.
# Of zonerelayd(8) and of sysexits.h, those of an end that nobody asked for.
STATUSES = {65, 66, 69, 70, 71, 74, 75, 77, 78}
STORE_STATUS = 74


def make_world(folder):
    """A fast one: its main chain and its delivery wait for nothing long."""
    world = World(folder, BUILD)
    world.devchain.arguments[-1] = 50
    world.gateway_settings["main-chain"].update({
        "anchor-interval": "50 ms", "poll-interval": "20 ms", "retry-min": "50 ms", "retry-max": "200 ms",
        "connect-timeout": "1 s", "answer-timeout": "2 s"})
    return world


def kill_all(world):
    for process in (world.gateway, world.devchain, *world.edges.values()):
        process.kill()


class ProgramUnderFault:
    """Its subclass says what process is, how to begin(), when is_ready() and how to serve()."""

    def __init__(self, folder, seed):
        self.world = make_world(folder)
        self.chance = random.Random(seed)
        self.process = None     # World's Process; by the subclass.
        self.ended = 0          # How often it ended by itself.
        self.foreign_faults = 0
        self.trial = None
        self.log_at = 0
        self.descriptors = None

    def __enter__(self):
        try:
            self.begin()
        except BaseException:  # Nobody calls __exit__ for what was never entered.
            kill_all(self.world)
            raise
        return self

    def arm(self):
        """The program runs under the board from now on."""
        self.board = Board(self.world)
        self.process.environment = {**self.board.environment, "MALLOC_PERTURB_": "165"}
        self.oracle = Oracle(self.world)

    def __exit__(self, kind, *_):
        self.board.disarm()
        self.let_go()
        if kind is not None:
            kill_all(self.world)
        self.world.stop()

    def let_go(self):
        """What the test itself holds of it: links, connections."""

    # ---- what must hold of an end ----

    def violation(self, what):
        if self.process.running:
            self.process.kill()
        log = self.process.log()[self.log_at:]
        return Violation(f"{what}\nwhere {self.trial}\n{self.board.trace()}\n{log[-3000:]}")

    def look_at_end(self):
        """It has ended by itself: was that allowed?"""
        status = self.process.process.wait()
        if status < 0 and self.board.failed_in_library():
            self.foreign_faults += 1
            return
        self.ended += 1
        if status not in STATUSES:
            raise self.violation(f"ended with {status}")
        if not re.search(r"start|failed|error|damaged|\.yaml", self.process.log()[self.log_at:]):
            raise self.violation(f"ended with {status} without a word")
        trial = self.trial
        if trial and trial.function == "fdatasync" and self.board.rule.failed and status != STORE_STATUS:
            raise self.violation(f"a sync failed, and it ended with {status}")

    # ---- its life ----

    def spawn(self):
        self.log_at = len(self.process.log())
        self.process.spawn()

    def wait_ready(self):
        """False: it ended instead."""
        deadline = time.monotonic() + PATIENCE_S * SLOW
        while not self.is_ready():
            if not self.process.running:
                self.look_at_end()
                return False
            if time.monotonic() > deadline:
                raise self.violation("neither ready nor ended")
            time.sleep(0.01)
        return True

    def start(self):
        """Without a fault it must start; and it has all that it acknowledged."""
        self.board.disarm()
        self.let_go()
        self.spawn()
        if not self.wait_ready() or not self.serve():
            raise self.violation("does not start any more")
        self.descriptors = self.count_descriptors()

    def count_descriptors(self):
        return len(os.listdir(f"/proc/{self.process.process.pid}/fd"))

    def end(self, gently=False):
        """Either as an operator would or as a power cut would; it may have ended already."""
        self.let_go()
        if not self.process.running:
            self.look_at_end()
        elif gently:
            self.process.stop()
        else:
            self.process.kill()

    def kill(self):
        self.let_go()
        self.process.kill()

    def restart(self):
        self.kill()
        self.start()

    def must_be_well(self, rule):
        """The fault is over: it works, or it has ended honestly (maybe only now) and a new start works."""
        if not self.process.running or not self.serve():
            if not rule.failed:
                raise self.violation("it ended when nothing had failed")
            self.end()
            self.start()
        elif self.count_descriptors() > self.descriptors + DESCRIPTORS_MORE:
            raise self.violation(f"{self.count_descriptors()} descriptors are open, there were {self.descriptors}")
        elif rule.failed and (rule.function, rule.kind) == self.board.place_of("fdatasync", "store"):
            raise self.violation("a sync failed, and it goes on")

    def judge(self):
        """At the end of it all."""
        self.trial = None
        if not self.process.running:
            self.start()
        self.expect()
        self.oracle.check()

    def expect(self):
        """What the oracle does not find out by itself."""
