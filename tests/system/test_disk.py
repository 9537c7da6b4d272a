"""Disks that are full, too small, or that fail (promises P1 and P7)."""
import contextlib
import os
import pathlib
import subprocess

import pytest

from disks import KINDS, MIB, Disk, why_not
from feed import Feed
from link_peer import Ended, pack_blocks
from oracle import Oracle
from producer import block_entries
from siege import Siege
from world import ROOT, SLOW, World

BUILD = os.environ.get("ZR_BUILD", ROOT / "build")


@pytest.fixture
def world(tmp_path):
    with World(tmp_path, BUILD) as made:
        yield made


@contextlib.contextmanager
def small_disk(folder, kind):
    """A small file system of its own, beside the world's folder."""
    why = why_not(kind)
    if why:
        pytest.skip(why)
    with Disk(folder.with_name(folder.name + "-disk"), kind, 48 * MIB) as made:
        print(f"on {kind}")
        yield made
    made.path.rmdir()


@pytest.fixture(params=KINDS)
def disk(request, tmp_path):
    with small_disk(tmp_path, request.param) as made:
        yield made


@pytest.fixture(params=KINDS if "ZR_DEEP" in os.environ else ["one"])
def some_disk(request, tmp_path, torture):
    """For what takes longer: in the quick form of one kind, which the seed draws."""
    with small_disk(tmp_path, KINDS[torture.seed % 3] if request.param == "one" else request.param) as made:
        yield made


def add_meter(world, agent, name, **settings):
    """A ledger that programs on the device fill through the agent's socket."""
    path = world.folder / agent / "entries.sock"
    source = {"input": "socket", "path": path, "block-interval": "100 ms", "entry-size": "64 KiB",
              **settings.pop("source", {})}
    world.add_ledger_edge(agent, name, suite="sha256-p256", source=source, **settings)
    world.edge_settings[agent]["batch"] = {"wait": "50 ms"}
    return path


def finish(world, feeds, torture):
    """Everything that a producer was told is in its ledger, and every promise of the gateway is kept."""
    for feed in feeds.values():
        feed.stop()

    def sealed():
        chains = [chain for agent in feeds for chain in world.edge_status(agent).get("chains", [{}])]
        return all(chain.get("entries", -1) == chain.get("entries_sealed", -2) for chain in chains)
    world.wait(sealed, "all entries are sealed")
    oracle = Oracle(world, seed=torture.seed)
    oracle.gather()
    oracle.expect_agents()
    for agent, feed in feeds.items():
        blocks = oracle.sources[world.edge_settings[agent]["chains"][0]["name"]].raws
        feed.check([entry for block in blocks[1:] for entry in block_entries(block)])
    oracle.check()
    torture.figure("disk: entries answered around full and failing disks",
                   sum(len(feed.acked) for feed in feeds.values()))


def taken(feed, more=1):
    """A condition: so many entries more than now were taken."""
    count = len(feed.acked) + more
    return lambda: len(feed.acked) >= count


# ---- the store at its limit ----


def test_a_full_spool_pauses_edges_drains_and_goes_on_by_itself(world, torture):
    world.gateway_settings["spool"] |= {"size": "20 MiB", "reserve": "4 MiB", "quarantine-size": "1 MiB",
                                        "retention": "0"}
    feeds = {agent: Feed(add_meter(world, agent, f"meter-{agent}"), agent, size=30000, most=340)
             for agent in ("e1", "e2")}
    world.prepare()
    world.gateway.start()
    for agent in feeds:
        world.edges[agent].start()
        feeds[agent].start()
    pid = world.gateway.process.pid
    for _ in range(torture.rounds(quick=1, deep=10)):
        at = len(world.gateway.log())
        world.wait(lambda: world.http("/readyz")[0] == 503 and "full" in world.http("/readyz")[1], "the spool is full")
        held = {name: chain["next_height"] for name, chain in world.chain_states().items()}
        world.devchain.start()
        world.wait_anchored(held)          # The drain goes on,
        world.gateway.wait_log("spool-has-room", 60, at)
        world.wait(lambda: all(chain["next_height"] > held[name] for name, chain in world.chain_states().items()),
                   "and intake of every chain again")
        if torture.deep:
            world.devchain.stop()
            for feed in feeds.values():
                feed.most += 600
    assert world.gateway.process.pid == pid and world.gateway.running
    if not world.devchain.running:
        world.devchain.start()
    finish(world, feeds, torture)


