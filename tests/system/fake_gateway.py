"""fake_gateway.py -- the other end of an agent's link, in a test's hands: it can lie.

Speaks the link protocol (docs/PROTOCOL.md) from proto/link.proto itself, and signs receipts, all
without any of our C code. A test accepts a link, reads frames and answers what it likes:

    link = gateway.accept()
    hello = link.expect("hello")
    link.welcome(hello, next_height=[0])
    batch = link.batch()
    link.ack(batch)
"""
import hashlib
import pathlib
import re
import socket
import ssl
import struct
import subprocess
import tempfile
import time

from world import ROOT, SLOW, free_port

UUID = bytes(range(16))
LIMITS = {"frame_max_bytes": 1 << 20, "chunk_max_bytes": 65536, "batch_max_bytes": 1 << 24, "batch_max_blocks": 1000,
          "block_max_bytes": 1 << 23, "heartbeat_ms": 60000}
VARINTS = {"uint32", "uint64", "int64", "bool"}


# ---- protobuf, as much of it as link.proto needs ----

def read_schema(path):
    """{message: {number: (name, type, repeated)}}, {enum: {name: value}}"""
    text = re.sub(r"//[^\n]*", "", pathlib.Path(path).read_text(encoding="utf-8"))
    enums = {name: {key: int(value) for key, value in re.findall(r"(\w+)\s*=\s*(\d+)", body)}
             for name, body in re.findall(r"enum (\w+) \{([^}]*)\}", text)}
    messages = {}
    for name, body in re.findall(r"message (\w+) \{((?:[^{}]|\{[^{}]*\})*)\}", text):
        fields = re.findall(r"(repeated )?(\w+) (\w+) = (\d+);", body)
        messages[name] = {int(number): (field, kind, bool(many)) for many, kind, field, number in fields}
    return messages, enums


MESSAGES, ENUMS = read_schema(ROOT / "proto/link.proto")
CONSTANTS = {key: value for values in ENUMS.values() for key, value in values.items()}


def varint(value):
    value &= (1 << 64) - 1
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def encode(message, fields):
    out = b""
    for number, (name, kind, many) in MESSAGES[message].items():
        if name not in fields or fields[name] is None:
            continue
        for value in fields[name] if many else [fields[name]]:
            if kind in VARINTS or kind in ENUMS:
                value = CONSTANTS.get(value, value)
                if value or many:
                    out += varint(number << 3) + varint(int(value))
                continue
            if kind in MESSAGES:
                value = encode(kind, value)
            elif isinstance(value, str):
                value = value.encode()
            if value or many or kind in MESSAGES:
                out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def decode(message, data):
    def take():
        nonlocal at
        value = shift = 0
        while True:
            value |= (data[at] & 0x7F) << shift
            shift += 7
            at += 1
            if data[at - 1] < 0x80:
                return value
    fields = {}
    for name, kind, many in MESSAGES[message].values():
        if many:
            fields[name] = []
        elif kind in VARINTS or kind in ENUMS:
            fields[name] = 0
        else:
            fields[name] = None if kind in MESSAGES else "" if kind == "string" else b""
    at = 0
    while at < len(data):
        tag = take()
        name, kind, many = MESSAGES[message][tag >> 3]
        value = take()
        if tag & 7 == 2:
            raw = data[at:at + value]
            at += value
            value = decode(kind, raw) if kind in MESSAGES else raw.decode() if kind == "string" else raw
        if many:
            fields[name].append(value)
        else:
            fields[name] = value
    return fields


# ---- records and trees ----

def sha256(data):
    return hashlib.sha256(data).digest()


def tree(leaves):
    """Root over leaf hashes, and the path of each."""
    if len(leaves) == 1:
        return leaves[0], [[]]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    left, left_paths = tree(leaves[:split])
    right, right_paths = tree(leaves[split:])
    return (sha256(b"\1" + left + right),
            [path + [right] for path in left_paths] + [path + [left] for path in right_paths])


def name_record(magic, name, epoch, begin, end, tip):
    return magic + bytes([len(name)]) + name.encode() + epoch + struct.pack(">QQ", begin, end) + tip


