"""A page for each uploader, and a list of files in HTML."""

from django.shortcuts import render
from django.views.decorators.cache import never_cache

from session_attachments.bundles import Bundle

# The pages run no script that stands in them.
POLICY = "default-src 'self'; img-src 'self' blob: data:; style-src 'self'"


@never_cache
def page(request, uploader):
    """Show an uploader."""
    # Uploaders send several files at once: without a session each would start one.
    Bundle(request.session, uploader).start_session()
    response = render(
        request,
        f"recipes/{uploader}.html",
        {"uploader": uploader, "script": f"recipes/{uploader}.js"},
    )
    response["Content-Security-Policy"] = POLICY
    return response


@never_cache
def files(request):
    """Show what is in a bundle, for htmx to put into its page."""
    attachments = Bundle(request.session, "htmx").list()
    return render(request, "recipes/files.html", {"attachments": attachments})
