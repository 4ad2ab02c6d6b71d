"""The README's two lines to paste, and CI, which runs the second; and programs
in what one reads."""

import os
import re
import signal
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
        ["cc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", str(source)]
        + [f"-I{ROOT}/src/{part}/include" for part in ("context", "http")],
        check=True)


def test_the_service_is_how_the_example_begins():
    text = (ROOT / "README.md").read_text("utf-8")
    begin = text.index("    /* users.c ")
    quoted = text[begin:text.index("\n\nIts `main`", begin)].splitlines()
    example = (ROOT / "src/examples/users.c").read_text("utf-8").splitlines()
    assert [line[4:] for line in quoted] == example[:len(quoted)]
    assert len(quoted) in (29, 30)


def test_the_context_program_builds_by_one_line_and_runs(tmp_path):
    text = (ROOT / "README.md").read_text("utf-8")
    begin = text.index("    #include <dusk/calls.h>")
    program = text[begin:text.index("\n    }\n\nThe module", begin) + 7]
    lines = [line[4:] for line in program.splitlines()]
    assert len(lines) <= 40
    (tmp_path / "ticks.c").write_text("\n".join(lines) + "\n", "utf-8")
    (tmp_path / "src").symlink_to(ROOT / "src")
    subprocess.run(
        ["cc", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "ticks.c",
         f"-I{ROOT}/src/context/include"], cwd=tmp_path, check=True)
    build, run = re.search(r"\n    (cc ticks.c .*) && (\./ticks)\n", text).groups()
    subprocess.run(build, shell=True, cwd=tmp_path, check=True)
    with subprocess.Popen(["stdbuf", "-oL", run], cwd=tmp_path, text=True,
                          stdout=subprocess.PIPE) as ticks:
        assert ticks.stdout.readline() == "tick\n"
        ticks.send_signal(signal.SIGINT)
        assert "stopped: interrupt signal received\n" in ticks.stdout.readlines()
    assert ticks.returncode == 0


def test_the_program_that_tests_builds_and_runs(tmp_path):
    text = (ROOT / "src/http/include/dusk/test.h").read_text("utf-8")
    begin = text.index(" *     #include <assert.h>")
    program = text[begin:text.index("\n *     }\n *\n * A test", begin) + 9]
    lines = [line[7:] for line in program.splitlines()]
    assert len(lines) <= 25
    (tmp_path / "test.c").write_text("\n".join(lines) + "\n", "utf-8")
    compile_it = ["cc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "test.c"] + \
        [f"-I{ROOT}/src/{part}/include" for part in ("context", "http")]
    subprocess.run(compile_it + ["-fsyntax-only"], cwd=tmp_path, check=True)
    if os.environ["DUSK_SANITIZE"] or "DUSK_HTTP_SHARED" not in os.environ:
        return
    libraries = [os.environ[f"DUSK_{part}_SHARED"] for part in ("HTTP", "CONTEXT")]
    paths = [f"-Wl,-rpath,{os.path.dirname(path)}" for path in libraries]
    subprocess.run(compile_it + libraries + paths + ["-luv", "-o", "test"],
                   cwd=tmp_path, check=True)
    subprocess.run([tmp_path / "test"], check=True, timeout=60)


def test_ci_runs_the_line_for_testing():
    _, test = lines_to_paste()
    assert f"\n{test} || exit 1\n" in (ROOT / ".ci/run").read_text("utf-8")
