"""What is the same at each URL: errors, methods, the CSRF token, ATOMIC_REQUESTS."""

import errno

import pytest
from django.core.files.uploadhandler import FileUploadHandler
from django.db import connection
from django.http import HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.test import Client

from tests.clients import URL, form, names, part, problem, send, shelf, upload
from tests.storages import failing, store_in

FILES = {"delete": b"a file", "spam.txt": b"spam\n"}
URLS = {
    "": "GET, POST, DELETE, HEAD, OPTIONS",
    "delete/": "GET, POST, PUT, DELETE, HEAD, OPTIONS",
    "spam.txt/": "GET, PUT, DELETE, HEAD, OPTIONS",
    "spam.txt/delete/": "POST, OPTIONS",
    f"{'0' * 32}/resume/": "HEAD, PATCH, DELETE, OPTIONS",
}
# tus asks for no content there.
RESUMABLE = ["", f"{'0' * 32}/resume/"]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"]
OTHERS = [
    (path, method)
    for path, allow in URLS.items()
    for method in METHODS
    if method not in allow
]


@pytest.mark.django_db
class TestMethods:
    @pytest.mark.fault(27)
    @pytest.mark.parametrize(("path", "method"), OTHERS)
    def test_other_method_is_refused(self, client, stored, path, method):
        upload(client, FILES)
        before = stored()

        response = client.generic(method, f"{URL}{path}")

        assert response.status_code == 405
        assert response.headers["Allow"] == URLS[path]
        assert response.headers["Content-Type"] == "application/problem+json"
        assert stored() == before
        assert shelf(client) == FILES

    def test_other_method_says_why(self, client):
        response = client.put(URL)

        assert problem(response) == (405, "method_not_allowed")
        assert response.json()["title"] == "Method not allowed"

    @pytest.mark.parametrize(("path", "allow"), URLS.items())
    def test_options_says_what_is_allowed(self, client, path, allow):
        upload(client, FILES)

        response = client.options(f"{URL}{path}")

        assert response.status_code == (204 if path in RESUMABLE else 200)
        assert response.content == b""
        assert response.headers["Allow"] == allow
        assert shelf(client) == FILES

    @pytest.mark.fault(27)
    @pytest.mark.parametrize("path", ["", "spam.txt/", "delete/", "missing.txt/"])
    def test_head_answers_with_the_headers_of_get(self, client, path):
        upload(client, FILES)
        get = client.get(f"{URL}{path}")
        body = b"".join(get)

        head = client.head(f"{URL}{path}")

        assert head.status_code == get.status_code
        assert head.headers == get.headers
        assert int(head.headers["Content-Length"]) == len(body) > 0
        assert b"".join(head) == b""


SECRET = "a" * 32


class TestNoSpace:
    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
    def test_lack_of_space_is_answered_and_logged(
        self, db, client, settings, caplog, number
    ):
        store_in(settings, failing("save", OSError(number, "no space here")))

        response = upload(client, FILES)

        assert problem(response) == (507, "insufficient_storage")
        (record,) = caplog.get_records("call")[:1]
        assert record.name == "session_attachments.exceptions"
        assert "no space here" in caplog.text
        assert names(client.get(URL)) == []

    def test_another_fault_of_the_storage_is_left_to_django(self, db, client, settings):
        store_in(settings, failing("save", OSError(errno.EIO, "broken")))

        with pytest.raises(OSError, match="broken"):
            upload(client, FILES)


CSRF = "django.middleware.csrf.CsrfViewMiddleware"
UNSAFE = [
    ("POST", ""),
    ("DELETE", ""),
    ("POST", "delete/"),
    ("DELETE", "delete/"),
    ("DELETE", "spam.txt/"),
    ("POST", "spam.txt/delete/"),
]
# What the bundle of FILES holds after each of them.
AFTER = dict(
    zip(
        UNSAFE,
        [
            {**FILES, "spam.txt": b"new", "new.txt": b"new"},
            {},
            {},
            {"spam.txt": b"spam\n"},
            {"delete": b"a file"},
            {"delete": b"a file"},
        ],
        strict=True,
    )
)
NEW = [part(b"new"), part(b"new", "new.txt")]


class AskedCsrf(CsrfViewMiddleware):
    """A project's subclass, which remembers for which views it was asked in earnest."""

    asked = []

    def process_view(self, request, callback, callback_args, callback_kwargs):
        if not getattr(callback, "csrf_exempt", False):
            self.asked.append((request.method, callback_args, callback_kwargs))
        return super().process_view(request, callback, callback_args, callback_kwargs)


class NeverCsrf(CsrfViewMiddleware):
    """A project's subclass that refuses in its own way."""

    def process_view(self, request, callback, callback_args, callback_kwargs):
        if request.method != "GET" and not getattr(callback, "csrf_exempt", False):
            return HttpResponse("Never.", status=418)


def with_csrf(settings, *middleware):
    """Put ``middleware`` in the place of the CsrfViewMiddleware."""
    (place,) = (
        number
        for number, path in enumerate(settings.MIDDLEWARE)
        if path.endswith(("CsrfViewMiddleware", "Csrf"))
    )
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE[:place],
        *middleware,
        *settings.MIDDLEWARE[place + 1 :],
    ]


