"""dusk is imported by projects that lie outside of its tree.

It is installed once, into a prefix that is then moved, so that whoever uses it
shows that it may lie anywhere.
"""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(os.environ["DUSK_SOURCE_DIR"])
VERSION = os.environ["DUSK_VERSION"]
CONSUMER = pathlib.Path(__file__).parent / "consumer"
PARTS = ["context", "http"] if os.environ["DUSK_HTTP"] == "1" else ["context"]
PC = {"context": "dusk-context", "http": "dusk"}
TARGETS = ("all", "c", "cxx", "c_shared", "cxx_shared")
TELLS = {
    "context": "context deadline exceeded\ninterrupt\n",
    "http": "shut down with 0\n",
}

# Ends what hangs. Compilers take as long as the machine is slow or busy.
PATIENCE = 1000

pytestmark = [
    pytest.mark.skipif(os.environ["DUSK_SANITIZE"] != "",
                       reason="nobody installs a build with sanitizers"),
    pytest.mark.skipif(not shutil.which("c++"), reason="no C++ compiler"),
    pytest.mark.skipif(not shutil.which("readelf"), reason="reads ELF files"),
]


def run(*command, env=None, fails=False):
    """What it printed, standard error included."""
    done = subprocess.run(
        [str(c) for c in command], stdout=subprocess.PIPE, text=True,
        stderr=subprocess.STDOUT, env={**os.environ, **(env or {})},
        timeout=PATIENCE)
    assert (done.returncode != 0) == fails, done.stdout
    return done.stdout


def configure(source, build, *options, env=None, fails=False):
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    return run("cmake", "-S", source, "-B", build, *generator, *options,
               env=env, fails=fails)


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """What the README's first line builds: optimised across files."""
    tmp = tmp_path_factory.mktemp("install")
    options = ["-DDUSK_HTTP=OFF"] if "http" not in PARTS else []
    configure(ROOT, tmp / "with space", "-DDUSK_LTO=ON", "-DDUSK_TESTS=OFF",
              *options)
    run("cmake", "--build", tmp / "with space", "--parallel", "2")
    run("cmake", "--install", tmp / "with space", "--prefix", tmp / "first")
    (tmp / "first").rename(tmp / "moved")
    return tmp / "moved"


@pytest.fixture(scope="module")
def without_llhttp(tmp_path_factory):
    """A view of this machine in which there is libuv and no llhttp: options and
    environment for CMake."""
    folder = tmp_path_factory.mktemp("pkgconfig")
    libuv = run("pkg-config", "--variable=pcfiledir", "libuv").strip()
    shutil.copy(pathlib.Path(libuv) / "libuv.pc", folder)
    options = ["-DCMAKE_DISABLE_FIND_PACKAGE_llhttp=ON",
               f"-DDUSK_LLHTTP_PREFIX={folder}"]
    return options, {"PKG_CONFIG_LIBDIR": str(folder), "PKG_CONFIG_PATH": ""}


