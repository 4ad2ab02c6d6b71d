"""What a reader shouldn't have to look for."""

import re
import shutil
import subprocess

import pytest

from sources import ROOT, c_files, without_comments

FILES = [p for folder in ("src", "tests", "bench") for p in c_files(folder)]
# Without a limit, or without a way to tell that they failed.
BANNED = re.compile(
    r"(?<![\w.>])(v?sprintf|str(cpy|cat|tok)|ato[ifl]l?|gets)\s*\(")
# Releases of clang-format differ; this one is the judge.
CLANG_FORMAT = shutil.which("clang-format-14")


def test_no_banned_functions():
    found = {
        str(path.relative_to(ROOT)): match.group(1)
        for path in c_files("src")
        for match in BANNED.finditer(without_comments(path))
    }
    assert not found


@pytest.mark.skipif(not CLANG_FORMAT, reason="no clang-format-14")
def test_format():
    check = [CLANG_FORMAT, "--dry-run", "--Werror"]
    found = [
        str(path.relative_to(ROOT))
        for path in FILES
        if subprocess.run([*check, path], stderr=subprocess.DEVNULL).returncode
    ]
    assert not found
