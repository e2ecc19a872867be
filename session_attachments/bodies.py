"""The body of a request, as it is being read."""

from typing import Any

BLOCK = 64 * 1024

# How much of the end of a body is searched for the closing delimiter, after which
# RFC 2046 allows an epilogue.
TAIL = 4096

# How much is asked for at once. Servers copy what they have read ahead at each read, so
# that a large upload in Django's blocks of 64 KB takes twice as long.
AHEAD = 512 * 1024


def drain(stream: Any) -> None:
    """Read the rest of ``stream`` and throw it away.

    A client that is still sending sees the answer only then. Django reads by lines,
    and a body need not have any.
    """
    try:
        while stream.read(BLOCK):
            pass
    except Exception:
        # The client is gone, or the server takes what it sends for no body.
        return


class Body:
    """The stream of a form, counted: its bytes, and its ``parts``."""

    def __init__(self, stream: Any, boundary: bytes) -> None:
        self._stream = stream
        self._delimiter = b"--" + boundary
        self._count = 0
        self._tail = b""
        self._ahead = memoryview(b"")
        self.parts = -1  # the last delimiter has none behind it

    def read(self, size: int) -> bytes:
        """Read up to ``size`` bytes."""
        if not self._ahead:
            self._ahead = memoryview(self._stream.read(max(size, AHEAD)))
        data = bytes(self._ahead[:size])
        self._ahead = self._ahead[size:]
        self._count += len(data)
        # One may begin in what came before.
        width = len(self._delimiter) - 1
        self._count_parts(self._tail[-width:] + data[:width])
        self._count_parts(data)
        self._tail = (self._tail + data[-TAIL:])[-TAIL:]
        return data

    def _count_parts(self, data: bytes) -> None:
        # Looking is many times as fast as counting.
        if self._delimiter in data:
            self.parts += data.count(self._delimiter)

    def is_complete(self, content_length: int) -> bool:
        """Whether all bytes came, and among them the delimiter that closes a form.

        Django's parser takes a form that is cut short for whole. (RFC 2046, 5.1.1)
        """
        return self._count >= content_length and self._delimiter + b"--" in self._tail
