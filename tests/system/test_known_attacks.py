"""What has hit comparable software lately, in the form that it would take here."""

import re
import tracemalloc
from base64 import b64encode
from email.message import Message
from email.utils import collapse_rfc2231_value
from time import process_time
from types import ModuleType
from urllib.parse import quote

import pytest
from asgiref.sync import async_to_sync
from asgiref.testing import ApplicationCommunicator
from django.core.exceptions import ValidationError
from django.core.handlers.asgi import ASGIHandler
from django.test import Client
from django.urls import path
from django.views.decorators.cache import cache_page

from session_attachments import urls
from session_attachments.models import Attachment
from tests.clients import (
    MULTIPART,
    URL,
    content,
    form,
    names,
    needs_libmagic,
    part,
    problem,
    send,
    shelf,
    upload,
)
from tests.storages import Calls, store_in

pytestmark = pytest.mark.django_db
committed = pytest.mark.django_db(transaction=True)

MEGABYTE = 1024 * 1024
BASE64 = "Content-Transfer-Encoding: base64\r\n"
UPWARDS = [
    "../../../etc/passwd",
    "/etc/passwd",
    r"..\\..\\secrets.py",
    "&#46;&#46;&#47;secrets.py",
    "..%2f..%2fsecrets.py",
    "....//secrets.py",
]


def field(name, value):
    """Return a plain field of a form."""
    return part(value.encode(), None, name)


