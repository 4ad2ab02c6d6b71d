"""Fixtures of the black-box tests: programs that are started, and ended with
the test, or with the file where the name begins with `shared_`."""

import pytest

import harness


class Programs:
    """Kills what is left of its programs, and looks for what a sanitizer
    said, whatever the test was about."""

    def __init__(self):
        self._all = []

    def start(self, *argv, listeners=1, **kw):
        child = harness.Program([str(a) for a in argv], **kw)
        self._all.append(child)
        return child.listen(listeners)

    def end(self):
        for child in self._all:
            child.kill()
        for child in self._all:
            text = child.err.text()
            assert not harness.SANITIZER.search(text), text


@pytest.fixture
def run():
    programs = Programs()
    yield programs.start
    programs.end()


@pytest.fixture(scope="module")
def shared_run():
    programs = Programs()
    yield programs.start
    programs.end()


@pytest.fixture
def serve(run):
    """Starts duskd on a free port of the loopback interface."""

    def start(*flags, listen="127.0.0.1:0", **kw):
        return run(harness.duskd(), "--listen", listen, *flags, **kw)

    return start


@pytest.fixture
def lab(run):
    """Starts the laboratory server, with settings as KEY=VALUE."""

    def start(*settings, **kw):
        return run(harness.program("lab"), "listen=127.0.0.1:0", *settings,
                   **kw)

    return start


@pytest.fixture(scope="module")
def shared_lab(shared_run):
    """The laboratory server with default settings."""
    return shared_run(harness.program("lab"), "listen=127.0.0.1:0")


@pytest.fixture(scope="module")
def shared_duskd(shared_run):
    return shared_run(harness.duskd(), "--listen", "127.0.0.1:0")
