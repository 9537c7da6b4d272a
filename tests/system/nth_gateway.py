"""nth_gateway.py -- a gateway whose calls fail, and the good agent that wants its blocks stored all the same.

Beside what must hold of any program: it acknowledges only what is there after the next start, and it never
takes its own trouble for the chain's.
"""
import re
import ssl
import time

from ledger_maker import LedgerChain
from link_peer import Ended, LinkPeer, pack_blocks
from nth_program import PATIENCE_S, ProgramUnderFault
from world import SLOW

LINK_ENDS = (Ended, OSError, TimeoutError, ssl.SSLError, AssertionError)
# Not an answer that a good block may ever get: the gateway would blame the chain for its own trouble.
BLAME = {"REJECT_REASON_MALFORMED", "REJECT_REASON_LINK", "REJECT_REASON_UNTRUSTED", "REJECT_REASON_FORK",
         "REJECT_REASON_TOO_LARGE", "REJECT_REASON_FROZEN", "REJECT_REASON_DENIED"}
STATES = {"CHAIN_STATE_ACTIVE", "CHAIN_STATE_STANDBY"}  # Standby: where the link before is not known to be gone.


class GatewayUnderFault(ProgramUnderFault):
    def __init__(self, folder, seed):
        super().__init__(folder, seed)
        self.process = self.world.gateway
        self.chain = LedgerChain("good-1")
        self.world.grant("good-1", "ledger", self.chain.write_genesis(self.world.folder / "good-1.block"), ["alice"])
        self.world.pki.issue_agent("alice")
        self.link = None
        self.acked_next = 0

    def begin(self):
        self.world.prepare()
        self.world.devchain.start()
        self.arm()
        self.process.start()
        self.process.wait_log("chain-enrolled")
        self.process.stop()
        self.start()

    def is_ready(self):
        return self.world.gateway_ready()

    def expect(self):
        self.oracle.expect("good-1", [block.raw for block in self.chain.blocks])

    # ---- the good agent ----

    def let_go(self):
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

    def serve(self):
        """One more block becomes durable and final; the link is made again as often as it ends.

        False: the daemon has ended.
        """
        self.chain.grow(1)
        deadline = time.monotonic() + PATIENCE_S * SLOW
        trouble = None
        while self.process.running:
            try:
                if self.acked_next < len(self.chain.blocks):
                    self.offer()
                elif self.anchored():
                    return True
                else:
                    time.sleep(0.01)
            except LINK_ENDS as end:
                trouble = end
                self.let_go()
                time.sleep(0.02)
            if time.monotonic() > deadline:
                raise self.violation(f"block {self.chain.tip.height} is not served, {self.acked_next} is next: {trouble!r}")
        return False

    # ---- the operator ----

    def ask_all(self):
        """What an operator may ask, and what each answer looks like: (question) -> (status, shape)."""
        answers = {}
        for path in ("/metrics", "/readyz", "/api/v1/status", "/api/v1/chains"):
            status, text = self.world.http(path)
            answers[path] = (status, shape(text))
        for words in (["status"], ["chains", "list"], ["chains", "show", "good-1"], ["pending"], ["anchors", "list"],
                      ["quarantine", "list"], ["audit", "list"], ["proof", "get", "good-1", 1, "--out", "one.proof"]):
            result = self.world.cli(*words, *([] if "--out" in words else ["--json"]), check=False)
            answers[" ".join(map(str, words))] = (result.returncode, shape(result.stdout))
        return answers


def shape(text):
    """A text without its numbers, and without how many rows it has: the names that occur in it."""
    return frozenset(re.findall(r'"[a-z_]+":|^zonerelay_\w+', text, re.M))
