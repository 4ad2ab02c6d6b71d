"""The access log: rotated, full, torn, a pipe; no line is glued to another."""

import os
import re
import resource
import signal
import socket
import subprocess
import threading

import pytest

from harness import PATIENCE, Conn, duskd, poll_until

LINE = re.compile(
    r'127\.0\.0\.1 - - \[[^]]+\] "GET /(\w+) HTTP/1\.1" 200 6 \d+ms')


def numbers(path):
    """What the log's lines are about, all of which have to be whole."""
    text = path.read_text()
    assert not text or text.endswith("\n"), text[-200:]
    matches = [LINE.fullmatch(line) for line in text.splitlines()]
    assert all(matches), text[:2000]
    return [match[1] for match in matches]


def in_order(names):
    """Whether none came twice, or before one that was asked for before."""
    indices = [int(name[1:]) for name in names]
    return indices == sorted(set(indices))


def ask(server, *names):
    with server.connect() as conn:
        for name in names:
            assert conn.get(f"/{name}").status == 200


def stop(server):
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


# -- Rotation -----------------------------------------------------------------


def test_hup_reopens_it(serve, tmp_path):
    log, old = tmp_path / "log", tmp_path / "log.1"
    server = serve("--access-log", log)
    ask(server, "a")
    log.rename(old)
    ask(server, "b")  # in the old file still
    server.signal(signal.SIGHUP)
    server.err.wait("reopened the access log")
    ask(server, "c")
    stop(server)
    assert (numbers(old), numbers(log)) == (["a", "b"], ["c"])


def test_rotation_under_load_loses_and_tears_nothing(serve, tmp_path):
    log = tmp_path / "log"
    server = serve("--access-log", log)
    count = 1000
    clients = [threading.Thread(target=ask, daemon=True, args=(
        server, *(f"{client}x{i}" for i in range(count))))
        for client in range(3)]
    for client in clients:
        client.start()
    turns = 0
    while any(client.is_alive() for client in clients):
        log.rename(tmp_path / f"log.{turns}")
        server.signal(signal.SIGHUP)
        poll_until(log.exists)
        turns += 1
    stop(server)
    assert turns > 3
    got = [name for path in tmp_path.iterdir() for name in numbers(path)]
    assert len(got) == 3 * count
    assert set(got) == {f"{client}x{i}" for client in range(3)
                        for i in range(count)}


def test_copytruncate_goes_on_at_the_beginning(serve, tmp_path):
    """logrotate's other way, which tells nobody."""
    log = tmp_path / "log"
    server = serve("--access-log", log)
    ask(server, "a", "b")
    poll_until(lambda: numbers(log) == ["a", "b"])
    os.truncate(log, 0)
    ask(server, "c")
    stop(server)
    assert numbers(log) == ["c"]


@pytest.mark.parametrize("flags", [[], ["--access-log", "-"]],
                         ids=["none", "standard output"])
def test_hup_without_a_file_is_told(serve, flags):
    server = serve(*flags)
    server.signal(signal.SIGHUP)
    server.err.wait("SIGHUP: no access log to reopen")
    ask(server, "a")
    stop(server)


def test_log_that_cannot_be_reopened_goes_on_in_the_old_file(serve, tmp_path):
    folder, moved = tmp_path / "logs", tmp_path / "moved"
    folder.mkdir()
    server = serve("--access-log", folder / "log")
    ask(server, "a")
    folder.rename(moved)
    server.signal(signal.SIGHUP)
    server.err.wait("cannot reopen the access log .*no such file")
    ask(server, "b")
    folder.mkdir()
    server.signal(signal.SIGHUP)
    server.err.wait("reopened the access log")
    ask(server, "c")
    stop(server)
    assert numbers(moved / "log") == ["a", "b"]
    assert numbers(folder / "log") == ["c"]


# -- Full, and torn -----------------------------------------------------------


def limit_file_size(size):
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE,
                                      (size, resource.RLIM_INFINITY))


def lift_limit(server):
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE,
                     (resource.RLIM_INFINITY,) * 2)


def test_a_log_at_its_size_limit_costs_lines(serve, tmp_path):
    log = tmp_path / "log"
    server = serve("--access-log", log, preexec=limit_file_size(1000))
    ask(server, *(f"n{i}" for i in range(50)))
    server.err.wait("the access log loses lines: file too large")
    assert len(log.read_bytes()) == 1000
    stop(server)
    told = int(server.err.wait(r"the access log lost (\d+) lines")[1])
    assert told == 50 - log.read_text().count("\n")


