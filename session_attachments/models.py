"""The table of attachments, and filters with names.

A row is never changed: a replacement is a new row, and the old one goes. So whoever
holds a row's primary key (a project's foreign key, the command between its look and its
deletion) holds that very version of the attachment.
"""

from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from copy import copy
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Self, TypeVar

from django.db import connections, models, router, transaction
from django.db.models.fields.files import FieldFile
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .fields import CodePointField, StoredFileField
from .files.streams import NamedFile
from .keeping import keep, open_file
from .locks import Lock
from .removal import batches, remove
from .signals import attachment_stored
from .transactions import in_transaction

__all__ = ["Attachment", "AttachmentQuerySet", "Lock", "Piece", "UnfinishedUpload"]

Row = TypeVar("Row", bound=models.Model)

# After its last byte; and after its end, of which it then knows no more.
LIFETIME = timedelta(hours=24)


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


class SessionQuerySet(models.QuerySet[Row]):
    """Filters for what has a session, a bundle and a size."""

    def in_session(self, session_id: str) -> Self:
        """Filter: filed under this session key."""
        return self.filter(session_id=session_id)

    def for_write(self) -> Self:
        """Use the database to which the project's router sends writes."""
        return self.using(router.db_for_write(self.model))

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


class AttachmentQuerySet(SessionQuerySet["Attachment"]):
    """Filters with names; delete() takes the files along."""

    def outdated(self, older_than: timedelta) -> Self:
        """Filter: uploaded longer ago than that.

        Raises ValueError if ``older_than`` is negative or leaves the calendar.
        """
        return self.filter(created__lt=cutoff(older_than))

    def summaries(self) -> Iterable[Any]:
        """Return what a list shows of each row, and no more of the rows."""
        return self.values_list("mimetype", "size", "filename", "created", named=True)

    def store(self, attachments: list["Attachment"]) -> list["Attachment"]:
        """Insert copies of ``attachments`` and return them.

        ``attachment_stored`` is sent after the commit. The originals stay as they are,
        to be stored again if the transaction is.
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

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the rows, and their files after the commit; return what Django does.

        Raises ProtectedError or RestrictedError if the project's models say so.
        """
        # With no rows, so that Django refuses what it always does: slices, values() ...
        super(AttachmentQuerySet, self.none()).delete()
        # The database for writes, where the project's router knows one.
        using = self.select_for_update().db
        # What is distinct or grouped cannot be locked: which ones first, then these.
        keys = list(self.using(using).order_by().values_list("pk", flat=True))

        def work() -> Counter[str]:
            deleted: Counter[str] = Counter()
            for batch in batches(Attachment.objects.using(using), keys):
                deleted.update(remove(batch).deleted)
            return deleted

        deleted = in_transaction(using, work)
        # Used again, it reads anew.
        vars(self).update(vars(self.all()))
        return deleted.total(), dict(deleted)

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]


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

    # Of the take() that hands it out.
    undo_keeping: ExitStack | None = None

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

    def keep(self, field_file: FieldFile) -> str:
        """Store the file for good as ``field_file``, a FileField's; return its name.

        By that field's own ``upload_to`` and storage; the instance is not saved. What
        is kept inside a ``Bundle.take()`` is deleted again if that ends by an error.
        Raises AttachmentNotFound, with the name, if the file is gone.
        """
        return keep(self, field_file)

    def open(self) -> NamedFile:
        """Return the file, open, with its ``name``, ``size`` and ``content_type``.

        Raises AttachmentNotFound, with the name, if the file is gone.
        """
        return open_file(self)

    def delete(
        self, using: str | None = None, keep_parents: bool = False
    ) -> tuple[int, dict[str, int]]:
        """Delete the row, and its file after the commit; return what Django does.

        With ``keep_parents`` a model that inherits from this one loses its row only.
        """
        if self.pk is None or keep_parents:
            return super().delete(using, keep_parents)
        using = using or router.db_for_write(type(self), instance=self)
        deleted = Attachment.objects.using(using).filter(pk=self.pk).delete()
        self.pk = None
        return deleted


class UnfinishedUploadQuerySet(SessionQuerySet["UnfinishedUpload"]):
    """Filters with names."""

    def live(self) -> Self:
        """Filter: not expired."""
        return self.filter(touched__gte=timezone.now() - LIFETIME)

    def expired(self) -> Self:
        """Filter: of no more use to anybody."""
        return self.filter(touched__lt=timezone.now() - LIFETIME)

    def unfinished(self) -> Self:
        """Filter: has not become an attachment."""
        return self.filter(stored="")


class UnfinishedUpload(models.Model):
    """A file that comes in pieces, and for a while the memory of what it became."""

    upload_id = CodePointField(max_length=32, unique=True, editable=False)
    session_id = CodePointField(_("session key"), max_length=40, editable=False)
    bundle = CodePointField(_("bundle"), max_length=256, editable=False)
    filename = CodePointField(_("name"), max_length=255, editable=False)
    size = models.PositiveBigIntegerField(_("size"), editable=False)
    # Bytes that have come, and the number of pieces that they came in.
    offset = models.PositiveBigIntegerField(_("received"), default=0, editable=False)
    piece_count = models.PositiveIntegerField(default=0, editable=False)
    # As the client wrote it, who gets it back.
    metadata = models.TextField(editable=False)
    touched = models.DateTimeField(
        _("last byte"), default=timezone.now, db_index=True, editable=False
    )
    # The stored name of the attachment that it became. Not a foreign key: that would
    # slow down every removal.
    stored = models.CharField(max_length=1024, default="", editable=False)

    objects = UnfinishedUploadQuerySet.as_manager()

    class Meta:
        verbose_name = _("unfinished upload")
        verbose_name_plural = _("unfinished uploads")
        default_permissions = ("view",)
        indexes = (
            models.Index(fields=["session_id"], name="session_attachments_upload"),
        )

    def __str__(self) -> str:
        return str(self.filename)

    @property
    def expires(self) -> datetime:
        """When it ends, if no more comes."""
        return self.touched + LIFETIME

    def attachments(self) -> AttachmentQuerySet:
        """Return the attachment that it became, as long as that is there."""
        rows: AttachmentQuerySet = Attachment.objects.using(self._state.db)
        return rows.in_session(self.session_id).filter(
            bundle=self.bundle, filename=self.filename, file=self.stored
        )


class Piece(models.Model):
    """A part of an unfinished upload, in a stored file of its own."""

    upload = models.ForeignKey(UnfinishedUpload, models.CASCADE, related_name="pieces")
    offset = models.PositiveBigIntegerField()
    size = models.PositiveBigIntegerField()
    # Not a FileField, whose files others may care for, such as django-cleanup.
    file = models.CharField(max_length=1024)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.file
