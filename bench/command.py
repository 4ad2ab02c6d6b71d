"""What bench/throughput, shutdown and context have in common as programs."""

import argparse
import signal
import sys
from pathlib import Path

import report
import servers
from servers import ROOT, BenchError


def make_parser(doc):
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, metavar="DIR",
                        default=ROOT / "build" / "default",
                        help="where duskd and the benches were built "
                        "(default build/default)")
    parser.add_argument("--output", type=Path, metavar="DIR",
                        default=ROOT / "build" / "bench",
                        help="where table and plot go (default build/bench)")
    return parser


def add_number(parser, flag, default, text):
    """An option that takes a whole number from 1."""
    def from_one(word):
        if not word.isdecimal() or int(word) < 1:
            raise argparse.ArgumentTypeError(f"'{word}' is no number from 1")
        return int(word)

    parser.add_argument(flag, type=from_one, default=default, metavar="N",
                        help=f"{text} (default {default})")


def run(bench, options):
    """Runs bench(options) with the options of make_parser."""
    servers.BUILD = options.build.resolve()
    report.DIRECTORY = options.output.resolve()
    outcome(bench, options)


def outcome(bench, options):
    """Runs bench(options), whose result, if any, is the status; a figure that
    can't be taken is status 1."""
    # So that a terminated bench takes its children along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(bench(options))
    except BenchError as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
