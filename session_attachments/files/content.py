"""What type a file really is: libmagic on its head, refined by its name.

Where content and name disagree, the content is right about what libmagic recognizes,
and the name about the rest:

* Between types of text (also JSON, XML, e-mail, sources of programs) the name decides.
  What has no control characters is text, in whatever encoding, and libmagic is not
  asked about it under the name of a text, nor about prose under any name.
* A container may be any type that is one inside: a zip file a document, an old Office
  file a mail of Outlook or an installer, a film sound alone.
* What libmagic does not know, be it random bytes, and an empty file may be anything.

Documents of Office with macros have types of their own (``docm`` and its kin): if the
name says so, or if the head shows them under another name. Nothing is unpacked behind
it, so who orders the parts of a document in a way of his own can hide macros there, and
the old formats (``doc``, ``xls``, ``ppt``) and OpenDocument may have macros under the
one type that they have. To be certain of what is inside, ask a virus scanner.
"""

from __future__ import annotations

import codecs
import mimetypes
import os
import re
import struct
import zipfile
import zlib
from contextlib import suppress
from functools import cache
from typing import Any

from django.core.files import File

from .extensions import TYPES
from .families import OFFICE, SYNONYMS, VISIO, ZIP, is_textual, may_refine

# 2 KB miss the type of some spreadsheets and of music with a cover, 8 KB find it.
HEAD = 8192

# libmagic's patterns take quadratic time, while all other threads wait: with its own
# limit 0.2 s for 8 KB of line breaks. So each looks at this many bytes only.
PATTERN = 1024

# And of white space, which costs most, it gets little. (UTF-16 and UTF-32 have zeros
# in between.)
SPACE = re.compile(rb"[\t-\r ](?:\0{0,3}[\t-\r ]){7,}")
MAX_SPACE = 64

# White space is none. ESC neither: it begins characters in ISO 2022, colors in logs.
CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")

# What has no control characters at its beginning either, and is none.
NO_TEXT = (b"%!", b"%FDF-", b"%PDF-", b"{\\rtf")

# Some words, and then nothing that markup, data or a program would have. libmagic calls
# that plain text, or a table for its commas, and takes a hundred times as long as for a
# picture. (Old mailboxes begin with "From ".)
PROSE = re.compile(rb"(?!From )(?:[A-Za-z\x80-\xff]+[,.;]? ){3}[^<{=\\]*")

OCTET_STREAM = "application/octet-stream"
PLAIN = "text/plain"

# What libmagic says of a file that it cannot place: it may be of any type.
BLANK = {OCTET_STREAM, "inode/x-empty", "application/x-empty"}

# How a zip file of Office Open XML begins, which folder tells of what kind it is, where
# it says what it is, and how it says that it has macros (ECMA-376-2).
CONTENT_TYPES = b"[Content_Types].xml"
PACKAGE = re.compile(
    rb"PK\x03\x04.{26}(?:\[Content_Types\]\.xml|_rels/|docProps/)"
    rb".*?PK\x03\x04.{26}(ppt|visio|word|xl)/",
    re.DOTALL,
)
FOLDERS = {b"ppt": ".ppt", b"visio": ".vsd", b"word": ".doc", b"xl": ".xls"}
MACROS = re.compile(
    rb"application/vnd\.ms-(?:excel|powerpoint|visio|word)\.[a-z.]+\.macroEnabled"
)
PROJECT = re.compile(rb"(ppt|visio|word|xl)/vbaProject\.bin")


def detect(file: File[Any], name: str) -> str:
    """Return the MIME type of ``file``, whose attachment is called ``name``.

    The content decides. Where it only says something generic, the name's type
    refines it: among textual types the name decides, a container such as zip may be any
    type that is one inside, what libmagic cannot place may be anything. A document of
    Office has macros if its name says so, or the head of its content. Leaves the file
    at its beginning.
    """
    file.seek(0)
    head = file.read(HEAD)
    file.seek(0)
    named = _by_name(name)
    if _is_text(head):
        # libmagic would look at it long.
        if is_textual(named):
            return named
        if PROSE.fullmatch(head) and not libmagic_fault():
            return PLAIN
    found = _by_content(head)
    if found == OCTET_STREAM and libmagic_fault():
        return named
    found = SYNONYMS.get(found, found)
    if found in {OCTET_STREAM, ZIP} and head.startswith(b"PK\3\4"):
        # libmagic 5.41 says that of many documents, 5.46 of all but a few zip files.
        package = PACKAGE.match(head)
        found = TYPES[FOLDERS[package[1]] + "x"] if package else ZIP
    if (
        found in BLANK
        or may_refine(named, found)
        or (is_textual(found) and is_textual(named))
    ):
        found = named
    return (found.startswith((OFFICE, VISIO)) and _with_macros(head)) or found


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


def _is_text(head: bytes) -> bool:
    """Whether ``head`` is text, and does not begin as PDF, PostScript and RTF do.

    It is, in whatever encoding, if there are no control characters in it. UTF-16 has
    NUL bytes, and is known by its byte order mark, as Notepad and Excel write it.
    """
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            head = codecs.getincrementaldecoder("utf-16")().decode(head).encode()
        except UnicodeDecodeError:
            return False
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()
    return not (CONTROLS.search(head) or start.startswith(NO_TEXT))


def _with_macros(head: bytes) -> str | None:
    """Return the type of an Office document with macros, if ``head`` shows them.

    Office writes the member that tells first, others elsewhere: it may lie behind the
    head, and then None is returned.
    """
    start = head[30 : 30 + len(CONTENT_TYPES)]
    if start == CONTENT_TYPES and head[8] == zipfile.ZIP_DEFLATED:
        begin = 30 + sum(struct.unpack_from("<HH", head, 26))
        with suppress(zlib.error):
            # Bounded, as a few bytes may become many.
            head += zlib.decompressobj(-15).decompress(head[begin:], 8 * HEAD)
    if match := MACROS.search(head):
        mimetype = match[0].decode()
        return mimetype + (".main+xml" if mimetype.startswith(VISIO) else ".12")
    match = PROJECT.search(head)
    return TYPES[FOLDERS[match[1]] + "m"] if match else None


def _by_content(head: bytes) -> str:
    try:
        head = SPACE.sub(lambda space: space[0][:MAX_SPACE], head)
        found = str(_libmagic().from_buffer(head))
    except Exception:
        # No C library (ImportError), or it gave up on this head (MagicException).
        return OCTET_STREAM
    # Without its database it says that of a PDF, too.
    return OCTET_STREAM if found == PLAIN and libmagic_fault() else found


def _by_name(name: str) -> str:
    extension = os.path.splitext(name)[1].lower()
    return (
        TYPES.get(extension) or mimetypes.guess_type(f"name{extension}")[0]
    ) or OCTET_STREAM
