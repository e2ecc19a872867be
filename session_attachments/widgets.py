"""The inputs of a form's attachments: rendered, and read from what was posted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.forms.renderers import DjangoTemplates, get_default_renderer
from django.forms.widgets import Script, Widget
from django.template import TemplateDoesNotExist
from django.template.defaultfilters import filesizeformat
from django.urls import NoReverseMatch, reverse
from django.utils.safestring import SafeString, mark_safe

from .conf import conf

# More digits than a page ever needs to say how many attachments it shows.
MAX_DIGITS = 6


@dataclass
class Posted:
    """What came from the inputs of a field; None for an input that did not come."""

    bundle_id: str | None
    ticked: set[str]
    files: list[UploadedFile[Any]]
    seen: int | None
    text: str = ""

    @property
    def is_cut_short(self) -> bool:
        """Whether the first input came, and the last one did not.

        Django drops what follows a cut without a word. And a <form> without an enctype
        sends the names of its files, as ``text``, without the files.
        """
        is_cut = self.bundle_id is not None and self.seen is None
        return is_cut or bool(self.text)


class AttachmentsWidget(Widget):
    """The attachments of a bundle, a box to remove each, and an input for more."""

    template_name = "session_attachments/attachments.html"
    needs_multipart_form = True
    use_fieldset = True

    class Media:
        css = {"all": ["session_attachments/attachments.css"]}
        js = [Script("session_attachments/attachments.js", type="module")]

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Posted:
        """Return what was posted for the field called ``name``."""
        bundle_id, seen = data.get(f"{name}-bundle"), data.get(f"{name}-seen")
        return Posted(
            bundle_id=None if bundle_id is None else str(bundle_id),
            ticked={str(key) for key in every(data, f"{name}-remove")},
            files=every(files, name),
            seen=None if seen is None else _number(str(seen)),
            text=str(data.get(name, "")),
        )

    def get_context(
        self, name: str, value: Any, attrs: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Return what the template shows of ``value``, the bound field.

        Numbers are text, so that no template engine localizes them.
        """
        context = super().get_context(name, None, attrs)
        widget, field, attachments = context["widget"], value.field, value.shown()
        max_files = _least(field.max_files, conf.max_bundle_files)
        max_size = _least(field.max_bytes, conf.max_file_size)
        attrs = widget["attrs"]
        if field.accept:
            attrs["accept"] = ",".join(field.accept)
        if attachments:
            attrs.pop("required", None)
        widget |= {
            "bundle_id": value.bundle_id,
            "url": _list_url(value.bundle_id),
            "attachments": [
                {
                    "pk": str(attachment.pk),
                    "name": attachment.filename,
                    "size": filesizeformat(attachment.size),
                    "url": attachment.get_absolute_url(),
                }
                for attachment in attachments
            ],
            "seen": str(len(attachments)),
            "max_files": "" if max_files is None else str(max_files),
            "max_size": "" if max_size is None else str(max_size),
            "max_size_text": filesizeformat(max_size or 0),
            "accept": ", ".join(field.accept),
            "is_new": value.is_new,
            "refusals": field.refusals("{name}", max_size, max_files),
        }
        widget["has_limits"] = bool(max_files or max_size or field.accept)
        if widget["has_limits"] and (id_ := attrs.get("id")):
            others = attrs.get("aria-describedby", "")
            attrs["aria-describedby"] = f"{others} {id_}_limits".strip()
        return context

    def render(
        self,
        name: str,
        value: Any,
        attrs: dict[str, Any] | None = None,
        renderer: Any = None,
    ) -> SafeString:
        """Return the HTML, by ``renderer`` if it has the template, else by Django's."""
        renderer = renderer or get_default_renderer()
        try:
            renderer.get_template(self.template_name)
        except TemplateDoesNotExist:
            renderer = _django_templates()
        context = self.get_context(name, value, attrs)
        html: str = renderer.render(self.template_name, context)
        return mark_safe(html)  # noqa: S308 - a template's


def every(values: Any, name: str) -> list[Any]:
    """Return all that ``values``, a MultiValueDict or a dict, has under ``name``."""
    if hasattr(values, "getlist"):
        return list(values.getlist(name))
    value = values.get(name, [])
    return list(value) if isinstance(value, list | tuple) else [value]


def _number(text: str) -> int:
    """Return the number that ``text`` is, or 0."""
    is_number = len(text) <= MAX_DIGITS and text.isascii() and text.isdigit()
    return int(text) if is_number else 0


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _list_url(bundle_id: str) -> str:
    """Return the URL of a bundle's list, or nothing where the project routes none."""
    try:
        kwargs = {"bundle_id": bundle_id or "__bundle__"}
        return reverse("bundle-attachments", kwargs=kwargs)
    except NoReverseMatch:
        return ""


@cache
def _django_templates() -> DjangoTemplates:
    return DjangoTemplates()
