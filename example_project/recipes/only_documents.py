"""A validator that lets in only some types.

A validator takes the uploaded file and raises ValidationError. It may read the file,
but not close it. ``content_type`` is what was found out, not what the browser said. In
your settings::

    SESSION_ATTACHMENTS_VALIDATORS = ["yoursite.only_documents.only_documents"]

What libmagic recognizes as something else, be it a program, a picture or a text, does
not get past it by being called x.pdf. Random bytes of that name do: a validator that
must know more looks into the file.
"""

from django.core.exceptions import ValidationError

TYPES = {"application/pdf", "image/jpeg", "image/png"}


def only_documents(file):
    """Refuse what is of another type."""
    if file.content_type not in TYPES:
        raise ValidationError("Please send PDF, JPEG or PNG.")
