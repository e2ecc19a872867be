"""The table of attachments, and the verbs on its rows.

A row is never changed: a replacement is a new row, and the old one goes. So whoever
holds a row's primary key (a host's foreign key, the command between its look and its
deletion) holds that very version of the attachment.
"""

import zlib
from collections.abc import Iterable
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol, Self

from django.db import connections, models, router, transaction
from django.db.models.deletion import Collector, get_candidate_relations_to_delete
from django.db.models.signals import post_delete, pre_delete
from django.db.models.sql import DeleteQuery
from django.dispatch import receiver
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from . import storage
from .fields import CodePointField, StoredFileField
from .signals import attachment_removed, attachment_stored

# SQLite's transaction modes that lock the whole database at once.
LOCKING = {"IMMEDIATE", "EXCLUSIVE"}


def cutoff(older_than: timedelta) -> datetime:
    """Return the time that lies ``older_than`` back.

    Raises ValueError if ``older_than`` is negative or leaves the calendar.
    """
    if older_than < timedelta(0):
        raise ValueError("the age must not be negative")
    try:
        # A day more, for what databases convert to another time zone.
        return timezone.now() - timedelta(days=1) - older_than + timedelta(days=1)
    except OverflowError as error:
        raise ValueError("the age leaves the calendar") from error


class Removed(Protocol):
    """What is known of an attachment that went, or goes."""

    pk: Any
    file: Any
    bundle: str
    filename: str
    size: int
    created: datetime


@dataclass
class Removal:
    """What a removal took away; ``failures`` are known once it is committed.

    The attachments are whole if somebody listens to ``attachment_removed``.
    """

    attachments: list[Removed] = field(default_factory=list)
    failures: list[tuple[Removed, Exception]] = field(default_factory=list)

    def finish(self) -> None:
        """Delete the files, after commit; tell the host."""
        names = [str(attachment.file) for attachment in self.attachments]
        failures = storage.delete_many(names)
        for name, attachment in zip(names, self.attachments, strict=True):
            if error := failures.get(name):
                self.failures.append((attachment, error))
            if isinstance(attachment, Attachment):
                attachment_removed.send_robust(sender=Attachment, attachment=attachment)


class Listed(Protocol):
    """What a list shows of an attachment."""

    mimetype: str
    size: int
    filename: str
    created: datetime


class AttachmentQuerySet(models.QuerySet["Attachment"]):
    """The domain's verbs and filters."""

    def in_session(self, session_id: str) -> Self:
        """Filter: filed under this session key."""
        return self.filter(session_id=session_id)

    def outdated(self, older_than: timedelta) -> Self:
        """Filter: uploaded longer ago than that.

        Raises ValueError if ``older_than`` is negative or leaves the calendar.
        """
        return self.filter(created__lt=cutoff(older_than))

    def for_write(self) -> Self:
        """Use the database to which the host's router sends writes."""
        return self.using(router.db_for_write(self.model))

    def listed(self) -> Iterable[Listed]:
        """Return what a list shows of each row, without more of the rows."""
        return self.values_list("mimetype", "size", "filename", "created", named=True)

    def briefly(self) -> Any:
        """Return of each row what Removed has, and no more of it."""
        return self.values_list(
            "pk", "file", "bundle", "filename", "size", "created", named=True
        )

    def total_size(self) -> int:
        """Return the sum of the sizes in bytes."""
        return int(self.aggregate(total=models.Sum("size", default=0))["total"])

    def totals(self, bundle: str) -> dict[str, int]:
        """Return the bytes of all rows and the bytes and number of those in a bundle.

        The keys are ``session_size``, ``bundle_size`` and ``files``.
        """
        inside = models.Q(bundle=bundle)
        return self.aggregate(
            session_size=models.Sum("size", default=0),
            bundle_size=models.Sum("size", filter=inside, default=0),
            files=models.Count("pk", filter=inside),
        )

    def store(self, attachments: list["Attachment"]) -> list["Attachment"]:
        """Insert copies of ``attachments`` and return them; tell the host after commit.

        The originals stay as they are, to be stored again if the transaction is.
        """
        stored = [copy(attachment) for attachment in attachments]
        if connections[self.db].features.can_return_rows_from_bulk_insert:
            self.bulk_create(stored)
        else:
            # MySQL, unlike MariaDB, tells the key of a single row only.
            for attachment in stored:
                attachment.save(using=self.db, force_insert=True)
        for attachment in stored:
            transaction.on_commit(
                partial(
                    attachment_stored.send_robust,
                    sender=Attachment,
                    attachment=attachment,
                ),
                using=self.db,
                robust=True,
            )
        return stored

    def remove(self, *, skip_locked: bool = False, locked: bool = False) -> Removal:
        """Delete these rows, in the caller's transaction, and their files after it.

        ``locked`` says that the caller has taken a Lock. With ``skip_locked`` rows
        that another transaction works on are left out where the database can do
        that. Raises ProtectedError or RestrictedError if the host's models say so;
        nothing is deleted then.
        """
        removal = Removal()
        if not (locked or connections[self.db].features.has_select_for_update):
            # SQLite locks the whole database, at the first write.
            Lock.take("", self.db)
        rows = self._locked(skip_locked)
        if _stands_alone():
            removal.attachments = list(rows.briefly())
            keys = [attachment.pk for attachment in removal.attachments]
            DeleteQuery(Attachment).delete_batch(keys, self.db)
        else:
            rows._delete_with_dependents(removal)
        if removal.attachments:
            transaction.on_commit(removal.finish, using=self.db, robust=True)
        return removal

    def foresee(self) -> Removal:
        """Return what remove() would take away, and change nothing.

        Raises ProtectedError or RestrictedError as remove() would.
        """
        rows = self.order_by("pk")
        if _stands_alone():
            return Removal(list(rows.briefly()))
        attachments = list(rows)
        rows._collect(attachments)
        return Removal([*attachments])

    def _delete_with_dependents(self, removal: Removal) -> None:
        attachments = list(self)
        for attachment in attachments:
            attachment.removal = removal
        self._collect(attachments).delete()

    def _collect(self, attachments: list["Attachment"]) -> Collector:
        # Not self.delete(): that loads the rows once more, without their removal.
        collector = Collector(using=self.db, origin=self)
        collector.collect(attachments)
        return collector

    def _locked(self, skip_locked: bool) -> Self:
        features = connections[self.db].features
        # In one order, so that two never wait for each other.
        return self.order_by("pk").select_for_update(
            skip_locked=skip_locked and features.has_select_for_update_skip_locked
        )


