"""What type a file really is: libmagic on its head, refined by its name."""

from __future__ import annotations

import codecs
import mimetypes
import os
import re
from contextlib import suppress
from functools import cache
from typing import Any

from django.core.files import File

# 2 KB miss the type of some spreadsheets and of music with a cover, 8 KB find it.
HEAD = 8192

# libmagic's patterns take quadratic time, while all other threads wait: with its own
# limit 0.2 s for 8 KB of line breaks. So each looks at this many bytes only.
PATTERN = 1024

# And of white space, which costs most, it gets little. (UTF-16 and UTF-32 have zeros
# in between.)
SPACE = re.compile(rb"(?:\0{0,3}[\t-\r ]){8,}")
MAX_SPACE = 64

CONTROLS = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f\x7f]")

OCTET_STREAM = "application/octet-stream"

# Bare containers have no /etc/mime.types, and Python's own table lacks these.
TYPES = {
    ".7z": "application/x-7z-compressed",
    ".avif": "image/avif",
    ".br": "application/x-brotli",
    ".bz2": "application/x-bzip2",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".epub": "application/epub+zip",
    ".flac": "audio/flac",
    ".gz": "application/gzip",
    ".heic": "image/heic",
    ".jar": "application/java-archive",
    ".log": "text/plain",
    ".md": "text/markdown",
    ".odp": "application/vnd.oasis.opendocument.presentation",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".pptx": (
        "application/vnd.openxmlformats-officedocument.presentationml.presentation"
    ),
    ".rtf": "application/rtf",
    ".tgz": "application/gzip",
    ".webp": "image/webp",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".xz": "application/x-xz",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zst": "application/zstd",
}

# What libmagic says of a file that it cannot place, and which types of the name may
# then stand in for it.
BLANK = {OCTET_STREAM, "inode/x-empty", "application/x-empty"}
TEXTUAL = {
    "application/ecmascript",
    "application/javascript",
    "application/json",
    "application/ndjson",
    "application/sql",
    "application/toml",
    "application/x-httpd-php",
    "application/x-ndjson",
    "application/x-sh",
    "application/x-yaml",
    "application/xml",
    "application/yaml",
}
ZIP = (
    "application/epub+zip",
    "application/java-archive",
    "application/vnd.android.package-archive",
    "application/vnd.ms-",
    "application/vnd.oasis.opendocument.",
    "application/vnd.openxmlformats-officedocument.",
    "application/x-xpinstall",
)
OLE = (
    "application/msword",
    "application/vnd.ms-",
    "application/vnd.visio",
    "application/x-msi",
)
CONTAINERS = {
    "application/zip": ZIP,
    "application/CDFV2": OLE,
    "application/x-ole-storage": OLE,
}


def detect(file: File[Any], name: str) -> str:
    """Return the MIME type of ``file``, whose attachment is called ``name``.

    The content decides. Where it only says something generic, the name's type
    refines it: among textual types the name decides, a zip may be any type that is
    a zip inside (and an OLE container one of Office's old ones), what libmagic cannot
    place may be anything. Leaves the file at its beginning.
    """
    file.seek(0)
    head = file.read(HEAD)
    file.seek(0)
    named = _by_name(name)
    if _textual(named) and _is_plain_text(head):
        # libmagic would look at it long, and its answer would hardly count.
        return named
    found = _by_content(head)
    if (
        found in BLANK
        or named.startswith(CONTAINERS.get(found, ()))
        or (_textual(found) and _textual(named))
    ):
        return named
    return found


@cache
def _libmagic() -> Any:
    """Return a ``magic.Magic`` that takes a bounded time, and that threads may share.

    Raises ImportError without libmagic, whatever else it raises if it does not work.
    Imported at first use: loading it takes time.
    """
    import magic

    libmagic = magic.Magic(mime=True)
    # Before 5.30 it knows no such limit.
    with suppress(magic.MagicException, NotImplementedError):
        libmagic.setparam(magic.MAGIC_PARAM_REGEX_MAX, PATTERN)
    return libmagic


@cache
def libmagic_fault() -> str | None:
    """Return why libmagic cannot be used, or None where it works."""
    try:
        found = _libmagic().from_buffer(b"%PDF-1.4\n")
    except Exception as error:
        return str(error)
    # Without its database the library calls everything text/plain.
    return None if found == "application/pdf" else "no magic database"


def _is_plain_text(head: bytes) -> bool:
    """Whether ``head`` is text in UTF-8 that does not begin as PDF, PostScript, RTF do.

    Where the file goes on, its last character may be cut off.
    """
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, len(head) < HEAD)
    except UnicodeDecodeError:
        return False
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()
    return not (CONTROLS.search(head) or start.startswith((b"%", b"{\\rtf")))


def _by_content(head: bytes) -> str:
    try:
        head = SPACE.sub(lambda space: space[0][:MAX_SPACE], head)
        found = str(_libmagic().from_buffer(head))
    except Exception:
        # No C library (ImportError), or it gave up on this head (MagicException).
        return OCTET_STREAM
    # Without its database it says that of a PDF, too.
    return OCTET_STREAM if found == "text/plain" and libmagic_fault() else found


def _by_name(name: str) -> str:
    extension = os.path.splitext(name)[1].lower()
    return (
        TYPES.get(extension) or mimetypes.guess_type(f"name{extension}")[0]
    ) or OCTET_STREAM


def _textual(mimetype: str) -> bool:
    return (
        mimetype.startswith("text/")
        or mimetype.endswith(("+xml", "+json"))
        or mimetype in TEXTUAL
    )
