"""Downloads: headers, names, conditions, ranges, streaming, offload."""

import io
import logging
import os
import shutil
from datetime import timedelta
from urllib.parse import quote

import pytest
from asgiref.sync import async_to_sync
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.core.signals import request_finished
from django.db import close_old_connections
from django.utils import timezone
from django.utils.http import http_date

from session_attachments.models import Attachment
from tests.clients import URL, content, problem, shelf, upload
from tests.storages import attach, store_in

pytestmark = pytest.mark.django_db

SPAM = f"{URL}spam.txt/"
EMPTY = f"{URL}empty.txt/"
DIGITS = b"0123456789"
HEADERS = {
    "Content-Type": "text/plain",
    "Content-Disposition": 'attachment; filename="spam.txt"',
    "Content-Length": "10",
    "Accept-Ranges": "bytes",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-store",
    "Vary": "Cookie",
}


@pytest.fixture
def spam(client):
    """Store ``spam.txt``, which is ten digits; return its row."""
    upload(client, {"spam.txt": DIGITS})
    return Attachment.objects.get()


def download(client, url=SPAM, **headers):
    """GET ``url``; header names are written with underscores."""
    return client.get(
        url, headers={name.replace("_", "-"): text for name, text in headers.items()}
    )


class TestHeaders:
    def test_headers_of_a_download(self, client, spam):
        response = download(client)

        assert response.status_code == 200
        assert content(response) == DIGITS
        assert {name: response.headers[name] for name in HEADERS} == HEADERS
        assert response.headers["Last-Modified"] == http_date(spam.created.timestamp())
        assert response.headers["ETag"].startswith('"')

    def test_type_is_the_stored_one(self, client, spam):
        Attachment.objects.update(mimetype="image/x-spam")

        response = download(client)
        content(response)

        assert response.headers["Content-Type"] == "image/x-spam"

    @pytest.mark.fault(8)
    def test_markup_is_no_page(self, client):
        upload(client, {"spam.html": b"<script>alert(1)</script>"})

        response = download(client, f"{URL}spam.html/")

        assert content(response) == b"<script>alert(1)</script>"
        assert response.headers["Content-Type"] == "text/html"
        assert response.headers["Content-Disposition"].startswith("attachment;")
        assert response.headers["Content-Security-Policy"].startswith("sandbox;")
        assert response.headers["X-Content-Type-Options"] == "nosniff"

    def test_etag_is_the_versions_own(self, client, spam):
        first = download(client)
        again = download(client)
        content(first), content(again)
        upload(client, {"spam.txt": DIGITS})
        upload(client, {"egg.txt": DIGITS})

        later = [client.head(url).headers["ETag"] for url in (SPAM, f"{URL}egg.txt/")]

        assert first.headers["ETag"] == again.headers["ETag"]
        assert len({first.headers["ETag"], *later}) == 3

    def test_etag_does_not_tell_the_stored_name(self, client, spam):
        token = str(spam.file).rpartition("/")[2]

        assert token not in str(client.head(SPAM).headers)

    def test_stored_name_of_02_stays_out_of_the_headers(self, client, spam):
        file = 'session_attachments/0a/"x"\r\nSet-Cookie: spam=1; \U0001f600.txt'
        Attachment.objects.update(
            file=attach(file=file, content=DIGITS, bundle="other").file
        )

        response = download(client)

        assert content(response) == DIGITS
        assert response.headers["ETag"].isascii()
        assert "spam" not in response.cookies

    def test_large_file_comes_whole(self, client):
        large = bytes(range(256)) * 4096
        upload(client, {"large.bin": large})

        assert content(download(client, f"{URL}large.bin/")) == large

    def test_empty_file_comes_empty(self, client):
        upload(client, {"empty.txt": b""})

        response = download(client, EMPTY)

        assert content(response) == b""
        assert response.headers["Content-Length"] == "0"


