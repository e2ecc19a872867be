"""Attachments that go: their rows, and after the commit their files."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db import connections, models, transaction
from django.db.models import ProtectedError, RestrictedError
from django.db.models.deletion import Collector

from .exceptions import AttachmentProtected
from .files import storage
from .locks import Lock
from .signals import attachment_removed

# Rows of one statement: databases limit its parameters, and memory is bounded.
BATCH = 500

# What is known of each attachment that went: reading less takes less time.
KNOWN = ("pk", "file", "filename")


@dataclass
class Removal:
    """The attachments that went, or would go, and what became of their files.

    If somebody listens to ``attachment_removed``, it is sent, and they are instances;
    else they have what KNOWN names, or what was asked for. ``deleted`` counts the rows
    of each model, as Django's ``delete()`` does. ``failures`` are the attachments whose
    files stay, and why, once it is committed.
    """

    attachments: list[Any] = field(default_factory=list)
    deleted: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[Any, Exception]] = field(default_factory=list)
    is_heard: bool = False

    def finish(self) -> None:
        """Delete the files, after the commit, and send ``attachment_removed``."""
        names = [str(attachment.file) for attachment in self.attachments]
        failures = storage.delete_many(names)
        for name, attachment in zip(names, self.attachments, strict=True):
            if error := failures.get(name):
                self.failures.append((attachment, error))
            if self.is_heard:
                attachment_removed.send_robust(
                    sender=type(attachment), attachment=attachment
                )


def batches(
    rows: models.QuerySet[Any], keys: list[Any]
) -> Iterator[models.QuerySet[Any]]:
    """Yield those of ``rows`` that have these primary keys, BATCH at a time."""
    for start in range(0, len(keys), BATCH):
        yield rows.filter(pk__in=keys[start : start + BATCH])


def lockable(
    rows: models.QuerySet[Any], *, skip_locked: bool = False, locked: bool = False
) -> models.QuerySet[Any]:
    """Return ``rows`` as a queryset that locks them when it is read: see remove()."""
    features = connections[rows.db].features
    if not (locked or features.has_select_for_update):
        # SQLite locks the whole database, at the first write.
        Lock.take("", rows.db)
    skip_locked = skip_locked and features.has_select_for_update_skip_locked
    # In one order, so that two never wait for each other.
    return rows.order_by("pk").select_for_update(skip_locked=skip_locked)


def remove(
    rows: models.QuerySet[Any],
    *,
    known: tuple[str, ...] = KNOWN,
    skip_locked: bool = False,
    locked: bool = False,
) -> Removal:
    """Delete ``rows`` in the caller's transaction, and their files after its commit.

    ``known`` is what will be known of them: KNOWN, or more. ``locked`` says that the
    caller has taken a Lock. With ``skip_locked`` rows that another transaction works on
    are left out where the database can do that. Raises ProtectedError or
    RestrictedError if the project's models say so.
    """
    rows = lockable(rows, skip_locked=skip_locked, locked=locked)
    removal = Removal(is_heard=attachment_removed.has_listeners(rows.model))
    # Instances take a fifth of the time of a removal.
    removal.attachments = list(
        rows if removal.is_heard else rows.values_list(*known, named=True)
    )
    keys = [attachment.pk for attachment in removal.attachments]
    # Not a queryset of ours, whose delete() comes here.
    for batch in batches(rows.model._base_manager.using(rows.db), keys):
        removal.deleted.update(batch.delete()[1])
    if keys:
        transaction.on_commit(removal.finish, using=rows.db, robust=True)
    return removal


def remove_unprotected(rows: models.QuerySet[Any], *, locked: bool = False) -> Removal:
    """Delete ``rows`` as remove() does; raises AttachmentProtected if they stay."""
    try:
        return remove(rows, locked=locked)
    except (ProtectedError, RestrictedError) as error:
        raise AttachmentProtected from error


def foresee(rows: models.QuerySet[Any]) -> Removal:
    """Return what remove() would take away, and change nothing.

    Raises ProtectedError or RestrictedError as remove() would.
    """
    attachments = list(rows.order_by("pk"))
    Collector(using=rows.db, origin=rows).collect(attachments)
    return Removal(attachments)
