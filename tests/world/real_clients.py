"""The clients of tests/world/real: the kinds that the simulated world has,
over real sockets, and what they saw.

One thread drives them all, by readiness. A client keeps some connections and
has some of them busy, each with a batch of requests; the connection used last
is used first, and one whose answer says `Connection: close` no more. A client
that can't connect any more is done.
"""

import errno
import heapq
import itertools
import re
import selectors
import socket
import time
from dataclasses import dataclass

import real_net

PATIENCE_S = 20  # for a client that is neither answered nor told anything


@dataclass
class Kind:
    name: str
    clients: int
    think_s: float = 0.0  # at most, between an answer and the next request
    pool: int = 1         # connections
    busy: int = 1         # of them at a time
    depth: int = 1        # requests with one write
    body: int = 0         # bytes of a POST; 0: GET
    once: bool = False    # a connection a request


KINDS = [
    Kind("closed loops", 3),
    Kind("with think time", 3, think_s=0.4),
    Kind("pool, last used first", 1, think_s=0.1, pool=10, busy=3),
    Kind("8 pipelined", 2, think_s=0.05, depth=8),
    Kind("a connection a request", 3, think_s=0.02, once=True),
    Kind("POST", 3, think_s=0.2, body=1000),
]


@dataclass
class Seen:
    """What became of requests (answered) and of connections (the rest)."""
    answered: int = 0
    lost: int = 0        # a request was sent, and no byte of an answer came
    lost_batch: int = 0  # the same on a connection that pipelines
    cut: int = 0         # within an answer
    resets: int = 0      # let in, and reset before its first answer
    hung: int = 0        # sent, and nothing came for PATIENCE_S


class Conn:
    """One connection of a client: connecting, idle, or waiting for answers."""

    def __init__(self, client, sock):
        self.client, self.sock = client, sock
        self.connecting = True
        self.pending = 0
        self.answers = 0
        self.got = b""


class Client:
    def __init__(self, crowd, kind, address):
        self.crowd, self.kind, self.address = crowd, kind, address
        self.idle = []  # the last one was used last
        self.is_done = False
        self.message = message(kind)

    def begin(self):
        for _ in range(self.kind.pool):
            self.connect()

    def connect(self):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((self.address, 0))
        conn = Conn(self, sock)
        self.crowd.watch(conn, selectors.EVENT_WRITE)
        if sock.connect_ex(self.crowd.server) not in (0, errno.EINPROGRESS):
            self.refused(conn)

    def refused(self, conn):
        self.is_done = True
        self.crowd.drop(conn)

    def next(self):
        """Thinking is over."""
        if self.is_done:
            return
        if self.idle:
            self.send(self.idle.pop())
        else:
            self.connect()

    def send(self, conn):
        try:
            conn.sock.send(self.message)
        except (BrokenPipeError, ConnectionResetError):
            # Nothing was sent: may be repeated, unless we were just let in.
            self.crowd.seen.resets += conn.answers == 0
            self.crowd.drop(conn)
            self.think()
            return
        conn.pending = self.kind.depth
        self.crowd.watch(conn, selectors.EVENT_READ)

    def think(self):
        self.crowd.later(self, self.crowd.chance.uniform(0, self.kind.think_s))

    def answer(self, conn, says_close):
        self.crowd.seen.answered += 1
        conn.answers += 1
        conn.pending -= 1
        if says_close or (self.kind.once and conn.pending == 0):
            self.crowd.drop(conn)  # what is behind it was not processed
        elif conn.pending == 0:
            self.idle.append(conn)
        if says_close or conn.pending == 0:
            # A pool has made all its connections; only some stay busy.
            if self.crowd.busy(self) < self.kind.busy:
                self.think()

    def ended(self, conn, is_reset):
        seen = self.crowd.seen
        if conn in self.idle:
            self.idle.remove(conn)
        elif conn.got:
            seen.cut += 1
        elif is_reset and conn.answers == 0:
            seen.resets += 1
        elif self.kind.depth > 1:
            seen.lost_batch += 1
        else:
            seen.lost += 1
        was_busy = conn.pending > 0
        self.crowd.drop(conn)
        if was_busy:
            self.think()


