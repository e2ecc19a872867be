"""A page for one bundle that needs no JavaScript, on top of the Python API."""

import secrets

from django.contrib import messages
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from session_attachments.bundles import Bundle
from session_attachments.exceptions import AttachmentError


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def page(request):
    """Show the bundle that the URL names, or change it and come back.

    Without one in the URL it is a new one, so that two tabs can write two drafts.
    """
    bundle = Bundle(request.session, request.GET.get("bundle") or secrets.token_hex(4))
    if request.method == "POST":
        try:
            messages.success(request, change(bundle, request))
        except AttachmentError as error:
            messages.error(request, str(error))
    elif request.GET.get("bundle"):
        # Two tabs that send their first upload at the same time share one session.
        bundle.start_session()
        attachments = bundle.list()
        context = {"bundle_id": bundle.bundle_id, "attachments": attachments}
        return render(request, "page.html", context)
    return redirect(reverse("page", query={"bundle": bundle.bundle_id}))


def change(bundle, request):
    """Do what the button that was pressed says; return a sentence about it."""
    if "clear" in request.POST:
        return f"Deleted attachments: {bundle.clear()}"
    if "remove" in request.POST:
        name = request.POST["remove"]
        return f"Deleted: {name}" if bundle.remove(name) else f"Already gone: {name}"
    stored = bundle.add(*request.FILES.getlist("files"))
    return "Uploaded: " + ", ".join(attachment.filename for attachment in stored)
