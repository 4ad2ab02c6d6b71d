"""Starting, serving, shutdown and close, and the contexts of requests. What a
stop costs whom is in test_drain.py."""

import json
import os
import re
import resource
import signal
import socket
import time

import pytest

from harness import (Conn, program, poll_until, refused, request,
                     wait_refused)

CLOSED = "http: Server closed"
TIMED_OUT = "context deadline exceeded"


@pytest.fixture
def variant(run):
    return lambda *settings, listen=("127.0.0.1:0",), **kw: run(
        program("variant"), *[f"listen={a}" for a in listen], *settings, **kw)


@pytest.fixture(scope="module")
def again(shared_run):
    """What the program `again` says of servers at the edges of their life."""
    child = shared_run(program("again"), listeners=0)
    assert child.wait() == 0, child.err.lines
    return child.err.all()


def begin(server, target="/"):
    return server.connect().request("GET", target).wait_read()


def listening(port):
    """Whether anybody listens on that port of 127.0.0.1."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        return any(f":{port:04X} 00000000:0000 0A" in line for line in table)


# -- 1. Starting, serving, accepting ------------------------------------------


def test_srv_001_accepting_that_fails_for_good_ends_serving(variant):
    """A listener of ours is handed over, and then made to fail. SRV-021:
    connections that were accepted go on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = variant("stay=1", listen=(f"fd:{listener.fileno()}",),
                         pass_fds=(listener.fileno(),))
        with server.connect() as conn:
            assert conn.get().status == 200
            before = server.fds()
            listener.shutdown(socket.SHUT_RDWR)
            match = server.err.wait("^serve: (.*)$")
            assert match[1] not in ("ok", CLOSED)
            assert server.fds() == before - 1  # SRV-004: closed by then
            assert conn.get().status == 200
    server.signal()
    server.err.wait("^shutdown: ok$")
    server.signal(signal.SIGUSR1)
    assert server.wait() == 0


def test_srv_002_serve_ends_with_server_closed(variant):
    server = variant()
    server.signal()
    server.err.wait(f"^serve: {CLOSED}$")
    assert server.wait() == 0


def test_srv_003_serve_ends_while_requests_run(variant):
    server = variant("delay=1000")
    with begin(server) as conn:
        server.signal()
        server.err.wait(f"^serve: {CLOSED}$")
        assert not server.err.has("^shutdown")
        assert conn.response().status == 200
    assert server.wait() == 0
    lines = server.err.all()
    assert lines.index(f"serve: {CLOSED}") < lines.index("shutdown: ok")


def test_srv_004_listener_is_closed_with_serving(variant):
    server = variant("stay=1")
    port = int(server.address.rpartition(":")[2])
    assert listening(port)
    server.signal()
    server.err.wait("^shutdown: ok$")
    assert not listening(port)
    server.signal(signal.SIGUSR1)
    assert server.wait() == 0


@pytest.mark.parametrize("settings", [[], ["calls=2"], ["close=0"],
                                      ["bound=300"]])
def test_srv_005_a_listener_is_closed_once(run, settings):
    server = run(program("variant_close"), "listen=127.0.0.1:0", "delay=600",
                 *settings)
    with begin(server):
        server.signal()
        server.err.wait("^shutdown: ")
        server.wait()
    lines = server.err.all()
    assert lines.count("listener closed") == 1
    assert "closed twice" not in lines


@pytest.mark.parametrize("line", [
    f"shut down, serve: {CLOSED}",
    f"twice, serve again: {CLOSED}",
    f"closed, serve: {CLOSED}",
    "shut down, address: no such file or directory",
])
def test_srv_006_007_serving_after_the_end(again, line):
    assert line in again


def test_srv_008_bind_error_is_returned_at_once(variant):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        server = variant(listen=(address,), listeners=0)
        server.err.wait("^serve: address already in use$")


def test_srv_012_several_listeners(variant):
    server = variant(listen=["127.0.0.1:0"] * 3, listeners=3)
    for index in range(3):
        with server.connect(index) as conn:
            assert conn.get().status == 200
    server.signal()
    assert server.wait() == 0
    assert server.err.all().count(f"serve: {CLOSED}") == 3


