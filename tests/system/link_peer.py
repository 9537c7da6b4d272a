"""link_peer.py -- the other end of the link, as a test wants it: honest, wrong or hostile.

A second implementation of docs/PROTOCOL.md in nothing but the standard library. Messages are
dictionaries with the names of proto/link.proto, which is read as it stands; a key that is a number is
a field of that number, so that a frame can carry what no version knows:

    with LinkPeer(world.gateway_port, certificate, key, ca) as link:
        welcome = link.hello([{"name": "tq-1", "epoch": epoch}])
        link.send({"ping": {"number": 7}, 77: b"from the future"})
        assert link.expect("pong")["number"] == 7
        link.send_bytes(b"\\0\\0")          # Any bytes inside TLS, torn as one likes.

A batch is made by pack_blocks() and offered by LinkPeer.offer(); zstd_frame() writes zstd frames by
hand, with whatever is wrong about them. TLS runs over memory buffers, so a handshake can be held up at any
point (LinkPeer(..., handshake=False), then step_handshake()).
"""
import hashlib
import os
import pathlib
import re
import select
import socket
import ssl
import struct
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CODEC_NONE, CODEC_ZSTD = 1, 2


# ---- messages, from the .proto file ----

def varint(value):
    out = b""
    value &= (1 << 64) - 1
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def read_varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at


def each_field(data):
    """(number, value) of each field; of length-delimited ones the bytes."""
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        if tag & 7 == 0:
            value, at = read_varint(data, at)
        else:
            assert tag & 7 == 2, "only varints and bytes are used here"
            size, at = read_varint(data, at)
            value, at = data[at:at + size], at + size
        yield tag >> 3, value


class Schema:
    """The messages and enums of one .proto file: encodes and decodes dictionaries."""

    def __init__(self, path):
        text = re.sub(r"//[^\n]*", "", pathlib.Path(path).read_text(encoding="utf-8"))
        self.messages = {}  # Name -> field name -> (number, type, repeated)
        self.enums = {}     # Name -> value name -> number
        for kind, name, body in re.findall(r"^(message|enum)\s+(\w+)\s*\{(.*?)^\}", text, re.M | re.S):
            if kind == "enum":
                self.enums[name] = {value: int(number) for value, number in re.findall(r"(\w+)\s*=\s*(\d+)", body)}
            else:
                fields = re.findall(r"(repeated\s+)?(\w+)\s+(\w+)\s*=\s*(\d+)\s*;", body)
                self.messages[name] = {field: (int(number), of, bool(many)) for many, of, field, number in fields}

    def encode_one(self, of, value):
        if of in self.enums and isinstance(value, str):
            value = self.enums[of][value]
        if isinstance(value, int):
            return 0, varint(int(value))
        if of in self.messages and isinstance(value, dict):
            value = self.encode(of, value)
        return 2, value.encode() if isinstance(value, str) else bytes(value)

    def encode(self, name, fields):
        """Fields at their default are left out, as proto3 does, but for messages and lists."""
        out = b""
        for key, value in fields.items():
            number, of, _ = (key, "bytes", False) if isinstance(key, int) else self.messages[name][key]
            for one in value if isinstance(value, list) else [] if value in (0, b"", "", None, False) else [value]:
                wire, data = self.encode_one(of, one)
                out += varint(number << 3 | wire) + (varint(len(data)) if wire == 2 else b"") + data
        return out

    def decode_one(self, of, value):
        if of in self.messages:
            return self.decode(of, value)
        if of in self.enums:
            return next((name for name, number in self.enums[of].items() if number == value), value)
        return bytes(value).decode(errors="replace") if of == "string" else bytes(value) if of == "bytes" else value

    def decode(self, name, data):
        by_number = {number: (field, of, many) for field, (number, of, many) in self.messages[name].items()}
        out = {field: [] for field, (_, _, many) in self.messages[name].items() if many}
        for number, value in each_field(data):
            if number not in by_number:
                out.setdefault(number, value)
                continue
            field, of, many = by_number[number]
            if many:
                out[field].append(self.decode_one(of, value))
            else:
                out[field] = self.decode_one(of, value)
        return out


LINK = Schema(ROOT / "proto/link.proto")


def frame(message):
    """One frame as it travels: length and body."""
    body = message if isinstance(message, bytes) else LINK.encode("Frame", message)
    return struct.pack(">I", len(body)) + body


# ---- batches ----

def raw_batch(blocks):
    return b"".join(struct.pack(">I", len(block)) + block for block in blocks)


