"""The domain: a session's bundle of attachments, its limits, its replacements."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import ValidationError
from django.core.files import File
from django.core.files.base import ContentFile
from django.db import IntegrityError, connections, transaction
from django.db.models import ProtectedError, RestrictedError

from . import content, storage
from .conf import conf
from .exceptions import (
    AttachmentNotFound,
    AttachmentProtected,
    BadBundle,
    BadName,
    BundleTooLarge,
    FileTooLarge,
    Invalid,
    NoFile,
    SessionTooLarge,
    TooManyFiles,
)
from .locks import Lock
from .models import Attachment, AttachmentQuerySet, Listed
from .removal import Removal, remove
from .sessions import ensure_filing_key, filing_key
from .transactions import ATTEMPTS, in_transaction, is_conflict

MAX_BUNDLE_ID = 256
MAX_NAME = 255

# Of this many characters NFC makes one at most.
MAX_COMPOSED = 4

Attachments = list[Attachment]


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
    if not _is_plain(name, MAX_NAME):
        raise BadName(name=name[:MAX_NAME])
    return name


def check_size(size: int, name: str) -> None:
    """Raise FileTooLarge if a file of ``size`` bytes exceeds the host's limit."""
    limit = conf.max_file_size
    if limit is not None and size > limit:
        raise FileTooLarge(name=name, limit=limit)


def check_totals(files: int, bundle_size: int, session_size: int) -> None:
    """Raise if a bundle or a session of these sizes, in bytes, exceeds its quota."""
    if (limit := conf.max_bundle_files) is not None and files > limit:
        raise TooManyFiles(limit=limit)
    if (limit := conf.max_bundle_size) is not None and bundle_size > limit:
        raise BundleTooLarge(limit=limit)
    if (limit := conf.max_session_size) is not None and session_size > limit:
        raise SessionTooLarge(limit=limit)


