"""duskd with several loops: what handlers of all of them share, and how they
end together."""

import os
import re
import signal
import time

import pytest

from harness import is_sanitized, parallel, poll_until

THREADS = "3"
CLIENTS = 12  # so that each loop has some


def blocked_signals(pid, thread):
    with open(f"/proc/{pid}/task/{thread}/status",
              encoding="latin-1") as status:
        return int(re.search(r"SigBlk:\s*(\w+)", status.read())[1], 16)


def ask_all(server, target):
    """A client each, which all wait for their answers at once; responses."""
    def ask(_):
        with server.connect() as conn:
            return conn.get(target)
    return parallel(CLIENTS, ask)


@pytest.mark.skipif(is_sanitized(), reason="its runtime has threads, too")
@pytest.mark.parametrize("flag, count", [
    ("1", 1), ("2", 2), ("5", 5), ("0", len(os.sched_getaffinity(0)))])
def test_there_are_as_many_threads_as_were_asked_for(serve, flag, count):
    assert serve("--threads", flag).threads() == count


@pytest.mark.skipif(is_sanitized(), reason="its runtime has threads, too")
def test_signals_are_for_the_first_thread_alone(serve):
    server = serve("--threads", THREADS)
    server.wait_catches(signal.SIGTERM)
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT,
                   signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        for thread in map(int, os.listdir(f"/proc/{server.pid}/task")):
            blocked = blocked_signals(server.pid, thread)
            is_blocked = bool(blocked >> (signum - 1) & 1)
            assert is_blocked == (thread != server.pid)


def test_every_loop_waits_and_streams(serve):
    server = serve("--threads", THREADS)
    for response in ask_all(server, "/?delay=50ms"):
        assert (response.status, response.body) == (200, b"hello\n")
    for response in ask_all(server, "/stream?count=3&interval=10ms"):
        assert response.chunks == [b"1 of 3\n", b"2 of 3\n", b"3 of 3\n"]


def test_a_stop_ends_what_every_loop_has(serve):
    server = serve("--threads", THREADS)
    conns = [server.connect() for _ in range(CLIENTS)]
    for i, conn in enumerate(conns):
        conn.request("GET", "/?delay=300ms" if i % 2 else
                     "/stream?count=1000&interval=20ms")
    for conn in conns[::2]:
        assert conn.head().status == 200
    server.signal(signal.SIGTERM)
    for i, conn in enumerate(conns):
        if i % 2:
            assert conn.response().body == b"hello\n"
        else:
            while conn.chunk():
                pass
        conn.close()
    assert server.wait() == 0
    assert re.search(rf"requests: .*: {CLIENTS} answered", server.err.text())


def test_ready_no_more_is_said_on_every_loop(serve):
    server = serve("--threads", THREADS, "--lame-duck", "5s")
    for response in ask_all(server, "/readyz"):
        assert response.status == 200
    server.signal(signal.SIGTERM)
    server.err.wait("not ready any more")
    for response in ask_all(server, "/readyz"):
        assert (response.status, response.closes) == (503, True)
    server.signal(signal.SIGUSR1)
    server.err.wait("serving again")
    for response in ask_all(server, "/readyz"):
        assert response.status == 200


@pytest.mark.parametrize("how, status", [("bound", 3), ("signal", 4)])
def test_what_is_cut_on_every_loop_is_told_and_logged(serve, tmp_path, how,
                                                      status):
    log = tmp_path / "log"
    server = serve("--threads", THREADS, "--access-log", log,
                   "--drain-timeout", "600ms" if how == "bound" else "1m")
    conns = [server.connect() for _ in range(CLIENTS)]
    for conn in conns:
        conn.request("GET", "/?delay=1m")
    for conn in conns:
        conn.wait_read()
    server.signal(signal.SIGTERM)
    if how == "signal":
        server.err.wait("draining")
        time.sleep(0.2)  # a second one in less than 100 ms is the same
        server.signal(signal.SIGTERM)
    assert server.wait() == status
    told = [line for line in server.err.all() if "cut: " in line]
    assert sum('cut: "GET /?delay=1m"' in line for line in told) == 10
    assert sum("and more" in line for line in told) == 1
    lines = log.read_text().splitlines()
    assert len(lines) == CLIENTS
    assert all(re.search(r'"GET /\?delay=1m HTTP/1\.1" 0 0 \d+ms "[^"]+"$',
                         line) for line in lines), lines


def test_lines_of_all_loops_are_whole_and_none_is_lost(serve, tmp_path):
    log, count = tmp_path / "log", 300
    server = serve("--threads", THREADS, "--access-log", log)

    def ask(client):
        for part in range(3):
            with server.connect() as conn:
                for i in range(count // 3):
                    assert conn.get(f"/{client}x{part}x{i}").status == 200
            if client == 0:
                log.rename(tmp_path / f"log.{part}")
                server.signal(signal.SIGHUP)
                poll_until(log.exists)

    parallel(CLIENTS, ask)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    text = "".join(path.read_text() for path in sorted(tmp_path.iterdir()))
    line = re.compile(r'127\.0\.0\.1 - - \[[^]]+\] "GET /(\w+) HTTP/1\.1" '
                      r'200 6 \d+ms')
    got = [line.fullmatch(each)[1] for each in text.splitlines()]
    assert len(got) == len(set(got)) == CLIENTS * count
