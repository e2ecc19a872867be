"""Bring the rows of 0.2 to today's rules: NFC, size, type, one row for a name."""

import unicodedata
from functools import partial
from typing import Any

from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import ContentFile
from django.db import migrations, models, transaction

from session_attachments.files import content, storage

BATCH = 500
FIELDS = ["bundle", "filename", "size", "mimetype"]
KEY = ["session_id", "bundle", "filename"]
# What opening a file raises that is not there, or not below the storage.
GONE = (OSError, SuspiciousFileOperation)


def fill_rows(apps: Any, schema_editor: Any) -> None:
    """Give all rows their new values."""
    attachments = apps.get_model("session_attachments", "Attachment").objects.using(
        schema_editor.connection.alias
    )
    last = 0
    while rows := list(attachments.filter(pk__gt=last).order_by("pk")[:BATCH]):
        last = rows[-1].pk
        for row in rows:
            row.bundle = _nfc(row.bundle, 256)
            row.filename = _nfc(row.filename, 255)
            row.size, row.mimetype = _size_and_type(row)
        attachments.bulk_update(rows, FIELDS)


def merge_duplicates(apps: Any, schema_editor: Any) -> None:
    """Of rows of one name keep the newest whose file exists; drop the others' files."""
    alias = schema_editor.connection.alias
    attachments = apps.get_model("session_attachments", "Attachment").objects.using(
        alias
    )
    names = attachments.values(*KEY).annotate(rows=models.Count("pk"))
    for name in list(names.filter(rows__gt=1).order_by()):
        rows = attachments.filter(**{key: name[key] for key in KEY})
        kept, *others = sorted(rows, key=_worth, reverse=True)
        for row in others:
            row.delete()
            if row.file.name != kept.file.name:
                transaction.on_commit(
                    partial(storage.delete, row.file.name), using=alias, robust=True
                )


def _nfc(text: str, length: int) -> str:
    # A few characters grow under NFC. Where the column has no room, the text stays.
    normal = unicodedata.normalize("NFC", text)
    return normal if len(normal) <= length else text


def _size_and_type(row: Any) -> tuple[int, str]:
    stored = storage.attachment_storage()
    try:
        with stored.open(row.file.name) as file:
            return file.size, content.detect(file, row.filename)
    except GONE:
        # Or the storage is not mounted. The row stays until it is outdated.
        return 0, content.detect(ContentFile(b""), row.filename)


def _worth(row: Any) -> tuple[bool, Any, int]:
    try:
        # Not exists(): of a folder it says the same.
        storage.attachment_storage().open(row.file.name).close()
    except GONE:
        return False, row.created, row.pk
    return True, row.created, row.pk


class Migration(migrations.Migration):
    dependencies = [("session_attachments", "0002_todays_columns")]

    operations = [
        migrations.RunPython(fill_rows, migrations.RunPython.noop),
        migrations.RunPython(merge_duplicates, migrations.RunPython.noop),
    ]