# A CsrfViewMiddleware, and where the secret of a visitor is kept.
KINDS = [
    (CSRF, "cookie"),
    (CSRF, "session"),
    (f"{__name__}.AskedCsrf", "cookie"),
    (f"{__name__}.AskedCsrf", "session"),
]
# All kinds at one URL, one kind at the others.
each_kind = pytest.mark.parametrize("strict", KINDS, ids=str, indirect=True)
each_unsafe = pytest.mark.parametrize(
    ("strict", "method", "path"),
    [
        *((kind, *UNSAFE[0]) for kind in KINDS),
        *((KINDS[0], *unsafe) for unsafe in UNSAFE[1:]),
    ],
    ids=str,
    indirect=["strict"],
)


@pytest.fixture
def strict(request, settings, temporary):
    """Return a client whose token is checked and whose bundle holds FILES."""
    middleware, place = getattr(request, "param", KINDS[0])
    with_csrf(settings, middleware)
    settings.CSRF_USE_SESSIONS = place == "session"
    client = Client()
    upload(client, FILES)
    session = client.session
    session.update({"_csrftoken": SECRET})
    session.save()
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = client.cookies
    strict.cookies["csrftoken"] = SECRET
    return strict


def forget_token(client):
    """Leave the client without a secret, in cookie and session."""
    del client.cookies["csrftoken"]
    session = client.session
    del session["_csrftoken"]
    session.save()


def act(client, method, path, *, field=None, header=None):
    """Send a request that changes something, with a token or without."""
    token = [] if field is None else [part(field.encode(), None, "csrfmiddlewaretoken")]
    extra = {} if header is None else {"HTTP_X_CSRFTOKEN": header}
    # The token comes last: all files are read before it.
    return send(client, form(*NEW, *token), url=f"{URL}{path}", method=method, **extra)


@pytest.mark.django_db
class TestCsrf:
    @each_unsafe
    def test_right_token_in_a_header_is_let_in(self, strict, temporary, method, path):
        response = act(strict, method, path, header=SECRET)

        assert response.status_code == 200
        assert shelf(strict) == AFTER[method, path]
        assert list(temporary.iterdir()) == []

    @pytest.mark.parametrize(
        ("strict", "path"),
        [
            *((kind, "") for kind in KINDS),
            (KINDS[0], "delete/"),
            (KINDS[0], "spam.txt/delete/"),
        ],
        ids=str,
        indirect=["strict"],
    )
    def test_right_token_in_the_form_is_let_in(self, strict, temporary, path):
        response = act(strict, "POST", path, field=SECRET)

        assert response.status_code == 200
        assert shelf(strict) == AFTER["POST", path]
        assert list(temporary.iterdir()) == []

    @pytest.mark.parametrize(
        "token",
        [{}, {"header": "b" * 32}, {"field": "b" * 32}, {"header": "no token"}],
        ids=["no token", "wrong header", "wrong field", "no token's form"],
    )
    @each_unsafe
    def test_wrong_token_is_refused(
        self, strict, stored, temporary, method, path, token
    ):
        before = stored()

        response = act(strict, method, path, **token)

        assert response.status_code == 403
        assert stored() == before
        assert list(temporary.iterdir()) == []
        assert shelf(strict) == FILES

    @each_unsafe
    def test_client_without_a_secret_is_refused(
        self, strict, stored, temporary, method, path
    ):
        before = stored()
        forget_token(strict)

        response = act(strict, method, path, field=SECRET, header=SECRET)

        assert response.status_code == 403
        assert stored() == before
        assert list(temporary.iterdir()) == []
        assert shelf(strict) == FILES

    @each_unsafe
    def test_another_site_is_refused(self, strict, method, path):
        response = send(
            strict,
            form(*NEW),
            url=f"{URL}{path}",
            method=method,
            HTTP_X_CSRFTOKEN=SECRET,
            HTTP_ORIGIN="https://evil.example",
        )

        assert response.status_code == 403
        assert shelf(strict) == FILES

    @pytest.mark.parametrize(("method", "path"), UNSAFE)
    def test_without_the_middleware_nothing_is_asked_for(
        self, settings, strict, method, path
    ):
        with_csrf(settings)
        settings.CSRF_USE_SESSIONS = False
        forget_token(strict)

        response = act(strict, method, path)

        assert response.status_code == 200
        assert shelf(strict) == AFTER[method, path]

    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
    @pytest.mark.parametrize("path", URLS)
    def test_safe_method_needs_no_token(self, strict, method, path):
        forget_token(strict)

        response = strict.generic(method, f"{URL}{path}")
        b"".join(response)

        # No version of tus is spoken.
        assert response.status_code in {200, 204, 405, 412}
        assert shelf(strict) == FILES

    @pytest.mark.parametrize("path", URLS)
    def test_unknown_method_needs_a_token_as_any(self, strict, path):
        url = f"{URL}{path}"

        assert strict.generic("COPY", url).status_code == 403
        headers = {"X-CSRFToken": SECRET}
        assert strict.generic("COPY", url, headers=headers).status_code == 405

    @pytest.mark.parametrize(("method", "path"), UNSAFE)
    def test_subclass_is_asked_once_with_the_arguments_of_the_view(
        self, settings, strict, monkeypatch, method, path
    ):
        with_csrf(settings, f"{__name__}.AskedCsrf")
        monkeypatch.setattr(AskedCsrf, "asked", asked := [])

        act(strict, method, path, header=SECRET)

        arguments = {"bundle_id": "foo"}
        if path.startswith("spam.txt"):
            arguments["file_name"] = "spam.txt"
        assert asked == [(method, (), arguments)]

    @pytest.mark.parametrize(("method", "path"), UNSAFE)
    def test_subclass_refuses_in_its_own_way(
        self, settings, strict, temporary, method, path
    ):
        with_csrf(settings, f"{__name__}.NeverCsrf")

        response = act(strict, method, path, header=SECRET)

        assert response.status_code == 418
        assert response.content == b"Never."
        assert list(temporary.iterdir()) == []
        assert shelf(strict) == FILES

    @each_kind
    def test_limits_hold_before_the_token_is_looked_up(
        self, settings, strict, stored, temporary
    ):
        settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 2 / 1024 / 1024
        before = stored()

        response = act(strict, "POST", "", field="b" * 32)

        assert problem(response) == (413, "file_too_large")
        assert stored() == before
        assert list(temporary.iterdir()) == []

    @pytest.mark.parametrize(
        ("setting", "expected"),
        [
            ("DATA_UPLOAD_MAX_NUMBER_FIELDS", (400, "bad_form")),
            ("DATA_UPLOAD_MAX_NUMBER_FILES", (413, "too_many_files")),
            ("DATA_UPLOAD_MAX_MEMORY_SIZE", (413, "form_too_large")),
        ],
    )
    @pytest.mark.parametrize("path", URLS)
    def test_errors_of_django_are_answered_while_the_token_is_looked_up(
        self, settings, strict, temporary, setting, expected, path
    ):
        setattr(settings, setting, 1)
        fields = [part(b"egg", None)] * 4

        response = send(
            strict,
            form(*fields[:2], *NEW, *fields),
            url=f"{URL}{path}",
            HTTP_X_CSRFTOKEN=SECRET,
        )

        assert problem(response) == expected
        assert list(temporary.iterdir()) == []
        assert shelf(strict) == FILES

    @pytest.mark.parametrize("path", ["delete/", "spam.txt/", "spam.txt/delete/"])
    @pytest.mark.parametrize("field", [SECRET, "b" * 32])
    def test_files_are_skipped_where_only_the_token_is_looked_up(
        self, settings, strict, monkeypatch, path, field
    ):
        settings.FILE_UPLOAD_HANDLERS = [f"{__name__}.Transactions"]
        monkeypatch.setattr(Transactions, "open", seen := [])

        response = act(strict, "POST", path, field=field)

        refused = 405 if path == "spam.txt/" else 200
        assert response.status_code == (refused if field == SECRET else 403)
        assert seen == []


