"""nth_gateway.py -- a gateway whose calls fail, and the good agent that wants its blocks stored all the same.

A Besieged gateway is asked for three things after any failure: it either goes on and serves the next block,
or ends with one of the statuses of its manual, having said why; it acknowledges only what is there after the
next start; and it never takes its own trouble for the chain's.
"""
import os
import pathlib
import random
import re
import ssl
import time

from ledger_maker import LedgerChain
from link_peer import Ended, LinkPeer, pack_blocks
from nth import Board
from oracle import Oracle, Violation
from world import ROOT, SLOW, World

BUILD = pathlib.Path(os.environ.get("ZR_BUILD", ROOT / "build"))
PATIENCE_S = 30
DESCRIPTORS_MORE = 12  # Than at the start: links, and calls of the main chain, that are just being closed.
LINK_ENDS = (Ended, OSError, TimeoutError, ssl.SSLError, AssertionError)
# Of zonerelayd(8), those of an end that nobody asked for.
STATUSES = {65, 66, 69, 70, 71, 74, 75, 77, 78}
# Not an answer that a good block may ever get: the gateway would blame the chain for its own trouble.
BLAME = {"REJECT_REASON_MALFORMED", "REJECT_REASON_LINK", "REJECT_REASON_UNTRUSTED", "REJECT_REASON_FORK",
         "REJECT_REASON_TOO_LARGE", "REJECT_REASON_FROZEN", "REJECT_REASON_DENIED"}
STATES = {"CHAIN_STATE_ACTIVE", "CHAIN_STATE_STANDBY"}  # Standby: where the link before is not known to be gone.


def make_world(folder):
    """A fast one: its main chain and its delivery wait for nothing long."""
    world = World(folder, BUILD)
    world.devchain.arguments[-1] = 50
    world.gateway_settings["main-chain"].update({
        "anchor-interval": "50 ms", "poll-interval": "20 ms", "retry-min": "50 ms", "retry-max": "200 ms",
        "answer-timeout": "3 s"})
    return world