class Bundle:
    """The attachments that ``session`` keeps under ``bundle_id``.

    Iterates over them, sorted by name; ``len()`` counts them. A bundle exists by
    being named: one whose id is not valid is empty, and add() raises BadBundle.
    """

    def __init__(self, session: SessionBase, bundle_id: str) -> None:
        self.session = session
        self.bundle_id = normalize(bundle_id)

    def __iter__(self) -> Iterator[Attachment]:
        return iter(self.list())

    def __len__(self) -> int:
        return int(self._attachments().count())

    @property
    def size(self) -> int:
        """Bytes of all attachments together."""
        return self._attachments().total_size()

    def list(self) -> Attachments:
        """Return the attachments, sorted by name (by code point)."""
        return list(self._attachments().order_by("filename"))

    def listing(self) -> Iterable[Listed]:
        """Return what a list shows of each attachment, sorted by name."""
        return self._attachments().order_by("filename").listed()

    def start_session(self) -> None:
        """Give a client without a session one, so that later uploads share it."""
        ensure_filing_key(self.session)

    def get(self, name: str, *, for_write: bool = False) -> Attachment:
        """Return the attachment called ``name``; raises AttachmentNotFound.

        With ``for_write`` look into the database to which the project sends writes:
        replicas may lag behind.
        """
        rows = self._named(name)
        try:
            return (rows.for_write() if for_write else rows).get()
        except Attachment.DoesNotExist as error:
            raise AttachmentNotFound(name=name) from error

    def add(self, *files: File[Any]) -> Attachments:
        """Store ``files``, all or none; return the new attachments, sorted by name.

        A file replaces the attachment of its name; of two files of one name the last
        wins. Raises the AttachmentError that says what is refused.
        """
        if not _is_plain(self.bundle_id, MAX_BUNDLE_ID):
            raise BadBundle
        if not files:
            raise NoFile
        named = {_name(file): _as_bytes(file) for file in files}
        sizes = {name: _size(file) for name, file in named.items()}
        for name, size in sizes.items():
            check_size(size, name)
        key = ensure_filing_key(self.session)
        attachments = [
            Attachment(
                session_id=key,
                bundle=self.bundle_id,
                filename=name,
                size=sizes[name],
                mimetype=_accepted_type(file, name),
            )
            for name, file in sorted(named.items())
        ]
        return self._store(attachments, [named[row.filename] for row in attachments])

    def remove(self, name: str) -> bool:
        """Remove the attachment called ``name``; return whether there was one.

        Raises AttachmentProtected if an object of the host's holds on to it.
        """
        return bool(_remove(self._named(name)))

    def clear(self) -> int:
        """Remove all attachments; return how many.

        Raises AttachmentProtected, and removes none, if an object of the host's
        holds on to one.
        """
        return _remove(self._attachments())

    def _attachments(self, **fields: str) -> AttachmentQuerySet:
        rows: AttachmentQuerySet = Attachment.objects.all()
        key = filing_key(self.session)
        if key is None or not _is_plain(self.bundle_id, MAX_BUNDLE_ID):
            return rows.none()
        return rows.filter(session_id=key, bundle=self.bundle_id, **fields)

    def _named(self, name: str) -> AttachmentQuerySet:
        # Not check_name(): rows of 0.2 may be called what is refused today.
        if not _is_storable(name):
            return Attachment.objects.none()
        return self._attachments(filename=normalize(name))

    def _store(
        self, attachments: Attachments, files: Iterable[File[Any]]
    ) -> Attachments:
        rows: AttachmentQuerySet = Attachment.objects.for_write()
        done = committed = False

        def commit() -> None:
            nonlocal committed
            committed = True

        def store() -> Attachments:
            nonlocal done
            done = False
            transaction.on_commit(commit, using=rows.db, robust=True)
            if replace:
                self._make_room(rows, attachments)
            stored = rows.store(attachments)
            done = True
            return stored

        try:
            for attachment, file in zip(attachments, files, strict=True):
                attachment.file = storage.save(file)
            replace = conf.has_quota or self._may_conflict(rows, attachments)
            attempts = ATTEMPTS
            while True:
                attempts -= 1
                try:
                    return in_transaction(rows.db, store)
                except IntegrityError:
                    # An insertion does not wait for the lock, and may come in between.
                    if done or not attempts:
                        raise
                replace = True
        except BaseException as error:
            # What fails after store() is the commit, and nobody knows whether it
            # was done (or something of the host's, after it). Then the files stay: the
            # command removes those without a row.
            if not committed and (not done or is_conflict(error)):
                storage.delete_many([str(row.file) for row in attachments if row.file])
            raise

    def _may_conflict(self, rows: AttachmentQuerySet, attachments: Attachments) -> bool:
        """Whether to make room before the insertion, which may fail otherwise.

        Asked of servers only: PostgreSQL logs a failure, with all values; MariaDB keeps
        its locks, until a rollback that may be cut off. And a transaction of the
        host's would keep what the failure has locked.
        """
        connection = connections[rows.db]
        return connection.in_atomic_block or (
            connection.vendor != "sqlite" and self._replaced(rows, attachments).exists()
        )

    def _replaced(
        self, rows: AttachmentQuerySet, attachments: Attachments
    ) -> AttachmentQuerySet:
        return rows.filter(
            session_id=attachments[0].session_id,
            bundle=self.bundle_id,
            filename__in=[attachment.filename for attachment in attachments],
        )

    def _make_room(self, rows: AttachmentQuerySet, attachments: Attachments) -> None:
        """Remove what ``attachments`` replace; raise if they exceed a quota then."""
        session_id = attachments[0].session_id
        Lock.take(session_id, rows.db)
        _remove_unprotected(self._replaced(rows, attachments), locked=True)
        if conf.has_quota:
            totals = rows.in_session(session_id).totals(self.bundle_id)
            added = sum(attachment.size for attachment in attachments)
            check_totals(
                totals["files"] + len(attachments),
                totals["bundle_size"] + added,
                totals["session_size"] + added,
            )


def _remove(rows: AttachmentQuerySet) -> int:
    if rows.query.is_empty():
        return 0
    rows = rows.for_write()
    removal = in_transaction(rows.db, lambda: _remove_unprotected(rows))
    return len(removal.attachments)


def _remove_unprotected(rows: AttachmentQuerySet, *, locked: bool = False) -> Removal:
    try:
        return remove(rows, locked=locked)
    except (ProtectedError, RestrictedError) as error:
        raise AttachmentProtected from error


def _name(file: File[Any]) -> str:
    """Return what an attachment of ``file`` is called; raises BadName."""
    name = file.name or ""
    # A file of the operating system's may have a number, or bytes, for a name.
    if not isinstance(name, str | os.PathLike):
        raise BadName(name=str(name)[:MAX_NAME])
    return check_name(os.path.basename(name))


def _as_bytes(file: File[Any]) -> File[Any]:
    """Return ``file``, or what is in it, in UTF-8, if it is in text mode.

    A storage would count its characters, and encode them as the locale says.
    """
    file.seek(0)
    if isinstance(file.read(0), bytes):
        return file
    return ContentFile(file.read().encode(), file.name)


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


def _is_plain(text: str, length: int) -> bool:
    """Whether ``text`` has 1 to ``length`` characters, no slash, no control.

    Nor is it ``.`` or ``..``, which clients take out of a URL.
    """
    return (
        0 < len(text) <= length
        and "/" not in text
        and text not in {".", ".."}
        and not any(unicodedata.category(char) in {"Cc", "Cs"} for char in text)
    )


def _is_storable(text: str) -> bool:
    """Whether databases and their drivers take ``text`` at all."""
    return not any(char == "\0" or unicodedata.category(char) == "Cs" for char in text)
