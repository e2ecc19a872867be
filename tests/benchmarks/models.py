"""The floor's table: the columns of the app's, as plain as they can be."""

from django.db import models


class Attachment(models.Model):
    """One stored file."""

    created = models.DateTimeField()
    session_id = models.CharField(max_length=40)
    bundle = models.CharField(max_length=256)
    file = models.CharField(max_length=1024)
    filename = models.CharField(max_length=255)
    size = models.PositiveBigIntegerField()
    mimetype = models.CharField(max_length=255)

    class Meta:
        app_label = "benchmarks"
        constraints = (
            models.UniqueConstraint(
                fields=["session_id", "bundle", "filename"], name="benchmarks_unique"
            ),
        )
