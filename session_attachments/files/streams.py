"""A stored file: opened, measured, read whole or in part, block by block."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import cached_property
from io import BufferedReader, UnsupportedOperation
from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import SuspiciousOperation
from django.core.files import File
from django.core.files.storage import Storage
from django.db.models.fields.files import FieldFile

from ..transactions import release_connections
from . import s3

BLOCK = 256 * 1024

MISSING = (
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    SuspiciousOperation,
    # A stored name of 0.2 that the encoding of the file system does not have.
    UnicodeEncodeError,
)

logger = logging.getLogger(__name__)


def is_missing(error: Exception) -> bool:
    """Whether a storage says by ``error`` that there is no such file."""
    return isinstance(error, MISSING) or s3.is_missing(error)


class OpenFile:
    """A stored file, open to be read once: whole, or a part of it.

    ``name``, ``storage`` and ``file`` are where it is stored, and what that has opened;
    ``label`` names the attachment in log messages. What the storage raises is passed
    on: see is_missing().
    """

    def __init__(self, file: FieldFile, size: int, label: str) -> None:
        if not file:
            raise FileNotFoundError("It has no name.")
        self.name = str(file)
        self.storage = file.storage
        self.file: Any = self.storage.open(self.name)
        self._label = label
        self._size = size

    @cached_property
    def size(self) -> int:
        """The size in bytes; the one given if the file itself tells none."""
        with suppress(AttributeError, UnsupportedOperation):
            if not s3.is_compressed(self.file):
                return int(self.file.size)
        return self._size

    @property
    def has_ranges(self) -> bool:
        """Whether a part can be read by itself."""
        return s3.is_object(self.file) or bool(self.file.seekable())

    def read_part(self, part: range) -> Part:
        """Return these bytes, to be read once."""
        file = self.file
        if s3.is_object(file) and not s3.is_compressed(file):
            file = s3.open_part(file, self.storage, part, self.size)
        elif len(part) == self.size and _is_local(file):
            return WholeFile(file, self.size, self._label)
        else:
            file.seek(part.start)
        return Part(file, len(part), self._label)

    def close(self) -> None:
        """Close the file."""
        self.file.close()


class NamedFile(File):  # type: ignore[type-arg]
    """A stored file, open to be read and sought in, called by its attachment's name."""

    def __init__(self, stored: OpenFile, name: str, mimetype: str) -> None:
        file = seekable(stored.file, stored.storage)
        if file is not stored.file:
            file = BufferedReader(file, BLOCK)
        super().__init__(file, name)
        self.stored = stored
        self.size = stored.size
        self.content_type = mimetype

    def open(self, *args: Any, **options: Any) -> NamedFile:
        """Go back to the beginning; Django would open what lies at its name."""
        self.seek(0)
        return self


def seekable(file: Any, storage: Storage) -> Any:
    """Return an open stored file as one to seek in, without all of it in the memory."""
    if s3.is_object(file) and not s3.is_compressed(file):
        return s3.Reader(file, storage)
    return file


def _is_local(file: Any) -> bool:
    """Whether ``file`` is one of the operating system's, with nothing in between.

    Another one may be fetched when it is asked, and its number be that of something
    compressed.
    """
    return isinstance(vars(file).get("file"), BufferedReader)


class Part:
    """The next ``length`` bytes of an open file, as a file that can be read once.

    ``file`` has ``read()`` and ``close()``; ``label`` names the attachment in
    log messages.
    """

    def __init__(self, file: Any, length: int, label: str) -> None:
        self._file = file
        self._length = self._left = length
        self._label = label

    def read(self, size: int) -> bytes:
        """Read up to ``size`` bytes; raises EOFError if the file ends too early.

        The server then breaks the connection, so that nobody takes it for whole.
        """
        if self._left == self._length:
            # Here, for middleware may have asked the database after the view.
            release_connections()
        block: bytes = self._file.read(min(size, self._left))
        if self._left and not block:
            raise EOFError(f"The file of {self._label} ends {self._left} bytes early.")
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
        return int(self._file.fileno())

    def close(self) -> None:
        """Close the file, and look whether it ended too early for sendfile."""
        # No file of the system's, or closed before.
        with suppress(AttributeError, OSError, ValueError):
            if os.fstat(self._file.fileno()).st_size < self._length:
                logger.error("The file of %s became shorter, or was.", self._label)
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
