"""oracle.py -- the one judge of a run: is every promise that left the gateway kept, and nothing else done?

    oracle = Oracle(world)                 # Watches memory, descriptors, disk and readers from now on.
    oracle.gather()                        # Now and then, and in check(): what the agents have receipts for.
    oracle.acked("tq-1", 12, tip)          # An obligation from elsewhere: a receipt that left the gateway.
    oracle.expect("tq-1", blocks)          # What the source holds, in order; expect_agents() asks the agents.
    oracle.check()                         # At the end, faults off. Says everything that is wrong at once.

Every acknowledged height is an obligation: it and all below it must be on the main chain exactly once,
in order, as the source has it, byte for byte. The main chain may hold nothing that no source holds. The books of
the gateway must balance, its store be sound, a sample of proofs convince somebody offline, and
nothing have grown beyond its limit. judge() is the pure part: what was seen goes in, sentences come out.
"""
import collections
import json
import os
import pathlib
import random
import re
import tempfile
import threading
import time

from link_peer import Schema
from records import READERS, ZERO, Malformed, read_anchor, subtree
from world import ROOT, SLOW, Failure

MIB = 1 << 20
EXPORT_BLOCKS_MAX = 3000  # Of a longer chain a sample of that many is compared byte for byte.
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

Limits = collections.namedtuple("Limits", "gateway_bytes agent_bytes gateway_descriptors agent_descriptors reader_s",
                                defaults=(128 * MIB, 48 * MIB, 512, 64, 10))


class Violation(Failure):
    """Promises that were not kept, one a line."""


class Source:
    """One chain as its source holds it; heights that the source does not have any more are None."""

    def __init__(self, name, form, blocks, whole=True):
        self.name = name
        self.raws = list(blocks)
        self.headers = [raw and READERS[form](raw) for raw in self.raws]
        self.whole = whole  # All of it must be on the main chain in the end, not only what was acknowledged.
        self.first = next((height for height, raw in enumerate(self.raws) if raw), 0)


class Facts:
    """What was found at the end of a run."""

    def __init__(self):
        self.anchors = []  # records.Anchor, as the main chain holds them, oldest first.
        self.stored = {}   # (chain, height) -> the block's bytes, as the gateway's store gives them.
        self.books = {}    # received, anchored, pending, quarantined, tombstoned
        self.runs = []     # (chain, first, last, seq, root) of the anchor receipts that agents hold.
        self.peaks = {}    # What was measured -> (highest value, limit)
        self.faults = []   # What other judges said: proofs, spool verify.


# ---- the judge: pure ----

def judge(sources, obligations, facts):
    """Everything that is wrong, as sentences. obligations: (chain, height) -> block hash, or None if unknown."""
    wrong = list(facts.faults)
    wrong += judge_lane(facts.anchors)
    held = collections.defaultdict(int)  # Chain -> the first height that is not on the main chain.
    for anchor in facts.anchors:
        for entry in anchor.entries:
            wrong += judge_entry(anchor, entry, sources.get(entry.name), held)
    wrong += judge_end(sources, obligations, held)
    for (name, height), raw in facts.stored.items():
        source = sources[name]
        if height < len(source.raws) and source.raws[height] not in (None, raw):
            wrong.append(f"{name}: block {height} in the store is not the source's, byte for byte")
    wrong += judge_runs(facts)
    books = facts.books
    if books:
        total = books["received"] - sum(value for name, value in books.items() if name != "received")
        if total != 0:
            wrong.append(f"the books do not balance, the sum is {total:g}: {books}")
    wrong += [f"{what} was {value:g}, above {limit:g}" for what, (value, limit) in sorted(facts.peaks.items())
              if value > limit]
    return wrong


def judge_lane(anchors):
    wrong = []
    previous = ZERO
    for index, anchor in enumerate(anchors):
        if anchor.seq != index + 1 or anchor.previous != previous:
            wrong.append(f"anchor {anchor.seq} does not follow on the one before")
        previous = anchor.root
    return wrong


def judge_entry(anchor, entry, source, held):
    """One run of one chain: is it the next one, and what the source has?"""
    if source is None or not source.raws:
        return [f"{entry.name}: {entry.first}..{entry.last} are on the main chain and no source has such a chain"]
    where = f"{entry.name}: {entry.first}..{entry.last} in anchor {anchor.seq}"
    expected = held.get(entry.name, source.first)
    wrong = []
    if entry.first < expected:
        wrong.append(f"{where} are anchored twice or out of order, {expected} was next")
    elif entry.first > expected:
        wrong.append(f"{where} leave a hole from {expected}")
    held[entry.name] = max(expected, entry.last + 1)
    if entry.last >= len(source.raws):
        return wrong + [f"{where}: the source ends below {len(source.raws)}, nothing vouches for the rest"]
    headers = source.headers[entry.first:entry.last + 1]
    genesis = source.headers[0]
    if genesis is not None and entry.epoch != genesis.hash:
        wrong.append(f"{where} have another epoch than the source")
    if headers[-1] is not None and entry.tip != headers[-1].hash:
        wrong.append(f"{where}: block {entry.last} is not the source's")
    if None not in headers and entry.subtree != subtree(headers, anchor.alg):
        wrong.append(f"{where} are not the source's blocks")
    return wrong


