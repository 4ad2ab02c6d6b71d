"""Both ends of a black-box test: programs under test, and raw HTTP clients.

A `Program` is a child whose output lines can be waited for; a `Conn` is a
socket that speaks bytes and knows how a connection ended. Nothing here waits by
sleeping, and everything that waits has a time-out (`PATIENCE`), which is no
assertion: it only keeps a broken server from hanging the suite.
"""

import errno
import os
import re
import select
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

PATIENCE = 30.0
SANITIZER = re.compile(
    r"(Address|Leak|Thread|UndefinedBehavior)Sanitizer|runtime error:")
ADDRESS = re.compile(
    r'listening on ((?:unix:[^\s"]+)|(?:\[[\w:.%]+\]|[\w.-]*):\d+)')


def path_of(variable):
    """A path that CMake hands over in the environment."""
    value = os.environ.get(variable)
    assert value, f"{variable} isn't set: run the tests by ctest"
    return value


def duskd():
    return path_of("DUSKD")


def example(name):
    return path_of(f"DUSK_EXAMPLE_{name.upper()}")


def program(name):
    return os.path.join(path_of("PROGRAMS_DIR"), name)


# -- Programs -----------------------------------------------------------------


class Output:
    """The lines of one output of a child, as they come."""

    def __init__(self, pipe):
        self.lines = []
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(pipe,),
                                        daemon=True)
        self._thread.start()

    def _read(self, pipe):
        with pipe:
            for line in pipe:
                with self._changed:
                    self.lines.append(line.decode("latin-1").rstrip("\r\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait(self, pattern, timeout=PATIENCE):
        """The match of the first line that has `pattern`, come or to come."""
        found = []

        def look():
            found[:] = filter(None, (re.search(pattern, line)
                                     for line in self.lines))
            return found or self._ended

        with self._changed:
            self._changed.wait_for(look, timeout)
            assert found, f"no line with {pattern!r} in {self.lines}"
            return found[0]

    def has(self, pattern):
        with self._changed:
            return any(re.search(pattern, line) for line in self.lines)

    def all(self):
        """All lines, once the child has closed this output."""
        self._thread.join(PATIENCE)
        return list(self.lines)

    def text(self):
        return "\n".join(self.all())


class Program:
    """A child process; `addresses` are those that it said it listens on."""

    def __init__(self, argv, *, env=None, stdin=subprocess.DEVNULL,
                 pass_fds=(), preexec=None):
        clean = {k: v for k, v in os.environ.items()
                 if not k.startswith("DUSK_")}
        clean.update(env or {})
        self.argv = argv
        self.process = subprocess.Popen(
            argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=clean, pass_fds=pass_fds, preexec_fn=preexec)
        self.pid = self.process.pid
        self.out = Output(self.process.stdout)
        self.err = Output(self.process.stderr)
        self.addresses = []

    def listen(self, listeners):
        """Waits until that many addresses can be connected to."""
        deadline = time.monotonic() + PATIENCE
        while len(self.addresses) < listeners:
            left = max(deadline - time.monotonic(), 0.01)
            with self.err._changed:
                self.err._changed.wait_for(
                    lambda: self.err._ended or self._listening() >= listeners,
                    left)
            assert not self.err._ended or self._listening() >= listeners, \
                f"{self.argv} didn't start: {self.err.lines}"
            assert time.monotonic() < deadline, self.err.lines
        return self

    def _listening(self):
        self.addresses = [m.group(1) for m in map(ADDRESS.search,
                                                  self.err.lines) if m]
        return len(self.addresses)

    @property
    def address(self):
        return self.addresses[0]

    def connect(self, index=0, **kw):
        return Conn(self.addresses[index], **kw)

    def signal(self, signum=signal.SIGINT):
        os.kill(self.pid, signum)
        return time.monotonic()

    def freeze(self):
        """Stops it, so that what comes waits in the kernel; returns when it
        has stopped."""
        os.kill(self.pid, signal.SIGSTOP)
        poll_until(lambda: proc_state(self.pid) == "T")

    def thaw(self):
        os.kill(self.pid, signal.SIGCONT)

    def wait_catches(self, signum):
        """Waits until it has a handler for the signal, for programs that say
        nothing when they are ready."""
        poll_until(lambda: caught_signals(self.pid) >> (signum - 1) & 1)

    def running(self):
        return self.process.poll() is None

    def wait(self, timeout=PATIENCE):
        """The exit status; a signal's number, negated, if one ended it."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.argv} still runs after {timeout} s; it said "
                f"{self.err.lines}") from None

    def kill(self):
        if self.running():
            self.process.kill()
            self.process.wait()

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))


def poll_until(condition):
    """For what the kernel tells only when asked."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def caught_signals(pid):
    with open(f"/proc/{pid}/status", encoding="latin-1") as status:
        return int(re.search(r"SigCgt:\s*(\w+)", status.read())[1], 16)


def proc_state(pid):
    with open(f"/proc/{pid}/stat", encoding="latin-1") as stat:
        return stat.read().rpartition(")")[2].split()[0]


def is_sanitized():
    """Whether the programs were built with a sanitizer, which makes them slow
    and large."""
    return bool(os.environ.get("DUSK_SANITIZE"))


# -- Clients ------------------------------------------------------------------


class Ended(Exception):
    """The connection ended before a response was whole."""

    def __init__(self, how, data):
        super().__init__(f"{how} after {data[:400]!r}")
        self.how = how
        self.data = data


@dataclass
class Response:
    version: str
    status: int
    reason: str
    headers: list
    body: bytes = b""
    trailers: list = field(default_factory=list)
    chunks: list = field(default_factory=list)

    def all(self, name):
        return [v for k, v in self.headers if k.lower() == name.lower()]

    def get(self, name):
        values = self.all(name)
        assert len(values) < 2, f"{name} came twice: {self.headers}"
        return values[0] if values else None

    @property
    def closes(self):
        return (self.get("Connection") or "").lower() == "close"


def dial(address, timeout=PATIENCE, rcvbuf=None):
    """A connected socket; `address` as the programs print it. A receive buffer
    has to be made small before it is connected."""
    if address.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        target = address[len("unix:"):]
    else:
        target = host_and_port(address)
        family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        sock.settimeout(timeout)
        sock.connect(target)
    except BaseException:
        sock.close()
        raise
    return sock


class Conn:
    """A client's connection: sends bytes, reads responses, sees the end."""

    def __init__(self, address, *, timeout=PATIENCE, sock=None, rcvbuf=None):
        self.sock = sock or dial(address, timeout, rcvbuf)
        self.sock.settimeout(timeout)
        self.buffer = b""
        self.ended = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def close(self):
        self.sock.close()

    def reset(self):
        """Closes so that the peer gets a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             struct.pack("ii", 1, 0))
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data.encode() if isinstance(data, str) else data)
        return self

    def request(self, method="GET", target="/", headers=(), body=None, *,
                close=False, version="HTTP/1.1"):
        """Sends a well-formed request."""
        self.send(request(method, target, headers, body, close=close,
                          version=version))
        return self

    def get(self, target="/", **kw):
        return self.request("GET", target, **kw).response()

    def post(self, target, body, **kw):
        return self.request("POST", target, body=body, **kw).response()

    def wait_read(self):
        """Returns when the server has accepted the connection and read all
        that was sent on it. TCP only."""
        server, own = self.sock.getpeername(), self.sock.getsockname()

        def has_read():
            state, unread, owner = tcp_socket(server, own)
            return state != TCP_LISTEN and unread == 0 and owner != 0

        poll_until(has_read)
        return self

    def _fill(self):
        if self.ended:
            return False
        try:
            data = self.sock.recv(1 << 16)
        except (ConnectionResetError, BrokenPipeError):
            self.ended = "reset"
            return False
        if not data:
            self.ended = "eof"
        self.buffer += data
        return bool(data)

    def _until(self, mark):
        while mark not in self.buffer:
            if not self._fill():
                raise Ended(self.ended, self.buffer)
        head, _, self.buffer = self.buffer.partition(mark)
        return head

    def exactly(self, count):
        pieces, have = [self.buffer], len(self.buffer)
        while have < count:
            self.buffer = b""
            if not self._fill():
                raise Ended(self.ended, b"".join(pieces))
            pieces.append(self.buffer)
            have += len(self.buffer)
        data = b"".join(pieces)
        self.buffer = data[count:]
        return data[:count]

    def _fields(self):
        fields = []
        while line := self._until(b"\r\n"):
            name, colon, value = line.decode("latin-1").partition(":")
            assert colon and name, f"no header line: {line!r}"
            fields.append((name, value.strip()))
        return fields

    def head(self):
        """The status line and header of the next response."""
        line = self._until(b"\r\n").decode("latin-1")
        match = re.fullmatch(r"(HTTP/1\.[01]) (\d{3}) ?(.*)", line)
        assert match, f"no status line: {line!r}"
        return Response(match[1], int(match[2]), match[3], self._fields())

    def chunk(self):
        """The next chunk of a body; b"" is the last one."""
        size = int(self._until(b"\r\n").split(b";")[0], 16)
        if size == 0:
            return b""
        data = self.exactly(size)
        assert self.exactly(2) == b"\r\n"
        return data

    def response(self, method="GET"):
        """One response, whole, or Ended."""
        got = self.head()
        length, coding = got.get("Content-Length"), got.get("Transfer-Encoding")
        assert length is None or coding is None, got.headers
        if method == "HEAD" or got.status in (204, 304) or got.status < 200:
            return got
        if coding is not None:
            assert coding == "chunked" and got.version == "HTTP/1.1", got
            while piece := self.chunk():
                got.chunks.append(piece)
            got.body = b"".join(got.chunks)
            got.trailers = self._fields()
        elif length is not None:
            got.body = self.exactly(int(length))
        else:
            while self._fill():
                pass
            if self.ended == "reset":
                raise Ended("reset", self.buffer)
            got.body, self.buffer = self.buffer, b""
        return got

    def end(self):
        """Reads until the connection ends; "eof" or "reset". What came before
        lies in `buffer`."""
        while self._fill():
            pass
        return self.ended

    def quiet(self, seconds):
        """True if nothing comes and the connection stays for that long."""
        return not self.buffer and not self.ended and not select.select(
            [self.sock], [], [], seconds)[0]


# Of linux/tcp_states.h, linux/sock_diag.h and linux/inet_diag.h.
TCP_LISTEN = 10
SOCK_DIAG_BY_FAMILY = 20
NETLINK_SOCK_DIAG = 4
NO_COOKIE = b"\xff" * 8


def tcp_socket(local, remote=None):
    """The state, the unread bytes and the inode (0 while no process has it) of
    the socket with these ends; without such a one that of who listens at
    `local`, or (0, 0, 0). The kernel is asked for this one socket:
    /proc/net/tcp lists all, and after a test with many connections a look at
    it takes long."""
    family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
    remote = remote or ("::" if family == socket.AF_INET6 else "0.0.0.0", 0)
    body = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 0, 0xffffffff)
    body += struct.pack("!HH", local[1], remote[1])
    body += b"".join(socket.inet_pton(family, end[0]).ljust(16, b"\0")
                     for end in (local, remote))
    body += bytes(4) + NO_COOKIE
    head = struct.pack("=IHHII", 16 + len(body), SOCK_DIAG_BY_FAMILY,
                       1, 0, 0)  # NLM_F_REQUEST
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW,
                       NETLINK_SOCK_DIAG) as netlink:
        netlink.send(head + body)
        answer = netlink.recv(4096)
    if struct.unpack_from("=H", answer, 4)[0] != SOCK_DIAG_BY_FAMILY:
        return 0, 0, 0
    unread, _, _, inode = struct.unpack_from("=IIII", answer, 16 + 56)
    return answer[16 + 1], unread, inode


def request(method="GET", target="/", headers=(), body=None, *, close=False,
            version="HTTP/1.1", host="test"):
    lines = [f"{method} {target} {version}", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if close:
        lines.append("Connection: close")
    if body is not None:
        body = body.encode() if isinstance(body, str) else body
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


def chunked(*pieces, trailer=""):
    """A chunked body, with an optional trailer of whole lines."""
    out = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces)
    return out + b"0\r\n" + trailer.encode() + b"\r\n"


def refused(address, timeout=PATIENCE):
    """Whether connecting is refused. A sealed port drops the first SYN, so
    that the refusal may come a second later, with the retransmission."""
    try:
        dial(address, timeout).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    except ConnectionResetError:
        return False
    return False


def host_and_port(address):
    """Where a TCP address that a program printed can be connected to."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    return "127.0.0.1" if host in ("::", "0.0.0.0", "") else host, int(port)


def wait_refused(address):
    """Waits until connecting is refused. A client that asks a sealed port too
    soon learns it a second later only, by its retransmission; so the kernel is
    asked whether the listener is gone, and the client comes after that."""
    if not address.startswith("unix:"):
        where = host_and_port(address)
        poll_until(lambda: tcp_socket(where)[0] != TCP_LISTEN)
    poll_until(lambda: refused(address))


def parallel(count, work):
    """Runs work(0), work(1), ... in threads; their results, in order, or the
    first exception."""
    results, errors = [None] * count, []

    def one(index):
        try:
            results[index] = work(index)
        except BaseException as error:  # pylint: disable=broad-except
            errors.append(error)

    threads = [threading.Thread(target=one, args=(i,), daemon=True)
               for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE)
    if errors:
        raise errors[0]
    assert not any(t.is_alive() for t in threads), "a client hangs"
    return results


# -- A crowd of closed-loop clients -------------------------------------------


class Crowd:
    """Clients that send their next request as soon as they have an answer,
    over kept connections or over a connection a request, until nobody takes
    their connections any more (or, without `reconnect`, until the one that
    each has ends). All are driven by one thread, by readiness.

    What must stay empty when a server stops well:
      lost       sent wholly, and the connection ended without an answer
      cut        the connection ended within an answer
      reset      a connection that had been let in was reset
    `stall` is the longest time that this client itself was not on the
    processor: it may then have used a connection later than any server keeps
    one for it."""

    ANSWER_END = b"\r\n\r\nhello\n"

    def __init__(self, address, count, keep_alive=True, reconnect=True):
        self.address = address
        self.reconnect = reconnect
        self.keep_alive = keep_alive
        self.answers = self.lost = self.cut = self.reset = self.refused = 0
        self.stall = 0.0
        self._message = request(close=not keep_alive)
        self._poll = selectors.DefaultSelector()
        for _ in range(count):
            self._dial()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for key in list(self._poll.get_map().values()):
            key.fileobj.close()
        self._poll.close()

    def _dial(self):
        host, _, port = self.address.rpartition(":")
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        if sock.connect_ex((host, int(port))) not in (0, errno.EINPROGRESS):
            self.refused += 1
            sock.close()
            return
        self._poll.register(sock, selectors.EVENT_WRITE,
                            {"state": "connecting", "got": b""})

    def _drop(self, sock):
        self._poll.unregister(sock)
        sock.close()

    def _send(self, sock, state):
        try:
            sent = sock.send(self._message)
            assert sent == len(self._message)
        except (ConnectionResetError, BrokenPipeError):
            self.reset += 1
            self._drop(sock)
            return
        state.update(state="waiting", got=b"")
        self._poll.modify(sock, selectors.EVENT_READ, state)

    def _connected(self, sock, state):
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            # One that was let in and then thrown out is no refused one.
            if error == errno.ECONNRESET:
                self.reset += 1
            else:
                assert error in (errno.ECONNREFUSED, errno.ETIMEDOUT), error
                self.refused += 1
            self._drop(sock)
        else:
            self._send(sock, state)

    def _readable(self, sock, state):
        try:
            data = sock.recv(1 << 14)
        except ConnectionResetError:
            self.reset += 1
            data = b""
        except BlockingIOError:
            return
        if not data:
            if state["state"] == "waiting":
                if state["got"]:
                    self.cut += 1
                else:
                    self.lost += 1
            self._drop(sock)
            if self.reconnect:
                self._dial()
            return
        state["got"] += data
        if not state["got"].endswith(self.ANSWER_END):
            return
        self.answers += 1
        if b"\r\nconnection: close\r\n" in state["got"].lower():
            state["state"] = "answered"
        else:
            self._send(sock, state)

    def run(self, seconds=None, program=None):
        """Goes on for that long, or until `program` has exited and nobody
        whose connection was let in waits for anything."""
        started = time.monotonic()
        while True:
            turn = time.monotonic()
            if seconds is not None and turn - started > seconds:
                return self
            gone = program is not None and not program.running()
            for key, _ in self._poll.select(0.01):
                if key.data["state"] == "connecting":
                    self._connected(key.fileobj, key.data)
                else:
                    self._readable(key.fileobj, key.data)
            if gone and all(key.data["state"] == "connecting"
                            for key in self._poll.get_map().values()):
                return self
            self.stall = max(self.stall, time.monotonic() - turn - 0.01)
            assert turn - started < 2 * PATIENCE, "the crowd doesn't end"

    def losses(self):
        return {"lost": self.lost, "cut": self.cut, "reset": self.reset}
