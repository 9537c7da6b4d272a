"""agent_client.py -- an agent for tests that does what it is told, the wrong things too.

Speaks docs/PROTOCOL.md over TLS with nothing but the standard library: messages are dictionaries,
encoded by the fields that proto/link.proto names. A Ledger makes blocks of docs/LEDGER-FORMAT.md.

    chain = Ledger(folder, "ed25519")
    with Link(world, "edge-1") as link:
        link.hello([chain.hello("tq-1")])
        link.send_batch(0, chain.blocks[0:5], first=0)
        ack = link.wait("ack")
"""
import hashlib
import os
import pathlib
import re
import socket
import ssl
import struct
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHUNK = 64 << 10
CODEC_NONE, CODEC_ZSTD = 1, 2


# ---- messages ------------------------------------------------------------------------------------


def read_schema(path=ROOT / "proto/link.proto"):
    """name -> {field name: (number, type, repeated)} and name -> {enum value: number}."""
    text = re.sub(r"//.*", "", path.read_text())
    messages, enums = {}, {}
    for kind, name, body in re.findall(r"(message|enum)\s+(\w+)\s*\{((?:[^{}]|\{[^{}]*\})*)\}", text):
        if kind == "enum":
            enums[name] = {value: int(number) for value, number in re.findall(r"(\w+)\s*=\s*(\d+)", body)}
            continue
        fields = re.findall(r"(repeated\s+)?(\w+)\s+(\w+)\s*=\s*(\d+)\s*;", body)
        messages[name] = {field: (int(number), type_, bool(repeated))
                          for repeated, type_, field, number in fields}
    return messages, enums


MESSAGES, ENUMS = read_schema()


def varint(value):
    out = bytearray()
    value &= (1 << 64) - 1
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode(name, message):
    out = bytearray()
    for field, value in message.items():
        number, type_, repeated = MESSAGES[name][field]
        for item in value if repeated else [value]:
            if type_ in MESSAGES:
                item = encode(type_, item)
            elif type_ == "string":
                item = item.encode()
            if isinstance(item, (bytes, bytearray)):
                out += varint(number << 3 | 2) + varint(len(item)) + item
            elif item or repeated:
                out += varint(number << 3) + varint(int(item))
    return bytes(out)


def read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def decode(name, data):
    fields = {number: (field, type_, repeated) for field, (number, type_, repeated) in MESSAGES[name].items()}
    message = {field: [] for field, _, repeated in fields.values() if repeated}
    at = 0
    while at < len(data):
        key, at = read_varint(data, at)
        if key & 7 == 2:
            size, at = read_varint(data, at)
            value, at = data[at:at + size], at + size
        else:
            value, at = read_varint(data, at)
        if key >> 3 not in fields:
            continue
        field, type_, repeated = fields[key >> 3]
        if type_ in MESSAGES:
            value = decode(type_, value)
        elif type_ == "string":
            value = value.decode()
        elif type_ in ENUMS:
            value = {number: word for word, number in ENUMS[type_].items()}.get(value, value)
        if repeated:
            message[field].append(value)
        else:
            message[field] = value
    return message


# ---- a side chain --------------------------------------------------------------------------------