def xxh64(data):
    """XXH64 with seed 0, whose low half ends a zstd frame (RFC 8878 section 3.1.1)."""
    mask = (1 << 64) - 1
    p1, p2, p3, p4, p5 = (11400714785074694791, 14029467366897019727, 1609587929392839161, 9650029242287828579,
                          2870177450012600261)

    def turn(value, count):
        return (value << count | value >> (64 - count)) & mask

    def step(total, word):
        return turn((total + word * p2) & mask, 31) * p1 & mask

    at = 0
    if len(data) >= 32:
        lanes = [(p1 + p2) & mask, p2, 0, -p1 & mask]
        while at + 32 <= len(data):
            lanes = [step(lane, word) for lane, word in zip(lanes, struct.unpack_from("<4Q", data, at))]
            at += 32
        result = sum(turn(lane, count) for lane, count in zip(lanes, (1, 7, 12, 18))) & mask
        for lane in lanes:
            result = ((result ^ step(0, lane)) * p1 + p4) & mask
    else:
        result = p5
    result = (result + len(data)) & mask
    while at + 8 <= len(data):
        result = (turn(result ^ step(0, struct.unpack_from("<Q", data, at)[0]), 27) * p1 + p4) & mask
        at += 8
    if at + 4 <= len(data):
        result = (turn(result ^ struct.unpack_from("<I", data, at)[0] * p1 & mask, 23) * p2 + p3) & mask
        at += 4
    for byte in data[at:]:
        result = turn(result ^ byte * p5 & mask, 11) * p1 & mask
    result = (result ^ result >> 33) * p2 & mask
    result = (result ^ result >> 29) * p3 & mask
    return result ^ result >> 32


def zstd_frame(raw, size=None, repeat=1, checksum=True, dictionary_id=None, wrong_checksum=False, content_size=True):
    """A zstd frame of stored blocks; with repeat, each byte of raw is a run of that many bytes instead.

    size is what the frame says it inflates to.
    """
    size = len(raw) * repeat if size is None else size
    descriptor = (0xC0 | 0x20 if content_size else 0) | (4 if checksum else 0) | (0 if dictionary_id is None else 3)
    out = struct.pack("<IB", 0xFD2FB528, descriptor)
    out += b"" if content_size else b"\x58"  # Without a size a window is said instead: 2 MiB.
    out += b"" if dictionary_id is None else struct.pack("<I", dictionary_id)
    out += struct.pack("<Q", size) if content_size else b""
    piece_max = 1 << 17
    if repeat > 1:
        pieces = [(1, min(piece_max, repeat - at), raw[index:index + 1]) for index in range(len(raw))
                  for at in range(0, repeat, piece_max)]
    else:
        pieces = [(0, len(raw[at:at + piece_max]), raw[at:at + piece_max]) for at in range(0, len(raw), piece_max)]
    for index, (kind, count, data) in enumerate(pieces):
        out += struct.pack("<I", count << 3 | kind << 1 | (index == len(pieces) - 1))[:3] + data
    if checksum:
        low = (xxh64(raw) if repeat == 1 else 0) & 0xFFFFFFFF
        out += struct.pack("<I", low ^ (1 if wrong_checksum else 0))
    return out


class Batch:
    """What travels: a header and the payload it speaks of. Any header field may be overridden."""

    def __init__(self, payload, **header):
        self.payload = payload
        self.content = hashlib.sha256(payload).digest()
        self.header = {"first_height": 0, "block_count": 1, "size": len(payload), "raw_size": len(payload),
                       "codec": CODEC_NONE, "tip_hash": bytes(32), **header}

    def chunks(self, chain=0, piece=65536, start=0, content=None):
        for at in range(start, max(len(self.payload), 1), piece):
            chunk = {"chain": chain, "batch": content or self.content, "offset": at, "data": self.payload[at:at + piece]}
            yield {**chunk, "header": self.header} if at == 0 else chunk


def pack_blocks(blocks, **header):
    """A batch of blocks (of ledger_maker.py or alike: raw, height, hash), stored or as zstd frame (codec=2)."""
    raw = raw_batch([block.raw for block in blocks])
    payload = zstd_frame(raw) if header.get("codec") == CODEC_ZSTD else raw
    return Batch(payload, **{"first_height": blocks[0].height, "block_count": len(blocks), "raw_size": len(raw),
                             "tip_hash": blocks[-1].hash, **header})


# ---- the connection ----

class Ended(Exception):
    """The gateway ended the connection; what it said last is in the client's frames."""


