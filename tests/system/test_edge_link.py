"""The agent against a gateway in a test's hands: each message, each refusal, each lie."""
import hashlib
import os
import socket
import struct
import subprocess
import time

import pytest

from fake_gateway import LIMITS, Gateway, ledger_header_record
from producer import Producer
from test_edge_alone import RAFT, chain_of, connected, prepare, wait
from world import ROOT, SLOW, World, free_port

BUILD = os.environ.get("ZR_BUILD", ROOT / "build")
BFT = ROOT / "tests/data/fabric/bft-edge"


@pytest.fixture
def world(tmp_path):
    with World(tmp_path, BUILD) as made:
        yield made


@pytest.fixture
def gateway(world):
    made = Gateway(world.folder / "pki", world.gateway_port)
    made.blocks = {"raft-1": RAFT, "bft-1": BFT}
    yield made
    made.close()


def bring(folder, source, first, last):
    for height in range(first, last + 1):
        (folder / f"{height}.block").write_bytes((source / f"{height}.block").read_bytes())


def fabric_agent(world, last=10, **settings):
    folder = world.add_fabric_edge("e1", "raft-1", RAFT / "0.block", **settings)
    bring(folder, RAFT, 0, last)
    prepare(world, "e1")
    return folder, world.edges["e1"]


def ledger_agent(world, chain=None, **source):
    """An agent that seals each entry of its socket into a block of its own."""
    source = {"input": "socket", "path": world.folder / "e1" / "entries.sock", "block-entries": 1, **source}
    world.add_ledger_edge("e1", "meter-1", suite="sha256-ed25519", source=source, **(chain or {}))
    prepare(world, "e1")
    agent = world.edges["e1"].spawn()
    producer = wait(lambda: source["path"].exists() and connected(source["path"]), "a producer")
    return agent, producer


def put(producer, count):
    for number in range(count):
        producer.send(b"entry %d" % number)
    for _ in range(count):
        assert producer.answer()[0] == 0


def header_records(world, name="meter-1"):
    out = world.folder / f"out-{time.monotonic_ns()}"
    world.run("zonerelay-edge", "ledger", "export", name, out, "--config", world.folder / "e1.yaml")
    records = {}
    for path in out.glob("*.block"):
        records[int(path.stem)] = ledger_header_record(path.read_bytes())
    return records


def test_sending_begins_at_what_the_gateway_lacks_in_one_round_trip(world, gateway):
    _, agent = fabric_agent(world)
    agent.spawn()
    link = gateway.accept()
    hello = link.expect("hello")
    assert hello["version_min"] == 1 and hello["store_uuid"] == b""
    assert [chain["name"] for chain in hello["chains"]] == ["raft-1"]
    wait(lambda: chain_of(world, "e1")["next"] == 11, "the folder is read")
    link.welcome(hello, [4])
    batch = link.batch()
    assert (batch.first, batch.last) == (4, 10)
    assert batch.header["raw_size"] > batch.header["size"]
    link.ack(batch)
    wait(lambda: chain_of(world, "e1")["durable_next"] == 11, "the receipt is kept")
    receipts = world.run("zonerelay-edge", "receipts", "raft-1", "--config", world.folder / "e1.yaml").stdout
    assert "custody   raft-1 4..10" in receipts
    # The next hello shows the receipt, and what is pinned.
    link.cut()
    hello = gateway.accept().expect("hello")
    chain = hello["chains"][0]
    assert chain["has_custody"] and chain["custody_height"] == 10 and chain["custody_from"] == 4
    assert chain["custody_content"] == batch.content
    assert hello["store_uuid"] == gateway.uuid


def test_blocks_that_come_later_are_sent_later(world, gateway):
    folder, agent = fabric_agent(world, last=2)
    agent.spawn()
    link = gateway.accept()
    link.welcome(link.expect("hello"))
    first = link.batch()
    assert (first.first, first.last) == (0, 2)
    link.ack(first)
    bring(folder, RAFT, 3, 10)
    height = 3
    while height < 11:
        batch = link.batch()
        assert batch.first == height
        height = batch.last + 1
        link.ack(batch)
    wait(lambda: chain_of(world, "e1")["durable_next"] == 11, "all receipts")


