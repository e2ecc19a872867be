"""Removing what is outdated: rows and their files, then files without a row."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import islice

from django.db import connections
from django.db.models import ProtectedError, RestrictedError

from . import storage
from .models import Attachment, AttachmentQuerySet, cutoff
from .removal import BATCH, Removal, foresee, remove
from .transactions import in_transaction

# An upload's file is there a moment before its row.
SAFETY = timedelta(days=1)

# 0.2 stored under session_attachments/<digest>/<digest>/<name>.
DIGEST = re.compile("[0-9a-f]{32}")

# What stands in a file's name for bytes that are not text (PEP 383).
UNDECODED = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Gone:
    """What went, or would go: an attachment, or a stored file without one.

    ``name`` is the attachment's or, where there is none, that in the storage; ``size``
    is in bytes. Only an attachment has ``bundle`` and ``created``.
    """

    name: str
    size: int
    bundle: str = ""
    created: datetime | None = None


Report = Callable[[Gone], object]


@dataclass
class Outcome:
    """What was, or would be, removed.

    ``files`` counts the files to which no attachment referred, ``size`` are the bytes
    of attachments and files together. ``failures`` are sentences.
    """

    attachments: int = 0
    files: int = 0
    size: int = 0
    failures: list[str] = field(default_factory=list)


def no_report(gone: Gone) -> None:
    """Tell nobody."""


def remove_outdated(
    older_than: timedelta, dry_run: bool = False, report: Report = no_report
) -> Outcome:
    """Remove attachments older than that, then old files to which none refers.

    With ``dry_run`` nothing is removed, only counted. ``report`` is called with each
    attachment, or stored file, that went or would go. What cannot be removed is in the
    outcome's failures and does not stop the rest; with ``dry_run`` that is what the
    project's models protect. Raises ValueError if ``older_than`` is negative or leaves
    the calendar.

    May run at any time, also several times at once. Files without an attachment stay
    where the storage has no ``listdir()``, and inside a transaction of the host's,
    which may roll back.
    """
    run = _Run(dry_run, report)
    run.remove_attachments(cutoff(older_than))
    if not connections[run.rows.db].in_atomic_block:
        run.remove_files(datetime.now(UTC) - max(older_than, SAFETY))
    return run.outcome


class _Run:
    def __init__(self, dry_run: bool, report: Report) -> None:
        self.dry_run = dry_run
        self.report = report
        self.outcome = Outcome()
        self.rows: AttachmentQuerySet = Attachment.objects.for_write()
        self.storage = storage.attachment_storage()
        self.folders: list[str] = []
        # Reported already, when their attachments went.
        self.undeleted: set[str] = set()

    def remove_attachments(self, limit: datetime) -> None:
        """Remove the rows uploaded before ``limit``, in batches, with their files."""
        outdated = self.rows.filter(created__lt=limit)
        last = 0
        while batch := list(
            outdated.filter(pk__gt=last)
            .order_by("pk")
            .values_list("pk", flat=True)[:BATCH]
        ):
            last = batch[-1]
            removal = self._remove_batch(outdated.filter(pk__in=batch))
            for went in removal.attachments:
                self.outcome.attachments += 1
                self._count(Gone(went.filename, went.size, went.bundle, went.created))
            for attachment, error in removal.failures:
                self._fail(
                    f"The file of {attachment.filename!r} could not be deleted: {error}"
                )
                self.outcome.size -= attachment.size
                self.undeleted.add(str(attachment.file))

    def _remove_batch(self, batch: AttachmentQuerySet) -> Removal:
        try:
            if self.dry_run:
                return foresee(batch)
            return in_transaction(batch.db, lambda: remove(batch, skip_locked=True))
        except Exception as error:
            # An object of the host's protects one, say. The others go one by one.
            keys = list(batch.values_list("pk", "filename"))
            if not keys:
                # The commit was done, but its answer got lost.
                self._fail(f"A removal was cut off: {_reason(error)}")
            if len(keys) == 1:
                self._fail(f"{keys[0][1]!r} could not be removed: {_reason(error)}")
                return Removal()
            together = Removal()
            for key, _ in keys:
                one = self._remove_batch(batch.filter(pk=key))
                together.attachments += one.attachments
                together.failures += one.failures
            return together

    def remove_files(self, limit: datetime) -> None:
        """Remove the files that lie there since before ``limit`` and have no row."""
        names = self._old_files(limit)
        while batch := list(islice(names, BATCH)):
            referred = set(
                self.rows.filter(file__in=batch).values_list("file", flat=True)
            )
            self._remove_batch_of_files(
                [n for n in batch if n not in referred and n not in self.undeleted]
            )
        if not self.dry_run:
            for folder in reversed(self.folders):
                self._remove_empty(folder)

    def _remove_batch_of_files(self, names: list[str]) -> None:
        sizes = {name: size for name in names if (size := self._size(name)) is not None}
        failures = {} if self.dry_run else storage.delete_many([*sizes])
        for name, size in sizes.items():
            if name in failures:
                self._fail(f"The file {name!r} could not be deleted: {failures[name]}")
            else:
                self.outcome.files += 1
                self._count(Gone(name, size))

    def _size(self, name: str) -> int | None:
        try:
            return self.storage.size(name)
        except FileNotFoundError:
            # Another run was faster.
            return None
        except Exception as error:
            self._fail(f"The file {name!r} could not be read: {error}")
            return None

    def _remove_empty(self, folder: str) -> None:
        try:
            if not any(self.storage.listdir(folder)):
                self.storage.delete(folder)
        except Exception:
            # In the meantime gone or in use, or a storage that does not remove folders.
            return

    def _old_files(self, limit: datetime) -> Iterator[str]:
        for folder in self._list(storage.FOLDER)[0]:
            path = f"{storage.FOLDER}/{folder}"
            if DIGEST.fullmatch(folder):
                yield from self._old_files_of_02(path, limit)
            elif (day := _day(folder)) and limit - day >= timedelta(days=1):
                yield from self._files(path)

    def _old_files_of_02(self, path: str, limit: datetime) -> Iterator[str]:
        self.folders.append(path)
        for folder in filter(DIGEST.fullmatch, self._list(path)[0]):
            for name in self._files(f"{path}/{folder}"):
                try:
                    modified = self.storage.get_modified_time(name)
                except FileNotFoundError:
                    continue
                except Exception as error:
                    self._fail(f"The file {name!r} could not be read: {error}")
                    continue
                if modified.astimezone(UTC) < limit:
                    yield name

    def _files(self, path: str) -> Iterator[str]:
        self.folders.append(path)
        for file in self._list(path)[1]:
            name = f"{path}/{file}"
            if UNDECODED.search(name):
                # No database can be asked for it. A wrong locale is one reason.
                self._fail(f"The name of the file {name!r} could not be decoded.")
            else:
                yield name

    def _list(self, path: str) -> tuple[list[str], list[str]]:
        try:
            return self.storage.listdir(path)
        except (FileNotFoundError, NotImplementedError):
            return [], []
        except Exception as error:
            self._fail(f"The folder {path!r} could not be read: {error}")
            return [], []

    def _count(self, gone: Gone) -> None:
        self.outcome.size += gone.size
        self.report(gone)

    def _fail(self, sentence: str) -> None:
        self.outcome.failures.append(sentence)


def _reason(error: Exception) -> object:
    # The other argument of these are all of the host's objects.
    if isinstance(error, ProtectedError | RestrictedError):
        return error.args[0]
    return error


def _day(folder: str) -> datetime | None:
    """Return the beginning of the day that a folder of uploads is named for."""
    try:
        day = date.fromisoformat(folder)
    except ValueError:
        return None
    if day.isoformat() != folder:
        return None
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
