"""The outcome of a bench: Markdown tables and a plot."""

import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from servers import APART, LOAD_CPU, SERVER_CPU

DIRECTORY = None  # set by command.run


def number(value, digits=0):
    return "–" if value is None else f"{value:,.{digits}f}"


def table(header, rows):
    """Markdown, aligned: the first column to the left, others to the right."""
    lines = [header, *rows]
    widths = [max(len(str(line[i])) for line in lines)
              for i in range(len(header))]

    def row(cells):
        first, *others = zip(cells, widths)
        return "| " + " | ".join(
            [str(first[0]).ljust(first[1])] +
            [str(cell).rjust(width) for cell, width in others]) + " |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([row(header), row(rule), *(row(line) for line in rows)])


def version(argv):
    """What a program says about itself and its libraries, on one line."""
    done = subprocess.run(argv, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=10, check=False)
    # wrk: "wrk 4.1 [epoll] Copyright ...", and its usage below
    # nginx: "nginx version: nginx/1.2"
    text = done.stdout.partition("Usage")[0].partition(" [")[0]
    return ", ".join(text.splitlines()).rpartition(": ")[2]


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def server_and_load():
    return where(APART)


def where(place):
    if place.server_cpus == place.load_cpus:
        if place is APART:
            return "server and load share one CPU: don't trust these figures"
        cpus = ", ".join(str(cpu) for cpu in sorted(place.server_cpus))
        return f"server and {place.loads} loads share the CPUs {cpus}"
    return f"server on CPU {SERVER_CPU}, load on CPU {LOAD_CPU}"


def heading(version_commands, where):
    """The command and the machine, as two lines of Markdown."""
    command = shlex.join(["bench/" + Path(sys.argv[0]).name, *sys.argv[1:]])
    facts = [f"{os.cpu_count()} × {processor()}",
             f"{platform.system()} {platform.release()}", where,
             *(version(argv) for argv in version_commands)]
    return f"`{command}`\n\n" + "; ".join(facts)


def plot(name, script, height):
    """Draws NAME.svg; says where it is, or why it isn't."""
    program = shutil.which("gnuplot")
    if not program:
        return "No plot: gnuplot is missing; install it: deps/install bench"
    path = DIRECTORY / f"{name}.svg"
    path.unlink(missing_ok=True)
    setup = (f"set terminal svg size 960,{height} background rgb 'white'\n"
             f"set output '{path}'\n")
    done = subprocess.run([program], input=setup + script, text=True,
                          capture_output=True, timeout=60, check=False)
    if done.returncode != 0 or not path.exists():
        return f"No plot: gnuplot: {done.stderr.strip()}"
    return f"Plot: {os.path.relpath(path)}"


def publish(name, text, plot_script, plot_height):
    """Prints the report and writes it, with its plot, if any, beside it."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    path = DIRECTORY / f"{name}.md"
    path.write_text(text + "\n")
    print(text, flush=True)
    print(f"\nTable: {os.path.relpath(path)}")
    if plot_script:
        print(plot(name, plot_script, plot_height))


def progress(text):
    print(text, file=sys.stderr, flush=True)
