"""The libraries export what the public headers declare, and nothing else."""

import os
import re
import shutil
import subprocess

import pytest

from sources import ROOT, without_comments

DECLARED = re.compile(r"\bDUSK_EXTERN\b[^;]*?\b(dusk_[a-z0-9_]+)\s*[(;]")
reads_elf = pytest.mark.skipif(not shutil.which("readelf"),
                               reason="reads ELF files")


def declared(part):
    names = set()
    for header in (ROOT / "src" / part / "include/dusk").glob("*.h"):
        names.update(DECLARED.findall(without_comments(header)))
    assert names
    return names


def symbols(library, table="--syms"):
    """Its global symbols, without the compiler's own: those it defines, by
    visibility, and those it wants ("UND")."""
    found = {"DEFAULT": set(), "HIDDEN": set(), "UND": set()}
    listing = subprocess.run(["readelf", table, "--wide", library],
                             check=True, stdout=subprocess.PIPE, text=True)
    for line in listing.stdout.splitlines():
        field = line.split()
        if len(field) < 8 or field[4] not in ("GLOBAL", "WEAK"):
            continue
        visibility, section, name = field[5:8]
        if not name.startswith("__"):
            found["UND" if section == "UND" else visibility].add(name)
    return found


def library(part, kind):
    path = os.environ.get(f"DUSK_{part.upper()}_{kind}")
    if not path:
        pytest.skip(f"this build has no {part}")
    return path


def assert_exports(found, part):
    missing = declared(part) - found["DEFAULT"]
    assert not missing, "declared, but not defined"
    exported = found["DEFAULT"] - declared(part)
    assert not exported, "exported, but not declared"


# LIBRARY is the build's own, ARCHIVE and SHARED are installed.
@reads_elf
@pytest.mark.parametrize("kind", ["LIBRARY", "ARCHIVE"])
@pytest.mark.parametrize("part", ["context", "http"])
def test_static_library_exports_its_headers(part, kind):
    found = symbols(library(part, kind))
    assert_exports(found, part)
    # What else is in it (an llhttp, perhaps) must not meet the program's own.
    misnamed = {n for n in found["HIDDEN"] if not n.startswith("dusk__")}
    assert not misnamed, "shared inside the part, but not named dusk__..."


@reads_elf
@pytest.mark.parametrize("part", ["context", "http"])
def test_shared_library_exports_its_headers(part):
    assert_exports(symbols(library(part, "SHARED"), "--dyn-syms"), part)


@reads_elf
@pytest.mark.parametrize("kind", ["LIBRARY", "ARCHIVE", "SHARED"])
def test_http_uses_what_context_declares(kind):
    table = "--dyn-syms" if kind == "SHARED" else "--syms"
    found = symbols(library("http", kind), table)
    inside = found["DEFAULT"] | found["HIDDEN"]
    wanted = {n for n in found["UND"] - inside if n.startswith("dusk_")}
    assert wanted
    # The build's own has its llhttp, renamed, in a library beside it.
    wanted = {n for n in wanted if not n.startswith("dusk__llhttp_")}
    assert wanted <= declared("context")