@pytest.mark.parametrize("how", ["link lost", "agent killed"])
def test_a_batch_is_resumed_in_its_middle(world, gateway, how):
    _, agent = fabric_agent(world)
    agent.spawn()
    wait(lambda: chain_of(world, "e1").get("next") == 11, "the folder is read")
    link = gateway.accept()
    hello = link.expect("hello")
    if not hello["chains"][0]["has_blocks"] or hello["chains"][0]["tip_height"] != 10:
        link.cut()
        link = gateway.accept()
        hello = link.expect("hello")
    small = {**LIMITS, "chunk_max_bytes": 3000}
    link.welcome(hello, limits=small)
    chunks = [link.expect("chunk") for _ in range(3)]
    assert [chunk["offset"] for chunk in chunks] == [0, 3000, 6000]
    if how == "agent killed":
        agent.kill()
        agent.spawn()
        wait(lambda: chain_of(world, "e1").get("next") == 11, "the agent is back")
    else:
        link.cut()
    link = gateway.accept()
    link.partial[chunks[0]["batch"]] = [chunks[0]["header"], b"".join(chunk["data"] for chunk in chunks)]
    link.welcome(link.expect("hello"), limits=small, chains=[
        link.chain_welcome(0, partial_batch=chunks[0]["batch"], partial_size=9000)])
    batch = link.batch()
    assert link.chunks[0][1] == 9000
    assert (batch.first, batch.last) == (0, 10)


def test_routes_lead_to_the_one_gateway_and_the_first_is_preferred(world, gateway):
    _, agent = fabric_agent(world)
    dead = free_port()
    world.edge_settings["e1"]["gateway"]["routes"] = [{"address": f"127.0.0.1:{dead}"},
                                                      {"address": f"127.0.0.1:{gateway.port}",
                                                       "source": "127.0.0.1"}]
    world.write_edge("e1")
    agent.spawn()
    link = gateway.accept()
    link.welcome(link.expect("hello"), [11])
    wait(lambda: chain_of(world, "e1").get("state") == "active", "the second route")
    revived = Gateway(world.folder / "pki", dead)
    revived.blocks = gateway.blocks
    link.cut()
    link = revived.accept()
    link.welcome(link.expect("hello"), [11])
    revived.close()


def test_another_store_is_refused_until_the_operator_unpins(world, gateway):
    _, agent = fabric_agent(world)
    agent.spawn()
    link = gateway.accept()
    link.welcome(link.expect("hello"), [11])
    wait(lambda: chain_of(world, "e1")["store"] == gateway.uuid.hex(), "the pin")
    link.cut()
    gateway.uuid = b"another store!!!"
    link = gateway.accept()
    link.welcome(link.expect("hello"))
    goodbye = link.expect("goodbye")
    assert goodbye["reason"] == 7  # GOODBYE_REASON_STORE
    assert "another store" in world.edge_status("e1")["last_error"]
    assert chain_of(world, "e1")["batches_sent"] == 0
    assert world.run("zonerelay-edge", "unpin", "raft-1", "--config", world.folder / "e1.yaml").stdout == "ok\n"
    link = gateway.accept()
    hello = link.expect("hello")
    assert hello["store_uuid"] == b""
    link.welcome(hello)
    assert link.batch().first == 0
    # Also while the agent is not running.
    agent.stop()
    world.run("zonerelay-edge", "unpin", "raft-1", "--config", world.folder / "e1.yaml")
    assert chain_of(world, "e1")["store"] == ""


