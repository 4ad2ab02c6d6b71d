"""Limits and time-outs, by duskd's flags: each has its reply, which can be
read, says `Connection: close` and carries a Date; and what keeps within the
limit is served."""

import re
import time

import pytest

from harness import PATIENCE, chunked, request

CHUNKED_HEAD = (b"POST /echo HTTP/1.1\r\nHost: h\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n")


def assert_refused(conn, *statuses):
    response = conn.response()
    assert response.status in statuses, response
    assert response.closes, response
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT",
                        response.get("Date") or ""), response
    assert conn.end() == "eof"
    assert conn.buffer == b""


# -- Sizes --------------------------------------------------------------------


# SRV-134
def test_414_for_a_request_line_that_is_too_long(serve):
    server = serve("--max-header-bytes", "2000")
    with server.connect() as conn:
        assert conn.get("/" + "a" * 1800).status == 200
        conn.request("GET", "/" + "a" * 3000)
        assert_refused(conn, 414)


# SRV-134
def test_414_before_the_line_is_complete(serve):
    server = serve("--max-header-bytes", "2000")
    with server.connect() as conn:
        conn.send(b"GET /" + b"a" * 3000)
        assert_refused(conn, 414)


def test_srv_133_a_header_that_is_too_large_is_431(serve):
    server = serve("--max-header-bytes", "2000")
    with server.connect() as conn:
        assert conn.get("/", headers=[("A", "b" * 1800)]).status == 200
        conn.request("GET", "/", [("A", "b" * 3000)])
        assert_refused(conn, 431)


def test_431_before_the_header_is_complete(serve):
    server = serve("--max-header-bytes", "2000")
    with server.connect() as conn:
        conn.send(b"GET / HTTP/1.1\r\nHost: h\r\n" + b"A: b\r\n" * 400)
        assert_refused(conn, 431)


# SRV-133
def test_431_at_the_default_limit(serve):
    server = serve()
    with server.connect() as conn:
        assert conn.get("/", headers=[("A", "b" * 60000)]).status == 200
        conn.request("GET", "/", [("A", "b" * 80000)])
        assert_refused(conn, 431)


def test_srv_135_too_many_fields_are_431(lab):
    server = lab("header-count=20")
    with server.connect() as conn:
        assert conn.get("/hello", headers=[("A", "b")] * 19).status == 200
        assert conn.get("/hello", headers=[("A", "b, " * 30)]).status == 200
        conn.request("GET", "/hello", [("A", "b")] * 25)
        assert_refused(conn, 431)


def test_431_at_the_default_number_of_fields(serve):
    server = serve()
    with server.connect() as conn:
        assert conn.get("/", headers=[("A", "b")] * 499).status == 200
        conn.request("GET", "/", [("A", "b")] * 501)
        assert_refused(conn, 431)


# SRV-137
def test_413_for_a_declared_body_that_is_too_large(serve):
    server = serve("--max-body-bytes", "1000")
    with server.connect() as conn:
        assert conn.post("/echo", "x" * 1000).body == b"x" * 1000
        conn.request("POST", "/echo", body="x" * 1001)
        assert_refused(conn, 413)


def test_413_before_the_body_is_sent(serve):
    server = serve("--max-body-bytes", "1000")
    with server.connect() as conn:
        conn.send(b"POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
                  b"Content-Length: 1001\r\n\r\n")
        assert_refused(conn, 413)


# SRV-137
def test_413_for_a_chunked_body_that_is_too_large(serve):
    server = serve("--max-body-bytes", "1000")
    with server.connect() as conn:
        conn.send(CHUNKED_HEAD + chunked(b"x" * 1000))
        assert conn.response().body == b"x" * 1000
        conn.send(CHUNKED_HEAD + chunked(b"x" * 1001))
        assert_refused(conn, 413)


def test_srv_176_the_largest_length_is_read_and_too_large(serve):
    server = serve()
    with server.connect() as conn:
        conn.send(b"POST /echo HTTP/1.1\r\nHost: h\r\n"
                  b"Content-Length: 9223372036854775807\r\n\r\n")
        assert_refused(conn, 413)


def test_srv_186_chunk_overhead_is_limited(lab):
    """An extension or a trailer without end is refused, however slowly it
    comes; a limit has a reply."""
    server = lab("body=1000")
    for endless in (b"5;" + b"a" * 200000, b"0\r\n" + b"A: b\r\n" * 40000):
        with server.connect() as conn:
            conn.send(b"POST /collect HTTP/1.1\r\nHost: h\r\n"
                      b"Transfer-Encoding: chunked\r\n\r\n")
            try:
                conn.send(endless)
            except (BrokenPipeError, ConnectionResetError):
                pass
            assert_refused(conn, 400, 413, 431)


# SRV-137
def test_0_is_no_limit(serve):
    server = serve("--max-body-bytes", "0")
    with server.connect() as conn:
        body = b"x" * 3_000_000
        assert conn.post("/echo", body).body == body


# -- Connections --------------------------------------------------------------


def test_connections_beyond_the_limit_wait(serve):
    server = serve("--max-connections", "2")
    first, second, third = (server.connect() for _ in range(3))
    assert first.get().status == second.get().status == 200
    third.request()
    assert third.quiet(0.3)
    first.close()
    assert third.response().body == b"hello\n"
    assert second.get().status == 200


# -- Times --------------------------------------------------------------------


# SRV-113
@pytest.mark.parametrize("sent", [b"G", b"GET / HTTP/1.1\r\n",
                                  request()[:-2]])
