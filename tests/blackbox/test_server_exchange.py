"""Requests and responses on a connection: keeping it, pipelining, bodies,
100-continue, what a response says and leaves out. Core rows of the server
page's sections 5, 6, 9, 10 and 11."""

import os
import re
import shutil
import socket
import subprocess
import threading
import time

import pytest

from harness import (Ended, PATIENCE, chunked, is_sanitized, parallel,
                     poll_until, request)

V10 = {"version": "HTTP/1.0"}
KEEP = [("Connection", "keep-alive")]


# -- 5. Keeping the connection ------------------------------------------------


def test_srv_083_http_1_1_keeps_the_connection(shared_lab):
    with shared_lab.connect() as conn:
        for _ in range(5):
            response = conn.get("/hello")
            assert (response.status, response.closes) == (200, False)


def test_srv_084_client_can_close(shared_lab):
    with shared_lab.connect() as conn:
        assert conn.get("/hello", close=True).closes
        assert conn.end() == "eof"


@pytest.mark.parametrize("value", ["Close", "foo, close", "close,"])
def test_srv_092_close_is_a_token_of_a_list_in_any_case(shared_lab, value):
    with shared_lab.connect() as conn:
        assert conn.get("/hello", headers=[("Connection", value)]).closes
        assert conn.end() == "eof"


@pytest.mark.parametrize("options", [{}, {**V10, "headers": KEEP}])
def test_srv_085_086_handler_can_close(shared_lab, options):
    with shared_lab.connect() as conn:
        response = conn.get("/close", **options)
        assert response.status == 200
        assert (response.get("Connection") or "close").lower() == "close"
        assert conn.end() == "eof"
        assert conn.buffer == b""


def test_srv_087_http_1_0_closes(shared_lab):
    with shared_lab.connect() as conn:
        response = conn.get("/hello", **V10)
        assert response.body == b"hello\n"
        assert "keep-alive" not in (response.get("Connection") or "")
        assert conn.end() == "eof"


def test_srv_088_http_1_0_keeps_when_asked(shared_lab):
    with shared_lab.connect() as conn:
        for _ in range(3):
            response = conn.get("/hello", headers=KEEP, **V10)
            assert response.get("Connection").lower() == "keep-alive"
            assert response.body == b"hello\n"
        conn.request("HEAD", "/chunks", KEEP, **V10)  # of unknown length
        assert conn.response("HEAD").get("Connection").lower() == "keep-alive"
        assert conn.get("/hello", **V10).body == b"hello\n"


def test_srv_089_http_1_0_response_of_unknown_length(shared_lab):
    with shared_lab.connect() as conn:
        response = conn.get("/chunks?count=2", headers=KEEP, **V10)
        assert response.get("Transfer-Encoding") is None
        assert response.get("Content-Length") is None
        assert response.body == b"part 0\npart 1\n"
        assert conn.ended == "eof"


@pytest.mark.parametrize("code", [204, 304])
@pytest.mark.parametrize("options", [{}, {**V10, "headers": KEEP}])
def test_srv_093_bodiless_responses_keep_the_connection(shared_lab, code,
                                                        options):
    with shared_lab.connect() as conn:
        assert conn.get(f"/empty?code={code}", **options).status == code
        assert conn.get("/hello").body == b"hello\n"


def test_a_lame_duck_closes_and_can_be_taken_back(lab):
    server = lab()
    with server.connect() as early, server.connect() as late:
        assert early.get("/hello").status == late.get("/hello").status == 200
        with server.connect() as conn:
            assert conn.get("/lame?on=1").closes
            assert conn.end() == "eof"
        assert early.get("/hello").closes
        assert early.end() == "eof"
        with server.connect() as conn:  # new ones are served, too
            assert conn.get("/lame?on=0").status == 200
        assert not late.get("/hello").closes
        assert not late.get("/hello").closes


