"""A piece of a file is not a file: how uploaders say that they send one."""

import re
from collections.abc import Mapping

from django.http import HttpRequest

from ..exceptions import ChunkedUpload

# Where Dropzone, Fine Uploader, Resumable.js, flow.js and Plupload write which piece it
# is, and of how many.
FIELDS = {
    "dzchunkindex": "dztotalchunkcount",
    "qqpartindex": "qqtotalparts",
    "resumableChunkNumber": "resumableTotalChunks",
    "flowChunkNumber": "flowTotalChunks",
    "chunk": "chunks",
}
NUMBER = re.compile(r"\d{1,15}", re.ASCII)


def refuse_piece(fields: Mapping[str, str]) -> None:
    """Raise ChunkedUpload if the ``fields`` of a form say that it has one of several.

    A file that fits in one piece is a file.
    """
    if any(total > 1 for total in _totals(fields)):
        raise ChunkedUpload


def refuse_question(fields: Mapping[str, str]) -> None:
    """Raise ChunkedUpload if the ``fields`` of a query ask for a piece, even the only.

    Resumable.js and flow.js take a list for "is there", and send nothing then.
    """
    if _totals(fields):
        raise ChunkedUpload


def refuse_partial(request: HttpRequest) -> None:
    """Raise ChunkedUpload if headers of ``request`` say that its body is a part.

    Content-Range (RFC 9110, 14.5), which blueimp's jQuery File Upload sends, and what
    the drafts of the IETF's resumable uploads have used.
    """
    headers = request.headers
    if (
        "Content-Range" in headers
        or headers.get("Upload-Complete") == "?0"
        or headers.get("Upload-Incomplete") == "?1"
    ):
        raise ChunkedUpload


def _totals(fields: Mapping[str, str]) -> list[int]:
    """Return of how many pieces the ``fields`` say that it is one."""
    return [
        int(fields[total])
        for index, total in FIELDS.items()
        if all(NUMBER.fullmatch(fields.get(name, "")) for name in (index, total))
    ]
