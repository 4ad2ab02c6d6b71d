"""The examples without HTTP. Those that serve are in test_seed.py."""

import signal

from harness import example


def lines(run, name, *args):
    program = run(example(name), *args, listeners=0)
    status = program.wait()
    assert program.err.all() == []
    return sorted(program.out.all()), status


def test_lookup_finds_names(run):
    found, status = lines(run, "lookup", "localhost", "127.0.0.1")
    assert found[0] == "127.0.0.1: 127.0.0.1"
    assert found[1] in ("localhost: 127.0.0.1", "localhost: ::1")
    assert status == 0


def test_lookup_tells_which_name_has_no_address(run):
    found, status = lines(run, "lookup", "127.0.0.1", "no such name")
    assert found == ["127.0.0.1: 127.0.0.1",
                     "no such name: unknown node or service"]
    assert status == 1


def test_lookup_has_one_deadline_for_all(run):
    found, status = lines(run, "lookup", "-t", "0", "::1", "127.0.0.1")
    assert found == ["127.0.0.1: context deadline exceeded",
                     "::1: context deadline exceeded"]
    assert status == 1


def test_lookup_tells_how_it_is_used(run):
    lookup = run(example("lookup"), listeners=0)
    assert lookup.wait() == 2
    lookup.err.wait("^usage: ")


def test_pool_does_its_jobs(run):
    found, status = lines(run, "pool", "9", "1")
    assert found == ["9 jobs; Ctrl+C stops",
                     "finished: 9 done, 0 given up, 0 never begun"]
    assert status == 0


def test_pool_stops_on_ctrl_c_and_tells_what_it_left(run):
    an_hour = 3600 * 1000
    pool = run(example("pool"), "50", str(an_hour), listeners=0)
    pool.out.wait("jobs")
    pool.signal(signal.SIGINT)
    assert pool.wait() == 1
    left = pool.out.wait(r"^interrupt signal received: 0 done, (\d+) given up, "
                         r"(\d+) never begun$")
    given_up, never_begun = map(int, left.groups())
    assert given_up + never_begun == 50
    assert given_up <= 4  # what libuv's pool has threads for
