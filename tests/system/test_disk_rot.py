"""Bit rot in a gateway's store (promises P4 and P7): never a wrong byte, and what is damaged is named."""
import contextlib
import os
import random
import re
import shutil
import subprocess
import time

import pytest

from feed import Feed
from link_peer import pack_blocks
from oracle import Facts, Oracle, judge
from siege import Siege
from test_disk import BUILD, add_meter
from world import SLOW, World

PIECE = 512
ZSTD = b"\x28\xb5\x2f\xfd"  # A batch's payload begins with it.
NAMED = re.compile(r"detail=.*(table \w+|height \d+|damaged)|(chain|seq)=\S+ .*(damaged|table \w+)")


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
    images = 0 if torture.deep else 150
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


# ---- the real daemon, with an edge that still has everything, and a main chain ----


class Rotten:
    """A gateway that was stopped with much in its store, an edge and a main chain; set back for each try."""

    def __init__(self, world, blocks):
        self.world = world
        self.blocks = blocks  # Of the chain "meter-1".
        self.kept = world.folder / "kept"
        for part in ("spool", "devchain", "e1"):
            shutil.copytree(world.folder / part, self.kept / part, ignore=shutil.ignore_patterns("*.sock"))
        self.data = (self.kept / "spool" / "data.mdb").read_bytes()

    def set_back(self):
        for part in ("spool", "devchain", "e1"):
            shutil.rmtree(self.world.folder / part)
            shutil.copytree(self.kept / part, self.world.folder / part)

    @property
    def store(self):
        return self.world.folder / "spool" / "data.mdb"

    def write(self, at, data):
        with open(self.store, "r+b") as file:
            file.seek(at)
            file.write(data)

    def anchored(self):
        return self.world.audit().get("meter-1", {}).get("blocks", 0)

    def judge_main_chain(self):
        """Whatever reached it is the source's, in order and once."""
        oracle, facts = Oracle(self.world), Facts()
        oracle.expect("meter-1", self.blocks, whole=False)
        oracle.read_lane(facts)
        wrong = judge(oracle.sources, {}, facts)
        assert not wrong, wrong
        oracle.watch.ended.set()


@pytest.fixture(scope="module")
def rotten(tmp_path_factory):
    with World(tmp_path_factory.mktemp("rotten"), BUILD) as world:
        world.gateway_settings["spool"] |= {"size": "16 MiB", "reserve": "1 MiB", "quarantine-size": "1 MiB"}
        feed = Feed(add_meter(world, "e1", "meter-1"), "e1", size=1500, most=150, pause=0.005)
        world.init_spool = lambda: world.run("zonerelay", "spool", "init", "--config", world.folder / "gateway.yaml",
                                             "--no-allocate")
        world.start()
        feed.start()
        world.wait(lambda: len(feed.acked) > 60, "some entries are taken")
        world.wait(lambda: world.audit().get("meter-1", {}).get("blocks", 0) > 3, "some are anchored")
        world.devchain.stop()  # The rest waits in the store.
        world.wait(lambda: len(feed.acked) == 150, "all entries are taken")
        feed.stop()

        def stored():
            chain = world.edge_status("e1")["chains"][0]
            return chain["entries"] == chain["entries_sealed"] and chain["durable_next"] == chain["next"]
        world.wait(stored, "all is with the gateway")
        blocks = Oracle(world).source_blocks("e1", world.edge_settings["e1"]["chains"][0])
        world.edges["e1"].stop()
        world.gateway.stop()
        world.run("zonerelay", "spool", "verify", world.folder / "spool")
        yield Rotten(world, blocks)
    shutil.rmtree(world.folder, ignore_errors=True)


def stop_all(world):
    for process in (world.edges["e1"], world.gateway, world.devchain):
        with contextlib.suppress(Exception):
            process.stop()
        process.kill()


