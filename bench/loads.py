"""The loads: wrk and our own clients.

Each tells its figures as one line of NAME=NUMBER, its last.
"""

import contextlib
import shutil
import subprocess
from pathlib import Path

from servers import APART, BenchError, built, end, spawn

SLACK_S = 20  # on top of the time that a load was given
KEEP, CLOSE, POST = "keep", "close", "post"


def wrk_program():
    program = shutil.which("wrk")
    if not program:
        raise BenchError("wrk is missing; install it: deps/install bench")
    return program


def wrk(port, mode, connections, depth, seconds, threads=1):
    """The command of a wrk run; `seconds` is a whole number."""
    closing = ["-H", "Connection: close"] if mode == CLOSE else []
    return [wrk_program(), f"-t{threads}", f"-c{connections}",
            f"-d{seconds}s", *closing,
            "-s", Path(__file__).with_name("wrk.lua"),
            f"http://127.0.0.1:{port}/", "--", depth]


def client(program, port, mode, connections, size, seconds, *target):
    """The command of bench_load or bench_stops (which takes a target). `size`:
    requests sent at once, or bytes of a body."""
    sizes = [] if mode == CLOSE else [size]
    return [built(f"bench/{program}"), mode, port, connections, *sizes,
            seconds, *target]


@contextlib.contextmanager
def started(command, cpus=APART.load_cpus):
    process = spawn(command, cpus, stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        end(process)


def figures(process, timeout_s):
    """Waits for a load's end; its last line as a dict of numbers."""
    name = Path(process.args[0]).name
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{name} didn't end in {timeout_s} s") from error
    lines = output.splitlines()
    if process.returncode != 0 or not lines or "=" not in lines[-1]:
        raise BenchError(f"{name} ended with status {process.returncode}: "
                         f"{errors.strip() or output.strip()}")
    pairs = (word.split("=") for word in lines[-1].split())
    return {name: float(number) for name, number in pairs}


def run_all(commands, seconds, cpus):
    """Runs loads at the same time. Of several what they did adds up, the length
    and the latencies are those of the slowest."""
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(started(command, cpus))
                     for command in commands]
        seen = [figures(process, seconds + SLACK_S) for process in processes]
    slowest = ("seconds", "p50_us", "p99_us")
    return {name: (max if name in slowest else sum)(one[name] for one in seen)
            for name in seen[0]}


@contextlib.contextmanager
def idle_connections(port, number, cpus=APART.load_cpus):
    """That many connections, each answered once, held open."""
    command = [built("bench/bench_load"), "idle", port, number]
    with started(command, cpus) as process:
        if process.stdout.readline().strip() != "ready":
            raise BenchError(
                f"{number} idle connections: {process.stderr.read().strip()}")
        yield
