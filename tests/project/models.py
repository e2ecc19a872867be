"""Models of a project that point at attachments in every way."""

from django.db import models


class Letter(models.Model):
    """Keeps attachments for good."""


class Enclosure(models.Model):
    """One file of a letter."""

    letter = models.ForeignKey(
        Letter, on_delete=models.CASCADE, related_name="enclosures"
    )
    file = models.FileField(upload_to="letters")


class Note(models.Model):
    """Goes with its attachment."""

    attachment = models.ForeignKey(
        "session_attachments.Attachment", on_delete=models.CASCADE
    )


class Scan(models.Model):
    """Outlives its attachment."""

    attachment = models.ForeignKey(
        "session_attachments.Attachment", null=True, on_delete=models.SET_NULL
    )


class Contract(models.Model):
    """Holds on to its attachment."""

    attachment = models.ForeignKey(
        "session_attachments.Attachment", on_delete=models.PROTECT
    )
