"""What operators can ask of a running gateway, and what it does then."""
import json
import shutil
import subprocess
import time

import pytest

from gate import BUILD, Gate  # First: it says where agent_client is.
from world import free_port
from agent_client import Key, Ledger, Link, raw_batch


@pytest.fixture
def gate(tmp_path):
    with Gate(tmp_path, BUILD) as made:
        yield made


def store(gate, chain, name, first, last, agent="edge-1"):
    with Link(gate, agent) as link:
        link.hello([chain.hello(name)])
        link.send_blocks(0, chain, first, last)
        link.wait_durable(last + 1)


def change(gate, *words):
    answer = gate.ask(*words, "--reason", "a test")
    assert answer["dry_run"] is False and answer["audit"] >= 1, answer
    return answer


def test_status_says_how_it_stands(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(4)
    gate.begin()
    store(gate, chain, "tq-1", 0, 4)
    gate.wait_anchored({"tq-1": 5})
    gate.wait(lambda: gate.ask("status")["blocks"]["anchored"] == 5, "the view is new")
    status = gate.ask("status")
    assert status["ready"] and status["attention"] == []
    assert status["blocks"] == {"received": 5, "duplicates": 0, "pending": 0, "anchored": 5, "quarantined": 0,
                                "tombstoned": 0, "missing": 0}
    assert status["chains"]["active"] == 1 and status["lanes"][0]["state"] == "running"
    assert gate.ask("pending")["pending"] == []
    assert gate.ask("gaps")["gaps"] == []
    anchors = gate.ask("anchors", "list")["anchors"]
    assert anchors and all(anchor["state"] == "final" for anchor in anchors)
    shown = gate.ask("anchors", "show", str(anchors[0]["seq"]))
    assert shown["chains"][0]["name"] == "tq-1"


def test_endpoints_of_the_main_chain_are_told_apart(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(4)
    dead = f"http://127.0.0.1:{free_port()}"
    alive = f"http://127.0.0.1:{gate.devchain_port}"
    gate.gateway_settings["main-chain"]["endpoints"] = [dead, alive]
    gate.begin()
    store(gate, chain, "tq-1", 0, 4)
    gate.wait_anchored({"tq-1": 5})

    def told():
        return {endpoint["url"]: endpoint for endpoint in gate.ask("status")["endpoints"]}
    gate.wait(lambda: told()[alive]["height"] > 0 and told()[dead]["failures"] > 0, "calls were counted")
    assert told()[alive]["up"] and not told()[dead]["up"]
    assert told()[alive]["calls"] > 0 and told()[dead]["height"] == 0
    samples = gate.metrics()
    assert samples[f'zonerelay_mainchain_endpoint_up{{endpoint="{alive}"}}'] == 1
    assert samples[f'zonerelay_mainchain_endpoint_up{{endpoint="{dead}"}}'] == 0
    assert samples[f'zonerelay_mainchain_endpoint_failures_total{{endpoint="{dead}"}}'] >= 1
    shown = gate.cli("status", check=False).stdout
    assert f"{alive} up, height" in shown and f"{dead} DOWN, height 0" in shown
    gate.devchain.kill()
    chain.grow(2)
    store(gate, chain, "tq-1", 5, 6)  # So that there is something to call it for.
    gate.wait(lambda: not told()[alive]["up"], "a main chain that is away is told")
    gate.devchain.start()
    gate.wait(lambda: told()[alive]["up"], "it is back")


def test_a_chain_is_shown_with_its_agents_and_its_trust(gate):
    chain = gate.add_ledger("tq-1", "edge-1", "edge-2").grow(2)
    gate.begin(main_chain=False)
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        link.send_blocks(0, chain, 0, 2)
        link.wait_durable(3)
        shown = gate.ask("chains", "show", "tq-1")
        assert shown["next_height"] == 3 and shown["tip"] == chain.hashes[2].hex()
        assert [(agent["id"], agent["connected"], agent["active"]) for agent in shown["agents"]] == [
            ("edge-1", True, True), ("edge-2", False, False)]
        assert shown["trust"]["text"]
    assert gate.cli("chains", "show", "tq-9", check=False).returncode == 1


def test_a_frozen_chain_takes_nothing_until_it_is_unfrozen(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(3)
    gate.begin(main_chain=False)
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        assert gate.cli("chains", "freeze", "tq-1", check=False).returncode == 2  # No reason given.
        dry = gate.ask("chains", "freeze", "tq-1", "--reason", "a test", "--dry-run")
        assert dry["dry_run"] and gate.chain("tq-1")["state"] == "active"
        change(gate, "chains", "freeze", "tq-1")
        assert link.wait("chain_update")["welcome"]["state"] == "CHAIN_STATE_FROZEN"
        link.send_blocks(0, chain, 0, 1)
        assert link.wait("reject")["action"] == "REJECT_ACTION_HOLD"
        change(gate, "chains", "unfreeze", "tq-1")
        assert link.wait("chain_update")["welcome"]["state"] == "CHAIN_STATE_ACTIVE"
        link.send_blocks(0, chain, 0, 3)
        link.wait_durable(4)
    audit = gate.ask("audit", "list")["audit"]
    assert [record["verb"] for record in audit] == ["chains freeze tq-1", "chains unfreeze tq-1"]
    assert all(record["reason"] == "a test" and record["who"] for record in audit)
    assert gate.ask("audit", "verify")["ok"]


def bad_batch(chain, height, key):
    raw, digest = chain.make(height, chain.hashes[height - 1], [b"x"], key=key)
    return raw_batch([raw]), digest


def test_what_is_in_quarantine_is_released_only_if_it_is_good_now(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(4)
    gate.begin(main_chain=False)
    payload, digest = bad_batch(chain, 2, Key(gate.folder, "stranger"))
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        link.send_blocks(0, chain, 0, 1)
        link.wait_durable(2)
        link.send_payload(0, payload, link.batch_header(payload, 2, 1, digest))
        assert link.wait("reject")["reason"] == "REJECT_REASON_UNTRUSTED"
        gate.gateway.wait_log("batch-quarantined")
        items = gate.ask("quarantine", "list")["items"]
        assert [(item["number"], item["reason"], item["from"]) for item in items] == [(1, "untrusted", 2)]
        out = gate.folder / "item"
        gate.cli("quarantine", "show", "1", "--out", out)
        assert out.read_bytes() == payload
        kept = gate.cli("quarantine", "release", "1", "--reason", "a test", "--json", check=False)
        assert kept.returncode == 4
        assert json.loads(kept.stdout)["items"][0]["verdict"] == "kept"
        change(gate, "quarantine", "reject", "1")
        assert gate.ask("quarantine", "list")["items"] == []
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        link.send_blocks(0, chain, 2, 4)
        link.wait_durable(5)
    gate.wait(lambda: gate.metrics()["zonerelay_blocks_tombstoned"] == 1, "the tombstone is counted")


def test_what_was_refused_for_its_place_is_released_when_its_place_is_there(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(4)
    gate.begin(main_chain=False)
    payload = raw_batch([chain.blocks[2]])
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        link.send_blocks(0, chain, 0, 0)
        link.wait_durable(1)
        # Block 2 said to be block 1: a wrong height, and a good block.
        link.send_payload(0, payload, link.batch_header(payload, 1, 1, chain.hashes[2]))
        link.wait("reject")
        gate.gateway.wait_log("batch-quarantined")
    store(gate, chain, "tq-1", 1, 1)
    released = gate.ask("quarantine", "release", "1", "--reason", "a test")
    assert released.get("items", [{}])[0].get("verdict") == "released", released
    assert gate.chain("tq-1")["next_height"] == 3
    store(gate, chain, "tq-1", 3, 4)


def test_a_proof_of_one_block_convinces_who_trusts_the_main_chain_only(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(9)
    gate.begin()
    store(gate, chain, "tq-1", 0, 9)
    out = gate.folder / "block.proof"

    def got():
        return gate.cli("proof", "get", "tq-1", "7", "--out", out, check=False).returncode == 0
    gate.wait(got, "the proof is there")
    verify = ["zonerelay", "proof", "verify", out, "--trusted", gate.trusted]
    assert gate.run(*verify).returncode == 0
    data = bytearray(out.read_bytes())
    data[len(data) // 2] ^= 1
    out.write_bytes(data)
    assert gate.run(*verify, check=False).returncode != 0
    assert gate.cli("proof", "get", "tq-1", "77", "--out", out, check=False).returncode == 3


def test_a_resync_asks_the_agent_now_or_when_it_comes(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(4)
    gate.begin(main_chain=False)
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        link.send_blocks(0, chain, 0, 4)
        link.wait_durable(5)
        answer = change(gate, "resync", "tq-1", "1..3")
        assert answer["ranges"] == [[1, 3]]
        resend = link.wait("resend")
        assert (resend["from"], resend["to"]) == (1, 3)
    change(gate, "resync", "tq-1", "2")
    assert gate.ask("gaps")["gaps"][0]["kind"] == "asked"
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        assert link.wait("resend")["from"] == 2


def test_a_new_genesis_under_an_old_name_is_admitted_by_hand(gate):
    old = gate.add_ledger("tq-1", "edge-1").grow(2)
    gate.begin(main_chain=False)
    store(gate, old, "tq-1", 0, 2)
    new = Ledger(gate.folder / "anew", "other").grow(3)
    genesis = gate.folder / "anew.genesis"
    genesis.write_bytes(new.blocks[0])
    with Link(gate, "edge-1") as link:
        assert "renew" in link.hello([new.hello("tq-1")])["chains"][0]["reason"]
    gate.cli("chains", "renew", "tq-1", "--trust", genesis, "--reason", "a test")
    with Link(gate, "edge-1") as link:
        states = [chain["state"] for chain in link.hello([new.hello("tq-1"), old.hello("tq-1")])["chains"]]
        assert states == ["CHAIN_STATE_ACTIVE", "CHAIN_STATE_RETIRED"]
        link.send_blocks(0, new, 0, 3)
        link.wait_durable(4)


def test_an_agent_that_holds_our_receipt_for_what_is_not_here_stops_its_chain(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(6)
    gate.begin(main_chain=False)
    store(gate, chain, "tq-1", 0, 2)
    gate.gateway.stop()
    copy = gate.folder / "copy"
    shutil.copytree(gate.folder / "spool", copy)
    gate.gateway.start()
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        link.send_blocks(0, chain, 3, 5)
        ack = link.wait_durable(6)
    gate.gateway.stop()
    shutil.rmtree(gate.folder / "spool")
    shutil.copytree(copy, gate.folder / "spool")
    gate.gateway.start()
    shown = dict(has_custody=True, custody_height=5, custody=ack["custody"], custody_tip=chain.hashes[5],
                 custody_from=ack["from"], custody_content=ack["content"])
    with Link(gate, "edge-1") as link:
        # A receipt that is not ours proves nothing.
        forged = dict(ack["custody"], signature=ack["custody"]["signature"][:-1] + b"\0")
        assert link.hello([chain.hello("tq-1", **dict(shown, custody=forged))])["chains"][0]["state"] == \
            "CHAIN_STATE_ACTIVE"
    with Link(gate, "edge-1") as link:
        assert link.hello([chain.hello("tq-1", **shown)])["chains"][0]["state"] == "CHAIN_STATE_RESTORED"
        link.send_blocks(0, chain, 3, 4)
        assert link.wait("reject")["action"] == "REJECT_ACTION_HOLD"
    gate.wait(lambda: gate.chain("tq-1")["state"] == "restored", "the chain is stopped in the spool too")
    change(gate, "adopt", "chain", "tq-1")
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        link.send_blocks(0, chain, 3, 6)
        link.wait_durable(7)


def test_a_dictionary_is_installed_and_fetched(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(1)
    gate.begin(main_chain=False)
    words = gate.folder / "words"
    words.write_bytes(b"reading of meter M0000001, kWh " * 100)
    change(gate, "dictionary", "add", str(words))
    listed = gate.ask("dictionary", "list")["dictionaries"]
    assert len(listed) == 1 and listed[0]["bytes"] == len(words.read_bytes())
    with Link(gate, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        link.send("dictionary_wanted", {"dictionary": bytes.fromhex(listed[0]["hash"])})
        assert link.wait("dictionary")["data"] == words.read_bytes()


def test_the_configuration_is_read_again_by_command(gate):
    gate.add_ledger("tq-1", "edge-1")
    gate.begin(main_chain=False)
    gate.gateway_settings["heartbeat"] = "30 s"
    gate.add_ledger("tq-2", "edge-1")
    gate.write_gateway()
    dry = gate.ask("config", "reload", "--reason", "a test", "--dry-run")
    assert dry["chains_added"] == 1 and dry["changed"] == ["heartbeat"]
    change(gate, "config", "reload")
    gate.gateway.wait_log("chain-enrolled chain=tq-2")
    (gate.folder / "gateway.yaml").write_text("nonsense: 1\n")
    bad = gate.cli("config", "reload", "--reason", "a test", "--json", check=False)
    assert bad.returncode == 1


def test_a_watcher_sees_anchors_lanes_and_reloads(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(3)
    gate.begin()
    gate.gateway.wait_log("lane-running")
    with gate.watching() as seen:
        store(gate, chain, "tq-1", 0, 3)
        gate.wait(lambda: "anchor-final" in seen, "the anchor is final")
        assert seen["anchor-sent"] == {"sink": "main", "lane": 0, "seq": 1, "detail": ""}
        gate.gateway_settings["heartbeat"] = "20 s"
        gate.add_ledger("tq-2", "edge-1")
        gate.write_gateway()
        change(gate, "config", "reload")
        gate.wait(lambda: "config-reloaded" in seen, "the reload is told")
        assert seen["config-reloaded"] == {"changed": ["heartbeat"], "chains_added": 1, "chains_removed": 0}
        gate.devchain.kill()
        chain.grow(1)
        store(gate, chain, "tq-1", 4, 4)
        gate.wait(lambda: seen.get("lane-state", {}).get("state") == "away", "the lane waits")
        gate.devchain.start()
        gate.wait(lambda: seen["lane-state"]["state"] == "running", "the lane goes on")


def test_log_level_reconcile_and_watch(gate):
    chain = gate.add_ledger("tq-1", "edge-1").grow(3)
    gate.begin()
    assert gate.ask("log", "level", "debug") == {"level": "debug", "before": "info"}
    watch = subprocess.Popen([str(gate.program("zonerelay")), "watch", "--json", "--events",
                              str(gate.folder / "events.sock")], stdout=subprocess.PIPE, text=True)
    try:
        gate.gateway.wait_log("lane-running")
        time.sleep(0.5)  # A subscription has no answer to wait for.
        store(gate, chain, "tq-1", 0, 3)
        gate.wait_anchored({"tq-1": 4})
        names = set()
        while "anchor-final" not in names:
            names.add(json.loads(watch.stdout.readline())["event"])
        assert {"agent-connected", "batch-stored"} <= names
    finally:
        watch.kill()
        watch.wait()
    answer = gate.cli("reconcile", "--json", check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert json.loads(answer.stdout)["chains"][0]["differences"] == []
    assert gate.ask("replay", "tq-1", "0..3", "--reason", "a test")["what"]
