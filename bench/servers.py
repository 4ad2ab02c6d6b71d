"""The servers that are measured: how each is started, looked at and stopped.

Every measurement starts a server of its own, on the first CPU that we may use;
the load runs on the second. A server of several threads has all of these CPUs,
and shares them with the load. Only children of ours are ended, by their pid.
"""

import contextlib
import os
import pwd
import random
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = None  # where the programs are; set by command.run
BODY = "hello\\n"
START_S = 10


class BenchError(Exception):
    """A figure can't be taken; the text says why."""


def cpu_pair():
    """(CPU of the server, CPU of the load): the same if there is only one."""
    cpus = sorted(os.sched_getaffinity(0))
    return cpus[0], cpus[1 if len(cpus) > 1 else 0]


SERVER_CPU, LOAD_CPU = cpu_pair()


class Place:
    """Where a server and its load run, and how many loads there are at once."""

    def __init__(self, server_cpus, load_cpus, loads=1):
        self.server_cpus = server_cpus
        self.load_cpus = load_cpus
        self.loads = loads


APART = Place({SERVER_CPU}, {LOAD_CPU})


def shared(loads):
    cpus = os.sched_getaffinity(0)
    return Place(cpus, cpus, loads)


def need_descriptors(number):
    """Lets our children open this many files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= number:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, max(hard, number)))
    except (ValueError, OSError) as error:
        raise BenchError(f"{number} open files are needed and {hard} allowed "
                         f"(ulimit -Hn): {error}") from error


def free_port():
    """A port that nothing listens on. It lies outside the range from which
    clients get theirs: one that connects to a port that has just been shut
    could be given that very port, and would then talk to itself."""
    text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
    low, high = (int(word) for word in text.split())
    ports = [p for p in range(10000, 65536) if not low <= p <= high]
    for port in random.sample(ports, min(len(ports), 50)):
        with socket.socket() as probe:
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise BenchError("no free port outside the range of the clients' ports")


def spawn(argv, cpus, **options):
    """A child on these CPUs, without a DUSK_... environment to configure it."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("DUSK_")}
    return subprocess.Popen(
        [str(word) for word in argv], env=env,
        preexec_fn=lambda: os.sched_setaffinity(0, cpus), **options)


def end(process):
    """Ends a child, whatever state it is in."""
    if process.poll() is None:
        process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            with contextlib.suppress(OSError):
                pipe.close()


# -- What a server is started with ---------------------------------------------

NGINX_CONF = """\
daemon off;
worker_processes 1;
{user}
pid {dir}/nginx.pid;
error_log {dir}/error.log;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  default_type text/plain;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ return 200 "{body}"; }}
  }}
}}
"""


def nginx_command(nginx, port, directory):
    # As root, nginx would serve as somebody else and need access for them.
    user = pwd.getpwuid(os.getuid()).pw_name
    conf = directory / "nginx.conf"
    conf.write_text(NGINX_CONF.format(
        user=f"user {user};" if os.getuid() == 0 else "",
        dir=directory, port=port, body=BODY))
    return [nginx, "-e", directory / "error.log", "-p", directory, "-c", conf]


class Kind:
    """One sort of server: its name, its program, where it runs, how it is told
    to stop."""

    def __init__(self, name, program, command, stop=signal.SIGTERM,
                 place=APART):
        self.name = name
        self.program = program
        self.command = command  # (program, port, directory) -> argv
        self.stop = stop
        self.place = place


def built(name):
    path = BUILD / name
    if not os.access(path, os.X_OK):
        raise BenchError(
            f"{path} is missing; build it first:\n"
            "  cmake --preset default && cmake --build --preset bench")
    return path


def duskd_command(program, port, _):
    return [program, "--listen", f"127.0.0.1:{port}"]


def duskd(threads=1, place=APART):
    """With one thread as it comes, so that older ones can be measured."""
    if threads == 1:
        return Kind("duskd", built("duskd"), duskd_command, place=place)

    def argv(*how):
        return [*duskd_command(*how), "--threads", threads]

    return Kind(f"duskd, {threads} threads", built("duskd"), argv, place=place)


def workers(threads):
    """It tells at /workers how its connections are spread."""
    return Kind("workers", built("bench/bench_workers"),
                lambda program, port, _: [program, port, threads],
                place=shared(1))


def limit(name, program):
    return Kind(name, built(f"bench/{program}"), lambda program, port, _:
                [program, port])


def nginx():
    """None when it isn't installed."""
    # Debian keeps it where only root's PATH looks.
    path = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin"
    program = shutil.which("nginx", path=path)
    return program and Kind("nginx", program, nginx_command, signal.SIGQUIT)


# -- A running server ----------------------------------------------------------

class Server:
    """A server that runs and can be connected to. `process` is our child, `pid`
    the process that serves: the child, or the worker that it started."""

    def __init__(self, kind, process, port):
        self.kind = kind
        self.process = process
        self.port = port
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        workers = children.read_text().split()
        self.pid = int(workers[0]) if workers else process.pid

    def cpu(self):
        """CPU seconds used so far: (user, system).

        Their sum is exact to the nanosecond (the clock of a process, whose id
        is made as in clock_getcpuclockid). How it divides is known from samples
        that the kernel takes at its ticks: good to a percent over some seconds.
        """
        total = time.clock_gettime((~self.pid << 3) | 2)
        stat = Path(f"/proc/{self.pid}/stat").read_text()
        user, system = (int(n) for n in stat.rpartition(")")[2].split()[11:13])
        share = user / (user + system) if user + system else 0
        return total * share, total * (1 - share)

    def writes(self):
        """write and writev calls so far; None if the kernel doesn't count."""
        try:
            text = Path(f"/proc/{self.pid}/io").read_text()
        except OSError:
            return None
        return int(re.search(r"syscw: (\d+)", text)[1])

    def rss_bytes(self):
        """Exact, unlike /proc/PID/status, whose counters lag behind."""
        text = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        return int(re.search(r"Rss: +(\d+) kB", text)[1]) * 1024

    def stop(self, timeout_s):
        """Tells it to stop and waits. When it was told and when it had gone, in
        monotonic nanoseconds, and its exit status (negative: a signal)."""
        gone = select.poll()
        pidfd = os.pidfd_open(self.process.pid)
        try:
            gone.register(pidfd, select.POLLIN)
            told_ns = time.monotonic_ns()
            self.process.send_signal(self.kind.stop)
            ended = gone.poll(timeout_s * 1000)
            gone_ns = time.monotonic_ns()
        finally:
            os.close(pidfd)
        if not ended:
            raise BenchError(f"{self.kind.name} was told to stop and is still "
                             f"there after {timeout_s} s")
        return told_ns, gone_ns, self.process.wait()


def wait_until_served(kind, process, port, log):
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.01)
    raise BenchError(f"{kind.name} doesn't serve: {log.read_text().strip()}")


@contextlib.contextmanager
def running(kind):
    """A fresh server of this kind, gone at the end."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="dusk-bench-") as name:
        directory = Path(name)
        log = directory / "output"
        with open(log, "wb") as output:
            process = spawn(kind.command(kind.program, port, directory),
                            kind.place.server_cpus, stdin=subprocess.DEVNULL,
                            stdout=output, stderr=output)
        try:
            wait_until_served(kind, process, port, log)
            yield Server(kind, process, port)
        finally:
            if process.poll() is None:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(2)
            end(process)
