"""Every program killed at every place that has a name, and again while it recovers: nothing acknowledged is lost.

kills.py has the world that this happens in, relay/base/fault_point.h the places.
"""
import json
import os
import random
import shutil
import signal
import subprocess

import pytest

from kills import ONCE, FaultPoint, KillSite, SystemCall, fault_points
from world import ROOT, World

BUILD = os.environ.get("ZR_BUILD", ROOT / "build")
RAFT = ROOT / "tests/data/fabric/raft-edge-1"
TOP = 10          # Of RAFT.
HELD = TOP + 2    # Blocks in the store that is copied: those and a ledger's genesis.
KINDS = {"gateway": ["every", "gateway"], "fabric": ["every", "agent", "fabric"], "ledger": ["every", "agent", "ledger"]}


def draw_line(chance, kind, rounds):
    """Each place twice, in flow and while the program recovers; in further rounds later, and then while it starts."""
    points = fault_points(*KINDS[kind])
    line = []
    for number in range(rounds):
        chance.shuffle(points)
        starting = [point for point in points if point in ONCE]
        for point in points:
            hit = 1 if point in ONCE else 1 + chance.randrange(3) + number
            line += [FaultPoint(point, hit), FaultPoint(point if number == 0 else chance.choice(starting), 1)]
    return line


def test_every_program_is_killed_at_every_place_and_nothing_is_lost(tmp_path, torture):
    chance = random.Random(torture.seed)
    rounds = torture.rounds(quick=1, deep=10)
    lines = {kind: draw_line(chance, kind, rounds) for kind in KINDS}
    with World(tmp_path, BUILD) as world, KillSite(world, chance, blocks=3000 * rounds) as site:
        site.kill_all(lines)
        site.check()
    torture.figure("fault points at which a program was killed", len({place.name for line in lines.values() for place in line}))
    torture.figure("kills at fault points, a second one during recovery from each", site.kills)


def draw_calls(chance, counts, number_max):
    """The n-th call of each kind that a life makes, n = 1, 2, 3...; or so many of them, the rare kinds as often."""
    places = [SystemCall(call, number) for call, count in sorted(counts.items()) for number in range(1, count + 1)]
    if len(places) <= number_max:
        return places
    kinds = sorted(counts)
    chance.shuffle(kinds)
    return [SystemCall(kind, 1 + chance.randrange(counts[kind])) for kind in (kinds * number_max)[:number_max]]


@pytest.mark.parametrize("wish", ["NOWHERE:1", "STORE_MAKING:0", "STORE_MAKING:x", "STORE_MAKING:1:later", ":", "STORE"])
def test_a_wish_that_names_no_place_is_refused(tmp_path, wish):
    with World(tmp_path, BUILD) as world:
        refused = world.run("zonerelay", "version", env={**os.environ, "ZR_FAULT": wish}, check=False)
    assert refused.returncode == 70 and f"ZR_FAULT={wish}: " in refused.stderr


def test_a_program_can_also_be_stopped_at_a_place_and_go_on(tmp_path):
    with World(tmp_path, BUILD) as world:
        init = [world.program("zonerelay"), "spool", "init", tmp_path / "made", "--size", "1 MiB"]
        stopped = subprocess.Popen(init, env={**os.environ, "ZR_FAULT": "STORE_NAMING:1:stop"}, stdout=subprocess.DEVNULL)
        assert os.WIFSTOPPED(os.waitpid(stopped.pid, os.WUNTRACED)[1])
        assert not (tmp_path / "made/data.mdb").exists()
        stopped.send_signal(signal.SIGCONT)
        assert stopped.wait(30) == 0 and (tmp_path / "made/data.mdb").exists()


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not here")
def test_every_program_is_killed_at_any_call_to_the_system_and_nothing_is_lost(tmp_path, torture):
    chance = random.Random(torture.seed)
    each = torture.rounds(quick=16, deep=2000)
    with World(tmp_path, BUILD) as world, KillSite(world, chance, blocks=min(20_000, 500 + 50 * each)) as site:
        counts = {kind: site.count_calls(kind) for kind in KINDS}
        site.kill_all({kind: draw_calls(chance, counts[kind], each) for kind in KINDS})
        site.check()
    assert site.kills > each  # Of three programs: a life may now and then make a call less often than another.
    made = sum(sum(count.values()) for count in counts.values())
    torture.figure("calls to the system, of one thread in a short life of each program", made)
    torture.figure("kills at the n-th call to the system", site.kills)
    torture.figure("lives that made that call less often", site.clean)


# ---- the tools that make, copy and restore stores ----

class Tool:
    """One command, killed at each place that it comes to, as often as it comes there."""

    def __init__(self, world):
        self.world, self.kills, self.reached = world, 0, set()

    def kill_everywhere(self):
        for point in fault_points("tool", "every", "fabric"):
            hit = 1
            while self.killed_at(point, hit):
                hit += 1

    def killed_at(self, point, hit):
        self.clear()
        result = self.run(env={**os.environ, "ZR_FAULT": f"{point}:{hit}"})
        assert result.returncode in (0, -signal.SIGKILL), result.stderr
        if result.returncode == 0:
            return False
        self.kills += 1
        self.reached.add(point)
        try:
            self.recover()
        except AssertionError as wrong:
            raise AssertionError(f"killed at {point}:{hit}") from wrong
        return True


