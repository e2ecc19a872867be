"""Stored files, read one after the other as if they were one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from io import SEEK_CUR, SEEK_SET, BufferedReader, RawIOBase
from itertools import accumulate
from typing import Any

from django.core.files import File
from django.core.files.uploadedfile import UploadedFile

from .storage import attachment_storage

BLOCK = 256 * 1024


def join(
    pieces: Sequence[tuple[str, int]], last: File[Any], name: str
) -> UploadedFile[bytes]:
    """Return stored files, by their names and sizes, and ``last`` as one file.

    It is called ``name``, and opens one of them at a time. What the storage raises is
    passed on; EOFError is raised if a piece is shorter than it was.
    """
    raw = Joined(pieces, last)
    file = BufferedReader(raw, BLOCK)
    return UploadedFile(file, name, size=raw.ends[-1])


class Joined(RawIOBase):
    """The bytes of the pieces, and then those of ``last``."""

    def __init__(self, pieces: Sequence[tuple[str, int]], last: File[Any]) -> None:
        self.names = [name for name, _size in pieces]
        self.ends = [*accumulate([*(size for _name, size in pieces), last.size])]
        self.last = last
        self.position = 0
        # What is open, and where it stands.
        self.index = -1
        self.file: Any = None

    def readable(self) -> bool:
        """Say so."""
        return True

    def seekable(self) -> bool:
        """Say so."""
        return True

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Go to a position."""
        base = {SEEK_SET: 0, SEEK_CUR: self.position}.get(whence, self.ends[-1])
        self.position = base + offset
        return self.position

    def readinto(self, buffer: Any) -> int:
        """Read up to the end of a piece."""
        index = bisect_right(self.ends, self.position)
        if index == len(self.ends):
            return 0
        file = self._open(index)
        file.seek(self.position - (self.ends[index - 1] if index else 0))
        block = file.read(min(len(buffer), self.ends[index] - self.position))
        if not block:
            raise EOFError("A piece of an upload became shorter.")
        buffer[: len(block)] = block
        self.position += len(block)
        return len(block)

    def close(self) -> None:
        """Close the piece that is open, but not the last, which is the caller's."""
        if self.file not in {None, self.last}:
            self.file.close()
        self.file = None
        super().close()

    def _open(self, index: int) -> Any:
        if index != self.index:
            if self.file not in {None, self.last}:
                self.file.close()
            is_last = index == len(self.names)
            self.file = (
                self.last if is_last else attachment_storage().open(self.names[index])
            )
            self.index = index
        return self.file
