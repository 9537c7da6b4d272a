"""proxy.py -- TCP routes to a gateway, and everything that a cellular network does to them.

    proxy = Proxy(world.gateway_port)        # Agents dial proxy.port; without more it only carries.
    proxy.conditions = Conditions(delay_s=0.3, jitter_s=0.1, rate=20_000, pieces=(1, 9))
    proxy.fate = Fate("rst", up=4711)        # Of every link from now on: reset behind that many bytes.
    proxy.cut("half"); proxy.rebind(); proxy.clog(); proxy.unclog()
    swizzle(proxies, random.Random(seed))    # A random subset stops one by one and restarts in random order.

All routes of a process share one thread with one event loop, so that a hundred links cost little. Bytes of
a link keep their order, none is made up, and what is not carried may only be missing at a link's end: that is
TCP's promise, and all faults stay within it.

How a link ends:
    fin    both ends are told, in order
    rst    both ends are reset at once (SO_LINGER 0)
    half   the gateway's end is reset, the agent is told nothing and may send for ever
    drop   nobody is told: both ends stay open, and what they send goes nowhere
"""
import asyncio
import collections
import dataclasses
import random
import socket
import struct
import threading
import time

PIECE_MAX = 4096
PIECES_WAITING_MAX = 64  # Of one direction: what a network with large buffers holds.

# up: towards the gateway. The link ends when one of the two has been carried, to the byte.
Fate = collections.namedtuple("Fate", "how up down", defaults=("rst", None, None))


@dataclasses.dataclass(frozen=True)
class Conditions:
    """What both directions of a link suffer. Times of one way, bytes a second."""

    delay_s: float = 0
    jitter_s: float = 0     # Up to that much more, drawn for each piece; order is kept.
    rate: int = 0           # 0: without a limit.
    pieces: tuple = None    # (least, most) bytes that arrive together.
    gather_s: float = 0     # So long bytes are collected before they go on, as one.
    hole: int = 0           # A link that is given more than that at once dies in silence, as where the MTU is wrong.

    @classmethod
    def apn(cls, chance):
        """A cellular route, somewhere between poor and good."""
        rtt_s = chance.uniform(0.15, 2)
        return cls(delay_s=rtt_s / 2, jitter_s=rtt_s / 4 * chance.random(),
                   rate=int(8_000 * (250_000 / 8_000) ** chance.random()),  # 64 kbit/s to 2 Mbit/s
                   pieces=chance.choice([None, (1, 40), (500, 1400)]), gather_s=chance.choice([0, 0.05]))


