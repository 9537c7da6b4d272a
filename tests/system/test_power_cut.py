"""The power is cut at any moment of a life of the real programs: what was told to anybody is there again.

A life is recorded below the C library (tests/powercut/record.h): each write, sync and name of the store, and
each byte that leaves. Then disks are made as they could have been left at any of these moments, and the real
code opens them and goes on to the end (tests/powercut/powercut.c). Syncs that are left out of the same record
must be missed.
"""
import collections
import os
import random
import shutil
import signal
import time

from ledger_maker import LedgerChain
from link_peer import Ended, LinkPeer, pack_blocks, raw_batch
from powercut import SOCKET_CHAIN, Recorder, agent_marks, gateway_marks
from producer import Producer
from world import ROOT, SLOW, World

BUILD = os.environ.get("ZR_BUILD", ROOT / "build")
GRANTS = {"alice": ["tq-1", "tq-2"], "bob": ["tq-3"]}
CLASSES = {"tq-1": "whole", "tq-2": "heads", "tq-3": "roots"}


def init_until_done(life, *words):
    """Sometimes it is killed when the store has its name, before any folder is synced; what is there is used."""
    def run(die_at):
        return life.world.run(*words, check=False, env={**os.environ, **life.recorder.environment(die_at)}).returncode

    if life.chance.random() < 0.5:
        assert run("rename") == -signal.SIGKILL
        if words[0] == "zonerelay":
            return  # A second "spool init" finds a store, and leaves it alone.
    assert run(0) == 0
    life.recorder.mark("made")


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
        init_until_done(self, "zonerelay", "spool", "init", "--config", world.folder / "gateway.yaml")
        world.devchain.start()
        self.start_gateway()

    def start_gateway(self, die_at=0, retention="0 s"):
        """die_at: in the middle of that commit the process ends, and only the page cache has it."""
        self.world.gateway.environment = self.recorder.environment(die_at)
        self.world.gateway_settings["spool"]["retention"] = retention
        self.world.write_gateway()
        self.world.gateway.spawn()
        self.links = {}

    def restart(self):
        self.deaths += 1
        self.start_gateway(self.chance.choice([0, self.chance.randint(3, 60)]), self.chance.choice(["0 s", "1 h"]))

    def die_before_the_sync(self):
        """It dies in the middle of storing what agents bring, and is started again while the main chain is away and
        nothing is due for pruning: what it tells them then is all that happens. It must be on the disk."""
        self.world.gateway.stop()
        self.world.devchain.signal(signal.SIGSTOP)
        self.start_gateway(die_at=self.chance.randint(2, 6), retention="1 h")
        while self.world.gateway.running:
            self.try_to_offer()
        self.deaths += 1
        self.start_gateway(retention="1 h")
        self.wait_ready()
        for agent in GRANTS:
            self.link(agent)
        time.sleep(0.05)
        self.world.devchain.signal(signal.SIGCONT)

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

    def wait_ready(self):
        self.world.wait(lambda: self.world.gateway_ready() or not self.world.gateway.running, "it starts")

    def try_to_offer(self):
        try:
            self.offer()
        except (Ended, OSError, AssertionError):
            for link in self.links.values():
                link.close()
            self.links = {}
            if self.world.gateway.running:
                self.wait_ready()

    def step(self):
        what = self.chance.random()
        if what < 0.02:
            self.world.gateway.kill()
        elif what < 0.025:
            self.world.gateway.stop()
        elif what < 0.05:
            self.die_before_the_sync()
        elif what < 0.08 and self.links:
            self.links.pop(self.chance.choice(list(self.links))).close()
        if not self.world.gateway.running:
            self.restart()
        self.try_to_offer()

    def live(self, steps):
        self.start()
        try:
            for _ in range(steps):
                self.step()
            self.die_before_the_sync()
            self.world.gateway.stop()
        finally:
            self.world.devchain.signal(signal.SIGCONT)
            self.world.stop()
        facts = self.world.folder / "facts"
        facts.mkdir()
        for name, chain in self.chains.items():
            (facts / f"{name}.blocks").write_bytes(raw_batch([block.raw for block in chain.blocks]))
        return facts


