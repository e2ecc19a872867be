"""Below HTTP: attachments put there by hand, a storage that interferes, threads."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.db import connection, connections
from django.utils import timezone

from session_attachments.files import storage
from session_attachments.models import Attachment, UnfinishedUpload

DAY = timedelta(days=1)
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)

# A folder of uploads that every run clears, and one of 0.2.
OLD = "session_attachments/2020-02-20"
DIGEST = "session_attachments/00112233445566778899aabbccddeeff"
DIGESTS = f"{DIGEST}/ffeeddccbbaa99887766554433221100"


class Names(list):
    """A ``report`` that remembers the names of what went."""

    def __call__(self, gone):
        self.append(gone.name)


def attach(filename="spam.txt", content=b"spam\n", *, age=timedelta(0), **fields):
    """Store an attachment of that age, in today's folder or as ``file``."""
    values = {
        "created": timezone.now() - age,
        "session_id": "key",
        "bundle": "foo",
        "filename": filename,
        "size": len(content),
        **fields,
    }
    if "file" in fields:
        storage.attachment_storage().save(fields["file"], ContentFile(content))
    else:
        values["file"] = storage.save(ContentFile(content))
    return Attachment.objects.create(**values)


def unfinished(*pieces, size=100, age=timedelta(0), **fields):
    """Begin an upload of which these ``pieces`` have come, the last one ``age`` ago."""
    values = {
        "upload_id": secrets.token_hex(16),
        "session_id": "key",
        "bundle": "foo",
        "filename": "spam.txt",
        "size": size,
        "offset": sum(map(len, pieces)),
        "piece_count": len(pieces),
        "metadata": "",
        "touched": timezone.now() - age,
        **fields,
    }
    upload = UnfinishedUpload.objects.create(**values)
    offset = 0
    for piece in pieces:
        file = storage.save(ContentFile(piece))
        upload.pieces.create(offset=offset, size=len(piece), file=file)
        offset += len(piece)
    return upload


def at_once(*works):
    """Return what ``works`` return, done in threads with connections of their own."""

    def run(work):
        try:
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def begin_deferred():
    """On SQLite, let this thread's transactions begin without a lock.

    That is Django's default, and the more difficult case.
    """
    connection.ensure_connection()
    connection.transaction_mode = "DEFERRED"


class Lost(Exception):
    """What a driver raises when a transaction lost against another one."""

    sqlstate = "40001"


def _watched(operation):
    def method(self, name, *args, **kwargs):
        self.watch(operation, name)
        return getattr(super(WatchedStorage, self), operation)(name, *args, **kwargs)

    return method


class WatchedStorage(FileSystemStorage):
    """Calls ``watch(operation, name)`` before each operation.

    To count, ``watch`` remembers its arguments; to fail, it raises; to be slow, it
    waits. A file that was written is a further operation, ``saved``.
    """

    def __init__(self, watch, **options):
        super().__init__(**options)
        self.watch = watch

    def _save(self, name, content):
        self.watch("save", name)
        name = super()._save(name, content)
        self.watch("saved", name)
        return name

    open = _watched("open")
    delete = _watched("delete")
    exists = _watched("exists")
    listdir = _watched("listdir")
    size = _watched("size")
    get_modified_time = _watched("get_modified_time")


class Calls(list):
    """A ``watch`` that remembers its calls, pairs of operation and name."""

    def __call__(self, operation, name):
        self.append((operation, name))

    def names(self, operation):
        """Return the names for which that operation was called."""
        return [name for called, name in self if called == operation]


def failing(operation, error, part=""):
    """Return a ``watch`` that raises ``error`` for names that contain ``part``."""

    def watch(called, name):
        if called == operation and part in name:
            raise error

    return watch


def store_in(settings, watch):
    """Let attachments be stored in a WatchedStorage, in the test's MEDIA_ROOT."""
    watched = {"BACKEND": "tests.storages.WatchedStorage", "OPTIONS": {"watch": watch}}
    settings.STORAGES = {**settings.STORAGES, "session_attachments": watched}