def test_a_receipt_that_does_not_hold_is_refused_and_moves_nothing(world, gateway):
    agent, producer = ledger_agent(world, chain={"prune": "durable"})
    link = gateway.accept()
    link.welcome(link.expect("hello"))
    count = 0

    def next_batch():
        put(producer, 1)
        return link.batch()

    link.ack(link.batch())  # The genesis, in good order.
    wait(lambda: chain_of(world, "e1")["durable_next"] == 1, "the first receipt")
    for damage in ("signature", "key", "tip", "path", "content"):
        batch = next_batch()
        receipt = link.custody(batch, tip=b"x" * 32 if damage == "tip" else None)
        more = {}
        if damage == "signature":
            receipt["signature"] = gateway.sign(b"something else")
        elif damage == "key":
            receipt["key_id"] = b"whatever"
        elif damage == "path":
            receipt["path"][0] = b"y" * 32
        elif damage == "content":
            more["content"] = b"z" * 32
        link.ack(batch, custody=receipt, **more)
        count += 1
        wait(lambda: chain_of(world, "e1")["receipts_refused"] == count, damage)
        assert chain_of(world, "e1")["durable_next"] == 1
        assert chain_of(world, "e1")["oldest"] <= 1
    # One good receipt vouches for everything below it.
    batch = next_batch()
    link.ack(batch)
    wait(lambda: chain_of(world, "e1")["durable_next"] == 7, "the good receipt")
    wait(lambda: chain_of(world, "e1")["oldest"] == 7, "pruned after durable")


def test_a_key_that_the_zone_did_not_certify_signs_nothing(world, gateway, tmp_path):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                    tmp_path / "own.key", "-out", tmp_path / "own.pem", "-subj", "/CN=own"], check=True, capture_output=True)
    der = subprocess.run(["openssl", "x509", "-in", tmp_path / "own.pem", "-outform", "DER"], check=True,
                         capture_output=True).stdout
    agent_der = subprocess.run(["openssl", "x509", "-in", world.folder / "pki/receipts.pem", "-outform", "DER"], check=True,
                               capture_output=True).stdout
    _, agent = fabric_agent(world)
    for certificate, key in ((der, tmp_path / "own.key"), (None, world.folder / "pki/agent-e1.key")):
        if certificate is None:
            certificate = subprocess.run(["openssl", "x509", "-in", world.folder / "pki/agent-e1.pem", "-outform", "DER"],
                                         check=True, capture_output=True).stdout
        assert certificate != agent_der
        gateway.receipt_certificate = certificate
        gateway.receipt_key = key
        agent.spawn()
        wait(lambda: chain_of(world, "e1").get("next") == 11, "the folder is read")
        link = gateway.accept()
        link.welcome(link.expect("hello"))
        link.ack(link.batch())
        wait(lambda: chain_of(world, "e1")["receipts_refused"] == 1, "refused")
        assert chain_of(world, "e1")["durable_next"] == 0
        agent.kill()


def test_anchor_receipts_move_the_watermark_without_holes_and_prune(world, gateway):
    _, producer = ledger_agent(world, chain={"prune": "anchored"})
    put(producer, 9)
    wait(lambda: chain_of(world, "e1")["next"] == 10, "ten blocks")
    link = gateway.accept()
    link.welcome(link.expect("hello"))
    done = 0
    while done < 10:
        batch = link.batch()
        link.ack(batch)
        done = batch.last + 1
    records = header_records(world)
    run = [records[height] for height in range(10)]
    # After a hole: kept, but nothing moves.
    link.anchored(0, run[6:8], 6)
    wait(lambda: "6..7" in world.run("zonerelay-edge", "receipts", "meter-1", "--config",
                                     world.folder / "e1.yaml").stdout, "it is kept")
    assert chain_of(world, "e1")["anchored_next"] == 0
    # Lies about our blocks, about the path, about the signature.
    other = run[1][:-1] + b"\7"
    link.anchored(0, [run[0], other, run[2]], 0)
    wait(lambda: chain_of(world, "e1")["receipts_refused"] == 1, "another block")
    link.anchored(0, run[0:3], 0, signature=gateway.sign(b"no"))
    wait(lambda: chain_of(world, "e1")["receipts_refused"] == 2, "another signature")
    link.anchored(0, run[0:3], 0, evidence=b"other evidence")
    wait(lambda: chain_of(world, "e1")["receipts_refused"] == 3, "other evidence")
    assert chain_of(world, "e1")["anchored_next"] == 0
    # The hole is filled: both runs count.
    link.anchored(0, run[0:3], 0)
    wait(lambda: chain_of(world, "e1")["anchored_next"] == 3, "the first run")
    link.anchored(0, run[3:6], 3)
    status = wait(lambda: chain_of(world, "e1")["anchored_next"] == 8 and chain_of(world, "e1"), "both runs")
    wait(lambda: chain_of(world, "e1")["oldest"] == 8, "pruned up to there")
    assert status["prunable_below"] == 8
    # A repeated one changes nothing; the proof of a pruned block is still here.
    link.anchored(0, run[3:6], 3)
    config = world.folder / "e1.yaml"
    world.run("zonerelay-edge", "proof", "meter-1", "4", world.folder / "4.proof", "--config", config)
    assert (world.folder / "4.proof").stat().st_size > 300
    assert world.run("zonerelay-edge", "proof", "meter-1", "9", "none", "--config", config, check=False).returncode == 1
    assert chain_of(world, "e1")["receipts_refused"] == 3


