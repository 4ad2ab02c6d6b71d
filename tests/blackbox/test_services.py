"""The examples that are services: users, over SQLite, and chat."""

import json
import os
import re
import resource
import signal
import sqlite3
import time

import pytest

from harness import example, parallel, poll_until, refused

TOKEN = [("Authorization", "Bearer secret")]
WRITER = [*TOKEN, ("Content-Type", "application/json")]
# A client that closes may still read: it is told, and who resets is not.
LEFT = '(503 .*has ended|0 .*the client went away)$'


# -- users --------------------------------------------------------------------


@pytest.fixture
def users(run, tmp_path):
    if "DUSK_EXAMPLE_USERS" not in os.environ:
        pytest.skip("built without SQLite or Jansson")

    def start(timeout_ms=60000, token="secret", **kw):
        env = {} if token is None else {"USERS_TOKEN": token}
        server = run(example("users"), "127.0.0.1:0", tmp_path / "users.db",
                     timeout_ms, env=env, **kw)
        server.path = tmp_path / "users.db"
        return server

    return start


def told(response, status):
    """The error that a reply tells, in the one form for all of them."""
    assert response.status == status, response
    assert response.get("Content-Type") == "application/json"
    error = json.loads(response.body)
    assert error.keys() == {"status", "error"} and error["status"] == status
    return error["error"]


def got(response, status=200):
    assert response.status == status, response
    assert response.get("Content-Type") == "application/json"
    return json.loads(response.body)


def create(conn, name="Ann", email="ann@example.org"):
    body = json.dumps({"name": name, "email": email})
    return conn.post("/users", body, headers=WRITER)


def fill(server, count):
    """So many users that a report on them takes minutes, or hours."""
    with sqlite3.connect(server.path) as db:
        db.executemany("INSERT INTO users (name, email) VALUES (?, ?)",
                       ((f"{i:06}", f"{i}@example.org") for i in range(count)))
    db.close()


def test_users_are_created_read_changed_and_deleted(users):
    with users().connect() as conn:
        ann = {"id": 1, "name": "Ann", "email": "ann@example.org"}
        assert got(create(conn), 201) == ann
        assert got(conn.get("/users/1")) == ann
        body = json.dumps({"name": "Änne \"x\"\n", "email": "a@b"})
        ann = {"id": 1, "name": "Änne \"x\"\n", "email": "a@b"}
        changed = conn.request("PUT", "/users/1", WRITER, body).response()
        assert got(changed) == ann
        assert got(conn.get("/users/1")) == ann
        assert got(conn.request("DELETE", "/users/1", TOKEN).response()) == ann
        told(conn.get("/users/1"), 404)
        told(conn.request("DELETE", "/users/1", TOKEN).response(), 404)
        told(conn.request("PUT", "/users/1", WRITER, body).response(), 404)
        assert conn.request("HEAD", "/users").response("HEAD").status == 200


def test_users_are_listed_by_pages(users):
    server = users()
    fill(server, 25)
    with server.connect() as conn:
        pages = [got(conn.get(f"/users{query}")) for query in (
            "", "?page=2", "?page=2&per_page=3", "?per_page=100", "?page=9")]
        assert [(p["page"], p["total"]) for p in pages] == [
            (1, 25), (2, 25), (2, 25), (1, 25), (9, 25)]
        assert [[u["id"] for u in p["users"]] for p in pages] == [
            list(range(1, 21)), list(range(21, 26)), [4, 5, 6],
            list(range(1, 26)), []]
        for query in ("page=0", "page=-1", "page=x", "page=", "per_page=101",
                      "per_page=99999999999999999999", "page=1%00"):
            assert "page is 1 to" in told(conn.get(f"/users?{query}"), 400)


