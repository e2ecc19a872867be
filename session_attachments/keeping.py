"""Attachments that stay, in a model of the project's."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from django.core.exceptions import SuspiciousFileOperation
from django.core.files.storage import Storage
from django.db.models.fields.files import FieldFile
from django.utils.crypto import get_random_string
from django.utils.text import get_valid_filename
from django.utils.translation import gettext_lazy as _

from .exceptions import AttachmentNotFound, AttachmentsGone
from .files.copies import CopyingStorage
from .files.streams import NamedFile, OpenFile, is_missing
from .removal import batches, lockable, remove_unprotected
from .transactions import undone_when_certain

# Of a name, in UTF-8. File systems take 255, and a storage may add some.
MAX_BYTES = 200
MAX_EXTENSION = 20
RANDOM = 7

logger = logging.getLogger(__name__)


@contextmanager
def take(rows: Any, *, seen: int) -> Iterator[list[Any]]:
    """Hand out the attachments ``rows``, and remove them when the block ends well.

    Raises AttachmentsGone if there are fewer than ``seen``, and at the end
    AttachmentProtected.
    """
    rows = rows.for_write()
    undo = ExitStack()
    with undone_when_certain(rows.db, undo):
        attachments = list(lockable(rows))
        if len(attachments) < seen:
            raise AttachmentsGone
        for attachment in attachments:
            attachment.undo_keeping = undo
        taken = [attachment.pk for attachment in attachments]
        attachments.sort(key=lambda attachment: str(attachment.filename))
        yield attachments
        for batch in batches(rows, taken):
            remove_unprotected(batch, locked=True)


def open_file(attachment: Any) -> NamedFile:
    """Return the file of ``attachment``, open; raises AttachmentNotFound."""
    label = f"attachment {attachment.pk}"
    try:
        stored = OpenFile(attachment.file, attachment.size, label)
    except Exception as error:
        if not is_missing(error):
            raise
        gone = AttachmentNotFound(name=attachment.filename)
        gone.detail = _("The file “%(name)s” is gone. Please remove it from the list.")
        raise gone from error
    return NamedFile(stored, attachment.filename, attachment.mimetype)


def keep(attachment: Any, field_file: FieldFile) -> str:
    """Store the file of ``attachment`` as ``field_file``, under a name like its own.

    Return the stored name. Inside take() it is deleted again if that fails. Raises
    AttachmentNotFound.
    """
    target = field_file.storage
    with open_file(attachment) as content:
        name = _free_name(field_file, attachment.filename)
        field_file.storage = CopyingStorage(target)  # type: ignore[assignment]
        try:
            field_file.save(name, content, save=False)
        finally:
            field_file.storage = target
    kept = str(field_file.name)
    if attachment.undo_keeping is not None:
        attachment.undo_keeping.callback(_delete, target, kept)
    return kept


def _delete(storage: Storage, name: str) -> None:
    try:
        storage.delete(name)
    except Exception:
        logger.exception("The kept file %r could not be deleted again.", name)


def _free_name(field_file: FieldFile, name: str) -> str:
    """Return a name for ``field_file``, like ``name`` as far as its field allows it.

    It is not that of another file, which some storages would overwrite: visitors choose
    names. What has to be cut, or is taken, gets random characters as Django's do.
    """
    stem, extension = _divide(name)
    field = field_file.field
    stored = field.generate_filename(field_file.instance, stem + extension)
    suffix = f"_{get_random_string(RANDOM)}"
    # How many characters the field has room for, beside the name.
    spare = len(suffix)
    if field.max_length is not None:
        spare = min(spare, field.max_length - len(stored))
    if spare < 0 or field_file.storage.exists(stored):
        stem = stem[: max(0, len(stem) + spare - len(suffix))] + suffix
    return stem + extension


def _divide(name: str) -> tuple[str, str]:
    """Return what a storage leaves of ``name``: what stands before, and ``.pdf``.

    Together they are short enough, and never begin with a dot.
    """
    try:
        valid = get_valid_filename(name)
    except SuspiciousFileOperation:
        valid = ""
    stem, dot, extension = valid.rpartition(".")
    if not dot or not extension or len((dot + extension).encode()) > MAX_EXTENSION:
        stem, dot, extension = valid, "", ""
    extension = dot + extension
    left = MAX_BYTES - len(extension.encode())
    stem = stem.lstrip(".").encode()[:left].decode(errors="ignore")
    return stem or "file", extension
