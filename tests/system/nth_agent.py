"""nth_agent.py -- an agent whose calls fail, and the meter that wants its readings kept all the same.

It keeps a ledger that is fed through its socket, and carries a folder of another chain's blocks. Beside what must
hold of any program: an entry that it said is on its disk is in the ledger in the end, at the
number that it named; and every block of it comes to the main chain.
"""
import shutil
import time

from nth_program import PATIENCE_S, ProgramUnderFault
from producer import Producer, block_entries
from world import ROOT, SLOW

RAFT = ROOT / "tests/data/fabric/raft-edge-1"


class AgentUnderFault(ProgramUnderFault):
    def __init__(self, folder, seed):
        super().__init__(folder, seed)
        world = self.world
        self.socket = world.folder / "e1" / "entries.sock"
        world.add_ledger_edge("e1", "meter-1", suite="sha256-ed25519", source={
            "input": "socket", "path": self.socket, "block-entries": 1})
        blocks = world.folder / "blocks"
        shutil.copytree(RAFT, blocks, ignore=lambda _, names: [name for name in names if not name.endswith(".block")])
        world.grant("raft-1", "fabric", RAFT / "0.block", ["e1"])
        world.edge_settings["e1"]["chains"].append({
            "name": "raft-1", "format": "fabric", "trust": RAFT / "0.block",
            "source": {"type": "fabric-dir", "dir": blocks, "scan-interval": "100 ms"}})
        world.edge_settings["e1"]["batch"] = {"wait": "20 ms"}
        world.edge_settings["e1"]["gateway"].update({"retry-min": "20 ms", "retry-max": "200 ms"})
        self.process = world.edges["e1"]
        self.producer = None
        self.number = 0   # Of entries that were made.
        self.acked = {}   # Number in the ledger -> entry.

    def begin(self):
        self.world.prepare()
        self.world.devchain.start()
        self.world.gateway.start()
        for chain in ("meter-1", "raft-1"):
            self.world.gateway.wait_log(f"chain-enrolled chain={chain}")
        self.arm()
        self.start()

    def let_go(self):
        if self.producer is not None:
            self.producer.close()
        self.producer = None

    def is_ready(self):
        return self.connect()

    def connect(self):
        if self.producer is None:
            try:
                self.producer = Producer(self.socket, timeout=PATIENCE_S / 3)
            except OSError:
                pass
        return self.producer is not None

    def put(self):
        """The next entry. Gives its number in the ledger, or None: it is to be sent again."""
        entry = b"entry %d" % self.number
        try:
            if self.connect():
                self.producer.send(entry)
                answer = self.producer.answer()
                if answer is not None and answer[0] == 0:
                    if self.acked.setdefault(answer[1], entry) != entry:
                        raise self.violation(f"number {answer[1]} was given to {self.acked[answer[1]]!r} and to {entry!r}")
                    return answer[1]
        except OSError:
            pass
        self.let_go()
        time.sleep(0.02)
        return None

    def serve(self):
        """One more entry becomes durable, is sealed, and its block final. False: the agent has ended."""
        self.number += 1
        number = None
        deadline = time.monotonic() + PATIENCE_S * SLOW
        while self.process.running:
            if number is None:
                number = self.put()
            elif self.anchored(number + 2):  # The genesis comes before entry 0.
                return True
            else:
                time.sleep(0.01)
            if time.monotonic() > deadline:
                raise self.violation(f"entry {self.number} is not served, it has number {number}")
        return False

    def anchored(self, count):
        audit = self.world.audit()
        for name, held in audit.items():
            if held["duplicates"] or held["gaps"]:
                raise self.violation(f"the main chain holds of {name}: {held}")
        return audit.get("meter-1", {}).get("blocks", 0) >= count

    def judge(self):
        super().judge()
        out = self.world.folder / "export"
        self.world.run("zonerelay-edge", "ledger", "export", "meter-1", out, "--config", self.world.folder / "e1.yaml")
        heights = sorted(int(path.stem) for path in out.glob("*.block"))
        entries = [entry for height in heights[1:] for entry in block_entries((out / f"{height}.block").read_bytes())]
        wrong = [number for number, entry in self.acked.items() if number >= len(entries) or entries[number] != entry]
        if wrong:
            raise self.violation(f"entries that were acknowledged and are not in the ledger: {wrong}")
