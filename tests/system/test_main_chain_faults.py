"""A main chain that misbehaves, a gateway that is killed while it does, and either of them restored from a copy.

Every kind of misbehaviour that zonerelay-devchain knows meets every place of the way to the main chain
at which a gateway can die. test_delivery.py and test_restore.py have the plain forms, one at a time.
"""
import contextlib
import itertools
import json
import os
import random
import re
import shutil
import subprocess
import time

from oracle import Oracle
from world import ROOT, SLOW, Failure, World

BUILD = os.environ.get("ZR_BUILD", ROOT / "build")
CHAINS = {"tq-0": "full", "tq-1": "headers", "tq-2": "anchor"}  # What of each the main chain is given.
REFUSED = "tq-2"
REACH_MAX_S = 4  # A place that is not come to by then will not be: the gateway dies where it is.

# Rules of each kind; `often` is drawn for each round.
KINDS = {
    "drop-before": lambda often: {"probability": often},
    "drop-after": lambda often: {"probability": often},
    "error-before": lambda often: {"status": 502, "probability": often},
    "error-after": lambda often: {"on": ["submit", "put", "fence"], "probability": often},
    "slow": lambda often: {"ms": 1300, "probability": often / 2},  # Beyond the gateway's time-out.
    "reset": lambda often: {"bytes": 60, "probability": often},
    "busy": lambda often: {"probability": often},
    "deny": lambda often: {"on": ["submit", "put"], "probability": often},
    "garble": lambda often: {"probability": often},
    "bad-evidence": lambda often: {"probability": often},
    "stale": lambda often: {"blocks": 3, "probability": often},
    "refuse-chain": lambda often: {"chain": REFUSED},
    "hold-blocks": lambda often: {"count": 20},
    "hold-finality": lambda often: {"count": 10},
    "reorganise": lambda often: {"blocks": 3, "count": 2},
}

# Places on the way to the main chain; the last one is wherever it happens to be.
PLACES = ["HEAD_ASKING", "FENCE_TAKING", "FENCE_TAKEN", "INTENT_STORING", "INTENT_STORED", "UPLOAD_SENDING",
          "UPLOAD_ANSWERED", "SUBMIT_SENDING", "SUBMIT_SENT", "SUBMIT_ANSWERED", "LOOKUP_SENDING", "LOOKUP_ANSWERED",
          "STATE_STORING", "STATE_STORED", "RECEIPT_SIGNED", "FINAL_STORING", "FINAL_STORED", "VOID_STORING",
          "VOID_STORED", "anywhere"]
STARTING = ["HEAD_ASKING", "FENCE_TAKING", "FENCE_TAKEN", "LOOKUP_SENDING", "STORE_OPENED", "anywhere"]


