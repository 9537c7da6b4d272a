"""kills.py -- a world that always has something to do, and its programs killed at one place after the other.

    with World(folder, build) as world, KillSite(world, chance) as site:
        site.kill_all({"gateway": [place, place...], "fabric": [...], "ledger": [...]})
        site.check()

A place is a row of relay/base/fault_point.h (FaultPoint) or the n-th call of one kind to the system (SystemCall).
Each program has a line of them; it is killed at one and started again, to be killed at the next while it
recovers. The lines go on side by side, so that a gateway that is away meets agents that are away. What does not
happen by itself, an errand of the place brings about.
"""
import collections
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time

from ledger_maker import LedgerChain
from link_peer import Ended, LinkPeer, pack_blocks
from oracle import Oracle
from producer import block_entries
from world import ROOT, SLOW, Failure, World

TABLE = ROOT / "relay/base/fault_point.h"
BACKLOG_MAX = 60  # Blocks of a source that wait for their anchor: enough to do, and an end in sight.
PLACE_MAX_S = 40  # To come to a place once.
LIFE_MAX_S = 3    # To come to a call that a life of that length may not make so often.
# What a life comes to once, or hardly more often: the others are killed at a later time, too.
ONCE = {"STORE_OPENING", "STORE_OPENED", "STORE_GROWING", "AGENT_STARTED", "HELLO_SENDING", "WELCOME_READ",
        "GATEWAY_PINNING", "GATEWAY_PINNED", "CLOCK_KEEPING", "CLOCK_KEPT", "GATEWAY_OPENING", "GATEWAY_STARTED",
        "CHAIN_ENROLLING", "CHAIN_ENROLLED", "HEAD_ASKING", "FENCE_TAKING", "FENCE_TAKEN", "EVIDENCE_KEEPING",
        "EVIDENCE_KEPT", "VOID_STORING", "VOID_STORED", "PRUNING", "PRUNED"}

# To the system, for the store, for other files, and for sockets.
CALLS = ["pwrite64", "pwritev", "writev", "fdatasync", "fsync", "ftruncate", "fallocate", "flock", "openat", "rename",
         "unlink", "mkdir", "mmap", "accept4", "connect", "sendmsg", "sendto", "recvmsg", "recvfrom", "read", "write",
         "epoll_wait", "epoll_ctl", "socket", "bind", "listen"]


def fault_points(*kinds):
    """Names of the rows for processes of these kinds."""
    rows = re.findall(r"^\s+X\((\w+), (\w+), ", TABLE.read_text(encoding="utf-8"), re.M)
    assert len(rows) > 80
    return [name for name, kind in rows if kind in kinds]


class Fabric:
    """A source that more blocks of a channel are brought to, as its peer would."""

    def __init__(self, world, build, agent, blocks):
        # In memory where that is possible: each file is synced as it is made.
        self.pool = pathlib.Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
        world.at_stop.append(lambda: shutil.rmtree(self.pool))
        subprocess.run([build / "tests/lib/fabric_make", self.pool, "name=raft-1", f"blocks={blocks}", "txs=1", "size=200"],
                       check=True)
        self.name, self.made, self.most = "raft-1", 0, blocks + 1
        self.folder = world.add_fabric_edge(agent, self.name, self.pool / "0.block", prune="anchored")

    def make(self, count):
        for height in range(self.made, min(self.made + count, self.most)):
            partial = self.folder / f".{height}"
            shutil.copyfile(self.pool / f"{height}.block", partial)
            partial.rename(self.folder / f"{height}.block")
            self.made += 1


class Ledger:
    """An agent's own chain of lines that are written to a file."""

    def __init__(self, world, agent, prune):
        self.world, self.agent = world, agent
        self.name, self.made, self.lines = "meter-1", 1, []
        self.path = world.folder / agent / "entries"
        world.add_ledger_edge(agent, self.name, suite="sha256-ed25519", prune=prune, source={
            "input": "file", "path": self.path, "block-interval": "20 ms", "block-entries": 2, "scan-interval": "20 ms"})

    def make(self, count):
        lines = [f"reading {len(self.lines) + number}" for number in range(2 * count)]
        with open(self.path, "a", encoding="ascii") as file:
            file.write("".join(f"{line}\n" for line in lines))
        self.lines += lines
        self.made += count

    def sealed(self):
        chains = self.world.edge_status(self.agent).get("chains", [])
        return bool(chains) and chains[0]["entries_sealed"] >= len(self.lines)

    def check(self, raws):
        """Each line was sealed once and in its place; raws: the blocks, None where they are pruned."""
        [chain] = self.world.edge_status(self.agent)["chains"]
        assert chain["entries"] == chain["entries_sealed"] == len(self.lines), chain
        entries = [entry.decode() for raw in raws[1:] if raw for entry in block_entries(raw)]
        assert not entries or entries == self.lines[-len(entries):], "an entry was sealed twice, or not at all"