NAMES = {
    "it's a.txt": 'filename="it\'s a.txt"',
    'a"b.txt': r'filename="a\"b.txt"',
    "a;b.txt": 'filename="a;b.txt"',
    # Some clients decode what looks like percent-encoding.
    "30%de remise.pdf": (
        "filename=\"30_de remise.pdf\"; filename*=utf-8''30%25de%20remise.pdf"
    ),
    "50%20off.txt": "filename=\"50_20off.txt\"; filename*=utf-8''50%2520off.txt",
    'a%"\\b': "filename=\"a___b\"; filename*=utf-8''a%25%22%5Cb",
    "Résumé.pdf": "filename=\"Resume.pdf\"; filename*=utf-8''R%C3%A9sum%C3%A9.pdf",
    "Отчёт.txt": (
        "filename=\"_____.txt\"; filename*=utf-8''%D0%9E%D1%82%D1%87%D1%91%D1%82.txt"
    ),
    "😀.txt": "filename=\"_.txt\"; filename*=utf-8''%F0%9F%98%80.txt",
    "\u0301": "filename=\"_\"; filename*=utf-8''%CC%81",
    "／etc／a": "filename=\"_etc_a\"; filename*=utf-8''%EF%BC%8Fetc%EF%BC%8Fa",
    # Rows of 0.2 hold these.
    "a\\b.txt": r'filename="a\\b.txt"',
    "a\nb.txt": "filename=\"a_b.txt\"; filename*=utf-8''a%0Ab.txt",
    "a\r\nSet-Cookie: spam=1": (
        'filename="a__Set-Cookie: spam=1"; '
        "filename*=utf-8''a%0D%0ASet-Cookie%3A%20spam%3D1"
    ),
    "a.txt\n": 'filename="a.txt"',
    "a\nb\n\n": "filename=\"a_b\"; filename*=utf-8''a%0Ab",
    "a\x7fb": "filename=\"a_b\"; filename*=utf-8''a%7Fb",
    "a\u0301\n": "filename=\"a\"; filename*=utf-8''%C3%A1",
}


@pytest.mark.database
class TestNames:
    @pytest.mark.fault(9, 10, 11)
    @pytest.mark.parametrize(("name", "expected"), NAMES.items())
    def test_name_is_that_of_the_upload(self, client, spam, name, expected):
        Attachment.objects.update(filename=name.replace("a\u0301", "á"))

        response = download(client, f"{URL}{quote(name, safe='')}/")

        assert content(response) == DIGITS
        assert response.headers["Content-Disposition"] == f"attachment; {expected}"


def minutes(number):
    """Return a header's date, so many minutes from now."""
    return http_date((timezone.now() + timedelta(minutes=number)).timestamp())


class TestConditions:
    @pytest.mark.parametrize("method", ["get", "head"])
    def test_none_match_is_not_modified(self, client, spam, method):
        etag = client.head(SPAM).headers["ETag"]

        for condition in (etag, f"W/{etag}", f'"x", {etag}', "*"):
            response = getattr(client, method)(SPAM, HTTP_IF_NONE_MATCH=condition)

            assert response.status_code == 304
            assert response.content == b""
            assert response.headers["ETag"] == etag
            assert "Last-Modified" in response.headers

    def test_none_match_of_another_version_sends_the_file(self, client, spam):
        response = download(client, If_None_Match='"x"', If_Modified_Since=minutes(1))

        assert content(response) == DIGITS

    @pytest.mark.parametrize(("number", "status"), [(-1, 200), (1, 304)])
    def test_modified_since(self, client, spam, number, status):
        response = download(client, If_Modified_Since=minutes(number))

        assert response.status_code == status
        b"".join(response)

    def test_modified_since_the_very_time_is_not_modified(self, client, spam):
        modified = client.head(SPAM).headers["Last-Modified"]

        assert download(client, If_Modified_Since=modified).status_code == 304

    @pytest.mark.parametrize("date", ["", "yesterday"])
    def test_modified_since_no_date_sends_the_file(self, client, spam, date):
        assert content(download(client, If_Modified_Since=date)) == DIGITS

    def test_match_sends_the_file(self, client, spam):
        etag = client.head(SPAM).headers["ETag"]

        assert content(download(client, If_Match=etag)) == DIGITS
        assert content(download(client, If_Match="*")) == DIGITS

    def test_no_match_fails(self, client, spam):
        assert download(client, If_Match='"x"').status_code == 412

    @pytest.mark.parametrize(("number", "status"), [(-1, 412), (1, 200)])
    def test_unmodified_since(self, client, spam, number, status):
        response = download(client, If_Unmodified_Since=minutes(number))

        assert response.status_code == status
        b"".join(response)

    def test_condition_on_a_missing_attachment_finds_none(self, client):
        assert problem(download(client, If_None_Match="*")) == (404, "not_found")


