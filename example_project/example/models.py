"""What is kept of a letter that was sent."""

from django.core.mail import EmailMessage
from django.db import models
from django.urls import reverse


class Letter(models.Model):
    """A letter that was sent."""

    to = models.EmailField()
    subject = models.CharField(max_length=200)
    body = models.TextField(blank=True)
    sent = models.DateTimeField(auto_now_add=True)

    def __str__(self):
        return self.subject

    def get_absolute_url(self):
        """Return the URL of the page that shows it."""
        return reverse("letter", args=[self.pk])

    def send(self):
        """Send it as an e-mail; a file arrives byte by byte as it was uploaded."""
        message = EmailMessage(self.subject, self.body, to=[self.to])
        for enclosure in self.enclosures.all():
            with enclosure.file.open() as file:
                # Text of another type would be encoded anew.
                message.attach(enclosure.name, file.read(), "application/octet-stream")
        message.send()


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