def test_a_standby_takes_over_when_told(world, gateway):
    _, agent = fabric_agent(world)
    agent.spawn()
    link = gateway.accept()
    hello = link.expect("hello")
    link.welcome(hello, chains=[link.chain_welcome(3, "CHAIN_STATE_STANDBY", reason="agent e2 is active")])
    assert link.quiet(1)
    assert chain_of(world, "e1")["state"] == "standby"
    link.send("chain_update", chain=0, welcome=link.chain_welcome(5))
    assert link.batch().first == 5


def test_a_frozen_chain_does_not_stop_the_others(world, gateway):
    folder = world.add_fabric_edge("e1", "raft-1", RAFT / "0.block")
    bring(folder, RAFT, 0, 10)
    second = world.folder / "e1" / "bft"
    second.mkdir()
    bring(second, BFT, 0, 6)
    world.edge_settings["e1"]["chains"].append(
        {"name": "bft-1", "format": "fabric", "trust": BFT / "0.block",
         "source": {"type": "fabric-dir", "dir": second, "scan-interval": "100 ms"}})
    world.write_edge("e1")
    world.edges["e1"].spawn()
    link = gateway.accept()
    hello = link.expect("hello")
    link.welcome(hello, chains=[link.chain_welcome(0, "CHAIN_STATE_FROZEN", reason="two blocks at height 4"),
                                link.chain_welcome(0)])
    done = 0
    while done < 7:
        batch = link.batch()
        assert batch.chain == 1
        link.ack(batch)
        done = batch.last + 1
    frozen, free = world.edge_status("e1")["chains"]
    assert frozen["hold"] == "frozen" and "two blocks at height 4" in frozen["detail"]
    assert free["state"] == "active"
    link.send("chain_update", chain=0, welcome=link.chain_welcome(2))
    batch = link.batch()
    assert (batch.chain, batch.first) == (0, 2)


def test_each_reject_is_obeyed(world, gateway):
    _, agent = fabric_agent(world)
    agent.spawn()
    wait(lambda: chain_of(world, "e1").get("next") == 11, "the folder is read")
    link = gateway.accept()
    link.welcome(link.expect("hello"), [5])
    assert link.batch().first == 5
    link.send("reject", chain=0, reason="REJECT_REASON_GAP", action="REJECT_ACTION_RESUME", next_height=2)
    assert link.batch().first == 2
    link.send("reject", chain=0, reason="REJECT_REASON_FULL", action="REJECT_ACTION_RETRY_AFTER", next_height=2,
              retry_after_ms=1500)
    begin = time.monotonic()
    batch = link.batch()
    assert time.monotonic() - begin > 1.4
    assert chain_of(world, "e1")["rejects"] == 2
    link.send("reject", chain=0, batch=batch.content, reason="REJECT_REASON_UNTRUSTED", action="REJECT_ACTION_HOLD",
              next_height=2, detail="signer is nobody")
    wait(lambda: chain_of(world, "e1")["hold"] == "rejected", "held")
    assert "signer is nobody" in chain_of(world, "e1")["detail"]
    assert link.quiet(1)
    assert world.run("zonerelay-edge", "status", "--config", world.folder / "e1.yaml", check=False).returncode == 3