HUGE = "9" * 40
RANGES = {
    "bytes=0-0": "0-0",
    "bytes=0-4": "0-4",
    "bytes=3-": "3-9",
    "bytes=9-9": "9-9",
    "bytes=9-": "9-9",
    "bytes=5-99": "5-9",
    "Bytes=5-6": "5-6",
    f"bytes=5-{HUGE}": "5-9",
    "bytes=0-": "0-9",
    "bytes=00003-00004": "3-4",
    "bytes=-1": "9-9",
    "bytes=-10": "0-9",
    "bytes=-99": "0-9",
    f"bytes=-{HUGE}": "0-9",
}
IMPOSSIBLE = ["bytes=10-", "bytes=10-12", "bytes=-0", f"bytes={HUGE}-", "bytes=99-"]
IGNORED = [
    "",
    "bytes",
    "bytes=",
    "bytes=-",
    "bytes=5",
    "bytes=5-2",
    "bytes=0-1,4-5",
    "bytes=0-1, -1",
    "bytes=a-b",
    "bytes=1-2-3",
    "bytes=--1",
    "bytes=+1-2",
    "bytes=1.0-2",
    "bytes=٠-٤".encode().decode("latin-1"),
    "lines=0-1",
    "0-1",
    f"bytes={'1' * 5000}-",
]


class TestRange:
    @pytest.mark.parametrize(("wanted", "expected"), RANGES.items())
    def test_part_is_sent(self, client, spam, wanted, expected):
        first, last = map(int, expected.split("-"))

        response = download(client, Range=wanted)

        assert response.status_code == 206
        assert content(response) == DIGITS[first : last + 1]
        assert response.headers["Content-Range"] == f"bytes {expected}/10"
        length = str(last + 1 - first)
        expected = {**HEADERS, "Content-Length": length}
        assert {name: response.headers[name] for name in HEADERS} == expected
        assert response.headers["ETag"] == client.head(SPAM).headers["ETag"]

    def test_part_of_a_large_file_is_sent(self, client):
        large = bytes(range(256)) * 4096
        upload(client, {"large.bin": large})

        response = download(client, f"{URL}large.bin/", Range="bytes=1000-900000")

        assert content(response) == large[1000:900001]

    @pytest.mark.parametrize("wanted", IMPOSSIBLE)
    def test_impossible_part_is_refused(self, client, spam, wanted):
        response = download(client, Range=wanted)

        assert response.status_code == 416
        assert response.content == b""
        assert response.headers["Content-Range"] == "bytes */10"

    @pytest.mark.parametrize("wanted", IGNORED)
    def test_malformed_range_sends_the_whole_file(self, client, spam, wanted):
        response = download(client, Range=wanted)

        assert response.status_code == 200
        assert content(response) == DIGITS
        assert "Content-Range" not in response.headers
        assert response.headers["Content-Length"] == "10"

    @pytest.mark.parametrize("wanted", ["bytes=0-", "bytes=0-0", "bytes=-0"])
    def test_empty_file_has_no_part(self, client, wanted):
        upload(client, {"empty.txt": b""})

        response = download(client, EMPTY, Range=wanted)

        assert response.status_code == 416
        assert response.headers["Content-Range"] == "bytes */0"

    @pytest.mark.parametrize("wanted", ["bytes=0-4", "bytes=99-"])
    def test_head_ignores_it(self, client, spam, wanted):
        response = client.head(SPAM, HTTP_RANGE=wanted)

        assert response.status_code == 200
        assert {name: response.headers[name] for name in HEADERS} == HEADERS
        assert "Content-Range" not in response.headers

    def test_part_of_this_version_is_sent(self, client, spam):
        head = client.head(SPAM).headers

        for condition in (head["ETag"], head["Last-Modified"]):
            response = download(client, Range="bytes=0-4", If_Range=condition)

            assert content(response) == b"01234"

    @pytest.mark.parametrize(
        "condition", ['"x"', "W/{etag}", "spam", "", "{earlier}", "{later}"]
    )
    def test_part_of_another_version_sends_the_whole_file(
        self, client, spam, condition
    ):
        etag = client.head(SPAM).headers["ETag"]
        condition = condition.format(etag=etag, earlier=minutes(-9), later=minutes(9))

        for wanted in ("bytes=0-4", "bytes=99-"):
            response = download(client, Range=wanted, If_Range=condition)

            assert response.status_code == 200
            assert content(response) == DIGITS

    def test_not_modified_comes_before_a_part(self, client, spam):
        response = download(client, Range="bytes=0-4", If_None_Match="*")

        assert response.status_code == 304


def without_file(spam):
    spam.file.storage.delete(str(spam.file))


