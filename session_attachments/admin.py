"""The admin: look, download, delete; nothing can be changed."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.template.defaultfilters import filesizeformat
from django.urls import URLPattern, path, reverse
from django.utils.crypto import salted_hmac
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from .downloads import attachment_response
from .exceptions import AttachmentNotFound
from .models import Attachment

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Attachment]
else:
    ModelAdmin = admin.ModelAdmin


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


@admin.register(Attachment)
class AttachmentAdmin(ModelAdmin):
    """Attachments, without the session keys: who reads one can take over a session."""

    list_display = (
        "filename",
        "bundle",
        "mimetype",
        "human_size",
        "created",
        "fingerprint",
        "download_link",
    )
    list_filter = (AgeFilter, "mimetype")
    search_fields = ("filename", "bundle")
    fields = list_display
    ordering = ("-created", "-pk")

    @admin.display(description=_("size"), ordering="size")
    def human_size(self, attachment: Attachment) -> str:
        """Return the size in a readable unit."""
        return filesizeformat(attachment.size)

    @admin.display(description=_("session"))
    def fingerprint(self, attachment: Attachment) -> str:
        """Return what tells sessions apart without saying which they are."""
        digest = salted_hmac(
            "session_attachments.admin", attachment.session_id, algorithm="sha256"
        )
        return digest.hexdigest()[:8]

    @admin.display(description=_("file"))
    def download_link(self, attachment: Attachment) -> str:
        """Return a link to the download."""
        url = reverse(
            f"{self.admin_site.name}:session_attachments_attachment_download",
            args=[attachment.pk],
        )
        return format_html('<a href="{}">{}</a>', url, _("Download"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes."""
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Refuse what would find out a session key, or a file, letter by letter."""
        if lookup.split("__")[0] in {"session_id", "file"}:
            return False
        return super().lookup_allowed(lookup, value, request)

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
        attachment = self.get_object(request, str(pk))
        if not self.has_view_permission(request, attachment):
            raise PermissionDenied
        if attachment is None:
            raise Http404
        try:
            return attachment_response(request, attachment)
        except AttachmentNotFound as error:
            raise Http404(str(error)) from error