def test_a_full_ledger_blocks_its_producer_until_the_gateway_is_back(world):
    path = add_meter(world, "e1", "meter-1", prune="anchored", source={"size": "4 MiB", "block-bytes": "128 KiB"})
    feed = Feed(path, "e1", size=20000)
    world.prepare()
    world.edges["e1"].start()
    feed.start()
    world.wait(lambda: feed.acked and feed.blocked(), "the producer has to wait")
    assert "full" in world.edge_status("e1")["chains"][0]["problem"]
    blocks = Oracle(world).source_blocks("e1", world.edge_settings["e1"]["chains"][0])  # Before they are pruned.
    feed.check([entry for block in blocks[1:] for entry in block_entries(block)])
    world.devchain.start()
    world.gateway.start()
    world.wait(taken(feed, 50), "the producer goes on")
    feed.stop()
    world.wait_anchored({"meter-1": len(blocks)})
    assert world.edges["e1"].running


# ---- a disk that is too small ----


def nothing_half_made(folder):
    """No file of a store but the lock of whoever tried; the folder may be there."""
    return not folder.exists() or {path.name for path in folder.iterdir()} <= {"owner.lock"}


def test_a_spool_that_does_not_fit_is_refused_and_nothing_is_left(world, disk):
    folder = disk.path / "spool"
    for leave in (24 * MIB, 256 << 10, 8 << 10, 0):
        disk.free()
        disk.fill(leave=leave)
        left = disk.left
        for options in ((), ("--no-allocate",)) if leave < 64 << 10 else ((),):
            result = world.run("zonerelay", "spool", "init", folder, "--size", "512 MiB", *options, check=False)
            assert result.returncode == 1, (leave, options)
            assert "No space left" in result.stderr or "disk is full" in result.stderr, result.stderr
            assert nothing_half_made(folder), (leave, options, list(folder.iterdir()))
        assert disk.left >= left - (64 << 10), "space is still taken"
    disk.free()
    world.gateway_settings["spool"] |= {"dir": folder, "size": "20 MiB", "reserve": "4 MiB", "quarantine-size": "1 MiB"}
    world.write_gateway()
    assert world.run("zonerelayd", "--config", world.folder / "gateway.yaml", check=False).returncode == 66
    world.init_spool()
    world.run("zonerelay", "spool", "verify", folder)


def test_a_spool_that_cannot_grow_says_so_and_stays_as_it_is(world, disk):
    folder = disk.path / "spool"
    world.gateway_settings["spool"] |= {"dir": folder, "size": "20 MiB", "reserve": "4 MiB", "quarantine-size": "1 MiB"}
    world.prepare()
    world.gateway_settings["spool"]["size"] = "600 MiB"
    world.write_gateway()
    result = world.run("zonerelayd", "--config", world.folder / "gateway.yaml", check=False)
    assert result.returncode == 75, result.stderr
    assert "no room on the disk" in result.stderr
    world.gateway_settings["spool"]["size"] = "20 MiB"
    world.write_gateway()
    world.devchain.start()
    world.gateway.start()
    world.gateway.stop()
    world.run("zonerelay", "spool", "verify", folder)


def test_an_agent_without_room_for_its_stores_says_so_and_leaves_nothing(world, disk):
    add_meter(world, "e1", "meter-1", source={"dir": disk.path / "ledger"})
    world.edge_settings["e1"]["state"]["dir"] = disk.path / "state"
    world.write_edge("e1")
    config = world.folder / "e1.yaml"
    disk.fill()
    result = world.run("zonerelay-edge", "ledger", "init", "--config", config, check=False)
    assert result.returncode in (1, 75), result
    assert "full" in result.stderr or "No space left" in result.stderr, result.stderr
    assert nothing_half_made(disk.path / "ledger")
    assert not (world.folder / "e1" / "genesis.block").exists()
    disk.free()
    world.prepare()
    disk.fill()
    result = world.run("zonerelay-edge", "run", "--config", config, check=False)
    assert result.returncode == 75, result
    assert nothing_half_made(disk.path / "state")
    disk.free()
    world.devchain.start()
    world.gateway.start()
    world.edges["e1"].start()
    world.wait_anchored({"meter-1": 1})


