"""The gateway against agents that do the right things, the wrong things, and nothing at all."""
import hashlib
import os
import pathlib
import signal
import socket
import struct
import subprocess
import time

import pytest

from gate import BUILD, Gate  # First: it says where agent_client is.
from pki import make_pki
from agent_client import CODEC_ZSTD, Closed, Key, Link, raw_batch, zstd_frame_of_zeros


@pytest.fixture
def gate(tmp_path):
    with Gate(tmp_path, BUILD) as made:
        yield made


# ---- the journey -----------------------------------------------------------------------------------


def test_a_batch_is_acked_when_it_is_durable_and_anchored_afterwards(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(9)
    gate.begin()
    with Link(gate, "edge-1") as link:
        welcome = link.hello([chain.hello("tq-1")])
        assert welcome["chains"][0]["state"] == "CHAIN_STATE_ACTIVE"
        assert welcome["chains"][0].get("next_height", 0) == 0
        link.send_blocks(0, chain, 0, 4)
        link.send_blocks(0, chain, 5, 9)
        first = link.wait("ack")
        assert first["durable_next"] == 5
        assert first["custody"]["commit_number"] >= 1 and first["custody"]["signature"]
        assert link.wait_durable(10)["durable_next"] == 10
        heights = []
        while len(heights) < 10:
            for entry in link.wait("anchored")["entries"]:
                heights += range(entry.get("from", 0), entry["to"] + 1)
        assert heights == list(range(10))
    assert gate.audit()["tq-1"]["blocks"] == 10


def test_each_ack_names_what_is_durable_and_no_more(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(12)
    gate.begin(main_chain=False)
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        for first in range(0, 12, 2):  # All at once: while one is written, those behind it are verified.
            link.send_blocks(0, chain, first, first + 1)
        for first in range(0, 12, 2):
            ack = link.wait("ack")
            assert (ack.get("from", 0), ack["durable_next"]) == (first, first + 2)


def test_what_was_acked_is_there_after_kill_9_and_what_was_not_is_asked_for(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(60)
    gate.begin(main_chain=False)
    acked = 0
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        for first in range(0, 20, 2):
            link.send_blocks(0, chain, first, first + 1)
        acked = link.wait("ack")["durable_next"]
        gate.gateway.kill()
    gate.gateway.start()
    with Link(gate, "edge-1") as link:
        welcome = link.hello([chain.hello("tq-1")])["chains"][0]
        following = welcome.get("next_height", 0)
        assert following >= acked
        assert welcome["tip_hash"] == chain.hashes[following - 1]
        link.send_blocks(0, chain, following, 60)
        link.wait_durable(61)


def test_an_unfinished_batch_is_resumed_over_another_link(gate):
    chain = gate.add_ledger("tq-1", "edge-1")
    chain.add([bytes(200_000)])
    payload = raw_batch(chain.blocks[:2])
    gate.begin(main_chain=False)
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        header = link.batch_header(payload, 0, 2, chain.hashes[1])
        link.send_payload(0, payload, header, end=65536 * 2)
        link.send("ping", {"number": 7})
        assert link.wait("pong")["number"] == 7
    with Link(gate, "edge-1") as link:
        welcome = link.hello([chain.hello("tq-1")])["chains"][0]
        assert welcome["partial_batch"] == hashlib.sha256(payload).digest()
        assert welcome["partial_size"] == 65536 * 2
        link.send_payload(0, payload, header, begin=65536 * 2)
        link.wait_durable(2)


def test_a_new_link_of_the_same_agent_replaces_the_old_one(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(1)
    gate.begin(main_chain=False)
    with Link(gate, "edge-1") as old, Link(gate, "edge-1") as new:
        old.hello([chain.hello("tq-1")])
        assert new.hello([chain.hello("tq-1")])["chains"][0]["state"] == "CHAIN_STATE_ACTIVE"
        assert old.wait_closed()["reason"] == "GOODBYE_REASON_REPLACED"
        new.send_blocks(0, chain, 0, 1)
        new.wait_durable(2)


def test_a_standby_takes_over_when_the_active_agent_leaves(gate):
    chain = gate.add_ledger("tq-1", "edge-1", "edge-2").grow(3)
    gate.begin(main_chain=False)
    with Link(gate, "edge-2") as second:
        with Link(gate, "edge-1") as first:
            first.hello([chain.hello("tq-1")])
            welcome = second.hello([chain.hello("tq-1")])
            assert welcome["chains"][0]["state"] == "CHAIN_STATE_STANDBY"
            second.send_blocks(0, chain, 0, 1)
            assert second.wait("reject")["reason"] == "REJECT_REASON_DENIED"
            first.send_blocks(0, chain, 0, 1)
            first.wait_durable(2)
        update = second.wait("chain_update")["welcome"]
        assert update["state"] == "CHAIN_STATE_ACTIVE" and update["next_height"] == 2
        second.send_blocks(0, chain, 2, 3)
        second.wait_durable(4)


def test_what_one_agent_began_is_not_another_s_to_finish(gate):
    chain = gate.add_ledger("tq-1", "edge-1", "edge-2")
    chain.add([bytes(200_000)])
    payload = raw_batch(chain.blocks[:2])
    gate.begin(main_chain=False)
    with Link(gate, "edge-2") as second:
        with Link(gate, "edge-1") as first:
            first.hello([chain.hello("tq-1")])
            second.hello([chain.hello("tq-1")])
            header = first.batch_header(payload, 0, 2, chain.hashes[1])
            false = bytes(len(payload))  # Under the name of what the other one is going to send.
            first.send_payload(0, false, header, end=65536 * 2, name=hashlib.sha256(payload).digest())
            first.send("ping", {"number": 7})
            assert first.wait("pong")["number"] == 7
        update = second.wait("chain_update")["welcome"]
        assert update["state"] == "CHAIN_STATE_ACTIVE" and not update.get("partial_size")
        second.send_blocks(0, chain, 0, 1)
        assert second.wait("ack", "reject")["kind"] == "ack"


def test_what_comes_again_is_acked_again_and_stored_once(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(5)
    gate.begin(main_chain=False)
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        link.send_blocks(0, chain, 0, 5)
        link.wait_durable(6)
        link.send_blocks(0, chain, 0, 5)  # The same batch,
        assert link.wait("ack")["durable_next"] == 6
        link.send_blocks(0, chain, 2, 3)  # and others of the same blocks.
        assert link.wait("ack")["durable_next"] == 6
    gate.wait(lambda: gate.metrics()["zonerelay_blocks_repeated_total"] == 8, "duplicates are counted")
    assert gate.metrics()["zonerelay_blocks_received_total"] == 6


def hand_over(gate, chain, name):
    """The next block of the chain names another key, which seals what follows."""
    former, chain.key = chain.key, Key(gate.folder / "tq-1", name)
    trust = b"ZRt1" + bytes([2, 1, 1]) + struct.pack(">H", len(chain.key.spki)) + chain.key.spki
    raw, digest = chain.make(len(chain.blocks), chain.hashes[-1], [trust], kind=1, key=former)
    chain.blocks.append(raw)
    chain.hashes.append(digest)


def test_a_trust_change_inside_the_pipeline_is_followed(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(3)
    hand_over(gate, chain, "second")
    chain.grow(5)
    gate.begin(main_chain=False)
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        link.send_blocks(0, chain, 0, 4)  # All at once: the second is looked at under the former set first.
        link.send_blocks(0, chain, 5, 7)
        link.send_blocks(0, chain, 8, 9)
        link.wait_durable(10)
    gate.gateway.kill()
    gate.gateway.start()
    chain.grow(1)
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        link.send_blocks(0, chain, 10, 10)
        link.wait_durable(11)


def rot(gate, mark):
    """Wherever it stands: pages that the store has given up keep what they held."""
    data = gate.folder / "spool" / "data.mdb"
    with open(data, "r+b") as file:
        held = file.read()
        at = held.index(mark)
        while at >= 0:
            file.seek(at + 5)
            file.write(bytes([mark[5] ^ 1]))
            at = held.find(mark, at + 1)


def test_a_payload_that_rots_on_the_disk_is_asked_for_again_and_repaired(gate):
    chain = gate.add_ledger("tq-1", "edge-1")
    mark = os.urandom(64)
    chain.add([mark * 20])
    chain.grow(2)
    gate.begin(main_chain=False)
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        link.send_blocks(0, chain, 0, 1)
        link.send_blocks(0, chain, 2, 3)
        link.wait_durable(4)
    gate.gateway.stop()
    rot(gate, mark)
    gate.gateway.start()
    gate.gateway.wait_log("spool-damaged")
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        resend = link.wait("resend")
        assert (resend.get("from", 0), resend["to"]) == (0, 1)
        # The same hashes, but the seal is a stranger's: nothing that main chain may be given.
        good = chain.blocks[1]
        forged, digest = chain.make(1, chain.hashes[0], [mark * 20], key=Key(gate.folder, "stranger"))
        assert digest == chain.hashes[1]
        chain.blocks[1] = forged
        link.send_blocks(0, chain, 0, 1)
        assert link.wait("reject")["reason"] == "REJECT_REASON_UNTRUSTED"
        chain.blocks[1] = good
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        link.wait("resend")
        link.send_blocks(0, chain, 0, 1)
        assert link.wait("ack")["durable_next"] == 4
    gate.gateway.wait_log("batch-repaired")
    assert mark in (gate.folder / "spool" / "data.mdb").read_bytes()
    gate.devchain.start()
    gate.wait_anchored({"tq-1": 4})


def full_gate(gate):
    """Two chains whose blocks are delivered whole; of tq-1 a payload with a mark that can be found on the disk."""
    gate.gateway_settings["classes"] = {"default": {"deliver": "full"}}
    mark = os.urandom(64)
    bad = gate.add_ledger("tq-1", "edge-1")
    bad.add([mark * 20])
    good = gate.add_ledger("tq-2", "edge-2").grow(3)
    gate.begin()
    return bad, good, mark


def store(gate, agent, chain, name, to):
    with Link(gate, agent) as link:
        link.hello([chain.hello(name)])
        link.send_blocks(0, chain, 0, to)
        link.wait_durable(to + 1)


def test_an_intent_whose_payload_rotted_holds_up_its_own_chain_only(gate):
    bad, good, mark = full_gate(gate)
    gate.main_chain("/dev/misbehave", {"seed": 1, "rules": [{"do": "error-before", "on": "put"}]})
    store(gate, "edge-1", bad, "tq-1", 1)
    gate.gateway.wait_log("anchor-intended seq=1")
    store(gate, "edge-2", good, "tq-2", 3)  # Behind it in the lane.
    gate.gateway.stop()
    rot(gate, mark)
    gate.main_chain("/dev/misbehave", {"seed": 1, "rules": []})
    gate.gateway.start()
    gate.wait_anchored({"tq-2": 4})
    gate.wait(lambda: gate.chain("tq-1")["state"] == "frozen", "its own chain is frozen")
    shown = gate.ask("chains", "show", "tq-1")
    assert shown["delivery_held"] and shown["reason"].startswith("unreadable: ")
    assert gate.ask("chains", "show", "tq-2")["state"] == "active"
    assert "tq-1" not in gate.audit()

    # Its agent still has it: once it is allowed to, it brings it again.
    gate.cli("chains", "unfreeze", "tq-1", "--reason", "the agent is back")
    with Link(gate, "edge-1") as link:
        link.hello([bad.hello("tq-1")])
        link.wait("resend")
        link.send_blocks(0, bad, 0, 1)
        link.wait("ack")
    gate.gateway.wait_log("batch-repaired")
    gate.wait_anchored({"tq-1": 2, "tq-2": 4})
    gate.wait(lambda: gate.chain("tq-1")["anchored_next"] == 2, "its receipt is here")


def test_an_intent_that_arrived_before_its_payload_rotted_is_not_anchored_again(gate):
    bad, good, mark = full_gate(gate)
    gate.main_chain("/dev/misbehave", {"seed": 1, "rules": [{"do": "drop-after", "on": "submit"},
                                                           {"do": "error-before", "on": "lookup"}]})
    store(gate, "edge-1", bad, "tq-1", 1)
    gate.wait_anchored({"tq-1": 2})
    gate.gateway.kill()
    rot(gate, mark)
    gate.main_chain("/dev/misbehave", {"seed": 1, "rules": []})
    gate.gateway.start()
    store(gate, "edge-2", good, "tq-2", 3)
    gate.wait_anchored({"tq-1": 2, "tq-2": 4})
    gate.wait(lambda: gate.chain("tq-1")["anchored_next"] == 2, "its receipt is here")
    assert gate.chain("tq-1")["state"] == "active"
    assert "anchor-void" not in gate.gateway.log()


def test_what_a_frozen_chain_holds_back_is_no_burst(gate):
    gate.gateway_settings["main-chain"].update({"anchor-interval": "1 h", "anchor-blocks": 10})
    frozen = gate.add_ledger("tq-1", "edge-1").grow(8)
    chain = gate.add_ledger("tq-2", "edge-2").grow(12)
    gate.begin()
    gate.gateway.wait_log("lane-running")
    store(gate, "edge-1", frozen, "tq-1", 8)
    gate.cli("chains", "freeze", "tq-1", "--hold-delivery", "--reason", "a test")
    with Link(gate, "edge-2") as link:
        link.hello([chain.hello("tq-2")])
        link.send_blocks(0, chain, 0, 0)
        link.wait_durable(1)
        time.sleep(3)
        assert "tq-2" not in gate.audit()
        link.send_blocks(0, chain, 1, 11)  # A whole anchor's worth does not wait.
        gate.wait_anchored({"tq-2": 12})
    assert "tq-1" not in gate.audit()


# ---- blocks that are not right -----------------------------------------------------------------------


def refused(gate, chain, send, reason, then=None):
    """Sends something that is refused with reason; the chain goes on from where it was."""
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        send(link)
        reject = link.wait("reject")
        assert reject["reason"] == f"REJECT_REASON_{reason}", reject
        return reject


def test_blocks_above_a_gap_are_asked_for_from_the_gap_on(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(5)
    gate.begin(main_chain=False)
    reject = refused(gate, chain, lambda link: link.send_blocks(0, chain, 3, 5), "GAP")
    assert reject["action"] == "REJECT_ACTION_RESUME" and reject.get("next_height", 0) == 0


def test_heights_beyond_2_63_are_refused(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(1)
    gate.begin(main_chain=False)
    payload = raw_batch(chain.blocks[:1])
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        link.send_payload(0, payload, link.batch_header(payload, 1 << 63, 1, chain.hashes[0]))
        try:
            kind = link.wait("reject", "goodbye")
        except Closed:
            kind = {"kind": "goodbye"}
        assert kind["kind"] in ("reject", "goodbye")
    assert gate.chain("tq-1")["next_height"] == 0


@pytest.mark.parametrize("what, reason", [("signer", "UNTRUSTED"), ("parent", "LINK"), ("root", "MALFORMED"),
                                          ("seal", "UNTRUSTED"), ("cut", "MALFORMED"), ("height", "LINK"),
                                          ("junk", "MALFORMED"), ("tip", "MALFORMED"), ("count", "MALFORMED")])
def test_a_wrong_block_is_quarantined_whole_and_the_chain_holds(gate, what, reason):
    chain = gate.add_ledger("tq-1", "edge-1").grow(4)
    gate.begin(main_chain=False)
    good = chain.blocks[2]
    header = {}
    bad, tip = good, chain.hashes[2]
    if what == "signer":
        bad, tip = chain.make(2, chain.hashes[1], [b"x"], key=Key(gate.folder, "stranger"))
    elif what == "parent":
        bad, tip = chain.make(2, chain.hashes[0], [b"x"])
    elif what == "height":
        bad, tip = chain.make(7, chain.hashes[1], [b"x"])
    elif what == "root":
        at = good.index(b"reading 2")
        bad = good[:at] + b"writing 2" + good[at + 9:]
    elif what == "seal":
        bad = good[:-1] + bytes([good[-1] ^ 1])
    elif what == "cut":
        bad = good[:-5]
    elif what == "junk":
        bad = bytes(300)
    elif what == "tip":
        tip = chain.hashes[3]
    elif what == "count":
        header = {"block_count": 2}
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        link.send_blocks(0, chain, 0, 1)
        link.wait_durable(2)
        payload = raw_batch([bad])
        link.send_payload(0, payload, dict(link.batch_header(payload, 2, 1, tip), **header))
        reject = link.wait("reject")
        assert reject["reason"] == f"REJECT_REASON_{reason}", reject
        assert reject["action"] == "REJECT_ACTION_HOLD"
        gate.gateway.wait_log("batch-quarantined chain=tq-1")
        # The same again is refused again, and kept once.
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        link.send_payload(0, payload, dict(link.batch_header(payload, 2, 1, tip), **header))
        assert link.wait("reject")["reason"] == f"REJECT_REASON_{reason}"
        gate.gateway.wait_log("outcome=known")
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        link.send_blocks(0, chain, 2, 4)
        link.wait_durable(5)


def test_a_fork_is_proven_and_freezes_its_chain_only(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(5)
    other = gate.add_ledger("tq-2", "edge-1").grow(5)
    gate.begin()
    branch = chain.fork(3)
    branch.add([b"another truth"])
    branch.grow(2)
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1"), other.hello("tq-2")])
        link.send_blocks(0, chain, 0, 5)
        link.wait_durable(6)
        link.send_blocks(0, branch, 2, 4)
        reject = link.wait("reject")
        assert reject["reason"] == "REJECT_REASON_FORK" and reject["action"] == "REJECT_ACTION_HOLD"
        assert link.wait("chain_update")["welcome"]["state"] == "CHAIN_STATE_FROZEN"
        link.send_blocks(1, other, 0, 5)
        link.wait_durable(6)
    assert gate.chain("tq-1")["state"] == "frozen"
    bundle = gate.folder / "fork.bundle"
    gate.cli("evidence", "export", "1", "--out", bundle)
    shown = gate.run("zonerelay", "evidence", "verify", bundle, "--trust", gate.folder / "tq-1.genesis", check=False)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    gate.wait_anchored({"tq-1": 6, "tq-2": 6})  # What came before is still delivered.
    gate.gateway.kill()
    gate.gateway.start()
    with Link(gate, "edge-1") as link:
        assert link.hello([chain.hello("tq-1")])["chains"][0]["state"] == "CHAIN_STATE_FROZEN"


def test_a_fork_between_two_trust_changes_of_one_batch_is_proven(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(3)
    hand_over(gate, chain, "second")  # 4.
    chain.grow(1)
    branch = chain.fork(5)
    branch.add([b"another truth"])  # Sealed with the second key, as our own block 5.
    chain.blocks, chain.hashes = chain.blocks[:5], chain.hashes[:5]
    chain.grow(2)
    hand_over(gate, chain, "third")  # 7.
    chain.grow(2)
    gate.begin(main_chain=False)
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        link.send_blocks(0, chain, 0, 9)
        link.wait_durable(10)
        link.send_blocks(0, branch, 5, 5)
        assert link.wait("reject")["reason"] == "REJECT_REASON_FORK"
        assert link.wait("chain_update")["welcome"]["state"] == "CHAIN_STATE_FROZEN"


def test_an_unsigned_block_at_a_known_height_is_no_evidence(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(5)
    gate.begin(main_chain=False)
    bad, tip = chain.make(3, chain.hashes[2], [b"made up"], key=Key(gate.folder, "stranger"))
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        link.send_blocks(0, chain, 0, 5)
        link.wait_durable(6)
        payload = raw_batch([bad])
        link.send_payload(0, payload, link.batch_header(payload, 3, 1, tip))
        assert link.wait("reject")["reason"] == "REJECT_REASON_UNTRUSTED"
    assert gate.chain("tq-1")["state"] == "active"


def test_a_zstd_bomb_costs_no_more_than_it_announces(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(1)
    gate.begin(main_chain=False)
    for announced in (1 << 20, 900 << 20):
        frame = zstd_frame_of_zeros(900 << 20)
        with Link(gate, "edge-1") as link:
            link.hello([chain.hello("tq-1")])
            link.send_payload(0, frame, link.batch_header(frame, 0, 1, bytes([1]) * 32, raw_size=announced,
                                                          codec=CODEC_ZSTD))
            reason = link.wait("reject")["reason"]
            assert reason in ("REJECT_REASON_MALFORMED", "REJECT_REASON_TOO_LARGE")
    assert gate.metrics()["zonerelay_resident_memory_bytes"] < 300 << 20


def test_an_unknown_dictionary_is_refused_by_name(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(1)
    gate.begin(main_chain=False)
    reject = refused(gate, chain, lambda link: link.send_blocks(0, chain, 0, 1, dictionary=bytes([9]) * 32), "DICTIONARY")
    assert reject["action"] == "REJECT_ACTION_RESUME"
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        link.send("dictionary_wanted", {"dictionary": bytes([9]) * 32})
        assert not link.wait("dictionary").get("data")


def test_bytes_that_are_not_what_their_name_says_are_refused(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(1)
    gate.begin(main_chain=False)
    payload = raw_batch(chain.blocks)
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        link.send_payload(0, payload, link.batch_header(payload, 0, 2, chain.hashes[1]), name=bytes([5]) * 32)
        assert link.wait("reject")["reason"] == "REJECT_REASON_MALFORMED"
    assert gate.metrics()["zonerelay_blocks_in_quarantine"] == 0


# ---- who may come in ----------------------------------------------------------------------------------


def test_a_chain_that_is_not_granted_or_not_known_is_said_so(gate):
    mine = gate.add_ledger("tq-1", "edge-1").grow(1)
    theirs = gate.add_ledger("tq-2", "edge-2").grow(1)
    gate.begin(main_chain=False)
    with Link(gate, "edge-1") as link:
        chains = link.hello([mine.hello("tq-1"), theirs.hello("tq-2"), mine.hello("tq-3"),
                             dict(mine.hello("tq-1"), epoch=bytes([7]) * 32)])["chains"]
        assert [chain["state"].removeprefix("CHAIN_STATE_") for chain in chains] == [
            "ACTIVE", "DENIED", "UNKNOWN", "UNKNOWN"]
        assert "renew" in chains[3]["reason"]
        link.send_blocks(1, theirs, 0, 1)
        assert link.wait("reject")["reason"] == "REJECT_REASON_DENIED"


def turned_away(gate, why, **options):
    link = Link(gate, "edge-1", timeout=5, **options)
    start = len(gate.gateway.log())
    with pytest.raises((OSError, Closed)):
        with link:
            link.send("hello", {"version_min": 1, "version_max": 1})
            link.wait("welcome")
    gate.gateway.wait_log(f"why={why}", start=start)
    assert gate.metrics()[f'zonerelay_connections_refused_total{{reason="{why}"}}'] >= 1


def test_strangers_are_turned_away_with_a_reason(gate):
    gate.add_ledger("tq-1", "edge-1")
    gate.pki.issue_variants("edge-1")
    gate.begin(main_chain=False)
    with socket.create_connection(("127.0.0.1", gate.gateway_port), 5) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        gate.gateway.wait_log("why=not-tls")
    turned_away(gate, "no-certificate", certificate=False)
    keys = gate.folder / "pki"
    for variant, why in {"expired": "expired", "early": "not-yet-valid", "revoked": "revoked",
                         "nameless": "no-identity", "server": "bad-certificate"}.items():
        turned_away(gate, why, certificate=keys / f"agent-{variant}.pem", key=keys / f"agent-{variant}.key")
    foreign = make_pki(gate.folder / "foreign", agents=["edge-1"])
    turned_away(gate, "wrong-ca", certificate=foreign.certificate("agent-edge-1"), key=foreign.key("agent-edge-1"))


def test_a_revoked_agent_is_cut_at_once_and_the_good_ones_stay(gate):
    bad = gate.add_ledger("tq-1", "edge-1").grow(1)
    good = gate.add_ledger("tq-2", "edge-2").grow(1)
    gate.begin(main_chain=False)
    with Link(gate, "edge-1") as first, Link(gate, "edge-2") as second:
        first.hello([bad.hello("tq-1")])
        second.hello([good.hello("tq-2")])
        gate.pki.revoke("agent-edge-1")
        gate.gateway.signal(signal.SIGHUP)
        first.wait_closed(timeout=5)
        second.send_blocks(0, good, 0, 1)
        second.wait_durable(2)


def test_another_store_than_the_pinned_one_is_said_so(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(1)
    gate.begin(main_chain=False)
    with Link(gate, "edge-1") as link:
        link.send("hello", {"version_min": 1, "version_max": 1, "chains": [chain.hello("tq-1")],
                            "store_uuid": bytes([3]) * 16})
        assert link.wait_closed()["reason"] == "GOODBYE_REASON_STORE"


def test_no_version_in_common_is_said_so(gate):
    gate.add_ledger("tq-1", "edge-1")
    gate.begin(main_chain=False)
    with Link(gate, "edge-1") as link:
        link.send("hello", {"version_min": 2, "version_max": 9})
        assert link.wait_closed()["reason"] == "GOODBYE_REASON_VERSION"


# ---- frames that are not right -------------------------------------------------------------------------


@pytest.mark.parametrize("data", [struct.pack(">I", 0), struct.pack(">I", 0xFFFFFFFF),
                                  struct.pack(">I", 5) + b"\xff\xff\xff\xff\xff",
                                  struct.pack(">I", 2) + b"\x52\x00",  # Ping before hello.
                                  ], ids=["empty", "huge", "garbage", "early"])
def test_a_bad_frame_ends_the_link_and_nothing_else(gate, data):
    chain = gate.add_ledger("tq-1", "edge-1", "edge-2").grow(1)
    gate.begin(main_chain=False)
    with Link(gate, "edge-1") as bad, Link(gate, "edge-2") as good:
        good.hello([chain.hello("tq-1")])
        bad.send_raw(data)
        bad.wait_closed(timeout=5)
        good.send_blocks(0, chain, 0, 1)
        good.wait_durable(2)


def test_unknown_frames_and_fields_are_passed_over(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(1)
    gate.begin(main_chain=False)
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        link.send_body(b"\xa2\x06\x03abc")  # Field 100.
        link.send("ping", {"number": 1})
        assert link.wait("pong")["number"] == 1
        link.send_body(b"\xa2\x06\x03abc\x78\x01")  # The same, and it must be understood.
        assert link.wait_closed()["reason"] == "GOODBYE_REASON_PROTOCOL"


def test_more_than_was_granted_is_refused(gate):
    chain = gate.add_ledger("tq-1", "edge-1")
    chain.add([bytes(1 << 20)])
    gate.gateway_settings["limits"] = {"credit": "64 KiB", "credit-batches": 2}
    gate.begin(main_chain=False)
    with Link(gate, "edge-1") as link:
        welcome = link.hello([chain.hello("tq-1")])
        assert welcome["credit"]["bytes"] == 64 << 10
        payload = raw_batch(chain.blocks)
        link.send_payload(0, payload, link.batch_header(payload, 0, 2, chain.hashes[1]))
        assert link.wait("reject")["reason"] == "REJECT_REASON_CREDIT"


def test_those_who_say_nothing_are_sent_away(gate):
    chain = gate.add_ledger("tq-1", "edge-1", "edge-2").grow(1)
    gate.gateway_settings["limits"] = {"handshake-timeout": "1 s", "idle-timeout": "2 s"}
    gate.gateway_settings["heartbeat"] = "1 s"
    gate.begin(main_chain=False)
    with socket.create_connection(("127.0.0.1", gate.gateway_port), 10) as silent, \
            Link(gate, "edge-1") as mute, Link(gate, "edge-2") as idle:
        idle.hello([chain.hello("tq-1")])
        silent.settimeout(10)
        assert silent.recv(10) == b""
        assert mute.wait_closed()["reason"] == "GOODBYE_REASON_IDLE"
        assert idle.wait_closed()["reason"] == "GOODBYE_REASON_IDLE"


# ---- the process ------------------------------------------------------------------------------------------


def test_a_missing_spool_is_refused_and_a_second_daemon_too(gate):
    gate.add_ledger("tq-1", "edge-1")
    gate.write_gateway()
    assert gate.run("zonerelayd", "--config", gate.folder / "gateway.yaml", check=False).returncode == 66
    gate.begin(main_chain=False)
    second = gate.run("zonerelayd", "--config", gate.folder / "gateway.yaml", check=False)
    assert second.returncode not in (0, None) and "start-failed" in second.stderr


def test_every_mistake_in_the_file_is_told_at_once_and_the_old_one_stays(gate):
    gate.add_ledger("tq-1", "edge-1")
    gate.begin(main_chain=False)
    path = gate.folder / "gateway.yaml"
    good = path.read_text()
    path.write_text(good + "nonsense: 1\nheartbeat: 5 parsecs\n")
    check = gate.run("zonerelayd", "--config", path, "--check", check=False)
    assert check.returncode == 78
    assert "nonsense" in check.stderr and "heartbeat" in check.stderr
    gate.gateway.signal(signal.SIGHUP)
    gate.gateway.wait_log("reload-failed")
    assert gate.http("/healthz")[0] == 200
    path.write_text(good)
    gate.gateway.signal(signal.SIGHUP)
    gate.gateway.wait_log(" reloaded ")
    assert gate.metrics()['zonerelay_config_reloads_total{result="failed"}'] == 1


def test_it_stops_when_asked_and_says_goodbye(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(1)
    gate.begin(main_chain=False)
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        gate.gateway.signal(signal.SIGUSR1)
        gate.gateway.wait_log("state-spool")
        gate.gateway.signal(signal.SIGTERM)
        goodbye = link.wait_closed()
        assert goodbye["reason"] == "GOODBYE_REASON_SHUTDOWN" and goodbye["retry_after_ms"] > 0
    assert gate.gateway.process.wait(20) == 0


def test_a_chain_that_is_new_in_the_file_is_enrolled_by_a_reload(gate):
    gate.add_ledger("tq-1", "edge-1")
    gate.begin(main_chain=False)
    chain = gate.add_ledger("tq-2", "edge-1").grow(1)
    with Link(gate, "edge-1") as link:
        assert link.hello([chain.hello("tq-2")])["chains"][0]["state"] == "CHAIN_STATE_UNKNOWN"
    gate.write_gateway()
    gate.gateway.signal(signal.SIGHUP)
    gate.gateway.wait_log("chain-enrolled chain=tq-2")
    with Link(gate, "edge-1") as link:
        assert link.hello([chain.hello("tq-2")])["chains"][0]["state"] == "CHAIN_STATE_ACTIVE"


def test_a_full_spool_pauses_intake_and_says_so(gate):
    chain = gate.add_ledger("tq-1", "edge-1")
    for _ in range(40):
        chain.add([os.urandom(1 << 19)])
    gate.gateway_settings["spool"] = {"dir": gate.folder / "spool", "size": "20 MiB", "reserve": "8 MiB",
                                      "quarantine-size": "2 MiB"}
    gate.begin(main_chain=False)
    durable = 0
    with Link(gate, "edge-1", timeout=20) as link:
        link.hello([chain.hello("tq-1")])
        link.send_blocks(0, chain, 0, 0)
        while True:
            answer = link.wait("ack", "reject")
            if answer["kind"] == "reject":
                break
            durable = answer["durable_next"]
            link.send_blocks(0, chain, durable, durable)
        assert answer["reason"] == "REJECT_REASON_FULL" and answer["retry_after_ms"] > 0
    gate.wait(lambda: gate.http("/readyz")[0] == 503, "not ready while full")
    assert gate.chain("tq-1")["next_height"] == durable > 5
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        assert link.welcome["credit"].get("bytes", 0) == 0


def test_intake_goes_on_by_itself_when_there_is_room_again(gate):
    chain = gate.add_ledger("tq-1", "edge-1")
    for _ in range(40):
        chain.add([os.urandom(1 << 19)])
    gate.gateway_settings["spool"] = {"dir": gate.folder / "spool", "size": "20 MiB", "reserve": "8 MiB",
                                      "quarantine-size": "2 MiB", "retention": "0"}
    gate.begin(main_chain=False)
    with Link(gate, "edge-1", timeout=60) as link:
        link.hello([chain.hello("tq-1")])
        durable = 0
        while durable <= 40:
            link.send_blocks(0, chain, durable, durable)
            answer = link.wait("ack", "reject")
            if answer["kind"] == "ack":
                durable = answer["durable_next"]
                continue
            assert answer["reason"] == "REJECT_REASON_FULL"
            if not gate.devchain.running:
                gate.devchain.start()  # Delivery drains what is there; pruning makes room.
            gate.wait(lambda: gate.http("/readyz")[0] == 200, "room again")
    gate.wait_anchored({"tq-1": 41})


def test_many_connections_at_once_are_all_served(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(1)
    gate.begin(main_chain=False)
    idle = [socket.create_connection(("127.0.0.1", gate.gateway_port), 5) for _ in range(5000)]
    try:
        with Link(gate, "edge-1") as link:
            link.hello([chain.hello("tq-1")])
            link.send_blocks(0, chain, 0, 1)
            link.wait_durable(2)
    finally:
        for one in idle:
            one.close()


def test_metrics_are_there_from_the_first_scrape(gate):
    gate.add_ledger("tq-1", "edge-1")
    gate.begin(main_chain=False)
    metrics = gate.metrics()
    assert metrics["zonerelay_links_opened_total"] == 0
    assert metrics['zonerelay_batches_rejected_total{reason="fork"}'] == 0
    assert gate.http("/nothing")[0] == 404
    if not pathlib.Path("/usr/bin/promtool").exists():
        pytest.skip("promtool is not installed")
    shown = subprocess.run(["/usr/bin/promtool", "check", "metrics"], input=gate.http("/metrics")[1], text=True,
                           capture_output=True, check=False)
    assert shown.returncode == 0, shown.stdout + shown.stderr
