"""One row for a name in a session's bundle."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("session_attachments", "0003_rows_of_02")]

    operations = [
        migrations.AddConstraint(
            model_name="attachment",
            constraint=models.UniqueConstraint(
                fields=("session_id", "bundle", "filename"),
                name="session_attachments_unique",
            ),
        ),
    ]