# ---- a disk that others fill up ----


def test_what_was_allocated_stays_ours_when_others_fill_the_disk(world, some_disk, torture):
    """The spool's own space is taken at init: others cannot even make it pause, nor a restart fail."""
    world.gateway_settings["spool"] |= {"dir": some_disk.path / "spool", "size": "20 MiB", "reserve": "4 MiB",
                                        "quarantine-size": "1 MiB", "retention": "0"}
    feed = Feed(add_meter(world, "e1", "meter-1"), "e1", size=20000, pause=0.01)
    world.prepare()
    some_disk.fill()  # Before it was ever opened.
    world.devchain.start()
    world.gateway.start()
    world.edges["e1"].start()
    feed.start()
    for _ in range(torture.rounds(quick=1, deep=10)):
        world.wait(taken(feed, 30), "entries are taken")
        assert world.gateway.stop() == 0
        world.gateway.start()
        world.wait(taken(feed, 10), "and after a restart on the full disk")
    finish(world, {"e1": feed}, torture)


def test_a_spool_that_grows_pauses_while_the_disk_is_full(world, some_disk, torture):
    world.gateway_settings["spool"] |= {"dir": some_disk.path / "spool", "size": "40 MiB", "reserve": "8 MiB",
                                        "quarantine-size": "1 MiB", "retention": "0"}
    feed = Feed(add_meter(world, "e1", "meter-1"), "e1", size=30000)
    world.init_spool = lambda: world.run("zonerelay", "spool", "init", "--config", world.folder / "gateway.yaml",
                                         "--no-allocate")
    world.prepare()
    world.gateway.start()
    world.edges["e1"].start()
    feed.start()
    world.wait(taken(feed, 20), "entries are taken")
    pid = world.gateway.process.pid
    for _ in range(torture.rounds(quick=1, deep=10)):
        at = len(world.gateway.log())
        some_disk.fill()
        world.gateway.wait_log("the disk is full", 60, at)
        world.wait(lambda: world.http("/readyz")[0] == 503, "not ready")
        held = world.chain_states()["meter-1"]["next_height"]
        world.devchain.start()
        world.wait_anchored({"meter-1": held})  # The drain goes on: room for it was kept.
        some_disk.free()
        world.wait(lambda: world.chain_states()["meter-1"]["next_height"] > held + 5, "intake goes on")
        world.wait(lambda: world.http("/readyz")[0] == 200, "and is ready")
        world.devchain.stop()
    assert world.gateway.process.pid == pid and world.gateway.running
    world.devchain.start()
    finish(world, {"e1": feed}, torture)


def test_an_agent_pauses_its_producer_while_the_disk_is_full(world, disk, torture):
    """Ledger and state folder on one disk that others fill: nothing that was answered is lost."""
    feed = Feed(add_meter(world, "e1", "meter-1", source={"dir": disk.path / "ledger"}), "e1", size=20000)
    world.edge_settings["e1"]["state"]["dir"] = disk.path / "state"
    world.start()
    feed.start()
    world.wait(taken(feed, 20), "entries are taken")
    pid = world.edges["e1"].process.pid
    for _ in range(torture.rounds(quick=1, deep=10)):
        disk.fill()
        world.wait(lambda: feed.blocked(1.5), "the producer has to wait")
        assert "full" in world.edge_status("e1")["chains"][0]["problem"]
        held = world.edge_status("e1")["chains"][0]["next"]
        world.wait_anchored({"meter-1": held})  # What is sealed is handed over.
        disk.free()
        world.wait(taken(feed, 20), "the producer goes on")
    assert world.edges["e1"].process.pid == pid and world.edges["e1"].running
    finish(world, {"e1": feed}, torture)


