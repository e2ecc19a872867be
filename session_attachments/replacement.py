"""Attachments that come, in the place of those of their names.

A file is written under a new name. Then its row is inserted, and the row that it
replaces deleted, in one transaction; the old file is deleted after the commit. So a
process may be killed at any point: what was answered is there, whole, and what can be
left over is a file without a row, which the command removes. (And a temporary file of
Django's in FILE_UPLOAD_TEMP_DIR, as after any upload.)

If the project's own transaction is rolled back later, the old attachment is untouched,
and the new file stays without a row. (The views run outside of ATOMIC_REQUESTS, so that
no transaction is open while a slow client sends a body.)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError
from django.core.files import File
from django.db import IntegrityError, connections

from .conf import conf
from .exceptions import Invalid
from .files import content, storage
from .limits import check_size, check_totals
from .locks import Lock
from .models import Attachment, AttachmentQuerySet, UnfinishedUpload
from .removal import remove_unprotected
from .transactions import in_transaction

Attachments = list[Attachment]


class Stored(NamedTuple):
    """What has come, sorted by name, and the names of what went for it."""

    attachments: Attachments
    replaced: set[str]


def store(
    session_id: str,
    bundle: str,
    files: Mapping[str, File[Any]],
    *,
    check: Callable[[Attachment], None] = lambda attachment: None,
    first: Callable[[Attachments], object] = lambda attachments: None,
) -> Stored:
    """Store ``files``, by their names in one bundle, all or none.

    A file replaces the attachment of its name, whose file goes after the commit.
    ``check`` may raise an AttachmentError for what is not stored yet. ``first`` is done
    first in the transaction, again at each try; it gets what is stored then. Raises
    the AttachmentError that says what is refused, and then nothing has changed.
    """
    sizes = {name: _size(file) for name, file in files.items()}
    for name, size in sizes.items():
        check_size(size, name)
    attachments = [
        Attachment(
            session_id=session_id,
            bundle=bundle,
            filename=name,
            size=sizes[name],
            mimetype=_accepted_type(file, name),
        )
        for name, file in sorted(files.items())
    ]
    for attachment in attachments:
        check(attachment)
    with ExitStack() as undo:
        for attachment in attachments:
            attachment.file = storage.save(files[attachment.filename])
            undo.callback(storage.delete, str(attachment.file))
        return _replace(attachments, first, undo)


def _size(file: File[Any]) -> int:
    """Return the size of ``file`` in bytes, with what is still in its buffer."""
    file.seek(0, os.SEEK_END)
    return int(file.tell())


def _accepted_type(file: File[Any], name: str) -> str:
    """Return the type of ``file``; raises Invalid if a validator says no."""
    mimetype = content.detect(file, name)
    file.content_type = mimetype  # type: ignore[attr-defined]
    try:
        for validate in conf.validators:
            validate(file)
    except ValidationError as error:
        raise Invalid(name=name, message=" ".join(error.messages)) from error
    return mimetype


def _replace(
    attachments: Attachments,
    first: Callable[[Attachments], object],
    undo: ExitStack,
) -> Stored:
    """Do ``first`` and insert ``attachments`` for others, in one transaction.

    ``undo`` is emptied: what it holds is done if certainly nothing was committed.
    """
    rows: AttachmentQuerySet = Attachment.objects.for_write()
    makes_room = conf.has_quota or _may_conflict(rows, attachments)

    def swap() -> Stored:
        nonlocal makes_room
        first(attachments)
        replaced = _make_room(rows, attachments) if makes_room else set()
        makes_room = True
        return Stored(rows.store(attachments), replaced)

    # Another upload may have inserted this name since we looked: insertions do not
    # take the lock.
    return in_transaction(
        rows.db, swap, again=(IntegrityError,), undo=undo.pop_all().close
    )


def _may_conflict(rows: AttachmentQuerySet, attachments: Attachments) -> bool:
    """Whether to make room before the insertion, which may fail otherwise.

    Asked of servers only: PostgreSQL logs a failure, with all values; MariaDB keeps
    its locks, until a rollback that may be cut off. And a transaction of the project's
    would keep what the failure has locked.
    """
    connection = connections[rows.db]
    return connection.in_atomic_block or (
        connection.vendor != "sqlite" and _replaced(rows, attachments).exists()
    )


def _replaced(rows: AttachmentQuerySet, attachments: Attachments) -> AttachmentQuerySet:
    return rows.filter(
        session_id=attachments[0].session_id,
        bundle=attachments[0].bundle,
        filename__in=[attachment.filename for attachment in attachments],
    )


def _make_room(rows: AttachmentQuerySet, attachments: Attachments) -> set[str]:
    """Remove what ``attachments`` replace, and return the names of that.

    Raises if they exceed a quota then.
    """
    session_id, bundle = attachments[0].session_id, attachments[0].bundle
    Lock.take(session_id, rows.db)
    removal = remove_unprotected(_replaced(rows, attachments), locked=True)
    if conf.has_quota:
        sizes = [attachment.size for attachment in attachments]
        check_quota(rows.in_session(session_id), session_id, bundle, sizes)
    return {removed.filename for removed in removal.attachments}


def check_quota(
    rows: AttachmentQuerySet, session_id: str, bundle: str, sizes: list[int]
) -> None:
    """Raise if files of these sizes exceed a quota, beside ``rows`` of the session.

    What unfinished uploads will take counts, too.
    """
    uploads = UnfinishedUpload.objects.using(rows.db).in_session(session_id)
    reserved = uploads.live().unfinished().totals(bundle)
    totals = rows.totals(bundle)
    check_totals(
        totals["files"] + reserved["files"] + len(sizes),
        totals["bundle_size"] + reserved["bundle_size"] + sum(sizes),
        totals["session_size"] + reserved["session_size"] + sum(sizes),
    )