@pytest.mark.parametrize("body, reason", [
    (b"", "near end of file"),
    (b"{", "near end of file"),
    (b'{"name": "Ann"} x', "end of file expected"),
    (b"[]", "Expected object, got array"),
    (b"null", "'\\[' or '{' expected"),
    (b'{"name": "Ann"}', "Object item not found: email"),
    (b'{"name": 1, "email": "a@b"}', "Expected string, got integer"),
    (b'{"name": null, "email": "a@b"}', "Expected string, got null"),
    (b'{"name": "Ann", "email": "a@b", "id": 7}', "left unpacked: id"),
    (b'{"name": "Ann", "name": "B", "email": "a@b"}', "duplicate object key"),
    (b'{"name": "\xff", "email": "a@b"}', "unable to decode byte 0xff"),
    (b'{"name": "\\u0000", "email": "a@b"}', "u0000 is not allowed"),
    (b'{"name": "\\ud800", "email": "a@b"}', "invalid Unicode"),
    (b'{"name": "", "email": "a@b"}', "name is 1 to 100 characters"),
    (b'{"name": "Ann", "email": "ann"}', "email is up to 254"),
    (b'{"name": "%s", "email": "a@b"}' % (101 * b"x"), "name is 1 to 100"),
    (b'{"name": "Ann", "email": "%s@b"}' % (254 * b"x"), "email is up to 254"),
    (3000 * b"[", "maximum parsing depth reached"),
    (b'{"a":' * 600, "near end of file|end of file"),
    ('{"name": "Ann", "email": "a@b", "%s": 1}' % (900 * "ж"), ""),
])
def test_users_are_told_what_is_wrong_with_a_body(users, body, reason):
    with users().connect() as conn:
        text = told(conn.post("/users", body, headers=WRITER), 400)
        assert re.search(reason, text), text
        assert got(conn.get("/users"))["total"] == 0


def test_users_want_json_of_a_bounded_size(users):
    server = users()
    for headers, body, status in (
            (TOKEN, "{}", 415),
            ([*TOKEN, ("Content-Type", "text/plain")], "{}", 415),
            ([*TOKEN, ("Content-Type", "application/jsonx")], "{}", 415),
            (WRITER, 5000 * " ", 413)):
        with server.connect() as conn:
            told(conn.post("/users", body, headers=headers), status)
    with server.connect() as conn:
        conn.send("POST /users HTTP/1.1\r\nHost: test\r\n"
                  "Authorization: bearer secret\r\n"
                  "Content-Type: Application/JSON; charset=utf-8\r\n"
                  "Transfer-Encoding: chunked\r\n\r\n")
        conn.send(b"1000\r\n" + 4096 * b" " + b"\r\n1\r\n \r\n")
        told(conn.response(), 413)


def test_users_refuse_a_second_one_of_an_address(users):
    with users().connect() as conn:
        got(create(conn), 201)
        assert "users.email" in told(create(conn, email="ANN@example.org"), 409)
        got(create(conn, email="b@example.org"), 201)
        body = json.dumps({"name": "Ann", "email": "b@example.org"})
        told(conn.request("PUT", "/users/1", WRITER, body).response(), 409)


@pytest.mark.parametrize("given", [
    [], ["Bearer"], ["Bearer "], ["Bearer secre"], ["Bearer secrets"],
    ["Bearer Secret"], ["Basic secret"], ["secret"]])
def test_users_are_written_by_who_has_the_token(users, given):
    headers = [("Authorization", text) for text in given]
    with users().connect() as conn:
        got(create(conn), 201)
        for method, target in (("POST", "/users"), ("PUT", "/users/1"),
                               ("DELETE", "/users/1")):
            refusal = conn.request(method, target, headers).response()
            told(refusal, 401)
            assert refusal.get("WWW-Authenticate") == "Bearer"
        assert got(conn.get("/users"))["total"] == 1


@pytest.mark.parametrize("token", [None, ""])
def test_users_are_written_by_nobody_without_a_token(users, token):
    with users(token=token).connect() as conn:
        for given in ("Bearer", "Bearer x", "Bearer (null)"):
            headers = [("Authorization", given)]
            told(conn.post("/users", "{}", headers=headers), 401)


@pytest.mark.parametrize("user", [
    "0", "-1", "2", "x", "1x", "9223372036854775808", 300 * "9", "1e999",
    "1%20OR%201=1", "1;DROP%20TABLE%20users", "'", "%2e%2e", "*", "?id=1",
    "1/2", "%F0%9F%98%80"])
def test_users_of_odd_numbers_are_not_found(users, user):
    with users().connect() as conn:
        got(create(conn), 201)
        for method in ("GET", "DELETE"):
            response = conn.request(method, f"/users/{user}", TOKEN).response()
            told(response, 404)
        assert got(conn.get("/users"))["total"] == 1


def test_users_of_no_text_are_refused(users):
    with users().connect() as conn:
        told(conn.get("/users/%FF"), 400)
        told(conn.get("/users/%00"), 404)


