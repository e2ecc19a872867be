"""Models of a host that point at attachments in every way."""

from django.db import models


class Pointing(models.Model):
    """Base of what points at an attachment."""

    class Meta:
        abstract = True

    def __str__(self):
        return f"{type(self).__name__} {self.pk}"


class Letter(models.Model):
    """Keeps attachments for good."""

    def __str__(self):
        return f"Letter {self.pk}"


class Enclosure(models.Model):
    """One file of a letter."""

    letter = models.ForeignKey(
        Letter, on_delete=models.CASCADE, related_name="enclosures"
    )
    file = models.FileField(upload_to="letters")

    def __str__(self):
        return self.file.name


class Note(Pointing):
    """Goes with its attachment."""

    attachment = models.ForeignKey(
        "session_attachments.Attachment", on_delete=models.CASCADE
    )


class Scan(Pointing):
    """Outlives its attachment."""

    attachment = models.ForeignKey(
        "session_attachments.Attachment", null=True, on_delete=models.SET_NULL
    )


class Contract(Pointing):
    """Holds on to its attachment."""

    attachment = models.ForeignKey(
        "session_attachments.Attachment", on_delete=models.PROTECT
    )
