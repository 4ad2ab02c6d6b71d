"""The C files of this source tree."""

import os
import pathlib
import re

ROOT = pathlib.Path(os.environ["DUSK_SOURCE_DIR"])


def c_files(folder):
    found = sorted(p for p in (ROOT / folder).rglob("*.[ch]"))
    assert found, f"no C files in {folder}"
    return found


def without_comments(path):
    text = path.read_text("utf-8")
    return re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.S)
