"""Everything that an ordinary month brings, without a pause: nothing may grow.

Agents under load behind routes that break, programs that are restarted one after the other, files that are
read again, certificates that are replaced. After a first part, in which everything is started anew as
well, the gateway and most agents live on; their memory, descriptors and store at the end are compared
with what they were then. The oracle has the last word.

Ten seconds in the quick form, two minutes in the deep one; ZR_SOAK=SECONDS takes longer by hand:

    ZR_SOAK=3600 ./dev test --deep soak
"""
import os
import pathlib
import random
import re
import signal
import statistics
import time

from oracle import Oracle
from proxy import Conditions, Fate, Proxy
from world import ROOT, SLOW, World

BUILD = os.environ.get("ZR_BUILD", ROOT / "build")
AGENTS = 4
MIB = 1 << 20
BACKLOG_MAX = 40  # Blocks of a chain that are made and not anchored: the load follows what is carried.
# What the end may be above the middle: caches fill a little further, and a page is a page.
GROWS_BY, MEMORY_ABOVE, DESCRIPTORS_ABOVE = 1.15, 3 * MIB, 12


class Meter:
    """What one program has in use; a new process is a new series."""

    def __init__(self, process):
        self.process = process
        self.pid = None
        self.samples = []  # (time, memory, descriptors)

    def look(self):
        if not self.process.running:
            return
        if self.process.process.pid != self.pid:
            self.pid, self.samples = self.process.process.pid, []
        try:
            status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
            memory = int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) * 1024
            self.samples.append((time.monotonic(), memory, len(os.listdir(f"/proc/{self.pid}/fd"))))
        except (OSError, TypeError):
            pass  # It ends just now.

    def compare(self, since):
        """Medians of the third after `since`, and of the last third: ((memory, descriptors), the same); None if too few."""
        samples = [sample for sample in self.samples if sample[0] >= since]
        third = len(samples) // 3
        if third < 5:
            return None
        return [tuple(statistics.median(sample[column] for sample in part) for column in (1, 2))
                for part in (samples[:third], samples[-third:])]