@pytest.fixture(scope="module")
def context_tree(tmp_path_factory):
    """A copy of the tree in which there is nothing but the context part."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("CMakeLists.txt", "deps", "src/CMakeLists.txt", "src/package",
                 "src/context"):
        source, copy = ROOT / name, tree / name
        copy.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy)
        else:
            shutil.copy(source, copy)
    return tree


def build_consumer(build, part, way, *options, env=None, targets=TARGETS):
    output = configure(CONSUMER, build, f"-DPART={part}", f"-DWAY={way}",
                       *options, env=env)
    run("cmake", "--build", build, "--parallel", "2", "--target", *targets)
    for program in set(targets) & {"c", "cxx", "c_shared", "cxx_shared"}:
        assert run(build / program) == TELLS[part]
    return output


def beside(folder):
    """For programs whose shared libraries lie there."""
    return {"LD_LIBRARY_PATH":
            f"{folder}:{os.environ.get('LD_LIBRARY_PATH', '')}"}


def needed(program):
    """The shared libraries it names."""
    return run("readelf", "--dynamic", program)


# -- Without what the tests need ----------------------------------------------


def test_without_cmocka_only_tests_that_were_asked_for_are_an_error(
        tmp_path, without_llhttp):
    options, env = without_llhttp  # it knows no cmocka either
    options = [*options, "-DDUSK_HTTP=OFF"]
    for _ in range(2):  # also when it is configured again
        said = configure(ROOT, tmp_path / "plain", *options, env=env)
        assert "without tests" in said and "deps/install test" in said
    said = configure(ROOT, tmp_path / "asked", *options, "-DDUSK_TESTS=ON",
                     env=env, fails=True)
    assert "deps/install test" in said


# -- What is installed --------------------------------------------------------


def expected_files():
    cmake = "lib/cmake/dusk"
    yield from (f"{cmake}/dusk-config.cmake",
                f"{cmake}/dusk-config-version.cmake",
                f"{cmake}/header_version.cmake",
                f"{cmake}/libuv.cmake")
    for part in PARTS:
        name = PC[part]
        for header in (ROOT / "src" / part / "include/dusk").glob("*.h"):
            yield f"include/dusk/{header.name}"
        yield from (f"lib/lib{name}.a", f"lib/lib{name}.so",
                    f"lib/lib{name}.so.{VERSION.rpartition('.')[0]}",
                    f"lib/lib{name}.so.{VERSION}",
                    f"lib/pkgconfig/{name}.pc",
                    f"{cmake}/dusk-{part}-targets.cmake")
    if "http" in PARTS:
        yield "bin/duskd"


def test_installs_what_it_should_and_no_more(prefix):
    found = {str(p.relative_to(prefix)) for p in prefix.rglob("*")
             if not p.is_dir()}
    # Named after the build type; and where an llhttp is needed, how to find it.
    found = {name for name in found
             if "-targets-" not in name and not name.endswith("/llhttp.cmake")}
    assert found == set(expected_files())


def test_nothing_installed_knows_the_tree(prefix):
    for path in [*prefix.rglob("*.cmake"), *prefix.rglob("*.pc"),
                 *prefix.rglob("*.h")]:
        text = path.read_text("utf-8")
        for place in (ROOT, prefix.parent):
            # As a path of its own, not as the tail of another one.
            assert not re.search(rf"(?<![\w./}}-]){place}/", text), path


@pytest.mark.skipif("http" not in PARTS, reason="this build has no duskd")
def test_installed_duskd_runs(prefix):
    assert VERSION in run(prefix / "bin/duskd", "--version")


# -- The CMake package --------------------------------------------------------


@pytest.mark.parametrize("part", PARTS)
def test_find_package(prefix, tmp_path, part):
    build_consumer(tmp_path, part, "package", f"-DCMAKE_PREFIX_PATH={prefix}")
    assert "libdusk" not in needed(tmp_path / "c")
    soname = f"lib{PC[part]}.so.{VERSION.rpartition('.')[0]}"
    assert f"[{soname}]" in needed(tmp_path / "c_shared")


def find_dusk(tmp_path, prefix, arguments, **more):
    """Configures a project that tells what it has found."""
    source = tmp_path / "asks"
    source.mkdir()
    (source / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.25)\n"
        "project(asks LANGUAGES C)\n"
        f"find_package(dusk {arguments} CONFIG)\n"
        "foreach(part context http)\n"
        "  if(TARGET dusk::${part})\n"
        '    message(STATUS "has ${part}")\n'
        "  endif()\n"
        "endforeach()\n", "utf-8")
    return configure(source, source / "build",
                     f"-DCMAKE_PREFIX_PATH={prefix}", **more)


def test_component_context_alone_brings_no_http(prefix, tmp_path):
    output = find_dusk(tmp_path, prefix, "REQUIRED COMPONENTS context")
    assert "has context" in output
    assert "has http" not in output


def test_no_component_is_all_components(prefix, tmp_path):
    output = find_dusk(tmp_path, prefix, "REQUIRED")
    for part in PARTS:
        assert f"has {part}" in output


def test_unknown_component_fails_and_says_so(prefix, tmp_path):
    output = find_dusk(tmp_path, prefix, "REQUIRED COMPONENTS context tls",
                       fails=True)
    assert "no component 'tls'" in output
    assert f"it has: {', '.join(PARTS)}" in output


def test_unknown_component_may_be_optional(prefix, tmp_path):
    output = find_dusk(
        tmp_path, prefix, "REQUIRED COMPONENTS context OPTIONAL_COMPONENTS tls")
    assert "has context" in output


@pytest.mark.parametrize("version", ["0.0.9", "0.2", "1.0"])
def test_another_minor_version_does_not_fit(prefix, tmp_path, version):
    output = find_dusk(tmp_path, prefix, f"{version} REQUIRED", fails=True)
    assert f"version: {VERSION}" in output


def test_missing_libuv_is_told(prefix, tmp_path):
    output = find_dusk(tmp_path, prefix, "REQUIRED", fails=True,
                       env={"PKG_CONFIG_LIBDIR": str(tmp_path),
                            "PKG_CONFIG_PATH": ""})
    assert "libuv 1.44 or later is needed" in output


# -- pkg-config ---------------------------------------------------------------


def pkg_config(prefix, *arguments):
    path = f"{prefix}/lib/pkgconfig:{os.environ.get('PKG_CONFIG_PATH', '')}"
    return run("pkg-config", *arguments,
               env={"PKG_CONFIG_PATH": path}).split()


@pytest.fixture(scope="module")
def static_prefix(prefix):
    """What a distribution's package of static libraries has."""
    copy = prefix.parent / "static"
    shutil.copytree(prefix, copy, symlinks=True)
    for library in (copy / "lib").glob("*.so*"):
        library.unlink()
    return copy


@pytest.mark.parametrize("part", PARTS)
def test_pc_file_is_valid(prefix, part):
    assert pkg_config(prefix, "--validate", PC[part]) == []
    assert pkg_config(prefix, "--modversion", PC[part]) == [VERSION]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("kind", ["shared", "static"])
