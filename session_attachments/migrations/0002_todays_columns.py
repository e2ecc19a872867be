"""Today's columns; the rows get their values in the next migration."""

import django.utils.timezone
from django.db import migrations, models

import session_attachments.fields


class Migration(migrations.Migration):
    dependencies = [("session_attachments", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="Lock",
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
            ],
            options={"default_permissions": ()},
        ),
        migrations.AlterModelOptions(
            name="attachment",
            options={
                "verbose_name": "attachment",
                "verbose_name_plural": "attachments",
            },
        ),
        migrations.AlterField(
            model_name="attachment",
            name="id",
            field=models.BigAutoField(
                auto_created=True,
                primary_key=True,
                serialize=False,
                verbose_name="ID",
            ),
        ),
        migrations.AlterField(
            model_name="attachment",
            name="created",
            field=models.DateTimeField(
                default=django.utils.timezone.now,
                editable=False,
                verbose_name="uploaded",
            ),
        ),
        migrations.AlterField(
            model_name="attachment",
            name="session_id",
            field=session_attachments.fields.CodePointField(
                editable=False, max_length=40, verbose_name="session key"
            ),
        ),
        migrations.AlterField(
            model_name="attachment",
            name="bundle",
            field=session_attachments.fields.CodePointField(
                editable=False, max_length=256, verbose_name="bundle"
            ),
        ),
        migrations.AlterField(
            model_name="attachment",
            name="file",
            field=session_attachments.fields.StoredFileField(
                editable=False, max_length=1024, upload_to="", verbose_name="file"
            ),
        ),
        migrations.AlterField(
            model_name="attachment",
            name="filename",
            field=session_attachments.fields.CodePointField(
                editable=False, max_length=255, verbose_name="name"
            ),
        ),
        migrations.AddField(
            model_name="attachment",
            name="size",
            field=models.PositiveBigIntegerField(
                default=0, editable=False, verbose_name="size"
            ),
        ),
        migrations.AddField(
            model_name="attachment",
            name="mimetype",
            field=models.CharField(
                default="application/octet-stream",
                editable=False,
                max_length=255,
                verbose_name="type",
            ),
        ),
    ]