class KillSite:
    def __init__(self, world, chance, blocks=3000):
        self.world, self.chance = world, chance
        self.agents = {"fabric": "f1", "ledger": "l1"}
        prune = chance.choice(["never", "anchored"])
        self.sources = [Fabric(world, world.build, "f1", blocks), Ledger(world, "l1", prune)]
        world.gateway_settings["classes"] = {"whole": {"deliver": "full"}, "heads": {"deliver": "headers"},
                                             "roots": {"deliver": "anchor"}}
        for chain, of in zip(world.chains, ["whole", "heads"]):
            chain["class"] = of
        for agent in self.agents.values():
            world.edge_settings[agent]["batch"] = {"wait": "20 ms", "blocks": 8}
            world.edge_settings[agent]["gateway"].update({"retry-min": "20 ms", "retry-max": "200 ms"})
        world.gateway_settings["main-chain"].update({"anchor-interval": "20 ms", "poll-interval": "20 ms",
                                                     "retry-min": "20 ms", "retry-max": "200 ms"})
        world.pki.issue_agent("mallory")
        self.chains = {}  # Written by the test itself and brought by mallory.
        for name in ["bad", "again", "mend", "held"]:
            self.add_chain(name)
        self.fresh = 0    # Chains that were made for one errand.
        self.acked = []
        self.kills = self.clean = 0
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.problems = []

    def add_chain(self, name):
        self.chains[name] = chain = LedgerChain(name, [name.encode().ljust(32, b".")])
        genesis = chain.write_genesis(self.world.folder / f"{name}.block")
        self.world.grant(name, "ledger", genesis, ["mallory"], **{"class": "roots"})
        return chain

    def fresh_chain(self, kind):
        """One more chain of mallory's; the gateway hears of it at its next start."""
        self.fresh += 1
        name = f"{kind}-{self.fresh}"
        self.add_chain(name)
        self.world.write_gateway()
        return name

    def program(self, kind):
        return self.world.gateway if kind == "gateway" else self.world.edges[self.agents[kind]]

    def __enter__(self):
        self.oracle = Oracle(self.world)
        self.world.start()
        self.feeder = threading.Thread(target=self.feed, daemon=True)
        self.feeder.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.feeder.join()

    # ---- always something to do ----

    def feed(self):
        while not self.ended.wait(0.05):
            held = self.world.audit()
            for source in self.sources:
                if source.made - held.get(source.name, {}).get("blocks", 0) < BACKLOG_MAX:
                    source.make(2)

    @contextlib.contextmanager
    def carrying(self, name):
        """Mallory's link with one chain, everything that the gateway has not got yet sent again."""
        pki, chain = self.world.pki, self.chains[name]
        with LinkPeer(self.world.gateway_port, pki.certificate("agent-mallory"), pki.key("agent-mallory"), pki.ca,
                      on_ack=lambda of, height: self.acked.append((of, height))) as link:
            link.welcome = link.hello([chain.hello()])["chains"][0]
            have = link.welcome.get("next_height", 0)
            if link.welcome["state"] == "CHAIN_STATE_ACTIVE" and have <= chain.tip.height:
                link.store(chain.blocks[have:])
            yield link

    # ---- killing ----

    def kill_all(self, lines):
        """Each kind's program at each of its places, the kinds side by side."""
        threads = [threading.Thread(target=self.kill_line, args=(kind, places), daemon=True)
                   for kind, places in lines.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.problems:
            raise Failure("\n".join(self.problems))

    def kill_line(self, kind, places):
        program = self.program(kind)
        program.kill()
        try:
            for place in places:
                self.kill_at(program, place)
        except Exception as problem:  # Whatever it is must not end a thread in silence.
            self.problems.append(f"{program.name} at {place}: {type(problem).__name__}: {problem}")
        finally:
            program.kill()
            program.environment, program.prefix = {}, []
            program.start()

    def kill_at(self, program, place):
        errand = place.errand(self)
        with self.lock:
            errand.before(program)
        began = size_of_log(program)
        program.environment, program.prefix = place.environment(), place.prefix()
        program.spawn()
        deadline = time.monotonic() + place.max_s * SLOW
        while program.running and time.monotonic() < deadline:
            if self.problems:
                raise Failure("another line has ended")
            with contextlib.suppress(Ended, OSError, TimeoutError, AssertionError):
                errand.nudge(program, began)
            time.sleep(0.005)
        errand.after()
        reached = not program.running
        if not reached and not place.may_miss:
            raise Failure(f"not reached within {place.max_s} s:\n{program.tail()}")
        program.kill()
        if program.process.returncode != -signal.SIGKILL or not place.told(log_since(program, began)):
            raise Failure(f"ended with {program.process.returncode}:\n{program.tail()}")
        with self.lock:
            self.kills += reached
            self.clean += not reached

    def count_calls(self, kind):
        """How often one thread makes each call to the system in a short life of a program."""
        program = self.program(kind)
        program.kill()
        traces = self.world.folder / "traces"
        traces.mkdir()
        began = size_of_log(program)
        wanted = ",".join(f"?{call}" for call in CALLS)
        program.prefix = ["strace", "-D", "-ff", "-o", traces / kind, "-e", f"trace={wanted}"]
        program.spawn()
        self.world.wait(lambda: len(re.findall(" anchor-final | blocks-anchored ", log_since(program, began))) >= 3,
                        f"a short life of {program.name}")
        program.kill()
        program.prefix = []
        program.start()
        most = collections.Counter()
        for path in traces.iterdir():
            self.world.wait(lambda: path.read_text().rstrip().endswith("+++"), "strace has ended")
            for call, count in collections.Counter(re.findall(r"^(\w+)\(", path.read_text(), re.M)).items():
                most[call] = max(most[call], count)
        shutil.rmtree(traces)
        return most

    # ---- the end ----

    def check(self):
        """Faults off: all that any source has arrives, once."""
        self.ended.set()
        self.feeder.join()
        self.world.main_chain("/dev/misbehave", {"seed": 1, "rules": []})
        fabric, ledger = self.sources
        self.world.wait(ledger.sealed, "all lines are in blocks")  # Of two lines, or of one that was late.
        self.oracle.expect_agents({fabric.name: fabric.made})
        for name, chain in self.chains.items():
            self.oracle.expect(name, [block.raw for block in chain.blocks], whole=False)
        for name, height in self.acked:
            if not name.startswith("void"):  # What the main chain refuses is held.
                self.oracle.acked(name, height, self.chains[name].blocks[height].hash)
        self.oracle.check(timeout=120)
        ledger.check(self.oracle.sources[ledger.name].raws)
        assert int((self.world.folder / "f1/state/raft-1.prunable").read_text()) <= fabric.made


# ---- places ----

def size_of_log(program):
    return program.log_path.stat().st_size if program.log_path.exists() else 0


def log_since(program, began):
    with open(program.log_path, "rb") as log:
        log.seek(began)
        return log.read().decode(errors="replace")


class FaultPoint(collections.namedtuple("FaultPoint", "name hit")):
    max_s, may_miss = PLACE_MAX_S, False

    def environment(self):
        return {"ZR_FAULT": f"{self.name}:{self.hit}"}

    def prefix(self):
        return []

    def errand(self, site):
        return ERRANDS.get(self.name, Errand)(site)

    def told(self, log):
        return f"fault-point name={self.name}\n" in log


class SystemCall(collections.namedtuple("SystemCall", "name number")):
    """Before a thread makes its call of that kind for the n-th time."""
    max_s, may_miss = LIFE_MAX_S, True

    def environment(self):
        return {}

    def prefix(self):
        return ["strace", "-D", "-f", "-o", "/dev/null", "-e", f"trace={self.name}",
                "-e", f"inject={self.name}:signal=KILL:when={self.number}"]

    def errand(self, site):
        return Errand(site)

    def told(self, log):
        return True


# ---- what brings a program to a place that it would not come to by itself ----

class Errand:
    def __init__(self, site):
        self.site, self.world = site, site.world
        self.asked = []

    def before(self, program):
        """Before each start of the program."""

    def nudge(self, program, began):
        """Again and again while it runs. Where it is killed under our hands, that is no failure of ours."""

    def after(self):
        for command in self.asked:
            command.kill()
            command.wait()

    def started(self, program, began):
        return " started " in log_since(program, began)

    def operator(self, *words):
        """A command that a daemon which dies leaves without an answer: asked again by whoever asked, of the next one."""
        self.asked = [one for one in self.asked if one.poll() is None]
        if len(self.asked) < 4:
            self.asked.append(subprocess.Popen(
                [self.world.program("zonerelay"), *words, "--reason", "an errand",
                 "--socket", self.world.folder / "control.sock"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))


class Reload(Errand):
    def nudge(self, program, began):
        if self.started(program, began):
            program.signal(signal.SIGHUP)
            time.sleep(0.05)


class Unpin(Errand):
    def before(self, program):
        [chain] = self.world.edge_settings[program.name]["chains"]
        self.world.run("zonerelay-edge", "unpin", chain["name"], "--config", self.world.folder / f"{program.name}.yaml")


class Grow(Errand):
    def before(self, program):
        spool = self.world.gateway_settings["spool"]
        spool["size"] = f"{int(spool['size'].split()[0]) + 1} MiB"
        self.world.write_gateway()


class Enrol(Errand):
    def before(self, program):
        self.site.fresh_chain("new")


class Operate(Errand):
    def nudge(self, program, began):
        if self.started(program, began):
            self.operator("chains", self.site.chance.choice(["freeze", "unfreeze"]), "held")
            time.sleep(0.05)


class Greet(Errand):
    """The agents say hello when they are killed, too, but their lines end sooner."""

    def nudge(self, program, began):
        with self.site.carrying("held"):
            pass


class Quarantine(Errand):
    def nudge(self, program, began):
        with self.site.carrying("bad") as link:
            chain = self.site.chains["bad"]
            link.offer(pack_blocks([chain.make([b"%d" % time.monotonic_ns()], data_root=bytes(32))]))


class Duplicate(Errand):
    def nudge(self, program, began):
        with self.site.carrying("again") as link:
            link.offer(pack_blocks(self.site.chains["again"].blocks[:1]))


class Fork(Errand):
    """Two signed blocks of one height: proved once for each chain, which is frozen then."""

    def before(self, program):
        self.name = self.site.fresh_chain("fork")
        self.site.chains[self.name].grow(3)

    def nudge(self, program, began):
        with self.site.carrying(self.name) as link:
            link.offer(pack_blocks([self.site.chains[self.name].make([b"the other story"], height=2)]))


class Mend(Errand):
    """A payload is asked for again, and replaced by what comes."""

    def nudge(self, program, began):
        chain = self.site.chains["mend"]
        with self.site.carrying("mend") as link:
            link.store(chain.grow(1))
            self.operator("resync", "mend", str(chain.tip.height))
            link.expect("resend", timeout=2)
            link.offer(pack_blocks([chain.tip]))


class Refused(Errand):
    """The main chain refuses a chain, whose anchor is taken back with all behind it."""

    def before(self, program):
        self.name = self.site.fresh_chain("void")
        self.site.chains[self.name].grow(1)
        self.world.main_chain("/dev/misbehave", {"seed": 1, "rules": [{"do": "refuse-chain", "chain": self.name}]})

    def nudge(self, program, began):
        with self.site.carrying(self.name):
            time.sleep(0.1)

    def after(self):
        self.world.main_chain("/dev/misbehave", {"seed": 1, "rules": []})


class Prune(Errand):
    def before(self, program):
        self.world.gateway_settings["spool"]["retention"] = "0 s"
        self.world.write_gateway()

    def after(self):
        del self.world.gateway_settings["spool"]["retention"]
        self.world.write_gateway()


ERRANDS = {
    "AGENT_RELOADING": Reload, "GATEWAY_RELOADING": Reload, "GATEWAY_RELOADED": Reload,
    "GATEWAY_PINNING": Unpin, "GATEWAY_PINNED": Unpin, "STORE_GROWING": Grow,
    "CHAIN_ENROLLING": Enrol, "CHAIN_ENROLLED": Enrol, "OPERATOR_CHANGING": Operate, "OPERATOR_CHANGED": Operate,
    "QUARANTINING": Quarantine, "QUARANTINED": Quarantine, "REJECT_SENT": Quarantine,
    "DUPLICATES_COUNTING": Duplicate, "DUPLICATES_COUNTED": Duplicate, "EVIDENCE_KEEPING": Fork, "EVIDENCE_KEPT": Fork,
    "RESEND_SENT": Mend, "REPAIRING": Mend, "REPAIRED": Mend, "VOID_STORING": Refused, "VOID_STORED": Refused,
    "HELLO_READ": Greet, "WELCOME_SENT": Greet, "PRUNING": Prune, "PRUNED": Prune,
}
