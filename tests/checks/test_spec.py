"""The rows of tests/spec: each has a test that names it, or a reason.

A test names a row as `ctx_nnn_...` in a function's name, several as
`ctx_nnn_nnn_...`, or as `CTX-nnn` in a comment; SIG, DUSK and SRV likewise.
Such a function must also be in its file's list of tests, or it never runs.
"CTX-nnn to 999" names the first one only. A row that is marked stands in
deviations.md, or the server's in deviations-server.md, under the mark's
heading."""

import collections
import re

from sources import ROOT, c_files, without_comments

SPEC = ROOT / "tests" / "spec"
MARKS = ("differs", "no counterpart", "not shown")
UNTESTED = MARKS[1:]

NAME = re.compile(r"(?<![A-Za-z])(?:(CTX|SIG|DUSK|SRV)-(\d+)|"
                  r"(ctx|sig|dusk|srv)((?:_\d{3})+)(?=_))")

FUNCTION = re.compile(r"\b(?:ctx|sig|dusk|srv)_\d+_\w+")

Row = collections.namedtuple("Row", "promise mark")


def table_lines(name):
    for line in (SPEC / name).read_text("utf-8").splitlines():
        if line.startswith("| ") or line.startswith("## "):
            yield line, [cell.strip() for cell in line.split("|")[1:-1]]


def read_rows():
    rows, twice = {}, []
    for name in ("context.md", "signal.md", "beyond.md", "server.md"):
        for _, cells in table_lines(name):
            if not cells or not re.fullmatch(r"[A-Z]+-\d+", cells[0]):
                continue
            if cells[0] in rows:
                twice.append(cells[0])
            mark = cells[2] if len(cells) > 2 else ""
            rows[cells[0]] = Row(cells[1], mark)
    return rows, twice


def expand(text):
    """The ids in "CTX-nnn, CTX-nnn to CTX-nnn"."""
    for part in text.split(", "):
        first, _, last = part.partition(" to ")
        prefix, _, begin = first.partition("-")
        end = (last or first).partition("-")[2]
        for number in range(int(begin), int(end) + 1):
            yield f"{prefix}-{number:03}"


def read_deviations():
    """Pairs of an id and the heading it stands under."""
    found = []
    for page in ("deviations.md", "deviations-server.md"):
        for line, cells in table_lines(page):
            if line.startswith("## "):
                heading = line[3:].lower()
            elif cells[0] != "Rows":
                assert all(cells), f"a reason is missing: {line}"
                rows = list(expand(cells[0]))
                assert all(row.startswith("SRV") == (page != "deviations.md")
                           for row in rows), f"not on {page}: {line}"
                found += [(row, heading) for row in rows]
    return found


def read_names():
    """What tests name: for each id, the files. This one names what it likes."""
    named = collections.defaultdict(set)
    for path in sorted((ROOT / "tests").rglob("*.*")):
        if path.suffix not in (".c", ".py") or path.samefile(__file__):
            continue
        for upper, number, lower, numbers in NAME.findall(
                path.read_text("utf-8")):
            for each in (number or numbers[1:]).split("_"):
                named[f"{upper or lower.upper()}-{each}"].add(path.name)
    return named


ROWS, TWICE = read_rows()
NAMED = read_names()


def lines(ids):
    return "".join(f"\n  {row}  {ROWS[row].promise}" for row in sorted(ids))


def test_each_row_has_a_test_or_a_reason():
    missing = [row for row in ROWS if row not in NAMED and
               ROWS[row].mark not in UNTESTED]
    assert not missing, f"{len(missing)} rows that no test names:" + \
        lines(missing)


def test_what_has_no_counterpart_has_no_test():
    both = [row for row in NAMED
            if row in ROWS and ROWS[row].mark in UNTESTED]
    assert not both, "a test names what is not promised:" + lines(both)


def test_tests_name_rows_that_exist():
    unknown = [f"{row} in {', '.join(sorted(files))}"
               for row, files in NAMED.items() if row not in ROWS]
    assert not unknown, "no such rows: " + "; ".join(unknown)


def test_functions_that_name_a_row_are_listed():
    unlisted = []
    for path in c_files("tests"):
        times = collections.Counter(FUNCTION.findall(without_comments(path)))
        unlisted += [f"{name} in {path.name}"
                     for name, count in times.items() if count < 2]
    assert not unlisted, "defined, but never run: " + ", ".join(unlisted)


def test_ids_are_unique_and_complete():
    assert not TWICE
    for prefix, last in (("CTX", 164), ("SIG", 97), ("DUSK", None),
                         ("SRV", 379)):
        numbers = [int(row[-3:]) for row in ROWS if row.startswith(prefix)]
        assert numbers == list(range(1, (last or len(numbers)) + 1)), prefix


def test_what_is_marked_stands_in_deviations_once():
    assert {row.mark for row in ROWS.values()} <= {"", *MARKS}
    marked = [(row, ROWS[row].mark) for row in ROWS if ROWS[row].mark]
    found = read_deviations()
    assert len(found) == len(set(found))
    assert set(marked) - set(found) == set(), "not among the deviations"
    assert set(found) - set(marked) == set(), "not marked in its row"
