"""The line that tests break: what comes through, and what does not."""

import asyncio
import socket
from time import monotonic

import pytest

from tests.lines import Line
from tests.loops import Loop
from tests.servers import eventually

# More than buffers swallow.
BIG = 20_000_000


async def answer(reader, writer):
    """Answer how many bytes a line has."""
    writer.write(b"%d" % len(await reader.readuntil()))
    writer.close()


@pytest.fixture(scope="module")
def port():
    """Run a server that counts; return its port."""
    loop = Loop()
    server = loop.run(asyncio.start_server(answer, "127.0.0.1", 0, limit=BIG))
    yield server.sockets[0].getsockname()[1]
    loop.call(server.close)
    loop.close()


@pytest.fixture
def line(port):
    line = Line(port)
    yield line
    line.close()


def connect(line):
    address = ("127.0.0.1", int(line.url.rpartition(":")[2]))
    return socket.create_connection(address, timeout=30)


def send(line, size=10):
    """Send so many bytes; return how many the server says that it got."""
    with connect(line) as connection:
        connection.sendall(b"x" * (size - 1) + b"\n")
        return int(connection.recv(100))


def test_all_comes_through(line):
    assert [send(line, size) for size in (1, BIG)] == [1, BIG]


@pytest.mark.parametrize("after", [{"up": BIG // 2}, {"down": 0}])
def test_breaks_once(line, after):
    line.break_after(**after)

    with pytest.raises(ConnectionResetError):
        send(line, BIG)
    assert send(line) == 10


def test_answer_comes_in_part(line):
    line.break_after(down=1)
    with connect(line) as connection:
        connection.sendall(b"x" * 9 + b"\n")

        assert connection.recv(100) == b"1"
        with pytest.raises(ConnectionResetError):
            connection.recv(100)


def test_whole_uploads_are_counted_down(line):
    line.break_after(up=25)

    assert [send(line), send(line)] == [10, 10]
    with pytest.raises(ConnectionResetError):
        send(line)


def test_refuses_until_it_accepts(line):
    with connect(line) as connection:
        eventually(lambda: line.connections)
        line.refuse()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with pytest.raises(ConnectionRefusedError):
        send(line)

    line.accept()
    assert send(line) == 10


def test_holds_until_it_goes_on(line):
    line.hold()
    with connect(line) as connection:
        connection.sendall(b"x\n")
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        line.go_on()
        connection.settimeout(30)
        assert connection.recv(1) == b"2"


def test_what_is_held_is_reset(line):
    line.hold()
    with connect(line) as connection:
        connection.sendall(b"x\n")
        eventually(lambda: line.connections)
        line.reset()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_is_as_slow_as_it_should_be(line):
    line.rate = 100_000
    start = monotonic()

    assert send(line, 20_000) == 20_000

    assert monotonic() - start > 0.19


def test_server_that_does_not_listen_ends_the_connection(port):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        line = Line(gone.getsockname()[1])
    with connect(line) as connection:
        assert connection.recv(1) == b""
    line.close()
