"""The app's URLs, which keep the names of 0.2, and what they route to."""

import errno
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from django.conf import settings
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from . import uploadhandlers, views
from .bodies import drain
from .conf import conf
from .exceptions import AttachmentError, InsufficientStorage, MethodNotAllowed
from .responses import FORM_ERRORS, form_error, private, problem
from .sessions import filing_key
from .transactions import release_connections

View = Callable[..., HttpResponseBase]

# A full disk, a quota of the operating system, a limit of a file's size.
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

logger = logging.getLogger(__name__)


def answer_errors(view: View) -> View:
    """Answer what ``view`` refuses as problem+json."""

    @wraps(view)
    def answering(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, **kwargs)
        except AttachmentError as error:
            return problem(error)
        except FORM_ERRORS as error:
            return problem(form_error(error))
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            logger.exception("There is no space left for an upload.")
            return problem(InsufficientStorage())

    return answering


def by_method(**choices: View) -> View:
    """Return a view that leaves the work to the one chosen for the method."""
    views = {**choices, "HEAD": choices["GET"]} if "GET" in choices else choices
    allow = ", ".join([*views, "OPTIONS"])

    @answer_errors
    def chosen(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        if request.method in views:
            return views[request.method](request, **kwargs)
        if request.method == "OPTIONS":
            response = private(HttpResponse())
        else:
            response = problem(MethodNotAllowed())
        response.headers["Allow"] = allow
        return response

    return chosen


def before_token(prepare: Callable[[HttpRequest], None], view: View) -> View:
    """Let ``prepare`` set the handlers of a form before its CSRF token is looked up.

    CsrfViewMiddleware reads the form, so limits have to be set before: the view opts
    out of the middleware and asks it again, if it is installed. See "Modifying upload
    handlers on the fly" in Django's documentation. No transaction of ATOMIC_REQUESTS
    is open meanwhile.
    """

    @csrf_exempt
    @answer_errors
    def prepared(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        with receiving(request, prepare):
            refusal = None
            if middleware := conf.csrf_middleware:
                # Its constructor wants what it would call next; it is not called.
                refusal = middleware(view).process_view(request, view, (), kwargs)
            return refusal or view(request, **kwargs)

    for alias in connections:
        prepared = transaction.non_atomic_requests(using=alias)(prepared)
    return prepared


@contextmanager
def receiving(
    request: HttpRequest, prepare: Callable[[HttpRequest], None]
) -> Iterator[None]:
    """Read the body of ``request``, if it is a POST, inside this block.

    It may come slowly. So the session is loaded before, under whose key the files are
    filed whatever becomes of it meanwhile, and no database connection is held. What is
    not read inside is read at the end and thrown away.
    """
    if request.method != "POST":
        yield
        return
    try:
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
    key = session.session_key
    try:
        exists = key is not None and session.exists(key)
    except Exception:
        # What was done is done, and is answered.
        logger.exception("The session could not be looked for.")
        return
    if exists:
        request.session = type(session)(key)
    elif settings.SESSION_SAVE_EVERY_REQUEST or session.is_empty():
        request.COOKIES.pop(settings.SESSION_COOKIE_NAME, None)
        request.session = type(session)()


def with_name(name: str, view: View) -> View:
    """Return ``view`` for the attachment called ``name``."""

    def named(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        return view(request, file_name=name, **kwargs)

    return named


# Each URL's callable has a name, so that a host can route to it by itself.
bundle_attachments = before_token(
    uploadhandlers.install,
    by_method(
        GET=views.list_attachments, POST=views.upload, DELETE=views.delete_bundle
    ),
)
# A file may be called "delete".
delete_bundle_attachments = before_token(
    uploadhandlers.skip_files,
    by_method(
        GET=with_name("delete", views.download),
        POST=views.delete_bundle,
        DELETE=with_name("delete", views.delete),
    ),
)
get_filename_attachment = before_token(
    uploadhandlers.skip_files, by_method(GET=views.download, DELETE=views.delete)
)
delete_filename_attachment = before_token(
    uploadhandlers.skip_files, by_method(POST=views.delete)
)

urlpatterns = [
    path("<str:bundle_id>/", bundle_attachments, name="bundle-attachments"),
    path(
        "<str:bundle_id>/delete/",
        delete_bundle_attachments,
        name="delete-bundle-attachments",
    ),
    path(
        "<str:bundle_id>/<str:file_name>/",
        get_filename_attachment,
        name="get-filename-attachment",
    ),
    path(
        "<str:bundle_id>/<str:file_name>/delete/",
        delete_filename_attachment,
        name="delete-filename-attachment",
    ),
]
