"""An attachment as a response: headers, conditions, ranges.

It streams in blocks, under ASGI from an asynchronous iterator; under WSGI the server
may send a whole file by itself (``wsgi.file_wrapper``, sendfile). Of a range no more is
read, or asked from S3, than that part; from a storage whose files cannot seek the whole
file comes instead. A worker's memory does not grow with the file. If a file turns out
shorter than it was, the connection breaks, and the log says whose it is. Django's
GZipMiddleware passes downloads by.
"""

from __future__ import annotations

import hashlib
import logging
import re
import unicodedata
from contextlib import ExitStack, closing
from http import HTTPStatus
from urllib.parse import quote

from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.http import (
    content_disposition_header,
    http_date,
    parse_http_date_safe,
)

from ..conf import conf
from ..exceptions import AttachmentNotFound
from ..files.streams import BLOCK, AsyncBlocks, OpenFile, Part, is_missing
from ..models import Attachment
from .responses import private

# One range, as RFC 9110, 14.1.2 writes it. Several ranges are answered as none.
# (Python refuses to read numbers that are longer.)
RANGE = re.compile(r"bytes=(\d{0,640})-(\d{0,640})", re.ASCII | re.IGNORECASE)

# Names that every client reads alike, and what is not in those.
PLAIN = re.compile(r"[ -$&-~]*")
NOT_PLAIN = re.compile(r'[^ -~]|[%"\\]')

logger = logging.getLogger(__name__)


def attachment_response(
    request: HttpRequest, attachment: Attachment
) -> HttpResponseBase:
    """Answer a GET or HEAD with the stored file, always as a download.

    Raises AttachmentNotFound if the file is gone.
    """
    # GZipMiddleware would compress what is streamed, parts of files, too.
    request.META.pop("HTTP_ACCEPT_ENCODING", None)
    # Stored names of 0.2 hold anything, so the ETag is a digest.
    digest = hashlib.sha256(str(attachment.file).encode()).hexdigest()
    etag, modified = f'"{digest[:32]}"', int(attachment.created.timestamp())
    response: HttpResponseBase | None
    response = get_conditional_response(request, etag, modified)
    if response is None:
        response = _offloaded(request, attachment) or _streamed(
            request, attachment, etag, modified
        )
        response.headers["Content-Disposition"] = _disposition(attachment.filename)
        response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    response.headers["ETag"] = etag
    response.headers["Last-Modified"] = http_date(modified)
    return private(response)


def _disposition(name: str) -> str:
    """Return the Content-Disposition with which a download is saved as ``name``.

    Where the name is not plain ASCII, a plain one stands before it, for clients that
    do not know ``filename*``; where it has a "%", some take that in ``filename`` for
    percent-encoding. (RFC 6266, appendix D)
    """
    # Of names of 0.2: Django's helper overlooks a newline at the end.
    name = name.rstrip("\n")
    if PLAIN.fullmatch(name):
        return str(content_disposition_header(True, name))
    letters = unicodedata.normalize("NFD", name)
    plain = "".join(char for char in letters if not unicodedata.combining(char))
    plain = NOT_PLAIN.sub("_", plain) or "_"
    encoded = quote(name, safe="")
    return f"attachment; filename=\"{plain}\"; filename*=utf-8''{encoded}"


def _offloaded(request: HttpRequest, attachment: Attachment) -> HttpResponse | None:
    """Let the web server send the file, if the project has set that up."""
    # nginx would compare these again, with a version and a time of its own.
    if conf.accel is None or {"If-Match", "If-Unmodified-Since"} & {*request.headers}:
        return None
    header, prefix = conf.accel
    response = HttpResponse(content_type=attachment.mimetype)
    response.headers[header] = prefix + quote(str(attachment.file))
    return response


def _streamed(
    request: HttpRequest, attachment: Attachment, etag: str, modified: int
) -> HttpResponseBase:
    try:
        return _from_storage(request, attachment, etag, modified)
    except Exception as error:
        if not is_missing(error):
            raise
        logger.warning("The file of attachment %s is gone: %s", attachment.pk, error)
        raise AttachmentNotFound(name=attachment.filename) from error


def _from_storage(
    request: HttpRequest, attachment: Attachment, etag: str, modified: int
) -> HttpResponseBase:
    label = f"attachment {attachment.pk}"
    with ExitStack() as stack:
        file = stack.enter_context(
            closing(OpenFile(attachment.file, attachment.size, label))
        )
        size, wanted = file.size, None
        if file.has_ranges:
            wanted = _wanted_range(request, size, etag, modified)
        response: HttpResponseBase
        if wanted is not None and not wanted:
            response = HttpResponse(status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            response.headers["Content-Range"] = f"bytes */{size}"
        elif request.method == "HEAD":
            response = HttpResponse(content_type=attachment.mimetype)
            response.headers["Content-Length"] = str(size)
        else:
            part = range(size) if wanted is None else wanted
            response = _stream(request, file.read_part(part), attachment.mimetype)
            response.headers["Content-Length"] = str(len(part))
            # The response closes it.
            stack.pop_all()
        if wanted:
            response.status_code = HTTPStatus.PARTIAL_CONTENT
            response.headers["Content-Range"] = (
                f"bytes {wanted.start}-{wanted.stop - 1}/{size}"
            )
        response.headers["Accept-Ranges"] = "bytes" if file.has_ranges else "none"
    return response


def _stream(request: HttpRequest, body: Part, mimetype: str) -> HttpResponseBase:
    # An ASGIRequest, whose module no project needs to start.
    if hasattr(request, "scope"):
        return StreamingHttpResponse(AsyncBlocks(body), content_type=mimetype)
    response = FileResponse(body, content_type=mimetype)
    response.block_size = BLOCK
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