def test_srv_014_shutdown_misses_no_accepted_connection(lab):
    """One that has sent nothing yet; its request comes after the signal."""
    server = lab("quiet=2000")
    with server.connect() as conn:
        conn.wait_read()  # accepted
        server.signal()
        server.err.wait("^serve:")
        response = conn.get("/hello")
        assert (response.status, response.closes) == (200, True)
    assert server.wait() == 0


FEW_FILES = 40


@pytest.fixture
def starved(lab):
    """A server that has run out of descriptors, and 60 clients of which it
    has some and the kernel the rest, each with a request sent."""

    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (FEW_FILES, FEW_FILES))

    server = lab("bound=20000", preexec=limit)
    clients = [server.connect() for _ in range(60)]
    poll_until(lambda: server.fds() == FEW_FILES)
    return server, clients


def test_srv_017_018_running_out_of_descriptors_is_not_fatal(starved):
    server, clients = starved
    for conn in clients:
        # closed by us once answered, which makes room for the next
        assert conn.get("/hello").status == 200
        conn.close()
    assert not server.err.has("^serve:")
    server.signal()
    assert server.wait() == 0


def test_srv_020_022_shutdown_while_accepting_is_paused(starved):
    server, clients = starved
    for conn in clients:
        conn.request("GET", "/hello")
    server.signal()
    for conn in clients:
        assert conn.response().status == 200
        assert conn.end() == "eof"
    assert server.wait() == 0
    assert [line for line in server.err.all() if line.startswith("serve:")] \
        == [f"serve: {CLOSED}"]


# -- 2. Shutdown --------------------------------------------------------------


def test_srv_023_a_shut_down_server_stays_so(again):
    assert f"twice, serve again: {CLOSED}" in again


def test_srv_024_033_connecting_fails_while_requests_run(variant):
    server = variant("delay=2000")
    with begin(server) as conn:
        server.signal()
        wait_refused(server.address)
        assert conn.quiet(0)
        assert conn.response().status == 200
    assert server.wait() == 0


def test_srv_025_056_059_hooks_run_in_order_and_are_not_waited_for(run):
    server = run(program("hooks"), "listen=127.0.0.1:0")
    server.signal()
    assert server.wait() == 0
    lines = server.err.all()
    hooks = [line for line in lines if line.startswith("hook ")]
    assert hooks[:2] == ["hook begins to connect", "hook slow begins"]
    assert lines.index("shutdown: ok") < lines.index("hook slow ends")


def test_srv_057_a_hook_registered_too_late_is_not_run(run):
    server = run(program("hooks"), "listen=127.0.0.1:0")
    server.signal()
    assert server.wait() == 0
    assert "hook late runs" not in server.err.all()


def test_srv_026_serve_ends_before_shutdown(variant):
    server = variant("stay=1", listen=["127.0.0.1:0"] * 2, listeners=2)
    server.signal()
    server.err.wait("^shutdown: ok$")
    lines = list(server.err.lines)
    before = lines[:lines.index("shutdown: ok")]
    assert before.count(f"serve: {CLOSED}") == 2
    server.signal(signal.SIGUSR1)
    assert server.wait() == 0


def test_srv_027_done_when_no_connection_is_left(variant):
    server = variant("bound=0")
    idle = server.connect()
    assert idle.get().status == 200
    unused = server.connect()
    server.signal()
    assert idle.end() == unused.end() == "eof"
    server.err.wait("^shutdown: ok$")
    assert server.wait() == 0


@pytest.mark.parametrize("settings, result", [
    (["bound=500"], TIMED_OUT),
    (["bound=9000", "cancel=300"], "context canceled"),
])
def test_srv_028_the_contexts_end_is_the_result(variant, settings, result):
    server = variant("delay=2500", *settings)
    with begin(server):
        server.signal()
        server.err.wait(f"^shutdown: {result}$")


def test_srv_029_a_bound_that_has_ended_harms_no_idle_server(again):
    assert "ended bound, shutdown: ok" in again
    assert f"ended bound, serve: {CLOSED}" in again


def test_srv_031_shutdown_ends_soon_after_the_last_connection(variant):
    server = variant("delay=500", "bound=20000")
    with begin(server) as conn:
        server.signal()
        assert conn.response().status == 200
        answered = time.monotonic()
        server.err.wait("^shutdown: ok$")
        assert time.monotonic() - answered < 2
    assert server.wait() == 0


