"""duskd under odd parents and shells: signals, descriptors, limits, and what
a parent has left blocked, ignored or closed."""

import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import time

import pytest

from harness import PATIENCE, Conn, duskd, poll_until

STOPS = [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT]


def ids(signums):
    return [s.name for s in signums]


def begin(server, target="/?delay=50s"):
    return server.connect().request("GET", target).wait_read()


def ignore(*signums):
    def before_exec():
        for signum in signums:
            signal.signal(signum, signal.SIG_IGN)
    return before_exec


def block(*signums):
    return lambda: signal.pthread_sigmask(signal.SIG_BLOCK, signums)


def limit(what, soft, hard=None):
    return lambda: resource.setrlimit(
        what, (soft, soft if hard is None else hard))


# -- Signals ------------------------------------------------------------------


@pytest.mark.parametrize("signum", STOPS, ids=ids(STOPS))
def test_a_stop_drains_with_a_report(serve, signum):
    server = serve()
    conn = begin(server, "/?delay=500ms")
    server.signal(signum)
    server.err.wait(f"{signum.name}: draining")
    assert conn.response().body == b"hello\n"
    assert server.wait() == 0
    assert server.err.all()[-1].startswith("duskd: drained in ")


@pytest.mark.parametrize("second", STOPS, ids=ids(STOPS))
def test_a_second_stop_of_any_kind_cuts(serve, second):
    server = serve("--drain-timeout", "1m")
    conn = begin(server)
    server.signal(signal.SIGQUIT)
    server.err.wait("draining")
    began = time.monotonic()  # later than the handler's clock
    while time.monotonic() < began + 0.1:  # until then it is the same one
        time.sleep(0.01)
    server.signal(second)
    assert server.wait() == 4
    assert conn.end() in ("eof", "reset")


def test_hup_and_usr_never_cut(serve):
    server = serve()
    conn = begin(server, "/?delay=1s")
    others = [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2]
    for signum in others:
        server.signal(signum)
        server.err.wait(signum.name)
    server.signal(signal.SIGTERM)
    server.err.wait("draining")
    for _ in range(3):
        for signum in others:
            server.signal(signum)
    assert conn.response().body == b"hello\n"
    assert server.wait() == 0


def test_many_hups_lose_no_stop(serve, tmp_path):
    server = serve("--access-log", tmp_path / "log")
    server.freeze()
    for _ in range(200):
        server.signal(signal.SIGHUP)
        server.signal(signal.SIGUSR2)
    server.signal(signal.SIGTERM)
    server.thaw()
    assert server.wait() == 0


def test_usr1_while_lame_goes_back_to_serving(serve):
    server = serve("--lame-duck", "50s")
    server.signal(signal.SIGTERM)
    server.err.wait("serving on for 50s")
    with server.connect() as conn:
        ready = conn.get("/readyz")
        assert (ready.status, ready.closes) == (503, True)
    server.signal(signal.SIGUSR1)
    server.err.wait("SIGUSR1: .*serving again")
    with server.connect() as conn:
        ready = conn.get("/readyz")
        assert (ready.status, ready.closes) == (200, False)
    # a stop after that is a first one again
    lines = len(server.err.lines)
    server.signal(signal.SIGQUIT)
    poll_until(lambda: len(server.err.lines) > lines)
    assert "SIGQUIT: not ready any more" in server.err.lines[lines]
    assert server.running()


def test_usr1_while_lame_disarms_the_alarm(serve):
    """Which would be due 2 s after all that the flags allow."""
    server = serve("--lame-duck", "500ms", "--drain-timeout", "100ms")
    server.signal(signal.SIGTERM)
    server.err.wait("serving on")
    server.signal(signal.SIGUSR1)
    server.err.wait("serving again")
    with server.connect() as conn:
        assert conn.get("/?delay=4s").status == 200
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


def test_usr1_in_the_drain_takes_nothing_back(serve):
    server = serve()
    conn = begin(server, "/?delay=500ms")
    server.signal(signal.SIGTERM)
    server.err.wait("draining")
    server.signal(signal.SIGUSR1)
    server.err.wait("SIGUSR1: ignored")
    assert conn.response().closes
    assert server.wait() == 0


