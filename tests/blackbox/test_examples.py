"""The examples without HTTP. Those that serve are in test_seed.py."""

import signal

import pytest

from harness import example, program


def lines(run, name, *args):
    child = run(example(name), *args, listeners=0)
    status = child.wait()
    assert child.err.all() == []
    return sorted(child.out.all()), status


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


def test_lookup_goes_on_after_a_name_that_is_none(run):
    long = 300 * "x"
    invalid = ["", long]
    told = [f"{name}: invalid argument" for name in invalid]
    assert lines(run, "lookup", *invalid) == (sorted(told), 1)
    found = "127.0.0.1: 127.0.0.1"
    assert lines(run, "lookup", "", "127.0.0.1", long) == (
        sorted([found, *told]), 1)


def hang(run, *args):
    """A look-up of hang.test, which hangs in libuv's only thread. What comes
    before it is done then, and what comes after it waits."""
    lookup = run(program("lookup_hang"), *args, listeners=0,
                 env={"UV_THREADPOOL_SIZE": "1"})
    lookup.err.wait("^hangs$")
    return lookup


def test_lookup_ends_on_ctrl_c_also_while_the_resolver_hangs(run):
    a_minute = 60 * 1000  # longer than this test waits
    lookup = hang(run, "-t", str(a_minute), "127.0.0.1", "hang.test", "::1")
    lookup.signal(signal.SIGINT)
    assert lookup.wait() == 1
    assert sorted(lookup.out.all()) == ["127.0.0.1: 127.0.0.1",
                                        "::1: context canceled",
                                        "hang.test: context canceled"]


def test_lookup_ends_at_the_deadline_also_while_the_resolver_hangs(run):
    lookup = hang(run, "-t", "200", "hang.test", "127.0.0.1")
    assert lookup.wait() == 1
    assert sorted(lookup.out.all()) == [
        "127.0.0.1: context deadline exceeded",
        "hang.test: context deadline exceeded"]


@pytest.mark.parametrize("args", [
    [], ["-t", "1"], ["-t", "abc", "::1"], ["-t", "", "::1"],
    ["-t", "-1", "::1"], ["-t", "5s", "::1"]])
def test_lookup_tells_how_it_is_used(run, args):
    lookup = run(example("lookup"), *args, listeners=0)
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


@pytest.mark.parametrize("signum, text", [
    (signal.SIGINT, "interrupt"), (signal.SIGTERM, "terminated")])
def test_wait_runs_until_a_signal_comes(run, signum, text):
    wait = run(example("wait"), listeners=0)
    wait.out.wait("^waiting$")
    wait.signal(signum)
    assert wait.wait() == 0
    assert wait.out.all() == ["waiting", f"{text} signal received"]


def test_timeout_gives_the_commands_output_and_status(run):
    found, status = lines(run, "timeout", "60000", "sh", "-c",
                          "echo said; exit 3")
    assert (found, status) == (["said"], 3)


def test_timeout_ends_a_command_whose_time_is_up(run):
    assert lines(run, "timeout", "20", "sleep", "60") == ([], 124)


def test_timeout_kills_one_that_does_not_end(run):
    assert lines(run, "timeout", "20", "sh", "-c",
                 "trap '' TERM; exec sleep 60") == ([], 124)


def test_timeout_passes_a_signal_on(run):
    timeout = run(example("timeout"), "60000", "sh", "-c",
                  "echo ready; exec sleep 60", listeners=0)
    timeout.out.wait("^ready$")
    timeout.signal(signal.SIGTERM)
    assert timeout.wait() == 128 + signal.SIGTERM


def test_timeout_tells_what_is_not_there(run):
    timeout = run(example("timeout"), "1000", "/nowhere/command", listeners=0)
    assert timeout.wait() == 127
    assert timeout.err.all() == [
        "timeout: /nowhere/command: no such file or directory"]


@pytest.mark.parametrize("args", [[], ["1"], ["-1", "true"], ["x", "true"]])
def test_timeout_tells_how_it_is_used(run, args):
    timeout = run(example("timeout"), *args, listeners=0)
    assert timeout.wait() == 125
    timeout.err.wait("^usage: ")
