"""Two network namespaces and the line between them, for tests/world/real.

Each namespace has a TUN device; a process of its own, the relay, carries the
packets from one to the other, later, and loses some. The namespaces have no
name: they, their devices and all that was in them are gone when the last
process that uses them is, however it ended.
"""

import collections
import ctypes
import fcntl
import os
import random
import select
import signal
import socket
import struct
import time

SERVER = "192.0.2.1"  # RFC 5737: in no real network
CLIENTS = [f"192.0.2.{n}" for n in range(11, 27)]
MASK = "255.255.255.0"

CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x1001
SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK = 0x8914, 0x8916, 0x891C
IFF_UP_RUNNING = 0x41
PACKET_BYTES = 2048
BURST = 64  # packets from one side before the other one's turn

libc = ctypes.CDLL(None, use_errno=True)


class CannotRun(Exception):
    """This machine doesn't let us; the text says what is missing."""


def call(result, what):
    if result != 0:
        raise CannotRun(f"{what}: {os.strerror(ctypes.get_errno())}")


def enter(namespace):
    """The calling thread makes its sockets there from now on."""
    call(libc.setns(namespace, CLONE_NEWNET), "setns")


def die_with(parent):
    """The calling process is killed when `parent`, which forked it, ends."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


# -- Devices -------------------------------------------------------------------

def set_up(control, name, address=None):
    """Gives a device an address, and switches it on."""
    def packed(text):
        return struct.pack("16sHH4s8x", name.encode(), socket.AF_INET, 0,
                           socket.inet_aton(text))

    if address:
        fcntl.ioctl(control, SIOCSIFADDR, packed(address))
        fcntl.ioctl(control, SIOCSIFNETMASK, packed(MASK))
    if ":" not in name:
        fcntl.ioctl(control, SIOCSIFFLAGS,
                    struct.pack("16sH14x", name.encode(), IFF_UP_RUNNING))


def make_side(addresses):
    """A fresh namespace with these addresses, which the calling thread is in
    then: (the namespace, its TUN device)."""
    call(libc.unshare(CLONE_NEWNET), "a network namespace (are you root?)")
    try:
        tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH14x", b"line",
                                                IFF_TUN_NO_PI))
    except OSError as error:
        raise CannotRun(f"/dev/net/tun: {error.strerror}") from error
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        set_up(control, "lo")
        for i, address in enumerate(addresses):
            set_up(control, f"line:{i}" if i else "line", address)
    return os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC), tun


# -- The relay -----------------------------------------------------------------

class Way:
    """One direction: packets that are under way, with their times."""

    def __init__(self, source, target, delay_s, loss, chance):
        self.source, self.target = source, target
        self.delay_s, self.loss, self.chance = delay_s, loss, chance
        self.queue = collections.deque()

    def take(self):
        for _ in range(BURST):
            try:
                packet = os.read(self.source, PACKET_BYTES)
            except BlockingIOError:
                return
            if self.chance.random() >= self.loss:
                self.queue.append((time.monotonic() + self.delay_s, packet))

    def deliver(self):
        """What is due; seconds until the next one, or None."""
        while self.queue:
            wait = self.queue[0][0] - time.monotonic()
            if wait > 0:
                return wait
            try:
                os.write(self.target, self.queue.popleft()[1])
            except OSError:
                pass  # as a router does: it is lost
        return None


def relay(ways):
    while True:
        waits = [w for w in (way.deliver() for way in ways) if w is not None]
        ready, _, _ = select.select([way.source for way in ways], [], [],
                                    min(waits, default=None))
        for way in ways:
            if way.source in ready:
                way.take()


class Line:
    """The server's side, the clients' side, and the line, as long as `with`
    lasts. The calling thread is on the clients' side then."""

    def __init__(self, delay_ms, loss_percent, seed):
        self.delay_s, self.loss = delay_ms / 1000, loss_percent / 100
        self.chance = random.Random(seed)
        self.descriptors, self.pid = [], 0
        self.before = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self):
        try:
            self.server, near = make_side([SERVER])
            self.descriptors += [self.server, near]
            self.descriptors += make_side(CLIENTS)
            far = self.descriptors[-1]
            parent, self.pid = os.getpid(), os.fork()
            if self.pid == 0:
                die_with(parent)
                relay([Way(near, far, self.delay_s, self.loss, self.chance),
                       Way(far, near, self.delay_s, self.loss, self.chance)])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        if self.descriptors:
            enter(self.before)
        for fd in [*self.descriptors, self.before]:
            os.close(fd)
