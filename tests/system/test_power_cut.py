"""The power is cut at any moment of a life of the real programs: what was told to anybody is there again.

A life is recorded below the C library (tests/powercut/record.h): each write, sync and name of the store, and
each byte that leaves. Then disks are made as they could have been left at any of these moments, and the real
code opens them and goes on to the end (tests/powercut/powercut.c). Syncs that are left out of the same record
must be missed.
"""
import os
import random
import shutil

import pytest

from ledger_maker import LedgerChain
from link_peer import Ended, LinkPeer, pack_blocks, raw_batch
from powercut import Recorder, gateway_marks
from world import ROOT, World

BUILD = os.environ.get("ZR_BUILD", ROOT / "build")
GRANTS = {"alice": ["tq-1", "tq-2"], "bob": ["tq-3"]}
CLASSES = {"tq-1": "whole", "tq-2": "heads", "tq-3": "roots"}


class GatewayLife:
    """Agents bring blocks, in pieces of any size, some of them twice; the gateway is killed and started again."""

    def __init__(self, folder, seed):
        self.chance = random.Random(seed)
        self.world = World(folder, BUILD)
        self.recorder = Recorder(self.world, self.world.folder / "disk")
        self.world.gateway_settings["spool"] = {"dir": self.recorder.folder / "spool", "size": "16 MiB",
                                                "reserve": "4 MiB", "retention": "0 s", "quarantine-size": "1 MiB"}
        self.world.gateway_settings["main-chain"].update({"anchor-interval": "50 ms", "poll-interval": "50 ms"})
        self.world.gateway_settings["classes"] = {"whole": {"deliver": "full"}, "heads": {"deliver": "headers"},
                                                  "roots": {"deliver": "anchor"}}
        self.chains = {}
        for agent, names in GRANTS.items():
            self.world.pki.issue_agent(agent)
            for name in names:
                self.chains[name] = LedgerChain(name, [name.encode().ljust(32, b".")])
                trust = self.chains[name].write_genesis(self.world.folder / f"{name}.block")
                self.world.grant(name, "ledger", trust, [agent], **{"class": CLASSES[name]})
        self.links = {}
        self.next = dict.fromkeys(self.chains, 0)
        self.deaths = 0

    def start(self):
        world = self.world
        world.init_devchain()
        world.write_gateway()
        world.run("zonerelay", "spool", "init", "--config", world.folder / "gateway.yaml",
                  env={**os.environ, **self.recorder.environment()})
        self.recorder.mark("made")
        world.devchain.start()
        self.start_gateway()

    def start_gateway(self):
        """Every other time it dies by itself in the middle of a commit, a while later."""
        die_at = self.chance.choice([0, self.chance.randint(5, 60)])
        self.world.gateway.environment = self.recorder.environment(die_at)
        self.world.gateway.spawn()
        self.links = {}

    def link(self, agent):
        if agent not in self.links:
            pki = self.world.pki
            link = LinkPeer(self.world.gateway_port, pki.certificate(f"agent-{agent}"), pki.key(f"agent-{agent}"), pki.ca)
            welcome = link.hello([self.chains[name].hello() for name in GRANTS[agent]])
            for name, chain in zip(GRANTS[agent], welcome["chains"]):
                self.next[name] = chain.get("next_height", 0)
            self.links[agent] = link
        return self.links[agent]

    def offer(self):
        agent = self.chance.choice(list(GRANTS))
        link = self.link(agent)
        name = self.chance.choice(GRANTS[agent])
        chain = self.chains[name]
        first = self.next[name]
        if first > 0 and self.chance.random() < 0.1:
            first = self.chance.randrange(first)  # It has that already.
        count = self.chance.randint(1, 6)
        if first + count > len(chain.blocks):
            chain.grow(first + count - len(chain.blocks), self.chance.choice([20, 300, 2000]))
        blocks = chain.blocks[first:first + count]
        body, answer = link.offer(pack_blocks(blocks), GRANTS[agent].index(name))
        if body == "ack":
            self.next[name] = max(self.next[name], answer.get("durable_next", 0))

    def step(self):
        what = self.chance.random()
        if what < 0.01:
            self.world.gateway.kill()
        elif what < 0.015:
            self.world.gateway.stop()
        elif what < 0.05 and self.links:
            self.links.pop(self.chance.choice(list(self.links))).close()
        if not self.world.gateway.running:
            self.deaths += 1
            self.start_gateway()
        try:
            self.offer()
        except (Ended, OSError, AssertionError):
            for link in self.links.values():
                link.close()
            self.links = {}
            if self.world.gateway.running:
                self.world.wait(lambda: self.world.gateway_ready() or not self.world.gateway.running, "it starts")

    def live(self, steps):
        self.start()
        try:
            for _ in range(steps):
                self.step()
            self.world.gateway.stop()
        finally:
            self.world.stop()
        facts = self.world.folder / "facts"
        facts.mkdir()
        for name, chain in self.chains.items():
            (facts / f"{name}.blocks").write_bytes(raw_batch([block.raw for block in chain.blocks]))
        return facts


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("power")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_what_the_gateway_told_anybody_survives_a_power_cut_at_any_moment(tmp_path, torture):
    life = GatewayLife(tmp_path / "world", torture.seed)
    facts = life.live(torture.rounds(quick=120, deep=1200))
    log, told = life.recorder.judged(gateway_marks)
    torture.figure("power cut, gateway: messages that promise something", sum(told.values()))
    assert min(told[kind] for kind in ("next", "anchored", "commit", "submitted", "included")) > 20, told
    result, said = life.recorder.replay("gateway", log, facts, torture.rounds(quick=1000, deep=20000), torture.seed,
                                        second=torture.rounds(quick=200, deep=4000))
    torture.figure("power cut, gateway: images", result["images"])
    torture.figure("power cut, gateway: images of a second cut while the first is repaired", result["second"])
    assert result["broken"] == 0, said[-4000:]
    for fault in ("syncs", "folders"):
        result, _ = life.recorder.replay("gateway", log, facts, 60, torture.seed, fault=fault)
        torture.figure(f"power cut, gateway: broken without {fault}", f"{result['broken']} of {result['images']}")
        assert result["broken"] > 10
