"""Dependencies point one way: duskd -> http -> context -> libuv."""

import re

import pytest

from sources import ROOT, c_files

# For each part: whose public headers it may include, and who else's.
MAY_INCLUDE = {
    "context": (["context"], {"uv.h"}),
    "http": (["context", "http"], {"uv.h", "llhttp.h"}),
    "duskd": (["context", "http"], {"uv.h"}),
    "examples": (["context", "http"], {"uv.h"}),
}
GUARDED = {"uv.h", "llhttp.h"}


def includes(path):
    return re.findall(r'^\s*#\s*include\s*([<"])([^>"]+)', path.read_text("utf-8"),
                      flags=re.M)


@pytest.mark.parametrize("part", MAY_INCLUDE)
def test_part_includes_only_what_it_may(part):
    parts, others = MAY_INCLUDE[part]
    public = {
        f"dusk/{h.name}"
        for p in parts
        for h in (ROOT / "src" / p / "include/dusk").glob("*.h")
    }
    wrong = []
    for path in c_files(f"src/{part}"):
        for kind, name in includes(path):
            if kind == '"':
                # A private header, and so one of the part's own folder.
                fits = (path.parent / name).is_file() and "/" not in name
            elif name.startswith("dusk/"):
                fits = name in public
            else:
                fits = name in others or name not in GUARDED
            if not fits:
                wrong.append(f"{path.relative_to(ROOT)}: {name}")
    assert not wrong