def test_srv_098_after_a_write_error_no_further_request(lab):
    """The client resets in the middle of a response with another request
    behind it, which must not be run."""
    server = lab("lines=1")
    conn = server.connect()
    conn.send(request("GET", "/big?bytes=50000000") +
              request("GET", "/show/never"))
    conn.exactly(1000)
    conn.reset()
    server.err.wait("^released$")
    with server.connect() as other:
        assert other.get("/hello").status == 200
    server.err.wait("^ended GET /hello 200")
    assert not server.err.has("/show/never")


def test_srv_099_244_writing_less_than_declared_closes(shared_lab):
    with shared_lab.connect() as conn:
        conn.request("GET", "/declare?length=10&write=4").request()
        with pytest.raises(Ended) as ended:
            conn.response()
        assert (ended.value.how, ended.value.data) == ("eof", b"xxxx")


def test_srv_100_206_large_unread_body_closes(shared_lab):
    with shared_lab.connect() as conn:
        conn.send(b"POST /ignore HTTP/1.1\r\nHost: h\r\n"
                  b"Content-Length: 1000000\r\n\r\n")
        assert conn.response().closes
        assert conn.end() == "eof"


def test_srv_205_small_unread_body_is_dropped(shared_lab):
    with shared_lab.connect() as conn:
        response = conn.post("/ignore", b"x" * 1000)
        assert (response.status, response.closes) == (200, False)
        assert conn.post("/ignore", b"x" * 200000).status == 200
        assert conn.get("/hello").body == b"hello\n"


def test_srv_207_small_unread_chunked_body_is_dropped(shared_lab):
    with shared_lab.connect() as conn:
        conn.send(b"POST /ignore HTTP/1.1\r\nHost: h\r\n"
                  b"Transfer-Encoding: chunked\r\n\r\n" +
                  chunked(b"x" * 1000, b"y" * 1000) +
                  request("GET", "/hello"))
        assert conn.response().body == b"ignored\n"
        assert conn.response().body == b"hello\n"


@pytest.mark.parametrize("size, kept", [(262144, True), (262145, False)])
def test_srv_207_208_an_unread_chunked_body_is_dropped_up_to(lab, size, kept):
    server = lab("body-bytes=off")
    with server.connect() as conn:
        conn.send(b"POST /ignore HTTP/1.1\r\nHost: h\r\n"
                  b"Transfer-Encoding: chunked\r\n\r\n")
        assert not conn.response().closes
        try:
            conn.send(chunked(b"x" * size)).request("GET", "/hello")
        except (BrokenPipeError, ConnectionResetError):
            assert not kept
        if kept:
            assert conn.response().body == b"hello\n"
        else:
            assert conn.end() in ("eof", "reset")
            assert conn.buffer == b""


@pytest.mark.parametrize("framing", ["Content-Length: 1000",
                                     "Transfer-Encoding: chunked"])
def test_srv_209_close_drops_nothing(shared_lab, framing):
    """The end comes although the body doesn't."""
    with shared_lab.connect() as conn:
        conn.send(f"POST /ignore HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
                  f"{framing}\r\n\r\n")
        assert conn.response().closes
        assert conn.end() == "eof"


@pytest.mark.parametrize("size", [20 << 10, 1 << 20])
@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("close", [False, True])
def test_srv_211_only_small_unread_bodies_are_followed(lab, size, is_chunked,
                                                       close):
    server = lab("body-bytes=off")
    body = b"x" * size
    fields = [("Connection", "close")] if close else []
    if is_chunked:
        message = request("POST", "/ignore", fields +
                          [("Transfer-Encoding", "chunked")]) + chunked(body)
    else:
        message = request("POST", "/ignore", fields, body)
    with server.connect() as conn:
        try:
            conn.send(message + request("GET", "/hello"))
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert conn.response().body == b"ignored\n"
        if size < 100000 and not close:
            assert conn.response().body == b"hello\n"
        else:
            assert conn.end() in ("eof", "reset")
            assert conn.buffer == b""


def test_a_client_that_half_closes_is_answered(shared_lab):
    with shared_lab.connect() as conn:
        conn.send(request("POST", "/collect", body="body") +
                  request("GET", "/hello")).sock.shutdown(socket.SHUT_WR)
        assert conn.response().body == b"body"
        assert conn.response().body == b"hello\n"
        assert conn.end() == "eof"