class Site:
    """Three ledgers, each with an agent that seals a block of every two lines."""

    def __init__(self, folder, chance, **main_chain):
        self.chance = chance
        self.world = world = World(folder, BUILD)
        self.made = dict.fromkeys(CHAINS, 1)  # The genesis.
        world.devchain.arguments[-1] = 60  # Milliseconds between blocks.
        world.gateway_settings["main-chain"].update({"anchor-interval": "60 ms", "poll-interval": "40 ms",
                                                     "retry-min": "20 ms", "retry-max": "300 ms",
                                                     "answer-timeout": "1 s", **main_chain})
        world.gateway_settings["classes"] = {deliver: {"deliver": deliver} for deliver in CHAINS.values()}
        for number, name in enumerate(CHAINS):
            home = world.folder / f"edge-{number}"
            world.add_ledger_edge(f"edge-{number}", name, suite="sha256-p256", source={
                "input": "file", "path": home / "lines", "block-entries": 2, "block-interval": "1 h"})
            (home / "lines").touch()
            world.chains[-1]["class"] = CHAINS[name]
            world.edge_settings[f"edge-{number}"]["batch"] = {"wait": "20 ms"}

    def __enter__(self):
        try:
            self.world.start()
            self.oracle = Oracle(self.world, seed=self.chance.randrange(1 << 30))
            return self
        except BaseException:
            self.world.stop()
            raise

    def __exit__(self, *_):
        self.world.stop()

    def make(self, blocks=1, chains=CHAINS):
        for name in chains:
            with open(self.world.folder / f"edge-{list(CHAINS).index(name)}" / "lines", "a", encoding="ascii") as lines:
                lines.write("".join(f"reading {self.made[name]} {half} {number}\n"
                                    for number in range(blocks) for half in "ab"))
            self.made[name] += blocks

    def misbehave(self, *rules):
        answer = self.world.main_chain("/dev/misbehave", {"seed": self.chance.randrange(1 << 30), "rules": list(rules)})
        assert answer is not None, self.world.devchain.tail()

    def wait_durable(self, chains=CHAINS):
        def durable():
            states = self.world.chain_states()
            return all(states[name]["next_height"] == self.made[name] for name in chains)
        self.world.wait(durable, f"durable up to {self.made}")

    def wait_final(self, chains=CHAINS, timeout=60):
        def final():
            states = self.world.chain_states()
            return all(states[name]["anchored_next"] == self.made[name] for name in chains)
        self.world.wait(final, f"final up to {self.made}", timeout)

    def end(self):
        """Faults off: one more block of each, then everything is judged."""
        self.misbehave()
        self.make(1)
        self.wait_final(timeout=90)
        self.oracle.expect_agents(self.made).check()

    # ---- the gateway dies ----

    def die(self, place, hit, working=True):
        """Starts the gateway and sees it die at a place, or where it is once that is not come to."""
        gateway = self.world.gateway
        gateway.environment = {} if place == "anywhere" else {"ZR_FAULT": f"{place}:{hit}"}
        gateway.spawn()
        wait_s = self.chance.uniform(0.05, 1.0) if place == "anywhere" else REACH_MAX_S
        deadline = time.monotonic() + wait_s * SLOW
        while gateway.running and time.monotonic() < deadline:
            if working:
                self.make(1)
            time.sleep(0.1)
        reached = not gateway.running
        gateway.kill()
        assert gateway.process.returncode == -9, gateway.tail()
        gateway.environment = {}
        return reached

    def unfreeze(self):
        """What the main chain refused, an operator looks at and releases."""
        for name, state in self.world.chain_states().items():
            if state["state"] == "frozen":
                self.world.cli("chains", "unfreeze", name, "--reason", "zone IV takes it again")


def draw_rounds(chance, count):
    """(kinds, place, hit, place of the second death). Pairs of kinds until each had its turn, then the whole matrix."""
    kinds, matrix = list(KINDS), list(itertools.product(KINDS, PLACES))
    chance.shuffle(kinds)
    chance.shuffle(matrix)
    pairs = [kinds[at:at + 2] for at in range(0, len(kinds), 2)]
    rounds = [(pair, chance.choice(PLACES)) for pair in pairs]
    rounds += [([kind, chance.choice(kinds)], place)
               for kind, place in itertools.islice(itertools.cycle(matrix), max(0, count - len(rounds)))]
    return [(sorted({*some, *(["refuse-chain"] if "VOID" in place else [])}), place, 1 + chance.randrange(3),
             chance.choice(STARTING)) for some, place in rounds]


def test_every_misbehaviour_of_the_main_chain_meets_every_place_where_the_gateway_can_die(tmp_path, torture):
    chance = random.Random(torture.seed)
    rounds = draw_rounds(chance, torture.rounds(quick=8, deep=300))
    acted, reached = dict.fromkeys(KINDS, 0), 0
    with Site(tmp_path / "world", chance) as site:
        site.make(1)
        site.wait_final()
        for kinds, place, hit, again in rounds:
            print(f"round: {kinds} {place}:{hit} then {again}")
            site.world.gateway.kill()
            often = chance.choice([0.1, 0.3, 0.6])
            site.misbehave(*({"do": kind, **KINDS[kind](often)} for kind in kinds))
            reached += site.die(place, hit)
            site.die(again, 1, working=False)
            site.world.gateway.start()
            site.make(1)
            time.sleep(chance.uniform(0.2, 1.0))
            for rule in site.world.main_chain("/dev/misbehave")["rules"]:
                acted[rule["do"]] += rule["acted"]
            site.misbehave()
            site.oracle.gather()
            site.unfreeze()
        site.end()
        acted["refuse-chain"] += site.world.gateway.log().count("anchor-rejected")
    torture.figure("main chain: rounds of misbehaviour with two kills each", len(rounds))
    torture.figure("main chain: of these, first killed at a named place", reached)
    quiet = [kind for kind, count in acted.items() if count == 0]
    assert not quiet or not torture.deep, f"{quiet} never acted"


# ---- copies: who was restored from one is told, and an operator does what the manual says ----