class Gateway:
    def __init__(self, keys, port=None):
        self.keys = pathlib.Path(keys)
        self.port = port or free_port()
        self.uuid = UUID
        self.commit = 0
        self.blocks = {}  # Folder with the fabric blocks of a chain, by its name.
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.load_cert_chain(self.keys / "gateway.pem", self.keys / "gateway.key")
        self.context.load_verify_locations(self.keys / "ca.pem")
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.receipt_key = self.keys / "receipts.key"
        self.receipt_certificate = ssl.PEM_cert_to_DER_cert(
            re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n",
                      (self.keys / "receipts.pem").read_text(), re.S).group(0))

    def close(self):
        self.listener.close()

    def accept(self, timeout=15):
        self.listener.settimeout(timeout * SLOW)
        while True:
            raw, _ = self.listener.accept()
            raw.settimeout(timeout * SLOW)
            try:
                return Link(self, self.context.wrap_socket(raw, server_side=True))
            except (ssl.SSLError, OSError):
                raw.close()

    def sign(self, record):
        with tempfile.NamedTemporaryFile() as file:
            file.write(record)
            file.flush()
            return subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.receipt_key, file.name],
                                  capture_output=True, check=True).stdout

    def key_id(self):
        spki = subprocess.run(["openssl", "pkey", "-in", self.receipt_key, "-pubout", "-outform", "DER"],
                              capture_output=True, check=True).stdout
        return sha256(spki)[:8]


class Batch:
    def __init__(self, chain, header, data):
        self.chain = chain
        self.header = header
        self.data = data
        self.first = header["first_height"]
        self.last = self.first + header["block_count"] - 1
        self.content = sha256(data)


class Link:
    def __init__(self, gateway, stream):
        self.gateway = gateway
        self.stream = stream
        self.names = []
        self.hello = {"chains": []}
        self.partial = {}  # Batch hash -> [header, bytes]
        self.chunks = []   # Every chunk that came: (chain, offset, size).
        self.credit_bytes = 0
        self.credit_batches = 0

    def close(self):
        self.stream.close()

    def cut(self):
        """As a link that goes away without a word."""
        socket.close(self.stream.detach())

    # ---- frames ----

    def send(self, kind, **fields):
        body = encode("Frame", {kind: fields})
        self.stream.sendall(struct.pack(">I", len(body)) + body)

    def _exactly(self, size):
        data = b""
        while len(data) < size:
            piece = self.stream.recv(size - len(data))
            if not piece:
                raise EOFError("the agent closed the link")
            data += piece
        return data

    def read(self, timeout=15):
        self.stream.settimeout(timeout * SLOW)
        size = struct.unpack(">I", self._exactly(4))[0]
        frame = decode("Frame", self._exactly(size))
        return next((kind, fields) for kind, fields in frame.items() if isinstance(fields, dict))

    def expect(self, kind, timeout=15):
        got, fields = self.read(timeout)
        assert got == kind, (got, fields)
        if kind == "hello":
            self.hello = fields
            self.names = [(chain["name"], chain["epoch"]) for chain in fields["chains"]]
        return fields

    def quiet(self, seconds):
        """True if the agent says nothing for so long."""
        try:
            self.read(seconds)
            return False
        except (socket.timeout, ssl.SSLWantReadError):
            return True

    # ---- what a gateway says ----

    def chain_welcome(self, next_height=0, state="CHAIN_STATE_ACTIVE", chain=0, **more):
        """What the gateway has of a chain. It names its tip as the agent would, where that is known."""
        if next_height > 0:
            more.setdefault("tip_hash", self._tip(chain, next_height - 1))
        return {"state": state, "next_height": next_height, **more}

    def _tip(self, chain, height):
        hello = self.hello["chains"][chain] if chain < len(self.hello["chains"]) else {"name": "", "epoch": b"e" * 32}
        if height == 0:
            return hello["epoch"]
        if hello.get("has_blocks") and hello["tip_height"] == height:
            return hello["tip_hash"]
        folder = self.gateway.blocks.get(hello["name"])
        if folder and (folder / f"{height}.block").exists():
            return fabric_hash((folder / f"{height}.block").read_bytes())
        return b"?" * 32

    def welcome(self, hello, next_height=(), chains=None, credit=(1 << 24, 1000), **more):
        heights = list(next_height) + [0] * (len(hello["chains"]) - len(next_height))
        self.credit_bytes, self.credit_batches = credit
        fields = {
            "version": 1, "software": "fake", "store_uuid": self.gateway.uuid, "time_ms": int(time.time() * 1000),
            "chains": chains or [self.chain_welcome(height, chain=place) for place, height in enumerate(heights)],
            "limits": LIMITS,
            "credit": {"bytes": credit[0], "batches": credit[1]},
            "receipt_certificate": self.gateway.receipt_certificate,
        }
        self.send("welcome", **{**fields, **more})

    def batch(self, timeout=15):
        """The next whole batch; chunks of a batch that was begun on an earlier link are joined."""
        while True:
            chunk = self.expect("chunk", timeout)
            entry = self.partial.setdefault(chunk["batch"], [None, b""])
            self.chunks.append((chunk["chain"], chunk["offset"], len(chunk["data"])))
            if chunk["header"]:
                entry[0] = chunk["header"]
            assert chunk["offset"] == len(entry[1]), "not where the last one ended"
            entry[1] += chunk["data"]
            if entry[0] and len(entry[1]) == entry[0]["size"]:
                del self.partial[chunk["batch"]]
                assert sha256(entry[1]) == chunk["batch"]
                return Batch(chunk["chain"], entry[0], entry[1])

    def custody(self, batch, tip=None):
        self.gateway.commit += 1
        name, epoch = self.names[batch.chain]
        record = name_record(b"ZRc1", name, epoch, batch.first, batch.last, tip or batch.header["tip_hash"])
        leaves = [sha256(b"\0other"), sha256(b"\0" + record + batch.content), sha256(b"\0one more")]
        root, paths = tree(leaves)
        now_ms = int(time.time() * 1000)
        signed = b"ZRC1" + self.gateway.uuid + struct.pack(">QqQ", self.gateway.commit, now_ms, 3) + root
        return {"commit_number": self.gateway.commit, "time_ms": now_ms, "index": 1, "count": 3, "path": paths[1],
                "signature": self.gateway.sign(signed), "key_id": self.gateway.key_id()}

    def ack(self, batch, receipt=True, **more):
        self.credit_bytes += len(batch.data)
        self.credit_batches += 1
        fields = {"chain": batch.chain, "durable_next": batch.last + 1, "from": batch.first,
                  "credit": {"bytes": self.credit_bytes, "batches": self.credit_batches}}
        if receipt:
            fields["custody"] = self.custody(batch)
        self.send("ack", **{**fields, **more})

    def anchored(self, chain, headers, begin, **more):
        """A receipt for the blocks with these header records, the first of height begin."""
        name, epoch = self.names[chain]
        subtree, _ = tree([sha256(b"\0" + header) for header in headers])
        end = begin + len(headers) - 1
        tip = headers[-1][12:44]
        record = name_record(b"ZRe1", name, epoch, begin, end, tip) + b"\1" + subtree
        root, paths = tree([sha256(b"\0" + record), sha256(b"\0another chain's entry")])
        key = sha256(b"key" + root)
        now_ms = int(time.time() * 1000)
        evidence = b"evidence"
        lane, seq = 0, begin + 1
        signed = (b"ZRR1" + self.gateway.uuid + b"\1" + struct.pack(">HQ", lane, seq) + root + key +
                  struct.pack(">q", now_ms) + sha256(evidence))
        fields = {"hash_alg": 1, "lane": lane, "seq": seq, "root": root, "key": key, "time_ms": now_ms,
                  "evidence": evidence, "sink": "http", "signature": self.gateway.sign(signed),
                  "key_id": self.gateway.key_id(),
                  "entries": [{"chain": chain, "from": begin, "to": end, "tip": tip, "policy": 1, "subtree": subtree,
                               "index": 0, "count": 2, "path": paths[0]}]}
        self.send("anchored", **{**fields, **more})


