"""What is kept of a letter that was sent."""

import logging

from django.core.mail import EmailMessage
from django.core.validators import RegexValidator
from django.db import models
from django.urls import reverse
from django.utils import timezone

logger = logging.getLogger(__name__)


class Letter(models.Model):
    """A letter that was sent, or is to be sent again: then ``sent`` is None."""

    to = models.EmailField()
    subject = models.CharField(max_length=200, validators=[RegexValidator(r"\A.*\Z")])
    body = models.TextField(blank=True)
    sent = models.DateTimeField(null=True, editable=False)

    def __str__(self):
        return self.subject

    def get_absolute_url(self):
        """Return the URL of the page that shows it."""
        return reverse("letter", args=[self.pk])

    def send(self):
        """Try to send it; a file arrives byte by byte as it was uploaded."""
        message = EmailMessage(self.subject, self.body, to=[self.to])
        for enclosure in self.enclosures.all():
            with enclosure.file.open() as file:
                # Text of another type would be encoded anew.
                message.attach(enclosure.name, file.read(), "application/octet-stream")
        try:
            message.send()
        except Exception as error:
            # Whatever it is, the letter is kept, and can be sent again.
            logger.error("The letter %s could not be sent: %s", self.pk, error)
        else:
            self.sent = timezone.now()
            self.save()


class Enclosure(models.Model):
    """A file of a letter, kept for good."""

    letter = models.ForeignKey(
        Letter, on_delete=models.CASCADE, related_name="enclosures"
    )
    name = models.CharField(max_length=255)
    file = models.FileField(upload_to="letters/%Y/%m/", max_length=300)

    class Meta:
        ordering = ("name",)

    def __str__(self):
        return self.name
