"""The libraries export what the public headers declare, and nothing else."""

import os
import re
import shutil
import subprocess

import pytest

from sources import ROOT, without_comments

DECLARED = re.compile(r"\bDUSK_EXTERN\b[^;]*?\b(dusk_[a-z0-9_]+)\s*[(;]")


def declared(part):
    names = set()
    for header in (ROOT / "src" / part / "include/dusk").glob("*.h"):
        names.update(DECLARED.findall(without_comments(header)))
    assert names
    return names


def defined(library):
    """Its global symbols by visibility, without the compiler's own."""
    found = {"DEFAULT": set(), "HIDDEN": set()}
    table = subprocess.run(["readelf", "--syms", "--wide", library],
                           check=True, stdout=subprocess.PIPE, text=True)
    for line in table.stdout.splitlines():
        field = line.split()
        if len(field) != 8 or field[4] not in ("GLOBAL", "WEAK"):
            continue
        visibility, section, name = field[5:]
        if section != "UND" and not name.startswith("__"):
            found[visibility].add(name)
    return found


@pytest.mark.skipif(not shutil.which("readelf"), reason="reads ELF files")
@pytest.mark.parametrize("part", ["context", "http"])
def test_library_exports_its_headers(part):
    symbols = defined(os.environ[f"DUSK_{part.upper()}_LIBRARY"])
    missing = declared(part) - symbols["DEFAULT"]
    assert not missing, "declared, but not defined"
    exported = symbols["DEFAULT"] - declared(part)
    assert not exported, "exported, but not declared"
    misnamed = {n for n in symbols["HIDDEN"] if not n.startswith("dusk__")}
    assert not misnamed, "shared inside the part, but not named dusk__..."
