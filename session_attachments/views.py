"""The five views: request, bundle, response.

``urls`` chooses among them by method, and answers what they raise.
"""

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from .bundles import Bundle
from .downloads import attachment_response
from .exceptions import AttachmentNotFound
from .pieces import refuse_question
from .responses import json_response, listing
from .uploadhandlers import uploaded_files


def list_attachments(request: HttpRequest, bundle_id: str) -> HttpResponse:
    """List the bundle; a client without a session gets one.

    Not if another site has sent it here: with SESSION_COOKIE_SAMESITE = "Strict" it may
    have a session, whose cookie it does not send, and the new one would replace it.
    """
    refuse_question(request.GET)
    bundle = Bundle(request.session, bundle_id)
    if request.headers.get("Sec-Fetch-Site") != "cross-site":
        bundle.start_session()
    return listing(bundle.listing())


def upload(request: HttpRequest, bundle_id: str) -> HttpResponse:
    """Store every file of the form; list what was stored."""
    files = uploaded_files(request)
    return listing(Bundle(request.session, bundle_id).add(*files))


def delete_bundle(request: HttpRequest, bundle_id: str) -> HttpResponse:
    """Delete the bundle: one ``[true]`` an attachment."""
    removed = Bundle(request.session, bundle_id).clear()
    return json_response([[True]] * removed)


def download(request: HttpRequest, bundle_id: str, file_name: str) -> HttpResponseBase:
    """Send the attachment."""
    bundle = Bundle(request.session, bundle_id)
    attachment = bundle.get(file_name)
    while True:
        try:
            return attachment_response(request, attachment)
        except AttachmentNotFound:
            # Replaced meanwhile? Then its file has gone with it. (A replica of the
            # database may not know that yet.)
            newer = bundle.get(file_name, for_write=True)
            if newer == attachment:
                raise
            attachment = newer


def delete(request: HttpRequest, bundle_id: str, file_name: str) -> HttpResponse:
    """Delete the attachment: ``[true]``, or ``[false]`` if there is none."""
    return json_response([Bundle(request.session, bundle_id).remove(file_name)])