def test_what_is_asked_for_again_is_sent_again(world, gateway):
    _, agent = fabric_agent(world)
    agent.spawn()
    wait(lambda: chain_of(world, "e1").get("next") == 11, "the folder is read")
    link = gateway.accept()
    link.welcome(link.expect("hello"), [11])
    link.send("resend", chain=0, **{"from": 3, "to": 6}, reason="quarantine")
    batch = link.batch()
    assert (batch.first, batch.last) == (3, 6)
    link.send("ack", chain=0, durable_next=11)
    link.send("resend", chain=0, **{"from": 10, "to": 4000})
    assert (link.batch().first, chain_of(world, "e1")["send_next"]) == (10, 11)


def test_nothing_is_sent_beyond_the_credit(world, gateway):
    _, producer = ledger_agent(world)
    link = gateway.accept()
    link.welcome(link.expect("hello"), credit=(100, 1))
    first = link.expect("chunk")
    assert len(first["data"]) == 100 and first["header"]["size"] > 100
    assert link.quiet(0.7)
    link.send("credit", credit={"bytes": 1 << 20, "batches": 1})
    rest = link.expect("chunk")
    assert (rest["offset"], len(rest["data"])) == (100, first["header"]["size"] - 100)
    put(producer, 1)
    assert link.quiet(0.7)
    link.send("credit", credit={"bytes": 1 << 20, "batches": 2})
    assert link.expect("chunk")["offset"] == 0


def test_the_pace_that_is_asked_for_is_kept(world, gateway):
    _, agent = fabric_agent(world)
    agent.spawn()
    wait(lambda: chain_of(world, "e1").get("next") == 11, "the folder is read")
    link = gateway.accept()
    hello = link.expect("hello")
    link.welcome(hello, credit=(0, 0), limits={**LIMITS, "chunk_max_bytes": 1000})
    link.send("credit", credit={"bytes": 1 << 20, "batches": 9}, pace_bytes_per_s=5000)
    begin = time.monotonic()
    for _ in range(6):
        link.expect("chunk")
    assert 0.9 < time.monotonic() - begin < 4


