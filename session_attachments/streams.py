"""The body of a download: a stored file, or a part of it, read block by block."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from asgiref.sync import sync_to_async

from .transactions import release_connections

BLOCK = 256 * 1024

logger = logging.getLogger(__name__)


class Part:
    """The next ``length`` bytes of an open file, as a file that can be read once.

    ``file`` has ``read()`` and ``close()``; ``whose`` says in the log whose it is.
    """

    def __init__(self, file: Any, length: int, whose: str) -> None:
        self._file = file
        self._length = self._left = length
        self._whose = whose

    def read(self, size: int) -> bytes:
        """Read up to ``size`` bytes; raises EOFError if the file ends too early.

        The server then breaks the connection, so that nobody takes it for whole.
        """
        if self._left == self._length:
            # Here, for middleware may have asked the database after the view.
            release_connections()
        block: bytes = self._file.read(min(size, self._left))
        if self._left and not block:
            raise EOFError(f"The file of {self._whose} ends {self._left} bytes early.")
        self._left -= len(block)
        return block

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class WholeFile(Part):
    """A file from its beginning to its end, which WSGI servers may send by sendfile."""

    def fileno(self) -> int:
        """Return the number of the file for the operating system, if it has one."""
        release_connections()
        number: int = self._file.fileno()
        return number

    def close(self) -> None:
        """Close the file, and look whether it ended too early for sendfile."""
        # No file of the system's, or closed before.
        with suppress(AttributeError, OSError, ValueError):
            if os.fstat(self.fileno()).st_size < self._length:
                logger.error("The file of %s became shorter, or was.", self._whose)
        super().close()


class AsyncBlocks:
    """The blocks of a part for an event loop, which their reading does not hold up."""

    def __init__(self, part: Part) -> None:
        self._part = part

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = sync_to_async(self._part.read, thread_sensitive=False)
        close = sync_to_async(self._part.close, thread_sensitive=False)
        # In the thread of the view and of the middleware.
        await sync_to_async(release_connections)()
        try:
            while block := await read(BLOCK):
                yield block
        finally:
            # Django closes nothing if reading has failed.
            await close()

    def close(self) -> None:
        """Close the file; the response calls this, also if the client went away."""
        self._part.close()
