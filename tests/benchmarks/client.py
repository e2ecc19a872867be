"""The load: a client that sends and reads bytes, and does little else."""

import random
import socket
import struct
import textwrap
import zlib
from dataclasses import dataclass

KILOBYTE = 1024
MEGABYTE = 1024 * KILOBYTE
BOUNDARY = b"limit-of-the-benchmarks"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY.decode()}"
TYPES = {
    "bin": "application/octet-stream",
    "png": "image/png",
    "txt": "text/plain",
}

_RANDOM = random.Random(1)  # noqa: S311 - the same bytes each time


def _png():
    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    pixel = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    pixel += chunk(b"IDAT", zlib.compress(b"\0\0"))
    picture = b"\x89PNG\r\n\x1a\n" + pixel + chunk(b"IEND", b"")
    return picture + _RANDOM.randbytes(KILOBYTE - len(picture))


PNG = _png()
WORDS = ["the", "minutes", "of", "our", "meeting", "and", "my", "comments", "follow"]
# Prose without commas: with them libmagic takes it for csv, and is much faster.
PROSE = textwrap.fill(" ".join(_RANDOM.choices(WORDS, k=300)), 72)
TEXT = PROSE.encode()[:KILOBYTE]
BLOCK = _RANDOM.randbytes(MEGABYTE)


@dataclass
class Answer:
    """What a server has answered; a long body was read and thrown away."""

    status: int
    headers: dict
    content: bytes


class Connection:
    """A connection that is kept, of a client with a session."""

    def __init__(self, port, session_key):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.common = f"Host: localhost\r\nCookie: sessionid={session_key}\r\n"
        self.buffer = memoryview(bytearray(MEGABYTE))

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.socket.close()

    def request(self, method, path, *body, status=200, **headers):
        """Send a request whose ``body`` is in blocks; return the answer.

        Its status must be as said; None says nothing.
        """
        if body:
            headers["Content_Length"] = sum(map(len, body))
        lines = [f"{name.replace('_', '-')}: {v}\r\n" for name, v in headers.items()]
        head = f"{method} {path} HTTP/1.1\r\n{self.common}{''.join(lines)}\r\n"
        self.socket.sendall(head.encode() + b"".join(body[:1]))
        for block in body[1:]:
            self.socket.sendall(block)
        answer = self._answer()
        assert status in {answer.status, None}, answer
        return answer

    def post_form(self, path, *parts):
        """POST a form of ``parts``: see part()."""
        blocks = [block for part in parts for block in part]
        blocks.append(b"--%b--\r\n" % BOUNDARY)
        if sum(map(len, blocks)) < MEGABYTE:
            blocks = [b"".join(blocks)]
        return self.request("POST", path, *blocks, Content_Type=MULTIPART)

    def _answer(self):
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._receive(received)
        head, _, content = received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        status = int(first.split()[1])
        if headers.get("transfer-encoding") == "chunked":
            # None of what is asked for here has these bytes within.
            while not (b"\r\n" + content).endswith(b"\r\n0\r\n\r\n"):
                content += self._receive(headers)
            return Answer(status, headers, content)
        left = int(headers.get("content-length", 0)) - len(content)
        keep = left < MEGABYTE
        while left:
            block = self._receive(headers)
            left -= len(block)
            if keep:
                content += block
        return Answer(status, headers, content)

    def _receive(self, so_far):
        size = self.socket.recv_into(self.buffer)
        assert size, so_far
        return self.buffer[:size]


def part(name, *content, field="file"):
    """Return the blocks of a part of a form with a file."""
    disposition = f'Content-Disposition: form-data; name="{field}"; filename="{name}"'
    type_ = TYPES[name.rpartition(".")[2]]
    head = f"--{BOUNDARY.decode()}\r\n{disposition}\r\nContent-Type: {type_}\r\n\r\n"
    return [head.encode(), *content, b"\r\n"]


def large(megabytes):
    """Return the blocks of a large content, which is never whole in memory."""
    return [BLOCK] * megabytes
