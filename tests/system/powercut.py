"""powercut.py -- records what the real programs do to their files and say meanwhile, and cuts the power.

    recorder = Recorder(world, folder)          # Everything below folder is recorded.
    world.gateway.environment = recorder.environment()
    recorder.mark("made")                       # In the log, after all that has happened.
    recorder.replay("gateway", gateway_marks, facts, images=1000, seed=1)

The log (tests/powercut/record.h) has what left each program and what came. Here it is read as messages, and
each message that promises something becomes a mark, in its place. A byte counts from the moment before it
could have left; a message from the moment its last byte could have.
"""
import os
import pathlib
import re
import struct
import subprocess

from link_peer import LINK

HEAD = struct.Struct("<IHHQQQQ")
MAGIC = 0x5A525057
OUT, IN, MARK = 12, 13, 15
TLS = 4
OPEN_STATES = ("CHAIN_STATE_ACTIVE", "CHAIN_STATE_STANDBY", "CHAIN_STATE_FROZEN")


class Record:
    def __init__(self, kind, flags=0, stream=0, offset=0, number=0, data=b""):
        self.kind, self.flags, self.stream, self.offset, self.number, self.data = (kind, flags, stream, offset, number,
                                                                                 data)

    def encode(self):
        return HEAD.pack(MAGIC, self.kind, self.flags, self.stream, self.offset, self.number, len(self.data)) + self.data


def mark(text):
    return Record(MARK, data=text.encode() + b"\0")


def read_log(path):
    data = pathlib.Path(path).read_bytes()
    at = 0
    while at + HEAD.size <= len(data):
        magic, kind, flags, stream, offset, number, size = HEAD.unpack_from(data, at)
        assert magic == MAGIC
        at += HEAD.size
        if at + size > len(data):
            return  # Of a process that was killed.
        yield Record(kind, flags, stream, offset, number, data[at:at + size])
        at += size


class Direction:
    """One way of a connection: what is tried twice is in the log twice, and counts once."""

    def __init__(self):
        self.length = 0
        self.rest = b""

    def take(self, record):
        new = record.data[max(0, self.length - record.offset):]
        assert record.offset <= self.length, "bytes are missing in the log"
        self.length += len(new)
        self.rest += new

    def frames(self):
        """Whole messages of the link, of which the last byte has come."""
        while len(self.rest) >= 4:
            size = struct.unpack(">I", self.rest[:4])[0]
            if len(self.rest) < 4 + size:
                return
            yield LINK.decode("Frame", self.rest[4:4 + size])
            self.rest = self.rest[4 + size:]

    def http(self):
        """(first line, body) of whole requests or answers."""
        while b"\r\n\r\n" in self.rest:
            head, _, body = self.rest.partition(b"\r\n\r\n")
            chunked = re.search(rb"transfer-encoding: *chunked", head, re.I)
            size = re.search(rb"content-length: *(\d+)", head, re.I)
            assert not chunked, "an answer in pieces"
            size = int(size[1]) if size else 0
            if len(body) < size:
                return
            yield head.split(b"\r\n")[0].decode(), body[:size]
            self.rest = body[size:]


class Streams:
    def __init__(self):
        self.ways = {}
        self.notes = {}  # Stream -> what its reader keeps.

    def take(self, record):
        way = self.ways.setdefault((record.stream, record.kind), Direction())
        way.take(record)
        return way

    def note(self, record):
        return self.notes.setdefault(record.stream, {})


# ---- what the gateway says ----

def gateway_marks(record, streams):
    if record.flags & TLS:
        yield from link_marks(record, streams.take(record), streams.note(record))
    else:
        yield from submit_marks(record, streams.take(record), streams.note(record))


def welcome_marks(name, welcome):
    if welcome.get("state") in OPEN_STATES:
        yield f"next {name} {welcome.get('next_height', 0)}"
        yield f"anchored {name} {welcome.get('anchored_next', 0)}"


def link_marks(record, way, note):
    for frame in way.frames():
        if record.kind == IN:
            if "hello" in frame:
                note["names"] = [chain["name"] for chain in frame["hello"]["chains"]]
            continue
        names = note.get("names", [])
        for name, welcome in zip(names, frame.get("welcome", {}).get("chains", [])):
            yield from welcome_marks(name, welcome)
        if "chain_update" in frame:
            update = frame["chain_update"]
            yield from welcome_marks(names[update.get("chain", 0)], update.get("welcome", {}))
        if "ack" in frame:
            ack = frame["ack"]
            yield f"next {names[ack.get('chain', 0)]} {ack.get('durable_next', 0)}"
            if "custody" in ack:
                yield f"commit {ack['custody'].get('commit_number', 0)}"
        for entry in frame.get("anchored", {}).get("entries", []):
            yield f"anchored {names[entry.get('chain', 0)]} {entry.get('to', 0) + 1}"


def submit_marks(record, way, note):
    asked = note.setdefault("asked", [])
    for line, body in way.http():
        if record.kind == OUT:
            method, path, _ = line.split(" ")
            submit = re.fullmatch(r"/v1/lanes/\d+/anchors/([0-9a-f]{64})", path)
            if submit and method == "PUT":
                seq = struct.unpack(">Q", body[8:16])[0]
                KEYS[submit[1]] = seq
                yield f"submitted {seq} {body.hex()}"
            asked.append(submit[1] if submit else None)
        elif not line.startswith("HTTP/1.1 100"):
            key = asked.pop(0)
            if key in KEYS and line.split(" ")[1] in ("200", "201"):
                yield f"included {KEYS[key]}"