def test_users_texts_are_never_sql(users):
    with users().connect() as conn:
        for i, name in enumerate(("'); DROP TABLE users; --", "' OR 1=1 --",
                                  '"', "?1", "\\'", "%s%n", "\u202e")):
            user = got(create(conn, name, f"'{i}'@b"), 201)
            assert (user["name"], user["email"]) == (name, f"'{i}'@b")
            assert got(conn.get(f"/users/{user['id']}")) == user


def test_users_tell_all_errors_alike(users):
    server = users()
    with server.connect() as conn:
        told(conn.get("/nothing"), 404)
        refusal = conn.request("PATCH", "/users/1").response()
        told(refusal, 405)
        assert refusal.get("Allow") == "DELETE, GET, HEAD, PUT"
        assert refusal.get("X-Request-Id")
    for wrong, status in ((b"GET / HTTP/1.1\r\n\r\n", 400),
                          (b"GET /" + 70000 * b"x", 414),
                          (b"GET / HTTP/3.0\r\n\r\n", 505)):
        with server.connect() as conn:
            told(conn.send(wrong).response(), status)


def test_users_name_each_request_and_log_it(users):
    server = users()
    with server.connect() as conn:
        given = [("X-Request-Id", "from-the.client:1")]
        assert conn.get("/users", headers=given).get(
            "X-Request-Id") == "from-the.client:1"
        made = set()
        for bad in ([], [""], ["two words"], ['"'], ["é"], [65 * "x"]):
            headers = [("X-Request-Id", text) for text in bad]
            name = conn.get("/users/7", headers=headers).get("X-Request-Id")
            assert re.fullmatch("[0-9a-f]{16}", name)
            made.add(name)
        assert len(made) == 6
    server.err.wait(r"from-the\.client:1 \"GET /users\" 200 \d+ ms, "
                    "the response has ended$")
    for name in made:
        server.err.wait(rf'{name} "GET /users/7" 404')


def test_users_may_be_asked_by_pages_of_other_sites(users):
    with users().connect() as conn:
        origin = ("Origin", "https://example.org")
        asked = conn.request("OPTIONS", "/users/1", [
            origin, ("Access-Control-Request-Method", "PUT")]).response()
        assert asked.status == 204
        assert "PUT" in asked.get("Access-Control-Allow-Methods")
        assert "Authorization" in asked.get("Access-Control-Allow-Headers")
        for response in (asked, conn.get("/users", headers=[origin]),
                         conn.get("/nothing"),
                         conn.post("/users", 5000 * "x", headers=WRITER)):
            assert response.get("Access-Control-Allow-Origin") == "*"


def test_users_reports_are_interrupted_when_their_client_leaves(users):
    server = users()
    fill(server, 100)
    with server.connect() as conn:
        assert got(conn.get("/report")) == {"names": 0, "within": 0}
    fill_more(server)
    for leave in ("close", "reset"):
        conn = server.connect().request("GET", "/report", [
            ("X-Request-Id", leave)]).wait_read()
        getattr(conn, leave)()
        server.err.wait(f'{leave} "GET /report" {LEFT}')


def fill_more(server):
    with sqlite3.connect(server.path) as db:
        db.execute("INSERT INTO users (name, email) WITH RECURSIVE n(i) AS "
                   "(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000) "
                   "SELECT 'name ' || i, i || '@more' FROM n")
    db.close()


def test_users_are_served_while_reports_run(users):
    server = users()
    fill_more(server)
    running = [server.connect().request("GET", "/report", [
        ("X-Request-Id", f"running{i}")]).wait_read() for i in range(2)]
    with server.connect() as conn:
        told(conn.get("/report"), 503)
        assert len(got(conn.get("/users"))["users"]) == 20
        got(create(conn), 201)
    for i, conn in enumerate(running):
        conn.close()
        server.err.wait(f'running{i} "GET /report" {LEFT}')
    with server.connect() as conn:
        conn.request("GET", "/report").wait_read()
        assert conn.quiet(0)  # there is room for it


def test_users_reports_end_when_their_time_is_over(users):
    server = users(timeout_ms=200)
    fill_more(server)
    with server.connect() as conn:
        late = conn.get("/report")
        told(late, 503)
        assert late.get("X-Request-Id")
        assert late.get("Access-Control-Allow-Origin") == "*"
    server.err.wait('"GET /report" 503 ') # whoever was first
    server.signal()
    assert server.wait() == 0  # and nothing runs any more


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_users_reports_end_with_the_server(users, signum):
    server = users()
    fill_more(server)
    with server.connect() as conn:
        conn.request("GET", "/report").wait_read()
        server.signal(signum)
        assert told(conn.response(), 503) == "the server's drain is ending"
        assert conn.end() == "eof"
    assert server.wait() == 0
    # SQLite was closed, and that last: it has taken its log away.
    assert os.listdir(server.path.parent) == [server.path.name]