def test_a_dictionary_is_fetched_once_and_used(world, gateway):
    agent, producer = ledger_agent(world)
    put(producer, 1)
    content = b"".join(b'{"time":"2026-01-05T%02d:%02d:00Z","meter":"M0000001"}' % (i // 60, i % 60) for i in range(90))
    name = hashlib.sha256(content).digest()
    link = gateway.accept()
    hello = link.expect("hello")
    assert hello["dictionaries"] == []
    link.welcome(hello, chains=[link.chain_welcome(0, dictionary=name)], credit=(0, 0))
    assert link.expect("dictionary_wanted")["dictionary"] == name
    link.send("dictionary", dictionary=name, data=content)
    wait(lambda: (world.folder / "e1/state" / f"{name.hex()}.dict").exists(), "it is kept")
    link.send("credit", credit={"bytes": 1 << 20, "batches": 10})
    batch = link.batch()
    assert batch.header["dictionary"] == name
    # A gateway that lost it says so: sent again without.
    link.send("reject", chain=0, reason="REJECT_REASON_DICTIONARY", action="REJECT_ACTION_RESUME", next_height=0)
    assert link.batch().header["dictionary"] == b""
    link.cut()
    link = gateway.accept()
    assert link.expect("hello")["dictionaries"] == [name]
    # The gateway may ask for it.
    link.welcome(link.hello, credit=(0, 0))
    link.send("dictionary_wanted", dictionary=name)
    assert link.expect("dictionary")["data"] == content
    link.send("dictionary_wanted", dictionary=b"q" * 32)
    assert link.expect("dictionary")["data"] == b""


def test_a_false_dictionary_is_not_used(world, gateway):
    _, producer = ledger_agent(world)
    link = gateway.accept()
    link.welcome(link.expect("hello"), chains=[link.chain_welcome(0, dictionary=b"d" * 32)], credit=(0, 0))
    link.expect("dictionary_wanted")
    link.send("dictionary", dictionary=b"d" * 32, data=b"something else")
    link.send("credit", credit={"bytes": 1 << 20, "batches": 10})
    assert link.batch().header["dictionary"] == b""


def test_a_ledger_that_lost_blocks_seals_no_others(world, gateway):
    """The device's store was restored from a copy: going on would fork the chain."""
    agent, producer = ledger_agent(world)
    put(producer, 2)
    wait(lambda: chain_of(world, "e1")["next"] == 3, "three blocks")
    link = gateway.accept()
    link.welcome(link.expect("hello"), [5])
    wait(lambda: chain_of(world, "e1")["hold"] == "behind", "held")
    put(producer, 3)  # Entries are still taken.
    time.sleep(0.5)
    assert chain_of(world, "e1")["next"] == 3
    assert chain_of(world, "e1")["entries"] == 5
    assert "sealing has stopped" in chain_of(world, "e1")["problem"]
    assert link.quiet(0.5)


def test_another_block_at_the_tip_holds_the_chain(world, gateway):
    _, agent = fabric_agent(world)
    agent.spawn()
    wait(lambda: chain_of(world, "e1").get("next") == 11, "the folder is read")
    link = gateway.accept()
    link.welcome(link.expect("hello"), chains=[link.chain_welcome(4, tip_hash=b"t" * 32)])
    wait(lambda: chain_of(world, "e1")["hold"] == "diverged", "held")
    assert link.quiet(0.5)


def test_retry_after_is_obeyed(world, gateway):
    _, agent = fabric_agent(world)
    agent.spawn()
    link = gateway.accept()
    link.welcome(link.expect("hello"), [11])
    link.send("goodbye", reason="GOODBYE_REASON_SHUTDOWN", retry_after_ms=2000, detail="upgrade")
    begin = time.monotonic()
    gateway.accept().expect("hello")
    assert 1.8 < time.monotonic() - begin < 6
    assert "upgrade" in agent.log()


@pytest.mark.parametrize("frame", [b"", b"\0\0\0\0", struct.pack(">I", 1 << 30), b"\0\0\0\x03\x0f\xff\xff",
                                   b"\0\0\0\x05GET /"])
def test_a_gateway_that_does_not_speak_the_protocol_is_left(world, gateway, frame):
    _, agent = fabric_agent(world)
    agent.spawn()
    for _ in range(2):
        link = gateway.accept()
        link.expect("hello")
        if frame:
            link.stream.sendall(frame)
        else:
            link.close()
    assert world.edge_status("e1")["running"]


def test_messages_out_of_turn_end_the_link(world, gateway):
    _, agent = fabric_agent(world)
    agent.spawn()
    link = gateway.accept()
    hello = link.expect("hello")
    link.send("ping", number=1)
    assert link.expect("goodbye")["reason"] == 3
    link = gateway.accept()
    link.welcome(link.expect("hello"), chains=[link.chain_welcome(0), link.chain_welcome(0)])
    assert link.expect("goodbye")["reason"] == 3
    link = gateway.accept()
    link.welcome(link.expect("hello"), [11], version=9)
    assert link.expect("goodbye")["reason"] == 6
    for kind, fields in (("ack", {"chain": 7, "durable_next": 1}), ("hello", hello),
                         ("resend", {"chain": 1, "from": 1, "to": 2})):
        link = gateway.accept()
        link.welcome(link.expect("hello"), [11])
        link.send(kind, **fields)
        assert link.expect("goodbye")["reason"] == 3
    # An impossible ack stops the chain, not the link.
    link = gateway.accept()
    link.welcome(link.expect("hello"), [11])
    link.send("ack", chain=0, durable_next=1 << 40)
    wait(lambda: chain_of(world, "e1")["hold"] == "protocol", "held")


def test_pings_are_sent_and_answered_and_a_silent_gateway_is_left(world, gateway):
    _, agent = fabric_agent(world)
    world.edge_settings["e1"]["gateway"]["idle-timeout"] = "1 s"
    world.write_edge("e1")
    agent.spawn()
    link = gateway.accept()
    link.welcome(link.expect("hello"), [11], limits={**LIMITS, "heartbeat_ms": 1000})
    for _ in range(2):
        ping = link.expect("ping", timeout=5)
        link.send("pong", number=ping["number"], time_ms=int(time.time() * 1000))
    link.send("ping", number=77)
    assert link.expect("pong")["number"] == 77
    link.expect("ping", timeout=5)
    begin = time.monotonic()
    gateway.accept().expect("hello")  # It gave the silent link up.
    assert time.monotonic() - begin < 4


def test_the_clock_never_runs_behind_the_gateway_s_even_after_a_restart(world, gateway):
    agent, producer = ledger_agent(world)
    ahead_ms = int(time.time() * 1000) + 86_400_000
    link = gateway.accept()
    link.welcome(link.expect("hello"), [1], time_ms=ahead_ms)
    wait(lambda: chain_of(world, "e1")["state"] == "active", "the welcome")
    put(producer, 1)
    wait(lambda: chain_of(world, "e1")["next"] == 2, "a block")
    agent.kill()
    link.cut()
    agent.spawn()
    producer = wait(lambda: connected(world.folder / "e1/entries.sock"), "a producer")
    put(producer, 1)
    wait(lambda: chain_of(world, "e1").get("next") == 3, "a block")
    for height in (1, 2):
        record = header_records(world)[height]
        assert struct.unpack(">q", record[108:116])[0] >= ahead_ms


def test_a_newer_certificate_is_used_after_sighup(world, gateway):
    _, agent = fabric_agent(world)
    agent.spawn()
    link = gateway.accept()
    link.welcome(link.expect("hello"), [11])
    before = link.stream.getpeercert()["serialNumber"]
    world.pki.issue_agent("e1")
    world.edge_settings["e1"]["log"] = {"level": "debug"}
    world.edge_settings["e1"]["state"]["size"] = "65 MiB"
    world.write_edge("e1")
    agent.signal(1)
    at = agent.wait_log("reloaded")
    assert "key=log.level name=- effect=now" in agent.log()[:at]
    assert "key=state.size name=- effect=next-start" in agent.log()[:at]
    assert world.edge_status("e1")["link"] == "up", "a good link was dropped"
    link.cut()
    link = gateway.accept()
    link.expect("hello")
    assert link.stream.getpeercert()["serialNumber"] != before
    (world.folder / "e1.yaml").write_text("nonsense: 1\n")
    agent.signal(1)
    agent.wait_log("config-error")
    assert agent.running
    (world.folder / "e1.yaml").write_text("")


def test_a_link_that_is_being_dialled_is_dialled_anew_after_sighup(world):
    """With the certificates of now; the old ones are gone, whoever was still to use them."""
    _, agent = fabric_agent(world)
    world.edge_settings["e1"]["gateway"]["connect-timeout"] = "2 min"
    world.write_edge("e1")
    with socket.create_server(("127.0.0.1", world.gateway_port)) as gateway:
        gateway.settimeout(20 * SLOW)
        agent.spawn()
        dialled, _ = gateway.accept()
        for _ in range(3):
            dialled.settimeout(20 * SLOW)
            assert dialled.recv(1), "the beginning of a handshake"
            at = len(agent.log())
            agent.signal(1)
            agent.wait_log("reloaded", start=at)
            again, _ = gateway.accept()
            while dialled.recv(65536):
                pass
            dialled = again
        assert agent.running


def test_a_gateway_of_another_name_or_ca_is_not_talked_to(world, gateway):
    _, agent = fabric_agent(world)
    world.edge_settings["e1"]["gateway"]["name"] = "zonerelay:gateway/other"
    world.write_edge("e1")
    agent.spawn()
    wait(lambda: "wrong" in agent.log() or accept_quietly(gateway), "the refusal", timeout=15)
    wait(lambda: "not the gateway that we want" in world.edge_status("e1")["last_error"], "the reason")


def accept_quietly(gateway):
    try:
        gateway.accept(0.3).expect("hello", 0.3)
        raise AssertionError("it said hello to a stranger")
    except (EOFError, OSError, socket.timeout):
        return False
