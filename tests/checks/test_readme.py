"""The README's two lines to paste, and CI, which runs the second."""

import subprocess

from sources import ROOT


def lines_to_paste():
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    return [line.strip() for line in lines
            if line.strip().startswith("./deps/install")]


def test_readme_has_two_lines_to_paste():
    build, test = lines_to_paste()
    assert build.startswith("./deps/install && ")
    assert build.endswith("/duskd")
    assert test.startswith("./deps/install test && ")


def test_the_readme_program_compiles(tmp_path):
    text = (ROOT / "README.md").read_text("utf-8")
    begin = text.index("    #include <dusk/http.h>")
    lines = text[begin:text.index("\n    }\n\n", begin) + 7].splitlines()
    source = tmp_path / "program.c"
    source.write_text("".join(line[4:] + "\n" for line in lines), "utf-8")
    assert len(lines) <= 20
    subprocess.run(
        ["cc", "-std=gnu11", "-Wall", "-Werror", "-fsyntax-only", str(source)]
        + [f"-I{ROOT}/src/{part}/include" for part in ("context", "http")],
        check=True)


def test_ci_runs_the_line_for_testing():
    _, test = lines_to_paste()
    assert f"\n{test} || exit 1\n" in (ROOT / ".ci/run").read_text("utf-8")
