"""Real agents and a real gateway over a network that does its worst: nothing acknowledged is ever lost.

Faults from a seed first (safety), then none (liveness: everything must arrive, and a fresh block must pass).
The oracle judges at the end; in between it keeps gathering receipts, and each is an obligation for good.
"""
import collections
import os
import random
import ssl
import time

from link_peer import Ended
from oracle import Oracle
from proxy import Conditions, Fate, Proxy, swizzle
from siege import Siege
from world import ROOT, SLOW, World

BUILD = os.environ.get("ZR_BUILD", ROOT / "build")
LINES = 2  # Of a block.


class Fleet:
    """Edges that keep ledgers, each with routes of its own to the gateway."""

    def __init__(self, folder, seed, edges, patience_ms=5000):
        """patience_ms is how long an agent waits for a pong; for a welcome a little more than twice that."""
        self.patience_ms = int(patience_ms * SLOW)
        self.world = World(folder, BUILD)
        self.chance = random.Random(seed)
        self.oracle = Oracle(self.world, seed=seed)
        self.made = {}
        self.proxies = []
        settings = self.world.gateway_settings
        settings["heartbeat"] = "1 s"
        settings["limits"] = {"idle-timeout": "6 s", "handshake-timeout": "10 s", "handshakes-per-second": 10000,
                              "handshake-burst": 10000}
        for number in range(edges):
            self.add(f"edge-{number}", routes=1 + number % 2)

    def add(self, agent, routes):
        home = self.world.folder / agent
        self.world.add_ledger_edge(agent, f"tq-{agent}", suite=self.chance.choice(["sha256-p256", "sha256-ed25519", "sm3-sm2"]),
                                   source={"input": "file", "path": home / "lines", "block-entries": LINES,
                                           "block-interval": "1 h", "entry-size": "16 KiB"})
        (home / "lines").touch()
        self.made[agent] = 1
        proxies = [Proxy(self.world.gateway_port, self.chance) for _ in range(routes)]
        self.proxies += proxies
        settings = self.world.edge_settings[agent]
        settings["gateway"].update({"routes": [{"address": f"127.0.0.1:{proxy.port}"} for proxy in proxies],
                                    "retry-min": "20 ms", "retry-max": "200 ms", "idle-timeout": f"{self.patience_ms} ms",
                                    "connect-timeout": f"{self.patience_ms * 5 // 2} ms"})
        settings["batch"] = {"wait": "50 ms", "bytes": "16 KiB"}

    def make(self, agent, blocks, size=400):
        """Readings for so many blocks more, that do not compress."""
        with open(self.world.folder / agent / "lines", "a", encoding="ascii") as lines:
            lines.writelines(self.chance.randbytes(self.chance.randint(1, size)).hex() + "\n" for _ in range(blocks * LINES))
        self.made[agent] += blocks

    def end(self, heal=True):
        """Liveness: no faults, one fresh block each; everything arrives, once, and the agents know it."""
        for proxy in self.proxies if heal else []:
            proxy.heal()
        for agent in self.made:
            self.make(agent, 1)
        self.oracle.expect_agents({f"tq-{agent}": count for agent, count in self.made.items()})
        self.oracle.check(timeout=120)
        self.oracle.check_receipts()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.world.stop()
        finally:
            for proxy in self.proxies:
                proxy.close()


# ---- seeded faults over many edges ----

def weather(chance):
    """Conditions of a route from now on."""
    return chance.choice([Conditions(), Conditions.apn(chance), Conditions.apn(chance), Conditions(pieces=(1, 3)),
                          Conditions(gather_s=0.3), Conditions(rate=8_000), Conditions(delay_s=1, jitter_s=0.5)])


def outage(fleet, proxy):
    """From a second to a few: what is longer is a matter for the simulation's virtual time."""
    proxy.clog()
    time.sleep(fleet.chance.uniform(0.5, 3))
    proxy.unclog()