def test_srv_032_a_request_is_not_interrupted(lab):
    server = lab()
    with begin(server, "/delay?ms=800") as conn:
        server.err.wait("^delay begins$")
        server.signal()
        response = conn.response()
        assert (response.status, response.body) == (200, b"hello\n")
        assert conn.end() == "eof"
    server.err.wait("^delay context: ok$")
    assert server.wait() == 0


def test_srv_040_responses_after_the_signal_say_close(lab):
    server = lab()
    with begin(server, "/delay?ms=1000") as conn:
        server.signal()
        assert conn.response().closes
    assert server.wait() == 0


def test_srv_041_a_response_begun_before_is_finished_and_closed(variant):
    server = variant("delay=800", "parts=4")
    with begin(server) as conn:
        head = conn.head()
        assert not head.closes
        assert head.get("Connection") is None
        server.signal()
        pieces = 0
        while conn.chunk():
            pieces += 1
        assert pieces >= 4
        assert conn.exactly(2) == b"\r\n"
        assert conn.end() == "eof"
    assert server.wait() == 0


UPGRADE = [("Connection", "Upgrade"), ("Upgrade", "echo")]


def test_srv_043_280_taken_over_connections_are_left_alone(run):
    """SRV-280."""
    server = run(program("takeover"), "listen=127.0.0.1:0")
    with server.connect() as conn:
        conn.request("GET", "/", UPGRADE)
        server.err.wait("^taken")
        server.signal()
        server.err.wait("^shutdown: ok$")
        assert conn.send(b"still here").exactly(10) == b"still here"
    assert server.wait() == 0


@pytest.mark.parametrize("size", [1, 8192, 102400])
def test_srv_282_early_bytes_come_with_the_connection(run, size):
    server = run(program("takeover"), "listen=127.0.0.1:0")
    early = os.urandom(size)
    with server.connect() as conn:
        conn.send(request("GET", "/", UPGRADE) + early)
        assert conn.exactly(size) == early
    server.signal()
    assert server.wait() == 0


def test_srv_046_success_is_no_error(again):
    assert "never served, shutdown: ok" in again


def test_srv_048_shutdown_may_be_called_again(again):
    assert "shut down, shutdown again: ok" in again


def test_srv_050_two_calls_both_return(again, variant):
    assert "twice, first: ok" in again
    assert "twice, second: ok" in again
    server = variant("calls=2", "delay=300")
    with begin(server) as conn:
        server.signal()
        assert conn.response().status == 200
    assert server.wait() == 0
    assert server.err.all().count("shutdown: ok") == 2


def test_srv_051_shutdown_of_a_server_that_never_served(again):
    assert "never served, shutdown: ok" in again


def test_srv_052_no_further_use(again):
    assert f"shut down, serve: {CLOSED}" in again


def test_a_shutdown_without_context_is_an_error(again):
    assert "no bound, shutdown: invalid argument" in again


def test_srv_053_054_a_handler_may_shut_its_server_down(lab):
    server = lab()
    with server.connect() as conn:
        response = conn.get("/shutdown?ms=300")
        assert (response.status, response.closes) == (200, True)
    server.err.wait("^shutdown from handler: ok$")
    assert server.wait() == 0


# -- 3. Close -----------------------------------------------------------------


def test_srv_060_061_062_close_cuts_all_at_once(lab):
    server = lab()
    unused = server.connect()
    idle = server.connect()
    assert idle.get("/hello").status == 200
    active = begin(server, "/watch")
    server.err.wait("^watch begins$")
    delayed = begin(server, "/delay?ms=300")
    caller = server.connect().request("GET", "/stop")
    for conn in (unused, idle, active, delayed, caller):
        assert conn.end() in ("eof", "reset")
        assert conn.buffer == b""
    assert refused(server.address)
    server.err.wait("^stop context: server closed$")
    server.err.wait("^stop write: context canceled$")
    server.err.wait("^stop end: context canceled$")
    server.err.wait("^watch: server closed$")
    server.err.wait("^delay end: context canceled$")
    assert server.wait() == 0


def test_srv_063_close_ends_serving(lab):
    server = lab()
    server.connect().request("GET", "/stop")
    server.err.wait(f"^serve: {CLOSED}$")
    assert server.wait() == 0


