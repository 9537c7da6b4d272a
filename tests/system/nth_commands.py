"""nth_commands.py -- commands whose calls fail: each says the right thing or that it cannot, and leaves nothing half made.

A command that ends with the status it has without a failure must have done what it then does: the same
answer, the same files. Any other status must be 1, 71 or a daemon's, with a word on standard error; and never
4, or a good store would be called damaged. What it was to make is then not there, or is not taken for
good by the next command; and the same command, without a failure, succeeds.
"""
import hashlib
import re
import shutil
import subprocess

from ledger_maker import LedgerChain
from link_peer import LinkPeer, pack_blocks
from nth import Board
from nth_program import kill_all, make_world
from oracle import Violation

FAILED = {1, 65, 69, 70, 71, 74, 75, 78}
# What differs from run to run: times, ages, sizes of files that grow, identities of new stores.
VOLATILE = re.compile(r'"(uuid|created|age_ms|ms|seconds|created_ms|time|remaining|left|now)": ?("[^"]*"|-?[\d.]+)')


class Command:
    """words of a program; makes: a file or folder that is not there before."""

    def __init__(self, program, *words, makes=None, compared=True):
        self.program, self.words, self.makes, self.compared = program, [str(word) for word in words], makes, compared
        self.name = " ".join(word for word in self.words if "/" not in word and not word.startswith("-"))


