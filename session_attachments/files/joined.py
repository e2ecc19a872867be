"""Stored files, read one after the other as if they were one."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Mapping
from io import SEEK_CUR, SEEK_SET, BufferedReader, RawIOBase
from itertools import accumulate
from typing import Any, NoReturn

from django.core.files import File
from django.core.files.uploadedfile import UploadedFile

from ..exceptions import AttachmentNotFound
from .storage import attachment_storage
from .streams import BLOCK, is_missing, seekable

logger = logging.getLogger(__name__)


def join(sizes: Mapping[str, int], last: File[Any]) -> UploadedFile[bytes]:
    """Return stored files, and after them ``last``, as one file to be read.

    ``sizes`` are theirs by their stored names. One of them is open at a time. Reading
    raises AttachmentNotFound if one is gone or became shorter, and passes on what else
    the storage raises.
    """
    raw = Joined(sizes, last)
    file = UploadedFile(BufferedReader(raw, BLOCK), size=raw.ends[-1])
    # Django's are smaller: each would be copied out of the buffer.
    file.DEFAULT_CHUNK_SIZE = BLOCK
    return file


class Joined(RawIOBase):
    """The bytes of the stored files, and then those of ``last``."""

    def __init__(self, sizes: Mapping[str, int], last: File[Any]) -> None:
        self.names = [*sizes]
        self.ends = [*accumulate([*sizes.values(), last.size])]
        self.last = last
        self.position = 0
        # Which stored file is open.
        self.index = -1
        self.file: Any = None

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def seekable(self) -> bool:
        """Return that it can be read from anywhere."""
        return True

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Go there."""
        start = {SEEK_SET: 0, SEEK_CUR: self.position}.get(whence, self.ends[-1])
        self.position = start + offset
        return self.position

    def readinto(self, buffer: Any) -> int:
        """Read what fits into ``buffer`` and is in one file; return how many bytes."""
        index = bisect_right(self.ends, self.position)
        if index == len(self.ends):
            return 0
        start = self.ends[index - 1] if index else 0
        file = self.last if index == len(self.names) else self._open(index)
        file.seek(self.position - start)
        block = file.read(min(len(buffer), self.ends[index] - self.position))
        if not block:
            self._miss(index, "it became shorter")
        buffer[: len(block)] = block
        self.position += len(block)
        return len(block)

    def close(self) -> None:
        """Close what it has opened."""
        self._close_file()
        super().close()

    def _open(self, index: int) -> Any:
        if index != self.index:
            self._close_file()
            storage = attachment_storage()
            try:
                self.file = seekable(storage.open(self.names[index]), storage)
            except Exception as error:
                if not is_missing(error):
                    raise
                self._miss(index, error)
            self.index = index
        return self.file

    def _close_file(self) -> None:
        if self.file is not None:
            self.file.close()
        self.file, self.index = None, -1

    def _miss(self, index: int, reason: object) -> NoReturn:
        logger.warning(
            "A piece of an upload, %s, is lost: %s", self.names[index], reason
        )
        raise AttachmentNotFound
