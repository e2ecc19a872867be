"""What a name, a bundle id, a file, a bundle, a session may be."""

import unicodedata

from .conf import conf
from .exceptions import (
    BadName,
    BundleTooLarge,
    FileTooLarge,
    SessionTooLarge,
    TooManyFiles,
)

MAX_BUNDLE_ID = 256
MAX_NAME = 255

# Of this many characters NFC makes one at most.
MAX_COMPOSED = 4


def normalize(text: str) -> str:
    """Return ``text`` in Unicode NFC, in which names and bundle ids are kept.

    What is too long for either is returned as it is: for a text of many combining
    marks NFC takes minutes.
    """
    if len(text) > MAX_COMPOSED * MAX_BUNDLE_ID:
        return text
    return unicodedata.normalize("NFC", text)


def check_name(name: str) -> str:
    """Return ``name`` as it is kept; raises BadName if it cannot be."""
    name = normalize(name)
    if not is_plain(name, MAX_NAME):
        raise BadName(name=name[:MAX_NAME])
    return name


def check_size(size: int, name: str) -> None:
    """Raise FileTooLarge if a file of ``size`` bytes exceeds the project's limit."""
    limit = conf.max_file_size
    if limit is not None and size > limit:
        raise FileTooLarge(name=name, limit=limit)


def check_alone(size: int, name: str) -> None:
    """Raise if a file of ``size`` bytes is refused, whatever else there is."""
    check_size(size, name)
    check_totals(1, size, size)


def check_totals(files: int, bundle_size: int, session_size: int) -> None:
    """Raise if a bundle or a session of these sizes, in bytes, exceeds its quota."""
    if (limit := conf.max_bundle_files) is not None and files > limit:
        raise TooManyFiles(limit=limit)
    if (limit := conf.max_bundle_size) is not None and bundle_size > limit:
        raise BundleTooLarge(limit=limit)
    if (limit := conf.max_session_size) is not None and session_size > limit:
        raise SessionTooLarge(limit=limit)


def is_plain(text: str, length: int) -> bool:
    """Whether ``text`` has 1 to ``length`` characters, no slash, no control.

    Nor is it ``.`` or ``..``, which clients take out of a URL.
    """
    return (
        0 < len(text) <= length
        and "/" not in text
        and text not in {".", ".."}
        and not any(unicodedata.category(char) in {"Cc", "Cs"} for char in text)
    )


def is_storable(text: str) -> bool:
    """Whether databases and their drivers take ``text`` at all."""
    return not any(char == "\0" or unicodedata.category(char) == "Cs" for char in text)