KEYS = {}  # Key of an anchor that was submitted -> its seq.


# ---- what the agent says ----

def agent_marks(record, streams):
    """Of an agent of which one chain, SOCKET_CHAIN, is fed by a local socket."""
    if record.flags & TLS:
        yield from upload_marks(record, streams.take(record), streams.note(record))
    else:
        yield from entry_marks(record, streams.take(record), streams.note(record))


def tip_mark(name, height, tip):
    return f"tip {name} {height} {tip.hex()}"


def hello_marks(hello):
    for chain in hello["chains"]:
        if chain.get("has_blocks"):
            yield tip_mark(chain["name"], chain.get("tip_height", 0), chain["tip_hash"])
        if chain.get("has_custody"):
            yield tip_mark(chain["name"], chain.get("custody_height", 0), chain["custody_tip"])
        yield f"receipts {chain['name']} {chain.get('anchored_next', 0)}"


def upload_marks(record, way, note):
    for frame in way.frames():
        if "hello" in frame:
            note["names"] = [chain["name"] for chain in frame["hello"]["chains"]]
            yield from hello_marks(frame["hello"])
        names = note.get("names", [])
        if "header" in frame.get("chunk", {}):
            header = frame["chunk"]["header"]
            height = header.get("first_height", 0) + header["block_count"] - 1
            yield tip_mark(names[frame["chunk"].get("chain", 0)], height, header["tip_hash"])
        for name, welcome in zip(names, frame.get("welcome", {}).get("chains", [])):
            yield f"taken {name} {welcome.get('next_height', 0)}"
        if "ack" in frame:
            yield f"taken {names[frame['ack'].get('chain', 0)]} {frame['ack'].get('durable_next', 0)}"


def entry_marks(record, way, note):
    """The local socket of a producer: sizes and entries in, sizes and answers out, in the same order."""
    entries = note.setdefault("entries", [])
    while len(way.rest) >= 4:
        size = struct.unpack(">I", way.rest[:4])[0]
        if len(way.rest) < 4 + size:
            return
        piece, way.rest = way.rest[4:4 + size], way.rest[4 + size:]
        if record.kind == IN:
            entries.append(piece)
        else:
            code, number = struct.unpack(">BQ", piece)
            assert code == 0, "an entry was refused"
            yield f"entry {SOCKET_CHAIN} {number} {entries.pop(0).hex()}"


SOCKET_CHAIN = "meter-socket"


# ---- recording and replaying ----

class Recorder:
    def __init__(self, world, folder):
        self.world = world
        self.folder = pathlib.Path(folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder.parent / f"{self.folder.name}.power"
        # Images are made by the thousand: in memory.
        memory = pathlib.Path("/dev/shm" if os.access("/dev/shm", os.W_OK) else self.folder.parent)
        self.scratch = memory / f"zr-power-{os.getpid()}-{os.urandom(4).hex()}"
        self.module = world.build / "tests/powercut/powercut_record.so"
        self.program = world.build / "tests/powercut/powercut"

    def environment(self, die_at=0):
        """die_at: the so-manieth durable write, or "rename" of a new store, is the last thing the process does."""
        asan = os.environ.get("ASAN_OPTIONS", "")
        return {"LD_PRELOAD": str(self.module), "ZR_POWER_LOG": str(self.log), "ZR_POWER_ROOT": str(self.folder),
                "ZR_POWER_DIE": str(die_at), "ASAN_OPTIONS": f"{asan}:verify_asan_link_order=0".strip(":")}

    def mark(self, text):
        with open(self.log, "ab") as log:
            log.write(mark(text).encode())

    def judged(self, marks):
        """The log again, with marks in the place of messages."""
        path = self.log.with_suffix(".judged")
        streams = Streams()
        counts = {}
        with open(path, "wb") as out:
            for record in read_log(self.log):
                if record.kind not in (OUT, IN):
                    out.write(record.encode())
                    continue
                for text in marks(record, streams):
                    counts[text.split(" ")[0]] = counts.get(text.split(" ")[0], 0) + 1
                    out.write(mark(text).encode())
        return path, counts

    def replay(self, subject, log, facts, images, seed, second=0, fault=None, timeout=7200):
        """{"images": ..., "second": ..., "broken": ...}; and what was said of broken ones, and how to see it again."""
        command = [str(self.program), "--log", str(log), "--root", str(self.folder), "--facts", str(facts), "--scratch",
                   str(self.scratch), "--images", str(images), "--seed", str(seed), "--second", str(second)]
        command += ["--fault", fault] if fault else []
        try:
            run = subprocess.run([*command, subject], capture_output=True, text=True, timeout=timeout, check=False)
        finally:
            subprocess.run(["rm", "-rf", str(self.scratch)], check=False)
        last = run.stdout.strip().rpartition("\n")[2].split(" ")
        assert last[0] == "images", f"{' '.join(command)} ended with {run.returncode}:\n{run.stdout}{run.stderr[-4000:]}"
        counts = {name: int(value) for name, value in zip(last[::2], last[1::2])}
        return counts, f"{run.stderr[-4000:]}\n{' '.join(command)} {subject}"