def message(kind):
    line = "POST /echo" if kind.body else "GET /"
    length = f"Content-Length: {kind.body}\r\n" if kind.body else ""
    text = f"{line} HTTP/1.1\r\nHost: {real_net.SERVER}\r\n{length}\r\n"
    return (text.encode() + b"x" * kind.body) * kind.depth


ANSWER = re.compile(rb"HTTP/1\.1 200 [^\r]*\r\n(.*?)\r\n\r\n", re.S)


def split_answer(got):
    """(says close, bytes) of the whole answer that `got` begins with; None:
    it isn't whole."""
    match = ANSWER.match(got)
    if not match:
        assert b"HTTP/1.1 200 ".startswith(got[:13]), got[:200]
        return None
    fields = match[1].lower() + b"\r\n"
    length = re.search(rb"content-length: (\d+)\r\n", fields)
    if length:
        end = match.end() + int(length[1])
    else:  # chunked; the body has x only
        end = got.find(b"0\r\n\r\n", match.end()) + 5
        if end < match.end() + 5:
            return None
    if len(got) < end:
        return None
    return b"connection: close\r\n" in fields, end


class Crowd:
    """All clients of one stop."""

    def __init__(self, port, chance, kinds=None):
        self.server = (real_net.SERVER, port)
        self.chance = chance
        self.seen = Seen()
        self.poll = selectors.DefaultSelector()
        self.due = []  # (time, tie, client) that thinks
        self.ties = itertools.count()
        kinds = [k for k in kinds or KINDS for _ in range(k.clients)]
        self.clients = [Client(self, *pair)
                        for pair in zip(kinds, real_net.CLIENTS)]

    def __enter__(self):
        for client in self.clients:
            client.begin()
        return self

    def __exit__(self, *_):
        for key in list(self.poll.get_map().values()):
            key.fileobj.close()
        self.poll.close()

    def conns(self):
        return [key.data for key in self.poll.get_map().values()]

    def busy(self, client):
        """How many of its batches are under way or thought of."""
        return (sum(c.client is client and (c.pending > 0 or c.connecting)
                    for c in self.conns()) +
                sum(entry[2] is client for entry in self.due))

    def watch(self, conn, events):
        if conn.sock in self.poll.get_map():
            self.poll.modify(conn.sock, events, conn)
        else:
            self.poll.register(conn.sock, events, conn)

    def drop(self, conn):
        self.poll.unregister(conn.sock)
        conn.sock.close()

    def later(self, client, seconds):
        heapq.heappush(self.due, (time.monotonic() + seconds, next(self.ties),
                                  client))

    def on_connected(self, conn):
        error = conn.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        conn.connecting = False
        if error == errno.ECONNRESET:
            self.seen.resets += 1
            self.drop(conn)
            conn.client.think()
        elif error:
            conn.client.refused(conn)
        else:
            conn.client.send(conn)

    def on_readable(self, conn):
        is_reset, data = False, b""
        try:
            data = conn.sock.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            is_reset = True
        if not data:
            conn.client.ended(conn, is_reset)
            return
        conn.got += data
        while conn.got and conn.sock.fileno() >= 0:
            answer = split_answer(conn.got)
            if not answer:
                return
            conn.got = conn.got[answer[1]:]
            conn.client.answer(conn, answer[0])

    def turn(self):
        now = time.monotonic()
        while self.due and self.due[0][0] <= now:
            heapq.heappop(self.due)[2].next()
        wait = self.due[0][0] - now if self.due else 0.02
        for key, _ in self.poll.select(min(max(wait, 0), 0.02)):
            if key.data.connecting:
                self.on_connected(key.data)
            else:
                self.on_readable(key.data)

    def run(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.turn()

    def run_until(self, is_over):
        """Until is_over(); False when that takes PATIENCE_S."""
        end = time.monotonic() + PATIENCE_S
        while not is_over():
            if time.monotonic() > end:
                return False
            self.turn()
        return True

    def settle(self):
        """The server has gone: until each request's fate is known."""
        def is_known():
            return not self.due and not any(c.pending or c.connecting
                                            for c in self.conns())

        if not self.run_until(is_known):
            self.seen.hung += sum(c.pending > 0 for c in self.conns())