def test_408_for_a_header_that_is_not_complete_in_time(serve, sent):
    server = serve("--header-timeout", "300ms")
    with server.connect() as conn:
        conn.send(sent)
        assert_refused(conn, 408)


# SRV-113
def test_408_for_a_header_that_comes_in_drops(serve):
    """The time counts for the whole header, not for each byte."""
    server = serve("--header-timeout", "800ms")
    with server.connect() as conn:
        conn.send(b"GET / HTTP/1.1\r\nHost: h\r\nA: ")
        started = time.monotonic()
        try:
            while conn.quiet(0.1):
                conn.send(b"b")
                assert time.monotonic() - started < PATIENCE
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert_refused(conn, 408)


# SRV-115
def test_srv_120_140_silent_connections_are_closed_without_a_reply(serve):
    server = serve("--header-timeout", "300ms", "--idle-timeout", "60s")
    started = time.monotonic()
    with server.connect() as conn:
        assert conn.end() == "eof"
        assert time.monotonic() - started > 0.24  # four fifths, as in Go
        assert conn.buffer == b""


def test_srv_128_idle_connections_are_closed_without_a_reply(serve):
    server = serve("--idle-timeout", "400ms")
    with server.connect() as conn:
        assert conn.get().status == 200
        assert conn.end() == "eof"
        assert conn.buffer == b""


def test_srv_115_idle_time_does_not_count_for_the_header(serve):
    server = serve("--header-timeout", "300ms")
    with server.connect() as conn:
        assert conn.get().status == 200
        time.sleep(0.8)
        assert conn.get().status == 200


def test_srv_130_the_first_byte_of_a_further_request_begins_its_header(serve):
    server = serve("--header-timeout", "300ms", "--idle-timeout", "60s")
    with server.connect() as conn:
        assert conn.get().status == 200
        conn.send(b"G")
        assert_refused(conn, 408)


def test_srv_121_times_count_for_each_request(serve):
    server = serve("--header-timeout", "1s", "--idle-timeout", "1s")
    with server.connect() as conn:
        for _ in range(5):
            assert conn.get().status == 200
            time.sleep(0.4)


# SRV-116
def test_408_for_a_body_that_stalls(serve):
    server = serve("--body-timeout", "300ms")
    with server.connect() as conn:
        conn.send(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10"
                  b"\r\n\r\n")
        assert_refused(conn, 408)


# SRV-116
def test_a_body_that_moves_slowly_is_read(serve):
    server = serve("--body-timeout", "1s")
    with server.connect() as conn:
        conn.send(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 6"
                  b"\r\n\r\n")
        for byte in (b"a", b"b", b"c", b"d", b"e", b"f"):
            conn.send(byte)
            time.sleep(0.3)
        assert conn.response().body == b"abcdef"


def test_srv_102_a_body_that_stalls_after_the_echo_began(serve):
    server = serve("--body-timeout", "300ms")
    with server.connect() as conn:
        conn.send(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10"
                  b"\r\n\r\nabc")
        assert conn.head().status == 200
        assert conn.end() in ("eof", "reset")
        assert conn.buffer == b"abc"


# SRV-123
def test_a_client_that_takes_nothing_is_cut(lab):
    server = lab("write=400", "lines=1")
    with server.connect() as conn:
        conn.request("GET", "/big?bytes=60000000")
        server.err.wait("^released$")
        server.err.wait("^ended GET /big.* 200 .*(?<! ok)$")


# SRV-122
def test_a_client_that_takes_slowly_is_served(lab):
    """What counts is what the client has taken, not whether there is room for
    more in our socket."""
    server = lab("write=1000")
    size = 6_000_000
    with server.connect(rcvbuf=65536) as conn:
        conn.request("GET", f"/big?bytes={size}")
        conn.head()
        for _ in range(15):
            conn.exactly(50_000)
            time.sleep(0.2)
        conn.exactly(size - 15 * 50_000)
        assert conn.get("/hello").status == 200


def test_srv_124_a_slow_handler_is_no_slow_client(lab):
    """Nor are three together."""
    server = lab("write=400")
    with server.connect() as conn:
        for _ in range(3):
            assert conn.get("/delay?ms=200").status == 200


def test_srv_125_the_time_to_write_ends_with_the_answer(lab):
    server = lab("write=1000")
    with server.connect() as conn:
        assert conn.get("/big?bytes=10000000").status == 200
        assert conn.quiet(1.5)
        assert conn.get("/hello").status == 200


def test_503_for_a_handler_that_takes_too_long(serve):
    server = serve("--request-timeout", "300ms")
    with server.connect() as conn:
        assert conn.get("/?delay=10ms").status == 200
        response = conn.get("/?delay=20s")
        assert response.status == 503
    with server.connect() as conn:
        assert conn.get().status == 200


# SRV-119
def test_0_is_no_time_limit(serve):
    server = serve("--header-timeout", "0", "--idle-timeout", "0",
                   "--body-timeout", "0")
    with server.connect() as conn:
        conn.send(b"GET / HT")
        assert conn.quiet(0.5)
        assert conn.send(b"TP/1.1\r\nHost: h\r\n\r\n").response().status == 200
        conn.send(b"POST /echo HTTP/1.1\r\nHost: h\r\n"
                  b"Content-Length: 4\r\n\r\n")
        assert conn.quiet(0.5)
        assert conn.send(b"body").response().body == b"body"
        assert conn.quiet(0.5)
        assert conn.get().status == 200
