"""The agent with the real gateway and main chain: killed, cut off, standing by, pruning."""
import os
import random
import sys
import time

import pytest

from oracle import Oracle
from producer import block_entries
from proxy import Fate, Proxy
from test_edge_alone import RAFT, chain_of, connected
from test_edge_link import bring
from world import ROOT, World

sys.path.insert(0, str(ROOT / "tests/support"))
import meter_gen  # noqa: E402

BUILD = os.environ.get("ZR_BUILD", ROOT / "build")
COLUMNS = {"columns": ["time=1", "meter=2", "kwh=3", "watts=6"]}


@pytest.fixture
def world(tmp_path):
    with World(tmp_path, BUILD) as made:
        yield made


def add_meter(world, agent="e1", name="meter-1", days=1.0, **chain):
    """A ledger that is fed a CSV file; its blocks are as many as its quarter hours, and the genesis."""
    csv = world.folder / f"{agent}.csv"
    csv.write_text("\n".join([meter_gen.HEADER, *meter_gen.lines(7, days)]) + "\n")
    suite = chain.pop("suite", "sha256-ed25519")
    world.add_ledger_edge(agent, name, suite=suite, source={"input": "csv", "path": csv, "csv": COLUMNS}, **chain)
    return csv


def small_batches(world, agent="e1", size="8 KiB"):
    world.edge_settings[agent]["batch"] = {"wait": "50 ms", "bytes": size}


def test_an_agent_killed_at_any_moment_anchors_every_block_once(world):
    add_meter(world, days=2.01)
    small_batches(world)
    world.start()
    agent = world.edges["e1"]
    chance = random.Random(11)
    for _ in range(10):
        time.sleep(0.05 + chance.random() * 0.35)
        agent.kill()
        agent.start()
    Oracle(world).expect_agents({"meter-1": 193}).check_receipts().check()
    assert chain_of(world, "e1")["problem"] == ""


def test_a_gateway_killed_in_mid_flow_costs_nothing(world):
    add_meter(world, days=2.01)
    small_batches(world)
    world.start()
    chance = random.Random(12)
    for _ in range(4):
        time.sleep(0.1 + chance.random() * 0.5)
        world.gateway.kill()
        world.gateway.start()
    Oracle(world).expect_agents({"meter-1": 193}).check_receipts().check()


def test_links_that_break_in_the_middle_of_batches_are_resumed(world):
    """Each link carries less than one batch: only what is resumed can ever arrive."""
    proxy = Proxy(world.gateway_port)
    folder = world.add_fabric_edge("e1", "raft-1", RAFT / "0.block")
    bring(folder, RAFT, 0, 10)
    world.edge_settings["e1"]["gateway"]["routes"] = [{"address": f"127.0.0.1:{proxy.port}"}]
    # Not compressed well on purpose: one batch is about 45 kB, a link carries 25 kB with its handshake.
    proxy.fate = Fate("fin", up=25_000)
    world.start()
    Oracle(world).check()
    assert proxy.links >= 2
    assert proxy.carried < 150_000, "what had arrived was sent again"
    proxy.close()


def test_two_routes_carry_one_chain_when_each_breaks_now_and_then(world):
    proxies = [Proxy(world.gateway_port), Proxy(world.gateway_port)]
    add_meter(world, days=2.01)
    small_batches(world)
    world.edge_settings["e1"]["gateway"]["routes"] = [{"address": f"127.0.0.1:{proxy.port}"} for proxy in proxies]
    world.start()
    chance = random.Random(13)
    for _ in range(12):
        time.sleep(0.05 + chance.random() * 0.2)
        proxies[0].cut()
        if chance.random() < 0.5:
            proxies[1].cut()
    proxies[0].close()  # The preferred route is gone for good.
    world.wait_anchored({"meter-1": 193})
    assert proxies[0].links > 0
    world.wait(lambda: proxies[1].links > 0, "the agent takes the other route")
    proxies[1].close()