def doom(fleet, proxy):
    """Links from now on end within a few thousand bytes."""
    chance = fleet.chance
    proxy.fate = chance.choice([None, Fate(chance.choice(["rst", "fin", "half", "drop"]), chance.randint(1, 9000),
                                           chance.randint(1, 9000))])


def restart(fleet, _):
    process = fleet.chance.choice([fleet.world.gateway, *fleet.world.edges.values()])
    process.kill()
    process.start()


FAULTS = {
    "route changed its weather": lambda fleet, proxy: setattr(proxy, "conditions", weather(fleet.chance)),
    "links reset": lambda fleet, proxy: proxy.cut("rst"),
    "links closed": lambda fleet, proxy: proxy.cut("fin"),
    "links half open": lambda fleet, proxy: proxy.cut("half"),
    "links dropped in silence": lambda fleet, proxy: proxy.cut("drop"),
    "NAT rebound": lambda fleet, proxy: proxy.rebind(),
    "links doomed to end at a byte": doom,
    "outages": outage,
    # The agent has dialled again when what it sent on the old link arrives, or is refused, after all.
    "routes clogged past patience": lambda fleet, proxy: proxy.clog(for_s=fleet.chance.uniform(3, 9)),
    "swizzles": lambda fleet, _: swizzle(fleet.proxies, fleet.chance),
    "processes killed": restart,
}


