"""The body of a request, as it is being read.

Under WSGI the limits hold meanwhile: past them nothing more is written, the rest is
read and thrown away, so that the client gets its answer. Under ASGI Django spools the
whole body to disk before any view runs. A middleware of the project's that reads
``request.POST`` before the view has the same effect, and a form that was cut short is
not noticed then.
"""

from __future__ import annotations

import math
import os
import re
from contextlib import suppress
from io import BytesIO
from typing import Any

from django.core.exceptions import TooManyFieldsSent
from django.core.files import File
from django.core.files.uploadedfile import (
    InMemoryUploadedFile,
    TemporaryUploadedFile,
    UploadedFile,
)
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, UnreadablePostError

from ..conf import conf
from ..exceptions import AttachmentError, BadName, IncompleteUpload, LengthRequired
from ..limits import MAX_NAME
from .pieces import NUMBER

BLOCK = 64 * 1024

# How much of the end of a body is searched for the closing delimiter, after which
# RFC 2046 allows an epilogue.
TAIL = 4096

# How much is asked for at once. Servers copy what they have read ahead at each read, so
# that a large upload in Django's blocks of 64 KB takes twice as long.
AHEAD = 512 * 1024

# Django's limit for the headers of a part, in bytes.
MAX_HEADERS = 1024

# What the headers of a part may cost, and all that cost more, in microseconds or so.
ORDINARY = 20
MAX_EXTRA = 50_000

FILE = re.compile(
    rb"^content-disposition *:[^\n]*; *filename[^;\"\n]*=\"?([^\"\n]*)",
    re.IGNORECASE | re.MULTILINE,
)
MULTIPART = re.compile(rb"^content-type *: *multipart/", re.IGNORECASE | re.MULTILINE)


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


def announced_length(request: HttpRequest) -> int | None:
    """Return how many bytes the body has by its Content-Length, None if by none.

    Under ASGI the whole body is here: one without a length gets the one it has. Raises
    LengthRequired for a body that Django would not read.
    """
    if not request.META.get("CONTENT_LENGTH"):
        stream = request._stream
        if isinstance(request, WSGIRequest):
            if "HTTP_TRANSFER_ENCODING" in request.META:
                # Else nobody knows where the body ends, and reading it may block.
                if request.META.get("wsgi.input_terminated"):
                    drain(request.META["wsgi.input"])
                raise LengthRequired
        elif stream.seekable():
            # Django takes it for empty.
            request.META["CONTENT_LENGTH"] = str(stream.seek(0, os.SEEK_END))
            stream.seek(0)
    length = request.META.get("CONTENT_LENGTH", "")
    return int(length) if NUMBER.fullmatch(length) else None


def required_length(request: HttpRequest) -> int:
    """Return how many bytes the body has; raises LengthRequired if nobody knows."""
    length = announced_length(request)
    if length is None:
        raise LengthRequired
    return length


def receive(request: HttpRequest, length: int) -> UploadedFile[bytes]:
    """Return the body, announced as ``length`` bytes long, as a file without a type.

    It waits where Django lets a form's files wait: in the memory, or on the disk if it
    exceeds FILE_UPLOAD_MAX_MEMORY_SIZE. Its ``size`` is what came: less than announced
    if the client went away. Raises OSError if it cannot be written.
    """
    file: UploadedFile[bytes]
    if length > conf.max_memory_size:
        file = TemporaryUploadedFile("body", None, 0, None)
    else:
        file = InMemoryUploadedFile(BytesIO(), None, "body", None, 0, None)
    try:
        with suppress(UnreadablePostError):
            while block := request.read(AHEAD):
                file.write(block)
        file.size = file.tell()
        # This writes what is still in the file's buffer.
        file.seek(0)
    except BaseException:
        discard(file)
        raise
    return file


def receive_whole(request: HttpRequest, length: int) -> UploadedFile[bytes]:
    """Return the body as receive() does; raises IncompleteUpload if it is cut short."""
    file = receive(request, length)
    if file.size != length:
        discard(file)
        raise IncompleteUpload
    return file