# -- 6. Pipelining ------------------------------------------------------------


def test_srv_107_responses_come_in_the_order_of_requests(shared_lab):
    targets = [f"/delay?ms={ms}" for ms in (60, 0, 30)] + ["/hello",
                                                           "/chunks"]
    with shared_lab.connect() as conn:
        conn.send(b"".join(request("GET", t) for t in targets))
        bodies = [conn.response().body for _ in targets]
        assert bodies[:4] == [b"hello\n"] * 4
        assert bodies[4] == b"part 0\npart 1\npart 2\n"
        assert conn.quiet(0.05)


def test_srv_108_sixteen_in_one_packet(shared_duskd):
    with shared_duskd.connect() as conn:
        conn.send(b"".join(request("POST", "/echo", body=f"number {i}")
                           for i in range(16)))
        for i in range(16):
            response = conn.response()
            assert response.body == b"number %d" % i
            assert not response.closes


def test_pipelined_batch_is_one_read_and_one_write(shared_duskd):
    """Seen by strace, if there is one and it may look."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("no strace")
    with shared_duskd.connect() as conn:
        assert conn.get("/").status == 200
        tracer = subprocess.Popen(
            [strace, "-f", "-qq", "-e",
             "trace=read,recvfrom,recvmsg,readv,write,writev,sendto,sendmsg",
             "-p", str(shared_duskd.pid)], stderr=subprocess.PIPE, text=True)
        if not traced(shared_duskd.pid, tracer):
            pytest.skip("strace may not attach here")
        try:
            conn.send(b"".join(16 * [request()]))
            for _ in range(16):
                assert conn.response().body == b"hello\n"
        finally:
            tracer.terminate()
            trace = tracer.communicate(timeout=PATIENCE)[1]
    # Our answers are told by their first bytes; strace shows 32 of them.
    writes = [line for line in trace.splitlines()
              if re.match(r"(\[pid +\d+\] )?(write|send)", line)]
    reads = [line for line in trace.splitlines() if '"GET / HTTP' in line]
    assert len(writes) == 1, trace
    assert len(reads) == 1, trace


def traced(pid, tracer):
    """Waits until the tracer has got hold of the process, or given up."""

    def held():
        with open(f"/proc/{pid}/status", encoding="latin-1") as status:
            return "TracerPid:\t0\n" not in status.read()

    poll_until(lambda: tracer.poll() is not None or held())
    return tracer.poll() is None


def test_pipelined_requests_of_all_kinds(shared_lab):
    with shared_lab.connect() as conn:
        conn.send(request("HEAD", "/hello") +
                  request("POST", "/collect", body="one") +
                  b"POST /collect HTTP/1.1\r\nHost: h\r\n"
                  b"Transfer-Encoding: chunked\r\n\r\n" +
                  chunked(b"two", b"three") +
                  request("GET", "/empty?code=204") +
                  request("POST", "/ignore", body="dropped") +
                  request("GET", "/hello"))
        assert conn.response("HEAD").get("Content-Length") == "6"
        assert conn.response().body == b"one"
        assert conn.response().body == b"twothree"
        assert conn.response().status == 204
        assert conn.response().body == b"ignored\n"
        assert conn.response().body == b"hello\n"


def test_srv_109_a_pipelined_request_cancels_nothing(lab):
    server = lab()
    with server.connect() as conn:
        conn.request("GET", "/delay?ms=300").wait_read()
        conn.request("GET", "/hello")
        assert conn.response().body == conn.response().body == b"hello\n"
    server.err.wait("^delay context: ok$")


def test_thousands_of_pipelined_requests(shared_duskd):
    """More than any buffer holds, sent without reading an answer."""
    count = 20000
    with shared_duskd.connect() as conn:
        sender = threading.Thread(
            target=lambda: conn.send(request() * count), daemon=True)
        sender.start()
        for _ in range(count):
            assert conn.response().body == b"hello\n"
        sender.join(PATIENCE)
        assert conn.quiet(0)


# -- 9. Bodies ----------------------------------------------------------------


def test_srv_173_body_in_pieces(shared_lab):
    with shared_lab.connect() as conn:
        conn.send(b"POST /collect HTTP/1.1\r\nHost: h\r\nContent-Length: 9"
                  b"\r\n\r\nab").wait_read()
        conn.send(b"cde").wait_read()
        conn.send(b"fghi")
        assert conn.response().body == b"abcdefghi"


def test_srv_174_stream_that_ends_too_early(lab):
    server = lab()
    with server.connect() as conn:
        conn.send(b"POST /collect HTTP/1.1\r\nHost: h\r\nContent-Length: 9"
                  b"\r\n\r\nab").sock.shutdown(socket.SHUT_WR)
        server.err.wait("^collect: connection reset by peer$")
        conn.end()
        assert b"200" not in conn.buffer


def test_srv_188_chunked_stream_that_ends_too_early(lab):
    server = lab()
    with server.connect() as conn:
        conn.send(b"POST /collect HTTP/1.1\r\nHost: h\r\n"
                  b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
                  ).sock.shutdown(socket.SHUT_WR)
        server.err.wait("^collect: ")
        conn.end()
        assert b"200" not in conn.buffer


def test_srv_189_trailer_is_there_after_the_body(shared_lab):
    with shared_lab.connect() as conn:
        conn.send(b"POST /trailer HTTP/1.1\r\nHost: h\r\nTrailer: X-Check\r\n"
                  b"Transfer-Encoding: chunked\r\n\r\n" +
                  chunked(b"hello", trailer="A: b\r\nX-CHECK:  sum \r\n"))
        assert conn.response().body == b"sum"
        assert conn.post("/trailer", "no chunks").body == b"none"


@pytest.mark.parametrize("target", ["/collect?max=10", "/collect?max=10&own=1"])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_srv_198_199_202_body_limit_of_a_handler(shared_lab, target, is_chunked):
    def post(conn, body):
        if not is_chunked:
            return conn.post(target, body)
        conn.send(f"POST {target} HTTP/1.1\r\nHost: h\r\n"
                  "Transfer-Encoding: chunked\r\n\r\n")
        return conn.send(chunked(body)).response()

    with shared_lab.connect() as conn:
        assert post(conn, b"0123456789").body == b"0123456789"
        response = post(conn, b"0123456789A")
        if "own" in target:
            assert (response.status, response.body) == (
                200, b"http: request body too large")
        else:
            assert response.status == 413


# SRV-215, SRV-216
def test_srv_218_a_client_that_is_still_sending_gets_the_reply(lab):
    """5 MiB, nobody reads them, and no reset destroys the 401."""
    with lab("body-bytes=off").connect() as conn:
        conn.send(b"POST /ignore?status=401 HTTP/1.1\r\nHost: h\r\n"
                  b"Content-Length: 5242880\r\n\r\n")
        try:
            conn.send(b"x" * 5242880)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it is closed in the end; the reply is what counts
        response = conn.response()
        assert (response.status, response.closes) == (401, True)
        assert response.body == b"ignored\n"


# SRV-143, SRV-215
def test_srv_218_error_replies_to_a_client_that_is_still_sending(lab):
    server = lab("body-bytes=1000")
    for head, status in (
            (b"POST /collect HTTP/1.1\r\nContent-Length: 5242880\r\n\r\n", 400),
            (b"POST /collect HTTP/1.1\r\nHost: h\r\n"
             b"Content-Length: 5242880\r\n\r\n", 413)):
        with server.connect() as conn:
            conn.send(head)
            try:
                conn.send(b"x" * 5242880)
            except (BrokenPipeError, ConnectionResetError):
                pass
            response = conn.response()
            assert (response.status, response.closes) == (status, True)


def test_pause_slows_the_client_down_and_resume_goes_on(lab):
    server = lab("body-bytes=off")
    size = 20_000_000
    with server.connect() as conn:
        response = conn.post("/pause?ms=300", b"x" * size)
        assert response.body == b"%d" % size
    match = server.err.wait(r"^resumed after (\d+) bytes$")
    assert int(match[1]) < size // 4
    assert not server.err.has("a piece came in the pause")


def test_chunked_echo_with_trailers(shared_duskd):
    with shared_duskd.connect() as conn:
        conn.send(b"POST /echo HTTP/1.1\r\nHost: h\r\n"
                  b"Transfer-Encoding: chunked\r\n\r\n")
        for piece in (b"one", b"two" * 1000):
            conn.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        conn.send(b"0\r\nX-Check: sum\r\nX-More: 1\r\n\r\n")
        response = conn.response()
        assert response.get("Transfer-Encoding") == "chunked"
        assert response.body == b"one" + b"two" * 1000
        assert conn.get().body == b"hello\n"


# SRV-212
def test_echo_flows_while_the_body_comes(shared_duskd):
    """Each piece is back before the next is sent."""
    with shared_duskd.connect() as conn:
        conn.send(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 50"
                  b"\r\n\r\n")
        for i in range(10):
            conn.send(b"%05d" % i)
            if i == 0:
                assert conn.head().get("Content-Length") == "50"
            assert conn.exactly(5) == b"%05d" % i


def test_echo_slows_down_a_client_that_reads_slowly(serve):
    """What doesn't fit into the sockets' buffers waits at the client."""
    server = serve("--max-body-bytes", "0", "--write-timeout", "60s")
    size = 64 << 20
    body = os.urandom(1 << 20)
    with server.connect() as conn:
        conn.send(b"POST /echo HTTP/1.1\r\nHost: h\r\n"
                  b"Content-Length: %d\r\n\r\n" % size)
        conn.sock.settimeout(1.5)
        sent = 0
        try:
            while sent < size:
                sent += conn.sock.send(body[sent % len(body):])
        except TimeoutError:
            pass
        assert sent < size * 3 // 4, "nothing slowed the client down"
        conn.sock.settimeout(PATIENCE)
        rest = threading.Thread(target=send_rest, daemon=True,
                                args=(conn, body, sent, size))
        rest.start()
        conn.head()
        for _ in range(size >> 20):
            assert conn.exactly(1 << 20) == body
        rest.join(PATIENCE)
    if not is_sanitized():
        assert peak_kib(server) < 40 * 1024, "it was kept in memory"


def send_rest(conn, body, sent, size):
    while sent < size:
        sent += conn.sock.send(body[sent % len(body):])


def peak_kib(server):
    with open(f"/proc/{server.pid}/status", encoding="latin-1") as status:
        return int(re.search(r"VmHWM:\s*(\d+)", status.read())[1])


def test_large_response_by_reference_to_a_slow_reader(lab):
    server = lab()
    with server.connect() as conn:
        conn.request("GET", "/big?bytes=20000000").wait_read()
        assert not server.err.has("^released$")
        assert conn.response().body == (b"abcdefghijklmnopqrstuvwxyz" *
                                        769231)[:20000000]
        server.err.wait("^released$")
        assert conn.get("/hello").status == 200


# -- 10. 100-continue ---------------------------------------------------------

EXPECT = [("Expect", "100-continue")]


@pytest.mark.parametrize("value", ["100-continue", "100-Continue"])
@pytest.mark.parametrize("framing", ["Content-Length: 4",
                                     "Transfer-Encoding: chunked"])
def test_srv_219_220_continue_comes_when_the_body_is_asked_for(
        shared_duskd, value, framing):
    with shared_duskd.connect() as conn:
        conn.send(f"POST /echo HTTP/1.1\r\nHost: h\r\nExpect: {value}\r\n"
                  f"{framing}\r\n\r\n")
        assert conn.response().status == 100
        conn.send(b"body" if "Length" in framing else chunked(b"body"))
        assert conn.response().body == b"body"  # SRV-220: chunked, too
        assert conn.get().body == b"hello\n"  # SRV-224


def test_srv_221_no_continue_for_an_empty_body(shared_duskd):
    with shared_duskd.connect() as conn:
        response = conn.post("/echo", b"", headers=EXPECT)
        assert (response.status, response.body) == (200, b"")


def test_no_continue_for_a_body_that_is_there(shared_lab):
    """RFC 9110, 10.1.1: it may be left out; a client must cope with both."""
    with shared_lab.connect() as conn:
        response = conn.post("/collect", b"body", headers=EXPECT)
        if response.status == 100:
            response = conn.response()
        assert response.body == b"body"


def test_srv_222_final_answer_instead_of_continue(shared_lab):
    with shared_lab.connect() as conn:
        conn.send(b"POST /ignore?status=401 HTTP/1.1\r\nHost: h\r\n"
                  b"Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n")
        response = conn.response()
        assert (response.status, response.closes) == (401, True)
        assert conn.end() == "eof"
        assert conn.buffer == b""


def test_srv_225_other_expectations_fail(shared_lab):
    with shared_lab.connect() as conn:
        response = conn.post("/collect", b"x", headers=[("Expect", "tea")])
        assert (response.status, response.closes) == (417, True)
        assert response.body == b"417 Expectation Failed\n"
        assert conn.end() == "eof"


def test_srv_226_the_handler_sees_the_expectation(shared_lab):
    with shared_lab.connect() as conn:
        response = conn.post("/show", b"", headers=EXPECT)
        assert b"field Expect=100-continue\n" in response.body


def test_srv_227_http_1_0_has_no_continue(shared_lab):
    with shared_lab.connect() as conn:
        response = conn.post("/collect", b"x", headers=EXPECT, **V10)
        assert (response.status, response.body) == (200, b"x")


# -- 11. Responses ------------------------------------------------------------


def test_srv_230_237_238_239_what_a_response_says(shared_lab):
    """SRV-237, SRV-238, SRV-239."""
    with shared_lab.connect() as conn:
        response = conn.get("/hello")
        assert (response.status, response.reason) == (200, "OK")
        assert response.get("Content-Length") == "6"
        assert response.get("Connection") is None
        assert response.get("Transfer-Encoding") is None
        assert response.get("Server") is None
        date = time.strptime(response.get("Date"), "%a, %d %b %Y %H:%M:%S GMT")
        assert abs(time.mktime(date) - time.mktime(time.gmtime())) < 60


def test_srv_231_status_line(shared_lab):
    with shared_lab.connect() as conn:
        assert conn.get("/empty?code=404").reason == "Not Found"
        assert conn.get("/empty?code=503").reason == "Service Unavailable"
        assert conn.get("/empty?code=299").status == 299


def test_srv_232_status_out_of_range_is_an_error(lab):
    server = lab()
    with server.connect() as conn:
        assert conn.get("/status?code=99").status == 200
        server.err.wait("^status: invalid argument$")


def test_srv_234_236_fields(lab):
    """SRV-236."""
    server = lab()
    with server.connect() as conn:
        response = conn.get("/fields")
        assert response.status == 200
        assert response.all("Set-Cookie") == ["a=1", "b=2"]
        assert response.get("X-One") == "1"
        assert response.get("Date") == "Thu, 01 Jan 1970 00:00:00 GMT"
        assert response.get("X-Evil") is None
        assert response.get("X-Late") is None
        assert response.body == b"ab"
    for line in ("split: invalid argument", "name: invalid argument"):
        server.err.wait(f"^{line}$")
    for line in ("late field: ", "late status: "):
        assert server.err.wait(f"^{line}(.*)$")[1] != "ok"


def test_srv_240_empty_response_has_length_0(shared_lab):
    for options in ({}, {**V10, "headers": KEEP}):
        with shared_lab.connect() as conn:
            response = conn.get("/empty?code=200", **options)
            assert response.get("Content-Length") == "0"


def test_srv_242_declared_length_is_not_chunked(shared_lab):
    with shared_lab.connect() as conn:
        response = conn.get("/declare?length=5&write=5")
        assert response.get("Content-Length") == "5"
        assert response.body == b"xxxxx"
        assert conn.get("/hello").status == 200


def test_srv_243_writing_more_than_declared_fails_whole(lab):
    server = lab()
    with server.connect() as conn:
        assert conn.get("/over").body == b"abcde"
        server.err.wait(
            "^over: http: wrote more than the declared Content-Length$")
        assert conn.get("/hello").status == 200


def test_srv_246_unknown_length_is_chunked(shared_lab):
    with shared_lab.connect() as conn:
        response = conn.get("/chunks?count=300")
        assert response.get("Transfer-Encoding") == "chunked"
        assert response.body == b"".join(b"part %d\n" % i for i in range(300))
        assert conn.get("/hello").status == 200


def test_srv_239_a_short_body_that_is_written_piecewise_has_a_length(
        shared_lab):
    with shared_lab.connect() as conn:
        response = conn.get("/chunks?count=3")
        assert response.get("Transfer-Encoding") is None
        assert response.get("Content-Length") == "21"
        assert response.body == b"part 0\npart 1\npart 2\n"
        assert conn.get("/hello").status == 200


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 2048, 2049, 4096,
                                  16384, 16385, 65536, 262144, 1048576])
def test_srv_379_bodies_of_all_sizes_come_whole(shared_lab, size):
    with shared_lab.connect() as conn:
        response = conn.get(f"/big?bytes={size}")
        assert response.body == (b"abcdefghijklmnopqrstuvwxyz" *
                                 (size // 26 + 1))[:size]
        assert response.get("Content-Length") == str(size)


@pytest.mark.parametrize("target, length", [
    ("/hello", "6"), ("/chunks?count=3", "21"), ("/chunks?count=300", None),
    ("/big?bytes=100000", "100000")])
def test_srv_256_257_head_has_no_body(shared_lab, target, length):
    """SRV-257."""
    with shared_lab.connect() as conn:
        conn.request("HEAD", target).request("GET", "/hello")
        response = conn.response("HEAD")
        assert response.status == 200
        assert response.get("Content-Length") == length
        assert conn.response().body == b"hello\n"


@pytest.mark.parametrize("code", [204, 304])
def test_srv_261_262_263_statuses_without_body(lab, code):
    """SRV-262, SRV-263."""
    server = lab()
    with server.connect() as conn:
        conn.request("GET", f"/status?code={code}").request("GET", "/hello")
        response = conn.response()
        assert response.status == code
        assert response.get("Transfer-Encoding") is None
        assert response.get("Content-Length") is None
        server.err.wait("^end: http: request method or response status code "
                        "does not allow body$")
        assert conn.response().body == b"hello\n"


def test_srv_313_318_an_aborted_response_never_looks_whole(lab):
    """SRV-314, SRV-318."""
    server = lab()
    with server.connect() as conn:
        conn.request("GET", "/abort")
        assert conn.end() in ("eof", "reset")
        assert conn.buffer == b""
    with server.connect() as conn:
        conn.request("GET", "/abort?after=5")
        assert conn.head().get("Transfer-Encoding") == "chunked"
        with pytest.raises(Ended):
            while conn.chunk():
                pass
    with server.connect() as conn:  # SRV-311
        assert conn.get("/hello").status == 200


# -- 16. The mux --------------------------------------------------------------


def test_mux_404(shared_lab):
    with shared_lab.connect() as conn:
        for target in ("/", "/nothing", "/hello/more", "/show%2Fmore"):
            assert conn.get(target).status == 404
        assert conn.get("/show/more").status == 200


def test_mux_405_with_allow(shared_lab, shared_duskd):
    with shared_lab.connect() as conn:
        response = conn.request("DELETE", "/only").response()
        assert response.status == 405
        allow = {m.strip() for m in response.get("Allow").split(",")}
        assert allow == {"GET", "HEAD", "POST"}
        assert conn.request("HEAD", "/only").response("HEAD").status == 200
    with shared_duskd.connect() as conn:
        response = conn.post("/healthz", b"")
        assert response.status == 405
        assert {m.strip() for m in response.get("Allow").split(",")} == {
            "GET", "HEAD"}


# -- Many at once -------------------------------------------------------------


def test_many_connections_with_delays(shared_lab):
    def one(index):
        with shared_lab.connect() as conn:
            return [conn.get(f"/delay?ms={index % 7 * 10}").body
                    for _ in range(5)]

    for bodies in parallel(60, one):
        assert bodies == [b"hello\n"] * 5
