"""PUT: the body is the file, and is stored under the name in the URL."""

import errno
import unicodedata
from io import BytesIO
from urllib.parse import quote

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import AsyncClient, Client, RequestFactory

from session_attachments.models import Attachment
from session_attachments.web.bodies import receive
from tests.clients import (
    MULTIPART,
    URL,
    content,
    form,
    names,
    part,
    problem,
    put,
    shelf,
    upload,
)
from tests.project.models import Contract
from tests.storages import Calls, failing, store_in

pytestmark = [pytest.mark.database, pytest.mark.django_db]

KILOBYTE = 1024
MEGABYTE = 1024 * KILOBYTE
SPAM = f"{URL}spam.txt/"
SECRET = "a" * 32
# In the memory, and on the disk.
each_size = pytest.mark.parametrize("size", [3000, 70_000], ids=["small", "large"])


def stored_by(response, status=201):
    """Return the names and sizes in the list that a PUT is answered with."""
    assert response.status_code == status, response.content
    return {row["name"]: row["size"] for row in response.json()}


@pytest.fixture
def waiting(settings, temporary):
    """Let more than 64 KB wait on the disk; return the folder."""
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 64 * KILOBYTE
    return temporary


class Wire(BytesIO):
    """A body that remembers how it was read, and what was so then."""

    def __init__(self, body, look=lambda: None):
        super().__init__(body)
        self.look = look
        self.seen = []
        self.reads = []

    def read(self, size=-1, /):
        self.reads.append(size)
        self.seen.append(self.look())
        return super().read(size)

    # A body need not have any lines.
    readline = None


