"""The loads: wrk and our own clients, run on the second CPU.

Each tells its figures as one line of NAME=NUMBER, its last.
"""

import contextlib
import shutil
import subprocess
from pathlib import Path

from servers import LOAD_CPU, BenchError, built, end, spawn

SLACK_S = 20  # on top of the time that a load was given
KEEP, CLOSE = "keep", "close"


def wrk_program():
    program = shutil.which("wrk")
    if not program:
        raise BenchError("wrk is missing; install it: deps/install bench")
    return program


def wrk(port, mode, connections, depth, seconds):
    """The command of a wrk run; `seconds` is a whole number."""
    closing = ["-H", "Connection: close"] if mode == CLOSE else []
    return [wrk_program(), "-t1", f"-c{connections}", f"-d{seconds}s", *closing,
            "-s", Path(__file__).with_name("wrk.lua"),
            f"http://127.0.0.1:{port}/", "--", depth]


def client(program, port, mode, connections, depth, seconds, *target):
    """The command of bench_load or bench_stops (which takes a target)."""
    depths = [depth] if mode == KEEP else []
    return [built(f"bench/{program}"), mode, port, connections, *depths,
            seconds, *target]


@contextlib.contextmanager
def started(command):
    process = spawn(command, LOAD_CPU, stdin=subprocess.PIPE,
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


def run(command, seconds):
    with started(command) as process:
        return figures(process, seconds + SLACK_S)


@contextlib.contextmanager
def idle_connections(port, number):
    """That many connections, each answered once, held open."""
    command = [built("bench/bench_load"), "idle", port, number]
    with started(command) as process:
        if process.stdout.readline().strip() != "ready":
            raise BenchError(
                f"{number} idle connections: {process.stderr.read().strip()}")
        yield
