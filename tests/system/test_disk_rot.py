"""Bit rot in a gateway's store (promises P4 and P7): never a wrong byte, and what is damaged is named."""
import os
import shutil
import subprocess

import pytest

from ledger_maker import LedgerChain
from link_peer import pack_blocks
from siege import BUILD, Siege
from world import ROOT, SLOW

RAFT = ROOT / "tests/data/fabric/raft-edge-1"


def offer_bad(siege, name, block):
    with siege.carrying(name) as link:
        body, answer = link.offer(pack_blocks([block]))
        assert body == "reject", answer


def make_history(siege):
    """Something of everything: chains, batches small and large, quarantine, evidence, tombstones, anchors and
    receipts; and at the end anchors that are not final, and blocks in none."""
    world = siege.world
    for name in ("small", "large", "forked"):
        chain = siege.chains[name]
        with siege.carrying(name) as link:
            for count, size in ((4, 40), (2, 6000), (1, 20000 if name == "large" else 10)):
                blocks = chain.grow(count, size)
                link.store(chain.blocks if chain.blocks[0] not in siege.sent else blocks)
                siege.sent.update(chain.blocks)
        siege.stored[name] = len(chain.blocks)
    chain = siege.chains["small"]
    for index in range(3):
        offer_bad(siege, "small", chain.make([b"bad %d" % index], parent=bytes([index + 1]) * 32))
    item = siege.quarantined("small")[0]["number"]
    world.cli("quarantine", "reject", item, "--reason", "of no use")
    forked = siege.chains["forked"]
    tip = forked.blocks[5]
    offer_bad(siege, "forked", forked.make([b"another"], height=5, parent=forked.blocks[4].hash, time_ms=tip.height))
    siege.wait(lambda: world.chain_states()["forked"]["state"] == "frozen", "the fork is found")
    siege.stored["good"] = len(siege.chains["good"].blocks)
    world.wait_anchored(siege.stored)
    siege.wait(lambda: siege.metric("blocks_anchored_total") or True, "anchored")
    world.devchain.stop()
    for _ in range(3):
        siege.good_block()
        siege.alice.store(siege.chains["good"].grow(2, 5000))
        with siege.carrying("large") as link:
            link.store(siege.chains["large"].grow(1, 9000))


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The store of a gateway that was stopped."""
    siege = Siege(tmp_path_factory.mktemp("rot"), ["small", "large", "forked"],
                  {"spool": {"size": "16 MiB", "reserve": "1 MiB", "quarantine-size": "1 MiB"}})
    siege.sent = set()
    world = siege.world
    world.init_spool = lambda: world.run("zonerelay", "spool", "init", "--config", world.folder / "gateway.yaml",
                                         "--no-allocate")  # As large as it is used: less to read for each image.
    siege.start()
    make_history(siege)
    world.stop()
    world.run("zonerelay", "spool", "verify", world.folder / "spool")
    yield siege
    shutil.rmtree(world.folder, ignore_errors=True)


def test_no_piece_of_a_store_can_rot_unseen(sound, tmp_path, torture):
    images = 0 if torture.deep else 250
    work = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tmp_path
    result = subprocess.run([str(sound.world.build / "tests/disk/rot"), str(sound.world.folder / "spool"),
                             f"{work}/zr-rot-{os.getpid()}", str(images)], capture_output=True, text=True, check=False,
                            env={**os.environ, "ZR_SEED": str(torture.seed)}, timeout=3600 * SLOW)
    print(result.stdout, result.stderr)
    for line in result.stdout.splitlines():
        if line.startswith("figure: "):
            name, _, value = line[len("figure: "):].rpartition(": ")
            torture.figure(name, int(value) if value.isdigit() else value)
    assert result.returncode == 0, result.stderr[-4000:]
