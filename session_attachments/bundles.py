"""``Bundle``: a session's attachments under one id."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from copy import copy
from typing import Any, Self

from django.contrib.sessions.backends.base import SessionBase
from django.core.files import File
from django.core.files.base import ContentFile

from .exceptions import AttachmentNotFound, BadBundle, BadName, NoFile
from .keeping import take
from .limits import (
    MAX_BUNDLE_ID,
    MAX_NAME,
    check_name,
    is_plain,
    is_storable,
    normalize,
)
from .models import Attachment, AttachmentQuerySet, UnfinishedUpload
from .removal import Removal, remove_unprotected
from .replacement import Attachments, Stored, store
from .sessions import ensure_filing_key, filing_key, has_filing_key
from .transactions import in_transaction
from .unfinished import begin, end_all, find


class Bundle:
    """The attachments that ``session`` keeps under ``bundle_id``.

    Iterates over them, sorted by name; ``len()`` counts them. A bundle exists by
    being named: one whose id is not valid is empty, and add() raises BadBundle.
    ``str()`` makes an id of a primary key or a UUID; None is not valid.
    """

    def __init__(self, session: SessionBase, bundle_id: object) -> None:
        self.session = session
        self.bundle_id = normalize("" if bundle_id is None else str(bundle_id))
        # Primary keys, of a bundle that is narrowed to some of its attachments.
        self.keys: frozenset[Any] | None = None

    def __iter__(self) -> Iterator[Attachment]:
        return iter(self.list())

    def __len__(self) -> int:
        return int(self._attachments().count())

    @property
    def is_valid(self) -> bool:
        """Whether the id can name a bundle."""
        return is_plain(self.bundle_id, MAX_BUNDLE_ID)

    @property
    def has_session_key(self) -> bool:
        """Whether the session has come to the app before; nothing changes by asking."""
        return has_filing_key(self.session)

    @property
    def size(self) -> int:
        """Bytes of all attachments together."""
        return self._attachments().total_size()

    def list(self, *, for_write: bool = False) -> Attachments:
        """Return the attachments, sorted by name (by code point).

        With ``for_write`` look into the database to which the project sends writes:
        replicas may lag behind.
        """
        rows = self._attachments().order_by("filename")
        return list(rows.for_write() if for_write else rows)

    def narrowed_to(self, attachments: Iterable[Attachment]) -> Self:
        """Return this bundle without all but these very versions of attachments."""
        bundle = copy(self)
        bundle.keys = frozenset(attachment.pk for attachment in attachments)
        return bundle

    def summaries(self) -> Iterable[Any]:
        """Return what a list shows of each attachment, sorted by name."""
        return self._attachments().order_by("filename").summaries()

    def take(self, *, seen: int = 0) -> AbstractContextManager[Attachments]:
        """Hand out the attachments, sorted by name, for good.

        Enter it with ``with``. It is a transaction, in which others wait for them; when
        the block ends well, exactly these are removed, and their files after the
        commit. By an exception, or a rollback of the project's, they stay as they were,
        and what was kept of them is deleted again.

        Raises AttachmentsGone if there are less than ``seen``, or, of a valid form's
        bundle, if some that were validated are missing; at the end AttachmentProtected
        if a foreign key protects one. A transaction that lost against another one is
        not done again.
        """
        return take(self._attachments(), seen=max(seen, len(self.keys or ())))

    def start_session(self) -> None:
        """Give a client without a session one, so that later uploads share it."""
        ensure_filing_key(self.session)

    def get(self, name: str, *, for_write: bool = False) -> Attachment:
        """Return the attachment called ``name``; raises AttachmentNotFound.

        ``for_write`` is as in list().
        """
        rows = self._named(name)
        try:
            return (rows.for_write() if for_write else rows).get()
        except Attachment.DoesNotExist as error:
            raise AttachmentNotFound(name=name) from error

    def add(
        self,
        *files: File[Any],
        check: Callable[[Attachment], None] = lambda attachment: None,
    ) -> Attachments:
        """Store ``files``, all or none; return the new attachments, sorted by name.

        A file replaces the attachment of its name; of two files of one name the last
        wins. Raises the AttachmentError that says what is refused; ``check`` may raise
        one for what is not stored yet.
        """
        return self.store(*files, check=check).attachments

    def store(
        self,
        *files: File[Any],
        check: Callable[[Attachment], None] = lambda attachment: None,
    ) -> Stored:
        """Do what add() does, and tell also what was replaced."""
        if not self.is_valid:
            raise BadBundle
        if not files:
            raise NoFile
        named = {_name(file): _as_bytes(file) for file in files}
        key = ensure_filing_key(self.session)
        return store(key, self.bundle_id, named, check=check)

    def begin_upload(self, name: str, size: int, metadata: str) -> UnfinishedUpload:
        """Return a new upload, which becomes an attachment of ``size`` bytes.

        Raises the AttachmentError that says what is refused.
        """
        if not self.is_valid:
            raise BadBundle
        key = ensure_filing_key(self.session)
        return begin(key, self.bundle_id, name, size, metadata)

    def upload(self, upload_id: str) -> UnfinishedUpload:
        """Return the upload of this bundle; raises AttachmentNotFound."""
        key = filing_key(self.session)
        if key is None or not (self.is_valid and is_storable(upload_id)):
            raise AttachmentNotFound
        return find(key, self.bundle_id, upload_id)

    def remove(self, name: str) -> bool:
        """Remove the attachment called ``name``; return whether there was one.

        Raises AttachmentProtected if a foreign key protects it (PROTECT or RESTRICT).
        """
        return bool(_remove(self._named(name)))

    def clear(self) -> int:
        """Remove all attachments; return how many. Unfinished uploads end, too.

        Raises AttachmentProtected, and removes none, if a foreign key protects one.
        """
        return _remove(self._attachments(), self._end_uploads)

    def _end_uploads(self) -> None:
        key = filing_key(self.session)
        if key is not None and self.keys is None:
            end_all(key, self.bundle_id)

    def _attachments(self, **fields: str) -> AttachmentQuerySet:
        rows: AttachmentQuerySet = Attachment.objects.all()
        key = filing_key(self.session)
        if key is None or not self.is_valid:
            return rows.none()
        if self.keys is not None:
            rows = rows.filter(pk__in=self.keys)
        return rows.filter(session_id=key, bundle=self.bundle_id, **fields)

    def _named(self, name: str) -> AttachmentQuerySet:
        # Not check_name(): rows of 0.2 may be called what is refused today.
        if not is_storable(name):
            return Attachment.objects.none()
        return self._attachments(filename=normalize(name))


def _remove(
    rows: AttachmentQuerySet, first: Callable[[], object] = lambda: None
) -> int:
    if rows.query.is_empty():
        return 0
    rows = rows.for_write()

    def work() -> Removal:
        first()
        return remove_unprotected(rows)

    return len(in_transaction(rows.db, work).attachments)


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