def tree_root(leaves):
    """RFC 9162 section 2.1.1 over entries."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\1" + tree_root(leaves[:split]) + tree_root(leaves[split:])).digest()


def sized(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


class Key:
    """An Ed25519 key that openssl(1) made and signs with."""

    def __init__(self, folder, name):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{name}.key"
        if not self.path.exists():
            subprocess.run(["openssl", "genpkey", "-algorithm", "ED25519", "-out", str(self.path)], check=True,
                           capture_output=True)
        self.spki = subprocess.run(["openssl", "pkey", "-in", str(self.path), "-pubout", "-outform", "DER"],
                                   check=True, capture_output=True).stdout
        self.id = hashlib.sha256(self.spki).digest()

    def sign(self, message):
        scratch = self.path.with_suffix(".message")
        scratch.write_bytes(message)
        return subprocess.run(["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", str(self.path), "-in",
                               str(scratch)], check=True, capture_output=True).stdout


class Ledger:
    """Blocks of one chain, sealed by one key. fork() continues on another branch."""

    def __init__(self, folder, name="seal"):
        self.key = Key(pathlib.Path(folder), name)
        self.blocks, self.hashes = [], []
        trust = b"ZRt1" + bytes([2, 1, 1]) + struct.pack(">H", len(self.key.spki)) + self.key.spki
        self.add([trust], kind=1)

    def header(self, kind, height, parent, entries, time_ms):
        return (b"ZRb1" + bytes([2, kind]) + struct.pack(">Qq", height, time_ms) + parent + tree_root(entries) +
                struct.pack(">I", len(entries)))

    def make(self, height, parent, entries, kind=0, key=None):
        """(raw block, hash)"""
        header = self.header(kind, height, parent, entries, 1_767_571_200_000 + height * 900_000)
        key = key or self.key
        seal = sized(1, key.id) + sized(2, key.sign(header))
        raw = sized(1, header) + b"".join(sized(2, entry) for entry in entries) + sized(3, seal)
        return raw, hashlib.sha256(header).digest()

    def add(self, entries, kind=0):
        parent = self.hashes[-1] if self.hashes else bytes(32)
        raw, digest = self.make(len(self.blocks), parent, entries, kind)
        self.blocks.append(raw)
        self.hashes.append(digest)

    def grow(self, count):
        for _ in range(count):
            self.add([f"reading {len(self.blocks)}".encode()])
        return self

    def fork(self, height):
        """The same chain up to height - 1, and nothing yet from there on."""
        other = object.__new__(Ledger)
        other.key = self.key
        other.blocks, other.hashes = self.blocks[:height], self.hashes[:height]
        return other

    @property
    def epoch(self):
        return self.hashes[0]

    def hello(self, name, **more):
        return {"name": name, "epoch": self.epoch, "has_blocks": True, "oldest_height": 0,
                "tip_height": len(self.blocks) - 1, "tip_hash": self.hashes[-1], **more}


def raw_batch(blocks):
    return b"".join(struct.pack(">I", len(block)) + block for block in blocks)


def zstd_frame_of_zeros(size):
    """A valid frame of very few bytes that inflates to size zeros: blocks of run-length kind."""
    frame = b"\x28\xb5\x2f\xfd" + bytes([0b10100000]) + struct.pack("<I", size)  # Single segment, size of 4 bytes.
    while size > 0:
        run = min(size, 128 << 10)
        size -= run
        frame += struct.pack("<I", run << 3 | 1 << 1 | (size == 0))[:3] + b"\0"
    return frame


# ---- the link ------------------------------------------------------------------------------------


class Closed(Exception):
    """The gateway ended the connection."""


class Link:
    def __init__(self, world, agent, timeout=10, certificate=None, key=None, ca=None):
        self.world = world
        keys = world.folder / "pki"
        self.agent = agent
        self.certificate = keys / f"agent-{agent}.pem" if certificate is None else certificate
        self.key = key or keys / f"agent-{agent}.key"
        self.ca = ca or keys / "ca.pem"
        self.timeout = timeout * float(os.environ.get("ZR_SLOW", "1"))
        self.received = []
        self.buffer = b""
        self.socket = None
        self.welcome = None

    def connect(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.load_verify_locations(self.ca)
        if self.certificate is not False:
            context.load_cert_chain(self.certificate, self.key)
        plain = socket.create_connection(("127.0.0.1", self.world.gateway_port), self.timeout)
        self.socket = context.wrap_socket(plain)
        return self

    def __enter__(self):
        return self.connect()

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.socket:
            self.socket.close()
            self.socket = None

    # ---- out ----

    def send_raw(self, data):
        self.socket.sendall(data)

    def send_body(self, body):
        self.send_raw(struct.pack(">I", len(body)) + body)

    def send(self, kind, message, **frame):
        self.send_body(encode("Frame", {kind: message, **frame}))

    def hello(self, chains, **more):
        self.send("hello", {"version_min": 1, "version_max": 1, "software": "test", "chains": chains, **more})
        self.welcome = self.wait("welcome")
        return self.welcome

    def batch_header(self, payload, first, count, tip, raw_size=None, codec=CODEC_NONE, **more):
        return {"first_height": first, "block_count": count, "size": len(payload),
                "raw_size": len(payload) if raw_size is None else raw_size, "codec": codec, "tip_hash": tip, **more}

    def send_payload(self, chain, payload, header, begin=0, end=None, name=None):
        """The pieces of payload from begin to end."""
        name = name or hashlib.sha256(payload).digest()
        end = len(payload) if end is None else end
        at = begin
        while at < end or at == begin == 0:
            piece = payload[at:min(at + CHUNK, end)]
            message = {"chain": chain, "batch": name, "offset": at, "data": piece}
            if at == 0:
                message["header"] = header
            self.send("chunk", message)
            at += max(len(piece), 1)
        return name

    def send_blocks(self, place, chain, first, last, **header):
        """Blocks first..last of a Ledger as one batch. Returns the batch's name."""
        payload = raw_batch(chain.blocks[first:last + 1])
        return self.send_payload(place, payload, self.batch_header(payload, first, last - first + 1,
                                                                   chain.hashes[last], **header))

    # ---- in ----

    def next(self, timeout=None):
        """(kind, message) of the next frame."""
        self.socket.settimeout(timeout or self.timeout)
        while True:
            if len(self.buffer) >= 4:
                size = struct.unpack(">I", self.buffer[:4])[0]
                if len(self.buffer) >= 4 + size:
                    body, self.buffer = self.buffer[4:4 + size], self.buffer[4 + size:]
                    frame = decode("Frame", body)
                    kind = next((word for word in frame if word != "must_understand"), None)
                    return kind, frame.get(kind)
            try:
                data = self.socket.recv(65536)
            except (ConnectionError, ssl.SSLError) as error:
                raise Closed(str(error)) from error
            if not data:
                raise Closed("end")
            self.buffer += data

    def wait(self, *kinds, timeout=None):
        """The next message of one of these kinds; the others are kept in received."""
        deadline = time.monotonic() + (timeout or self.timeout)
        while True:
            for at, (kind, message) in enumerate(self.received):
                if kind in kinds:
                    del self.received[at]
                    return dict(message, kind=kind) if len(kinds) > 1 else message
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no {' or '.join(kinds)} came; but {self.received}")
            self.received.append(self.next(left))

    def wait_durable(self, height, timeout=None):
        """Waits for acks until everything below height is durable; returns the last one."""
        while True:
            ack = self.wait("ack", timeout=timeout)
            if ack.get("durable_next", 0) >= height:
                return ack

    def wait_closed(self, timeout=None):
        """Reads until the gateway ends the connection; returns its goodbye, if it said one."""
        goodbye = None
        deadline = time.monotonic() + (timeout or self.timeout)
        try:
            while time.monotonic() < deadline:
                kind, message = self.next(max(deadline - time.monotonic(), 0.01))
                if kind == "goodbye":
                    goodbye = message
        except Closed:
            return goodbye
        raise TimeoutError("the gateway did not end the connection")
