"""nth.py -- drives tests/nth/nth.c: which call of a program fails, and how many there were.

    board = Board(world)
    world.gateway.environment = board.environment
    with board.failing("fdatasync", "store", "EIO", 3) as rule: ...
    if not rule.failed: ...   # It made fewer than three such calls; rule.seen says how many.

The rule may be set before the program starts and while it runs. board.trace() is where the failures
happened, with functions and lines.
"""
import contextlib
import ctypes
import errno
import json
import mmap
import re
import shutil
import subprocess

SHORT = -1
# What is no errno: answers of LMDB, libcurl, nng and getaddrinfo().
ANSWERS = {"SHORT": SHORT, "MAP_FULL": -30792, "READERS_FULL": -30790, "PANIC": -30795, "CORRUPTED": -30796,
           "CURL_NO_MEMORY": 27, "CURLM_NO_MEMORY": 3, "NNG_NO_MEMORY": 2, "EAI_MEMORY": -10, "EAI_AGAIN": -3}
# Where a library dies of its own lack of memory, and nothing of ours can keep it from it.
DEADLY = ["evhttp_connection_base_bufferevent_new",  # libevent 2.1.12 frees what it has not made.
          "bufferevent_setwatermark",               # The same: it uses the callback that it could not add.
          "CRYPTO_THREAD_run_once"]                  # OpenSSL 3.0 uses what its initialisation could not make.
MAGIC = 0x7A726E74


class Rule(ctypes.Structure):
    """struct rule of nth.c."""
    _fields_ = [("armed", ctypes.c_int32), ("function", ctypes.c_int32), ("kind", ctypes.c_int32),
                ("error", ctypes.c_int32), ("first", ctypes.c_uint64), ("last", ctypes.c_uint64),
                ("seen", ctypes.c_uint64), ("failed", ctypes.c_uint64)]


class Head(ctypes.Structure):
    _fields_ = [("magic", ctypes.c_uint32), ("functions", ctypes.c_uint32), ("kinds", ctypes.c_uint32),
                ("name_size", ctypes.c_uint32), ("rule", Rule)]


def preload_of(build):
    """The preloaded library; None where it is not built, or where a sanitizer's allocator comes before it."""
    options = json.loads((build / "meson-info/intro-buildoptions.json").read_text())
    if any(option["name"] == "b_sanitize" and option["value"] != "none" for option in options):
        return None
    return next(iter((build / "tests/nth").glob("libnth.so")), None)


class Board:
    def __init__(self, world, name="nth"):
        self.world = world
        self.path = world.folder / f"{name}.board"
        self.trace_path = world.folder / f"{name}.trace"
        self.environment = {"LD_PRELOAD": str(preload_of(world.build)), "ZR_NTH": str(self.path),
                            "ZR_NTH_TRACE": str(self.trace_path)}
        world.run("zonerelay", "version", env=self.environment)  # Which makes the file.
        with open(self.path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 0)
        self.head = Head.from_buffer(self.map)
        assert self.head.magic == MAGIC
        self.rule = self.head.rule
        self.name_size = self.head.name_size
        at = ctypes.sizeof(Head)
        self.kinds = [self._name(at + index * self.name_size) for index in range(self.head.kinds)]
        self.rows = at + self.head.kinds * self.name_size
        self.row_size = self.name_size + 8 * self.head.kinds
        self.functions = [self._name(self.rows + index * self.row_size) for index in range(self.head.functions)]
        self.disarm()
        self.clear()

    def _name(self, at):
        return self.map[at:at + self.name_size].rstrip(b"\0").decode()

    def _row(self, index):
        return (ctypes.c_uint64 * len(self.kinds)).from_buffer(self.map, self.rows + index * self.row_size + self.name_size)

    def clear(self):
        """Counts from zero."""
        for index in range(len(self.functions)):
            ctypes.memset(self._row(index), 0, 8 * len(self.kinds))

    def counts(self):
        """(function, kind) -> how many calls since clear(); those that were made."""
        return {(name, kind): count for index, name in enumerate(self.functions)
                for kind, count in zip(self.kinds, self._row(index)) if count}

    def place_of(self, function, kind):
        return self.functions.index(function), self.kinds.index(kind)

    def arm(self, function, kind, error, first, last=None):
        self.rule.armed = 0
        self.rule.function, self.rule.kind = self.place_of(function, kind)
        self.rule.error = ANSWERS[error] if error in ANSWERS else getattr(errno, error)
        self.rule.first, self.rule.last = first, first if last is None else last
        self.rule.seen = self.rule.failed = 0
        self.rule.armed = 1

    def disarm(self):
        self.rule.armed = 0

    @contextlib.contextmanager
    def failing(self, *what):
        self.trace_path.write_bytes(b"")  # The same file: a program that runs has it open.
        self.arm(*what)
        try:
            yield self.rule
        finally:
            self.disarm()

    def failed_in_library(self):
        """The failure was where a library is known to die of it."""
        return any(place in self.trace(frames=30) for place in DEADLY)

    def trace(self, frames=12):
        """Of the first failure: function and line of each caller."""
        text = self.trace_path.read_text(errors="replace") if self.trace_path.exists() else ""
        lines = text.splitlines() or ["no call failed"]
        out = [lines[0]]
        for line in lines[1:]:
            match = re.match(r"(\S+?)\((\S*)\)", line)
            if line.startswith("--") or len(out) > frames:
                break
            if match is None or "libnth" in line:
                continue
            program, place = match.groups()
            if place.startswith("+") and shutil.which("addr2line"):
                # One back: where the call is, not where it returns to.
                found = subprocess.run(["addr2line", "-fsie", program, hex(int(place[1:], 16) - 1)], capture_output=True,
                                       text=True, check=False).stdout.split("\n")
                place = f"{found[0]} {found[1]}" if len(found) > 1 else place
            out.append(f"  {program.rpartition('/')[2]}: {place}")
        return "\n".join(out)