class AgentLife:
    """Two ledgers, fed by a file that grows and by a local socket; the agent is killed and started again."""

    def __init__(self, folder, seed):
        self.chance = random.Random(seed)
        self.world = World(folder, BUILD)
        self.recorder = Recorder(self.world, self.world.folder / "disk")
        self.world.gateway_settings["main-chain"].update({"anchor-interval": "50 ms", "poll-interval": "50 ms"})
        self.lines = []
        self.file = self.world.folder / "readings.txt"
        self.file.touch()
        self.socket = self.world.folder / "entries.sock"
        self.producer = None
        self.sent = 0
        chains = [self.chain("meter-file", input="file", path=self.file),
                  self.chain(SOCKET_CHAIN, input="socket", path=self.socket)]
        self.agent = self.world._add_edge("alice", chains[0])
        settings = self.world.edge_settings["alice"]
        settings.update({"chains": chains, "batch": {"wait": "50 ms"},
                         "state": {"dir": self.recorder.folder / "state", "size": "4 MiB"}})
        self.agent.ready = None
        self.deaths = 0

    def chain(self, name, **source):
        disk = self.recorder.folder
        trust = disk / f"{name}.block"
        self.world.grant(name, "ledger", trust, ["alice"])
        return {"name": name, "format": "ledger", "trust": trust, "prune": "anchored",
                "source": {"type": "ledger", "dir": disk / name, "size": "4 MiB", "suite": "sha256-ed25519",
                           "key": disk / f"{name}.key", "scan-interval": "20 ms", "block-interval": "100 ms",
                           "block-entries": 20, "block-bytes": "16 KiB", "entry-size": "4 KiB", **source}}

    def start(self):
        world = self.world
        world.init_devchain()
        world.write_edge("alice")
        init_until_done(self, "zonerelay-edge", "ledger", "init", "--config", world.folder / "alice.yaml")
        world.write_gateway()
        world.init_spool()
        world.devchain.start()
        world.gateway.start()
        self.start_agent()

    def start_agent(self, die_at=0):
        self.agent.environment = self.recorder.environment(die_at)
        self.agent.spawn()
        self.producer = None

    def die_before_the_sync(self):
        """It dies in the middle of storing a few lines, or the block they become. Started again with nothing new to
        read, it says in its Hello what it has: that must be on the disk."""
        self.agent.stop()
        self.write_lines()
        self.start_agent(die_at=self.chance.randint(2, 3))
        deadline = time.monotonic() + 2 * SLOW
        while self.agent.running and time.monotonic() < deadline:
            time.sleep(0.01)
        self.agent.kill()
        self.deaths += 1
        at = len(self.agent.log())
        self.start_agent()
        self.agent.wait_log("link-open", timeout=60, start=at)

    def entry(self):
        return f"{len(self.lines) + self.sent} ".encode() + bytes(self.chance.choices(b"0123456789", k=self.chance.choice([10, 10, 400])))

    def write_lines(self):
        lines = [self.entry() for _ in range(self.chance.randint(1, 8))]
        with open(self.file, "ab") as file:
            for line in lines:
                self.lines.append(line)
                file.write(line + b"\n")

    def send_entries(self):
        """Several are under way at once; what was not answered is not sent again here."""
        try:
            if self.producer is None:
                self.producer = Producer(self.socket, timeout=2 * SLOW)
            for _ in range(self.chance.randint(1, 5)):
                self.producer.send(self.entry())
                self.sent += 1
            while len(self.producer.acked) < len(self.producer.sent) and self.producer.answer() is not None:
                pass
        except OSError:
            self.producer = None
            time.sleep(0.02)

    def step(self):
        what = self.chance.random()
        if what < 0.03:
            self.agent.kill()
        elif what < 0.04:
            self.agent.stop()
        elif what < 0.06:
            time.sleep(self.chance.random() / 2)
        elif what < 0.09:
            self.die_before_the_sync()
        if not self.agent.running:
            self.deaths += 1
            self.start_agent(self.chance.choice([0, self.chance.randint(3, 100)]))
        self.chance.choice([self.write_lines, self.send_entries])()

    def live(self, steps):
        try:
            self.start()
            for _ in range(steps):
                self.step()
            self.die_before_the_sync()
            self.world.wait(lambda: min((chain["blocks"] for chain in self.world.audit().values()), default=0) > 1,
                            "both are anchored")
            time.sleep(0.5)
            self.agent.stop()
        finally:
            self.world.stop()
        return self.facts()

    def facts(self):
        """The configuration once more, for images; and what the file held."""
        facts = self.world.folder / "facts"
        facts.mkdir()
        text = (self.world.folder / "alice.yaml").read_text()
        text = text.replace(str(self.recorder.folder), str(self.recorder.scratch / "image"))
        text = text.replace(str(self.socket), str(self.recorder.scratch / "entries.sock"))
        (facts / "agent.yaml").write_text(text)
        (facts / "meter-file.entries").write_bytes(raw_batch(self.lines))
        return facts


class Sum:
    """What several lives come to."""

    def __init__(self, torture, subject):
        self.torture, self.subject = torture, subject
        self.counts = collections.Counter()
        self.told = collections.Counter()

    def judge(self, life, marks, facts, seed):
        """The images of a recorded life, and of the same life with its syncs left out."""
        log, told = life.recorder.judged(marks)
        self.told.update(told)
        self.counts["lives"] += 1
        self.counts["times it was killed or stopped"] += life.deaths
        images = self.torture.rounds(quick=1000, deep=1000)
        result, said = life.recorder.replay(self.subject, log, facts, images, seed, second=images // 5)
        assert result["broken"] == 0, f"life of seed {seed}: {said}"
        self.counts["images"] += result["images"]
        self.counts["images of a second cut, while the first is repaired"] += result["second"]
        for fault in ("syncs", "folders"):
            result, _ = life.recorder.replay(self.subject, log, facts, 40, seed, fault=fault)
            self.counts[f"broken of 40 a life without {fault}"] += result["broken"]
            assert result["broken"] > 8

    def show(self):
        self.counts["messages that promise something"] = sum(self.told.values())
        for name, count in self.counts.items():
            self.torture.figure(f"power cut, {self.subject}: {name}", count)


def judge_lives(torture, subject, kind, marks, folder):
    total = Sum(torture, subject)
    for number in range(torture.rounds(quick=1, deep=20)):
        seed = torture.seed + number
        life = kind(folder / f"life-{number}", seed)
        total.judge(life, marks, life.live(120), seed)
        shutil.rmtree(life.world.folder)
    total.show()
    return total.told


def test_what_the_gateway_told_anybody_survives_a_power_cut_at_any_moment(tmp_path, torture):
    told = judge_lives(torture, "gateway", GatewayLife, gateway_marks, tmp_path)
    assert min(told[kind] for kind in ("next", "anchored", "commit", "submitted", "included")) > 4, told


def test_what_the_agent_told_anybody_survives_a_power_cut_at_any_moment(tmp_path, torture):
    told = judge_lives(torture, "agent", AgentLife, agent_marks, tmp_path)
    assert min(told[kind] for kind in ("entry", "tip", "receipts", "taken")) > 4, told