def fabric_hash(block):
    """SHA-256 of the DER of (number, previous hash, data hash)."""
    def fields(data):
        at, found = 0, {}
        while at < len(data):
            tag, value, shift = data[at], 0, 0
            at += 1
            while True:
                value |= (data[at] & 0x7F) << shift
                shift += 7
                at += 1
                if data[at - 1] < 0x80:
                    break
            if tag & 7 == 2:
                found[tag >> 3] = data[at:at + value]
                at += value
            else:
                found[tag >> 3] = value
        return found
    header = fields(fields(block)[1])
    number = header.get(1, 0)
    digits = number.to_bytes(number.bit_length() // 8 + 1, "big")
    body = b"\x02" + bytes([len(digits)]) + digits
    for part in (header.get(2, b""), header[3]):
        body += b"\x04" + bytes([len(part)]) + part
    return sha256(b"\x30" + bytes([len(body)]) + body)


def ledger_header_record(block):
    """The header record of one ledger block, from its bytes (docs/LEDGER-FORMAT.md)."""
    assert block[0] == 0x0A and block[1] == 90
    header = block[2:92]
    height, time_ms = struct.unpack(">Qq", header[6:22])
    parent, root, count = header[22:54], header[54:86], header[86:90]
    return b"ZRh1" + struct.pack(">Q", height) + sha256(header) + parent + root + struct.pack(">q", time_ms) + count