def with_a_folder_in_its_place(spam):
    spam.file.storage.delete(str(spam.file))
    spam.file.storage.save(f"{spam.file}/inside.txt", ContentFile(b"inside"))


def without_its_folder(spam):
    shutil.rmtree(spam.file.storage.location)


def with_a_file_in_place_of_its_folder(spam):
    folder = str(spam.file).rpartition("/")[0]
    shutil.rmtree(spam.file.storage.path(folder))
    with open(spam.file.storage.path(folder), "w"):
        pass


def outside_the_storage(spam):
    Attachment.objects.update(file="../../spam.txt")


def without_a_name(spam):
    Attachment.objects.update(file="")


MISSING = [
    without_file,
    with_a_folder_in_its_place,
    without_its_folder,
    with_a_file_in_place_of_its_folder,
    outside_the_storage,
    without_a_name,
]


@pytest.mark.database
class TestReplacedMeanwhile:
    @pytest.mark.django_db(transaction=True)
    def test_download_sends_the_new_one(self, client, settings):
        upload(client, {"spam.txt": b"old"})
        replaced = []

        def watch(operation, name):
            if operation == "open" and not replaced:
                replaced.append(name)
                upload(client, {"spam.txt": b"new"})

        store_in(settings, watch)

        assert content(client.get(SPAM)) == b"new"
        assert len(replaced) == 1


@pytest.mark.fault(14)
class TestMissingFile:
    @pytest.mark.parametrize("lose", MISSING)
    @pytest.mark.parametrize("method", ["get", "head"])
    def test_download_finds_none_and_logs_it(self, client, spam, caplog, lose, method):
        lose(spam)

        with caplog.at_level(logging.WARNING, "session_attachments"):
            response = getattr(client, method)(SPAM)

        assert response.status_code == 404
        assert response.headers["Content-Type"] == "application/problem+json"
        (record,) = [
            record
            for record in caplog.records
            if record.name.startswith("session_attachments")
        ]
        assert f"attachment {spam.pk} " in record.getMessage()

    def test_answer_is_that_for_an_unknown_name(self, client, spam):
        without_file(spam)

        response = download(client)

        assert problem(response) == (404, "not_found")
        assert (
            response.content == download(client, "/attachments/bar/spam.txt/").content
        )

    @pytest.mark.parametrize("lose", MISSING)
    def test_everything_else_goes_on(self, client, spam, lose):
        lose(spam)

        assert client.get(URL).json()[0]["name"] == "spam.txt"
        assert client.delete(SPAM).content == b"[true]\r\n"

    def test_file_may_be_uploaded_again(self, client, spam):
        without_file(spam)

        upload(client, {"spam.txt": b"new"})

        assert shelf(client) == {"spam.txt": b"new"}


def opened(settings):
    """Let the storage remember the files that it opens; return them."""
    files = []
    settings.STORAGES = {
        **settings.STORAGES,
        "session_attachments": {
            "BACKEND": f"{__name__}.OpeningStorage",
            "OPTIONS": {"files": files},
        },
    }
    return files


class OpeningStorage(FileSystemStorage):
    """Remembers the files that it opens."""

    def __init__(self, files, **options):
        super().__init__(**options)
        self.files = files

    def _open(self, name, mode="rb"):
        self.files.append(super()._open(name, mode))
        return self.files[-1]


def requests(client):
    """Send each kind of request for ``spam.txt``; yield the answers."""
    yield download(client)
    yield download(client, Range="bytes=2-4")
    yield download(client, Range="bytes=99-")
    yield download(client, If_None_Match="*")
    yield client.head(SPAM)


def close(response):
    """Close an answer as a server does, but keep the test's database connection."""
    request_finished.disconnect(close_old_connections)
    response.close()
    request_finished.connect(close_old_connections)


class TestStreaming:
    @pytest.mark.parametrize("end", [b"".join, close], ids=["read", "not read"])
    def test_file_is_closed(self, client, settings, spam, end):
        files = opened(settings)

        for response in requests(client):
            end(response)

        assert len(files) == 4
        assert all(file.closed for file in files)

    def test_file_is_streamed_and_not_held(self, client):
        upload(client, {"large.bin": bytes(600_000)})

        response = download(client, f"{URL}large.bin/")
        blocks = list(response)

        assert response.streaming
        assert len(blocks) > 1

    def test_download_reads_only_the_part(self, client, settings):
        upload(client, {"large.bin": bytes(300_000)})
        files = opened(settings)

        response = download(client, f"{URL}large.bin/", Range="bytes=10-20")
        content(response)

        (file,) = files
        assert file.closed
        assert response.headers["Content-Length"] == "11"