def test_a_standby_agent_takes_over_and_both_end_with_all_receipts(world):
    folders = [world.add_fabric_edge(agent, "raft-1", RAFT / "0.block") for agent in ("e1", "e2")]
    world.chains = [dict(world.chains[0], agents=["e1", "e2"])]
    for folder in folders:
        bring(folder, RAFT, 0, 4)
    world.prepare()
    world.devchain.start()
    world.gateway.start()
    world.edges["e1"].start()
    world.wait_anchored({"raft-1": 5})
    world.edges["e2"].start()
    world.wait(lambda: chain_of(world, "e2").get("state") == "standby", "the second stands by")
    assert chain_of(world, "e2")["batches_sent"] == 0
    for folder in folders:
        bring(folder, RAFT, 5, 7)
    world.wait_anchored({"raft-1": 8})
    world.edges["e1"].kill()
    world.wait(lambda: chain_of(world, "e2").get("state") == "active", "the second takes over")
    for folder in folders:
        bring(folder, RAFT, 8, 10)
    oracle = Oracle(world).expect_agents()
    oracle.check()
    world.wait(lambda: chain_of(world, "e2")["anchored_next"] == 11, "receipts for blocks the other brought, too")
    world.edges["e1"].start()
    oracle.check_receipts()  # The first hears of the rest.
    states = {chain_of(world, agent)["state"] for agent in ("e1", "e2")}
    assert states == {"active", "standby"}


@pytest.mark.parametrize("policy,oldest", [("never", 0), ("durable", 96), ("anchored", 96)])
def test_a_ledger_is_pruned_as_the_policy_says(world, policy, oldest):
    add_meter(world, days=1.0, prune=policy)
    world.start()
    world.wait_anchored({"meter-1": 96})
    world.wait(lambda: chain_of(world, "e1")["anchored_next"] == 96, "all receipts")
    world.wait(lambda: chain_of(world, "e1")["oldest"] == oldest, "the policy is carried out")
    # It goes on sealing and sending afterwards.
    with open(world.folder / "e1.csv", "a", encoding="ascii") as file:
        file.write("2026-01-06T00:00:00Z,M0000001,1.0,230,1,230\n")
    world.wait_anchored({"meter-1": 97})


def test_nothing_is_pruned_before_it_is_anchored(world):
    add_meter(world, days=1.0, prune="anchored")
    folder = world.add_fabric_edge("e2", "raft-1", RAFT / "0.block", prune="anchored")
    bring(folder, RAFT, 0, 10)
    world.prepare()
    world.gateway.start()  # The main chain is away.
    for agent in world.edges.values():
        agent.start()
    world.wait(lambda: chain_of(world, "e1").get("durable_next") == 96, "all is durable")
    world.wait(lambda: chain_of(world, "e2").get("durable_next") == 11, "all is durable")
    assert chain_of(world, "e1")["oldest"] == 0
    assert not (world.folder / "e2/state/raft-1.prunable").exists()
    world.devchain.start()
    world.wait(lambda: chain_of(world, "e1")["oldest"] == 96, "pruned")
    world.wait(lambda: (world.folder / "e2/state/raft-1.prunable").exists(), "said")
    assert (world.folder / "e2/state/raft-1.prunable").read_text() == "11\n"
    assert len(list(folder.glob("*.block"))) == 11, "somebody else's files are left alone"


def test_a_small_store_goes_on_for_ever_by_dropping_its_oldest_receipts(world):
    """A month of blocks through a store of one megabyte."""
    source = {"input": "socket", "path": world.folder / "e1" / "entries.sock", "size": "1 MiB", "block-entries": 1,
              "block-bytes": "64 KiB"}
    world.add_ledger_edge("e1", "meter-1", suite="sha256-ed25519", source=source, prune="anchored")
    world.start()
    producer = world.wait(lambda: connected(source["path"]), "a producer")
    producer.socket.settimeout(60)
    count = 0
    while "receipts-dropped" not in world.edges["e1"].log():
        assert count < 20_000
        for _ in range(200):
            producer.send(b"entry %d" % count)
            count += 1
        for _ in range(200):
            assert producer.answer()[0] == 0
    world.wait_anchored({"meter-1": count + 1}, timeout=90)
    world.wait(lambda: chain_of(world, "e1")["anchored_next"] == count + 1, "all anchor receipts")
    assert chain_of(world, "e1")["problem"] == ""
    assert os.path.getsize(world.folder / "e1/ledger/data.mdb") <= 1 << 20
    config = world.folder / "e1.yaml"
    assert world.run("zonerelay-edge", "proof", "meter-1", "10", "none", "--config", config, check=False).returncode == 1
    world.run("zonerelay-edge", "proof", "meter-1", str(count - 10), "good", "--config", config)


