"""Uploads that are not complete yet, and their pieces."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import session_attachments.fields


class Migration(migrations.Migration):
    dependencies = [
        ("session_attachments", "0004_one_row_for_a_name"),
    ]

    operations = [
        migrations.CreateModel(
            name="UnfinishedUpload",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "upload_id",
                    session_attachments.fields.CodePointField(
                        editable=False, max_length=32, unique=True
                    ),
                ),
                (
                    "session_id",
                    session_attachments.fields.CodePointField(
                        editable=False, max_length=40, verbose_name="session key"
                    ),
                ),
                (
                    "bundle",
                    session_attachments.fields.CodePointField(
                        editable=False, max_length=256, verbose_name="bundle"
                    ),
                ),
                (
                    "filename",
                    session_attachments.fields.CodePointField(
                        editable=False, max_length=255, verbose_name="name"
                    ),
                ),
                (
                    "size",
                    models.PositiveBigIntegerField(editable=False, verbose_name="size"),
                ),
                (
                    "offset",
                    models.PositiveBigIntegerField(
                        default=0, editable=False, verbose_name="received"
                    ),
                ),
                ("piece_count", models.PositiveIntegerField(default=0, editable=False)),
                ("metadata", models.TextField(editable=False)),
                (
                    "touched",
                    models.DateTimeField(
                        db_index=True,
                        default=django.utils.timezone.now,
                        editable=False,
                        verbose_name="last byte",
                    ),
                ),
                (
                    "stored",
                    models.CharField(default="", editable=False, max_length=1024),
                ),
            ],
            options={
                "verbose_name": "unfinished upload",
                "verbose_name_plural": "unfinished uploads",
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(
                        fields=["session_id"], name="session_attachments_upload"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Piece",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("offset", models.PositiveBigIntegerField()),
                ("size", models.PositiveBigIntegerField()),
                ("file", models.CharField(max_length=1024)),
                (
                    "upload",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="pieces",
                        to="session_attachments.unfinishedupload",
                    ),
                ),
            ],
            options={
                "default_permissions": (),
            },
        ),
    ]