async def blocks(response):
    """Yield the blocks of an answer; a file comes from an asynchronous iterator."""
    if response.streaming:
        assert response.is_async
        async for block in response:
            yield block


class Stream(io.BytesIO):
    """What can be read once, from its beginning."""

    def seekable(self):
        return False

    def tell(self):
        raise io.UnsupportedOperation


class Remote(FileSystemStorage):
    """Opens files that can neither seek nor tell their size."""

    def _open(self, name, mode="rb"):
        with super()._open(name, mode) as file:
            return File(Stream(file.read()))


class TestFileThatCannotSeek:
    @pytest.fixture(autouse=True)
    def remote(self, settings):
        remote = {"BACKEND": f"{__name__}.Remote"}
        settings.STORAGES = {**settings.STORAGES, "session_attachments": remote}

    @pytest.mark.parametrize("wanted", ["", "bytes=2-4", "bytes=99-"])
    def test_it_comes_whole(self, client, spam, wanted):
        response = download(client, Range=wanted)

        assert response.status_code == 200
        assert content(response) == DIGITS
        assert response.headers["Content-Length"] == "10"
        assert response.headers["Accept-Ranges"] == "none"
        assert "Content-Range" not in response.headers

    def test_head_says_so(self, client, spam):
        response = client.head(SPAM)

        assert response.headers["Content-Length"] == "10"
        assert response.headers["Accept-Ranges"] == "none"


LARGE = f"{URL}large.bin/"


@pytest.fixture
def large(client):
    """Store ``large.bin``, of 600,000 bytes; return its row."""
    upload(client, {"large.bin": bytes(600_000)})
    return Attachment.objects.get()


def shorten(attachment):
    os.truncate(attachment.file.path, 300_000)


class TestFileThatBecomesShorter:
    @pytest.mark.parametrize("wanted", ["", "bytes=100-599099"])
    def test_download_breaks_off(self, client, large, wanted):
        response = download(client, LARGE, Range=wanted)
        shorten(large)

        with pytest.raises(
            EOFError, match=f"attachment {large.pk} ends (300000|299100)"
        ):
            content(response)

    def test_log_tells_what_sendfile_does_not(self, client, large, caplog):
        response = download(client, LARGE)
        shorten(large)
        close(response)

        (record,) = caplog.records
        assert record.levelname == "ERROR"
        assert f"attachment {large.pk} " in record.getMessage()

    def test_what_is_whole_is_not_logged(self, client, large, caplog):
        close(download(client, LARGE))

        assert caplog.records == []


class TestMiddleware:
    """GZipMiddleware compresses streams; ConditionalGetMiddleware compares ETags."""

    @pytest.fixture(autouse=True)
    def compressing(self, settings):
        settings.MIDDLEWARE = [
            "django.middleware.gzip.GZipMiddleware",
            "django.middleware.http.ConditionalGetMiddleware",
            *settings.MIDDLEWARE,
        ]

    @pytest.mark.parametrize(
        ("wanted", "length"), [("", "600000"), ("bytes=100-599000", "598901")]
    )
    def test_download_is_not_compressed(self, client, large, wanted, length):
        response = download(client, LARGE, Accept_Encoding="gzip", Range=wanted)

        assert content(response) == bytes(int(length))
        assert response.headers["Content-Length"] == length
        assert "Content-Encoding" not in response.headers

    def test_etag_stays_strong(self, client, large):
        gzip = {"Accept_Encoding": "gzip"}
        response = download(client, LARGE, **gzip)
        content(response)
        etag = response.headers["ETag"]

        part = download(client, LARGE, **gzip, Range="bytes=0-9", If_Range=etag)

        assert content(part) == bytes(10)
        assert part.headers["ETag"] == etag
        assert download(client, LARGE, **gzip, If_None_Match=etag).status_code == 304

    def test_list_is_compressed(self, client):
        upload(client, {f"{number}.txt": b"" for number in range(9)})

        response = client.get(URL, headers={"Accept-Encoding": "gzip"})

        assert response.headers["Content-Encoding"] == "gzip"