class Network:
    """The one thread and loop."""

    _shared = None

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    @classmethod
    def shared(cls):
        cls._shared = cls._shared or cls()
        return cls._shared

    def do(self, coroutine):
        """Runs it in the loop and waits for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)


class Pipe:
    """One direction of a link: a reader that stamps when a piece is due, and a writer that keeps to it."""

    def __init__(self, link, source, target, limit):
        self.link, self.source, self.target, self.limit = link, source, target, limit
        self.carried = 0
        self.over = False
        self.waiting = asyncio.Queue(PIECES_WAITING_MAX)
        self.due_s = self.free_s = 0
        self.reader, self.writer = asyncio.ensure_future(self.run(self.read)), asyncio.ensure_future(self.run(self.write))

    async def run(self, work):
        try:
            await work()
        except OSError:
            self.link.broken()

    async def read(self):
        loop, chance = asyncio.get_running_loop(), self.link.proxy.chance
        data = True
        while data:
            conditions = self.link.proxy.conditions
            data = await loop.sock_recv(self.source, PIECE_MAX)
            if data and conditions.gather_s:
                await asyncio.sleep(conditions.gather_s)
                data += self.what_is_there()
            if conditions.hole and len(data) > conditions.hole:
                self.link.end("drop")
            late_s = conditions.delay_s + conditions.jitter_s * chance.random()
            self.due_s = max(self.due_s, time.monotonic() + late_s)
            await self.waiting.put((self.due_s, data))

    def what_is_there(self):
        try:
            return self.source.recv(4 * PIECE_MAX)
        except BlockingIOError:
            return b""

    async def write(self):
        while True:
            due_s, data = await self.waiting.get()
            await asyncio.sleep(max(0, due_s - time.monotonic()))
            await self.link.proxy.flowing.wait()
            if not data:
                return self.link.ended(self)
            for piece in self.cut(data):
                await self.carry(piece)

    def cut(self, data):
        pieces = self.link.proxy.conditions.pieces
        while data:
            size = self.link.proxy.chance.randint(*pieces) if pieces else len(data)
            yield data[:size]
            data = data[size:]

    async def carry(self, piece):
        room = len(piece) if self.limit is None else max(self.limit - self.carried, 0)
        if not self.link.dark and room > 0:
            await asyncio.get_running_loop().sock_sendall(self.target, piece[:room])
            self.carried += len(piece[:room])
        if not self.link.dark and self.carried == self.limit:
            self.link.end(self.link.fate.how)
        self.link.proxy.dropped += len(piece[room:]) if not self.link.dark else len(piece)
        rate = self.link.proxy.conditions.rate
        if rate:
            self.free_s = max(self.free_s, time.monotonic()) + len(piece) / rate
            await asyncio.sleep(self.free_s - time.monotonic())
        elif self.link.proxy.conditions.pieces:
            await asyncio.sleep(0)  # Others, and the receiver, get their turn.


class Link:
    """One accepted connection and the one made for it. Everything happens in the loop."""

    def __init__(self, proxy, client, server, fate):
        self.proxy, self.client, self.server, self.fate = proxy, client, server, fate
        self.dark = False  # Carries nothing any more and tells nobody.
        self.how = None    # It is ending in this way.
        self.up = Pipe(self, client, server, fate and fate.up)
        self.down = Pipe(self, server, client, fate and fate.down)

    def broken(self):
        """One end was reset: the other is, too, unless nobody tells anybody any more."""
        if not self.dark:
            self.end("rst")

    def ended(self, pipe):
        """One end has closed in order, and all that it sent is carried."""
        if self.dark:
            return
        pipe.target.shutdown(socket.SHUT_WR)
        pipe.over = True
        if self.up.over and self.down.over:
            self.end("fin")

    def end(self, how):
        if self.how in ("fin", "rst"):
            return
        self.how = how
        if how in ("drop", "half"):
            self.dark = True
        if how != "drop":
            asyncio.ensure_future(self.reset_server() if how == "half" else self.close())

    async def stop(self, *tasks):
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # The loop forgets the descriptors before they are closed.

    async def reset_server(self):
        """The gateway's end goes; the agent's stays, and what it sends is thrown away."""
        await self.stop(self.down.reader)
        reset(self.server)

    async def close(self):
        await self.stop(self.up.reader, self.up.writer, self.down.reader, self.down.writer)
        for end in (self.client, self.server):
            if self.how == "rst" and end.fileno() >= 0:
                reset(end)
            end.close()
        self.proxy.forget(self)


def reset(end):
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


class Proxy:
    def __init__(self, target_port, chance=None):
        self.target_port = target_port
        self.conditions = Conditions()
        self.fate = None       # A Fate for every new link, or a function of the link's number that gives one.
        self.links = 0         # Accepted since the start.
        self.dropped = 0       # Bytes that went nowhere.
        self.chance = chance or random.Random(0)
        self._done_up = self._done_down = 0
        self._open = set()
        self._network = Network.shared()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._network.do(self._begin())

    async def _begin(self):
        self.flowing = asyncio.Event()
        self.flowing.set()
        self._accepting = asyncio.ensure_future(self._accept())

    async def _accept(self):
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(self._listener)
            asyncio.ensure_future(self._connect(client))

    async def _connect(self, client):
        server = socket.socket()
        for end in (client, server):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.get_running_loop().sock_connect(server, ("127.0.0.1", self.target_port))
        except OSError:
            server.close()
            reset(client)
            return
        self.links += 1
        self._open.add(Link(self, client, server, self.fate(self.links) if callable(self.fate) else self.fate))

    def forget(self, link):
        self._done_up += link.up.carried
        self._done_down += link.down.carried
        self._open.discard(link)

    @property
    def carried(self):
        """Bytes towards the gateway, since the start."""
        return self._done_up + sum(link.up.carried for link in tuple(self._open))

    @property
    def carried_down(self):
        return self._done_down + sum(link.down.carried for link in tuple(self._open))

    @property
    def open_links(self):
        """Links that still carry."""
        return sum(not link.dark for link in tuple(self._open))

    # ---- faults, now ----

    async def _end_all(self, how):
        for link in tuple(self._open):
            if not link.dark or how in ("fin", "rst"):
                link.end(how)

    def cut(self, how="fin"):
        """Every link that is open ends in this way."""
        self._network.do(self._end_all(how))

    def rebind(self):
        """The carrier's router has a new idea of who we are: old connections lead nowhere, new ones are good."""
        self.cut("drop")

    def clog(self, for_s=None):
        """Nothing moves, nothing is lost, new connections are accepted and hang; until unclog(), or for so long."""
        self._network.loop.call_soon_threadsafe(self.flowing.clear)
        if for_s is not None:
            self._network.loop.call_soon_threadsafe(self._network.loop.call_later, for_s, self.flowing.set)

    def unclog(self):
        self._network.loop.call_soon_threadsafe(self.flowing.set)

    def heal(self):
        """No fault any more: links go on at full speed, and those that lead nowhere are reset."""
        self.conditions, self.fate = Conditions(), None
        self.unclog()
        self._network.do(self._end_dark())

    async def _end_dark(self):
        for link in tuple(self._open):
            if link.dark:
                link.end("rst")

    def close(self):
        async def end():
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
            self._listener.close()
            self.flowing.set()
            await self._end_all("rst")
        self._network.do(end())


def swizzle(proxies, chance, pause_s=0.2, rest_s=1.0):
    """Stops a random subset of routes one by one, then lets them go again in another order."""
    chosen = chance.sample(proxies, chance.randint(1, len(proxies)))
    for proxy in chosen:
        proxy.clog()
        time.sleep(pause_s * chance.random())
    time.sleep(rest_s * chance.random())
    for proxy in chance.sample(chosen, len(chosen)):
        proxy.unclog()
        time.sleep(pause_s * chance.random())
