"""Fixtures for what a person does in a browser."""

import os

import pytest

from tests.browsers import Browsers
from tests.fields import Field
from tests.lines import Line
from tests.project import served


@pytest.fixture(scope="session")
def letters(tmp_path_factory):
    """Run a server with the pages of the tests' project; return it."""
    with served.letters(tmp_path_factory.mktemp("letters")) as server:
        yield server


@pytest.fixture
def line(letters):
    """Return a line to that server, which the test may break."""
    line = Line(letters.port)
    yield line
    line.close()


@pytest.fixture(scope="session")
def browsers():
    """Return the browsers, none of which runs yet."""
    browsers = Browsers()
    yield browsers
    browsers.close()


@pytest.fixture
def open_tab(browsers):
    """Return a function that opens a tab, in Chromium or the engine that is named."""
    tabs = []

    def open_tab(engine="Chromium", **options):
        tabs.append(browsers.open(engine, **options))
        return tabs[-1]

    yield open_tab
    for tab in tabs:
        tab.close()


@pytest.fixture
def tab(request, open_tab):
    """Return a new tab, in Chromium or the engine that the test names.

    In the end nothing has gone wrong in its scripts, and no policy was violated.
    """
    tab = open_tab(getattr(request, "param", "Chromium"))
    yield tab
    assert tab.js("sessionStorage.faults ?? ''") == ""


@pytest.fixture
def field(tab, line):
    """Return the field of a new page, behind a line that may break."""
    tab.goto(f"{line.url}/write/")
    return Field(tab)


@pytest.fixture
def disk(tmp_path):
    """Return a function that writes a file and returns its path."""

    def write(name, content=b"spam\n"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


@pytest.fixture
def large(tmp_path):
    """Return the path of a file of 3 GB, which takes no room on the disk."""
    path = tmp_path / "large.bin"
    path.touch()
    os.truncate(path, 3 * 1024**3)
    return path
