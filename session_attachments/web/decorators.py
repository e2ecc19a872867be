"""What is the same at each URL: errors, methods, the form, its token."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from ..conf import conf
from ..exceptions import AttachmentError, MethodNotAllowed, refuse_full_disk
from .responses import FORM_ERRORS, form_error, private, problem
from .uploads import receiving

View = Callable[..., HttpResponseBase]


def answer_errors(view: View) -> View:
    """Answer what ``view`` refuses as problem+json."""

    @wraps(view)
    def answering(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        try:
            with refuse_full_disk():
                return view(request, **kwargs)
        except AttachmentError as error:
            return problem(error)
        except FORM_ERRORS as error:
            return problem(form_error(error))

    return answering


def before_token(prepare: Callable[[HttpRequest], None]) -> Callable[[View], View]:
    """Let ``prepare`` set the handlers of a form before its CSRF token is looked up.

    CsrfViewMiddleware reads the form, so limits have to be set before: the view opts
    out of the middleware and asks it again, if it is installed. See "Modifying upload
    handlers on the fly" in Django's documentation. No transaction of ATOMIC_REQUESTS
    is open meanwhile.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def prepared(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
            with receiving(request, prepare):
                refusal = None
                if middleware := conf.csrf_middleware:
                    # Its constructor wants what it would call next; it is not called.
                    refusal = middleware(view).process_view(request, view, (), kwargs)
                return refusal or view(request, **kwargs)

        for alias in connections:
            prepared = transaction.non_atomic_requests(using=alias)(prepared)
        return csrf_exempt(prepared)

    return decorate


def allow(*methods: str) -> Callable[[View], View]:
    """Answer all methods but ``methods``, and HEAD where GET is one of them."""
    allowed = [*methods, *["HEAD"] * ("GET" in methods)]

    def decorate(view: View) -> View:
        @wraps(view)
        def allowing(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
            if request.method in allowed:
                return view(request, **kwargs)
            if request.method == "OPTIONS":
                response = private(HttpResponse())
            else:
                response = problem(MethodNotAllowed())
            response.headers["Allow"] = ", ".join([*allowed, "OPTIONS"])
            return response

        return allowing

    return decorate
