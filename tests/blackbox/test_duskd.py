"""duskd as its operator sees it: flags, environment, routes, logs, exits."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess

import pytest

from harness import PATIENCE, duskd, poll_until, request

FLAGS = ["listen", "threads", "drain-timeout", "lame-duck", "quiet-window",
         "cancel-grace", "idle-timeout", "header-timeout", "body-timeout",
         "write-timeout", "request-timeout", "max-header-bytes",
         "max-body-bytes", "max-connections", "access-log", "log-format",
         "log-level", "help", "version"]


def call(*arguments, **env):
    """Runs duskd to its end, which is at once; status, stdout, stderr."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("DUSK_")}
    done = subprocess.run([duskd(), *arguments], env={**clean, **env},
                          capture_output=True, text=True, timeout=PATIENCE,
                          check=False, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout, done.stderr


# -- Flags --------------------------------------------------------------------


def test_help_tells_every_flag_and_default():
    status, out, err = call("--help")
    assert (status, err) == (0, "")
    for flag in FLAGS:
        assert f"--{flag}" in out, flag
    for default in (":8080", "10s", "1s", "250ms", "60s", "30s", "64K",
                    "1M"):
        assert default in out, default
    assert "DUSK_" in out


def test_version_tells_what_it_was_built_with():
    status, out, err = call("--version")
    assert (status, err) == (0, "")
    assert re.search(r"duskd \d+\.\d+\.\d+", out)
    assert re.search(r"libuv \d+\.\d+", out)
    assert re.search(r"llhttp \d+\.\d+", out)


USAGE = {
    "unknown flag": ["--frobnicate"],
    "unknown short flag": ["-x"],
    "argument": ["8080"],
    "flag without value": ["--listen"],
    "duration without unit": ["--drain-timeout", "10"],
    "duration of words": ["--drain-timeout", "soon"],
    "duration empty": ["--drain-timeout", ""],
    "duration negative": ["--drain-timeout", "-1s"],
    "duration with unknown unit": ["--idle-timeout", "5d"],
    "duration too large": ["--idle-timeout", "99999999999999999999h"],
    "size of words": ["--max-body-bytes", "much"],
    "size negative": ["--max-body-bytes", "-5"],
    "size with unknown unit": ["--max-header-bytes", "5X"],
    "count with point": ["--max-connections", "1.5"],
    "threads of words": ["--threads", "many"],
    "threads negative": ["--threads", "-1"],
    "threads too many": ["--threads", "1025"],
    "log format": ["--log-format", "xml"],
    "log level": ["--log-level", "loud"],
    "address of words": ["--listen", "nonsense"],
    "address with large port": ["--listen", "127.0.0.1:99999"],
    "address without port": ["--listen", "127.0.0.1"],
    "address with port of words": ["--listen", ":http-ish"],
    "address without closing bracket": ["--listen", "[::1:80"],
    "address with empty path": ["--listen", "unix:"],
    "address with fd of words": ["--listen", "fd:x"],
}


@pytest.mark.parametrize("arguments", USAGE.values(), ids=USAGE.keys())
def test_wrong_usage_is_told_in_one_line(arguments):
    status, out, err = call(*arguments)
    assert (status, out) == (2, "")
    assert re.fullmatch(r"duskd: [^\n]+\n", err), err
    assert arguments[-1] in err, "it doesn't say what is wrong"


def test_one_thread_is_the_default_and_may_be_asked_for(serve):
    assert re.search(r"--threads N +1 ", call("--help")[1])
    with serve("--threads", "1").connect() as conn:
        assert conn.get().status == 200


def test_wrong_environment_is_told_in_one_line():
    status, out, err = call(DUSK_DRAIN_TIMEOUT="soon")
    assert (status, out) == (2, "")
    assert re.fullmatch(r"duskd: [^\n]*DUSK_DRAIN_TIMEOUT[^\n]*\n", err), err


def test_port_in_use_is_told_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        status, out, err = call("--listen", address)
    assert (status, out) == (1, "")
    assert re.fullmatch(r"duskd: [^\n]+\n", err), err
    assert address in err
    assert "in use" in err


def test_started_twice_on_one_port(serve):
    first = serve()
    status, _, err = call("--listen", first.address)
    assert status == 1
    assert "in use" in err
    with first.connect() as conn:
        assert conn.get().status == 200


def test_second_address_in_use_starts_nothing():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        status, _, err = call("--listen", "127.0.0.1:0", "--listen", address)
    assert status == 1
    assert address in err


@pytest.mark.parametrize("address", ["203.0.113.1:0", "fd:97",
                                     "unix:/nonexistent/directory/socket"])
def test_address_that_cannot_be_had(address):
    status, out, err = call("--listen", address)
    assert (status, out) == (1, "")
    assert re.fullmatch(r"duskd: [^\n]+\n", err), err
    assert address in err


def test_access_log_that_cannot_be_opened():
    status, out, err = call("--listen", "127.0.0.1:0", "--access-log",
                            "/nonexistent/directory/log")
    assert (status, out) == (1, "")
    assert "/nonexistent/directory/log" in err


def test_several_addresses(run):
    server = run(duskd(), "--listen", "127.0.0.1:0", "--listen=127.0.0.1:0",
                 listeners=2)
    assert server.addresses[0] != server.addresses[1]
    for index in range(2):
        with server.connect(index) as conn:
            assert conn.get().status == 200
    server.signal()
    assert server.wait() == 0


def test_environment_is_read_and_the_command_line_wins(run):
    server = run(duskd(), env={"DUSK_LISTEN": "127.0.0.1:0",
                               "DUSK_MAX_BODY_BYTES": "10"})
    with server.connect() as conn:
        assert conn.post("/echo", "x" * 20).status == 413
    server = run(duskd(), "--max-body-bytes=1K",
                 env={"DUSK_LISTEN": "127.0.0.1:0",
                      "DUSK_MAX_BODY_BYTES": "10"})
    with server.connect() as conn:
        assert conn.post("/echo", "x" * 20).status == 200
        assert conn.post("/echo", "x" * 1025).status == 413


def test_durations_in_gos_notation(serve):
    server = serve("--idle-timeout", "0.3s", "--header-timeout", "1m30s",
                   "--drain-timeout", "1h", "--body-timeout=1.5s")
    with server.connect() as conn:
        assert conn.get().status == 200
        assert conn.end() == "eof"


def test_start_is_one_line_an_address(serve):
    server = serve()
    with server.connect() as conn:
        assert conn.get().status == 200
    assert server.err.lines == [f"duskd: listening on {server.address}"]


def test_log_level_error_is_silent(run):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = run(duskd(), "--listen", f"fd:{listener.fileno()}",
                     "--log-level", "error", listeners=0,
                     pass_fds=(listener.fileno(),))
        server.addresses = ["127.0.0.1:%d" % listener.getsockname()[1]]
        with server.connect() as conn:
            assert conn.get().status == 200
        server.signal()
        assert server.wait() == 0
    assert server.err.all() == []


# -- Routes -------------------------------------------------------------------


def test_hello(shared_duskd):
    with shared_duskd.connect() as conn:
        response = conn.get("/")
        assert response.body == b"hello\n"
        assert response.get("Content-Type") == "text/plain; charset=utf-8"
        head = conn.request("HEAD", "/").response("HEAD")
        assert head.get("Content-Length") == "6"


def test_delay(shared_duskd):
    with shared_duskd.connect() as conn:
        conn.request("GET", "/?delay=400ms")
        assert conn.quiet(0.2)
        assert conn.response().body == b"hello\n"
        for bad in ("soon", "-1s", "10"):
            assert conn.get(f"/?delay={bad}").status == 400


def test_echo(shared_duskd):
    with shared_duskd.connect() as conn:
        for body in (b"", b"x", os.urandom(1000), b"y" * 1000000):
            response = conn.post("/echo", body,
                                 headers=[("Content-Type", "a/b")])
            assert response.body == body
            assert response.get("Content-Type") == "a/b"


def test_stream(shared_duskd):
    with shared_duskd.connect() as conn:
        response = conn.get("/stream?count=3&interval=50ms")
        assert response.status == 200
        assert response.get("Transfer-Encoding") == "chunked"
        assert len(response.chunks) == 3
        assert conn.get().status == 200
        for bad in ("count=x", "count=-1", "interval=soon"):
            assert conn.get(f"/stream?{bad}").status == 400


def test_health_and_readiness(shared_duskd):
    with shared_duskd.connect() as conn:
        assert conn.get("/healthz").status == 200
        assert conn.get("/readyz").status == 200


def test_delay_ends_early_when_the_connection_is_reset(serve):
    """Else the drain would wait for it."""
    server = serve("--access-log", "-", "--drain-timeout", "20s")
    conn = server.connect().request("GET", "/?delay=1m").wait_read()
    conn.reset()
    server.out.wait(r"/\?delay=1m")
    server.signal()
    assert server.wait(10) == 0


def test_stream_ends_early_when_the_client_goes(serve):
    server = serve("--access-log", "-")
    conn = server.connect().request("GET", "/stream?count=900&interval=50ms")
    assert conn.head().status == 200
    conn.close()
    server.out.wait("/stream")


def test_stream_ends_early_between_its_lines_when_it_is_reset(serve):
    server = serve("--access-log", "-")
    conn = server.connect().request("GET", "/stream?count=9&interval=1h")
    assert conn.head().status == 200
    conn.reset()
    server.out.wait("/stream")


def half_closed(server, *args, **kw):
    conn = server.connect().request(*args, **kw)
    conn.sock.shutdown(socket.SHUT_WR)
    return conn


@pytest.mark.parametrize("wait", [False, True])
def test_a_client_that_half_closes_gets_its_answer(shared_duskd, wait):
    """As nc -N, and some proxies, do: with its request, or when that has been
    read."""
    conn = shared_duskd.connect().request("GET", "/?delay=300ms")
    if wait:
        conn.wait_read()
    conn.sock.shutdown(socket.SHUT_WR)
    assert conn.response().body == b"hello\n"
    assert conn.end() == "eof"


def test_a_client_that_half_closes_gets_a_whole_stream(shared_duskd):
    conn = half_closed(shared_duskd, "GET", "/stream?count=5&interval=50ms")
    response = conn.response()
    assert response.chunks[-1] == b"5 of 5\n"
    assert len(response.chunks) == 5
    assert conn.end() == "eof"


def test_a_client_that_half_closes_gets_its_echo(shared_duskd):
    body = os.urandom(900000)
    conn = half_closed(shared_duskd, "POST", "/echo", body=body)
    assert conn.response().body == body
    assert conn.end() == "eof"


def test_a_client_that_half_closes_is_answered_in_the_drain(serve):
    server = serve()
    delay = half_closed(server, "GET", "/?delay=500ms").wait_read()
    stream = half_closed(server, "GET", "/stream?count=900&interval=20ms")
    assert stream.head().status == 200
    server.signal()
    assert delay.response().body == b"hello\n"
    while stream.chunk():
        pass
    assert server.wait() == 0


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl")
def test_curl_uploads_a_file(shared_duskd, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(os.urandom(100000))
    url = f"http://{shared_duskd.address}/echo"
    for arguments in (["-T", str(file)], ["--data-binary", f"@{file}"],
                      ["-T", "-"]):
        with open(file, "rb") as stdin:
            done = subprocess.run(["curl", "-sSf", *arguments, url],
                                  capture_output=True, timeout=PATIENCE,
                                  check=False, stdin=stdin)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout == file.read_bytes()


# -- Logs ---------------------------------------------------------------------


def test_access_log_is_off_by_default(serve):
    server = serve()
    with server.connect() as conn:
        assert conn.get().status == 200
    server.signal()
    assert server.wait() == 0
    assert server.out.all() == []
    assert not any("GET" in line for line in server.err.all())


def test_access_log_on_standard_output(serve):
    server = serve("--access-log", "-")
    with server.connect() as conn:
        conn.get("/some/path?x=1")
        conn.post("/echo", "four")
        conn.get("/?delay=bad")
        server.out.wait(r'127\.0\.0\.1 .*"GET /some/path\?x=1 HTTP/1\.1" 200 6')
        server.out.wait('"POST /echo HTTP/1.1" 200 4')
        server.out.wait(r'"GET /\?delay=bad HTTP/1\.1" 400 ')
    server.signal()
    assert server.wait() == 0
    assert len(server.out.all()) == 3


def test_access_log_in_a_file(serve, tmp_path):
    log = tmp_path / "access.log"
    log.write_text("old line\n")
    server = serve("--access-log", log)
    with server.connect() as conn:
        for i in range(100):
            conn.get(f"/{i}")
    server.signal()
    assert server.wait() == 0
    lines = log.read_text().splitlines()
    assert lines[0] == "old line"
    assert [re.search(r'"GET /(\d+) ', line)[1] for line in lines[1:]] == [
        str(i) for i in range(100)]


def test_access_log_cannot_be_forged(serve):
    server = serve("--access-log", "-")
    with server.connect() as conn:
        conn.get('/%0d%0a"200\\')
    server.signal()
    assert server.wait() == 0
    lines = server.out.all()
    assert len(lines) == 1
    assert lines[0].count('"') == 2 + lines[0].count('\\"')


def test_json_logs(serve):
    server = serve("--access-log", "-", "--log-format", "json")
    with server.connect() as conn:
        conn.get('/"quoted"')
    server.signal()
    assert server.wait() == 0
    access = [json.loads(line) for line in server.out.all()]
    assert [(a["method"], a["target"], a["status"]) for a in access] == [
        ("GET", '/"quoted"', 200)]
    messages = [json.loads(line) for line in server.err.all()]
    assert messages[0]["msg"] == f"listening on {server.address}"
    assert messages[-1]["conns_now"] == 0


def test_standard_output_that_nobody_reads_any_more(serve):
    """A pipe whose reader is gone costs log lines, not the service."""
    server = serve("--access-log", "/dev/full")
    with server.connect() as conn:
        for _ in range(3):
            assert conn.get().status == 200
    server.signal()
    assert server.wait() == 0


# -- Life ---------------------------------------------------------------------


def test_killed_it_can_be_started_again_at_once(run):
    server = run(duskd(), "--listen", "127.0.0.1:0")
    with server.connect() as conn:
        assert conn.get().status == 200
        server.signal(signal.SIGKILL)
        assert server.wait() == -signal.SIGKILL
    again = run(duskd(), "--listen", server.address)
    with again.connect() as conn:
        assert conn.get().status == 200


def test_clients_that_hang_up_cost_nothing(serve):
    """SIGPIPE and EPIPE: many leave while they are written to."""
    server = serve()
    for _ in range(50):
        conn = server.connect().send(request() * 200)
        conn.reset()
    with server.connect() as conn:
        assert conn.get().status == 200
    server.signal()
    assert server.wait() == 0


def test_descriptors_are_given_back(serve):
    server = serve()
    with server.connect() as conn:
        conn.get(close=True)
        conn.end()
    before = server.fds()
    conns = [server.connect() for _ in range(100)]
    for conn in conns:
        conn.get()
    assert server.fds() >= before + 100
    for conn in conns:
        conn.close()
    poll_until(lambda: server.fds() <= before)