@pytest.mark.parametrize("signum", STOPS + [signal.SIGHUP],
                         ids=ids(STOPS + [signal.SIGHUP]))
def test_a_signal_that_the_parent_ignored_stays_ignored(serve, signum,
                                                        tmp_path):
    """As nohup has it, or `duskd &` in a script."""
    log = tmp_path / "log"
    server = serve("--access-log", log, preexec=ignore(signum))
    log.rename(tmp_path / "old")
    server.signal(signum)
    server.signal(signal.SIGUSR2)
    server.err.wait("SIGUSR2")
    with server.connect() as conn:
        assert conn.get().status == 200
    assert len(server.err.lines) == 2 and not log.exists()
    other = signal.SIGTERM if signum != signal.SIGTERM else signal.SIGINT
    server.signal(other)
    assert server.wait() == 0


def test_all_stops_ignored_serves_on(serve):
    everything = STOPS + [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2]
    server = serve(preexec=ignore(*everything))
    for signum in everything:
        server.signal(signum)
    with server.connect() as conn:
        assert conn.get().status == 200
    server.kill()
    assert len(server.err.all()) == 1


@pytest.mark.parametrize("signum", STOPS, ids=ids(STOPS))
def test_a_stop_that_the_parent_blocked_is_unblocked(serve, signum):
    server = serve(preexec=block(signum, signal.SIGHUP, signal.SIGPIPE))
    server.signal(signal.SIGHUP)
    server.err.wait("SIGHUP")
    server.signal(signum)
    assert server.wait() == 0


def test_a_stop_that_came_before_the_start_is_obeyed(run):
    """Blocked by the parent, and pending when duskd begins."""

    def before_exec():
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        os.kill(os.getpid(), signal.SIGTERM)

    server = run(duskd(), "--listen", "127.0.0.1:0", preexec=before_exec)
    server.err.wait("SIGTERM: draining")
    assert server.wait() == 0


def test_an_alarm_that_the_parent_blocked_is_unblocked(serve):
    """It ends a process that is stuck."""
    server = serve(preexec=block(signal.SIGALRM))
    with open(f"/proc/{server.pid}/status", encoding="latin-1") as status:
        blocked = next(int(line.split()[1], 16) for line in status
                       if line.startswith("SigBlk"))
    assert not blocked >> (signal.SIGALRM - 1) & 1


def test_an_alarm_that_the_parent_set_ends_it(serve):
    """perl -e 'alarm 60; exec @ARGV' bounds a program's life."""
    server = serve(preexec=lambda: signal.setitimer(signal.ITIMER_REAL, 3))
    assert server.wait() == -signal.SIGALRM


def test_one_stop_by_timeout_is_no_second(run):
    """timeout(1) signals its child, and then its whole group."""
    server = run(shutil.which("timeout"), "60", duskd(), "--listen",
                 "127.0.0.1:0")
    conn = begin(server, "/?delay=500ms")
    server.signal(signal.SIGTERM)
    assert conn.response().body == b"hello\n"
    # its own exit status; duskd's is in the last line
    server.wait()
    assert server.err.all()[-1].startswith("duskd: drained in ")


def test_first_process_of_a_namespace_ends_like_any_other(run):
    """As in a container without an init."""
    unshare = shutil.which("unshare")
    argv = [unshare, "--pid", "--fork", "--kill-child"]
    if not unshare or subprocess.run([*argv, "true"], check=False,
                                     capture_output=True).returncode:
        pytest.skip("no namespaces here")
    server = run(*argv, duskd(), "--listen", "127.0.0.1:0")
    with open(f"/proc/{server.pid}/task/{server.pid}/children",
              encoding="ascii") as children:
        child = int(children.read().split()[0])
    conn = begin(server, "/?delay=500ms")
    os.kill(child, signal.SIGTERM)
    assert conn.response().body == b"hello\n"
    assert server.wait() == 0


def test_a_new_session_changes_nothing(serve):
    server = serve(preexec=os.setsid)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


# -- Descriptors --------------------------------------------------------------


def closing(*fds):
    def before_exec():
        for fd in fds:
            os.close(fd)
    return before_exec


