"""The oracle itself: it is content with an honest run, and names each kind of violation when it is fed one."""
import os
import struct

import pytest

from ledger_maker import LedgerChain
from oracle import Facts, Oracle, Source, Violation, judge
from records import Malformed, fabric_header, ledger_header, read_anchor, subtree
from world import ROOT, World
from generate import anchor_content, entry_record  # records.py makes it known

BUILD = os.environ.get("ZR_BUILD", ROOT / "build")
RAFT = ROOT / "tests/data/fabric/raft-edge-1"
BLOCKS = 9


@pytest.fixture(scope="module")
def chains():
    made = {name: LedgerChain(name) for name in ("tq-1", "tq-2")}
    for chain in made.values():
        chain.grow(BLOCKS - 1)
    return made


class Run:
    """Facts of an honest run of two chains; a test changes what it likes before judge()."""

    def __init__(self, chains):
        self.chains = chains
        self.entries = [[("tq-1", 0, 3), ("tq-2", 0, 8)], [("tq-1", 4, 4)], [("tq-1", 5, 8)]]  # Of each anchor.
        self.blocks = {name: [block.raw for block in chain.blocks] for name, chain in chains.items()}
        self.whole = True
        self.owed = {("tq-1", 8): chains["tq-1"].blocks[8].hash, ("tq-2", 5): None}
        self.facts = Facts()
        self.facts.books = {"received": 18, "anchored": 18, "pending": 0, "quarantined": 0, "tombstoned": 0}
        self.facts.stored = {(name, height): raw for name, raws in self.blocks.items() for height, raw in enumerate(raws)}
        self.facts.peaks = {"memory, bytes": (10, 20)}

    def entry(self, name, first, last):
        chain = self.chains[name]
        headers = [ledger_header(block.raw) for block in chain.blocks[first:last + 1]]
        return entry_record(name.encode(), chain.epoch, first, last, headers[-1].hash, 1, subtree(headers))

    def anchors(self):
        previous = bytes(32)
        for index, entries in enumerate(self.entries):
            content = anchor_content(1, 1, 0, index + 1, previous, [self.entry(*entry) for entry in entries])
            anchor = read_anchor(content)
            previous = anchor.root
            yield anchor

    def judge(self):
        self.facts.anchors = self.facts.anchors or list(self.anchors())
        sources = {name: Source(name, "ledger", raws, self.whole) for name, raws in self.blocks.items()}
        return judge(sources, self.owed, self.facts)


@pytest.fixture
def run(chains):
    return Run(chains)


def only(wrong, *words):
    """Exactly one violation, and it says so."""
    assert len(wrong) == 1, wrong
    assert all(word in wrong[0] for word in words), wrong
    return wrong[0]


def test_an_honest_run_is_found_honest(run):
    assert run.judge() == []


def test_an_acknowledged_block_that_is_not_there_is_lost(run):
    run.entries.pop()
    only(run.judge(), "tq-1: LOST: 8 was acknowledged", "ends below 5")


def test_an_acknowledged_chain_that_is_not_there_at_all_is_lost(run):
    run.entries[0].pop()
    run.blocks["tq-2"] = []
    del run.owed["tq-1", 8]
    run.facts.stored = {}
    only(run.judge(), "tq-2: LOST: 5")


def test_a_source_that_was_not_carried_to_its_end_is_no_convergence(run):
    run.entries[0][1] = ("tq-2", 0, 6)
    only(run.judge(), "tq-2: the source ends below 9, the main chain below 7")
    run.whole = False
    assert run.judge() == []


def test_what_is_anchored_twice_is_seen(run):
    run.entries.append([("tq-1", 8, 8)])
    only(run.judge(), "tq-1: 8..8 in anchor 4 are anchored twice")


def test_what_overlaps_is_anchored_twice(run):
    run.entries[2] = [("tq-1", 4, 8)]
    only(run.judge(), "tq-1: 4..8 in anchor 3 are anchored twice or out of order, 5 was next")


def test_an_order_that_is_not_the_source_s_is_seen(run):
    run.entries[1], run.entries[2] = run.entries[2], run.entries[1]
    wrong = run.judge()
    assert any("leave a hole from 4" in one for one in wrong)
    assert any("4..4 in anchor 3 are anchored twice or out of order" in one for one in wrong)


def test_a_hole_is_seen(run):
    run.entries[1:2] = []
    only(run.judge(), "tq-1: 5..8 in anchor 2 leave a hole from 4")


def test_a_changed_byte_in_a_block_that_was_anchored_is_seen(run):
    raw = bytearray(run.blocks["tq-1"][4])
    raw[raw.index(b"ZRb1") + 80] ^= 1  # In the data root, so in the hash.
    run.blocks["tq-1"][4] = bytes(raw)
    run.facts.stored = {}
    wrong = run.judge()
    assert [one for one in wrong if "block 4 is not the source's" in one]
    assert [one for one in wrong if "4..4 in anchor 2 are not the source's blocks" in one]


def test_a_changed_byte_that_no_hash_covers_is_seen_in_the_store(run):
    raw = bytearray(run.facts.stored["tq-1", 4])
    raw[-1] ^= 1  # In the seal.
    run.facts.stored["tq-1", 4] = bytes(raw)
    only(run.judge(), "tq-1: block 4 in the store is not the source's, byte for byte")