class LinkPeer:
    def __init__(self, port, certificate=None, key=None, ca=None, handshake=True, version=None, receive_buffer=None,
                 timeout=10, on_ack=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED if ca else ssl.CERT_NONE
        if ca:
            context.load_verify_locations(ca)
        if version is not None:
            context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
            context.maximum_version = version
        if certificate:
            context.load_cert_chain(certificate, key)
        self.timeout = timeout * float(os.environ.get("ZR_SLOW", "1"))
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(self.timeout)
        self.socket.connect(("127.0.0.1", port))
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing)
        self.received = b""
        self.frames = []    # Every frame that came, oldest first.
        self.unread = 0     # The first of them that nobody has asked for.
        self.limits = {}
        self.carried = []   # Names of the chains of our hello.
        self.on_ack = on_ack  # Called with chain and height of what is acknowledged, as soon as it came.
        self.granted = {"bytes": 0, "batches": 0}
        if handshake:
            while not self.step_handshake():
                pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Ends without a goodbye, as a router that forgets us would."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # -- TLS --

    def flush(self):
        data = self.outgoing.read()
        if data:
            try:
                self.socket.sendall(data)
            except (BrokenPipeError, ConnectionResetError) as ended:
                raise Ended(str(ended)) from ended

    def pull(self, timeout):
        """Takes what TCP has; false if nothing came in time."""
        poll = select.poll()  # select() ends at descriptor 1023.
        poll.register(self.socket, select.POLLIN)
        if not poll.poll(timeout * 1000):
            return False
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionResetError as ended:
            raise Ended("reset") from ended
        if not data:
            self.incoming.write_eof()
            raise Ended("closed")
        self.incoming.write(data)
        return True

    def step_handshake(self):
        """One flight: sends what is due, and takes what comes, until it is our turn again."""
        try:
            self.tls.do_handshake()
            self.flush()
            return True
        except ssl.SSLWantReadError:
            self.flush()
            if not self.pull(self.timeout):
                raise TimeoutError("no answer to the handshake") from None
            return False

    # -- frames --

    def send_bytes(self, data):
        while data:
            data = data[self.tls.write(data[:1 << 20]):]
            self.flush()

    def send(self, message):
        if isinstance(message, dict) and "hello" in message:
            self.carried = [chain["name"] for chain in message["hello"].get("chains", [])]
        self.send_bytes(frame(message))

    def take_frames(self):
        """Cuts what has come into frames; raises Ended behind the last of them."""
        ended = None
        while ended is None:
            try:
                data = self.tls.read(1 << 16)
                self.received += data
                ended = None if data else Ended("closed")
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError as failure:
                ended = Ended(str(failure))
        while len(self.received) >= 4:
            size = struct.unpack(">I", self.received[:4])[0]
            if len(self.received) < 4 + size:
                break
            message = LINK.decode("Frame", self.received[4:4 + size])
            self.received = self.received[4 + size:]
            self.note(message)
            self.frames.append(message)
        if ended:
            raise ended

    def note(self, message):
        body = next(iter(message.values()), {})
        if isinstance(body, dict) and "credit" in body:
            self.granted.update(body["credit"])
        if "welcome" in message:
            self.limits = body.get("limits", {})
        if "ack" in message and self.on_ack and body.get("durable_next"):
            self.on_ack(self.carried[body.get("chain", 0)], body["durable_next"] - 1)

    def receive(self, timeout=None):
        """The next frame; None if none comes in time. Raises Ended where the gateway has left."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while self.unread == len(self.frames):
            ended = None
            try:
                self.take_frames()
                if self.unread < len(self.frames):
                    break
                if not self.pull(max(0, deadline - time.monotonic())):
                    return None
            except Ended as end:
                ended = end
            if ended and self.unread == len(self.frames):
                raise ended
        self.unread += 1
        return self.frames[self.unread - 1]

    def expect(self, body, timeout=None):
        """The next frame of that kind; others are passed over."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            message = self.receive(max(0, deadline - time.monotonic()))
            assert message is not None, f"no {body} came; all that did: {[next(iter(one), None) for one in self.frames]}"
            if body in message:
                return message[body]

    def expect_end(self, timeout=None):
        """Waits until the gateway leaves; gives its Goodbye, or {} where it said nothing."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        try:
            while self.receive(max(0, deadline - time.monotonic())) is not None:
                pass
        except Ended:
            return next((message["goodbye"] for message in reversed(self.frames) if "goodbye" in message), {})
        raise AssertionError("the gateway did not end the connection")

    # -- the conversation --

    def hello(self, chains, **fields):
        """Says hello for chains (dictionaries of ChainHello); gives the Welcome."""
        self.send({"hello": {"version_min": 1, "version_max": 1, "software": "test", "chains": list(chains), **fields}})
        return self.expect("welcome")

    def answer(self, timeout=None):
        """The next ("ack", message) or ("reject", message)."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            message = self.receive(max(0, deadline - time.monotonic()))
            assert message is not None, "no answer to a batch"
            assert "goodbye" not in message, message
            for body in ("ack", "reject"):
                if body in message:
                    return body, message[body]

    def offer(self, batch, chain=0, piece=65536, content=None):
        """Sends one batch whole, and gives the answer."""
        for chunk in batch.chunks(chain, piece, content=content):
            self.send({"chunk": chunk})
        return self.answer()

    def store(self, blocks, chain=0, **header):
        """Sends good blocks, and waits until they are durable."""
        body, answer = self.offer(pack_blocks(blocks, **header), chain)
        assert body == "ack" and answer["durable_next"] == blocks[-1].height + 1, (body, answer)
        return answer
