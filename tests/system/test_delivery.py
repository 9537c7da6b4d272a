"""Between the gateway and a main chain that misbehaves: everything once, in order, whoever is to blame."""
import os
import shutil
import time

import pytest

from oracle import Oracle
from world import ROOT, World

CHAINS = [f"tq-{number}" for number in range(4)]


class Site:
    """Four ledgers, each with an agent that seals a block of every two lines."""

    def __init__(self, world):
        self.world = world
        self.made = dict.fromkeys(CHAINS, 1)  # The genesis.
        for number, name in enumerate(CHAINS):
            home = world.folder / f"edge-{number}"
            world.add_ledger_edge(f"edge-{number}", name, suite="sha256-p256", source={
                "input": "file", "path": home / "lines", "block-entries": 2, "block-interval": "1 h"})
            (home / "lines").touch()

    def make(self, blocks, chains=CHAINS):
        for name in chains:
            with open(self.world.folder / f"edge-{CHAINS.index(name)}" / "lines", "a", encoding="ascii") as lines:
                lines.write("".join(f"reading {self.made[name]} {half}\n" for _ in range(blocks) for half in "ab"))
            self.made[name] += blocks

    def misbehave(self, *rules):
        answer = self.world.main_chain("/dev/misbehave", {"seed": 1, "rules": list(rules)})
        assert answer is not None

    def wait_anchored(self, chains=CHAINS, timeout=60):
        self.world.wait_anchored({name: self.made[name] for name in chains}, timeout)

    def check(self):
        """The end of a run: every block that was made is where it belongs."""
        Oracle(self.world).expect_agents(self.made).check()

    def wait_final(self, chains=CHAINS, timeout=30):
        def final():
            states = self.world.chain_states()
            return all(states[name]["anchored_next"] == self.made[name] for name in chains)
        self.world.wait(final, f"final up to {self.made}", timeout)


@pytest.fixture
def site(tmp_path):
    with World(tmp_path / "world", os.environ.get("ZR_BUILD", ROOT / "build")) as world:
        site = Site(world)
        world.start()
        yield site


def test_a_chain_that_the_main_chain_refuses_is_found_and_the_others_go_on(site):
    site.make(3)
    site.wait_final()
    site.misbehave({"do": "refuse-chain", "chain": "tq-2"})
    site.make(5)
    others = [name for name in CHAINS if name != "tq-2"]
    site.wait_final(others)
    site.world.wait(lambda: site.world.ask("chains", "show", "tq-2")["state"] == "frozen", "tq-2 is frozen")
    shown = site.world.ask("chains", "show", "tq-2")
    assert shown["delivery_held"] and "refused by the main chain" in shown["reason"]
    assert all(site.world.ask("chains", "show", name)["state"] == "active" for name in others)
    assert site.world.cli("status", check=False).returncode == 3

    site.misbehave()
    site.world.cli("chains", "unfreeze", "tq-2", "--reason", "zone IV knows it now")
    site.make(2)
    site.check()


def test_a_watcher_sees_anchors_that_are_in_doubt_or_refused(site):
    with site.world.watching() as seen:
        site.misbehave({"do": "drop-after", "on": "submit", "count": 1})
        site.make(1)
        site.world.wait(lambda: "anchor-unknown" in seen, "an answer was lost", 20)
        site.wait_final()
        site.misbehave({"do": "refuse-chain", "chain": "tq-2"})
        site.make(1)
        site.world.wait(lambda: "anchor-rejected" in seen, "the main chain refused", 20)
        assert seen["anchor-rejected"]["seq"] > seen["anchor-unknown"]["seq"]
        assert seen["anchor-rejected"]["detail"]


def test_lost_answers_errors_and_kills_anchor_nothing_twice(site):
    site.misbehave({"do": "drop-after", "on": "submit", "probability": 0.3},
                   {"do": "drop-before", "probability": 0.1},
                   {"do": "error-after", "on": "submit", "probability": 0.2},
                   {"do": "reset", "bytes": 40, "probability": 0.1},
                   {"do": "garble", "on": "lookup", "probability": 0.2},
                   {"do": "stale", "on": "lookup", "blocks": 2, "probability": 0.2},
                   {"do": "busy", "probability": 0.1})
    for _ in range(4):
        site.make(5)
        time.sleep(1)
        site.world.gateway.kill()
        site.world.gateway.start()
    site.make(2)
    site.misbehave()
    site.check()
    assert site.world.cli("reconcile", check=False).returncode == 0


def test_what_is_not_final_is_not_said_to_be_and_survives_a_reorganisation(site):
    site.make(1)
    site.wait_final()
    before = dict(site.made)
    site.misbehave({"do": "hold-finality"})
    site.make(3)
    site.wait_anchored()
    states = site.world.chain_states()
    assert all(states[name]["anchored_next"] == before[name] for name in CHAINS)
    site.misbehave({"do": "reorganise", "blocks": 5, "count": 1})
    site.make(1)
    site.check()


def test_of_two_gateways_on_copies_of_one_spool_only_the_newer_one_sends(site):
    world = site.world
    site.make(2)
    site.wait_final()
    world.gateway.stop()
    shutil.copytree(world.folder / "spool", world.folder / "spool-2")
    world.gateway.start()
    second, _ = world.gateway_on_copy()
    second.spawn()
    try:
        second.wait_log("lane-running")  # It has the fence now.
        site.make(3)  # The agents are with the first one, which may keep, and may not send.
        world.gateway.wait_log("lane-halted lane=0 why=fenced", timeout=30)
        held = world.audit()
        assert all(chain["duplicates"] == 0 and not chain["gaps"] for chain in held.values())
        assert all(held[name]["blocks"] == 3 for name in CHAINS)
    finally:
        second.stop()
    world.gateway.stop()
    world.gateway.start()  # The operator stopped the other one: this takes the fence again.
    site.check()


def test_a_main_chain_that_is_away_costs_time_and_nothing_else(site):
    site.make(1)
    site.wait_final()
    site.world.devchain.kill()
    site.make(20)
    site.world.wait(lambda: all(site.world.chain_states()[name]["next_height"] == site.made[name] for name in CHAINS),
                    "intake goes on")
    assert site.world.http("/healthz")[0] == 200
    site.world.gateway.wait_log("main-chain-unanswered")
    site.world.gateway.stop()
    site.world.gateway.start()
    site.world.devchain.start()
    site.check()
