"""The table as 0.2 made it: ``migrate --fake-initial`` takes an existing one over."""

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Attachment",
            fields=[
                (
                    "id",
                    models.AutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("created", models.DateTimeField(auto_now_add=True)),
                ("session_id", models.CharField(max_length=40)),
                ("bundle", models.CharField(max_length=256)),
                ("file", models.FileField(max_length=1024, upload_to="")),
                ("filename", models.CharField(editable=False, max_length=100)),
            ],
        ),
    ]