def judge_end(sources, obligations, held):
    wrong = []
    lost = collections.defaultdict(list)
    for (name, height), block_hash in obligations.items():
        source = sources.get(name)
        if height >= held.get(name, 0):
            lost[name].append(height)
        elif None not in (block_hash, source_hash(source, height)) and block_hash != source_hash(source, height):
            wrong.append(f"{name}: the receipt for {height} is for another block than the source has")
    for name, heights in lost.items():
        wrong.append(f"{name}: LOST: {max(heights)} was acknowledged, the main chain ends below {held.get(name, 0)}")
    for name, source in sources.items():
        if source.whole and held.get(name, source.first) < len(source.raws) and name not in lost:
            wrong.append(f"{name}: the source ends below {len(source.raws)}, the main chain below {held.get(name, 0)}")
    return wrong


def source_hash(source, height):
    """None where the source cannot say."""
    header = source.headers[height] if source is not None and height < len(source.headers) else None
    return header and header.hash


def judge_runs(facts):
    """Each anchor receipt that an agent holds speaks of an anchor that is there."""
    there = {(entry.name, entry.first, entry.last, anchor.seq, anchor.root)
             for anchor in facts.anchors for entry in anchor.entries}
    return [f"{run[0]}: the agent's receipt for {run[1]}..{run[2]} names an anchor that is not on the main chain"
            for run in facts.runs if run not in there]


# ---- what a run looks like from outside ----

def size_of(text):
    number, unit = str(text).split()
    return int(number) * UNITS[unit]


class Watch(threading.Thread):
    """Looks at the processes while the run goes on, and keeps the highest of each measure."""

    def __init__(self, world, limits, every_s=0.5):
        super().__init__(daemon=True)
        self.world, self.limits, self.every_s = world, limits, every_s
        self.peaks = {}
        self.ended = threading.Event()

    def run(self):
        while not self.ended.wait(self.every_s):
            self.look()

    def note(self, what, value, limit):
        self.peaks[what] = (max(value, self.peaks.get(what, (0, 0))[0]), limit)

    def look(self):
        limits, world = self.limits, self.world
        self.process(world.gateway, "gateway", limits.gateway_bytes, limits.gateway_descriptors)
        for agent in list(world.edges.values()):
            self.process(agent, "agent", limits.agent_bytes, limits.agent_descriptors)
        spool = pathlib.Path(world.gateway_settings["spool"]["dir"])
        try:
            used = sum(path.stat().st_size for path in spool.iterdir())
            self.note("spool, bytes", used, size_of(world.gateway_settings["spool"]["size"]) + MIB)
        except OSError:
            pass  # Not made yet, or just being replaced.
        metrics = world.metrics()
        self.note("oldest reader, s", metrics.get("zonerelay_spool_oldest_reader_seconds", 0), limits.reader_s * SLOW)
        if "zonerelay_spool_used_bytes" in metrics:
            self.note("spool in use, bytes", metrics["zonerelay_spool_used_bytes"], metrics["zonerelay_spool_limit_bytes"])

    def process(self, process, what, bytes_max, descriptors_max):
        if not process.running:
            return
        try:
            proc = pathlib.Path(f"/proc/{process.process.pid}")
            memory = re.search(r"RssAnon:\s+(\d+) kB", (proc / "status").read_text())
            descriptors = len(os.listdir(proc / "fd"))
            maps = (proc / "maps").read_text()
        except OSError:
            return  # It has ended meanwhile.
        if memory and "libasan" not in maps and "libtsan" not in maps:
            self.note(f"{what}: memory, bytes", int(memory[1]) * 1024, bytes_max)
        self.note(f"{what}: descriptors", descriptors, descriptors_max)


def blocks_in(folder):
    """Height -> bytes of the files HEIGHT.block and NAME_HEIGHT.block."""
    return {int(path.stem.rpartition("_")[2]): path.read_bytes() for path in pathlib.Path(folder).glob("*.block")}


PROOF = Schema(ROOT / "proto/anchor.proto")