def peak(work):
    """Return what ``work`` returns, and the most bytes that it held meanwhile."""
    tracemalloc.start()
    try:
        return work(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class TestPaths:
    def test_field_cannot_name_a_stored_file(self, client):
        """CVE-2026-42196, django-s3file: a field's path was opened as an upload."""
        upload(Client(), {"secret.txt": b"secret"})
        stored = str(Attachment.objects.get().file)
        fields = field("s3file", "file"), field("file", stored), field("path", stored)

        without = send(client, form(*fields))
        beside = send(client, form(*fields, part(name=stored.replace("/", "&#47;"))))

        assert problem(without) == (400, "no_file")
        assert names(beside) == [stored.rpartition("/")[2]]
        assert list(shelf(client).values()) == [b"spam\n"]

    @pytest.mark.parametrize("name", UPWARDS)
    def test_storage_is_handed_no_name_of_the_clients(self, client, settings, name):
        """CVE-2024-39330, Django: not every storage checks the names it saves."""
        store_in(settings, calls := Calls())

        send(client, form(part(name=name)), url=f"/attachments/{quote(name, '')}/")
        send(client, form(part(name=name)), url="/attachments/..%5C../")

        assert calls.names("save")
        assert all(
            re.fullmatch(r"session_attachments/\d{4}-\d\d-\d\d/\w{32}", saved)
            for saved in calls.names("save")
        )

    @pytest.mark.database
    @committed
    @pytest.mark.parametrize("pattern", ["*", "*.txt", "?pam.txt", "[a-z]*", "%", "_%"])
    def test_pattern_names_only_itself(self, client, stored, pattern):
        """CVE-2026-33202, Active Storage: a key's wildcards deleted other files."""
        files = {"spam.txt": b"spam\n", "egg.txt": b"egg\n"}
        upload(client, files)
        before = stored()
        bundle, name = f"/attachments/{quote(pattern)}/", f"{URL}{quote(pattern)}/"

        assert names(client.get(bundle)) == []
        assert client.delete(bundle).json() == []
        assert client.delete(name).json() == [False]
        upload(client, {pattern: b"bacon\n"})
        assert client.delete(name).json() == [True]

        assert stored() == before
        assert shelf(client) == files


PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0"


def only_images(file):
    """Validate as a project would."""
    if not file.content_type.startswith("image/"):
        raise ValidationError("Images only.")


class TestType:
    CLAIMS = (
        field("content_type", "image/png"),
        field("mimetype", "image/png"),
        field("metadata[identified]", "true"),
        part(
            b"<html><script>alert(1)</script>",
            "a.png",
            headers="Content-Type: image/png; charset=utf-8\r\n",
        ),
    )

    @needs_libmagic
    def test_type_is_not_what_the_client_says(self, client):
        """CVE-2026-33173, Active Storage: a flag of the client's kept it unchecked."""
        send(client, form(*self.CLAIMS))

        response = client.get(f"{URL}a.png/")

        assert content(response).startswith(b"<html>")
        assert response.headers["Content-Type"] == "text/html"
        assert response.headers["Content-Disposition"].startswith("attachment; ")
        assert response.headers["X-Content-Type-Options"] == "nosniff"

    @needs_libmagic
    def test_validator_is_not_told_what_the_client_says(self, client, settings):
        """CVE-2026-33221, Nhost: the header of the part let any type past the list."""
        settings.SESSION_ATTACHMENTS_VALIDATORS = [f"{__name__}.only_images"]

        assert problem(send(client, form(*self.CLAIMS))) == (400, "invalid")
        assert names(upload(client, {"a.html": PNG})) == ["a.html"]


TOKEN = "a" * 32


def asgi(body, **headers):
    """POST a form to the ASGI application; return the status."""
    headers = {
        "cookie": f"csrftoken={TOKEN}",
        "content-type": MULTIPART,
        "content-length": str(len(body)),
        **headers,
    }
    scope = {
        "type": "http",
        "method": "POST",
        "path": URL,
        "headers": [(name.encode(), text.encode()) for name, text in headers.items()],
    }

    async def post():
        application = ApplicationCommunicator(ASGIHandler(), scope)
        await application.send_input({"type": "http.request", "body": body})
        start = await application.receive_output()
        await application.wait()
        return start["status"]

    return async_to_sync(post)()


class TestDeclaredSize:
    """CVE-2026-126085, Active Storage: the size that counted was the one declared."""

    BODY = form(
        field("csrfmiddlewaretoken", TOKEN),
        field("size", "1"),
        part(b"b" * 1000, headers="Content-Length: 1\r\n"),
    )

    def test_size_is_that_of_the_content(self, client):
        assert send(client, self.BODY).json()[0]["size"] == 1000

    @pytest.mark.parametrize("kind", ["FILE", "BUNDLE", "SESSION"])
    def test_limit_counts_the_content(self, client, settings, kind):
        setattr(settings, f"SESSION_ATTACHMENTS_MAX_{kind}_SIZE", 999 / MEGABYTE)

        assert send(client, self.BODY).status_code == 413

    @committed
    @pytest.mark.parametrize("length", ["1", "10", ""])
    def test_limit_counts_the_content_under_asgi(self, settings, length):
        """CVE-2026-33034 and CVE-2026-5766, Django: a Content-Length too small."""
        assert asgi(self.BODY, **{"content-length": length}) == 200
        assert Attachment.objects.get().size == 1000

        settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 999 / MEGABYTE
        assert asgi(self.BODY, **{"content-length": length}) == 413


@committed
def test_header_with_underscores_is_another_one():
    """CVE-2026-3902, Django: past a proxy, it stood in for the one with hyphens."""
    assert asgi(form(part()), **{"x-csrftoken": TOKEN}) == 200
    assert asgi(form(part()), **{"x_csrftoken": TOKEN}) == 403


class TestRanges:
    LARGE = bytes(8 * MEGABYTE)

    @pytest.fixture(autouse=True)
    def large(self, client):
        upload(client, {"large.bin": self.LARGE})

    @pytest.mark.parametrize("wanted", ["0-", "1-9999999999", "-8000000"])
    def test_large_part_is_not_held_in_memory(self, client, wanted):
        """CVE-2026-33174, Active Storage: the part was read before it was sent."""
        url = f"{URL}large.bin/"
        headers = {"Range": f"bytes={wanted}"}

        sent, held = peak(lambda: sum(map(len, client.get(url, headers=headers))))

        assert sent > 7 * MEGABYTE
        assert held < MEGABYTE

    @pytest.mark.parametrize("one", ["0-0", "0-", "-1", "0-9999999"])
    def test_many_parts_are_the_file_once(self, client, settings, one):
        """CVE-2026-33658, Active Storage: each of thousands of parts cost anew."""
        store_in(settings, calls := Calls())

        response = client.get(
            f"{URL}large.bin/", headers={"Range": f"bytes={','.join([one] * 10_000)}"}
        )

        assert response.status_code == 200
        assert content(response) == self.LARGE
        assert len(calls.names("open")) == 1


def cached_site(settings):
    """Cache the whole site, as Django's documentation says."""
    settings.MIDDLEWARE = [
        "django.middleware.cache.UpdateCacheMiddleware",
        *settings.MIDDLEWARE,
        "django.middleware.cache.FetchFromCacheMiddleware",
    ]


def cached_views(settings):
    """Cache the views, which Django's middleware has no part in."""
    settings.ROOT_URLCONF = ModuleType("urlconf")
    settings.ROOT_URLCONF.urlpatterns = [
        path(f"attachments/{pattern.pattern}", cache_page(60)(pattern.callback))
        for pattern in urls.urlpatterns
    ]


@pytest.mark.parametrize("every_request", [True, False])
@pytest.mark.parametrize("cache", [cached_site, cached_views])
class TestCache:
    """CVE-2026-35192, Django: a cached page handed on the session of its first visitor.

    That was with SESSION_SAVE_EVERY_REQUEST; CVE-2026-48588 was with any other cookie.
    """

    @pytest.fixture(autouse=True)
    def cached(self, settings, tmp_path, cache, every_request):
        settings.SESSION_SAVE_EVERY_REQUEST = every_request
        settings.CACHES = {
            "default": {
                "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
                "LOCATION": str(tmp_path),
            }
        }
        cache(settings)

    def test_new_visitors_get_sessions_of_their_own(self, client):
        other = Client()

        client.get(URL)
        other.get(URL)

        assert client.cookies["sessionid"].value != other.cookies["sessionid"].value

    @pytest.mark.parametrize("header", ["", "theme=dark", "sessionid=invented"])
    def test_visitors_get_only_what_is_theirs(self, client, header):
        client.cookies["theme"] = "dark"
        upload(client, {"spam.txt": b"spam\n"})
        assert shelf(client) == {"spam.txt": b"spam\n"}
        assert problem(client.get(f"{URL}none.txt/")) == (404, "not_found")

        other = Client(HTTP_COOKIE=header)

        assert names(other.get(URL)) == []
        for name in ("spam.txt", "none.txt"):
            response = other.get(f"{URL}{name}/")
            assert problem(response) == (404, "not_found")
            assert client.cookies["sessionid"].value not in response.cookies.output()

    def test_what_is_gone_is_not_shown(self, client):
        upload(client, {"spam.txt": b"spam\n"})
        assert shelf(client) == {"spam.txt": b"spam\n"}

        client.delete(URL)

        assert shelf(client) == {}
        assert problem(client.get(f"{URL}spam.txt/")) == (404, "not_found")


NAMES = [
    'report.txt";x=.bat',
    'report.txt"; filename=run.bat',
    "report.txt; filename*=utf-8''run.bat",
    'Отчёт.txt"; filename="run.bat',
]


@pytest.mark.parametrize("name", NAMES)
def test_name_cannot_end_before_its_end(client, name):
    """CVE-2022-36359, Django: a quote in it let the browser save a program."""
    sent = name.replace('"', r"\"")
    assert names(send(client, form(part(name=sent)))) == [name]
    message = Message()

    response = client.get(f"{URL}{quote(name, safe='')}/")
    message["Content-Disposition"] = response.headers["Content-Disposition"]

    assert content(response) == b"spam\n"
    _, *plain, (_, last) = message.get_params(header="Content-Disposition")
    assert collapse_rfc2231_value(last) == name
    # A client that does not know the encoded name reads one that begins as it does.
    assert [(key, value[5:]) for key, value in plain] in (
        [], [("filename", ".txt_; filename=_run.bat")],
    )  # fmt: skip


class TestBase64:
    """CVE-2026-108147, Django: what came in base64 was held in memory, to its end.

    CVE-2026-33033 was the time that it took where white space stood in between.
    """

    BODIES = {
        "file": lambda: b64encode(bytes(12 * MEGABYTE)),
        "white space before": lambda: (
            b"\r\n" * 6 * MEGABYTE + b64encode(bytes(MEGABYTE))
        ),
        "white space everywhere": lambda: b"Q U J D " * MEGABYTE,
        "white space in one place": lambda: (
            b"Q" + b" " * 8 * MEGABYTE + b"UJD" + b64encode(bytes(MEGABYTE))
        ),
    }

    @pytest.mark.parametrize("encoded", BODIES.values(), ids=BODIES)
    @pytest.mark.parametrize(("limit", "status"), [(0.125, 413), (12, 200)])
    def test_file_takes_little_memory_and_time(
        self, client, settings, temporary, tmp_path, encoded, limit, status
    ):
        settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = limit
        body = tmp_path / "body"
        length = body.write_bytes(form(part(encoded(), headers=BASE64)))
        start = process_time()

        with body.open("rb") as wire:
            response, held = peak(
                lambda: send(client, b"", length=length, **{"wsgi.input": wire})
            )

        assert response.status_code == status
        assert held < 4 * MEGABYTE
        assert process_time() - start < 10


def test_composing_the_characters_of_a_url_takes_little_time(client):
    """CVE-2025-27556 and others, Django: the normal form of a long text."""
    marks = quote("a" + "\u0315\u0300" * 50_000)
    start = process_time()

    assert names(client.get(f"/attachments/{marks}/")) == []
    assert problem(client.get(f"{URL}{marks}/")) == (404, "not_found")
    assert process_time() - start < 5