def test_damaged_payloads_are_named_asked_for_again_and_delivered(rotten):
    world = rotten.world
    rotten.set_back()
    places = [match.start() for match in re.finditer(re.escape(ZSTD), rotten.data)]
    assert len(places) > 3
    for place in places:  # All of them; copies on free pages, too.
        rotten.write(place + 60, bytes([rotten.data[place + 60] ^ 0x10]))
    result = world.run("zonerelay", "spool", "verify", world.folder / "spool", check=False)
    assert result.returncode == 4 and re.search(r"meter-1, height \d+", result.stdout), result.stdout
    at = len(world.gateway.log())
    try:
        world.edges["e1"].start()
        world.gateway.start()
        world.gateway.wait_log("spool-damaged", 30, at)
        assert re.search(r'spool-damaged detail=".*meter-1, height \d+', world.gateway.log()[at:])
        world.gateway.wait_log("batch-repaired chain=meter-1", 60, at)
        world.devchain.start()
        oracle = Oracle(world)
        oracle.expect("meter-1", rotten.blocks)
        oracle.gather()
        for process in (world.edges["e1"], world.gateway):
            assert process.running
        world.wait_anchored({"meter-1": len(rotten.blocks)})
        rotten.judge_main_chain()
        oracle.watch.ended.set()
    finally:
        stop_all(world)


def outcome(rotten, at):
    """How a gateway goes on with its damaged store: "delivered", "ended" or "named"."""
    world = rotten.world
    deadline = time.monotonic() + 20 * SLOW
    while time.monotonic() < deadline:
        if not world.gateway.running:
            status = world.gateway.process.returncode
            assert status == 74, f"ended with {status}:\n{world.gateway.tail()}"
            return "ended"
        if rotten.anchored() >= len(rotten.blocks):
            return "delivered"
        # Something cannot be read, and nothing can be done about it here: an operator has to look.
        if time.monotonic() > deadline - 12 * SLOW and NAMED.search(world.gateway.log()[at:]):
            return "named"
        time.sleep(0.1)
    raise AssertionError(f"neither delivered nor said why not:\n{world.gateway.tail()}")


def damaged(chance, piece, kind):
    if kind == "zero":
        return bytes(PIECE)
    if kind == "noise":
        return chance.randbytes(PIECE)
    at = chance.randrange(PIECE)
    return piece[:at] + bytes([piece[at] ^ 1 << chance.randrange(8)]) + piece[at + 1:]


def test_a_daemon_on_a_rotten_store_delivers_or_ends_or_says_what_it_cannot_read(rotten, torture):
    world = rotten.world
    chance = random.Random(torture.seed)
    seen = {"delivered": 0, "ended": 0, "named": 0}
    used = len(rotten.data.rstrip(b"\0")) // PIECE
    for _ in range(torture.rounds(quick=4, deep=200)):
        rotten.set_back()
        number, kind = chance.randrange(used), chance.choice(("flip", "zero", "noise", "cut"))
        at = number * PIECE
        if kind == "cut":
            os.truncate(rotten.store, at)
        else:
            rotten.write(at, damaged(chance, rotten.data[at:at + PIECE], kind))
        told = len(world.gateway.log())
        print(f"piece {number} {kind}")
        try:
            world.devchain.start()
            world.edges["e1"].start()
            world.gateway.spawn()
            how = outcome(rotten, told)
            rotten.judge_main_chain()
            if how == "ended":
                world.gateway.kill()
                verified = world.run("zonerelay", "spool", "verify", world.folder / "spool", check=False)
                assert verified.returncode != 0, "verify finds nothing wrong"
                salvaged = world.run("zonerelay", "spool", "salvage", world.folder / "spool", "--out",
                                     world.folder / "salvaged", check=False)
                assert salvaged.returncode in (0, 4), salvaged.stderr  # 4: not all of it is whole.
                (world.folder / "salvaged").unlink()
            seen[how] += 1
        finally:
            stop_all(world)
    for how, count in seen.items():
        torture.figure(f"bit rot: gateways on a damaged store: {how}", count)