def test_users_second_signal_kills(users):
    server = users()
    fill_more(server)
    with server.connect() as conn:
        conn.request("GET", "/report").wait_read()
        server.signal()
        server.err.wait("interrupt signal received")
        server.signal()
        assert server.wait() == -signal.SIGINT


def test_users_survive_a_database_that_another_program_has_locked(users):
    server = users()
    with server.connect() as conn:
        got(create(conn), 201)
        other = sqlite3.connect(server.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        body = json.dumps({"name": "Bob", "email": "bob@example.org"})
        left = server.connect().request("POST", "/users", [
            *WRITER, ("X-Request-Id", "left")], body).wait_read()
        left.close()
        server.err.wait(f'left "POST /users" {LEFT}')
        assert got(conn.get("/users"))["total"] == 1  # needs no lock
        assert told(create(conn, email="b@b"), 503) == "database is locked"
        other.execute("ROLLBACK")
        other.close()
        got(create(conn, email="b@b"), 201)
    server.err.wait("database is locked$")


def test_users_survive_a_full_disk(users):
    def is_small():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (150000, 150000))

    server = users(preexec=is_small)
    with server.connect() as conn:
        count = 0
        while (response := create(conn, 90 * "x", f"{count}@b")).status == 201:
            count += 1
        assert count > 0
        told(response, 503)
        assert got(conn.get("/users"))["total"] == count
        told(create(conn), 503)
        assert got(conn.get(f"/users/{count}"))["email"] == f"{count - 1}@b"


def test_users_survive_a_database_that_is_broken_behind_their_back(users):
    server = users()
    with server.connect() as conn:
        got(create(conn), 201)
        with sqlite3.connect(server.path) as db:
            db.execute("DROP TABLE users")
        db.close()
        told(conn.get("/users"), 503)
        told(create(conn), 503)
    server.err.wait("no such table: users")


def test_users_tell_a_database_that_cannot_be_opened(run, tmp_path):
    if "DUSK_EXAMPLE_USERS" not in os.environ:
        pytest.skip("built without SQLite or Jansson")
    (tmp_path / "text").write_text(1000 * "no database")
    for path, reason in ((tmp_path / "no" / "folder", "unable to open"),
                         (tmp_path / "text", "file is not a database")):
        server = run(example("users"), "127.0.0.1:0", path, listeners=0)
        assert server.wait() == 1
        server.err.wait(reason)


def test_users_serve_many_at_once(users):
    server = users()

    def work(index):
        with server.connect() as conn:
            for i in range(10):
                email = f"{index}-{i}@example.org"
                user = got(create(conn, email=email), 201)
                assert got(conn.get(f"/users/{user['id']}")) == user
                got(conn.get("/users?per_page=5"))

    parallel(64, work)
    with server.connect() as conn:
        assert got(conn.get("/users"))["total"] == 640
    server.signal()
    assert server.wait() == 0


# -- chat ---------------------------------------------------------------------


@pytest.fixture
def chat(run):
    return run(example("chat"), "127.0.0.1:0")


FORM = [("Content-Type", "application/x-www-form-urlencoded")]


def say(conn, text):
    assert conn.post("/messages", f"text={text}", headers=FORM).status == 204


class Stream:
    """Somebody who listens."""

    def __init__(self, server, last_id=None, **kw):
        headers = [] if last_id is None else [("Last-Event-ID", last_id)]
        self.conn = server.connect(**kw)
        self.head = self.conn.request("GET", "/events", headers).head()
        assert self.head.get("Content-Type") == "text/event-stream"
        self._text = b""

    def next(self):
        """The id and the data of the next event; None at the end."""
        while True:
            while b"\n\n" not in self._text:
                piece = self.conn.chunk()
                if not piece:
                    return None
                self._text += piece
            event, _, self._text = self._text.partition(b"\n\n")
            if match := re.fullmatch(rb"id: (\d+)\ndata: (.*)", event):
                return int(match[1]), match[2].decode()
            assert event in (b":", b"retry: 1000"), event


def test_chat_tells_all_what_one_says(chat):
    streams = [Stream(chat) for _ in range(5)]
    with chat.connect() as conn:
        say(conn, "hello+all")
        say(conn, "%C3%A4+%3Cb%3E+data:+x")
    for stream in streams:
        assert stream.next() == (1, "hello all")
        assert stream.next() == (2, "ä <b> data: x")