class TestStoring:
    @each_size
    @pytest.mark.parametrize("slash", ["", "/"])
    def test_body_is_the_file(self, client, waiting, stored, size, slash):
        body = bytes(range(250)) * (size // 250)

        response = put(client, body, url=f"{URL}report.bin{slash}")

        assert stored_by(response) == {"report.bin": size}
        assert response.headers["Content-Type"] == "application/json"
        assert response.content.endswith(b'"}]\r\n')
        assert shelf(client) == {"report.bin": body}
        assert content(client.get(f"{URL}report.bin")) == body
        assert len(stored()) == 1
        assert list(waiting.iterdir()) == []

    @each_size
    @pytest.mark.django_db(transaction=True)
    def test_file_replaces_that_of_its_name_alone(self, client, waiting, stored, size):
        upload(client, {"spam.txt": b"old", "egg.txt": b"egg\n"})

        assert stored_by(put(client, bytes(size)), 200) == {"spam.txt": size}
        assert shelf(client) == {"egg.txt": b"egg\n", "spam.txt": bytes(size)}
        assert len(stored()) == 2
        client.delete(SPAM)
        assert stored_by(put(client, b"new")) == {"spam.txt": 3}

    @pytest.mark.parametrize(("size", "files"), [(64, 0), (65, 1), (2000, 1)])
    def test_file_waits_where_a_form_s_waits(self, client, waiting, size, files):
        wire = Wire(bytes(size * KILOBYTE), lambda: len(list(waiting.iterdir())))

        put(client, b"", length=size * KILOBYTE, **{"wsgi.input": wire})

        assert set(wire.seen) == {files}
        assert max(wire.reads) <= 512 * KILOBYTE

    def test_empty_file(self, client):
        assert stored_by(put(client, b"")) == {"spam.txt": 0}
        assert shelf(client) == {"spam.txt": b""}

    def test_no_more_is_read_than_announced(self, client):
        assert stored_by(put(client, b"spam and more", length=4)) == {"spam.txt": 4}
        assert shelf(client) == {"spam.txt": b"spam"}

    @pytest.mark.parametrize(
        "type_", ["", "application/x-www-form-urlencoded", "multipart/mixed", "x"]
    )
    def test_type_is_that_of_the_content(self, client, type_):
        (row,) = put(
            client, b"%PDF-1.4\n%\xe2\xe3", content_type=type_, url=f"{URL}a.pdf"
        ).json()

        assert row["mimetype"] == "application/pdf"

    def test_form_is_not_parsed(self, client, settings):
        settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1
        settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 1
        body = b"a=b&" * 10

        put(client, body, content_type="application/x-www-form-urlencoded")

        assert shelf(client) == {"spam.txt": body}

    @pytest.mark.parametrize("slash", ["", "/"])
    def test_file_may_be_called_delete(self, client, slash):
        upload(client, {"spam.txt": b"spam\n"})

        assert stored_by(put(client, b"new", url=f"{URL}delete{slash}")) == {
            "delete": 3
        }
        assert shelf(client) == {"delete": b"new", "spam.txt": b"spam\n"}

    def test_middleware_may_have_read_the_body(self, client, settings):
        settings.MIDDLEWARE = [f"{__name__}.reads_body", *settings.MIDDLEWARE]

        assert stored_by(put(client, b"spam\n")) == {"spam.txt": 5}
        assert shelf(client) == {"spam.txt": b"spam\n"}


def reads_body(get_response):
    """Read each body before the view, as a project's middleware."""

    def middleware(request):
        assert request.body is not None
        return get_response(request)

    return middleware


METHODS = ["GET", "HEAD", "POST", "DELETE", "OPTIONS", "PATCH"]


class TestUrlWithoutSlash:
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("name", ["spam.txt", "delete", "missing.txt"])
    def test_does_what_the_one_with_a_slash_does(self, method, name):
        answers = []
        for slash in ("", "/"):
            client = Client()
            upload(client, {"spam.txt": b"spam\n", "delete": b"a file"})
            response = client.generic(method, f"{URL}{name}{slash}")
            body = b"".join(response)
            headers = {**response.headers, "ETag": "", "Last-Modified": ""}
            answers.append((response.status_code, headers, body, shelf(client)))

        assert answers[0] == answers[1]

    def test_list_keeps_its_slash(self, client):
        assert client.get(URL[:-1]).headers["Location"] == URL
        assert client.put(f"{SPAM}delete").status_code == 301


NAMES = [
    "Отчёт за год.txt",
    "50% of?#;&=.txt",
    'it\'s "quoted".txt',
    "R&D.txt",
    "%41.txt",
    " two  spaces ",
    "😀.txt",
    "...",
    "n" * 255,
    "e\u0301" * 255,
    f"a.{'x' * 250}",
]
CHANGED = {
    "folder": "a\\b.txt",
    "backslash": "\\",
    "entity": "a&amp;b.txt",
    "entity without an end": "a&copy.txt",
    "slash in an entity": "a&#47;b.txt",
    "joiner": "a\u200db.txt",
    "direction": "a\u202egpj.exe",
    "soft hyphen": "a\u00adb.txt",
    "no-break space": "a\u00a0b.txt",
    "line break": "a\nb.txt",
    "NUL": "a\0b.txt",
    "delete": "a\x7f",
    "this folder": ".",
    "folder above": "..",
    "256 characters": "n" * 256,
    "256 characters in NFC": "e\u0301" * 256,
    "very long": "\u0301" * 1500,
}


class TestName:
    @pytest.mark.parametrize("form_", ["NFC", "NFD"])
    @pytest.mark.parametrize("name", NAMES, ids=ascii)
    def test_file_is_found_at_the_url_of_the_put(self, client, waiting, name, form_):
        url = f"{URL}{quote(unicodedata.normalize(form_, name), safe='')}"
        kept = unicodedata.normalize("NFC", name)

        assert stored_by(put(client, bytes(70_000), url=url)) == {kept: 70_000}
        assert shelf(client) == {kept: bytes(70_000)}
        assert content(client.get(url)) == bytes(70_000)
        assert client.delete(url).content == b"[true]\r\n"

    @pytest.mark.parametrize("name", CHANGED.values(), ids=CHANGED)
    def test_name_that_a_form_would_change_is_refused(
        self, client, stored, temporary, name
    ):
        response = put(client, b"new", url=f"{URL}{quote(name, safe='')}/")

        assert problem(response) == (400, "bad_name")
        assert unicodedata.normalize("NFC", name).startswith(response.json()["name"])
        assert stored() == []
        assert list(temporary.iterdir()) == []


MIB = 1 / MEGABYTE


def refused(code, status, settings=None, body=b"new", **request):
    """Return a row of the table of refusals."""
    return pytest.param(settings or {}, body, request, (status, code), id=code)


def no_spam(file):
    """Validate as a project would."""
    assert (file.name, file.size) == ("spam.txt", len(file.read()))
    raise ValidationError("No spam, please.")


REFUSALS = [
    refused("bad_bundle", 400, url="/attachments/a%0Ab/spam.txt/"),
    refused("unsupported_media_type", 415, body=form(part()), content_type=MULTIPART),
    refused(
        "unsupported_media_type", 415, body=b"", content_type="Multipart/Form-Data"
    ),
    refused("incomplete_upload", 400, length=4),
    refused("incomplete_upload", 400, body=bytes(70_000), length=70_001),
    refused("incomplete_upload", 400, body=b"", length=70_001),
    refused("length_required", 411, CONTENT_LENGTH=""),
    *(
        refused("length_required", 411, length=length)
        for length in ("-1", "+3", "3, 3", "three", "\u0663", "9" * 16)
    ),
    refused(
        "length_required", 411, CONTENT_LENGTH="", HTTP_TRANSFER_ENCODING="chunked"
    ),
    refused("file_too_large", 413, {"SESSION_ATTACHMENTS_MAX_FILE_SIZE": 2 * MIB}),
    refused("bundle_too_large", 413, {"SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE": 2 * MIB}),
    refused(
        "session_too_large", 413, {"SESSION_ATTACHMENTS_MAX_SESSION_SIZE": 2 * MIB}
    ),
    refused("too_many_files", 413, {"SESSION_ATTACHMENTS_MAX_BUNDLE_FILES": 0}),
    refused(
        "session_too_large",
        413,
        {"SESSION_ATTACHMENTS_MAX_SESSION_SIZE": 70_002 * MIB},
        body=bytes(70_000),
        url=f"{URL}other.bin",
    ),
    refused(
        "too_many_files",
        413,
        {"SESSION_ATTACHMENTS_MAX_BUNDLE_FILES": 1},
        body=bytes(70_000),
        url=f"{URL}other.bin",
    ),
    refused(
        "invalid",
        400,
        {"SESSION_ATTACHMENTS_VALIDATORS": [f"{__name__}.no_spam"]},
        body=bytes(70_000),
    ),
]


class TestRefusal:
    @pytest.mark.parametrize(("limits", "body", "request_", "expected"), REFUSALS)
    def test_what_is_refused_changes_nothing(
        self, client, settings, stored, waiting, limits, body, request_, expected
    ):
        upload(client, {"spam.txt": b"old"})
        before = stored()
        for setting, value in limits.items():
            setattr(settings, setting, value)

        response = put(client, body, **request_)

        assert problem(response) == expected
        assert stored() == before
        assert list(waiting.iterdir()) == []
        assert shelf(client) == {"spam.txt": b"old"}

    def test_protected_attachment_stays(self, client, stored):
        upload(client, {"spam.txt": b"old"})
        Contract.objects.create(attachment=Attachment.objects.get())
        before = stored()

        response = put(client, b"new")

        assert problem(response) == (409, "protected")
        assert stored() == before
        assert shelf(client) == {"spam.txt": b"old"}

    def test_quota_counts_what_stays(self, client, settings):
        settings.SESSION_ATTACHMENTS_MAX_BUNDLE_FILES = 1
        settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = 3 * MIB

        assert stored_by(put(client, b"old")) == {"spam.txt": 3}
        assert stored_by(put(client, b"new"), 200) == {"spam.txt": 3}
        assert problem(put(client, b"", url=f"{URL}b")) == (413, "too_many_files")

    @pytest.mark.parametrize(
        ("request_", "limit", "status"),
        [
            ({}, "FILE_SIZE", 413),
            ({}, "BUNDLE_SIZE", 413),
            ({}, "BUNDLE_FILES", 413),
            ({}, "SESSION_SIZE", 413),
            ({"url": f"{URL}a%5Cb"}, None, 400),
            ({"content_type": MULTIPART}, None, 415),
            ({"HTTP_CONTENT_RANGE": "bytes 0-4/9"}, None, 400),
            # None of the file's.
            ({"url": URL}, None, 405),
            ({"url": f"{SPAM}delete/"}, None, 405),
        ],
    )
    def test_body_that_is_not_wanted_is_read_in_blocks_and_not_kept(
        self, client, settings, waiting, request_, limit, status
    ):
        setattr(settings, f"SESSION_ATTACHMENTS_MAX_{limit}", 0)
        wire = Wire(bytes(MEGABYTE), lambda: list(waiting.iterdir()))

        response = put(client, b"", length=MEGABYTE, **{"wsgi.input": wire, **request_})

        assert response.status_code == status
        assert wire.tell() == MEGABYTE
        assert set(wire.reads) == {64 * KILOBYTE}
        assert not any(wire.seen)


class Broken(Wire):
    """A connection that breaks after a part of the body."""

    error = OSError("The client is gone.")

    def read(self, size=-1, /):
        if self.tell():
            raise self.error
        return super().read(60_000)


class Ended(Broken):
    """A server that ends its worker."""

    error = SystemExit()


class TestReceiving:
    @pytest.mark.parametrize("length", [64_000, 200_000], ids=["memory", "disk"])
    def test_size_is_what_came_before_the_connection_broke(self, waiting, length):
        wire = {"wsgi.input": Broken(bytes(range(250)) * 800)}
        request = RequestFactory().generic("PUT", SPAM, CONTENT_LENGTH=length, **wire)

        with receive(request, length) as file:
            assert file.size == 60_000
            assert file.read() == bytes(range(250)) * 240


class TestFailure:
    def test_connection_breaks(self, client, stored, waiting):
        wire = {"wsgi.input": Broken(bytes(90_000))}

        response = put(client, b"", length=90_000, **wire)

        assert problem(response) == (400, "incomplete_upload")
        assert stored() == list(waiting.iterdir()) == []

    def test_worker_ends(self, client, stored, waiting):
        wire = {"wsgi.input": Ended(bytes(90_000))}

        with pytest.raises(SystemExit):
            put(client, b"", length=90_000, **wire)

        assert stored() == list(waiting.iterdir()) == []

    @each_size
    def test_storage_fails(self, client, settings, stored, waiting, size):
        upload(client, {"spam.txt": b"old"})
        before = stored()
        store_in(settings, failing("saved", OSError(errno.ENOSPC, "no space here")))

        response = put(client, bytes(size))

        assert problem(response) == (507, "insufficient_storage")
        assert list(waiting.iterdir()) == []
        store_in(settings, Calls())
        assert stored() == before
        assert shelf(client) == {"spam.txt": b"old"}


class TestToken:
    @pytest.fixture
    def strict(self):
        """Return a client whose token is checked, and whose bundle holds a file."""
        strict = Client(enforce_csrf_checks=True)
        strict.cookies = upload(Client(), {"spam.txt": b"old"}).cookies
        strict.cookies["csrftoken"] = SECRET
        return strict

    def test_right_token_in_the_header_is_let_in(self, strict):
        response = put(strict, b"new", HTTP_X_CSRFTOKEN=SECRET)

        assert stored_by(response, 200) == {"spam.txt": 3}

    @pytest.mark.parametrize(
        "token", [{}, {"HTTP_X_CSRFTOKEN": "b" * 32}], ids=["none", "wrong"]
    )
    @pytest.mark.parametrize(
        ("body", "type_"),
        [
            (form(part(SECRET.encode(), None, "csrfmiddlewaretoken")), MULTIPART),
            (
                f"csrfmiddlewaretoken={SECRET}".encode(),
                "application/x-www-form-urlencoded",
            ),
        ],
    )
    def test_no_token_in_a_body_helps(self, strict, stored, body, type_, token):
        before = stored()

        response = put(strict, body, content_type=type_, **token)

        assert response.status_code == 403
        assert stored() == before
        assert shelf(strict) == {"spam.txt": b"old"}

    def test_body_is_read_and_not_kept_without_a_token(self, strict, waiting):
        wire = Wire(bytes(MEGABYTE), lambda: list(waiting.iterdir()))

        response = put(strict, b"", length=MEGABYTE, **{"wsgi.input": wire})

        assert response.status_code == 403
        assert wire.tell() == MEGABYTE
        assert not any(wire.seen)


class TestSession:
    def test_first_request_of_a_client_may_be_a_put(self, client):
        response = put(client, b"spam\n")

        assert "sessionid" in response.cookies
        assert names(client.get(URL)) == ["spam.txt"]


@pytest.mark.django_db(transaction=True)
class TestAtomicRequests:
    @pytest.mark.parametrize("path", ["spam.txt", "spam.txt/", "delete", "delete/"])
    def test_no_transaction_is_open_while_the_body_comes(
        self, client, monkeypatch, path
    ):
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
        wire = Wire(b"spam\n", lambda: connection.in_atomic_block)

        put(client, b"", length=5, url=f"{URL}{path}", **{"wsgi.input": wire})

        assert set(wire.seen) == {False}
        assert shelf(client) == {path.strip("/"): b"spam\n"}


class TestAsgi:
    def put(self, body):
        """PUT ``body`` under ASGI; return the answer, and the client."""
        client = AsyncClient()

        async def put():
            return await client.generic("PUT", SPAM, body, "text/plain")

        response = async_to_sync(put)()
        plain = Client()
        plain.cookies = client.cookies
        return response, plain

    @each_size
    def test_body_is_the_file(self, waiting, size):
        response, client = self.put(bytes(size))

        assert stored_by(response) == {"spam.txt": size}
        assert shelf(client) == {"spam.txt": bytes(size)}

    def test_limit_refuses_after_the_body(self, settings, stored, waiting):
        settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 4 * MIB

        response, _ = self.put(b"spam\n")

        assert problem(response) == (413, "file_too_large")
        assert stored() == []
