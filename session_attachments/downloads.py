"""An attachment as a response: headers, conditions, ranges, streaming, offload."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from asgiref.sync import sync_to_async
from django.core.exceptions import SuspiciousFileOperation
from django.core.files import File
from django.core.handlers.asgi import ASGIRequest
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.http import (
    content_disposition_header,
    http_date,
    parse_http_date_safe,
)

from .conf import conf
from .exceptions import AttachmentNotFound
from .models import Attachment
from .responses import private

BLOCK = 64 * 1024

# One range, as RFC 9110, 14.1.2 writes it. Several ranges are answered as none.
# (Python refuses to read numbers that are longer.)
RANGE = re.compile(r"bytes=(\d{0,640})-(\d{0,640})", re.ASCII)

logger = logging.getLogger(__name__)


def attachment_response(
    request: HttpRequest, attachment: Attachment
) -> HttpResponseBase:
    """Answer a GET or HEAD with the stored file, always as a download.

    Raises AttachmentNotFound if the file is gone.
    """
    # Stored names of 0.2 hold anything, so the ETag is a digest.
    digest = hashlib.sha256(str(attachment.file).encode()).hexdigest()
    etag, modified = f'"{digest[:32]}"', int(attachment.created.timestamp())
    response: HttpResponseBase | None
    response = get_conditional_response(request, etag, modified)
    if response is None:
        response = _offloaded(attachment) or _streamed(
            request, attachment, etag, modified
        )
        # Of names of 0.2: Django's helper overlooks a newline at the end.
        response.headers["Content-Disposition"] = content_disposition_header(
            True, attachment.filename.rstrip("\n")
        )
        response.headers["Accept-Ranges"] = "bytes"
        response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    response.headers["ETag"] = etag
    response.headers["Last-Modified"] = http_date(modified)
    return private(response)


def _offloaded(attachment: Attachment) -> HttpResponse | None:
    """Let the web server send the file, if the host has set that up."""
    if conf.accel is None:
        return None
    header, prefix = conf.accel
    response = HttpResponse(content_type=attachment.mimetype)
    response.headers[header] = prefix + quote(str(attachment.file))
    return response


def _streamed(
    request: HttpRequest, attachment: Attachment, etag: str, modified: int
) -> HttpResponseBase:
    try:
        file = attachment.file.storage.open(str(attachment.file))
        size = file.size
    except (
        FileNotFoundError,
        IsADirectoryError,
        NotADirectoryError,
        SuspiciousFileOperation,
    ) as error:
        logger.warning("The file of attachment %s is gone: %s", attachment.pk, error)
        raise AttachmentNotFound(name=attachment.filename) from error
    wanted = _wanted_range(request, size, etag, modified)
    response: HttpResponseBase
    if wanted is None:
        response = _stream(request, file, size, attachment.mimetype)
    elif not wanted:
        file.close()
        response = HttpResponse(status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
        response.headers["Content-Range"] = f"bytes */{size}"
    else:
        file.seek(wanted.start)
        part = Part(file, len(wanted))
        response = _stream(request, part, len(wanted), attachment.mimetype)
        response.status_code = HTTPStatus.PARTIAL_CONTENT
        response.headers["Content-Range"] = (
            f"bytes {wanted.start}-{wanted.stop - 1}/{size}"
        )
    return response


def _wanted_range(
    request: HttpRequest, size: int, etag: str, modified: int
) -> range | None:
    """Return the bytes asked for: None for all, an empty range for impossible ones.

    RFC 9110, sections 13.1.5 (If-Range) and 14.2 (Range).
    """
    match = RANGE.fullmatch(request.headers.get("Range", ""))
    if match is None or request.method != "GET":
        return None
    condition = request.headers.get("If-Range", etag)
    if condition != etag and parse_http_date_safe(condition) != modified:
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if not first:
        return range(max(0, size - int(last)), size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(size, int(last) + 1) if last else size)


def _stream(
    request: HttpRequest, file: Any, length: int, mimetype: str
) -> HttpResponseBase:
    response: HttpResponseBase
    if request.method == "HEAD":
        # Nobody reads the body, and so nobody might close it.
        file.close()
        response = HttpResponse(content_type=mimetype)
    elif isinstance(request, ASGIRequest):
        response = StreamingHttpResponse(AsyncBlocks(file), content_type=mimetype)
    else:
        response = FileResponse(file, content_type=mimetype)
    response.headers["Content-Length"] = str(length)
    return response


class Part:
    """The next ``length`` bytes of an open file, as a file that can be read once."""

    def __init__(self, file: File[Any], length: int) -> None:
        self._file = file
        self._left = length

    def read(self, size: int) -> bytes:
        """Read up to ``size`` bytes."""
        block: bytes = self._file.read(min(size, self._left))
        self._left -= len(block)
        return block

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class AsyncBlocks:
    """The blocks of a file for an event loop, which their reading does not hold up."""

    def __init__(self, file: Any) -> None:
        self._file = file

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = sync_to_async(self._file.read, thread_sensitive=False)
        while block := await read(BLOCK):
            yield block

    def close(self) -> None:
        """Close the file; the response calls this, also if the client went away."""
        self._file.close()