def test_a_torn_line_is_finished_before_the_next(serve, tmp_path):
    log = tmp_path / "log"
    server = serve("--access-log", log, preexec=limit_file_size(1000))
    ask(server, *(f"n{i}" for i in range(50)))
    server.err.wait("the access log loses lines")
    assert not log.read_bytes().endswith(b"\n"), "nothing is torn"
    lift_limit(server)
    ask(server, "after")
    stop(server)
    got = numbers(log)
    assert got[-1] == "after"
    assert in_order(got[:-1])


def test_a_torn_line_stays_in_the_file_it_was_begun_in(serve, tmp_path):
    log, old = tmp_path / "log", tmp_path / "log.1"
    server = serve("--access-log", log, preexec=limit_file_size(1000))
    ask(server, *(f"n{i}" for i in range(50)))
    server.err.wait("the access log loses lines")
    log.rename(old)
    server.signal(signal.SIGHUP)
    server.err.wait("reopened")
    ask(server, "after")
    stop(server)
    assert numbers(log) == ["after"]


def test_a_last_line_without_end_is_ended(serve, tmp_path):
    """A process before was killed, or met a full disk."""
    log = tmp_path / "log"
    log.write_text("127.0.0.1 - - [half a li")
    server = serve("--access-log", log)
    ask(server, "a")
    stop(server)
    first, second = log.read_text().splitlines()
    assert first == "127.0.0.1 - - [half a li"
    assert LINE.fullmatch(second)


def mount_tmpfs(folder):
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder],
        capture_output=True, check=False)
    if done.returncode:
        pytest.skip("no file systems can be mounted here")


def test_a_full_disk_costs_lines_and_room_ends_that(serve, tmp_path):
    mount_tmpfs(tmp_path)
    try:
        ballast, log = tmp_path / "ballast", tmp_path / "log"
        ballast.write_bytes(b"x" * 50000)
        server = serve("--access-log", log)
        ask(server, *(f"n{i}" for i in range(500)))
        server.err.wait("the access log loses lines: no space left on device")
        ballast.unlink()
        ask(server, "after")
        stop(server)
        got = numbers(log)
        assert got[-1] == "after"
        assert in_order(got[:-1])
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


# -- Pipes --------------------------------------------------------------------


def test_a_fifo_that_nobody_reads_is_told_at_the_start(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    done = subprocess.run(
        [duskd(), "--listen", "127.0.0.1:0", "--access-log",
         tmp_path / "fifo"], stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"duskd: [^\n]*fifo: nobody reads it\n", done.stderr)


def test_a_fifo_outlives_its_reader(serve, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    server = serve("--access-log", fifo)
    os.set_blocking(reader, True)
    ask(server, "a")
    assert LINE.fullmatch(os.read(reader, 4096).decode().rstrip())[1] == "a"
    os.close(reader)
    ask(server, "b")
    server.err.wait("the access log loses lines: broken pipe")
    server.signal(signal.SIGHUP)
    server.err.wait("cannot reopen the access log")
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    ask(server, "c")
    assert LINE.fullmatch(os.read(reader, 4096).decode().rstrip())[1] == "c"
    os.close(reader)
    stop(server)


@pytest.fixture
def piped():
    """duskd with its access log on a pipe that the test reads."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        child = subprocess.Popen(
            [duskd(), "--listen", f"fd:{sock.fileno()}", "--access-log", "-"],
            pass_fds=[sock.fileno()], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)
        yield child, "127.0.0.1:%d" % sock.getsockname()[1]
        child.kill()
        child.communicate()


COUNT = 4000  # lines, several pipes full


def test_a_slow_reader_loses_nothing(piped):
    child, address = piped
    got = []

    def read_slowly():
        while data := os.read(child.stdout.fileno(), 512):
            got.append(data)

    reader = threading.Thread(target=read_slowly)
    reader.start()
    with Conn(address) as conn:
        conn.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % i
                           for i in range(COUNT)))
        for _ in range(COUNT):
            assert conn.response().status == 200
    child.terminate()
    assert child.wait(PATIENCE) == 0
    reader.join(PATIENCE)
    lines = b"".join(got).decode().splitlines()
    assert [LINE.fullmatch(line)[1] for line in lines] == [
        str(i) for i in range(COUNT)]
