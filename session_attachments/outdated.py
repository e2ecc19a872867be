"""Removing what is outdated: rows and their files, then files without a row."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import islice

from . import storage
from .models import Attachment, AttachmentQuerySet, Removal, cutoff, in_transaction

BATCH = 500

# An upload's file is there a moment before its row.
SAFETY = timedelta(days=1)

# 0.2 stored under session_attachments/<digest>/<digest>/<name>.
DIGEST = re.compile("[0-9a-f]{32}")

Report = Callable[[str], object]


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


def remove_outdated(
    older_than: timedelta, dry_run: bool = False, report: Report = str
) -> Outcome:
    """Remove attachments older than that, then old files to which none refers.

    With ``dry_run`` nothing is removed, only counted. ``report`` is called with the
    name of each attachment, or stored file, that went or would go. What cannot be
    removed is in the outcome's failures and does not stop the rest. Raises ValueError
    if ``older_than`` is negative or leaves the calendar.

    May run at any time, also several times at once. A storage without ``listdir()``
    keeps its files without an attachment.
    """
    run = _Run(dry_run, report)
    run.remove_attachments(cutoff(older_than))
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

    def remove_attachments(self, limit: datetime) -> None:
        """Remove the rows uploaded before ``limit``, in batches, with their files."""
        outdated = self.rows.filter(created__lt=limit)
        last = 0
        while batch := list(outdated.filter(pk__gt=last).order_by("pk")[:BATCH]):
            last = batch[-1].pk
            removal = Removal(batch)
            if not self.dry_run:
                removal = self._remove_batch(
                    outdated.filter(pk__in=[attachment.pk for attachment in batch])
                )
            for attachment in removal.attachments:
                self.outcome.attachments += 1
                self._count(attachment.filename, attachment.size)
            for name, error in removal.failures:
                self._fail(f"The file of {name!r} could not be deleted: {error}")

    def _remove_batch(self, batch: AttachmentQuerySet) -> Removal:
        def remove() -> Removal:
            return batch.remove(skip_locked=True)

        try:
            return in_transaction(batch.db, remove)
        except Exception as error:
            # An object of the host's protects one, say. The others go one by one.
            keys = list(batch.values_list("pk", "filename"))
            if len(keys) == 1:
                self._fail(f"{keys[0][1]!r} could not be removed: {error}")
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
            for name in batch:
                if name not in referred:
                    self._remove_file(name)
        if not self.dry_run:
            for folder in reversed(self.folders):
                self._remove_empty(folder)

    def _remove_file(self, name: str) -> None:
        try:
            size = self.storage.size(name)
        except FileNotFoundError:
            # Another run was faster.
            return
        error = None if self.dry_run else storage.delete(name)
        if error:
            self._fail(f"The file {name!r} could not be deleted: {error}")
        else:
            self.outcome.files += 1
            self._count(name, size)

    def _remove_empty(self, folder: str) -> None:
        try:
            if self.storage.listdir(folder) == ([], []):
                self.storage.delete(folder)
        except (OSError, NotImplementedError):
            # In the meantime gone, or a storage that does not remove folders.
            return

    def _old_files(self, limit: datetime) -> Iterator[str]:
        for folder in self._list(storage.FOLDER)[0]:
            path = f"{storage.FOLDER}/{folder}"
            if DIGEST.fullmatch(folder):
                yield from self._old_files_of_02(path, limit)
            elif (day := _day(folder)) and day + timedelta(days=1) <= limit:
                yield from self._files(path)

    def _old_files_of_02(self, path: str, limit: datetime) -> Iterator[str]:
        self.folders.append(path)
        for folder in self._list(path)[0]:
            for name in self._files(f"{path}/{folder}"):
                try:
                    modified = self.storage.get_modified_time(name)
                except FileNotFoundError:
                    continue
                if modified.astimezone(UTC) < limit:
                    yield name

    def _files(self, path: str) -> list[str]:
        self.folders.append(path)
        return [f"{path}/{name}" for name in self._list(path)[1]]

    def _list(self, path: str) -> tuple[list[str], list[str]]:
        try:
            return self.storage.listdir(path)
        except (FileNotFoundError, NotImplementedError):
            return [], []
        except OSError as error:
            self._fail(f"The folder {path!r} could not be read: {error}")
            return [], []

    def _count(self, name: str, size: int) -> None:
        self.outcome.size += size
        self.report(name)

    def _fail(self, sentence: str) -> None:
        self.outcome.failures.append(sentence)


def _day(folder: str) -> datetime | None:
    """Return the beginning of the day that a folder of uploads is named for."""
    try:
        day = date.fromisoformat(folder)
    except ValueError:
        return None
    if day.isoformat() != folder:
        return None
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