def test_a_block_inside_a_run_that_is_another_is_seen(run, chains):
    twin = LedgerChain("tq-1")
    run.blocks["tq-1"][2] = twin.make([b"another"], height=2, parent=chains["tq-1"].blocks[1].hash).raw
    run.facts.stored = {}
    only(run.judge(), "tq-1: 0..3 in anchor 1 are not the source's blocks")


def test_a_receipt_for_another_block_is_seen(run):
    run.owed["tq-1", 8] = bytes(32)
    only(run.judge(), "tq-1: the receipt for 8 is for another block")


def test_a_chain_that_no_source_has_is_unverified(run):
    del run.blocks["tq-2"]
    del run.owed["tq-2", 5]
    run.facts.stored = {}
    only(run.judge(), "tq-2: 0..8 are on the main chain and no source has such a chain")


def test_blocks_beyond_what_the_source_holds_are_unverified(run):
    run.blocks["tq-2"].pop()
    only(run.judge(), "tq-2: 0..8 in anchor 1", "nothing vouches for the rest")


def test_another_chain_under_the_same_name_is_unverified(run):
    other = LedgerChain("tq-1", seeds=[b"B" * 32])
    other.grow(BLOCKS - 1)
    run.blocks["tq-1"] = [block.raw for block in other.blocks]
    run.facts.stored = {}
    assert [one for one in run.judge() if "have another epoch than the source" in one]


def test_a_sum_that_is_not_zero_is_seen(run):
    run.facts.books["anchored"] -= 1
    only(run.judge(), "the books do not balance, the sum is 1")
    run.facts.books["anchored"] += 2
    only(run.judge(), "the books do not balance, the sum is -1")


def test_a_limit_that_was_passed_is_seen(run):
    run.facts.peaks["descriptors"] = (65, 64)
    only(run.judge(), "descriptors was 65, above 64")


def test_an_anchor_that_does_not_follow_is_seen(run):
    run.facts.anchors = list(run.anchors())
    run.facts.anchors[1] = run.facts.anchors[1]._replace(previous=bytes(32))
    only(run.judge(), "anchor 2 does not follow")


def test_a_receipt_that_names_an_anchor_which_is_not_there_is_seen(run):
    run.facts.anchors = list(run.anchors())
    run.facts.runs = [("tq-1", 4, 4, 2, run.facts.anchors[1].root), ("tq-1", 5, 8, 2, run.facts.anchors[2].root)]
    only(run.judge(), "tq-1: the agent's receipt for 5..8 names an anchor")


def test_what_other_judges_say_is_said(run):
    run.facts.faults.append("spool verify ended with 4")
    only(run.judge(), "spool verify")


def test_an_anchor_is_read_to_its_last_byte(run):
    content = anchor_content(1, 1, 0, 1, bytes(32), [run.entry("tq-1", 0, 3)])
    assert read_anchor(content).entries[0].last == 3
    for bad in (content[:-1], content + b"\0", content.replace(b"tq-1", b"tq-9"), b"ZRa2" + content[4:]):
        with pytest.raises(Malformed):
            read_anchor(bad)


def test_header_records_are_those_of_the_worked_fabric_blocks():
    """Links of a real chain: each block's hash is the next one's parent."""
    headers = [fabric_header((RAFT / f"{height}.block").read_bytes()) for height in range(11)]
    assert [header.height for header in headers] == list(range(11))
    for before, after in zip(headers, headers[1:]):
        assert after.parent == before.hash


def test_it_sees_through_a_real_run(tmp_path):
    """Content with a real gateway and agent; not with what they have not done."""
    with World(tmp_path, BUILD) as world:
        folder = world.add_fabric_edge("e1", "raft-1", RAFT / "0.block")
        for height in range(11):
            (folder / f"{height}.block").write_bytes((RAFT / f"{height}.block").read_bytes())
        world.start()
        oracle = Oracle(world)
        oracle.check()
        world.wait(lambda: oracle.gather() and ("raft-1", 10) in oracle.obligations, "the agent has its receipt")
        world.wait(lambda: oracle.facts().books["anchored"] == 11, "the metrics, which are a moment old, know of it")
        facts = oracle.facts()
        assert len(facts.stored) == 11 and facts.anchors
        assert {"gateway: descriptors", "agent: descriptors", "spool, bytes", "oldest reader, s"} <= set(facts.peaks)

        blocks = oracle.sources["raft-1"].raws
        oracle.expect("raft-1", blocks[:10])
        with pytest.raises(Violation, match="nothing vouches for the rest"):
            oracle.check()
        changed = bytearray(blocks[7])
        changed[-1] ^= 1
        oracle.expect("raft-1", [*blocks[:7], bytes(changed), *blocks[8:]])
        with pytest.raises(Violation, match="block 7 in the store is not the source's"):
            oracle.check()
        oracle.expect("raft-1", blocks)
        oracle.acked("raft-1", 11)
        with pytest.raises(Violation, match="LOST: 11 was acknowledged"):
            oracle.check(timeout=2)
