"""Loads that are put on a server, and what a request costs it under each."""

import loads
import servers
from loads import CLOSE, KEEP, POST
from servers import BenchError

DEPTH = 16


class Mode:
    """One load: a title, the generator, connections, and how many requests are
    in flight or how large a body is."""

    def __init__(self, title, short, generator, kind, connections, size=1):
        self.title = title
        self.short = short
        self.generator = generator
        self.kind = kind
        self.connections = connections
        self.size = size

    def commands(self, port, seconds, number):
        """The load, in `number` processes or threads."""
        if self.generator == "wrk":
            return [loads.wrk(port, self.kind, self.connections, self.size,
                              seconds, number)]
        return [loads.client("bench_load", port, self.kind,
                             self.connections // number, self.size, seconds)
                for _ in range(number)]


KEEP_64_WRK = Mode("Keep-alive, 64 connections, wrk", "64, wrk", "wrk", KEEP,
                   64)
KEEP_64 = Mode("Keep-alive, 64 connections, bench_load", "64, lean", "lean",
               KEEP, 64)
KEEP_512_WRK = Mode("Keep-alive, 512 connections, wrk", "512, wrk", "wrk",
                    KEEP, 512)
KEEP_512 = Mode("Keep-alive, 512 connections, bench_load", "512, lean", "lean",
                KEEP, 512)
PIPELINED = Mode(f"{DEPTH} requests pipelined, 64 connections, bench_load",
                 f"{DEPTH} deep", "lean", KEEP, 64, DEPTH)
CLOSE_64 = Mode("A connection a request, 64 at a time, bench_load", "close",
                "lean", CLOSE, 64)
ECHO_64_KIB = Mode("POST /echo of 64 KiB, 16 connections, bench_load",
                   "64 KiB", "lean", POST, 16, 64 << 10)
ECHO_1_MIB = Mode("POST /echo of 1 MiB, 16 connections, bench_load", "1 MiB",
                  "lean", POST, 16, 1 << 20)


def measure_load(kind, mode, seconds):
    """One run of one load against a fresh server, as a dict of figures."""
    with servers.running(kind) as server:
        user, system = server.cpu()
        writes = server.writes()
        seen = loads.run_all(
            mode.commands(server.port, seconds, kind.place.loads), seconds,
            kind.place.load_cpus)
        user, system = (b - a for a, b in zip((user, system), server.cpu()))
        requests = seen["requests"]
        bad = sum(seen.get(key, 0) for key in ("connect", "read", "write",
                                               "timeout", "status"))
        if not requests or bad:
            raise BenchError(f"{kind.name}: {requests:.0f} requests, "
                             f"{bad:.0f} errors ({mode.title})")
        return {
            "rate": requests / seen["seconds"],
            "p50_us": seen["p50_us"],
            "p99_us": seen["p99_us"],
            "cpu_us": (user + system) / requests * 1e6,
            "user_us": user / requests * 1e6,
            "system_us": system / requests * 1e6,
            "busy": (user + system) / seen["seconds"] * 100,
            "writes": None if writes is None else
            (server.writes() - writes) / requests,
        }
