"""The body of an upload: prepared before, its file or files after."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest

from ..exceptions import UnsupportedMediaType
from ..limits import check_alone
from ..sessions import filing_key
from ..transactions import release_connections
from .bodies import announced_length, drain, receive_whole, required_length
from .parsers import check_form_name
from .pieces import refuse_partial, refuse_piece
from .uploadhandlers import FieldReader, Files, UploadReader

logger = logging.getLogger(__name__)


@contextmanager
def receiving(
    request: HttpRequest, prepare: Callable[[HttpRequest], None]
) -> Iterator[None]:
    """Read the body of ``request``, if it has one, inside this block.

    It may come slowly. So the session is loaded before, under whose key the files are
    filed whatever becomes of it meanwhile, and no database connection is held. What is
    not read inside is read at the end and thrown away. ``prepare`` is for forms.
    """
    if request.method not in {"POST", "PUT", "PATCH"}:
        yield
        return
    try:
        if request.method == "POST":
            prepare(request)
        filing_key(request.session)
        release_connections()
        yield
    finally:
        drain(request)
        renew_session(request)


def renew_session(request: HttpRequest) -> None:
    """Let Django not write the session as it was before the body came.

    With SESSION_SAVE_EVERY_REQUEST it would, over what others wrote meanwhile. If the
    session is gone, by a login or a logout, the request is answered as if it had come
    without a cookie: the browser may have a new one by now.
    """
    session = request.session
    if session.modified:
        return
    try:
        is_gone = _is_gone(session)
    except Exception:
        # What was done is done, and is answered.
        logger.exception("The session could not be looked for.")
        return
    if is_gone:
        request.COOKIES.pop(settings.SESSION_COOKIE_NAME, None)
        request.session = type(session)()
    else:
        request.session = type(session)(session.session_key)


def _is_gone(session: SessionBase) -> bool:
    """Whether ``session`` is gone, or was never there.

    Looked for only if Django is going to save it: else it is loaded again by whoever
    asks it for something.
    """
    key = session.session_key
    return key is None or (
        settings.SESSION_SAVE_EVERY_REQUEST and not session.exists(key)
    )


def limit(request: HttpRequest) -> None:
    """Let the limits hold for the form in ``request``, which is not yet read.

    Raises LengthRequired for a body that Django would not read, ChunkedUpload for a
    part of one. Where a middleware of the project's has read the form already, the
    limits hold after that only.
    """
    refuse_partial(request)
    announced_length(request)
    with suppress(AttributeError):
        request.upload_handlers = [UploadReader(request, request.upload_handlers)]


def skip_files(request: HttpRequest) -> None:
    """Let no file of the form in ``request``, which is not yet read, be kept.

    For what looks into a form for its CSRF token only.
    """
    with suppress(AttributeError):
        request.upload_handlers = [FieldReader(request)]


def uploaded_files(request: HttpRequest) -> Files:
    """Return the files of the form, in the order of the body, whatever their fields.

    Raises the AttachmentError that says what is refused, or what Django raises of a
    form that it does not take.
    """
    files = request.FILES
    for handler in request.upload_handlers:
        if isinstance(handler, UploadReader):
            if handler.error is not None:
                # CsrfViewMiddleware keeps to itself that the client went away.
                raise handler.error
            return handler.files
    refuse_piece(request.POST)
    return [file for _, field in files.lists() for file in field]


def uploaded_body(request: HttpRequest, file_name: str) -> UploadedFile[bytes]:
    """Return the body itself as a file called ``file_name``, for the caller to close.

    Raises the AttachmentError that says what is refused, before anything is kept if the
    request says it.
    """
    refuse_partial(request)
    if request.content_type == "multipart/form-data":
        # Its boundaries would be stored as a part of the file.
        raise UnsupportedMediaType
    name = check_form_name(file_name)
    length = required_length(request)
    check_alone(length, name)
    file = receive_whole(request, length)
    file.name = name
    return file
