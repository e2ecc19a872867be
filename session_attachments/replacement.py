"""Attachments that come, in the place of those of their names."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

from django.core.files import File
from django.db import IntegrityError, connections

from .conf import conf
from .files import storage
from .limits import check_totals
from .locks import Lock
from .models import Attachment, AttachmentQuerySet
from .removal import remove_unprotected
from .transactions import in_transaction

Attachments = list[Attachment]


def replace(attachments: Attachments, files: Iterable[File[Any]]) -> Attachments:
    """Store ``files`` for ``attachments`` of one bundle, all or none.

    Return the new rows. Those of the same names go, with their files after the commit.
    Raises the AttachmentError that says what is refused, and then nothing has changed.
    """
    rows: AttachmentQuerySet = Attachment.objects.for_write()
    first = True

    def swap() -> Attachments:
        nonlocal first
        if makes_room or not first:
            _make_room(rows, attachments)
        first = False
        return rows.store(attachments)

    with ExitStack() as undo:
        for attachment, file in zip(attachments, files, strict=True):
            attachment.file = storage.save(file)
            undo.callback(storage.delete, str(attachment.file))
        makes_room = conf.has_quota or _may_conflict(rows, attachments)
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


def _make_room(rows: AttachmentQuerySet, attachments: Attachments) -> None:
    """Remove what ``attachments`` replace; raise if they exceed a quota then."""
    session_id, bundle = attachments[0].session_id, attachments[0].bundle
    Lock.take(session_id, rows.db)
    remove_unprotected(_replaced(rows, attachments), locked=True)
    if conf.has_quota:
        totals = rows.in_session(session_id).totals(bundle)
        added = sum(attachment.size for attachment in attachments)
        check_totals(
            totals["files"] + len(attachments),
            totals["bundle_size"] + added,
            totals["session_size"] + added,
        )
