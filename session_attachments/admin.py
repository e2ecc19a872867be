"""The admin: look, download, delete; nothing can be changed."""

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Max, QuerySet, Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.defaultfilters import filesizeformat
from django.urls import URLPattern, path, reverse
from django.utils.crypto import salted_hmac
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from .exceptions import AttachmentNotFound
from .models import Attachment, UnfinishedUpload

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin

# How many can be deleted at once: Django looks at, and logs, each one, which takes some
# seconds. Several times as many would outlast a server's timeout.
MOST = 10_000

# A type that is longer is shown without what most long ones begin with.
LONG_TYPE = len("application/octet-stream")

# Hex digits: enough for any number of sessions, and as many as a table shows.
FINGERPRINT = 16
SHOWN = 8


def fingerprint(session_id: str) -> str:
    """Return what tells sessions apart without saying which they are."""
    digest = salted_hmac(
        "session_attachments.admin", session_id, algorithm="sha256"
    ).hexdigest()
    return digest[:FINGERPRINT]


def sessions(beginning: str) -> list[str]:
    """Return the session keys whose fingerprints begin so.

    Looks through all keys, once each: 100,000 take about a second.
    """
    keys = Attachment.objects.order_by().values_list("session_id", flat=True).distinct()
    return [key for key in keys.iterator() if fingerprint(key).startswith(beginning)]


class AgeFilter(admin.SimpleListFilter):
    """Filter by what the command would take with a given ``--older-than``."""

    title = _("age")
    parameter_name = "older_than"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Offer some ages in days."""
        return [
            (
                str(days),
                ngettext("older than %d day", "older than %d days", days) % days,
            )
            for days in (1, 3, 7, 30)
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Filter by the age chosen; anything else than the ages offered filters not."""
        if self.value() not in {value for value, _title in self.lookup_choices}:
            return queryset
        older_than = timedelta(days=int(self.value() or 0))
        return queryset & Attachment.objects.outdated(older_than)


class SessionFilter(admin.SimpleListFilter):
    """Filter by a session's fingerprint, which each row links to."""

    title = _("session")
    parameter_name = "session"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Offer the session that is shown, if only one is."""
        if (value := request.GET.get(self.parameter_name)) is None:
            return []
        return [(value, value[:SHOWN])]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Filter by the session; one that is gone, or none, has no attachments.

        Who deletes the last one must not see, and select, everybody's instead.
        """
        value = self.value() or ""
        keys = sessions(value) if len(value) == FINGERPRINT else []
        return queryset.filter(session_id__in=keys)


