"""The body of a request, as it is being read."""

from typing import Any

BLOCK = 64 * 1024

# How much of the end of a body is searched for the closing delimiter, after which
# RFC 2046 allows an epilogue.
TAIL = 4096


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
    """The stream of a body, counted."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._count = 0
        self._tail = b""

    def read(self, size: int) -> bytes:
        """Read up to ``size`` bytes."""
        data: bytes = self._stream.read(size)
        self._count += len(data)
        self._tail = (self._tail + data[-TAIL:])[-TAIL:]
        return data

    def is_complete(self, content_length: int, boundary: bytes) -> bool:
        """Whether all bytes came, and among them the delimiter that closes a form.

        Django's parser takes a form that is cut short for whole. (RFC 2046, 5.1.1)
        """
        return self._count >= content_length and b"--" + boundary + b"--" in self._tail
