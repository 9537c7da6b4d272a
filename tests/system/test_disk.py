"""Disks that are full, too small, or that fail (promises P1 and P7)."""
import os

import pytest

from disks import KINDS, MIB, Disk, why_not
from feed import Feed
from producer import block_entries
from world import ROOT, World

BUILD = os.environ.get("ZR_BUILD", ROOT / "build")


@pytest.fixture
def world(tmp_path):
    with World(tmp_path, BUILD) as made:
        yield made


@pytest.fixture(params=KINDS)
def disk(request, tmp_path):
    """A small file system of its own, beside the world's folder."""
    why = why_not(request.param)
    if why:
        pytest.skip(why)
    with Disk(tmp_path.with_name(tmp_path.name + "-disk"), request.param, 48 * MIB) as made:
        yield made
    made.path.rmdir()


def add_meter(world, agent, name, **settings):
    """A ledger that programs on the device fill through the agent's socket."""
    path = world.folder / agent / "entries.sock"
    source = {"input": "socket", "path": path, "block-interval": "100 ms", "entry-size": "64 KiB",
              **settings.pop("source", {})}
    world.add_ledger_edge(agent, name, suite="sha256-p256", source=source, **settings)
    world.edge_settings[agent]["batch"] = {"wait": "50 ms"}
    return path


def ledger_of(world, agent, name):
    """The raw blocks that the agent's ledger holds, by height."""
    out = world.folder / f"{agent}-out"
    world.run("zonerelay-edge", "ledger", "export", name, out, "--config", world.folder / f"{agent}.yaml")
    heights = sorted(int(path.stem) for path in out.glob("*.block"))
    assert heights == list(range(len(heights))), "the ledger has a hole"
    return [(out / f"{height}.block").read_bytes() for height in heights]


def finish(world, feeds):
    """Everything that a producer was told is in the ledger, and on the main chain, each once."""
    for feed in feeds.values():
        feed.stop()
    for agent, feed in feeds.items():
        name = world.edge_settings[agent]["chains"][0]["name"]

        def sealed(agent=agent):
            chain = world.edge_status(agent).get("chains", [{}])[0]
            return chain.get("running", True) and chain.get("entries", -1) == chain.get("entries_sealed", -2)
        world.wait(sealed, f"all entries of {agent} are sealed")
        blocks = ledger_of(world, agent, name)
        feed.check([entry for block in blocks[1:] for entry in block_entries(block)])
        world.wait_anchored({name: len(blocks)})
    world.gateway.stop()
    world.run("zonerelay", "spool", "verify", world.folder / world.gateway_settings["spool"]["dir"])


def taken(feed, more=1):
    """A condition: so many entries more than now were taken."""
    count = len(feed.acked) + more
    return lambda: len(feed.acked) >= count


# ---- the store at its limit ----


def test_a_full_spool_pauses_edges_drains_and_goes_on_by_itself(world, torture):
    world.gateway_settings["spool"] |= {"size": "20 MiB", "reserve": "4 MiB", "quarantine-size": "1 MiB",
                                        "retention": "0"}
    feeds = {agent: Feed(add_meter(world, agent, f"meter-{agent}"), agent, size=30000) for agent in ("e1", "e2")}
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
        world.devchain.stop()
    assert world.gateway.process.pid == pid and world.gateway.running
    world.devchain.start()
    finish(world, feeds)
    torture.figure("disk: entries answered around a full spool", sum(len(feed.acked) for feed in feeds.values()))


def test_a_full_ledger_blocks_its_producer_until_the_gateway_is_back(world):
    path = add_meter(world, "e1", "meter-1", prune="anchored", source={"size": "4 MiB", "block-bytes": "128 KiB"})
    feed = Feed(path, "e1", size=20000)
    world.prepare()
    world.edges["e1"].start()
    feed.start()
    world.wait(lambda: feed.acked and feed.blocked(1.5), "the producer has to wait")
    assert "full" in world.edge_status("e1")["chains"][0]["problem"]
    blocks = ledger_of(world, "e1", "meter-1")  # Before they are pruned.
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


def test_what_was_allocated_stays_ours_when_others_fill_the_disk(world, disk, torture):
    """The spool's own space is taken at init: others cannot even make it pause, nor a restart fail."""
    world.gateway_settings["spool"] |= {"dir": disk.path / "spool", "size": "20 MiB", "reserve": "4 MiB", "quarantine-size": "1 MiB",
                                        "retention": "0"}
    feed = Feed(add_meter(world, "e1", "meter-1"), "e1", size=20000, pause=0.01)
    world.prepare()
    disk.fill()  # Before it was ever opened.
    world.devchain.start()
    world.gateway.start()
    world.edges["e1"].start()
    feed.start()
    for _ in range(torture.rounds(quick=1, deep=10)):
        world.wait(taken(feed, 100), "entries are taken")
        assert world.gateway.stop() == 0
        world.gateway.start()
        world.wait(taken(feed, 20), "and after a restart on the full disk")
    finish(world, {"e1": feed})


def test_a_spool_that_grows_pauses_while_the_disk_is_full(world, disk, torture):
    world.gateway_settings["spool"] |= {"dir": disk.path / "spool", "size": "40 MiB", "reserve": "8 MiB", "quarantine-size": "1 MiB",
                                        "retention": "0"}
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
        disk.fill()
        world.gateway.wait_log("the disk is full", 60, at)
        world.wait(lambda: world.http("/readyz")[0] == 503, "not ready")
        held = world.chain_states()["meter-1"]["next_height"]
        world.devchain.start()
        world.wait_anchored({"meter-1": held})  # The drain goes on: room for it was kept.
        disk.free()
        world.wait(lambda: world.chain_states()["meter-1"]["next_height"] > held + 5, "intake goes on")
        world.wait(lambda: world.http("/readyz")[0] == 200, "and is ready")
        world.devchain.stop()
    assert world.gateway.process.pid == pid and world.gateway.running
    world.devchain.start()
    finish(world, {"e1": feed})


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
    finish(world, {"e1": feed})


def test_an_agent_starts_and_hands_over_on_a_full_disk(world, disk):
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
    finish(world, {"e1": feed})