def _stands_alone() -> bool:
    """Whether rows may go in one statement: nothing of the host's depends on them."""
    options: Any = Attachment._meta
    receivers = [
        receiver
        for signal in (pre_delete, post_delete)
        for kind in signal._live_receivers(Attachment)
        for receiver in kind
    ]
    relations = [*get_candidate_relations_to_delete(options), *options.private_fields]
    return receivers == [load_deferred, finish_removal] and not (
        relations or attachment_removed.has_listeners(Attachment)
    )


class Attachment(models.Model):
    """One stored file of a session's bundle."""

    created = models.DateTimeField(_("uploaded"), default=timezone.now, editable=False)
    session_id = CodePointField(_("session key"), max_length=40, editable=False)
    bundle = CodePointField(_("bundle"), max_length=256, editable=False)
    file = StoredFileField(_("file"), max_length=1024, editable=False)
    filename = CodePointField(_("name"), max_length=255, editable=False)
    size = models.PositiveBigIntegerField(_("size"), default=0, editable=False)
    mimetype = models.CharField(
        _("type"),
        max_length=255,
        default="application/octet-stream",
        editable=False,
    )

    objects = AttachmentQuerySet.as_manager()

    #: The removal that this row is part of, while QuerySet.remove() is at work.
    removal: Removal | None = None

    # Tells django-cleanup that this model takes care of its files itself.
    _attachment__session_attachments_cleanup_ignore = True

    class Meta:
        verbose_name = _("attachment")
        verbose_name_plural = _("attachments")
        constraints = (
            models.UniqueConstraint(
                fields=["session_id", "bundle", "filename"],
                name="session_attachments_unique",
            ),
        )

    def __str__(self) -> str:
        return str(self.filename)

    def get_absolute_url(self) -> str:
        """Return the URL at which the attachment's own session downloads it.

        Empty where there is none: the project does not include the URLs, or names of
        0.2 do not fit into them (a slash, nothing, or dots, which clients take for
        folders: RFC 3986, 5.2.4).
        """
        names = {"bundle_id": self.bundle, "file_name": self.filename}
        if {".", ".."} & {*names.values()}:
            return ""
        try:
            return reverse("get-filename-attachment", kwargs=names)
        except NoReverseMatch:
            return ""


class Lock(models.Model):
    """What the uploads of a session wait for in the moment of their commit.

    An empty bundle has no row to lock, and the session may live in Redis. Each
    session uses one of 256 rows, made when it is first needed; two sessions that share
    one wait a moment for each other.
    """

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.pk)

    @staticmethod
    def take(session_id: str, using: str) -> None:
        """Hold the session's lock until the transaction ends."""
        # SQLite may be locked from the transaction's beginning on.
        if getattr(connections[using], "transaction_mode", None) in LOCKING:
            return
        pk = zlib.crc32(session_id.encode()) % 256 + 1
        rows = Lock.objects.using(using)
        # An update locks the row on every database, and SQLite as a whole.
        if not rows.filter(pk=pk).update(id=pk):
            rows.bulk_create([Lock(pk=pk)], ignore_conflicts=True)
            rows.filter(pk=pk).update(id=pk)


@receiver(pre_delete, sender=Attachment)
def load_deferred(instance: Attachment, using: str, **kwargs: object) -> None:
    """Load what a host's ``only()`` left out: later there is no row to load from."""
    if deferred := instance.get_deferred_fields():
        # Another transaction may have been faster.
        with suppress(Attachment.DoesNotExist):
            instance.refresh_from_db(using=using, fields=deferred)


@receiver(post_delete, sender=Attachment)
def finish_removal(instance: Attachment, using: str, **kwargs: object) -> None:
    """Take the file away after commit, whichever way its row goes."""
    removal = instance.removal
    if removal is None:
        removal = Removal()
        transaction.on_commit(removal.finish, using=using, robust=True)
    # Django takes the primary key from the instance when all is deleted; a copy keeps
    # it for the host's receivers.
    gone = copy(instance)
    # Else the two would keep each other in memory.
    gone.removal = None
    removal.attachments.append(gone)
