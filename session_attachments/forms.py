"""A form's field for attachments, which survive a form that fails."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from django import forms
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.utils.translation import gettext_lazy as _

from .boundfields import AttachmentsBoundField, session_of, validation_error
from .bundles import Bundle
from .conf import MEGABYTE, count, megabytes
from .exceptions import (
    AttachmentError,
    FileTooLarge,
    Invalid,
    TooManyFiles,
)
from .models import Attachment
from .widgets import AttachmentsWidget

__all__ = ["AttachmentsField", "AttachmentsFormMixin", "AttachmentsWidget"]


class AttachmentsField(forms.Field):
    """A field whose value is a Bundle, narrowed to the attachments that were cleaned.

    ``max_files``, ``max_size`` (MB, of each file) and ``accept`` narrow the app's
    limits for this form; an entry of ``accept`` is the end of a name (".pdf") or a
    type ("image/*"). Raises ImproperlyConfigured if one of them, or ``widget``, cannot
    be used.
    """

    widget = AttachmentsWidget
    default_error_messages = {
        TooManyFiles.code: _(
            "No more than %(limit)s files are allowed. Please remove some."
        ),
    }

    def __init__(
        self,
        *,
        max_files: int | None = None,
        max_size: float | None = None,
        accept: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(accept, str) or not all(
            entry.startswith(".") or "/" in entry for entry in accept
        ):
            raise ImproperlyConfigured(
                f'accept must be a list such as [".pdf", "image/*"], not {accept!r}.'
            )
        made: object = self.widget
        if not isinstance(made, AttachmentsWidget):
            raise ImproperlyConfigured(
                f"widget must be an AttachmentsWidget, not {made!r}."
            )
        self.max_files = count("max_files", max_files)
        self.max_size = megabytes("max_size", max_size)
        self.accept = accept

    @property
    def max_bytes(self) -> int | None:
        """``max_size`` in bytes."""
        return None if self.max_size is None else int(self.max_size * MEGABYTE)

    def get_bound_field(
        self, form: forms.BaseForm, field_name: str
    ) -> AttachmentsBoundField:
        """Return the field in ``form``; raises ImproperlyConfigured without session."""
        return AttachmentsBoundField(form, self, field_name)

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Whether files are posted, boxes ticked, some attachments seen or there.

        They are there, and were not seen, when a wizard cleans a formset again.
        """
        posted = data.posted
        return bool(posted.files or posted.ticked or posted.seen or data.shown())

    def clean(self, value: AttachmentsBoundField) -> Bundle:
        """Do what was posted; return the bundle, narrowed to what it has now.

        Raises a ValidationError with all that is refused, by the app's codes.
        """
        attachments = value.receive()
        errors = [*value.refused]
        for attachment in attachments:
            try:
                self.check(attachment)
            except AttachmentError as error:
                errors.append(validation_error(error))
        if self.max_files is not None and len(attachments) > self.max_files:
            message, code = self.error_messages[TooManyFiles.code], TooManyFiles.code
            errors.append(ValidationError(message, code, {"limit": self.max_files}))
        if errors:
            raise ValidationError(errors)
        self.validate(attachments)
        bundle = value.bundle.narrowed_to(attachments)
        self.run_validators(bundle)
        return bundle

    def check(self, attachment: Attachment) -> None:
        """Raise the AttachmentError that says why the field does not take it."""
        name, limit = attachment.filename, self.max_bytes
        if limit is not None and attachment.size > limit:
            raise FileTooLarge(name=name, limit=limit)
        if self.accept and not any(_fits(attachment, entry) for entry in self.accept):
            raise self._not_accepted(name)

    def _not_accepted(self, name: str) -> Invalid:
        allowed = _("Allowed: %(types)s.") % {"types": ", ".join(self.accept)}
        return Invalid(name=name, message=allowed)

    def refusals(
        self, name: str, max_size: int | None, max_files: int | None
    ) -> dict[str, str]:
        """Return, by codes, what a page says before it sends a file called ``name``."""
        too_many = self.error_messages[TooManyFiles.code] % {"limit": max_files}
        return {
            FileTooLarge.code: str(FileTooLarge(name=name, limit=max_size)),
            Invalid.code: str(self._not_accepted(name)),
            TooManyFiles.code: str(too_many),
        }


class AttachmentsFormMixin:
    """For forms with an AttachmentsField: takes the ``session`` as a keyword.

    It may also be an attribute of the class, for those whose forms Django makes.
    """

    session: SessionBase | None = None
    fields: dict[str, forms.Field]

    def __init__(
        self, *args: Any, session: SessionBase | None = None, **kwargs: Any
    ) -> None:
        if session is not None:
            self.session = session
        super().__init__(*args, **kwargs)
        if any(isinstance(field, AttachmentsField) for field in self.fields.values()):
            session_of(self)


def _fits(attachment: Attachment, entry: str) -> bool:
    """Whether ``entry`` is the end of the attachment's name, or its type."""
    entry = entry.lower()
    if entry.startswith("."):
        return str(attachment.filename).lower().endswith(entry)
    return fnmatchcase(str(attachment.mimetype), entry)