def test_seeded_link_faults_over_many_edges_cost_nothing_that_was_acknowledged(tmp_path, torture):
    done = collections.Counter()
    with Fleet(tmp_path, torture.seed, torture.rounds(quick=6, deep=24)) as fleet:
        chance, oracle = fleet.chance, fleet.oracle
        fleet.world.start()
        for proxy in fleet.proxies:
            proxy.conditions = weather(chance)
        kinds = chance.sample(list(FAULTS), chance.randint(3, len(FAULTS)))  # Some kinds are absent, so others get their turn.
        for _ in range(torture.rounds(quick=30, deep=1500)):
            kind = chance.choice(kinds)
            FAULTS[kind](fleet, chance.choice(fleet.proxies))
            done[kind] += 1
            for agent in chance.sample(list(fleet.made), len(fleet.made) // 2):
                fleet.make(agent, chance.randint(0, 5))
            time.sleep(chance.uniform(0, 0.4))
            if chance.random() < 0.2:
                oracle.gather()
        owed = len(oracle.obligations)
        fleet.end()
        torture.figure("link: edges under seeded faults", len(fleet.made))
        torture.figure("link: faults of a seeded run", sum(done.values()))
        torture.figure("link: connections made in a seeded run", sum(proxy.links for proxy in fleet.proxies))
        torture.figure("link: receipts gathered during the faults", owed)
        torture.figure("link: blocks carried in a seeded run", sum(fleet.made.values()))
        oracle.figures(torture, "link")


def test_a_route_that_welcomes_and_carries_no_batch_is_left_for_the_next_one(tmp_path, torture):
    """Handshake and hello pass, whatever is large does not: the first route looks good for ever, and is not."""
    with Fleet(tmp_path, torture.seed, 0, patience_ms=1000) as fleet:
        fleet.add("edge-1", routes=2)
        fleet.proxies[0].conditions = Conditions(hole=3000)
        fleet.make("edge-1", 8, size=3000)
        fleet.world.start()
        fleet.end(heal=False)
        assert fleet.proxies[0].links >= 1 and fleet.proxies[1].links >= 1


def test_a_forgotten_nat_entry_costs_one_heartbeat_though_the_gateway_still_believes_in_the_old_link(tmp_path, torture):
    """The old connection is never closed; the new one takes its place, and the chain goes on over it."""
    with Fleet(tmp_path, torture.seed, 0, patience_ms=1000) as fleet:
        fleet.add("edge-1", routes=1)
        fleet.world.gateway_settings["limits"]["idle-timeout"] = "1 h"
        fleet.world.start()
        for _ in range(2):
            fleet.make("edge-1", 2)
            fleet.world.wait_anchored({"tq-edge-1": fleet.made["edge-1"]})
            fleet.proxies[0].rebind()
        fleet.end(heal=False)
        assert fleet.proxies[0].links >= 3 and fleet.proxies[0].dropped > 0
        assert fleet.world.metrics()["zonerelay_links_open"] == 1


# ---- reset at every byte ----

class Session:
    """The shortest one there is: handshake, hello, welcome, batch, receipt; over a route that ends at a byte."""

    def __init__(self, siege, name):
        self.siege, self.chain = siege, siege.chains[name]
        self.proxy = Proxy(siege.world.gateway_port)
        self.owed = 0    # Blocks below are durable, by the gateway's word.
        self.broken = 0  # Sessions that did not come to their end.

    def run(self, fate=None):
        self.proxy.fate = fate
        chain = self.chain
        if self.owed == len(chain.blocks):
            chain.grow(1)
        try:
            with self.siege.link("mallory", port=self.proxy.port, timeout=20) as link:
                place = link.hello([chain.hello()])["chains"][0]
                assert place.get("next_height", 0) >= self.owed, "the gateway forgot what it had acknowledged"
                self.owed = place.get("next_height", 0)
                link.store(chain.blocks[self.owed:] or chain.grow(1))
                self.owed = len(chain.blocks)
        except (Ended, OSError, ssl.SSLError):
            self.broken += 1
        known = max((height for name, height in self.siege.oracle.obligations if name == chain.name), default=-1) + 1
        self.owed = max(self.owed, known)


def test_a_session_that_is_reset_at_any_byte_of_either_direction_is_made_good(tmp_path, torture):
    chance = random.Random(torture.seed)
    limits = {"handshakes-per-second": 100000, "handshake-burst": 100000}
    with Siege(tmp_path, ["short"], {"limits": limits}) as siege:
        session = Session(siege, "short")
        session.run()
        session.run()  # As all that follow: one block.
        up, down = session.proxy.carried, session.proxy.carried_down
        session.run()
        up, down = session.proxy.carried - up, session.proxy.carried_down - down
        assert session.broken == 0 and up > 1000 and down > 1000
        places = [Fate("rst", up=at) for at in range(1, up + 1)] + [Fate("rst", down=at) for at in range(1, down + 1)]
        tried = chance.sample(places, min(torture.rounds(quick=120, deep=len(places)), len(places)))
        for fate in tried:
            session.run(fate)
        session.run()
        siege.stored["short"] = session.owed
        assert session.broken > len(tried) * 0.8, "the resets did not come where they should"
        siege.good_block()
        torture.figure("link: bytes of a short session, both directions", len(places))
        torture.figure("link: of these, where one was reset", len(tried))
        session.proxy.close()


def test_agents_whose_links_end_at_any_byte_carry_everything(tmp_path, torture):
    """Every link ends at a byte drawn anew: before, in and behind handshake, batch and receipt."""
    chance = random.Random(torture.seed)
    ends = collections.Counter()

    def fate(_):
        how = chance.choices(["rst", "fin", "half", "drop"], [8, 8, 1, 1])[0]  # The silent ones take seconds each.
        ends[how] += 1
        return Fate(how, **{chance.choice(["up", "down"]): chance.randint(0, 6000)})

    with Fleet(tmp_path, torture.seed, 4, patience_ms=1000) as fleet:
        fleet.world.start()
        for proxy in fleet.proxies:
            proxy.fate = fate
        links = torture.rounds(quick=50, deep=4000)

        def enough():
            fleet.make(chance.choice(list(fleet.made)), 1, size=40)
            return sum(ends.values()) >= links

        fleet.world.wait(enough, f"agents dial again and again, {links} times in all", timeout=60 + 2 * links)
        fleet.end()
        for how, count in ends.items():
            torture.figure(f"link: links of agents given a byte to end at by {how}", count)
