"""A form with attachments."""

from django import forms

from session_attachments.forms import AttachmentsField, AttachmentsFormMixin

from .models import Letter


class LetterForm(AttachmentsFormMixin, forms.ModelForm):
    """A letter, with as many files as the visitor likes."""

    attachments = AttachmentsField(required=False)

    class Meta:
        model = Letter
        fields = ("to", "subject", "body")