@pytest.mark.parametrize("last_id, first", [
    (None, 21), ("0", 21), ("20", 21), ("21", 22), ("119", 120), ("120", 121),
    ("121", 21), ("-1", 21), ("x", 21), (300 * "9", 21), ("5x", 21)])
def test_chat_tells_what_was_missed(chat, last_id, first):
    with chat.connect() as conn:
        for i in range(120):
            say(conn, f"m{i + 1}")
        stream = Stream(chat, last_id)
        say(conn, "m121")
    assert [stream.next() for _ in range(first, 122)] == [
        (i, f"m{i}") for i in range(first, 122)]


@pytest.mark.parametrize("headers, body, status", [
    (FORM, "", 400), (FORM, "text=", 400), (FORM, "other=x", 400),
    (FORM, "text=%ff%00", 400), (FORM, "text=a%", 400), (FORM, "text=a;b", 400),
    (FORM, "text=a%0Aid:+9", 400), (FORM, "text=a%0D%0D", 400),
    (FORM, "text=" + 3000 * "x", 413), ([], "text=a", 415),
    ([("Content-Type", "application/json")], '{"text": "a"}', 415),
    ([*FORM, ("Sec-Fetch-Site", "cross-site")], "text=a", 403),
    ([*FORM, ("Origin", "http://evil.example")], "text=a", 403)])
def test_chat_refuses_what_is_no_message(chat, headers, body, status):
    stream = Stream(chat)
    with chat.connect() as conn:
        response = conn.post("/messages", body, headers=headers)
        assert response.status == status
    with chat.connect() as conn:
        say(conn, "after")
    assert stream.next() == (1, "after")


def test_chat_takes_the_longest_message_whole(chat):
    stream = Stream(chat)
    text = (2048 - len("text=")) * "x"
    with chat.connect() as conn:
        say(conn, text)
        say(conn, "y")
    assert [stream.next(), stream.next()] == [(1, text), (2, "y")]


def test_chat_has_a_page(chat):
    with chat.connect() as conn:
        page = conn.get("/")
        assert page.get("Content-Type") == "text/html; charset=utf-8"
        assert b"EventSource('/events')" in page.body
        assert conn.get("/x").status == 404
        head = conn.request("HEAD", "/events").response("HEAD")
        assert head.get("Content-Type") == "text/event-stream"
        assert conn.get("/").status == 200


def test_chat_stops_at_once_and_ends_its_streams_well(chat):
    streams = [Stream(chat) for _ in range(50)]
    at = chat.signal(signal.SIGTERM)
    for stream in streams:
        assert stream.next() is None
        stream.conn._until(b"\r\n")
        assert stream.conn.end() == "eof"
    assert chat.wait() == 0
    assert time.monotonic() - at < 2.5, "it waited for its bound"
    chat.err.wait("all was answered$")


def test_chat_forgets_who_has_left(chat):
    with chat.connect() as conn:
        say(conn, "x")
        fds = chat.fds()
        for leave in ("close", "reset"):
            streams = [Stream(chat) for _ in range(50)]
            assert chat.fds() == fds + 50
            for stream in streams[::2] + streams[1::2]:
                getattr(stream.conn, leave)()
            poll_until(lambda: chat.fds() == fds)
        stays = Stream(chat, "1")
        say(conn, "y")
    assert stays.next() == (2, "y")


def test_chat_cuts_off_who_does_not_read_and_nobody_else(chat):
    slow, quick = Stream(chat, rcvbuf=4096), Stream(chat)
    fds, said, text = None, 0, 2000 * "x"
    with chat.connect() as conn:
        conn.get("/")
        fds = chat.fds()
        while chat.fds() == fds:
            said += 1
            assert said < 20000, "what waits for it grows and grows"
            say(conn, text)
            assert quick.next() == (said, text)
        say(conn, "last")
        assert quick.next() == (said + 1, "last")
        assert slow.conn.end() == "reset"
        again = Stream(chat, str(said))
        assert again.next() == (said + 1, "last")
        again.conn.close()
    quick.conn.close()


def test_chat_is_stopped_among_slow_clients(chat):
    slow = Stream(chat, rcvbuf=4096)
    with chat.connect() as conn:
        for _ in range(100):
            say(conn, 2000 * "x")
    chat.signal()
    assert chat.wait() in (0, 1)
    slow.conn.close()
    assert refused(chat.address)
