"""records.py -- what is hashed and anchored, read a second time: header records from blocks, and anchors.

After docs/PROTOCOL.md section 5, docs/LEDGER-FORMAT.md and docs/FABRIC.md; nothing here asks our own programs.
"""
import collections
import hashlib
import pathlib
import struct
import sys

from link_peer import each_field

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "data/vectors"))
from generate import header_record, leaf, root  # noqa: E402

ZERO = bytes(32)
SUITE_SM3 = 3
HEADER_RECORD_SIZE = 120

Header = collections.namedtuple("Header", "height hash parent record")
Entry = collections.namedtuple("Entry", "name epoch first last tip policy subtree")
Anchor = collections.namedtuple("Anchor", "seq alg previous root entries headers batches key")


class Malformed(Exception):
    """Bytes that are not what they should be."""


def sha256(data):
    return hashlib.sha256(data).digest()


def sm3(data):
    return hashlib.new("sm3", data).digest()


HASH = {1: sha256, 2: sm3}


def header_of(height, own, parent, data_root, time_ms, count):
    return Header(height, own, parent, header_record(height, own, parent, data_root, time_ms, count))


# ---- blocks ----

def ledger_header(raw):
    text = next((value for number, value in each_field(raw) if number == 1), b"")
    if len(text) != 90 or text[:4] != b"ZRb1":
        raise Malformed("no ledger block")
    height, time_ms = struct.unpack_from(">Qq", text, 6)
    own = (sm3 if text[4] == SUITE_SM3 else sha256)(text)
    return header_of(height, own, text[22:54], text[54:86], time_ms, struct.unpack_from(">I", text, 86)[0])


def inner(message, *numbers):
    """The last field of each number, one inside the other; empty where there is none."""
    for number in numbers:
        found = b""
        for at, value in each_field(message):
            found = value if at == number else found
        message = found
    return message


def der_integer(number):
    data = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return bytes([2, len(data)]) + data


def fabric_header(raw):
    fields = dict(each_field(inner(raw, 1)))
    height, parent, data_root = fields.get(1, 0), fields.get(2, b""), fields.get(3, b"")
    der = der_integer(height) + bytes([4, len(parent)]) + parent + bytes([4, len(data_root)]) + data_root
    envelopes = [value for number, value in each_field(inner(raw, 2)) if number == 1]
    if not envelopes:
        raise Malformed("no Fabric block")
    time = dict(each_field(inner(envelopes[0], 1, 1, 1, 3)))
    time_ms = time.get(1, 0) * 1000 + time.get(2, 0) // 1000000
    return header_of(height, sha256(bytes([0x30, len(der)]) + der), parent or ZERO, data_root, time_ms, len(envelopes))


READERS = {"ledger": ledger_header, "fabric": fabric_header}


def subtree(headers, alg=1):
    return root([leaf(header.record, HASH[alg]) for header in headers], HASH[alg])


# ---- anchors ----

class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def bytes(self, size):
        if self.at + size > len(self.data):
            raise Malformed("it is cut short")
        self.at += size
        return self.data[self.at - size:self.at]

    def number(self, size):
        return int.from_bytes(self.bytes(size), "big")


def read_entry(data):
    reader = Reader(data)
    if reader.bytes(4) != b"ZRe1":
        raise Malformed("no entry record")
    name = reader.bytes(reader.number(1)).decode()
    return Entry(name, reader.bytes(32), reader.number(8), reader.number(8), reader.bytes(32), reader.number(1),
                 reader.bytes(32))


def read_anchor(content):
    """An anchor from its canonical bytes; Malformed if its root is not the tree over its entries."""
    reader = Reader(content)
    if reader.bytes(4) != b"ZRa1":
        raise Malformed("no anchor")
    alg, _, _, seq = reader.number(1), reader.number(1), reader.number(2), reader.number(8)
    previous, top = reader.bytes(32), reader.bytes(32)
    records = [reader.bytes(reader.number(2)) for _ in range(reader.number(4))]
    headers = [reader.bytes(HEADER_RECORD_SIZE) for _ in range(reader.number(4))]
    batches = [(reader.bytes(32), reader.number(8), reader.bytes(32)) for _ in range(reader.number(4))]
    if reader.at != len(content):
        raise Malformed("something follows")
    if root([leaf(record, HASH[alg]) for record in records], HASH[alg]) != top:
        raise Malformed("the root is not the tree over the entries")
    return Anchor(seq, alg, previous, top, [read_entry(record) for record in records], headers, batches,
                  HASH[alg](content))
