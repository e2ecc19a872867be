"""A stored file in another storage, without being read: linked, or copied by S3."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, Storage

from . import s3
from .storage import check_moved, delete, new_name, save
from .streams import NamedFile, OpenFile


class CopyingStorage:
    """What stands in for ``target`` where a file may be saved without being read.

    Everything but save() is that of ``target``.
    """

    def __init__(self, target: Storage) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def save(self, name: str, content: File[Any], max_length: int | None = None) -> str:
        """Save ``content`` as ``target`` does; return the name that it has there."""
        # A field may have made something else of it.
        if not isinstance(content, NamedFile):
            return self._target.save(name, content, max_length)
        if _is_copied_by_s3(content.stored, self._target):
            free = self._target.get_available_name(name, max_length)
            # Who writes the one may not be allowed to read the other.
            with suppress(Exception):
                s3.copy(content.stored, self._target, free, content.content_type)
                return free
        with _linked(content.stored, self._target) as path:
            return self._save(name, content, max_length, path)

    def _save(
        self, name: str, content: NamedFile, max_length: int | None, path: str | None
    ) -> str:
        if path is None:
            return self._target.save(name, content, max_length)
        # Django moves what has one.
        content.temporary_file_path = lambda: path  # type: ignore[attr-defined]
        name = self._target.save(name, content, max_length)
        try:
            check_moved(path, self._target, name, content.size)
        except OSError:
            self._target.delete(name)
            raise
        return name


def _is_copied_by_s3(stored: OpenFile, target: Storage) -> bool:
    base = s3.storage_class()
    return (
        _is_plain(stored.storage, base, "open", "_open")
        and _is_plain(target, base, "save", "_save")
        and s3.can_copy(stored.file, stored.storage, target)
    )


@contextmanager
def _linked(stored: OpenFile, target: Storage) -> Iterator[str | None]:
    """Give a file another name in today's folder, which ``target`` may move away.

    Yield its path; None if the file has to be read.
    """
    path = None
    with suppress(OSError, ValueError, SuspiciousOperation):
        if _is_linkable(stored, target):
            path = _link(stored)
    try:
        yield path
    finally:
        if path is not None:
            with suppress(FileNotFoundError):
                os.remove(path)


def _is_linkable(stored: OpenFile, target: Any) -> bool:
    """Whether what lies on the disk is the content, and ``target`` will not change it.

    All names of a file share its mode and its group: a rollback would leave to the
    attachment what ``target`` has made of them.
    """
    source = stored.storage
    if not (
        _is_plain(source, FileSystemStorage, "open", "_open")
        and _is_plain(target, FileSystemStorage, "save", "_save")
    ):
        return False
    status = os.lstat(source.path(stored.name))
    mode = target.file_permissions_mode or stat.S_IMODE(status.st_mode)
    return (status.st_mode, status.st_gid) == (
        stat.S_IFREG | mode,
        os.stat(target.location).st_gid,
    )


def _is_plain(storage: Storage, base: type[Storage], *methods: str) -> bool:
    """Whether ``storage`` is a ``base`` that has not replaced any of ``methods``."""
    # Not type(): the default storage is a lazy object.
    return isinstance(storage, base) and all(
        getattr(storage.__class__, method) is getattr(base, method)
        for method in methods
    )


def _link(stored: OpenFile) -> str:
    source = stored.storage
    old, new = source.path(stored.name), source.path(new_name())
    try:
        os.link(old, new)
    except FileNotFoundError:
        # Nothing was stored today: this makes the folder as the storage does.
        delete(save(ContentFile(b"")))
        os.link(old, new)
    return new
