"""One side is restored from an older copy: nothing is anchored twice, and an operator gets out of it."""
import os
import pathlib
import shutil

import pytest

from oracle import Oracle
from world import ROOT, World

RAFT = ROOT / "tests/data/fabric/raft-edge-1"


@pytest.fixture
def world(tmp_path):
    with World(tmp_path / "world", os.environ.get("ZR_BUILD", ROOT / "build")) as made:
        yield made


def feed(folder, first, last):
    for height in range(first, last + 1):
        partial = folder / f".{height}"
        shutil.copyfile(RAFT / f"{height}.block", partial)
        partial.rename(folder / f"{height}.block")


def journey(world):
    folder = world.add_fabric_edge("edge-1", "raft-1", RAFT / "0.block")
    world.start()
    feed(folder, 0, 3)
    world.wait_anchored({"raft-1": 4})
    world.wait(lambda: world.chain_states()["raft-1"]["anchored_next"] == 4, "the receipt is here")
    return folder


def test_a_spool_restored_from_a_copy_anchors_nothing_twice(world):
    folder = journey(world)
    spool = pathlib.Path(world.gateway_settings["spool"]["dir"])
    world.gateway.stop()
    shutil.copytree(spool, world.folder / "copy")
    world.gateway.start()
    feed(folder, 4, 7)
    world.wait_anchored({"raft-1": 8})
    world.gateway.stop()
    shutil.rmtree(spool)
    shutil.copytree(world.folder / "copy", spool)

    at = len(world.gateway.log())
    world.gateway.start()
    world.gateway.wait_log("lane-halted lane=0 why=spool-restored", start=at)
    feed(folder, 8, 10)
    world.wait(lambda: world.chain_states()["raft-1"]["state"] == "restored", "the agent's receipt gives it away")
    assert world.audit()["raft-1"]["blocks"] == 8
    assert world.cli("reconcile", check=False).returncode == 4

    world.cli("adopt", "lane", "0", "--reason", "the disk was restored from Sunday's copy")
    world.wait_anchored({"raft-1": 11})
    chain = world.ask("chains", "show", "raft-1")
    assert chain["state"] == "active" and chain["next_height"] == 11
    assert chain["counters"]["lost"] == 4  # Heights 4 to 7 are on the main chain and not here.
    assert "anchor-imported" in world.gateway.log()
    world.wait(lambda: world.cli("reconcile", check=False).returncode in (0, 4), "it can be asked")
    world.cli("adopt", "lane", "0", "--reason", "again", check=False)  # Refused: nothing to adopt.
    Oracle(world, gone={"raft-1": range(4, 8)}).check()


def test_a_spool_made_from_a_backup_sends_nothing_before_an_operator_has_looked(world):
    folder = journey(world)
    backup = world.folder / "sunday.zrx"
    world.cli("spool", "backup", "--config", world.folder / "gateway.yaml", "--out", backup)
    feed(folder, 4, 7)
    world.wait_anchored({"raft-1": 8})
    world.gateway.stop()
    spool = pathlib.Path(world.gateway_settings["spool"]["dir"])
    shutil.rmtree(spool)
    world.run("zonerelay", "spool", "restore", "--config", world.folder / "gateway.yaml", "--in", backup)

    at = len(world.gateway.log())
    world.gateway.start()
    feed(folder, 8, 10)
    world.wait(lambda: world.cli("status", check=False).returncode == 3, "it asks for attention")
    world.gateway.wait_log("lane-halted lane=0 why=store-restored", start=at)
    assert world.audit()["raft-1"]["blocks"] == 8
    world.cli("adopt", "lane", "0", "--reason", "the disk is new")
    world.cli("adopt", "store", "--reason", "the disk is new")
    world.wait_anchored({"raft-1": 11})
    chain = world.ask("chains", "show", "raft-1")
    assert chain["next_height"] == 11 and chain["counters"]["lost"] == 4
    Oracle(world, gone={"raft-1": range(4, 8)}).check()


def test_a_main_chain_restored_from_a_copy_gets_what_it_lost_again(world):
    folder = journey(world)
    assert world.main_chain("/dev/snapshot", {"name": "sunday"}) is not None
    feed(folder, 4, 7)
    world.wait_anchored({"raft-1": 8})
    world.wait(lambda: world.chain_states()["raft-1"]["anchored_next"] == 8, "the receipts are here")
    assert world.main_chain("/dev/restore", {"name": "sunday"}) is not None
    assert world.audit()["raft-1"]["blocks"] == 4

    at = len(world.gateway.log())
    feed(folder, 8, 8)
    world.gateway.wait_log("lane-halted lane=0 why=mainchain-restored", start=at, timeout=40)
    assert world.audit()["raft-1"]["blocks"] == 4

    world.cli("adopt", "lane", "0", "--reason", "zone IV restored its chain")
    feed(folder, 9, 10)
    world.wait_anchored({"raft-1": 11})
    world.wait(lambda: world.chain_states()["raft-1"]["anchored_next"] == 11, "final again")
    assert world.cli("reconcile", check=False).returncode == 0
    Oracle(world, proofs=11).check()
