"""feed.py -- a producer that never gives up, and remembers what the agent has taken over.

    feed = Feed(socket_path, "e1", size=16000).start()
    ...
    feed.stop()
    feed.check(entries)     # The ledger's entries, by number.

Every entry is another one. What was not answered when a connection ended is sent again, as
docs/EDGE.md asks of producers, so an entry may be in the ledger twice; one that was answered is there
under the number that was said.
"""
import os
import threading
import time

from producer import Producer
from world import SLOW


class Feed:
    def __init__(self, path, name, size=200, window=8, pause=0.0, most=None):
        self.path = path
        self.name = name
        self.size = size
        self.window = window
        self.pause = pause
        self.most = most     # So many entries at most; None: until stopped. May be raised.
        self.acked = {}      # Number in the ledger -> entry.
        self.number = 0
        self.failure = None
        self.progress_at = time.monotonic()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._main, daemon=True)

    def start(self):
        self.thread.start()
        return self

    def stop(self):
        self.stopping.set()
        self.thread.join(60 * SLOW)
        assert not self.thread.is_alive()
        if self.failure:
            raise self.failure

    def blocked(self, seconds=1.0):
        """Nothing was taken for so long."""
        return time.monotonic() - self.progress_at > seconds

    def make(self):
        self.number += 1
        head = f"{self.name} {self.number} ".encode()
        return head + os.urandom(max(0, self.size - len(head)))

    def _main(self):
        waiting = []  # Sent or to be sent, not answered.
        try:
            while not self.stopping.is_set():
                try:
                    producer = Producer(self.path, timeout=0.3)
                except OSError:
                    time.sleep(0.05)
                    continue
                self._talk(producer, waiting)
                producer.close()
        except Exception as failure:  # pylint: disable=broad-except
            self.failure = failure

    def _send(self, producer, waiting, sent):
        """True: one more is on its way. None: there is no more."""
        if sent == len(waiting):
            if self.most is not None and self.number >= self.most:
                return None
            waiting.append(self.make())
        producer.socket.settimeout(30)  # A whole entry or none.
        try:
            producer.send(waiting[sent])
        except OSError:
            return False
        finally:
            producer.socket.settimeout(0.3)
        return True

    def _talk(self, producer, waiting):
        sent = 0
        while not self.stopping.is_set():
            while sent < self.window:
                went = self._send(producer, waiting, sent)
                if went is None:
                    break
                if not went:
                    return
                sent += 1
            producer.sent = list(waiting[:sent])
            producer.acked.clear()
            answer = self._answer(producer)
            if answer is None:
                return
            if answer == "nothing":
                continue
            code, number = answer
            assert code == 0, f"{self.name}: the agent refused an entry"
            self.acked[number] = waiting.pop(0)
            sent -= 1
            self.progress_at = time.monotonic()
            time.sleep(self.pause)

    @staticmethod
    def _answer(producer):
        """(code, number), "nothing" for now, or None where the connection ended."""
        while len(producer.received) < 13:
            try:
                piece = producer.socket.recv(4096)
            except TimeoutError:
                return "nothing"
            except OSError:
                return None
            if not piece:
                return None
            producer.received += piece
        return producer.answer()

    def check(self, entries):
        """Whatever was answered is in the ledger, under its number."""
        for number, entry in self.acked.items():
            assert number < len(entries), f"{self.name}: entry {number} was answered and is lost"
            assert entries[number] == entry, f"{self.name}: entry {number} is another one"
