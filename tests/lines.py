"""The line between a browser and a server, which tests make slow, and break."""

import asyncio
import socket
import struct
from contextlib import suppress

from tests.loops import Loop

BLOCK = 16 * 1024
# How a connection is closed by a reset: see SO_LINGER in socket(7).
RESET = struct.pack("ii", 1, 0)


class Line:
    """A line to the server at ``port`` of this machine, under a ``url`` of its own.

    The buffers of a connection swallow the first 4 to 8 MB of an upload, whatever the
    line lets through: what is to be cut in the middle has 16 MB or more.
    """

    def __init__(self, port):
        self.port = port
        # How many bytes a second each connection lets through to the server.
        self.rate = None
        self.break_after()
        self._open = asyncio.Event()
        self.connections = set()
        # Refused for as long as nobody listens. Nobody else gets the port but who asks
        # for it with SO_REUSEADDR.
        self._reserved = self._bound(0)
        _host, own_port = self._reserved.getsockname()
        self.url = f"http://127.0.0.1:{own_port}"
        self._loop = Loop()
        self.accept()
        self.go_on()

    def accept(self):
        """Accept connections."""
        listening = self._bound(self._reserved.getsockname()[1])
        work = asyncio.start_server(self._connect, sock=listening, limit=BLOCK)
        self._server = self._loop.run(work)

    def refuse(self):
        """Break all connections, and refuse new ones."""
        self._loop.call(self._server.close)
        self.reset()

    def hold(self):
        """Let nothing through."""
        self._loop.call(self._open.clear)

    def go_on(self):
        """Let through what was held, and what comes."""
        self._loop.call(self._open.set)

    def reset(self):
        """Break all connections; new ones are accepted."""
        self._loop.call(self._reset)

    def break_after(self, up=None, down=None, times=1):
        """Break all connections when so many more bytes have come through.

        They are those on their way to the server, or those coming back. A browser that
        had used the connection before does not tell of it, and sends again: that takes
        two ``times``.
        """
        self._limits = {"up": up, "down": down}
        self._left = dict(self._limits)
        self._times = times

    def close(self):
        """Break all connections for good."""
        self.refuse()
        self._loop.close()
        self._reserved.close()

    def _bound(self, port):
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # So that little waits here. Before it listens: see tcp(7).
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BLOCK)
        bound.bind(("127.0.0.1", port))
        return bound

    async def _connect(self, reader, writer):
        self.connections.add(writer)
        with suppress(OSError):
            reader_there, writer_there = await asyncio.open_connection(
                "127.0.0.1", self.port, limit=BLOCK
            )
            self.connections.add(writer_there)
            try:
                await asyncio.gather(
                    self._pass("up", reader, writer_there),
                    self._pass("down", reader_there, writer),
                )
            finally:
                # The server may have broken it.
                self.connections.discard(writer_there)
                writer_there.close()
        self.connections.discard(writer)
        writer.close()

    async def _pass(self, way, reader, writer):
        while data := await reader.read(BLOCK):
            await self._open.wait()
            if way == "up" and self.rate:
                await asyncio.sleep(len(data) / self.rate)
            rest = self._rest(way, len(data))
            writer.write(data[:rest])
            await writer.drain()
            if rest is not None:
                self._reset()
        writer.write_eof()

    def _rest(self, way, size):
        """Return how many of ``size`` bytes come through yet, or None for all."""
        left = self._left[way]
        if left is None or not self._times:
            return None
        self._left[way] = left - size
        if left >= size:
            return None
        self._left = dict(self._limits)
        self._times -= 1
        return left

    def _reset(self):
        for writer in self.connections:
            option = (socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.get_extra_info("socket").setsockopt(*option)
            writer.transport.abort()
        self.connections.clear()
