"""Removing what is outdated: attachments, uploads, then old files without either."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from django.db import connections
from django.db.models import ProtectedError, RestrictedError

from .models import (
    Attachment,
    AttachmentQuerySet,
    UnfinishedUpload,
    UnfinishedUploadQuerySet,
    cutoff,
)
from .orphans import Orphans
from .removal import BATCH, KNOWN, Removal, foresee, remove
from .transactions import in_transaction
from .unfinished import Ending, end

# An upload's file is there a moment before its row.
SAFETY = timedelta(days=1)

# What is told of an attachment.
REPORTED = (*KNOWN, "bundle", "size", "created")

# Unfinished uploads of one statement: each may have thousands of pieces.
UPLOADS = 10


@dataclass(frozen=True)
class Gone:
    """What went, or would go: an attachment, an upload, or a stored file without one.

    ``name`` is the attachment's or, where there is none, that in the storage; ``size``
    is in bytes that have come. A file has no ``bundle``, and only an attachment has
    ``created``.
    """

    name: str
    size: int
    bundle: str = ""
    created: datetime | None = None


Report = Callable[[Gone], object]


def no_report(gone: Gone) -> None:
    """Ignore ``gone``: the default for ``report``."""


@dataclass
class Outcome:
    """What was, or would be, removed.

    ``files`` counts the files to which no attachment referred, ``size`` are the bytes
    of all together. ``failures`` are sentences.
    """

    attachments: int = 0
    uploads: int = 0
    files: int = 0
    size: int = 0
    failures: list[str] = field(default_factory=list)
    report: Report = field(default=no_report, repr=False, compare=False)

    def add(self, gone: Gone) -> None:
        """Count the bytes of what went, and report it."""
        self.size += gone.size
        self.report(gone)

    def fail(self, sentence: str) -> None:
        """Note what could not be done."""
        self.failures.append(sentence)


def remove_outdated(
    older_than: timedelta, dry_run: bool = False, report: Report = no_report
) -> Outcome:
    """Remove attachments older than that, then old files to which none refers.

    Uploads that were not continued for a day go, too, whatever ``older_than`` is. With
    ``dry_run`` nothing is removed, only counted. ``report`` is called with each
    attachment, upload or stored file that went or would go. What cannot be removed is
    in the outcome's failures and does not stop the rest; with ``dry_run`` that is what
    the project's models protect. Raises ValueError if ``older_than`` is negative or
    leaves the calendar.

    May run at any time, also several times at once. Files without an attachment stay
    where the storage has no ``listdir()``, and inside a transaction of the project's,
    which may roll back.
    """
    outcome = Outcome(report=report)
    rows: AttachmentQuerySet = Attachment.objects.for_write()
    outdated = rows.filter(created__lt=cutoff(older_than))
    undeleted = _remove_attachments(outdated, outcome, dry_run)
    undeleted |= _remove_uploads(outcome, dry_run)
    if not connections[rows.db].in_atomic_block:
        orphans = Orphans(rows, undeleted, outcome.fail)
        limit = datetime.now(UTC) - max(older_than, SAFETY)
        for name, size in orphans.remove(limit, dry_run):
            outcome.files += 1
            outcome.add(Gone(name, size))
    return outcome


def _remove_attachments(
    outdated: AttachmentQuerySet, outcome: Outcome, dry_run: bool
) -> set[str]:
    """Remove these rows in batches; return the stored names of files that stay."""
    undeleted: set[str] = set()
    last = 0
    while batch := list(
        outdated.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:BATCH]
    ):
        # Not a list of keys, which takes databases long to read.
        rows = outdated.filter(pk__gt=last, pk__lte=batch[-1])
        last = batch[-1]
        removal = _remove_batch(rows, outcome, dry_run)
        for went in removal.attachments:
            outcome.attachments += 1
            outcome.add(Gone(went.filename, went.size, went.bundle, went.created))
        for attachment, error in removal.failures:
            outcome.fail(
                f"The file of {attachment.filename!r} could not be deleted: {error}"
            )
            outcome.size -= attachment.size
            undeleted.add(str(attachment.file))
    return undeleted


def _remove_uploads(outcome: Outcome, dry_run: bool) -> set[str]:
    """Remove expired uploads in batches; return the stored names of files that stay.

    Of those that have become attachments nobody is told.
    """
    expired = UnfinishedUpload.objects.for_write().expired()
    undeleted: set[str] = set()
    last = 0
    while batch := list(expired.filter(pk__gt=last).order_by("pk")[:UPLOADS]):
        last = batch[-1].pk
        endings = [Ending(batch)] if dry_run else _end(expired, batch, outcome)
        for ending in endings:
            for upload in ending.uploads:
                if not upload.stored:
                    outcome.uploads += 1
                    outcome.add(Gone(upload.filename, upload.offset, upload.bundle))
            for name, error in ending.failures.items():
                outcome.fail(f"The file {name!r} could not be deleted: {error}")
                outcome.size -= ending.sizes[name]
                undeleted.add(name)
    return undeleted


def _end(
    expired: UnfinishedUploadQuerySet, batch: list[UnfinishedUpload], outcome: Outcome
) -> list[Ending]:
    try:
        keys = [upload.pk for upload in batch]
        return [end(expired.filter(pk__in=keys), skip_locked=True)]
    except Exception as error:
        if len(batch) == 1:
            outcome.fail(f"{batch[0].filename!r} could not be removed: {error}")
            return []
    return [ending for one in batch for ending in _end(expired, [one], outcome)]


def _remove_batch(
    batch: AttachmentQuerySet, outcome: Outcome, dry_run: bool
) -> Removal:
    try:
        if dry_run:
            return foresee(batch)
        return in_transaction(
            batch.db, lambda: remove(batch, known=REPORTED, skip_locked=True)
        )
    except Exception as error:
        # A foreign key protects one, say. The others go one by one.
        keys = list(batch.values_list("pk", "filename"))
        if not keys:
            # The commit was done, but its answer got lost.
            outcome.fail(f"A removal was cut off: {_reason(error)}")
        if len(keys) == 1:
            outcome.fail(f"{keys[0][1]!r} could not be removed: {_reason(error)}")
            return Removal()
        together = Removal()
        for key, _ in keys:
            one = _remove_batch(batch.filter(pk=key), outcome, dry_run)
            together.attachments += one.attachments
            together.failures += one.failures
        return together


def _reason(error: Exception) -> object:
    # The other argument of these are all of the project's objects.
    if isinstance(error, ProtectedError | RestrictedError):
        return error.args[0]
    return error
