"""Which storage holds attachments, and the name that a file gets in it.

A stored name is ``session_attachments/<YYYY-MM-DD>/<random token>``: the day is UTC,
the token owes nothing to the client. Uploads write into today's folder only;
``orphans`` clears whole old days.

Under WSGI a large upload is written once: its temporary file is moved to its place, if
FILE_UPLOAD_TEMP_DIR and the storage are on one file system (a system check looks).
Under ASGI Django itself writes the body to disk before.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
from datetime import UTC, datetime
from typing import Any

from django.core.files import File
from django.core.files.storage import Storage, storages
from django.core.files.uploadedfile import TemporaryUploadedFile

from . import s3

ALIAS = "session_attachments"
FOLDER = "session_attachments"

# The names that save() gives, unlike those of 0.2.
OWN = re.compile(rf"{FOLDER}/\d{{4}}-\d\d-\d\d/\w+", re.ASCII)

logger = logging.getLogger(__name__)


def attachment_storage() -> Storage:
    """Return ``STORAGES["session_attachments"]`` if it is there, else the default."""
    return storages[ALIAS if ALIAS in storages.backends else "default"]


def save(file: File[Any]) -> str:
    """Write ``file``, from its beginning, under a new name; return that name.

    Whatever the storage raises is passed on; what it may have written is gone then.
    """
    storage, name = attachment_storage(), new_name()
    file.seek(0)
    path = file.temporary_file_path() if isinstance(file, TemporaryUploadedFile) else ""
    size = os.path.getsize(path) if path else 0
    try:
        name = storage.save(name, file)
        if path:
            check_moved(path, storage, name, size)
    except BaseException:
        delete(name)
        raise
    return name


def new_name() -> str:
    """Return a name that no file has."""
    day = datetime.now(UTC).date().isoformat()
    return f"{FOLDER}/{day}/{secrets.token_hex(16)}"


def check_moved(path: str, storage: Storage, name: str, size: int) -> None:
    """Raise OSError if the file ``path`` was moved to ``name`` and is not whole there.

    Django moves it between file systems by copying, and overlooks that a full disk may
    have taken a part of the last block only.
    """
    if not os.path.exists(path) and storage.size(name) != size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)


def delete(name: str) -> Exception | None:
    """Delete the stored file ``name``; return why it stays, if it does."""
    return delete_many([name]).get(name)


def delete_many(names: list[str]) -> dict[str, Exception]:
    """Delete the stored files of these names; return those that stay, and why.

    A failure is logged and returned, not raised: whoever asks has already answered,
    and the command finds the file again. A file that is not there is no failure.
    """
    storage = attachment_storage()
    failures: dict[str, Exception] = {}
    for start in range(0, len(names), s3.BATCH):
        failures |= _delete_batch(storage, names[start : start + s3.BATCH])
    for name, failure in failures.items():
        logger.error("The stored file %r could not be deleted.", name, exc_info=failure)
    return failures


def _delete_batch(storage: Storage, names: list[str]) -> dict[str, Exception]:
    failures: dict[str, Exception] = {}
    together: list[str] = []
    try:
        if s3.can_delete_many(storage):
            together = [name for name in names if OWN.fullmatch(name)]
        if len(together) < 2:
            together = []
        else:
            failures = dict(s3.delete_many(storage, together))
    except Exception as error:
        if s3.is_refused(error):
            together = []
        failures = dict.fromkeys(together, error)
    for name in dict.fromkeys(names).keys() - set(together):
        try:
            storage.delete(name)
        except Exception as error:
            failures[name] = error
    return failures