class UnchangeableAdmin(ModelAdmin):
    """What is the same for all that visitors upload."""

    # An attachment's own URL is for the session that it belongs to.
    view_on_site = False

    @admin.display(description=_("size"), ordering="size")
    def human_size(self, row: Attachment | UnfinishedUpload) -> str:
        """Return the size, of an upload the announced one, in a readable unit."""
        return filesizeformat(row.size)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes."""
        return False


@admin.register(Attachment)
class AttachmentAdmin(UnchangeableAdmin):
    """Attachments, without the session keys: who reads one can take over a session."""

    list_display = ("name", "bundle", "short_type", "human_size", "created", "session")
    # The name leads to the download.
    list_display_links = ("created",)
    list_filter = (AgeFilter, SessionFilter, "mimetype")
    search_fields = ("filename", "bundle")
    search_help_text = _("Part of a name or a bundle, or a session as it is listed.")
    fields = ("name", "bundle", "mimetype", "human_size", "created", "session")
    ordering = ("-created", "-pk")

    class Media:
        css = {"all": ("session_attachments/admin.css",)}

    @admin.display(description=_("name"), ordering="filename")
    def name(self, attachment: Attachment) -> str:
        """Return the name, which links to the download."""
        url = reverse(
            f"{self.admin_site.name}:session_attachments_attachment_download",
            args=[attachment.pk],
        )
        return format_html('<a href="{}">{}</a>', url, attachment.filename or "-")

    @admin.display(description=_("type"), ordering="mimetype")
    def short_type(self, attachment: Attachment) -> str:
        """Return as much of the type as tells it from others."""
        short = mimetype = attachment.mimetype
        if len(mimetype) > LONG_TYPE:
            short = ".".join(mimetype.rpartition("/")[2].split(".")[-2:])
        # A narrow column breaks it here.
        pieces = ((piece,) for piece in re.split("(?<=[/.])", short))
        text = format_html_join("", "{}<wbr>", pieces)
        return format_html('<span title="{}">{}</span>', mimetype, text)

    @admin.display(description=_("session"))
    def session(self, attachment: Attachment) -> str:
        """Return the session's fingerprint, which links to its attachments."""
        url = reverse(
            f"{self.admin_site.name}:session_attachments_attachment_changelist"
        )
        digits = fingerprint(attachment.session_id)
        query = urlencode({SessionFilter.parameter_name: digits})
        return format_html('<a href="{}?{}">{}</a>', url, query, digits[:SHOWN])

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Refuse what would find out a session key, or a file, letter by letter."""
        if lookup.split("__")[0] in {"session_id", "file"}:
            return False
        return super().lookup_allowed(lookup, value, request)

    def get_queryset(self, request: HttpRequest) -> Any:
        """Leave out what was uploaded after a deletion was asked to be confirmed."""
        rows = super().get_queryset(request)
        if (newest := request.POST.get("newest")) is None:
            return rows
        is_key = re.fullmatch("[0-9]{1,18}", newest)
        return rows.filter(pk__lte=newest) if is_key else rows.none()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find a session by its fingerprint, too."""
        rows, duplicates = super().get_search_results(request, queryset, search_term)
        term = search_term.strip()
        if re.fullmatch(f"[0-9a-f]{{{SHOWN},{FINGERPRINT}}}", term):
            rows |= queryset.filter(session_id__in=sessions(term))
        return rows, duplicates

    def changelist_view(
        self, request: HttpRequest, extra_context: Any = None
    ) -> HttpResponse:
        """Add what all that is listed, or selected on all pages, takes together."""
        response = super().changelist_view(request, extra_context)
        context = getattr(response, "context_data", None) or {}
        if "cl" in context:
            context["subtitle"] = _total(context["cl"].queryset)
        elif request.POST.get("select_across") == "1" and "queryset" in context:
            # The confirmation of "delete_selected". A form of all keys would exceed
            # DATA_UPLOAD_MAX_NUMBER_FIELDS.
            rows = context["queryset"]
            context["subtitle"] = _total(rows)
            context["newest"] = rows.aggregate(newest=Max("pk"))["newest"]
        return response

    def response_action(
        self, request: HttpRequest, queryset: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Refuse to delete more than a request has time for."""
        if "delete_selected" in request.POST.getlist("action") and (
            request.POST.get("select_across") == "1" and queryset.count() > MOST
        ):
            message = _(
                "No more than %(limit)d attachments can be deleted at once. Filter the "
                "list, or let the command remove_outdated_attachments do it."
            )
            self.message_user(request, message % {"limit": MOST}, messages.ERROR)
            return None
        return super().response_action(request, queryset, *args, **kwargs)

    def get_urls(self) -> list[URLPattern]:
        """Add the download."""
        download = path(
            "<int:pk>/download/",
            self.admin_site.admin_view(self.download),
            name="session_attachments_attachment_download",
        )
        return [download, *super().get_urls()]

    def download(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """Send the attachment to staff with view permission."""
        # Not needed to start a project.
        from .web.downloads import attachment_response

        attachment = self.get_object(request, str(pk))
        if not self.has_view_permission(request, attachment):
            raise PermissionDenied
        if attachment is None:
            raise Http404
        try:
            return attachment_response(request, attachment)
        except AttachmentNotFound as error:
            raise Http404(str(error)) from error


@admin.register(UnfinishedUpload)
class UnfinishedUploadAdmin(UnchangeableAdmin):
    """Unfinished uploads, without what would continue them: only to be looked at."""

    list_display = ("filename", "bundle", "received", "human_size", "touched")
    fields = list_display
    ordering = ("-touched", "-pk")

    @admin.display(description=_("received"), ordering="offset")
    def received(self, upload: UnfinishedUpload) -> str:
        """Return how much has come, in a readable unit."""
        return filesizeformat(upload.offset)

    def get_queryset(self, request: HttpRequest) -> Any:
        """Leave out what has become an attachment, or has expired."""
        rows: Any = super().get_queryset(request)
        return rows.live().unfinished()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes: the command does, when they have expired."""
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Refuse all: they would find out keys letter by letter."""
        return False


def _total(rows: Any) -> str:
    """Return the number and the sizes of ``rows``, in one query."""
    total = rows.order_by().aggregate(files=Count("pk"), size=Sum("size", default=0))
    sentence = ngettext(
        "%(count)d attachment, %(size)s",
        "%(count)d attachments, %(size)s",
        total["files"],
    )
    return sentence % {"count": total["files"], "size": filesizeformat(total["size"])}