class GatewayUnderFault:
    def __init__(self, folder, seed):
        self.world = make_world(folder)
        self.chance = random.Random(seed)
        self.chain = LedgerChain("good-1")
        self.world.grant("good-1", "ledger", self.chain.write_genesis(self.world.folder / "good-1.block"), ["alice"])
        self.world.pki.issue_agent("alice")
        self.link = None
        self.acked_next = 0
        self.ended = 0          # How often the daemon did.
        self.trial = None
        self.log_at = 0
        self.descriptors = None

    def __enter__(self):
        world = self.world
        world.prepare()
        world.devchain.start()
        self.board = Board(world)
        world.gateway.environment = {**self.board.environment, "MALLOC_PERTURB_": "165"}
        self.oracle = Oracle(world)
        world.gateway.start()
        world.gateway.wait_log("chain-enrolled")
        world.gateway.stop()
        self.start()
        return self

    def __exit__(self, kind, *_):
        self.board.disarm()
        self.drop_link()
        if kind is None:
            self.world.stop()
        else:
            for process in (self.world.gateway, self.world.devchain):
                process.kill()
            self.world.stop()

    @property
    def gateway(self):
        return self.world.gateway

    # ---- what must hold of an end ----

    def violation(self, what):
        if self.gateway.running:
            self.gateway.kill()
        return Violation(f"{what}\nwhere {self.trial}\n{self.board.trace()}\n{self.gateway.log()[self.log_at:][-3000:]}")

    def look_at_end(self):
        """The daemon has ended by itself: was that allowed?"""
        status = self.gateway.process.wait()
        self.ended += 1
        if status not in STATUSES:
            raise self.violation(f"ended with {status}")
        said = self.gateway.log()[self.log_at:]
        if not re.search(r"start-failed|store-failed|error|gateway\.yaml", said):
            raise self.violation(f"ended with {status} without a word")
        return status

    # ---- its life ----

    def spawn(self):
        self.log_at = len(self.gateway.log())
        self.gateway.spawn()

    def is_ready(self):
        """Waits. False: it ended instead."""
        deadline = time.monotonic() + PATIENCE_S * SLOW
        while not self.world.gateway_ready():
            if not self.gateway.running:
                self.look_at_end()
                return False
            if time.monotonic() > deadline:
                raise self.violation("neither ready nor ended")
            time.sleep(0.01)
        return True

    def start(self):
        """Without a fault it must start; and it has all that it acknowledged."""
        self.board.disarm()
        self.drop_link()
        self.spawn()
        if not self.is_ready():
            raise self.violation("does not start any more")
        self.serve()
        self.descriptors = self.count_descriptors()

    def count_descriptors(self):
        return len(os.listdir(f"/proc/{self.gateway.process.pid}/fd"))

    def end(self, gently=False):
        """Either as an operator would or as a power cut would; it may have ended already."""
        self.drop_link()
        if not self.gateway.running:
            self.look_at_end()
        elif gently:
            self.gateway.stop()
        else:
            self.gateway.kill()

    def kill(self):
        self.drop_link()
        self.gateway.kill()

    def restart(self):
        self.kill()
        self.start()

    def must_be_well(self, rule):
        """The fault is over: it works, or it has ended honestly (maybe only now) and a new start works."""
        if not self.gateway.running or not self.serve():
            if not rule.failed:
                raise self.violation("it ended when nothing had failed")
            self.end()
            self.start()
        elif self.count_descriptors() > self.descriptors + DESCRIPTORS_MORE:
            raise self.violation(f"{self.count_descriptors()} descriptors are open, there were {self.descriptors}")

    def judge(self):
        """At the end of it all."""
        self.trial = None
        if not self.gateway.running:
            self.start()
        self.oracle.expect("good-1", [block.raw for block in self.chain.blocks])
        self.oracle.check()

    # ---- the good agent ----

    def drop_link(self):
        if self.link is not None:
            self.link.close()
        self.link = None

    def join(self):
        """A link with a welcome. Gives the height that comes next."""
        if self.link is None:
            pki = self.world.pki
            self.link = LinkPeer(self.world.gateway_port, pki.certificate("agent-alice"), pki.key("agent-alice"), pki.ca,
                                 timeout=PATIENCE_S / 3)
            self.link.next = None
        if self.link.next is None:
            welcome = self.link.hello([self.chain.hello()])["chains"][0]
            if welcome["state"] not in STATES:
                raise self.violation(f"the chain is {welcome}")
            self.link.next = welcome.get("next_height", 0)
            if self.link.next < self.acked_next:
                raise self.violation(f"{self.acked_next - 1} was acknowledged, {self.link.next} is asked for")
            if self.link.next > 0:
                self.note_ack(self.link.next)
        return self.link.next

    def offer(self):
        """The blocks that are missing, in one batch."""
        following = self.join()
        missing = self.chain.blocks[following:]
        if not missing:
            return
        body, answer = self.link.offer(pack_blocks(missing))
        if body == "ack":
            self.note_ack(answer["durable_next"])
            return
        if answer["reason"] in BLAME:
            raise self.violation(f"a good block was refused: {answer}")
        time.sleep(min(answer.get("retry_after_ms", 0), 500) / 1000)
        self.link.next = answer.get("next_height", self.link.next)

    def note_ack(self, following):
        self.acked_next = max(self.acked_next, following)
        self.link.next = following
        block = self.chain.blocks[following - 1]
        self.oracle.acked("good-1", block.height, block.hash)

    def anchored(self):
        held = self.world.audit().get("good-1", {})
        if held.get("duplicates") or held.get("gaps"):
            raise self.violation(f"the main chain holds {held}")
        return held.get("blocks", 0) == len(self.chain.blocks)

    def serve(self, until=lambda: False):
        """One more block becomes durable and final; the link is made again as often as it ends.

        Ends early, with false, where the daemon ended or until() holds.
        """
        self.chain.grow(1)
        deadline = time.monotonic() + PATIENCE_S * SLOW
        trouble = None
        while self.gateway.running:
            try:
                if self.acked_next < len(self.chain.blocks):
                    self.offer()
                elif self.anchored():
                    return True
                else:
                    time.sleep(0.01)
            except LINK_ENDS as end:
                trouble = end
                self.drop_link()
                time.sleep(0.02)
            if until():
                return False
            if time.monotonic() > deadline:
                raise self.violation(f"block {self.chain.tip.height} is not served, {self.acked_next} is next: {trouble!r}")
        return False

