"""A form's attachments: what was posted is done, what is there is shown."""

from __future__ import annotations

import secrets
from copy import copy
from typing import Any

from django import forms
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.utils.datastructures import MultiValueDict

from .bundles import Bundle
from .exceptions import (
    AttachmentError,
    AttachmentsGone,
    BadBundle,
    IncompleteUpload,
    refuse_full_disk,
)
from .models import Attachment
from .widgets import Posted, every


class AttachmentsBoundField(forms.BoundField):
    """The field in a form: its bundle, what was posted for it, what the page shows.

    It is its own ``initial``, ``data`` and ``value()``, which Django hands to the field
    and to the widget: they need what the form knows.
    """

    field: Any
    initial = data = property(lambda self: self)

    def __init__(self, form: forms.BaseForm, field: Any, name: str) -> None:
        super().__init__(form, field, name)
        session = session_of(form)
        # What is posted for a disabled field does not count.
        source = ({}, {}) if field.disabled else (form.data, form.files)
        self.posted: Posted = field.widget.value_from_datadict(*source, self.html_name)
        initial = form.get_initial_for_field(field, name)
        self.bundle = Bundle(session, initial or self.posted.bundle_id)
        # What is in no page yet has nothing to be asked for.
        self.is_new = not self.bundle.is_valid
        if self.is_new:
            if initial:
                raise BadBundle
            self.bundle = Bundle(session, secrets.token_hex(16))
        self.is_received = False
        self.refused: list[ValidationError] = []

    @property
    def bundle_id(self) -> str:
        """Return the id for the page: the empty form of a formset has none yet."""
        return "" if "__prefix__" in self.html_name else self.bundle.bundle_id

    def shown(self) -> list[Attachment]:
        """Return what the page shows, by one query at most; changes no session."""
        if self.is_new or not self.bundle.has_session_key:
            return []
        return self.attachments()

    def attachments(self) -> list[Attachment]:
        """Return what the bundle has."""
        return [] if self.is_new else self.bundle.list(for_write=True)

    def receive(self) -> list[Attachment]:
        """Do what was posted, once; return what the bundle has then.

        What is ``refused`` stays in the form. All else is taken out of its files and
        data, which a wizard keeps and has cleaned again.
        """
        attachments = self.attachments()
        if self.is_received:
            return attachments
        self.is_received = True
        posted = self.posted
        if posted.is_cut_short:
            # The last key, or the last file, may have come in part.
            self._refuse(IncompleteUpload())
            return attachments
        removed = sum(self._remove(attachment) for attachment in attachments)
        expected = (posted.seen or 0) - len(posted.ticked)
        if len(attachments) - removed < expected:
            self._refuse(AttachmentsGone())
        stored = sum(self._store(file) for file in posted.files)
        if removed or stored:
            attachments = self.attachments()
        self._remember(len(attachments))
        return attachments

    def _remove(self, attachment: Attachment) -> bool:
        """Remove ``attachment`` if its box was ticked; return whether it is gone."""
        if str(attachment.pk) not in self.posted.ticked:
            return False
        try:
            self.bundle.narrowed_to([attachment]).clear()
        except AttachmentError as error:
            self._refuse(error, attachment.filename)
            return False
        return True

    def _store(self, file: Any) -> bool:
        """Store ``file`` and take it out of the form's; return whether it was."""
        try:
            with refuse_full_disk():
                self.bundle.add(file, check=self.field.check)
        except AttachmentError as error:
            self._refuse(error, file.name)
            return False
        self.is_new = False
        # The request closes only those that it still has.
        file.close()
        files, name = self.form.files, self.html_name
        left = [other for other in every(files, name) if other is not file]
        if not left:
            del files[name]
        elif isinstance(files, MultiValueDict):
            files.setlist(name, left)
        else:
            files[name] = left
        return True

    def _remember(self, seen: int) -> None:
        """Put into the form's data what a page would say now that shows ``seen``."""
        # A copy: those of a request cannot be changed.
        data: Any = copy(self.form.data)
        data[f"{self.html_name}-bundle"] = self.bundle.bundle_id
        data[f"{self.html_name}-seen"] = str(seen)
        data.pop(f"{self.html_name}-remove", None)
        self.form.data = data

    def _refuse(self, error: AttachmentError, name: str = "") -> None:
        self.refused.append(validation_error(error, name))


def session_of(form: object) -> SessionBase:
    """Return the session of ``form``; raises ImproperlyConfigured if it has none."""
    session: SessionBase | None = getattr(form, "session", None)
    if session is None:
        name = type(form).__name__
        raise ImproperlyConfigured(
            f"{name} has an AttachmentsField and no session. Let it inherit from "
            f"AttachmentsFormMixin, and write {name}(..., session=request.session)."
        )
    return session


def validation_error(error: AttachmentError, name: str = "") -> ValidationError:
    """Return ``error`` as one of a form; its sentence names the file ``name``."""
    sentence = str(error)
    if name and "%(name)s" not in str(error.detail):
        sentence = f"{name}: {sentence}"
    return ValidationError(sentence, code=error.code)
