"""Uploads that are not complete yet: begun, continued, finished or given up.

No lock is held while bytes come. What has come is stored as a piece, and counts in one
short transaction, which moves the offset from where it was: who finds another one has
lost. The last piece counts when the attachment is there.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.core.files import File
from django.db import transaction
from django.utils import timezone

from .conf import conf
from .exceptions import (
    AttachmentError,
    AttachmentNotFound,
    AttachmentProtected,
    TooManyFiles,
    WrongOffset,
)
from .files import storage
from .files.joined import join
from .limits import check_name, check_size
from .locks import Lock
from .models import Attachment, Piece, UnfinishedUpload, UnfinishedUploadQuerySet
from .removal import lockable, remove_unprotected
from .replacement import Attachments, check_quota, store
from .transactions import in_transaction

MAX_PIECES = 10_000
# Of one session, at one time.
MAX_UPLOADS = 100


def begin(
    session_id: str, bundle: str, name: str, size: int, metadata: str
) -> UnfinishedUpload:
    """Return a new upload of ``size`` bytes, which counts in every quota from now on.

    Raises the AttachmentError that says what is refused.
    """
    name = check_name(name)
    check_size(size, name)
    rows = _rows()

    def work() -> UnfinishedUpload:
        Lock.take(session_id, rows.db)
        if rows.live().unfinished().in_session(session_id).count() >= MAX_UPLOADS:
            raise TooManyFiles(limit=MAX_UPLOADS)
        if conf.has_quota:
            attachments = Attachment.objects.using(rows.db).in_session(session_id)
            others = attachments.exclude(bundle=bundle, filename=name)
            check_quota(others, session_id, bundle, [size])
        upload: UnfinishedUpload = rows.create(
            upload_id=secrets.token_hex(16),
            session_id=session_id,
            bundle=bundle,
            filename=name,
            size=size,
            metadata=metadata,
        )
        return upload

    return in_transaction(rows.db, work)


def find(session_id: str, bundle: str, upload_id: str) -> UnfinishedUpload:
    """Return the upload; raises AttachmentNotFound.

    A finished one is there as long as the very attachment that it became.
    """
    rows = _rows().live().in_session(session_id)
    upload: UnfinishedUpload | None = rows.filter(
        bundle=bundle, upload_id=upload_id
    ).first()
    if upload is None or (upload.stored and not upload.attachments().exists()):
        raise AttachmentNotFound
    return upload


def add(upload: UnfinishedUpload, file: File[Any]) -> None:
    """Add what has come to ``upload``, at its offset, which moves.

    Raises WrongOffset if another request was faster, AttachmentNotFound if the upload
    or a piece of it is gone, and what store() raises of the whole file.
    """
    if file.size and upload.piece_count >= MAX_PIECES:
        raise TooManyFiles(limit=MAX_PIECES)
    if upload.offset + file.size == upload.size and not upload.stored:
        _finish(upload, file)
    elif file.size:
        _add_piece(upload, file)


def _add_piece(upload: UnfinishedUpload, file: File[Any]) -> None:
    rows, name = _rows(), storage.save(file)

    def work() -> None:
        _move(upload, file.size, piece_count=upload.piece_count + 1)
        Piece.objects.using(rows.db).create(
            upload=upload, offset=upload.offset, size=file.size, file=name
        )

    in_transaction(rows.db, work, undo=lambda: storage.delete(name))
    upload.offset += file.size


def _finish(upload: UnfinishedUpload, file: File[Any]) -> None:
    """Store all that came as an attachment."""
    pieces = Piece.objects.using(_rows().db).filter(upload=upload).order_by("offset")
    sizes = dict(pieces.values_list("file", "size")) if upload.piece_count else {}
    whole = join(sizes, file) if sizes else file
    whole.name = upload.filename

    def first(attachments: Attachments) -> None:
        _move(upload, file.size, stored=str(attachments[0].file))
        if sizes:
            pieces.delete()
            _delete_files(sizes, pieces.db)

    try:
        with whole:
            files = {upload.filename: whole}
            store(upload.session_id, upload.bundle, files, first=first)
    except Exception as error:
        _look_again(upload, error)
        raise
    upload.offset = upload.size


def _look_again(upload: UnfinishedUpload, error: Exception) -> None:
    """Raise what became of ``upload`` meanwhile; end it if ``error`` refuses it."""
    current = find(upload.session_id, upload.bundle, upload.upload_id)
    if current.offset != upload.offset:
        raise WrongOffset(offset=current.offset) from error
    is_refused = isinstance(error, AttachmentError)
    if is_refused and not isinstance(error, AttachmentProtected):
        end(_rows().filter(pk=upload.pk, offset=upload.offset))


def _move(upload: UnfinishedUpload, by: int, **values: Any) -> None:
    """Move the offset in the database; raise if it is no longer where it was."""
    upload.touched = timezone.now()
    rows = _rows().live().unfinished().filter(pk=upload.pk, offset=upload.offset)
    if not rows.update(offset=upload.offset + by, touched=upload.touched, **values):
        current = find(upload.session_id, upload.bundle, upload.upload_id)
        raise WrongOffset(offset=current.offset)


def cancel(upload: UnfinishedUpload) -> None:
    """End ``upload``, and remove the very attachment that it became, if it has.

    Raises AttachmentNotFound if there is neither.
    """
    rows = _rows().filter(pk=upload.pk)

    def work() -> None:
        current = lockable(rows).first()
        if current is None:
            raise AttachmentNotFound
        if current.stored:
            removal = remove_unprotected(current.attachments(), locked=True)
            if not removal.attachments:
                raise AttachmentNotFound
        _end([current], rows.db)

    in_transaction(rows.db, work)


def end_all(session_id: str, bundle: str) -> None:
    """End all uploads of a bundle that have not become attachments.

    In the caller's transaction.
    """
    rows = _rows().unfinished().in_session(session_id).filter(bundle=bundle)
    _end(list(lockable(rows)), rows.db)


def forget(upload: UnfinishedUpload) -> None:
    """End ``upload``, if it has not become an attachment."""
    end(_rows().unfinished().filter(pk=upload.pk))


@dataclass
class Ending:
    """Uploads that have ended, as they were, and the stored names of their pieces.

    ``failures`` are the pieces whose files stay, and why, once it is committed.
    """

    uploads: list[UnfinishedUpload]
    sizes: dict[str, int] = field(default_factory=dict)
    failures: dict[str, Exception] = field(default_factory=dict)


def end(rows: UnfinishedUploadQuerySet, *, skip_locked: bool = False) -> Ending:
    """Remove these uploads and their pieces.

    With ``skip_locked`` those that another transaction works on are left out where the
    database can do that.
    """
    return in_transaction(
        rows.db, lambda: _end(list(lockable(rows, skip_locked=skip_locked)), rows.db)
    )


def _end(uploads: list[UnfinishedUpload], using: str) -> Ending:
    """Remove the rows of ``uploads``, which are locked, and of their pieces."""
    if not uploads:
        return Ending(uploads)
    pieces = Piece.objects.using(using).filter(upload__in=uploads)
    sizes = dict(pieces.values_list("file", "size"))
    # The pieces go with them.
    _rows().filter(pk__in=[upload.pk for upload in uploads]).delete()
    return Ending(uploads, sizes, _delete_files(sizes, using))


def _delete_files(names: Iterable[str], using: str) -> dict[str, Exception]:
    """Delete stored files after the commit; return what then holds those that stay."""
    failures: dict[str, Exception] = {}
    transaction.on_commit(
        lambda: failures.update(storage.delete_many([*names])),
        using=using,
        robust=True,
    )
    return failures


def _rows() -> UnfinishedUploadQuerySet:
    rows: UnfinishedUploadQuerySet = UnfinishedUpload.objects.for_write()
    return rows
