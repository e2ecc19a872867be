"""Django's parser of forms, and what it takes that the app does not."""

from __future__ import annotations

import codecs
import os
from typing import Protocol

from django.http import HttpRequest
from django.http.multipartparser import MultiPartParser

from .exceptions import IncompleteUpload

# "Python Specific Encodings" in the documentation of codecs, as far as they decode.
PYTHON_SPECIFIC = {"idna", "punycode", "raw_unicode_escape", "unicode_escape"}

# In bytes. Django puts it into the name of a temporary file, beside 20 others.
MAX_EXTENSION = 200


class Names(Protocol):
    """Who is told of names: the last one, how many, and what the parser drops."""

    full_name: str
    seen: int
    dropped: list[str]


def parser_for(request: HttpRequest, names: Names) -> type[MultiPartParser]:
    """Return the parser of ``request``, which tells ``names`` each name as it is.

    What it drops without a word it tells, too. Upload handlers get a name without its
    extension if that is too long for the name of a temporary file.
    """
    # Since Django 6.1 a host may choose its own parser.
    parser_class = getattr(request, "multipart_parser_class", MultiPartParser)

    class Parser(parser_class):  # type: ignore[misc, valid-type]
        def sanitize_file_name(self, file_name: str) -> str | None:
            names.seen += 1
            name: str | None = super().sanitize_file_name(file_name)
            if name is None:
                names.dropped.append(file_name)
                return None
            names.full_name = name
            root, extension = os.path.splitext(name)
            return name if len(os.fsencode(extension)) <= MAX_EXTENSION else root

    return Parser


def check_charset(charset: str | None) -> None:
    """Raise IncompleteUpload if ``charset`` decodes no text.

    Django, which ignores unknown ones, takes every codec of Python's for a charset,
    base64 too, and punycode, which needs minutes for a field of a megabyte.
    """
    try:
        b"-".decode(charset or "utf-8", "replace")
        codec = codecs.lookup(charset or "utf-8").name
    except (LookupError, UnicodeError) as error:
        raise IncompleteUpload from error
    if codec.replace("-", "_") in PYTHON_SPECIFIC:
        raise IncompleteUpload