class Commands:
    """A stopped gateway with a store of some blocks, and what an operator may want of it."""

    def __init__(self, folder):
        self.world = make_world(folder)
        world = self.world
        self.foreign_faults = self.ended = 0
        self.chain = LedgerChain("good-1")
        world.grant("good-1", "ledger", self.chain.write_genesis(world.folder / "good-1.block"), ["alice"])
        world.pki.issue_agent("alice")
        world.add_ledger_edge("e1", "meter-1", suite="sha256-ed25519", source={
            "input": "file", "path": world.folder / "entries", "size": "2 MiB", "block-entries": 1})
        (world.folder / "entries").write_text("one\ntwo\nthree\n")

    def __enter__(self):
        try:
            self.prepare()
        except BaseException:  # Nobody calls __exit__ for what was never entered.
            kill_all(self.world)
            raise
        return self

    def prepare(self):
        world = self.world
        world.start()
        world.gateway.wait_log("chain-enrolled chain=good-1")
        with LinkPeer(world.gateway_port, world.pki.certificate("agent-alice"), world.pki.key("agent-alice"),
                      world.pki.ca) as link:
            link.hello([self.chain.hello()])
            self.chain.grow(6)
            link.store(self.chain.blocks)
        world.wait_anchored({"good-1": 7, "meter-1": 4})
        world.cli("proof", "get", "good-1", 3, "--out", world.folder / "one.proof")
        world.stop()
        self.blocks = world.folder / "blocks"
        self.blocks.mkdir()
        for block in self.chain.blocks:
            (self.blocks / f"{block.height}.block").write_bytes(block.raw)
        self.board = Board(world)
        world.run("zonerelay", "spool", "backup", world.folder / "spool", "--out", world.folder / "the.backup")

    def __exit__(self, *_):
        self.world.stop()

    def all(self):
        folder, spool = self.world.folder, self.world.folder / "spool"
        edge = ["--config", folder / "e1.yaml"]
        new = folder / "made"
        small = ["--size", "16 MiB", "--no-allocate"]
        return [
            Command("zonerelay", "spool", "stat", spool, "--json"),
            Command("zonerelay", "spool", "verify", spool, "--json"),
            Command("zonerelay", "spool", "export", "good-1", "0..", spool, "--out", new, makes=new),
            Command("zonerelay", "spool", "backup", spool, "--out", new, makes=new, compared=False),
            Command("zonerelay", "spool", "salvage", spool, "--out", new, makes=new, compared=False),
            Command("zonerelay", "spool", "restore", new, "--in", folder / "the.backup", *small, makes=new, compared=False),
            Command("zonerelay", "spool", "init", new, *small, makes=new, compared=False),
            Command("zonerelay", "blocks", "verify", "--format", "ledger", "--trust", folder / "good-1.block", self.blocks),
            Command("zonerelay", "proof", "verify", folder / "one.proof", "--trusted", self.world.trusted),
            Command("zonerelay", "config", "check", folder / "gateway.yaml"),
            Command("zonerelay", "config", "show", folder / "gateway.yaml"),
            Command("zonerelay-edge", "config", "check", *edge),
            Command("zonerelay-edge", "config", "show", *edge),
            Command("zonerelay-edge", "ledger", "export", "meter-1", new, *edge, makes=new),
            Command("zonerelay-edge", "receipts", "meter-1", "--json", *edge),
            Command("zonerelay-edge", "proof", "meter-1", "1", new, *edge, makes=new),
            Command("zonerelay-edge", "status", "--json", *edge),
        ]

    # ---- one run ----

    def clean(self, command):
        if command.makes is not None and command.makes.exists():
            shutil.rmtree(command.makes) if command.makes.is_dir() else command.makes.unlink()

    def run(self, command, failing=True):
        environment = self.board.environment if failing else {}
        try:
            return self.world.run(command.program, *command.words, check=False, timeout=60,
                                  env={**environment, "MALLOC_PERTURB_": "165", "PATH": "/usr/bin:/bin"})
        except subprocess.TimeoutExpired:
            raise self.violation(command, None, "does not end") from None

    def answer(self, command, result):
        """What the answer says, and what it made."""
        made = None
        if command.makes is not None and command.compared:
            files = sorted(command.makes.rglob("*")) if command.makes.is_dir() else [command.makes]
            made = [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files if path.is_file()]
        return result.returncode, VOLATILE.sub(r'"\1"', result.stdout) if command.compared else "", made

    def violation(self, command, result, what):
        said = "" if result is None else f"\n{result.returncode}: {result.stdout[-1500:]}\n{result.stderr[-1500:]}"
        return Violation(f"{command.name}: {what}\nwhere {self.trial}\n{self.board.trace()}{said}")

    def begin(self, command):
        """How it is without a failure. Gives its counts."""
        self.trial = None
        self.clean(command)
        self.board.clear()
        result = self.run(command)
        counts = self.board.counts()
        self.good = self.answer(command, result)
        self.clean(command)
        again = self.answer(command, self.run(command, failing=False))
        assert again == self.good, f"{command.name} does not answer twice the same:\n{self.good}\n{again}"
        return counts

    def attempt(self, command, trial):
        self.trial = trial
        self.clean(command)
        with self.board.failing(*trial) as rule:
            result = self.run(command)
        if result.returncode < 0 and self.board.failed_in_library():
            self.foreign_faults += 1
            return rule
        unreadable = 4 if trial.error == "EIO" and command.words[:2] == ["spool", "verify"] else None
        if result.returncode not in FAILED | {self.good[0], unreadable}:
            raise self.violation(command, result, f"ended with {result.returncode}")
        if result.returncode == self.good[0]:
            found = self.answer(command, result)
            if found != self.good and not (rule.failed and honest_gap(command, result)):
                raise self.violation(command, result, f"said it was done, and was not:\n{self.good}\n{found}")
        else:
            self.ended += 1
        if result.returncode != self.good[0] and not (result.stderr + result.stdout).strip():
            raise self.violation(command, result, "failed without a word")
        self.look_behind(command, result)
        return rule

    def look_behind(self, command, result):
        """What a command that failed left must not be taken for good, nor stand in the way."""
        if command.makes is None or result.returncode == self.good[0] or not command.makes.exists():
            return
        if command.words[1] in ("init", "restore"):
            stat = self.world.run("zonerelay", "spool", "stat", command.makes, check=False)
            whole = "no memory for the answer" in result.stderr
            if stat.returncode == 0 and command.words[1] == "restore" and not whole:
                raise self.violation(command, result, f"left half a store: {stat.stdout}")
            if stat.returncode < 0:
                raise self.violation(command, result, "left something that a command dies of")


def honest_gap(command, result):
    """Of status: it shows what it has, and says what it could not read."""
    return command.words[0] == "status" and '"problem":""' not in result.stdout
