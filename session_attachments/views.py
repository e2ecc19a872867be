"""One view a URL, and the things they do: request, bundle, response."""

from http import HTTPStatus

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from . import unfinished
from .bundles import Bundle
from .exceptions import AttachmentNotFound, WrongOffset
from .models import UnfinishedUpload
from .web import tus, uploads
from .web.decorators import allow, answer_errors, before_token
from .web.downloads import attachment_response
from .web.pieces import refuse_question
from .web.responses import json_response, list_response


@tus.spoken
@answer_errors
@before_token(uploads.limit)
@allow("GET", "POST", "DELETE")
def bundle_attachments(request: HttpRequest, bundle_id: str) -> HttpResponse:
    """List the bundle, upload into it, or delete it."""
    bundle = Bundle(request.session, bundle_id)
    match request.method:
        case "POST" if tus.is_spoken(request):
            return begin_upload(request, bundle)
        case "POST":
            return list_response(bundle.add(*uploads.uploaded_files(request)))
        case "DELETE":
            return delete_bundle(bundle)
    return list_attachments(request, bundle)


@answer_errors
@before_token(uploads.skip_files)
@allow("GET", "POST", "PUT", "DELETE")
def delete_bundle_attachments(request: HttpRequest, bundle_id: str) -> HttpResponseBase:
    """Delete the bundle; download, store or delete the attachment called "delete"."""
    bundle = Bundle(request.session, bundle_id)
    match request.method:
        case "POST":
            return delete_bundle(bundle)
        case "PUT":
            return store(request, bundle, "delete")
        case "DELETE":
            return delete(bundle, "delete")
    return download(request, bundle, "delete")


@answer_errors
@before_token(uploads.skip_files)
@allow("GET", "PUT", "DELETE")
def get_filename_attachment(
    request: HttpRequest, bundle_id: str, file_name: str
) -> HttpResponseBase:
    """Download, store or delete the attachment."""
    bundle = Bundle(request.session, bundle_id)
    match request.method:
        case "PUT":
            return store(request, bundle, file_name)
        case "DELETE":
            return delete(bundle, file_name)
    return download(request, bundle, file_name)


@answer_errors
@before_token(uploads.skip_files)
@allow("POST")
def delete_filename_attachment(
    request: HttpRequest, bundle_id: str, file_name: str
) -> HttpResponse:
    """Delete the attachment."""
    return delete(Bundle(request.session, bundle_id), file_name)


@tus.spoken
@answer_errors
@before_token(uploads.skip_files)
@allow("HEAD", "PATCH", "DELETE")
def resume_attachment(
    request: HttpRequest, bundle_id: str, upload_id: str
) -> HttpResponse:
    """Say how far an upload is, continue it, or end it."""
    tus.check_version(request)
    upload = Bundle(request.session, bundle_id).upload(upload_id)
    match request.method:
        case "PATCH":
            return continue_upload(request, upload)
        case "DELETE":
            unfinished.cancel(upload)
            return tus.empty()
    return tus.state(upload)


def begin_upload(request: HttpRequest, bundle: Bundle) -> HttpResponse:
    """Begin an upload, with what has come of it."""
    name, size, metadata = tus.creation(request)
    with tus.first_piece(request, size, name) as file:
        upload = bundle.begin_upload(name, size, metadata)
        try:
            unfinished.add(upload, file)
        except BaseException:
            # Nobody knows its URL.
            unfinished.forget(upload)
            raise
    return tus.created(request, upload)


def continue_upload(request: HttpRequest, upload: UnfinishedUpload) -> HttpResponse:
    """Add what comes to the upload."""
    if tus.offset(request) != upload.offset:
        raise WrongOffset(offset=upload.offset)
    with tus.piece(request, upload) as file:
        unfinished.add(upload, file)
    return tus.moved(upload)


def list_attachments(request: HttpRequest, bundle: Bundle) -> HttpResponse:
    """List the bundle; a client without a session gets one.

    Not if another site has sent it here: with SESSION_COOKIE_SAMESITE = "Strict" it may
    have a session, whose cookie it does not send, and the new one would replace it.
    """
    refuse_question(request.GET)
    if request.headers.get("Sec-Fetch-Site") != "cross-site":
        bundle.start_session()
    return list_response(bundle.summaries())


def store(request: HttpRequest, bundle: Bundle, file_name: str) -> HttpResponse:
    """Store the body as an attachment, and list it; 201 if none was replaced."""
    with uploads.uploaded_body(request, file_name) as file:
        stored = bundle.store(file)
    status = HTTPStatus.OK if stored.replaced else HTTPStatus.CREATED
    return list_response(stored.attachments, status)


def delete_bundle(bundle: Bundle) -> HttpResponse:
    """Delete the bundle: one ``[true]`` an attachment."""
    return json_response([[True]] * bundle.clear())


def delete(bundle: Bundle, file_name: str) -> HttpResponse:
    """Delete the attachment: ``[true]``, or ``[false]`` if there is none."""
    return json_response([bundle.remove(file_name)])


def download(request: HttpRequest, bundle: Bundle, file_name: str) -> HttpResponseBase:
    """Send the attachment."""
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