class Transactions(FileUploadHandler):
    """Comes before the project's handlers; remembers whether a transaction is open."""

    open = []

    def new_file(self, *args, **kwargs):
        super().new_file(*args, **kwargs)
        self.open.append(connection.in_atomic_block)

    def receive_data_chunk(self, raw_data, start):
        return raw_data

    def file_complete(self, file_size):
        """Leave the file to the next handler."""


@pytest.fixture
def atomic_requests(monkeypatch):
    """Let the project run each request in a transaction."""
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
class TestAtomicRequests:
    @pytest.mark.parametrize("enforce", [True, False])
    def test_no_transaction_is_open_while_a_body_is_read(
        self, atomic_requests, settings, strict, monkeypatch, enforce
    ):
        handlers = settings.FILE_UPLOAD_HANDLERS
        settings.FILE_UPLOAD_HANDLERS = [f"{__name__}.Transactions", *handlers]
        monkeypatch.setattr(Transactions, "open", seen := [])
        strict.handler.enforce_csrf_checks = enforce

        response = act(strict, "POST", "", field=SECRET)

        assert names(response) == ["new.txt", "spam.txt"]
        assert seen == [False, False]

    @pytest.mark.parametrize("path", URLS)
    @pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
    def test_views_run_outside_of_the_transaction(
        self, atomic_requests, client, method, path
    ):
        upload(client, FILES)
        seen = []

        def look(execute, sql, params, many, context):
            seen.append((connection.in_atomic_block, "django_session" in sql))
            return execute(sql, params, many, context)

        tus = {"HTTP_TUS_RESUMABLE": "1.0.0"} if "resume" in path else {}
        with connection.execute_wrapper(look):
            b"".join(send(client, form(*NEW), url=f"{URL}{path}", method=method, **tus))

        # The first that is asked for is the session: by the views themselves, or
        # before a body is read.
        asks = method == "POST" or method in URLS[path]
        assert seen[:1] == ([(False, True)] if asks else [])