def links(pid):
    """What its descriptors are; one may be closed while we look."""
    folder = f"/proc/{pid}/fd"
    found = {}
    for fd in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            found[int(fd)] = os.readlink(f"{folder}/{fd}")
    return found


def start_on(listener, *flags, preexec, **kw):
    """Starts duskd by hand, for outputs of other kinds; returns when it
    answers."""
    child = subprocess.Popen(
        [duskd(), "--listen", f"fd:{listener.fileno()}", *flags],
        pass_fds=[listener.fileno()], preexec_fn=preexec, **kw)
    address = "127.0.0.1:%d" % listener.getsockname()[1]
    with Conn(address) as conn:
        assert conn.get().status == 200
    return child, address


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.mark.parametrize("fds", [(0,), (1,), (2,), (0, 1, 2)])
def test_closed_standard_descriptors_are_not_reused(listener, fds):
    child, address = start_on(listener, "--access-log", "-",
                              preexec=closing(*fds))
    try:
        open_files = links(child.pid)
        for fd in fds:
            assert open_files[fd] == "/dev/null"
        child.send_signal(signal.SIGHUP)
        with Conn(address) as conn:
            assert conn.get().status == 200
        child.terminate()
        assert child.wait(PATIENCE) == 0
    finally:
        child.kill()
        child.wait()


def test_the_soft_limit_of_descriptors_becomes_the_hard_one(serve):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    server = serve(preexec=limit(resource.RLIMIT_NOFILE, 20, hard))
    assert resource.prlimit(server.pid, resource.RLIMIT_NOFILE) == (hard, hard)


