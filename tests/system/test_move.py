"""A chain goes from one gateway to another: its tip, its watermark, its trust set, and then its agent."""
import json
import os
import sys

import pytest

from test_edge import COLUMNS
from test_edge_alone import chain_of
from world import ROOT, Process, World, free_port, yaml_text

sys.path.insert(0, str(ROOT / "tests/support"))
import meter_gen  # noqa: E402

BUILD = os.environ.get("ZR_BUILD", ROOT / "build")


@pytest.fixture
def world(tmp_path):
    with World(tmp_path, BUILD) as made:
        yield made


class Second:
    """Another gateway of the zone: a store and a lane of its own, the same main chain."""

    def __init__(self, world):
        self.world = world
        self.port = free_port()
        self.http_port = free_port()
        self.config = world.folder / "gateway-2.yaml"
        self.socket = world.folder / "control-2.sock"
        self.process = Process(world, "gateway-2", "zonerelayd", ["--config", self.config])

    def write(self, enabled):
        settings = dict(self.world.gateway_settings, listen=[f"127.0.0.1:{self.port}"],
                        chains=[dict(chain, enabled=enabled) for chain in self.world.chains],
                        spool={**self.world.gateway_settings["spool"], "dir": self.world.folder / "spool-2"},
                        control={"socket": self.socket, "events": self.world.folder / "events-2.sock"},
                        http={"listen": [f"127.0.0.1:{self.http_port}"]})
        settings["main-chain"] = {**settings["main-chain"], "lane": 1}
        self.config.write_text(yaml_text(settings) + "\n")

    def begin(self):
        self.write(enabled=False)  # It is not to begin at the genesis here.
        self.world.run("zonerelay", "spool", "init", "--config", self.config)
        self.process.spawn()
        self.process.wait_log("started")

    def cli(self, *words, check=True):
        return self.world.run("zonerelay", *words, "--socket", self.socket, check=check)

    def chain(self, name):
        chains = json.loads(self.cli("chains", "list", "--json").stdout)["chains"]
        return next(chain for chain in chains if chain["name"] == name)


def test_a_chain_goes_over_to_another_gateway_and_each_block_is_anchored_once(world):
    csv = world.folder / "e1.csv"
    lines = list(meter_gen.lines(7, 2.01))
    first = len(list(meter_gen.lines(7, 1.01)))
    csv.write_text("\n".join([meter_gen.HEADER, *lines[:first]]) + "\n")
    world.add_ledger_edge("e1", "meter-1", suite="sha256-ed25519",
                          source={"input": "csv", "path": csv, "csv": COLUMNS})
    world.start()
    world.wait_anchored({"meter-1": 97})
    world.wait(lambda: chain_of(world, "e1").get("anchored_next") == 97, "the agent has all anchor receipts")
    second = Second(world)
    second.begin()
    try:
        out = world.folder / "meter-1.move"
        moved = world.ask("chains", "move", "meter-1", "--out", out, "--reason", "a test")
        assert moved["changed"] == 1
        old = world.chain_states()["meter-1"]
        assert old["state"] == "retired" and old["next_height"] == 97
        # A file that was damaged on its way is refused, and nothing is enrolled.
        bad = world.folder / "damaged.move"
        data = bytearray(out.read_bytes())
        data[len(data) // 2] ^= 1
        bad.write_bytes(data)
        refused = second.cli("chains", "move", "meter-1", "--in", bad, "--reason", "a test", check=False)
        assert refused.returncode == 1 and "damaged" in refused.stderr
        assert second.chain("meter-1")["state"] == "absent"
        second.cli("chains", "move", "meter-1", "--in", out, "--reason", "a test")
        new = second.chain("meter-1")
        assert (new["state"], new["first_height"], new["next_height"], new["anchored_next"]) == ("active", 97, 97, 97)
        second.write(enabled=True)
        second.cli("config", "reload", "--reason", "a test")
        # The agent goes where the chain is, and must be told that this store may have it.
        world.edges["e1"].stop()
        world.edge_settings["e1"]["gateway"]["routes"] = [{"address": f"127.0.0.1:{second.port}"}]
        world.write_edge("e1")
        with csv.open("a") as file:
            file.write("\n".join(lines[first:]) + "\n")
        world.edges["e1"].start()
        second.process.wait_log('detail="this is not the store that you have pinned"')
        assert second.chain("meter-1")["next_height"] == 97
        world.edges["e1"].stop()  # Begun anew it need not wait as long as the gateway bade it.
        world.run("zonerelay-edge", "unpin", "meter-1", "--config", world.folder / "e1.yaml")
        world.edges["e1"].start()
        world.wait_anchored({"meter-1": 193})  # Each once, and without a hole.
        world.wait(lambda: chain_of(world, "e1").get("anchored_next") == 193, "receipts of both gateways")
        assert world.chain_states()["meter-1"]["next_height"] == 97
        again = second.cli("chains", "move", "meter-1", "--in", out, "--reason", "a test", check=False)
        assert again.returncode == 1
    finally:
        second.process.stop()