def test_an_edge_that_knows_the_main_chain_s_keys_believes_nobody_else(world):
    chain = {"main-chain": {"adapter": "http", "trusted": world.trusted}}
    add_meter(world, days=0.2, **chain)
    folder = world.add_fabric_edge("e2", "raft-1", RAFT / "0.block",
                                   **{"main-chain": {"adapter": "http", "trusted": world.folder / "pki/ca.pem"}})
    bring(folder, RAFT, 0, 10)
    world.start()
    world.wait_anchored({"meter-1": 19, "raft-1": 11})
    world.wait(lambda: chain_of(world, "e1").get("anchored_next", 0) >= 19, "proved by the main chain itself")
    world.wait(lambda: chain_of(world, "e2").get("receipts_refused", 0) > 0, "not proved to who trusts others")
    assert chain_of(world, "e2")["anchored_next"] == 0
    assert chain_of(world, "e2")["durable_next"] == 11


def test_an_edge_can_prove_a_block_it_has_pruned(world):
    add_meter(world, days=1.0, prune="anchored")
    world.start()
    world.wait(lambda: chain_of(world, "e1").get("oldest") == 96, "all is anchored and pruned")
    proof = world.folder / "40.proof"
    world.run("zonerelay-edge", "proof", "meter-1", "40", proof, "--config", world.folder / "e1.yaml")
    good = world.run("zonerelay", "proof", "verify", proof, "--trusted", world.trusted, check=False)
    assert good.returncode == 0, good.stdout + good.stderr
    data = bytearray(proof.read_bytes())
    data[len(data) // 2] ^= 1
    proof.write_bytes(data)
    assert world.run("zonerelay", "proof", "verify", proof, "--trusted", world.trusted, check=False).returncode != 0


@pytest.mark.parametrize("suite", ["sha256-p256", "sha256-ed25519", "sm3-sm2"])
def test_every_suite_is_carried_and_its_blocks_verify(world, suite):
    add_meter(world, days=0.2, suite=suite)
    world.start()
    Oracle(world).expect_agents({"meter-1": 20}).check()
    out = world.folder / "out"
    config = world.folder / "e1.yaml"
    world.run("zonerelay-edge", "ledger", "export", "meter-1", out, "--config", config)
    result = world.run("zonerelay", "blocks", "verify", "--format", "ledger", "--trust",
                       world.folder / "e1/genesis.block", out)
    assert result.stdout.count(" OK") >= 20
    assert b'"meter":"M0000001"' in block_entries((out / "1.block").read_bytes())[0]


def test_entries_that_were_acknowledged_are_anchored_in_the_end(world):
    source = {"input": "socket", "path": world.folder / "e1" / "entries.sock", "block-interval": "100 ms"}
    world.add_ledger_edge("e1", "meter-1", suite="sm3-sm2", source=source)
    world.start()
    agent = world.edges["e1"]
    chance = random.Random(14)
    acked = {}
    for attempt in range(4):
        producer = world.wait(lambda: connected(source["path"]), "a producer")
        for number in range(40):
            producer.send(b"reading %d of %d" % (number, attempt))
        for _ in range(chance.randrange(5, 40)):
            if producer.answer() is None:
                break
        agent.kill()
        while producer.answer() is not None:
            pass
        acked.update(producer.acked)
        agent.start()
    assert acked
    world.wait(lambda: chain_of(world, "e1").get("entries", 0) > 0 and
               chain_of(world, "e1")["entries"] == chain_of(world, "e1")["entries_sealed"] and
               chain_of(world, "e1")["anchored_next"] == chain_of(world, "e1")["next"], "all is sealed and anchored")
    Oracle(world).check()
    out = world.folder / "out"
    world.run("zonerelay-edge", "ledger", "export", "meter-1", out, "--config", world.folder / "e1.yaml")
    heights = sorted(int(path.stem) for path in out.glob("*.block"))
    entries = [entry for height in heights[1:] for entry in block_entries((out / f"{height}.block").read_bytes())]
    for entry, place in acked.items():
        assert entries[place] == entry


def test_a_gateway_with_a_new_store_is_refused(world):
    folder = world.add_fabric_edge("e1", "raft-1", RAFT / "0.block")
    bring(folder, RAFT, 0, 10)
    world.start()
    world.wait_anchored({"raft-1": 11})
    world.gateway.stop()
    for path in (world.folder / "spool").iterdir():
        path.unlink()
    (world.folder / "spool").rmdir()
    world.init_spool()
    world.gateway.start()
    world.wait(lambda: "another store" in world.edge_status("e1")["last_error"] or
               "store" in world.edge_status("e1")["last_error"], "refused")
    assert chain_of(world, "e1")["state"] == "offline"
    assert chain_of(world, "e1")["batches_sent"] <= 1
