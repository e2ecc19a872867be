"""The words of the tus protocol, 1.0.0: headers in, headers out.

The core, creation, creation-with-upload, termination and expiration of
https://tus.io/protocols/resumable-upload.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.encoding import escape_uri_path
from django.utils.http import http_date

from ..conf import conf
from ..exceptions import (
    BadHeader,
    BadName,
    ChunkedUpload,
    FileTooLarge,
    UnsupportedMediaType,
    UnsupportedVersion,
)
from ..limits import MAX_NAME, check_alone, check_name
from ..models import UnfinishedUpload
from .bodies import announced_length, receive, receive_whole, required_length
from .parsers import form_name
from .pieces import NUMBER
from .responses import private

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,termination,expiration"
CONTENT_TYPE = "application/offset+octet-stream"
MAX_METADATA = 4096

View = Callable[..., HttpResponseBase]


def spoken(view: View) -> View:
    """Let ``view`` answer as the protocol says to what speaks it, and to OPTIONS."""

    @wraps(view)
    def speaking(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        if "upload_id" in kwargs:
            _override_method(request)
        response = view(request, **kwargs)
        is_question = request.method == "OPTIONS"
        if is_question:
            response.status_code = HTTPStatus.NO_CONTENT
            response.headers["Tus-Extension"] = EXTENSIONS
            if (limit := conf.max_file_size) is not None:
                response.headers["Tus-Max-Size"] = str(limit)
            del response.headers["Content-Type"]
        if is_question or response.status_code == HTTPStatus.PRECONDITION_FAILED:
            response.headers["Tus-Version"] = VERSION
        if is_question or is_spoken(request) or "upload_id" in kwargs:
            response.headers["Tus-Resumable"] = VERSION
        return response

    return speaking


def is_spoken(request: HttpRequest) -> bool:
    """Whether the request speaks the protocol, in whatever version."""
    return "Tus-Resumable" in request.headers


def check_version(request: HttpRequest) -> None:
    """Raise UnsupportedVersion if the request speaks another version, or none."""
    if request.headers.get("Tus-Resumable") != VERSION:
        raise UnsupportedVersion


def creation(request: HttpRequest) -> tuple[str, int, str]:
    """Return name, size in bytes, and metadata of the upload that is to begin.

    Raises the AttachmentError that says what is refused.
    """
    check_version(request)
    if "Upload-Concat" in request.headers:
        raise ChunkedUpload
    if "Upload-Defer-Length" in request.headers:
        raise BadHeader(name="Upload-Defer-Length")
    size = _number(request, "Upload-Length")
    metadata = request.headers.get("Upload-Metadata", "")
    name = _name(metadata)
    check_alone(size, name)
    return name, size, metadata


def first_piece(request: HttpRequest, size: int, name: str) -> UploadedFile[bytes]:
    """Return what comes with the creation of an upload of ``size`` bytes, if anything.

    Raises IncompleteUpload if it is cut short: nobody knows the upload's URL yet.
    """
    length = announced_length(request) or 0
    if length and request.content_type != CONTENT_TYPE:
        raise UnsupportedMediaType
    if length > size:
        raise FileTooLarge(name=name, limit=size)
    return receive_whole(request, length)


def piece(request: HttpRequest, upload: UnfinishedUpload) -> UploadedFile[bytes]:
    """Return what comes of ``upload``: all that was announced, or what came of it."""
    if request.content_type != CONTENT_TYPE:
        raise UnsupportedMediaType
    length = required_length(request)
    if length > upload.size - upload.offset:
        raise FileTooLarge(name=upload.filename, limit=upload.size)
    return receive(request, length)


def offset(request: HttpRequest) -> int:
    """Return where the request continues; raises BadHeader."""
    return _number(request, "Upload-Offset")


def created(request: HttpRequest, upload: UnfinishedUpload) -> HttpResponse:
    """Answer where the upload is, and how far."""
    response = moved(upload)
    response.status_code = HTTPStatus.CREATED
    location = f"{escape_uri_path(request.path)}{upload.upload_id}/resume/"
    response.headers["Location"] = location
    return response


def moved(upload: UnfinishedUpload) -> HttpResponse:
    """Answer how far the upload is, and how long it stays."""
    response = empty()
    response.headers["Upload-Offset"] = str(upload.offset)
    response.headers["Upload-Expires"] = http_date(upload.expires.timestamp())
    return response


def state(upload: UnfinishedUpload) -> HttpResponse:
    """Answer what is known of the upload."""
    response = moved(upload)
    response.status_code = HTTPStatus.OK
    response.headers["Upload-Length"] = str(upload.size)
    if upload.metadata:
        response.headers["Upload-Metadata"] = upload.metadata
    return response


def empty() -> HttpResponse:
    """Answer without a body, and without the type of one."""
    response = private(HttpResponse(status=HTTPStatus.NO_CONTENT))
    del response.headers["Content-Type"]
    return response


def _override_method(request: HttpRequest) -> None:
    """Let a POST be the PATCH that it stands for, where no PATCH gets through."""
    override = request.headers.get("X-HTTP-Method-Override")
    if (request.method, override) == ("POST", "PATCH"):
        request.method = override


def _number(request: HttpRequest, name: str) -> int:
    value = request.headers.get(name, "")
    if not NUMBER.fullmatch(value):
        raise BadHeader(name=name)
    return int(value)


def _name(metadata: str) -> str:
    """Return the name in Upload-Metadata, as it would be in a form."""
    values = _values(metadata)
    name = values.get("filename") or values.get("name") or b""
    try:
        return check_name(form_name(name.decode()) or "")
    except UnicodeDecodeError as error:
        raise BadName(name=name.decode(errors="replace")[:MAX_NAME]) from error


def _values(metadata: str) -> dict[str, bytes]:
    """Return the values of Upload-Metadata by their keys; raises BadHeader."""
    values: dict[str, bytes] = {}
    if len(metadata) > MAX_METADATA or not (
        metadata.isascii() and metadata.isprintable()
    ):
        raise BadHeader(name="Upload-Metadata")
    for pair in metadata.split(",") if metadata else ():
        key, _, value = pair.strip(" ").partition(" ")
        try:
            decoded = b64decode(value, validate=True)
        except binascii.Error as error:
            raise BadHeader(name="Upload-Metadata") from error
        if not key or key in values:
            raise BadHeader(name="Upload-Metadata")
        values[key] = decoded
    return values