def test_srv_064_close_twice_and_without_serving(again):
    assert f"closed, serve: {CLOSED}" in again
    assert "closed, shutdown: ok" in again


def test_srv_065_close_leaves_taken_over_connections_alone(run):
    server = run(program("takeover"), "listen=127.0.0.1:0", "close=1")
    with server.connect() as conn:
        conn.request("GET", "/", UPGRADE)
        server.err.wait("^taken")
        server.signal()
        wait_refused(server.address)
        assert conn.send(b"still here").exactly(10) == b"still here"
    assert server.wait() == 0


def test_srv_067_close_ends_a_waiting_shutdown(again, variant):
    assert "closed meanwhile, shutdown: ok" in again
    server = variant("delay=2500", "close=300", "bound=9000")
    with begin(server) as conn:
        server.signal()
        server.err.wait("^shutdown: context canceled$")
        assert conn.end() in ("eof", "reset")


def test_a_server_that_is_given_up_is_closed(again):
    assert f"forgotten, serve: {CLOSED}" in again
    assert again[-1] == "done"


# -- 13. Request contexts -----------------------------------------------------


def test_srv_300_context_lives_while_the_handler_runs(lab):
    server = lab()
    with server.connect() as conn:
        assert conn.get("/delay?ms=50").status == 200
    server.err.wait("^delay context: ok$")


def test_srv_301_context_ends_with_the_response(lab):
    server = lab()
    with server.connect() as conn:
        assert conn.get("/watch-answered").status == 200
        server.err.wait("^watch: response ended$")
        assert conn.get("/hello").status == 200


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_srv_302_context_ends_when_the_client_goes(lab, leave):
    server = lab()
    conn = begin(server, "/watch")
    server.err.wait("^watch begins$")
    getattr(conn, leave)()
    server.err.wait("^watch: client gone$")
    with server.connect() as conn:
        assert conn.get("/hello").status == 200


def test_srv_303_half_close_ends_it_yet_the_response_is_delivered(lab):
    server = lab()
    with begin(server, "/watch") as conn:
        server.err.wait("^watch begins$")
        conn.sock.shutdown(socket.SHUT_WR)
        server.err.wait("^watch: client gone$")
        response = conn.response()
        assert (response.status, response.body) == (200, b"watched\n")
        assert conn.end() == "eof"


def test_request_timeout_ends_it(lab):
    server = lab("request=300")
    with server.connect() as conn:
        assert conn.get("/watch").status == 503
    server.err.wait("^watch: timed out$")


def test_srv_045_308_hard_cancel_of_the_drain_ends_it(lab):
    server = lab("bound=900", "grace=300")
    with begin(server, "/watch") as conn:
        server.err.wait("^watch begins$")
        server.signal()
        response = conn.response()  # in the grace
        assert (response.status, response.closes) == (200, True)
    server.err.wait("^watch: drain cancelled$")
    server.err.wait(f"^shutdown: {TIMED_OUT}$")
    report = json.loads(server.err.wait("^report: (.*)$")[1])
    assert report["requests_cancelled"] == 1
    assert report["requests_answered"] == 1
    assert server.wait() == 0


def test_access_lines_tell_how_requests_went(lab):
    server = lab("lines=1")
    with server.connect() as conn:
        conn.get("/hello")
        conn.get("/chunks?count=2")
    server.err.wait("^ended GET /hello 200 6 ok$")
    server.err.wait(r"^ended GET /chunks\?count=2 200 14 ok$")
    conn = begin(server, "/watch")
    server.err.wait("^watch begins$")
    conn.reset()
    line = server.err.wait("^ended GET /watch .*$")[0]
    assert not re.search(" ok$", line), line


def test_loop_closes_cleanly_with_clients_of_all_kinds(lab):
    """The program ends with status 0 only if its loop could be closed."""
    server = lab("bound=700", "grace=200")
    conns = [Conn(server.address) for _ in range(4)]
    conns[0].get("/hello")
    conns[1].send(b"GET /hello HTT").wait_read()
    conns[2].request("GET", "/big?bytes=30000000").wait_read()
    conns[3].send(b"POST /collect HTTP/1.1\r\nHost: h\r\n"
                  b"Content-Length: 100\r\n\r\nabc").wait_read()
    server.signal()
    server.err.wait("^released$")
    assert server.wait() == 0
    assert server.err.all()[-1] == "done"