class SpoolInit(Tool):
    folder = "made"

    def clear(self):
        shutil.rmtree(self.world.folder / self.folder, ignore_errors=True)

    def run(self, **options):
        return self.world.run("zonerelay", "spool", "init", self.folder, "--size", "16 MiB", check=False, **options)

    def recover(self):
        """None or a whole one: made again, or refused because it is there."""
        again = self.run()
        assert again.returncode == 0 or "there is a store already" in again.stderr, again.stderr
        self.world.run("zonerelay", "spool", "verify", self.folder)
        left = {path.name for path in (self.world.folder / self.folder).iterdir()}
        assert left <= {"data.mdb", "lock.mdb", "owner.lock"}, left


class LedgerInit(Tool):
    def __init__(self, world):
        super().__init__(world)
        self.home = world.folder / "l1"
        self.config = world.folder / "l1.yaml"

    def clear(self):
        shutil.rmtree(self.home / "ledger", ignore_errors=True)
        (self.home / "genesis.block").unlink(missing_ok=True)

    def run(self, **options):
        return self.world.run("zonerelay-edge", "ledger", "init", "--config", self.config, check=False, **options)

    def recover(self):
        """The next attempt ends what this one began: one genesis, the same in the store and in the file to be pinned."""
        again = self.run()
        assert again.returncode == 0, again.stderr
        out = self.world.folder / "genesis"
        self.world.run("zonerelay-edge", "ledger", "export", "meter-1", out, "--config", self.config)
        assert (out / "0.block").read_bytes() == (self.home / "genesis.block").read_bytes()
        shutil.rmtree(out)


class ChainsAdd(Tool):
    def __init__(self, world):
        super().__init__(world)
        self.folder = world.folder / "chains.d"

    def clear(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, **options):
        return self.world.run("zonerelay", "chains", "add", "raft-2", "--config", "gateway.yaml", "--format", "fabric",
                              "--trust", RAFT / "0.block", "--agents", "f1", "--reason", "a new site", check=False, **options)

    def recover(self):
        """The zone file is good, with the chain or without, and the command can be given again."""
        self.world.run("zonerelay", "config", "check", "gateway.yaml")
        again = self.run()
        assert again.returncode == 0 or "is in the zone file already" in again.stderr, again.stderr
        assert {path.name for path in self.folder.iterdir()} == {"raft-2.block", "raft-2.yaml"}


class Backup(Tool):
    path = "copy.zrx"

    def clear(self):
        for path in self.world.folder.glob(f"{self.path}*"):
            path.unlink()

    def run(self, **options):
        return self.world.run("zonerelay", "spool", "backup", "spool", "--out", self.path, check=False, **options)

    def recover(self):
        """What has the name of a copy is one."""
        if not (self.world.folder / self.path).exists():
            again = self.run()
            assert again.returncode == 0, again.stderr
        restore = Restore(self.world, self.path)
        restore.clear()
        assert restore.run().returncode == 0 and restore.blocks() == HELD


class Restore(Tool):
    folder = "restored"

    def __init__(self, world, path="good.zrx"):
        super().__init__(world)
        self.path = path

    def clear(self):
        shutil.rmtree(self.world.folder / self.folder, ignore_errors=True)

    def run(self, **options):
        return self.world.run("zonerelay", "spool", "restore", self.folder, "--in", self.path, "--size", "16 MiB",
                              "--no-allocate", check=False, **options)

    def blocks(self):
        """None where nobody may open it."""
        answer = self.world.run("zonerelay", "spool", "stat", self.folder, "--json", check=False)
        return json.loads(answer.stdout)["blocks"]["received"] if answer.returncode == 0 else None

    def recover(self):
        """Nothing opens what was cut short; what opens has all of it."""
        assert self.blocks() in (None, HELD)
        self.clear()
        assert self.run().returncode == 0 and self.blocks() == HELD


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The folder of a world with a spool that holds a chain, and an agent without its ledger."""
    with World(tmp_path_factory.mktemp("served"), BUILD) as world:
        folder = world.add_fabric_edge("f1", "raft-1", RAFT / "0.block")
        world.add_ledger_edge("l1", "meter-1", suite="sha256-ed25519")
        for height in range(TOP + 1):
            shutil.copyfile(RAFT / f"{height}.block", folder / f"{height}.block")
        world.start()
        world.wait_anchored({"raft-1": TOP + 1, "meter-1": 1})
        world.stop()
        world.run("zonerelay", "spool", "backup", "spool", "--out", "good.zrx")
        yield world


@pytest.mark.parametrize("tool,prefix", [(SpoolInit, "STORE_"), (LedgerInit, "GENESIS_"), (ChainsAdd, "FILE_"),
                                         (Backup, "BACKUP_"), (Restore, "RESTORE_")])
def test_a_tool_that_is_killed_leaves_nothing_that_passes_for_more_than_it_is(served, torture, tool, prefix):
    killed = tool(served)
    killed.kill_everywhere()
    assert {point for point in fault_points("tool", "fabric") if point.startswith(prefix)} <= killed.reached
    torture.figure(f"kills of {tool.__name__}", killed.kills)