def discard(file: File[Any]) -> None:
    """Close ``file``, and so delete it if it is a temporary one."""
    # Closing writes what is still in its buffer, perhaps to a disk that is full.
    with suppress(OSError):
        file.close()


class Body:
    """The stream of a form, counted: its bytes, its ``parts``, and what they cost.

    Django does not count parts without a name; and what it needs for headers as long as
    it allows would keep it busy 200 times as long as other content of their length.
    ``skipped`` is what to say of a part that Django skips.
    """

    def __init__(self, stream: Any, boundary: bytes) -> None:
        self._stream = stream
        self._delimiter = b"--" + boundary
        self._count = 0
        self._tail = b""
        self._ahead = memoryview(b"")
        self._unseen = b""
        self._extra = 0
        self.parts = -1  # the last delimiter has none behind it
        self.skipped: AttachmentError = IncompleteUpload()
        limits = conf.max_number_of_fields, conf.max_number_of_files
        self._max_parts = math.inf if None in limits else sum(filter(None, limits))

    def read(self, size: int) -> bytes:
        """Read up to ``size`` bytes.

        Raises TooManyFieldsSent if there were more parts than Django allows fields and
        files, IncompleteUpload for headers that no client writes and for a form within
        the form, of which Django makes a field.
        """
        # Django allows two more, for what stands before and after the delimiters.
        if self.parts > self._max_parts + 2:
            raise TooManyFieldsSent
        if not self._ahead:
            self._ahead = memoryview(self._stream.read(max(size, AHEAD)))
        data = bytes(self._ahead[:size])
        self._ahead = self._ahead[size:]
        self._count += len(data)
        self._tail = (self._tail + data[-TAIL:])[-TAIL:]
        self._look_at(data)
        if self._extra > MAX_EXTRA:
            raise IncompleteUpload
        return data

    def is_complete(self, content_length: int) -> bool:
        """Whether all bytes came, and among them the delimiter that closes a form.

        Django's parser takes a form that is cut short for whole. (RFC 2046, 5.1.1)
        """
        return self._count >= content_length and self._delimiter + b"--" in self._tail

    def _look_at(self, data: bytes) -> None:
        """Look at the parts whose headers end in ``data``, at its end at all."""
        before, *parts = (self._unseen + data).split(self._delimiter)
        if parts and data and _headers(parts[-1]) is None:
            # They go on in what comes next.
            self._unseen = self._delimiter + parts.pop()
        else:
            # The next delimiter may begin here.
            self._unseen = [before, *parts][-1][1 - len(self._delimiter) :]
        self.parts += len(parts)
        for part in parts:
            self._look_at_headers(_headers(part) or b"")

    def _look_at_headers(self, headers: bytes) -> None:
        self._extra += max(0, _cost(headers) - ORDINARY)
        file = FILE.search(headers)
        if file is None and MULTIPART.search(headers):
            # multipart/mixed, as RFC 2388 had it for several files of one field.
            raise IncompleteUpload
        if file and not _is_utf_8(file[0]):
            self.skipped = BadName(name=file[1].decode(errors="replace")[:MAX_NAME])


def _headers(part: bytes) -> bytes | None:
    """Return the headers of ``part``, or None if their end is still to come."""
    headers, end, _ = part[:MAX_HEADERS].partition(b"\r\n\r\n")
    return headers if end or len(part) >= MAX_HEADERS else None


def _cost(headers: bytes) -> int:
    """Return what Django's parser needs for ``headers``, in microseconds or so.

    That grows with the parameters and the lines, not with the bytes, but for encoded
    parameters (RFC 8187), which may be in Python's punycode.
    """
    encoded = len(headers) // 2 if b"*" in headers else 0
    return headers.count(b";") + 5 * headers.count(b"\n") + encoded


def _is_utf_8(header: bytes) -> bool:
    try:
        header.decode()
    except UnicodeDecodeError:
        return False
    return True