class Oracle:
    def __init__(self, world, limits=Limits(), seed=0, proofs=4, gone=None):
        self.world = world
        self.chance = random.Random(seed)
        self.gone = gone or {}  # Chain -> heights that an operator gave up here; the main chain has them.
        self.proofs = proofs    # How many blocks' proofs are looked at.
        self.sources = {}
        self.obligations = {}   # (chain, height) -> block hash, or None where the receipt's holder did not keep it.
        self.runs = set()
        self.watch = Watch(world, limits)
        self.watch.start()
        world.at_stop.append(self.watch.ended.set)

    # ---- what is owed ----

    def expect(self, chain, blocks, whole=True):
        """The source's blocks from height 0, None where it has one no more. With whole all must be there at the end."""
        form = next(one["format"] for one in self.world.chains if one["name"] == chain)
        self.sources[chain] = Source(chain, form, blocks, whole)

    def acked(self, chain, height, block_hash=None):
        """A receipt for height left the gateway; for all below it, too (P1)."""
        known = self.obligations.get((chain, height))
        assert None in (known, block_hash) or known == block_hash, f"{chain}: two receipts for different blocks {height}"
        self.obligations[chain, height] = block_hash or known

    def gather(self):
        """What the agents have receipts for, running or not. True if all that ran could say."""
        return all([self.gather_chain(agent, chain["name"]) or self.world.edges[agent].process is None
                    for agent, settings in self.world.edge_settings.items() for chain in settings["chains"]])

    def gather_chain(self, agent, chain):
        listed = self.world.run("zonerelay-edge", "receipts", chain, "--json", "--config",
                                self.world.folder / f"{agent}.yaml", check=False)
        for line in listed.stdout.splitlines():
            receipt = json.loads(line)
            if receipt["kind"] == "custody":
                self.acked(chain, receipt["to"], bytes.fromhex(receipt["tip"]))
            else:
                self.acked(chain, receipt["to"])
                self.runs.add((chain, receipt["from"], receipt["to"], receipt["seq"], bytes.fromhex(receipt["root"])))
        return listed.returncode == 0

    def expect_agents(self, counts=None, timeout=60):
        """The blocks of every agent's source, once it has as many as counts says for its chain."""
        chains = [(agent, chain) for agent, settings in self.world.edge_settings.items() for chain in settings["chains"]]
        for agent, chain in chains:
            name = chain["name"]
            if counts and name in counts:
                self.world.wait(lambda: self.height_of(agent, name) >= counts[name], f"{counts[name]} blocks of {name}",
                                timeout)
            self.expect(name, self.source_blocks(agent, chain))
        return self

    def height_of(self, agent, name):
        return next((chain["next"] for chain in self.world.edge_status(agent).get("chains", []) if chain["name"] == name), 0)

    def source_blocks(self, agent, chain):
        if chain["source"]["type"] == "ledger":
            with self.scratch() as folder:
                self.world.run("zonerelay-edge", "ledger", "export", chain["name"], folder, "--config",
                               self.world.folder / f"{agent}.yaml", timeout=300)
                blocks = blocks_in(folder)
        else:
            blocks = blocks_in(chain["source"]["dir"])
        return [blocks.get(height) for height in range(max(blocks, default=-1) + 1)]

    def scratch(self):
        """A folder for what is written only to be read; in memory where it can be, for each file is synced."""
        return tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)

    # ---- the end ----

    def check(self, timeout=90):
        """Waits until all that is expected is final, then judges. Raises Violation with everything that is wrong."""
        if not self.sources:
            self.expect_agents()
        self.world.wait(self.gather, "every agent says what it has receipts for", 20)
        try:
            self.wait_final(timeout)
        except Failure as late:
            self.fail(judge(self.sources, self.obligations, self.facts()) or [str(late)], late)
        wrong = judge(self.sources, self.obligations, self.facts())
        if wrong:
            self.fail(wrong)

    def figures(self, torture, part):
        """The highest of each measure, as figures."""
        for what, (value, _) in sorted(self.watch.peaks.items()):
            torture.figure(f"{part}: highest: {what}", round(value, 3))

    def check_receipts(self, timeout=60):
        """Every agent comes to hold the anchor receipts of all that its source has, and refuses none (P10)."""
        def chains():
            return [chain for agent in self.world.edges for chain in self.world.edge_status(agent).get("chains", [])]
        def behind():
            return [chain for chain in chains() if chain["anchored_next"] != chain["next"]]
        self.world.wait(lambda: not behind(), "all agents have all anchor receipts", timeout)
        refused = [f"{chain['name']}: the agent refused {chain['receipts_refused']} receipts" for chain in chains()
                   if chain["receipts_refused"]]
        if refused:
            self.fail(refused)
        return self

    def fail(self, wrong, cause=None):
        raise Violation("\n".join([f"{len(wrong)} violations:", *wrong[:50]])) from cause

    def wait_final(self, timeout):
        def final():
            states = self.world.chain_states()
            due = {name: max([height + 1 for chain, height in self.obligations if chain == name]
                             + [len(source.raws) if source.whole else 0]) for name, source in self.sources.items()}
            return all(states.get(name, {}).get("anchored_next", 0) >= count for name, count in due.items())
        self.world.wait(final, "everything that is expected is final", timeout)

    def facts(self):
        facts = Facts()
        facts.runs = sorted(self.runs)
        self.read_lane(facts)
        self.read_store(facts)
        self.read_books(facts)
        self.try_proofs(facts)
        self.watch.look()
        facts.peaks = dict(self.watch.peaks)
        return facts

    def read_lane(self, facts):
        head = self.world.main_chain("/v1/lanes/0/head")
        for seq in range(1, head["seq"] + 1):
            content = self.world.main_chain_bytes(f"/v1/lanes/0/sequence/{seq}")
            try:
                facts.anchors.append(read_anchor(content))
            except Malformed as problem:
                facts.faults.append(f"anchor {seq} on the main chain: {problem}")

    def read_store(self, facts):
        config = self.world.folder / "gateway.yaml"
        result = self.world.run("zonerelay", "spool", "verify", "--config", config, check=False, timeout=300)
        if result.returncode != 0:
            facts.faults.append(f"spool verify ended with {result.returncode}: {result.stdout}{result.stderr}")
        for name, source in self.sources.items():
            self.read_blocks(facts, name, source)

    def read_blocks(self, facts, name, source):
        state = self.world.ask("chains", "show", name)
        first, end = state["held_from"], min(state["next_height"], len(source.raws))
        if end - first > EXPORT_BLOCKS_MAX:
            first = self.chance.randrange(first, end - EXPORT_BLOCKS_MAX)
            end = first + EXPORT_BLOCKS_MAX
        if first >= end:
            return
        with self.scratch() as out:
            export = self.world.run("zonerelay", "spool", "export", name, f"{first}..{end - 1}", "--config",
                                    self.world.folder / "gateway.yaml", "--out", out, check=False, timeout=300)
            facts.stored.update({(name, height): raw for height, raw in blocks_in(out).items()})
        missing = [height for height in range(first, end)
                   if (name, height) not in facts.stored and height not in self.gone.get(name, ())]
        if missing:
            facts.faults.append(f"{name}: the store does not give {len(missing)} blocks, {missing[0]} first: {export.stderr}")

    def read_books(self, facts):
        """Received = anchored + pending + quarantined + tombstoned, with pending counted chain by chain."""
        def books():
            metrics, chains = self.world.metrics(), self.world.chain_states().values()
            return {"received": metrics["zonerelay_blocks_received_total"],
                    "anchored": metrics["zonerelay_blocks_anchored_total"],
                    "pending": sum(chain["pending_blocks"] for chain in chains),
                    "quarantined": metrics["zonerelay_blocks_in_quarantine"],
                    "tombstoned": metrics["zonerelay_blocks_tombstoned"]}
        facts.books = books()
        deadline = time.monotonic() + 5 * SLOW  # Two answers of two moments, where work still goes on.
        while judge({}, {}, facts_of_books(facts.books)) and time.monotonic() < deadline:
            time.sleep(0.2)
            facts.books = books()

    def try_proofs(self, facts):
        blocks = sorted((entry.name, height) for anchor in facts.anchors for entry in anchor.entries
                        if entry.name in self.sources for height in range(entry.first, entry.last + 1)
                        if height not in self.gone.get(entry.name, ()))
        for name, height in self.chance.sample(blocks, min(self.proofs, len(blocks))):
            self.try_proof(facts, name, height)

    def try_proof(self, facts, name, height):
        with self.scratch() as out:
            path = pathlib.Path(out) / "proof"
            got = self.world.cli("proof", "get", name, height, "--out", path, check=False)
            if got.returncode != 0:
                facts.faults.append(f"{name}: no proof of block {height}: {got.stderr.strip()}")
                return
            verified = self.world.run("zonerelay", "proof", "verify", path, "--trusted", self.world.trusted, check=False)
            proof = PROOF.decode("Proof", path.read_bytes())
        if verified.returncode != 0:
            facts.faults.append(f"{name}: the proof of block {height} does not verify: {verified.stdout.strip()}")
        source = self.sources[name]
        raw = source.raws[height] if height < len(source.raws) else None
        if raw is not None and proof.get("block", raw) != raw or \
                raw is not None and proof["header_record"] != source.headers[height].record:
            facts.faults.append(f"{name}: the proof of block {height} is for another block than the source's")


def facts_of_books(books):
    facts = Facts()
    facts.books = books
    return facts