class Soak:
    def __init__(self, folder, chance, seconds):
        self.chance = chance
        self.world = world = World(folder, BUILD)
        ledger = f"{max(32, int(seconds / 10))} MiB"  # Agents keep all that they have sealed.
        self.proxies, self.made, self.done = [], {}, {}
        world.gateway_settings["heartbeat"] = "1 s"
        world.gateway_settings["spool"]["retention"] = "0 s"
        world.gateway_settings["spool"]["history"] = "1 s"
        world.gateway_settings["main-chain"].update({"anchor-interval": "200 ms", "poll-interval": "50 ms"})
        for number in range(AGENTS):
            agent, name = f"edge-{number}", f"tq-{number}"
            home = world.folder / agent
            world.add_ledger_edge(agent, name, suite="sha256-p256", source={
                "input": "file", "path": home / "lines", "block-entries": 4, "block-interval": "1 h",
                "size": ledger})
            (home / "lines").touch()
            self.made[name] = 1
            proxy = Proxy(world.gateway_port, chance=random.Random(chance.random()))
            self.proxies.append(proxy)
            world.edge_settings[agent]["gateway"]["routes"] = [{"address": f"127.0.0.1:{proxy.port}"}]
        self.steady = [world.gateway, *list(world.edges.values())[1:]]
        self.meters = {process.name: Meter(process) for process in self.steady}
        self.used = []  # (time, bytes of the gateway's store in use)

    # ---- load ----

    def make(self):
        held = self.world.audit()
        for number, name in enumerate(self.made):
            if self.made[name] - held.get(name, {}).get("blocks", 0) > BACKLOG_MAX:
                continue
            blocks = self.chance.randrange(1, 6)
            with open(self.world.folder / f"edge-{number}" / "lines", "a", encoding="ascii") as lines:
                lines.write("".join(f"reading {self.made[name]} {line} {'x' * 60}\n" for line in range(4 * blocks)))
            self.made[name] += blocks

    def look(self):
        for meter in self.meters.values():
            meter.look()
        used = self.world.metrics().get("zonerelay_spool_used_bytes")
        if used is not None:
            self.used.append((time.monotonic(), used))

    # ---- what happens ----

    def flap(self):
        proxy = self.chance.choice(self.proxies)
        proxy.fate = Fate("rst", up=self.chance.randrange(200, 20_000)) if self.chance.random() < 0.3 else None
        proxy.conditions = Conditions(delay_s=self.chance.choice([0, 0, 0.05, 0.2]),
                                      pieces=self.chance.choice([None, (1, 40)]))
        proxy.cut(self.chance.choice(["fin", "rst", "half"]))

    def reload(self):
        self.world.gateway_settings["log"]["level"] = self.chance.choice(["info", "warn"])
        self.world.gateway_settings["main-chain"]["retry-max"] = f"{self.chance.randrange(1, 5)} s"
        self.world.write_gateway()
        self.world.gateway.signal(signal.SIGHUP)
        for edge in self.world.edges.values():
            edge.signal(signal.SIGHUP)

    def rotate(self):
        """New certificates: of the gateway or of an agent; and a new list of those revoked."""
        pki, number = self.world.pki, self.chance.randrange(AGENTS + 1)
        if number == AGENTS:
            pki.issue_gateway()
        else:
            pki.issue_agent(f"edge-{number}")
        pki.issuing.write_crl()
        pki.join_crls()
        self.world.gateway.signal(signal.SIGHUP)
        if number < AGENTS:
            self.world.edges[f"edge-{number}"].signal(signal.SIGHUP)

    def restart(self):
        """The next one of those that are not to live on."""
        self.start_anew(self.chance.choice([self.world.edges["edge-0"], self.world.devchain]))

    def restart_all(self):
        for process in [self.world.gateway, *self.world.edges.values()]:
            self.make()
            self.start_anew(process)

    @staticmethod
    def start_anew(process):
        process.stop()
        at = len(process.log())
        process.start()
        if process.ready is None:
            process.wait_log(" started ", start=at)  # A signal before that ends it.

    def act(self):
        what = self.chance.choices([self.flap, self.reload, self.rotate, self.restart], [6, 2, 1, 1])[0]
        what()
        self.done[what.__name__] = self.done.get(what.__name__, 0) + 1

    def run(self, seconds):
        """The first quarter with restarts of all; gives the moment from which nothing may grow."""
        began = time.monotonic()
        for _ in range(1 if seconds < 60 else 3):
            self.restart_all()
        while time.monotonic() - began < seconds / 4:
            self.turn()
        since = time.monotonic()
        while time.monotonic() - since < seconds * 3 / 4:
            self.turn()
        return since

    def turn(self):
        self.make()
        self.act()
        for _ in range(3):
            self.look()
            time.sleep(0.1)

    # ---- the end ----

    def settle(self):
        for proxy in self.proxies:
            proxy.heal()

    def growth(self, since):
        """name -> (what it was, what it is), and sentences about what has grown."""
        seen, wrong = {}, []
        instrumented = "libasan" in (maps := pathlib.Path(f"/proc/{self.world.gateway.process.pid}/maps").read_text()) or \
            "libtsan" in maps
        for name, meter in self.meters.items():
            compared = meter.compare(since)
            if compared is None:
                continue
            (memory, descriptors), (memory_now, descriptors_now) = compared
            seen[name] = compared
            if memory_now > memory * GROWS_BY + MEMORY_ABOVE and not instrumented:
                wrong.append(f"{name}: memory from {memory / MIB:.1f} to {memory_now / MIB:.1f} MiB")
            if descriptors_now > descriptors + DESCRIPTORS_ABOVE:
                wrong.append(f"{name}: descriptors from {descriptors} to {descriptors_now}")
        used = [size for moment, size in self.used if moment >= since]
        third = len(used) // 3
        if third >= 5:
            seen["store"] = before, now = statistics.median(used[:third]), statistics.median(used[-third:])
            if now > before * GROWS_BY + MEMORY_ABOVE:
                wrong.append(f"the store in use: from {before / MIB:.1f} to {now / MIB:.1f} MiB")
        return seen, wrong


def test_nothing_grows_under_load_however_much_is_restarted_reloaded_and_replaced(tmp_path, torture):
    seconds = float(os.environ.get("ZR_SOAK", torture.rounds(quick=6, deep=120)))
    soak = Soak(tmp_path / "world", random.Random(torture.seed), seconds)
    with soak.world as world:
        world.start()
        for edge in world.edges.values():
            edge.wait_log(" started ")
        oracle = Oracle(world, seed=torture.seed, proofs=0)  # What is a second old is forgotten here, proofs too.
        file_size = (world.folder / "spool" / "data.mdb").stat().st_size
        since = soak.run(seconds)
        seen, wrong = soak.growth(since)
        soak.settle()
        world.wait_anchored(soak.made, timeout=90)
        assert (world.folder / "spool" / "data.mdb").stat().st_size == file_size
        world.gateway.wait_log("started")
        oracle.expect_agents(soak.made).check()
    torture.figure("soak: seconds", f"{seconds:.0f}")
    torture.figure("soak: blocks, each once on the main chain", sum(soak.made.values()))
    for what, count in sorted(soak.done.items()):
        torture.figure(f"soak: {what}", count)
    for name, compared in seen.items():
        if name == "store":
            torture.figure("soak: store in use, MiB, then and at the end", " ".join(f"{size / MIB:.2f}" for size in compared))
        else:
            torture.figure(f"soak: {name}, memory in MiB and descriptors, then and at the end",
                           " ".join(f"{memory / MIB:.2f}/{descriptors:.0f}" for memory, descriptors in compared))
    assert not wrong, "\n".join(wrong)