@pytest.mark.parametrize("count", range(4, 20))
def test_too_few_descriptors_are_told_or_suffice(count):
    child = subprocess.Popen(
        [duskd(), "--listen", "127.0.0.1:0", "--drain-timeout", "10s"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
        preexec_fn=limit(resource.RLIMIT_NOFILE, count))
    try:
        line = child.stderr.readline()
        if "listening on" in line:
            with Conn(line.split()[-1]) as conn:
                assert conn.get(close=True).status == 200
            child.terminate()
            assert child.wait(PATIENCE) == 0
        else:
            assert child.wait(PATIENCE) == 1
            assert "duskd: cannot" in line and "descriptors" in line
    finally:
        child.kill()
        child.communicate()


def test_ten_descriptors_are_too_few():
    done = subprocess.run([duskd(), "--listen", "127.0.0.1:0"],
                          stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=PATIENCE, check=False,
                          preexec_fn=limit(resource.RLIMIT_NOFILE, 10))
    assert done.returncode == 1
    assert "ulimit -n" in done.stderr


def test_running_out_of_descriptors_is_told_seldom(serve):
    """Each answered client makes room, and the next one uses it up again."""
    server = serve(preexec=limit(resource.RLIMIT_NOFILE, 30))
    began = time.monotonic()
    clients = [server.connect() for _ in range(60)]
    server.err.wait("can't be accepted for now.*too many open files")
    for conn in clients:
        assert conn.get().status == 200
        conn.close()
    told = [line for line in server.err.lines if "too many" in line]
    assert len(told) <= time.monotonic() - began + 1
    server.signal()
    assert server.wait() == 0


# -- Standard error -----------------------------------------------------------


def end_by_signal(child, address):
    """It serves, takes every signal and drains."""
    for signum in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        child.send_signal(signum)
    with Conn(address) as conn:
        assert conn.get().status == 200
    child.terminate()
    assert child.wait(PATIENCE) == 0


@pytest.fixture
def end(request):
    """Ends what a test has started by hand."""
    children = []

    def keep(started):
        children.append(started[0])
        return started

    yield keep
    for child in children:
        child.kill()
        child.wait()


def full_pipe():
    """A pipe that takes no byte more, both its ends."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for size in (65536, 1):
        try:
            while True:
                os.write(writer, b"x" * size)
        except BlockingIOError:
            pass
    os.set_blocking(writer, True)
    return reader, writer


def test_standard_error_that_is_a_full_pipe_holds_nothing_up(listener, end):
    reader, writer = full_pipe()
    child, address = end(start_on(listener, preexec=None, stderr=writer))
    os.close(writer)
    end_by_signal(child, address)
    os.close(reader)


def test_standard_error_that_is_a_broken_pipe_stops_nothing(listener, end):
    reader, writer = os.pipe()
    os.close(reader)
    child, address = end(start_on(listener, preexec=None, stderr=writer))
    os.close(writer)
    end_by_signal(child, address)


@pytest.mark.parametrize("flags", [[], ["--access-log", "-"]])
def test_outputs_that_are_full_disks_stop_nothing(listener, end, flags):
    with open("/dev/full", "wb") as full:
        child, address = end(start_on(listener, *flags, preexec=None,
                                      stdout=full, stderr=full))
    end_by_signal(child, address)


def test_messages_of_a_full_file_are_never_glued(listener, end, tmp_path):
    """Standard error reaches its size limit within a line; when there is room
    again that line is ended before the next one."""
    path = tmp_path / "err"
    path.write_bytes(b"x" * 999 + b"\n")
    size = 1000 + len("duskd: listen")
    with open(path, "ab") as err:
        child, address = end(start_on(
            listener, stderr=err, preexec=lambda: resource.setrlimit(
                resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))))
    assert path.read_bytes().endswith(b"\nduskd: listen")
    resource.prlimit(child.pid, resource.RLIMIT_FSIZE,
                     (resource.RLIM_INFINITY,) * 2)
    end_by_signal(child, address)
    lines = path.read_text().splitlines()[1:]
    assert lines[0] == "duskd: listen"
    assert all(line.count("duskd: ") == 1 for line in lines), lines
    assert "drained in" in lines[-1]


# -- What is told of a stop ---------------------------------------------------


def figures(server, word):
    """The progress lines, by the time that they say is left."""
    return [line for line in server.err.all() if f"; {word} in " in line]


def test_no_progress_is_told_at_the_cut(serve):
    """Both are due in the same turn of the loop, here twice."""
    server = serve("--drain-timeout", "2s", "--cancel-grace", "0")
    conn = begin(server)
    server.signal(signal.SIGTERM)
    assert server.wait() == 3
    assert conn.end() in ("eof", "reset")
    lines = figures(server, "cuts")
    assert len(lines) == 1
    assert "requests running: 1" in lines[0]


def test_no_progress_is_told_at_the_lame_ducks_end(serve):
    server = serve("--lame-duck", "2s")
    conn = begin(server, "/?delay=3500ms")
    server.signal(signal.SIGTERM)
    assert conn.response().status == 200
    assert server.wait() == 0
    assert len(figures(server, "drains")) == 1
    # the drain's own, a second after it began
    assert len(figures(server, "cuts")) == 1


def test_no_progress_is_told_after_a_second_stop(serve):
    server = serve("--lame-duck", "1m")
    conn = begin(server)
    server.signal(signal.SIGTERM)
    server.err.wait("; drains in ")
    server.signal(signal.SIGTERM)
    assert server.wait() == 4
    conn.end()
    lines = server.err.all()
    cut = next(i for i, line in enumerate(lines) if "a second signal" in line)
    assert not any(" in " in line and "running" in line and "; cuts" in line
                   for line in lines[cut:])


# -- Exit statuses ------------------------------------------------------------


def test_what_was_cut_for_standing_still_makes_the_status_3(serve):
    """A client that sends half of its body and no more, well before the
    bound."""
    server = serve("--drain-timeout", "1m", "--max-body-bytes", "0")
    with server.connect(rcvbuf=4096) as conn:
        conn.send(b"POST /echo HTTP/1.1\r\nHost: h\r\n"
                  b"Content-Length: 100000000\r\n\r\n")
        try:  # it reads nothing of the echo, until both sides are full
            conn.sock.settimeout(1)
            while True:
                conn.sock.send(b"x" * 65536)
        except TimeoutError:
            pass
        server.signal(signal.SIGTERM)
        assert server.wait() == 3
    assert "1 cut" in server.err.all()[-1]


def test_help_tells_when_the_status_is_3():
    done = subprocess.run([duskd(), "--help"], capture_output=True, text=True,
                          timeout=PATIENCE, check=True)
    text = " ".join(done.stdout.split())
    assert "3 something was cut or cancelled, by the drain timeout or for " \
        "standing still" in text