def test_an_agent_starts_and_hands_over_on_a_full_disk(world, disk, torture):
    feed = Feed(add_meter(world, "e1", "meter-1", source={"dir": disk.path / "ledger"}), "e1", size=5000)
    world.edge_settings["e1"]["state"]["dir"] = disk.path / "state"
    world.prepare()
    world.edges["e1"].start()
    feed.start()
    world.wait(taken(feed, 20), "entries are taken")
    world.edges["e1"].kill()
    disk.fill()
    world.devchain.start()
    world.gateway.start()
    world.edges["e1"].start()
    world.wait(lambda: world.edge_status("e1").get("chains"), "the agent runs")
    held = world.edge_status("e1")["chains"][0]["next"]
    world.wait_anchored({"meter-1": held})
    assert world.edges["e1"].running
    disk.free()
    world.wait(taken(feed, 20), "the producer goes on")
    finish(world, {"e1": feed}, torture)


# ---- a disk that fails ----


@pytest.fixture
def failing(tmp_path):
    """Environment of a daemon whose disk fails once, at the step that is written into the file."""
    library = pathlib.Path(BUILD) / "tests/disk/fail_disk.so"
    tried = subprocess.run([pathlib.Path(BUILD) / "relay/zonerelayd", "--version"], capture_output=True, check=False,
                           env={"LD_PRELOAD": str(library.resolve())})
    if tried.returncode != 0:
        pytest.skip("libraries cannot be loaded under these programs: they are built with a sanitizer")
    trigger = tmp_path / "the-disk-fails"
    return trigger, {"LD_PRELOAD": str(library.resolve()), "ZR_FAIL": str(trigger)}


def died_of_the_disk(process):
    assert process.process.wait(30 * SLOW) == 74, process.tail()
    assert "Input/output error" in process.tail()


@pytest.mark.parametrize("step", ["sync", "page", "meta"])
def test_a_failed_write_or_sync_ends_the_gateway_before_any_receipt(tmp_path, failing, step, torture):
    trigger, environment = failing
    siege = Siege(tmp_path / "siege", settings={"spool": {"size": "32 MiB", "reserve": "4 MiB",
                                                            "quarantine-size": "4 MiB"}})
    siege.world.gateway.environment = environment
    with siege:
        chain, gateway = siege.chains["good"], siege.world.gateway
        for _ in range(torture.rounds(quick=1, deep=60)):
            siege.good_block()
            trigger.write_text(step)
            with contextlib.suppress(Ended, AssertionError):  # The link ends, or nothing comes.
                siege.alice.offer(pack_blocks(chain.grow(1)))
            died_of_the_disk(gateway)
            siege.alice.expect_end()
            assert not any("ack" in frame and frame["ack"].get("durable_next", 0) >= len(chain.blocks)
                           for frame in siege.alice.frames), "a receipt went out"
            assert not trigger.exists()
            siege.alice_leaves()
            gateway.start()  # What is on the disk decides; the disk works again.
            with siege.link("alice") as link:
                held = link.hello([chain.hello()])["chains"][0]["next_height"]
                assert held in (len(chain.blocks) - 1, len(chain.blocks))
                link.store(chain.blocks[held:] or chain.blocks[-1:])


@pytest.mark.parametrize("step", ["sync", "page", "meta"])
def test_a_failed_write_or_sync_ends_the_agent_before_any_answer(world, failing, step, torture):
    trigger, environment = failing
    path = add_meter(world, "e1", "meter-1")
    agent = world.edges["e1"]
    agent.environment = environment
    world.start()
    feed = Feed(path, "e1", size=500, pause=0.005).start()
    for _ in range(torture.rounds(quick=1, deep=60)):
        world.wait(taken(feed, 5), "entries are taken")
        trigger.write_text(step)
        died_of_the_disk(agent)
        assert not trigger.exists()
        agent.start()
    finish(world, {"e1": feed}, torture)