class TestAsgi:
    @pytest.fixture(autouse=True)
    def cookies(self, client, async_client):
        async_client.cookies = client.cookies

    def fetch(self, async_client, method="get", url=SPAM, **headers):
        """Return the answer and its content."""

        async def fetch():
            response = await getattr(async_client, method)(url, headers=headers)
            return response, b"".join([part async for part in blocks(response)])

        return async_to_sync(fetch)()

    def test_headers_are_those_under_wsgi(self, client, async_client, spam):
        wsgi = download(client)

        response, body = self.fetch(async_client)

        assert body == content(wsgi) == DIGITS
        assert response.headers == wsgi.headers

    def test_large_file_comes_whole(self, client, async_client):
        large = bytes(range(256)) * 4096
        upload(client, {"large.bin": large})

        _, body = self.fetch(async_client, url=f"{URL}large.bin/")

        assert body == large

    def test_part_is_sent(self, async_client, spam):
        response, body = self.fetch(async_client, range="bytes=2-4")

        assert response.status_code == 206
        assert body == b"234"

    def test_head_has_no_body(self, client, async_client, spam):
        response, body = self.fetch(async_client, "head")

        assert response.headers == client.head(SPAM).headers
        assert body == b""

    @pytest.mark.parametrize("headers", [{}, {"range": "bytes=2-4"}])
    def test_file_is_closed(self, async_client, settings, spam, headers):
        files = opened(settings)

        self.fetch(async_client, **headers)

        (file,) = files
        assert file.closed

    @pytest.mark.parametrize("headers", [{}, {"range": "bytes=100-599099"}])
    def test_file_is_closed_that_becomes_shorter(
        self, async_client, settings, large, headers
    ):
        files = opened(settings)

        async def fetch():
            response = await async_client.get(LARGE, headers=headers)
            shorten(large)
            return [part async for part in blocks(response)]

        with pytest.raises(EOFError, match=f"attachment {large.pk} ends "):
            async_to_sync(fetch)()

        # Django does not close a response whose reading fails.
        (file,) = files
        assert file.closed

    @pytest.mark.parametrize("headers", [{}, {"range": "bytes=2-4"}])
    def test_file_is_closed_that_nobody_reads(
        self, async_client, settings, spam, headers
    ):
        files = opened(settings)

        async def leave():
            return await async_client.get(SPAM, headers=headers)

        close(async_to_sync(leave)())

        (file,) = files
        assert file.closed

    def test_file_is_closed_after_head(self, async_client, settings, spam):
        files = opened(settings)

        self.fetch(async_client, "head")

        (file,) = files
        assert file.closed


class TestAccel:
    @pytest.fixture(autouse=True)
    def accel(self, settings):
        settings.SESSION_ATTACHMENTS_ACCEL = ("X-Accel-Redirect", "/protected/")

    def test_web_server_sends_the_file(self, client, settings, spam):
        files = opened(settings)

        response = download(client)

        assert response.content == b""
        assert response.headers["X-Accel-Redirect"] == f"/protected/{spam.file}"
        expected = {**HEADERS, "Content-Length": "0"}
        # The web server says it; nginx would say it twice.
        del expected["Accept-Ranges"]
        assert {name: response.headers[name] for name in expected} == expected
        assert {"ETag", "Last-Modified"} <= set(response.headers)
        assert "Accept-Ranges" not in response.headers
        assert files == []

    def test_stored_name_of_02_is_quoted(self, client, spam):
        name = 'session_attachments/0a/1b/50% é?#&+;\r\n".txt'
        Attachment.objects.update(file=name)

        response = download(client)

        assert response.headers["X-Accel-Redirect"] == (
            "/protected/session_attachments/0a/1b/"
            "50%25%20%C3%A9%3F%23%26%2B%3B%0D%0A%22.txt"
        )

    def test_header_may_be_another_servers(self, client, settings, spam):
        settings.SESSION_ATTACHMENTS_ACCEL = ["X-Sendfile", "/srv/private files/"]

        response = download(client)

        assert response.headers["X-Sendfile"] == f"/srv/private files/{spam.file}"

    def test_range_is_left_to_the_web_server(self, client, spam):
        response = download(client, Range="bytes=0-4")

        assert response.status_code == 200
        assert "X-Accel-Redirect" in response.headers

    def test_not_modified_does_not_bother_the_web_server(self, client, spam):
        response = download(client, If_None_Match="*")

        assert response.status_code == 304
        assert "X-Accel-Redirect" not in response.headers

    def test_unknown_name_is_not_found(self, client, spam):
        response = download(client, f"{URL}egg.txt/")

        assert problem(response) == (404, "not_found")
        assert "X-Accel-Redirect" not in response.headers
