"""Django's parser of forms, and what it takes that the app does not."""

from __future__ import annotations

import codecs
import os
from functools import cache
from typing import Any, Protocol

from django.http import QueryDict
from django.http.multipartparser import MultiPartParser

from ..exceptions import BadName, IncompleteUpload
from ..limits import MAX_NAME, check_name
from .pieces import refuse_piece

# "Python Specific Encodings" in the documentation of codecs, as far as they decode.
PYTHON_SPECIFIC = {"idna", "punycode", "raw_unicode_escape", "unicode_escape"}

# In bytes. Django puts it into the name of a temporary file, beside 20 others.
MAX_EXTENSION = 200


class Names(Protocol):
    """Who is told of names: the last one, how many, and what the parser drops."""

    full_name: str
    seen: int
    dropped: list[str]


class Parser(MultiPartParser):
    """Tells ``names`` each name as it is, and what Django drops without a word.

    Upload handlers get a name without its extension if a temporary file cannot have
    it: it is too long, or not in the encoding of the file system.
    """

    names: Names
    #: Django's own, and private: the fields until now. There is no other way to know
    #: them before the file is kept.
    _post: QueryDict

    def sanitize_file_name(self, file_name: str) -> str | None:
        """Return the name that upload handlers get, or None for none.

        Raises ChunkedUpload if the fields before the file say that it is a piece.
        """
        refuse_piece(self._post)
        self.names.seen += 1
        name: str | None = super().sanitize_file_name(file_name)
        if name is None:
            self.names.dropped.append(file_name)
            return None
        self.names.full_name = name
        while not _can_end(name):
            name = os.path.splitext(name)[0]
        return name


def check_form_name(name: str) -> str:
    """Return ``name`` as it is kept; raises BadName if a form would change it.

    Else a file would be found by another name than the one that it was sent by.
    """
    if form_name(name) != name:
        raise BadName(name=name[:MAX_NAME])
    return check_name(name)


def form_name(name: str) -> str | None:
    """Return what Django makes of a name in a form; None if nothing is left."""
    parser: Any = None
    return MultiPartParser.sanitize_file_name(parser, name)


def _can_end(name: str) -> bool:
    """Whether a temporary file can have the extension of ``name``."""
    try:
        return len(os.fsencode(os.path.splitext(name)[1])) <= MAX_EXTENSION
    except UnicodeEncodeError:
        return False


@cache
def parser_class(base: type[MultiPartParser]) -> type[Parser]:
    """Return Parser on top of the project's own."""
    return type("Parser", (Parser, base), {}) if base is not MultiPartParser else Parser


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
