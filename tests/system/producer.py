"""producer.py -- the other side of the agent's entry socket (relay/edge/intake_socket.c)."""
import socket
import struct


class Producer:
    """Sends entries and reads which of them the agent says are on its disk."""

    def __init__(self, path, timeout=10):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))
        self.received = b""
        self.sent = []   # Entries in order.
        self.acked = {}  # Entry -> its number in the ledger.

    def send(self, entry):
        self.socket.sendall(struct.pack(">I", len(entry)) + entry)
        self.sent.append(entry)

    def answer(self):
        """(code, number) of the next answer; None where the connection ended."""
        while len(self.received) < 13:
            try:
                piece = self.socket.recv(4096)
            except OSError:
                return None
            if not piece:
                return None
            self.received += piece
        size, code, number = struct.unpack(">IBQ", self.received[:13])
        assert size == 9
        self.received = self.received[13:]
        if code == 0:
            self.acked[self.sent[len(self.acked)]] = number
        return code, number

    def close(self):
        self.socket.close()


def block_entries(data):
    """The entries of one ledger block: field 2 of proto/ledger.proto's Block."""
    def varint(at):
        value = shift = 0
        while True:
            value |= (data[at] & 0x7F) << shift
            shift += 7
            at += 1
            if data[at - 1] < 0x80:
                return value, at
    entries = []
    at = 0
    while at < len(data):
        tag, at = varint(at)
        size, at = varint(at)
        if tag == 0x12:
            entries.append(data[at:at + size])
        at += size
    return entries
