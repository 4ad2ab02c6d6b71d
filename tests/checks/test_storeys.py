"""A part is a staircase: each of its files uses only what is below it.

The order is that of the files in the part's CMakeLists.txt, from top to bottom
and from left to right. What uses what is read from the built objects and from
the includes. A header stands where it is listed; else where the source of its
name does; else below all that is. Since the order is a line, there is no circle
where nothing uses what is above it.
"""

import collections
import os
import re
import shutil
import subprocess

import pytest

from sources import ROOT, c_files

PARTS = ["context", "http"]


def order_of(cmake):
    """The listed files, the uppermost first."""
    cmake = re.sub(r"#[^\n]*", "", cmake)
    return re.findall(r"(?<!\S)(\w+\.[ch])\b", cmake)


def uses_of_symbols(listing):
    """{(user, used): symbols}, from what nm says of a static library."""
    owner, wanted, member = {}, [], None
    for line in listing.splitlines():
        heading = re.fullmatch(r".*\[(\w+\.c)\.o\]:", line)
        field = line.split()
        if heading:
            member = heading[1]
        elif len(field) >= 2 and field[1] in "Uw":
            wanted.append((member, field[0]))
        elif len(field) >= 2:
            owner[field[0]] = member
    uses = collections.defaultdict(set)
    for user, symbol in wanted:
        if owner.get(symbol, user) != user:
            uses[user, owner[symbol]].add(symbol)
    return uses


def uses_of_headers(texts):
    """The same, from {file: text}."""
    return {(user, used): {used} for user, text in texts.items()
            for used in re.findall(r'^\s*#\s*include\s*"([^"]+)"', text, re.M)}


def uses_upwards(order, uses):
    def storey(name):
        known = [name, name[:-1] + "c"]
        return next((order.index(n) for n in known if n in order), len(order))

    def is_fault(user, used):
        if user[:-1] == used[:-1] and used.endswith(".h"):
            return False  # its own header
        return storey(used) <= storey(user)

    return [f"{user} uses {used}: {', '.join(sorted(what))}"
            for (user, used), what in sorted(uses.items())
            if is_fault(user, used)]


def private_files(part):
    return {path.name: path.read_text("utf-8") for path in c_files(f"src/{part}")
            if path.parent == ROOT / "src" / part}


def order_in(part):
    return order_of((ROOT / "src" / part / "CMakeLists.txt").read_text("utf-8"))


@pytest.mark.parametrize("part", PARTS)
def test_each_source_has_its_storey(part):
    order = order_in(part)
    assert len(set(order)) == len(order), "listed twice"
    sources = {name for name in private_files(part) if name.endswith(".c")}
    assert not sources - set(order), "not listed"


@pytest.mark.skipif(not shutil.which("nm"), reason="reads objects")
@pytest.mark.parametrize("part", PARTS)
def test_calls_go_down(part):
    library = os.environ[f"DUSK_{part.upper()}_LIBRARY"]
    listing = subprocess.run(["nm", "-P", "-g", library], check=True,
                             stdout=subprocess.PIPE, text=True)
    uses = uses_of_symbols(listing.stdout)
    assert uses, "nothing to be read from the objects"
    assert not uses_upwards(order_in(part), uses)


@pytest.mark.parametrize("part", PARTS)
def test_includes_go_down(part):
    uses = uses_of_headers(private_files(part))
    assert not uses_upwards(order_in(part), uses)


# -- The check itself ----------------------------------------------------------

ORDER = order_of("""
add_library(part STATIC
  roof.c     # on wall.c, not on trees.c
  wall.c door.c frame.h
  cellar.c)
""")


def listing_of(members):
    """What nm says of {member: "defined > wanted"}."""
    lines = []
    for member, symbols in members.items():
        defined, _, wanted = symbols.partition(">")
        lines.append(f"libpart.a[{member}.o]:")
        lines += [f"{name} T 0 1" for name in defined.split()]
        lines += [f"{name} U" for name in wanted.split()]
    return "\n".join(lines)


def test_order_is_read_from_top_to_bottom_and_left_to_right():
    assert ORDER == ["roof.c", "wall.c", "door.c", "frame.h", "cellar.c"]


def test_uses_down_and_to_the_right_are_no_fault():
    uses = uses_of_symbols(listing_of({
        "roof.c": "roof > wall cellar malloc", "wall.c": "wall > door cellar",
        "door.c": "door > cellar", "cellar.c": "cellar > free"}))
    assert len(uses) == 5
    assert not uses_upwards(ORDER, uses)


@pytest.mark.parametrize("members, fault", [
    ({"roof.c": "roof", "cellar.c": "cellar > roof"},
     "cellar.c uses roof.c: roof"),
    ({"wall.c": "wall", "door.c": "door > wall"},
     "door.c uses wall.c: wall"),
    ({"wall.c": "wall > door", "door.c": "door arch > wall"},
     "door.c uses wall.c: wall"),
    ({"roof.c": "roof > wall", "wall.c": "wall > cellar",
      "cellar.c": "cellar > roof"}, "cellar.c uses roof.c: roof"),
])
def test_a_use_upwards_or_in_a_circle_is_found(members, fault):
    assert uses_upwards(ORDER, uses_of_symbols(listing_of(members))) == [fault]


@pytest.mark.parametrize("user, used, is_fault", [
    ("roof.c", "roof.h", False),
    ("wall.h", "door.h", False),
    ("door.c", "frame.h", False),
    ("frame.h", "cellar.h", False),
    ("cellar.c", "stones.h", False),
    ("cellar.h", "wall.h", True),
    ("frame.h", "door.h", True),
    ("stones.h", "cellar.h", True),
    ("stones.h", "bricks.h", True),  # the upper one is to be listed
])
def test_an_include_upwards_is_found(user, used, is_fault):
    uses = uses_of_headers({user: f'#include <uv.h>\n#include "{used}"\n'})
    assert len(uses) == 1
    assert bool(uses_upwards(ORDER, uses)) == is_fault