@pytest.mark.parametrize("compiler", [
    ["cc", "-std=gnu11"],
    ["cc", "-std=c11", "-Wall", "-Wextra", "-pedantic", "-Werror"],
    ["c++", "-std=gnu++17", "-xc++"],
    # What another compiler, or one that doesn't optimise at link time, takes.
    ["cc", "-fno-lto"],
    ["clang"],
], ids=["gnu11", "c11", "c++17", "no-lto", "clang"])
def test_pkg_config(prefix, static_prefix, tmp_path, part, kind, compiler):
    if not shutil.which(compiler[0]):
        pytest.skip(f"no {compiler[0]}")
    program = tmp_path / "program"
    where = prefix if kind == "shared" else static_prefix
    flags = pkg_config(where, "--cflags", "--libs", PC[part],
                       *(["--static"] if kind == "static" else []))
    run(*compiler, CONSUMER / f"uses_{part}.c", "-xnone", *flags,
        "-o", program)
    env = beside(prefix / "lib") if kind == "shared" else None
    assert run(program, env=env) == TELLS[part]


@pytest.mark.parametrize("define", [
    "_DEFAULT_SOURCE", "_GNU_SOURCE", "_POSIX_C_SOURCE 200809L"])
@pytest.mark.parametrize("part", PARTS)
def test_strict_c_needs_a_definition_before_the_first_header(
        prefix, tmp_path, part, define):
    source = tmp_path / "uses.c"
    source.write_text(
        f"#define {define}\n"
        + (CONSUMER / f"uses_{part}.c").read_text("utf-8"), "utf-8")
    run("cc", "-std=c11", "-Wall", "-Wextra", "-pedantic", "-Werror",
        "-fsyntax-only", f"-I{prefix}/include", source)


# -- Sources ------------------------------------------------------------------


@pytest.mark.parametrize("way", ["subdirectory", "fetchcontent"])
def test_context_is_imported_without_llhttp_and_http(
        context_tree, without_llhttp, tmp_path, way):
    options, env = without_llhttp
    output = build_consumer(tmp_path, "context", way,
                            f"-DDUSK_DIR={context_tree}", *options, env=env)
    assert "dusk without dusk::http, for want of llhttp" in output


def test_only_context_is_built_for_who_wants_no_more(tmp_path):
    build_consumer(tmp_path, "context", "fetchcontent", f"-DDUSK_DIR={ROOT}",
                   targets=("all", "c"))
    assert list(tmp_path.rglob("libdusk_context.a"))
    built = [p for name in ("*.o", "*.a", "*.so*") for p in tmp_path.rglob(name)]
    assert not [p for p in built if "http" in p.name or "duskd" in p.name]


@pytest.mark.skipif("http" not in PARTS, reason="this build has no http")
def test_http_is_fetched(tmp_path):
    build_consumer(tmp_path, "http", "fetchcontent", f"-DDUSK_DIR={ROOT}",
                   targets=("c", "cxx"))


@pytest.mark.skipif("http" not in PARTS, reason="this build has no http")
def test_http_is_imported_as_a_subdirectory(tmp_path):
    build_consumer(tmp_path / "build", "http", "subdirectory",
                   f"-DDUSK_DIR={ROOT}")
    # Nothing of dusk's is built, tested or installed that wasn't asked for.
    assert not [p for p in (tmp_path / "build").rglob("duskd") if p.is_file()]
    assert "No tests were found" in run(
        "ctest", "--test-dir", tmp_path / "build")
    run("cmake", "--install", tmp_path / "build", "--prefix", tmp_path / "into")
    assert not (tmp_path / "into").exists()


# -- Building it by itself ----------------------------------------------------


def test_missing_llhttp_is_told_with_the_way_around(without_llhttp, tmp_path):
    options, env = without_llhttp
    output = configure(ROOT, tmp_path, *options, env=env, fails=True)
    assert "llhttp 9 or later, or the C sources of 8.1" in output
    assert "-DDUSK_HTTP=OFF" in output


def test_context_alone_and_elsewhere(without_llhttp, tmp_path):
    """The context part by itself, with its libraries outside of the prefix."""
    options, env = without_llhttp
    build, prefix, lib = (tmp_path / n for n in ("build", "prefix", "lib"))
    configure(ROOT, build, *options, "-DDUSK_HTTP=OFF", "-DDUSK_TESTS=OFF",
              f"-DCMAKE_INSTALL_LIBDIR={lib}",
              f"-DCMAKE_INSTALL_PREFIX={prefix}", env=env)
    run("cmake", "--build", build, "--parallel", "2")
    run("cmake", "--install", build)
    found = {p.name for p in [*lib.rglob("*"), *prefix.rglob("*")]}
    assert "libdusk-context.so" in found
    assert not found & {"duskd", "http.h", "libdusk.a", "dusk.pc"}

    path = {"PKG_CONFIG_PATH": f"{lib}/pkgconfig"}
    flags = run("pkg-config", "--cflags", "--libs", "dusk-context",
                env=path).split()
    run("cc", CONSUMER / "uses_context.c", *flags, "-o", tmp_path / "program")
    assert run(tmp_path / "program", env=beside(lib)) == TELLS["context"]
    output = find_dusk(tmp_path, lib / "cmake", "REQUIRED COMPONENTS http", fails=True)
    assert "no component 'http' here; it has: context" in output