class Operator:
    """Whoever looks after one gateway: sees what stands still, and adopts. Sometimes the gateway dies under it."""

    def __init__(self, site, process, socket):
        self.site, self.process, self.socket = site, process, socket
        self.deaths = 0
        self.adoptions = 0

    def ask(self, *words):
        """The answer as an object; None where there was none, or a refusal (which is told to try again)."""
        result = self.site.world.run("zonerelay", *words, "--json", "--socket", self.socket, check=False)
        return json.loads(result.stdout) if result.stdout.strip() else None

    def adopt(self, *what):
        self.adoptions += 1
        words = ["adopt", *what, "--reason", "a copy was put back"]
        if self.deaths == 0 or self.site.chance.random() < 0.7:
            self.ask(*words)
            return
        self.deaths -= 1
        asked = subprocess.Popen([self.site.world.program("zonerelay"), *words, "--socket", self.socket],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(self.site.chance.uniform(0, 0.3))
        self.process.kill()
        asked.kill()
        asked.wait()
        self.process.start()

    def lane(self):
        """running, away, starting; or why it stands still."""
        status = self.ask("status")
        state = status["lanes"][0]["state"] if status and status["lanes"] else "unknown"
        return re.findall(r"lane-halted lane=0 why=([a-z-]+)", self.process.log())[-1] if state == "stopped" else state

    def visit(self):
        lane = self.lane()
        if lane in ("spool-restored", "store-restored", "mainchain-restored"):
            self.adopt("lane", "0")
        elif lane == "running" and self.ask("status")["restored"]:
            self.adopt("store")
        elif lane == "running":  # Only then is it known what the main chain has.
            for chain in self.ask("chains", "list")["chains"]:
                if chain["state"] == "restored":
                    self.adopt("chain", chain["name"])

    def work_until(self, condition, what, timeout=90):
        deadline = time.monotonic() + timeout * SLOW
        while not condition():
            assert time.monotonic() < deadline, f"not within {timeout} s: {what}\n{self.process.tail()}"
            self.visit()
            time.sleep(0.2)


def all_final(site):
    states = site.world.chain_states()
    return all(states.get(name, {}).get("anchored_next") == count for name, count in site.made.items())


def on_main_chain(site):
    return {name: chain["blocks"] for name, chain in site.world.audit().items()}


def take_copy(site, how):
    """Of the gateway's store as it is now: a file of "spool backup", or of the folder once the gateway has gone."""
    world, copy = site.world, site.world.folder / "copy"
    if copy.is_dir():
        shutil.rmtree(copy)
    copy.unlink(missing_ok=True)
    if how == "backup":
        world.cli("spool", "backup", "--config", world.folder / "gateway.yaml", "--out", copy)
        return
    world.gateway.stop() if how == "stopped" else world.gateway.kill()
    shutil.copytree(world.folder / "spool", copy)
    world.gateway.start()


def put_back(site, how):
    world, spool = site.world, site.world.folder / "spool"
    world.gateway.kill()
    shutil.rmtree(spool)
    if how == "backup":
        world.run("zonerelay", "spool", "restore", "--config", world.folder / "gateway.yaml", "--in", world.folder / "copy")
    else:
        shutil.copytree(world.folder / "copy", spool)


def work(site, since):
    """What happens after the copy was made: blocks that are anchored, blocks that are only acknowledged, or both."""
    if since in ("anchored", "both"):
        site.make(site.chance.randrange(1, 4))
        site.wait_final()
    if since in ("acked", "both"):
        site.misbehave({"do": "hold-blocks"})
        site.make(site.chance.randrange(1, 4), site.chance.sample(list(CHAINS), site.chance.randrange(1, 4)))
        site.wait_durable()


def test_a_store_put_back_from_a_copy_anchors_nothing_twice_and_loses_nothing(tmp_path, torture):
    chance = random.Random(torture.seed)
    rounds = torture.rounds(quick=2, deep=36)
    hows = ["stopped", "killed", "backup"]
    chance.shuffle(hows)
    with Site(tmp_path / "world", chance) as site:
        operator = Operator(site, site.world.gateway, site.world.folder / "control.sock")
        for how in itertools.islice(itertools.cycle(hows), rounds):
            site.make(2)
            site.wait_final()
            site.make(1)
            take_copy(site, how)
            work(site, since := chance.choice(["acked", "anchored", "both"]))
            site.oracle.gather()
            put_back(site, how)
            print(f"round: put back a copy ({how}), {since} since then")
            operator.deaths = chance.randrange(3)
            site.misbehave()
            site.world.gateway.start()
            here = {name: chain["next_height"] for name, chain in site.world.chain_states().items()}
            for name, count in on_main_chain(site).items():
                site.oracle.gone.setdefault(name, set()).update(range(here[name], count))
            site.make(1)
            operator.work_until(lambda: all_final(site), "everything is final again")
        site.end()
    torture.figure("main chain: stores put back", rounds)


# ---- the main chain is the copy ----

def copy_main_chain(world):
    world.devchain.stop()
    shutil.rmtree(world.folder / "devchain-copy", ignore_errors=True)
    shutil.copytree(world.folder / "devchain", world.folder / "devchain-copy")
    world.devchain.start()


def put_back_main_chain(world):
    world.devchain.kill()
    shutil.rmtree(world.folder / "devchain")
    shutil.copytree(world.folder / "devchain-copy", world.folder / "devchain")
    world.devchain.start()
    # Others use it, too: its height goes on. As long as it is below what was seen, "absent" says nothing.
    assert world.main_chain("/dev/blocks", {"count": 20}) is not None


def test_a_main_chain_put_back_from_a_copy_gets_again_what_it_lost(tmp_path, torture):
    chance = random.Random(torture.seed)
    rounds = torture.rounds(quick=1, deep=20)
    with Site(tmp_path / "world", chance) as site:
        world = site.world
        operator = Operator(site, world.gateway, world.folder / "control.sock")
        for _ in range(rounds):
            site.make(chance.randrange(1, 4))
            chance.choice([site.wait_final, site.wait_durable])()
            copy_main_chain(world)
            for _ in range(chance.randrange(3)):  # Each start takes a new fence, which the copy does not know.
                world.gateway.kill()
                world.gateway.start()
            site.make(chance.randrange(1, 4))
            chance.choice([site.wait_final, site.wait_durable])()
            site.oracle.gather()
            put_back_main_chain(world)
            if chance.random() < 0.5:
                world.gateway.kill()
                world.gateway.start()
            operator.deaths = chance.randrange(3)
            site.make(1)  # It is noticed when there is work.
            operator.work_until(lambda: all_final(site), "everything is final again")
        for name, count in on_main_chain(site).items():
            assert count == site.made[name]
        site.end()
    torture.figure("main chain: main chains put back", rounds)


# ---- two gateways on copies of one store ----

def second_gateway(site):
    """Of the same store's copy, with its own sockets; every agent has a route to both."""
    world = site.world
    second, port = world.gateway_on_copy()
    for agent, edge in world.edges.items():
        world.edge_settings[agent]["gateway"]["routes"].append({"address": f"127.0.0.1:{port}"})
        world.write_edge(agent)
        edge.stop()
        edge.start()
    return second


def let_them_fight(site, first, second):
    """Both run, die and start as it happens, and agents go from one to the other."""
    for _ in range(site.chance.randrange(2, 5)):
        site.make(1)
        victim = site.chance.choice([first, second])
        victim.kill()
        time.sleep(site.chance.uniform(0, 0.5))
        victim.spawn()
        time.sleep(site.chance.uniform(0.2, 1))
        held = site.world.audit()
        assert all(chain["duplicates"] == 0 and not chain["gaps"] for chain in held.values()), held


def test_of_two_gateways_on_copies_of_one_store_one_sends_and_the_other_says_so(tmp_path, torture):
    chance = random.Random(torture.seed)
    for number in range(torture.rounds(quick=1, deep=15)):
        with Site(tmp_path / f"world-{number}", chance) as site:
            world = site.world
            site.make(2)
            site.wait_final()
            world.gateway.stop()
            shutil.copytree(world.folder / "spool", world.folder / "spool-2")
            second = second_gateway(site)
            try:
                world.gateway.start()
                second.spawn().wait_log("lane-running")
                site.make(1)
                let_them_fight(site, world.gateway, second)
                site.make(1)
                loser = world.wait(lambda: next((one for one in (world.gateway, second) if re.search(
                    "why=(fenced|spool-restored)", one.log())), None), "one of them stands still, and says so")
                print(f"{loser.name} stood still")
                site.oracle.gather()
            finally:
                second.kill()
            world.gateway.kill()  # The operator keeps the first one, whichever had the fence.
            world.gateway.start()
            here = {name: chain["next_height"] for name, chain in world.chain_states().items()}
            site.oracle.gone = {name: set(range(here[name], count)) for name, count in on_main_chain(site).items()}
            operator = Operator(site, world.gateway, world.folder / "control.sock")
            operator.deaths = chance.randrange(2)
            site.make(1)
            operator.work_until(lambda: all_final(site), "everything is final at the one that is left")
            site.end()
    torture.figure("main chain: pairs of gateways on copies of one store", number + 1)
