"""Uploads that are not complete yet: begun, continued, finished or given up.

No lock is held while bytes come. What has come is stored as a piece, and counts in one
short transaction, which moves the offset from where it was: who finds another one has
lost. The last piece counts when the attachment is there.
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import Any

from django.core.files import File
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from .conf import conf
from .exceptions import (
    AttachmentError,
    AttachmentNotFound,
    AttachmentProtected,
    InsufficientStorage,
    TooManyFiles,
    WrongOffset,
)
from .files import storage
from .files.joined import join
from .files.streams import is_missing
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
            others = Attachment.objects.using(rows.db).in_session(session_id)
            replaced = others.exclude(bundle=bundle, filename=name)
            check_quota(replaced, session_id, bundle, [size])
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
    is gone, and what store() raises of the whole file.
    """
    if upload.offset + file.size == upload.size and not upload.stored:
        _finish(upload, file)
    elif file.size:
        _add_piece(upload, file)


def _add_piece(upload: UnfinishedUpload, file: File[Any]) -> None:
    if upload.piece_count >= MAX_PIECES:
        raise TooManyFiles(limit=MAX_PIECES)
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
    names = [(str(name), size) for name, size in pieces.values_list("file", "size")]

    def first(attachments: Attachments) -> None:
        _move(upload, file.size, stored=str(attachments[0].file))
        _remove_pieces(pieces, [name for name, _size in names])

    try:
        with join(names, file, upload.filename) if names else file as whole:
            store(
                upload.session_id, upload.bundle, {upload.filename: whole}, first=first
            )
    except Exception as error:
        _look_again(upload, error)
        raise
    upload.offset = upload.size


def _look_again(upload: UnfinishedUpload, error: Exception) -> None:
    """Raise what became of ``upload`` meanwhile; end it if ``error`` refuses it."""
    current = find(upload.session_id, upload.bundle, upload.upload_id)
    if current.offset != upload.offset:
        raise WrongOffset(offset=current.offset) from error
    if is_missing(error):
        end(_rows().filter(pk=upload.pk, offset=upload.offset))
        raise AttachmentNotFound from error
    passing = (AttachmentProtected, InsufficientStorage)
    if isinstance(error, AttachmentError) and not isinstance(error, passing):
        end(_rows().filter(pk=upload.pk, offset=upload.offset))


def _move(upload: UnfinishedUpload, by: int, **values: Any) -> None:
    """Move the offset in the database; raise if it is no longer where it was."""
    rows = _rows().live().unfinished().filter(pk=upload.pk, offset=upload.offset)
    if not rows.update(offset=upload.offset + by, touched=timezone.now(), **values):
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
        _remove(rows)

    in_transaction(rows.db, work)


def end_all(session_id: str, bundle: str) -> None:
    """End all uploads of a bundle that have not become attachments."""
    end(_rows().unfinished().in_session(session_id).filter(bundle=bundle))


def forget(upload: UnfinishedUpload) -> None:
    """End ``upload``, if it has not become an attachment."""
    end(_rows().unfinished().filter(pk=upload.pk))


def end(rows: UnfinishedUploadQuerySet, *, skip_locked: bool = False) -> list[Any]:
    """Remove these uploads and their pieces; return them as they were.

    With ``skip_locked`` those that another transaction works on are left out where the
    database can do that.
    """

    def work() -> list[Any]:
        uploads = list(lockable(rows, skip_locked=skip_locked))
        _remove(
            rows.model.objects.using(rows.db).filter(pk__in=[u.pk for u in uploads])
        )
        return uploads

    return in_transaction(rows.db, work)


def _remove(rows: QuerySet[Any]) -> None:
    pieces = Piece.objects.using(rows.db).filter(upload__in=rows)
    _remove_pieces(
        pieces, [str(name) for name in pieces.values_list("file", flat=True)]
    )
    rows.delete()


def _remove_pieces(pieces: QuerySet[Piece], names: list[str]) -> None:
    """Remove the rows, and after the commit their files of these names."""
    pieces.delete()
    transaction.on_commit(
        partial(storage.delete_many, names), using=pieces.db, robust=True
    )


def _rows() -> UnfinishedUploadQuerySet:
    rows: UnfinishedUploadQuerySet = UnfinishedUpload.objects.for_write()
    return rows
