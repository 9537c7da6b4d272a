"""ledger_maker.py -- chains of format `ledger` made in Python, good ones and wrong ones.

A second implementation of docs/LEDGER-FORMAT.md (with what computes the test vectors). Ed25519 only.

    chain = LedgerChain("tq-1", [b"A" * 32])
    chain.write_genesis(path)
    block = chain.add([b"a reading"])                   # The next good block.
    wrong = chain.make([b"another"], data_root=bytes(32))  # Not added; any part may be wrong.
"""
import collections
import pathlib
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "data/vectors"))
from generate import Ed25519, leaf, message, root, sha256, trust_set  # noqa: E402

GENESIS_MS = 1767571200000

Block = collections.namedtuple("Block", "height hash raw header")


def entries_root(entries):
    return root([leaf(entry) for entry in entries])


class LedgerChain:
    def __init__(self, name, seeds=(b"A" * 32,), threshold=1):
        self.name = name
        self.keys = [Ed25519(seed) for seed in seeds]
        self.threshold = threshold
        self.blocks = []
        self.add([trust_set(threshold, self.keys)], kind=1)

    @property
    def epoch(self):
        return self.blocks[0].hash

    @property
    def tip(self):
        return self.blocks[-1]

    def write_genesis(self, path):
        pathlib.Path(path).write_bytes(self.blocks[0].raw)
        return path

    def hello(self, **fields):
        """Its ChainHello."""
        return {"name": self.name, "epoch": self.epoch, "has_blocks": True, "oldest_height": 0,
                "tip_height": self.tip.height, "tip_hash": self.tip.hash, **fields}

    def header(self, entries, magic=b"ZRb1", suite=2, kind=0, height=None, time_ms=None, parent=None, data_root=None,
               count=None):
        height = len(self.blocks) if height is None else height
        time_ms = GENESIS_MS + 900000 * min(height, 1 << 20) if time_ms is None else time_ms
        if parent is None:
            parent = self.blocks[height - 1].hash if 0 < height <= len(self.blocks) else bytes(32)
        return (magic + bytes([suite, kind]) + struct.pack(">Qq", height, time_ms) + parent
                + (data_root or entries_root(entries)) + struct.pack(">I", len(entries) if count is None else count))

    def make(self, entries, signers=None, seals=None, tail=b"", **header):
        """A block on top of the last one (or at height=), sealed by signers; seals are given whole instead."""
        signers = self.keys[:self.threshold] if signers is None else signers
        text = self.header(entries, **header)
        if seals is None:
            seals = [self.seal(key, text) for key in sorted(signers, key=lambda key: sha256(key.spki))]
        raw = message((1, text), (2, list(entries)), (3, seals)) + tail
        return Block(struct.unpack(">Q", text[6:14])[0], sha256(text), raw, text)

    @staticmethod
    def seal(key, text):
        return message((1, sha256(key.spki)), (2, key.sign(text)))

    def add(self, entries, **header):
        self.blocks.append(self.make(entries, **header))
        return self.tip

    def grow(self, count, size=40):
        """That many good blocks more; gives them."""
        return [self.add([f"reading {len(self.blocks)}".encode().ljust(size, b".")]) for _ in range(count)]
