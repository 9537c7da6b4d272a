"""siege.py -- a gateway under attack: the good agent beside whom everything bad happens, and what must stay true.

    with Siege(folder, chains=["bad-1"]) as siege:
        with siege.unharmed(log="batch-quarantined", metric='batches_rejected_total{reason="link"}'):
            with siege.link("mallory") as link: ...

unharmed() looks at the daemon before and after: that the event is in the log, the counter moved, the
good agent's next block is durable at once, the process is the same one, and its memory has not grown beyond
a bound. Siege.close() lets the oracle judge: what was acknowledged to anybody is on the main chain, and nothing else is.
"""
import contextlib
import os
import pathlib
import re
import time

from ledger_maker import LedgerChain
from link_peer import LinkPeer
from oracle import Limits, Oracle
from world import ROOT, World

BUILD = os.environ.get("ZR_BUILD", ROOT / "build")
MIB = 1 << 20


class Siege:
    """A World with chains that the test itself writes, all granted to one agent, "mallory"."""

    def __init__(self, folder, chains=(), settings=None):
        self.world = World(folder, BUILD)
        self.chains = {name: LedgerChain(name, [bytes([65 + index]) * 32])
                       for index, name in enumerate(["good", *chains])}
        for name, chain in self.chains.items():
            trust = chain.write_genesis(self.world.folder / f"{name}.block")
            self.world.grant(name, "ledger", trust, ["alice" if name == "good" else "mallory"])
        for agent in ("alice", "mallory"):
            self.world.pki.issue_agent(agent)
        for section, values in (settings or {}).items():
            self.world.gateway_settings.setdefault(section, {}).update(values)
        self.alice = None    # The good agent's link; the next block opens it again where it was closed.
        self.stored = {}     # Chain -> how many blocks the main chain must hold in the end.
        self.foreign = {}    # The same of chains that are not in self.chains: their blocks.
        self.oracle = Oracle(self.world, Limits(gateway_descriptors=8192))  # Thousands of connections are tried.
        self.waits_ms = []   # How long the good agent waited for each receipt.

    def add_chain(self, name, chain, agents=("mallory",)):
        """One more chain, made by the test in its own way; before start()."""
        self.chains[name] = chain
        self.world.grant(name, "ledger", chain.write_genesis(self.world.folder / f"{name}.block"), agents)

    def start(self):
        self.world.start()
        for name in self.chains:
            self.world.gateway.wait_log(f"chain-enrolled chain={name} ")
        self.alice_joins()
        self.alice.store(self.chains["good"].blocks)
        return self

    def alice_joins(self):
        self.alice = self.link("alice")
        self.alice.hello([self.chains["good"].hello()])

    def alice_leaves(self):
        self.alice.close()
        self.alice = None

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.world.stop()  # Nobody calls __exit__ for what was never entered.
            raise

    def __exit__(self, kind, *_):
        if kind is None:
            self.close()
        else:
            self.world.stop()

    def close(self):
        """The end of a test: everything good is anchored, nothing else is, and the books agree."""
        self.stored["good"] = len(self.chains["good"].blocks)
        for name, count in self.stored.items():
            self.oracle.expect(name, [block.raw for block in self.chains[name].blocks[:count]])
        for name, blocks in self.foreign.items():
            self.oracle.expect(name, blocks)
        try:
            self.oracle.check()
        finally:
            self.world.stop()

    # ---- what is there ----

    @property
    def pid(self):
        return self.world.gateway.process.pid

    def memory(self):
        """Bytes of its own memory (the spool's mapped pages apart), and open descriptors."""
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) * 1024, len(os.listdir(f"/proc/{self.pid}/fd"))

    @property
    def instrumented(self):
        """Built with a sanitizer, which keeps freed memory back and says little by its size."""
        maps = pathlib.Path(f"/proc/{self.pid}/maps").read_text()
        return "libasan" in maps or "libtsan" in maps

    def metric(self, name):
        """A sample, or the sum of a family's; without the prefix."""
        return sum(value for sample, value in self.world.metrics().items()
                   if sample == f"zonerelay_{name}" or sample.startswith(f"zonerelay_{name}{{"))

    def link(self, agent, port=None, **options):
        pki = self.world.pki
        return LinkPeer(port or self.world.gateway_port, pki.certificate(f"agent-{agent}"), pki.key(f"agent-{agent}"), pki.ca,
                        on_ack=self.oracle.acked, **options)

    @contextlib.contextmanager
    def carrying(self, *names, agent="mallory", **options):
        """A link of an agent that was welcomed with these chains; .welcome is the answer."""
        with self.link(agent, **options) as link:
            link.welcome = link.hello([self.chains[name].hello() for name in names])
            yield link

    def quarantined(self, chain):
        return [item for item in self.world.ask("quarantine", "list")["items"] if item["chain"] == chain]

    # ---- what must stay true ----

    def good_block(self, wait_max_s=5):
        """The good agent's next block, durable within the time."""
        began = time.monotonic()
        if self.alice is None:
            self.alice_joins()
        self.alice.store(self.chains["good"].grow(1))
        wait_s = time.monotonic() - began
        self.waits_ms.append(wait_s * 1000)
        assert wait_s < wait_max_s, f"the good agent waited {wait_s:.1f} s for its receipt"

    def wait(self, condition, what, timeout=10):
        return self.world.wait(condition, what, timeout)

    @contextlib.contextmanager
    def unharmed(self, log=None, metric=None, grows_max=16 * MIB, anchored=False, timeout=10):
        """What happens inside is told, counted, bounded, and nobody else's trouble."""
        pid, (before, _), at = self.pid, self.memory(), len(self.world.gateway.log())
        count = self.metric(metric) if metric else 0
        yield
        for text in [log] if isinstance(log, str) else log or []:
            self.world.gateway.wait_log(text, timeout, at)
        if metric:
            self.wait(lambda: self.metric(metric) > count, f"{metric} moved from {count}", timeout)
        self.good_block()
        if anchored:
            self.world.wait_anchored({"good": len(self.chains["good"].blocks)})
        assert self.world.gateway.running and self.pid == pid
        grown = self.memory()[0] - before
        assert grown <= grows_max or self.instrumented, f"the daemon has grown by {grown / MIB:.1f} MiB"
