"""Uploads that resume, in the words of tus 1.0.0: what is sent and answered."""

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from io import BytesIO
from urllib.parse import quote, unquote

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import AsyncClient, Client
from django.urls import include, path
from django.utils.http import parse_http_date

from session_attachments.models import Attachment, Piece, UnfinishedUpload
from tests.clients import (
    MULTIPART,
    PIECE,
    URL,
    Meanwhile,
    begin,
    begun,
    form,
    names,
    offset,
    part,
    problem,
    resume,
    send,
    shelf,
    upload,
)
from tests.project.models import Contract

pytestmark = [pytest.mark.database, pytest.mark.django_db]

KILOBYTE = 1024
MEGABYTE = 1024 * KILOBYTE
MIB = 1 / MEGABYTE
SECRET = "a" * 32
UNKNOWN = f"{URL}{'0' * 32}/resume/"


def metadata(**values):
    """Return a header with these keys and values."""
    pairs = [f"{key} {b64encode(value).decode()}" for key, value in values.items()]
    return {"HTTP_UPLOAD_METADATA": ",".join(pairs)}


def refused(response):
    """Return the status and code of an error of the protocol."""
    assert response.headers["Tus-Resumable"] == "1.0.0"
    return problem(response)


def expires(response):
    """Return in how many hours the upload expires."""
    moment = parse_http_date(response.headers["Upload-Expires"])
    return round((moment - datetime.now(UTC).timestamp()) / 3600)


@pytest.fixture
def waiting(settings, temporary):
    """Let more than 64 KB wait on the disk; return the folder."""
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 64 * KILOBYTE
    return temporary


class Wire(BytesIO):
    """A body that remembers what was seen at each read."""

    def __init__(self, body, look):
        super().__init__(body)
        self.look = look
        self.seen = []

    def read(self, size=-1, /):
        self.seen.append(self.look())
        return super().read(size)


urlpatterns = [path("prefix/", include("session_attachments.urls"))]


class TestOptions:
    @pytest.mark.parametrize(
        ("url", "allow"),
        [
            (URL, "GET, POST, DELETE, HEAD, OPTIONS"),
            (UNKNOWN, "HEAD, PATCH, DELETE, OPTIONS"),
        ],
    )
    # It need not name a version.
    @pytest.mark.parametrize("version", [{}, {"HTTP_TUS_RESUMABLE": "0.2.2"}])
    def test_what_is_spoken_is_told(self, client, url, allow, version):
        response = client.options(url, **version)

        assert response.status_code == 204
        assert response.content == b""
        assert "Content-Type" not in response.headers
        assert response.headers["Allow"] == allow
        assert response.headers["Tus-Version"] == "1.0.0"
        assert response.headers["Tus-Resumable"] == "1.0.0"
        assert response.headers["Tus-Max-Size"] == str(50 * MEGABYTE)
        assert response.headers["Tus-Extension"] == (
            "creation,creation-with-upload,termination,expiration"
        )

    def test_no_limit_is_not_told(self, client, settings):
        settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = None

        assert "Tus-Max-Size" not in client.options(URL).headers

    def test_other_urls_know_nothing_of_it(self, client):
        response = client.options(f"{URL}spam.txt/")

        assert response.status_code == 200
        assert not [name for name in response.headers if name.startswith("Tus")]

    def test_other_requests_to_a_bundle_are_answered_as_ever(self, client):
        assert not [name for name in client.get(URL).headers if name.startswith("Tus")]
        assert "Tus-Version" not in begin(client, 5).headers


class TestCreation:
    def test_upload_has_a_url_an_offset_and_a_time(self, client, stored):
        response = begin(client, 10)

        assert response.status_code == 201
        assert response.content == b""
        assert "Content-Type" not in response.headers
        assert response.headers["Upload-Offset"] == "0"
        assert response.headers["Cache-Control"] == "private, no-store"
        assert expires(response) == 24
        start, upload_id, end = response.headers["Location"].rsplit("/", 3)[:3]
        assert (start, len(upload_id), end) == (URL[:-1], 32, "resume")
        assert names(client.get(URL)) == []
        assert stored() == []

    def test_first_request_of_a_client_may_be_a_creation(self, client):
        url = begun(client, 5)

        assert "sessionid" in client.cookies
        assert resume(client, url, 0, b"spam\n").status_code == 204
        assert shelf(client) == {"spam.txt": b"spam\n"}

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("size", [9, 100_000], ids=["small", "large"])
    def test_with_the_first_piece(self, client, waiting, stored, size):
        body = bytes(range(250)) * 400

        response = begin(client, 100_001, body=body[:size])

        assert response.status_code == 201
        assert response.headers["Upload-Offset"] == str(size)
        assert len(stored()) == 1
        assert list(waiting.iterdir()) == []
        url = response.headers["Location"]
        assert resume(client, url, size, body[size:] + b"!").status_code == 204
        assert shelf(client) == {"spam.txt": body + b"!"}
        assert len(stored()) == 1

    @pytest.mark.parametrize("size", [0, 5, 70_000])
    def test_with_all_of_it(self, client, waiting, stored, size):
        response = begin(client, size, body=b"x" * size)

        assert response.status_code == 201
        assert response.headers["Upload-Offset"] == str(size)
        assert shelf(client) == {"spam.txt": b"x" * size}
        assert offset(client, response.headers["Location"]) == size
        assert not Piece.objects.exists()
        assert len(stored()) == 1
        assert list(waiting.iterdir()) == []

    def test_no_more_is_read_than_announced(self, client):
        begin(client, 5, body=b"spam\n and more", length=5)

        assert shelf(client) == {"spam.txt": b"spam\n"}

    @pytest.mark.parametrize("url", ["/prefix/foo/", "/prefix/Отчёт 50%;a=b?#&+/"])
    def test_location_is_below_the_request(self, client, settings, url):
        settings.FORCE_SCRIPT_NAME = "/site one"
        settings.ROOT_URLCONF = __name__
        location = begin(client, 5, url=quote(url)).headers["Location"]

        assert location.isascii()
        assert not set(' ?#;"') & set(location)
        assert unquote(location).startswith(f"/site one{url}")
        path = unquote(location).removeprefix("/site one")
        assert resume(client, quote(path), 0, b"spam\n").status_code == 204
        assert names(client.get(quote(url))) == ["spam.txt"]

    def test_form_is_a_form_as_ever(self, client):
        assert names(upload(client, {"spam.txt": b"spam\n"})) == ["spam.txt"]
        assert not UnfinishedUpload.objects.exists()

    def test_override_is_for_uploads_only(self, client):
        override = {"HTTP_X_HTTP_METHOD_OVERRIDE": "PATCH"}

        assert begin(client, 5, **override).status_code == 201


NAMES = {
    "plain": ({"filename": b"spam.txt"}, "spam.txt"),
    "name": ({"name": b"spam.txt"}, "spam.txt"),
    "both": ({"name": b"other", "filename": b"spam.txt"}, "spam.txt"),
    "empty filename": ({"filename": b"", "name": b"spam.txt"}, "spam.txt"),
    "more": ({"filetype": b"text/plain", "filename": b"a", "x": b"\xff"}, "a"),
    "folder": ({"filename": b"a/b\\spam.txt"}, "spam.txt"),
    "entity": ({"filename": b"R&amp;D.txt"}, "R&D.txt"),
    "joiner": ({"filename": "a\u200db\u202e.txt\n".encode()}, "ab.txt"),
    "NFC": ({"filename": "e\u0301.txt".encode()}, "\xe9.txt"),
    "emoji": ({"filename": "😀 Отчёт.txt".encode()}, "😀 Отчёт.txt"),
    "255": ({"filename": b"n" * 255}, "n" * 255),
    "255 in NFC": ({"filename": "e\u0301".encode() * 255}, "\xe9" * 255),
}


class TestName:
    @pytest.mark.parametrize(("values", "name"), NAMES.values(), ids=NAMES)
    def test_name_is_that_of_a_form(self, client, values, name):
        url = begun(client, 5, **metadata(**values))

        resume(client, url, 0, b"spam\n")

        assert shelf(client) == {name: b"spam\n"}

    @pytest.mark.parametrize(
        "values",
        [
            {"filename": b""},
            {"filename": b".."},
            {"filename": b"folder/"},
            {"filename": "\u200d".encode()},
            {"filename": b"n" * 256},
            {"filename": b"\xff.txt"},
            {"Filename": b"spam.txt"},
        ],
        ids=str,
    )
    def test_name_that_cannot_be_kept_is_refused(self, client, values):
        response = begin(client, 5, **metadata(**values))

        assert refused(response) == (400, "bad_name")
        assert isinstance(response.json()["name"], str)
        assert not UnfinishedUpload.objects.exists()

    @pytest.mark.parametrize(
        ("name", "told"),
        [(b"n" * 3000, "n" * 255), (b"\xff" * 3000, "\ufffd" * 255)],
        ids=["long", "not UTF-8"],
    )
    def test_beginning_of_a_long_one_is_told(self, client, name, told):
        response = begin(client, 5, **metadata(filename=name))

        assert refused(response) == (400, "bad_name")
        assert response.json()["name"] == told

    @pytest.mark.parametrize("header", ["", "is_private", "is_private,x "])
    def test_upload_without_a_name_is_refused(self, client, header):
        response = begin(client, 5, HTTP_UPLOAD_METADATA=header)

        assert refused(response) == (400, "bad_name")

    @pytest.mark.parametrize(
        "header",
        [
            "filename c3BhbS50eHQ=",
            "is_private,filename c3BhbS50eHQ=",
            "is_private , filename c3BhbS50eHQ=",
            f"filename c3BhbS50eHQ=,x {'A' * 4072}",
        ],
        ids=lambda header: header[:40],
    )
    def test_metadata_is_handed_back_as_it_was(self, client, header):
        url = begun(client, 5, HTTP_UPLOAD_METADATA=header)

        response = resume(client, url, method="HEAD")

        assert response.headers["Upload-Metadata"] == header


NUMBERS = ["", "1e3", "+1", "-1", "\uff11", "\u0663", "5.0", "5, 5", "five", "9" * 16]
NAME = metadata(filename=b"spam.txt")["HTTP_UPLOAD_METADATA"]
METADATA = {
    "key twice": f"{NAME},{NAME}",
    "key twice, once without a value": f"{NAME},filename",
    "empty pair": f"{NAME},",
    "not padded": "filename Zg",
    "not Base64": "filename spam.txt",
    "URL-safe Base64": "filename _-__",
    "text behind": "filename Zg==Zg==",
    "two values": "filename Zm9v Zm9v",
    "not ASCII": f"{NAME},x\xe9 Zm9v",
    "not printable": f"{NAME},x\x7f Zm9v",
    "tab": "filename\tZm9v",
    "4,097 characters": f"{NAME},xx {'A' * 4072}",
}


def no_spam(file):
    """Validate as a project would."""
    assert (file.name, file.size) == ("spam.txt", len(file.read()))
    raise ValidationError("No spam, please.")


def refusal(code, status, name=None, settings=None, body=b"", **request):
    """Return a row of the table of refused creations."""
    return pytest.param(
        {"size": 5, "body": body, **request}, settings or {}, (status, code), id=name
    )


BODY = {"body": b"spam\n"}
REFUSALS = [
    *(
        refusal("unsupported_version", 412, f"version {version}", **tus)
        for version in ("0.2.2", "1.0", "1.0.0, 1.0.1", "")
        for tus in ({"HTTP_TUS_RESUMABLE": version, **BODY},)
    ),
    *(refusal("bad_header", 400, f"size {size!a}", size=size) for size in NUMBERS),
    *(
        refusal("bad_header", 400, name, HTTP_UPLOAD_METADATA=header)
        for name, header in METADATA.items()
    ),
    refusal("bad_header", 400, "deferred", HTTP_UPLOAD_DEFER_LENGTH="1", **BODY),
    refusal("chunked_upload", 400, "partial", HTTP_UPLOAD_CONCAT="partial", **BODY),
    refusal("chunked_upload", 400, "final", HTTP_UPLOAD_CONCAT="final;/a /b"),
    refusal("chunked_upload", 400, "range", HTTP_CONTENT_RANGE="bytes 0-4/9"),
    refusal("bad_bundle", 400, "bundle", url="/attachments/a%0Ab/"),
    refusal("bad_bundle", 400, "bundle and body", url="/attachments/a%0Ab/", **BODY),
    refusal("unsupported_media_type", 415, "type", content_type="text/plain", **BODY),
    refusal(
        "unsupported_media_type",
        415,
        "form",
        content_type=MULTIPART,
        body=form(part()),
    ),
    refusal("length_required", 411, "chunked", HTTP_TRANSFER_ENCODING="chunked"),
    refusal("file_too_large", 413, "more", body=b"spam and more"),
    refusal("incomplete_upload", 400, "cut", body=b"spam", length=5),
    refusal(
        "file_too_large", 413, "file", {"SESSION_ATTACHMENTS_MAX_FILE_SIZE": 4 * MIB}
    ),
    refusal(
        "bundle_too_large",
        413,
        "quota",
        {"SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE": 4 * MIB},
    ),
    refusal(
        "session_too_large",
        413,
        "quota of the session",
        {"SESSION_ATTACHMENTS_MAX_SESSION_SIZE": 7 * MIB},
        url="/attachments/other/",
    ),
    refusal(
        "too_many_files", 413, "files", {"SESSION_ATTACHMENTS_MAX_BUNDLE_FILES": 0}
    ),
    refusal(
        "session_too_large",
        413,
        "quota with the file",
        {"SESSION_ATTACHMENTS_MAX_SESSION_SIZE": 7 * MIB},
        url="/attachments/other/",
        **BODY,
    ),
    refusal(
        "invalid",
        400,
        "validator",
        {"SESSION_ATTACHMENTS_VALIDATORS": [f"{__name__}.no_spam"]},
        **BODY,
    ),
]


class TestRefusedCreation:
    @pytest.mark.parametrize(("request_", "limits", "expected"), REFUSALS)
    def test_it_leaves_nothing(
        self, client, settings, stored, temporary, request_, limits, expected
    ):
        upload(client, {"spam.txt": b"old"})
        before = stored()
        for setting, value in limits.items():
            setattr(settings, setting, value)
        asked = {"name": "spam.txt", **request_}
        if "content_type" in asked:
            response = send(
                client,
                asked["body"],
                asked["content_type"],
                HTTP_TUS_RESUMABLE="1.0.0",
                HTTP_UPLOAD_LENGTH="5",
                HTTP_UPLOAD_METADATA=NAME,
            )
        else:
            if "HTTP_TRANSFER_ENCODING" in asked:
                asked["CONTENT_LENGTH"] = ""
            response = begin(client, **asked)

        assert refused(response) == expected
        assert not UnfinishedUpload.objects.exists()
        assert stored() == before
        assert list(temporary.iterdir()) == []
        assert shelf(client) == {"spam.txt": b"old"}

    @pytest.mark.parametrize(
        ("setting", "code"),
        [("MAX_FILE_SIZE", "file_too_large"), ("MAX_BUNDLE_SIZE", "bundle_too_large")],
    )
    def test_body_is_not_kept_before(self, client, settings, waiting, setting, code):
        setattr(settings, f"SESSION_ATTACHMENTS_{setting}", 0.5)
        wire = Wire(bytes(MEGABYTE), lambda: list(waiting.iterdir()))
        sent = {"body": b"x", "length": MEGABYTE, "wsgi.input": wire}

        assert refused(begin(client, MEGABYTE, **sent)) == (413, code)
        assert wire.tell() == MEGABYTE
        assert not any(wire.seen)

    @pytest.mark.parametrize(
        "header", ["UPLOAD_LENGTH", "UPLOAD_METADATA", "UPLOAD_DEFER_LENGTH"]
    )
    def test_header_is_named(self, client, header):
        response = begin(client, 5, **{f"HTTP_{header}": "\xe9"})

        name = header.title().replace("_", "-")
        assert refused(response) == (400, "bad_header")
        assert response.json()["name"] == name
        assert response.json()["detail"] == f"The header {name} is missing or wrong."

    def test_size_and_version_may_be_missing(self, client):
        for header in ("HTTP_UPLOAD_LENGTH", "HTTP_UPLOAD_METADATA"):
            headers = {
                "HTTP_TUS_RESUMABLE": "1.0.0",
                "HTTP_UPLOAD_LENGTH": "5",
                "HTTP_UPLOAD_METADATA": NAME,
            }
            del headers[header]

            assert refused(send(client, b"", "", **headers))[0] == 400
        assert not UnfinishedUpload.objects.exists()

    def test_version_that_is_spoken_is_told(self, client):
        response = begin(client, 5, HTTP_TUS_RESUMABLE="0.2.2")

        assert response.headers["Tus-Version"] == "1.0.0"

    def test_number_may_begin_with_zeros(self, client):
        url = begun(client, f"{5:015}")

        assert resume(client, url, f"{0:015}", b"spam\n").status_code == 204
        assert shelf(client) == {"spam.txt": b"spam\n"}

    def test_largest_number_is_a_size(self, client, settings):
        settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = None
        settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = 10**15 / MEGABYTE

        url = begun(client, 10**15 - 1)

        assert resume(client, url, method="HEAD").headers["Upload-Length"] == "9" * 15
        assert refused(begin(client, 10**15 - 1)) == (413, "session_too_large")

    def test_creation_that_replaces_what_is_protected_leaves_nothing(
        self, client, stored
    ):
        upload(client, {"spam.txt": b"old"})
        Contract.objects.create(attachment=Attachment.objects.get())
        before = stored()

        response = begin(client, 5, body=b"spam\n")

        assert refused(response) == (409, "protected")
        assert not UnfinishedUpload.objects.exists()
        assert stored() == before


class TestHead:
    def test_it_says_how_far_the_upload_is(self, client):
        url = begun(client, 10, b"spam", b"\n")

        response = resume(client, url, method="HEAD")

        assert response.status_code == 200
        assert response.headers["Upload-Offset"] == "5"
        assert response.headers["Upload-Length"] == "10"
        assert response.headers["Tus-Resumable"] == "1.0.0"
        assert "no-store" in response.headers["Cache-Control"]
        assert "Content-Type" not in response.headers
        assert expires(response) == 24

    def test_empty_one_has_a_length(self, client):
        response = resume(client, begun(client, 0), method="HEAD")

        assert response.status_code == 200
        assert response.headers["Upload-Offset"] == "0"
        assert response.headers["Upload-Length"] == "0"

    def test_it_changes_nothing(self, client):
        url = begun(client, 10, b"spam\n")
        ago = datetime.now(UTC) - timedelta(hours=20)
        UnfinishedUpload.objects.update(touched=ago)

        for _ in range(2):
            assert expires(resume(client, url, method="HEAD")) == 4

    def test_metadata_that_was_not_sent_is_not_answered(self, client):
        url = begun(client, 10)
        UnfinishedUpload.objects.update(metadata="")

        assert "Upload-Metadata" not in resume(client, url, method="HEAD").headers


def others(client, url):
    """Return requests for an upload of ``client`` that somebody may try."""
    upload_id = url.split("/")[-3]
    stranger = Client()
    upload(stranger, {"spam.txt": b"spam\n"})
    return {
        "unknown": (client, UNKNOWN),
        "capitals": (client, url.replace(upload_id, upload_id.upper())),
        "space": (client, url.replace(upload_id, f"{upload_id}%20")),
        "beginning": (client, url.replace(upload_id, upload_id[:-1])),
        "NUL": (client, url.replace(upload_id, f"{upload_id}%00")),
        "long": (client, url.replace(upload_id, upload_id * 99)),
        "other bundle": (client, url.replace("/foo/", "/bar/")),
        "bundle in capitals": (client, url.replace("/foo/", "/FOO/")),
        "bad bundle": (client, url.replace("/foo/", "/f%0Ao/")),
        "NUL in the bundle": (client, url.replace("/foo/", "/f%00o/")),
        "stranger": (stranger, url),
        "no session": (Client(), url),
    }


class TestOthers:
    @pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
    def test_nobody_else_reaches_an_upload(self, client, stored, method):
        url = begun(client, 9, b"spam\n", name="Ab.txt")
        UnfinishedUpload.objects.update(upload_id="abcdef" * 5 + "ab")
        url = url.replace(url.split("/")[-3], "abcdef" * 5 + "ab")
        requests = others(client, url)
        before = stored()

        for name, (other, wrong) in requests.items():
            response = resume(other, wrong, 5, b"egg\n", method=method)

            assert response.status_code == 404, name
            assert response.headers["Tus-Resumable"] == "1.0.0"
            if method != "HEAD":
                assert refused(response) == (404, "not_found")
        assert stored() == before
        assert offset(client, url) == 5


class TestVersion:
    @pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
    @pytest.mark.parametrize("version", ["0.2.2", "1.0", ""])
    def test_other_version_is_refused(self, client, method, version):
        url = begun(client, 5)

        response = resume(
            client, url, 0, b"spam\n", method=method, HTTP_TUS_RESUMABLE=version
        )

        assert response.status_code == 412
        assert response.headers["Tus-Version"] == "1.0.0"
        assert response.headers["Tus-Resumable"] == "1.0.0"
        assert offset(client, url) == 0

    @pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
    def test_none_is_refused(self, client, method):
        url = begun(client, 5)

        assert client.generic(method, url).status_code == 412
        assert offset(client, url) == 0


class TestPatch:
    def test_offset_moves(self, client):
        url = begun(client, 10)
        ago = datetime.now(UTC) - timedelta(hours=20)
        UnfinishedUpload.objects.update(touched=ago)

        response = resume(client, url, 0, b"spam\n")

        assert response.status_code == 204
        assert response.content == b""
        assert "Content-Type" not in response.headers
        assert response.headers["Upload-Offset"] == "5"
        assert response.headers["Tus-Resumable"] == "1.0.0"
        assert expires(response) == 24
        assert expires(resume(client, url, method="HEAD")) == 24

    def test_last_one_makes_the_attachment(self, client, stored):
        url = begun(client, 9, b"spam\n")

        response = resume(client, url, 5, b"egg\n")

        assert response.status_code == 204
        assert response.headers["Upload-Offset"] == "9"
        assert expires(response) == 24
        assert shelf(client) == {"spam.txt": b"spam\negg\n"}
        assert offset(client, url) == 9

    def test_nothing_may_come(self, client, stored):
        url = begun(client, 5)

        response = resume(client, url, 0, b"")

        assert response.status_code == 204
        assert response.headers["Upload-Offset"] == "0"
        assert stored() == []

    def test_nothing_may_come_of_a_finished_one(self, client, stored):
        url = begun(client, 5, b"spam\n")
        before = stored()

        response = resume(client, url, 5, b"")

        assert response.status_code == 204
        assert response.headers["Upload-Offset"] == "5"
        assert stored() == before

    @pytest.mark.parametrize(
        ("at", "body", "expected"),
        [
            (0, b"spam\n", (409, "wrong_offset")),
            (0, b"", (409, "wrong_offset")),
            (5, b"!", (413, "file_too_large")),
        ],
    )
    def test_more_of_a_finished_one_is_refused(
        self, client, stored, at, body, expected
    ):
        url = begun(client, 5, b"spam\n")
        before = stored()

        response = resume(client, url, at, body)

        assert refused(response) == expected
        assert response.headers.get("Upload-Offset", "5") == "5"
        assert offset(client, url) == 5
        assert stored() == before

    def test_no_more_is_read_than_announced(self, client):
        url = begun(client, 9)

        resume(client, url, 0, b"spam\n and more", length=5)

        assert offset(client, url) == 5

    @pytest.mark.parametrize("came", [0, 4, 69_000])
    def test_body_that_is_cut_counts_up_to_the_cut(self, client, waiting, came):
        url = begun(client, 70_000)

        response = resume(client, url, 0, b"x" * came, length=70_000)

        assert response.status_code == 204
        assert response.headers["Upload-Offset"] == str(came)
        assert names(client.get(URL)) == []
        rest = b"y" * (70_000 - came)
        assert resume(client, url, came, rest).status_code == 204
        assert shelf(client) == {"spam.txt": b"x" * came + rest}

    @pytest.mark.parametrize("came", [0, 60_000])
    def test_connection_breaks(self, client, waiting, came):
        class Broken(BytesIO):
            def read(self, size=-1, /):
                if self.tell() == came:
                    raise OSError("The client is gone.")
                return super().read(min(size, came))

        url = begun(client, 70_000)

        wire = Broken(bytes(60_000))
        resume(client, url, 0, b"", length=70_000, **{"wsgi.input": wire})

        assert offset(client, url) == came

    @pytest.mark.parametrize(
        ("request_", "expected"),
        [
            *(
                ({"offset": number}, (400, "bad_header"))
                for number in [*NUMBERS, "0x5", " 5 5"]
            ),
            ({"offset": 4}, (409, "wrong_offset")),
            ({"offset": 6}, (409, "wrong_offset")),
            ({"offset": 0}, (409, "wrong_offset")),
            ({"offset": "9" * 15}, (409, "wrong_offset")),
            ({"content_type": "text/plain"}, (415, "unsupported_media_type")),
            ({"content_type": ""}, (415, "unsupported_media_type")),
            ({"content_type": MULTIPART}, (415, "unsupported_media_type")),
            ({"body": b"egg\n!"}, (413, "file_too_large")),
            ({"body": b"egg\n!", "length": 5}, (413, "file_too_large")),
            ({"CONTENT_LENGTH": ""}, (411, "length_required")),
            ({"CONTENT_LENGTH": "four"}, (411, "length_required")),
            (
                {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"},
                (411, "length_required"),
            ),
        ],
        ids=ascii,
    )
    def test_what_is_refused_changes_nothing(
        self, client, stored, temporary, request_, expected
    ):
        url = begun(client, 9, b"spam\n")
        before = stored()

        response = resume(client, url, **{"offset": 5, "body": b"egg\n", **request_})

        assert refused(response) == expected
        if expected[1] == "wrong_offset":
            assert response.headers["Upload-Offset"] == "5"
            assert response.json()["detail"] == "The upload continues elsewhere."
        else:
            assert "Upload-Offset" not in response.headers
        if expected[1] == "bad_header":
            assert response.json()["name"] == "Upload-Offset"
        assert stored() == before
        assert list(temporary.iterdir()) == []
        assert resume(client, url, 5, b"egg\n").status_code == 204
        assert shelf(client) == {"spam.txt": b"spam\negg\n"}

    def test_offset_may_be_missing_by_mistake(self, client):
        url = begun(client, 5)

        response = send(
            client,
            b"spam\n",
            PIECE,
            url=url,
            method="PATCH",
            HTTP_TUS_RESUMABLE="1.0.0",
        )

        assert refused(response) == (400, "bad_header")

    def test_body_that_is_not_wanted_is_read_and_not_kept(self, client, waiting):
        url = begun(client, MEGABYTE)
        wire = Wire(bytes(MEGABYTE), lambda: list(waiting.iterdir()))

        response = resume(client, url, 1, length=MEGABYTE, **{"wsgi.input": wire})

        assert refused(response) == (409, "wrong_offset")
        assert wire.tell() == MEGABYTE
        assert not any(wire.seen)


class TestOtherMethods:
    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "TRACE", "COPY"])
    def test_they_are_refused(self, client, method):
        url = begun(client, 5)

        response = resume(client, url, 0, b"spam\n", method=method)

        assert refused(response) == (405, "method_not_allowed")
        assert response.headers["Allow"] == "HEAD, PATCH, DELETE, OPTIONS"
        assert offset(client, url) == 0

    def test_post_may_stand_for_patch(self, client):
        url = begun(client, 9, b"spam\n")
        override = {"method": "POST", "HTTP_X_HTTP_METHOD_OVERRIDE": "PATCH"}

        response = resume(client, url, 5, b"egg\n", **override)

        assert response.status_code == 204
        assert shelf(client) == {"spam.txt": b"spam\negg\n"}

    @pytest.mark.parametrize(
        ("method", "override"),
        [("POST", "DELETE"), ("POST", "HEAD"), ("POST", "patch"), ("GET", "PATCH")],
    )
    def test_for_nothing_else(self, client, method, override):
        url = begun(client, 5)

        response = resume(
            client,
            url,
            0,
            b"spam\n",
            method=method,
            HTTP_X_HTTP_METHOD_OVERRIDE=override,
        )

        assert refused(response) == (405, "method_not_allowed")
        assert offset(client, url) == 0


class TestToken:
    @pytest.fixture
    def strict(self):
        """Return a client whose token is checked, with an upload, and its URL."""
        plain = Client()
        url = begun(plain, 9, b"spam\n")
        strict = Client(enforce_csrf_checks=True)
        strict.cookies = plain.cookies
        strict.cookies["csrftoken"] = SECRET
        return strict, url

    METHODS = [
        ("PATCH", {}),
        ("POST", {"HTTP_X_HTTP_METHOD_OVERRIDE": "PATCH"}),
        ("DELETE", {}),
    ]

    @pytest.mark.parametrize(("method", "override"), METHODS)
    @pytest.mark.parametrize("token", [{}, {"HTTP_X_CSRFTOKEN": "b" * 32}])
    def test_every_method_that_changes_needs_it(
        self, strict, stored, method, override, token
    ):
        client, url = strict
        before = stored()

        response = resume(client, url, 5, b"egg\n", method, **override, **token)

        assert response.status_code == 403
        assert response.headers["Content-Type"].startswith("text/html")
        assert stored() == before
        assert offset(client, url) == 5

    @pytest.mark.parametrize(("method", "override"), METHODS)
    def test_right_one_is_let_in(self, strict, method, override):
        client, url = strict
        token = {"HTTP_X_CSRFTOKEN": SECRET}

        response = resume(client, url, 5, b"egg\n", method, **override, **token)

        assert response.status_code == 204

    def test_creation_needs_it(self, strict):
        client, _ = strict

        assert begin(client, 5).status_code == 403
        assert begin(client, 5, HTTP_X_CSRFTOKEN=SECRET).status_code == 201
        assert UnfinishedUpload.objects.count() == 2

    def test_no_token_in_a_body_helps(self, strict):
        client, url = strict
        body = f"csrfmiddlewaretoken={SECRET}".encode()
        type_ = "application/x-www-form-urlencoded"

        assert resume(client, url, 5, body, content_type=type_).status_code == 403


@pytest.mark.django_db(transaction=True)
class TestAtomicRequests:
    @pytest.mark.parametrize("piece", [b"egg\n", b"egg"], ids=["last", "other"])
    def test_no_transaction_is_open_while_bytes_come(self, client, monkeypatch, piece):
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
        seen = []
        url = begun(client, 9, b"spam\n")
        wire = Meanwhile(piece, lambda: seen.append(connection.in_atomic_block))

        resume(client, url, 5, b"", length=len(piece), **{"wsgi.input": wire})
        wire = Meanwhile(b"spam\n", lambda: seen.append(connection.in_atomic_block))
        begin(client, 9, body=b"spam\n", name="b", **{"wsgi.input": wire})

        assert set(seen) == {False}
        assert offset(client, url) == 5 + len(piece)


@pytest.mark.django_db(transaction=True)
class TestAsgi:
    @pytest.mark.parametrize("size", [3000, 70_000])
    def test_upload_resumes(self, waiting, stored, size):
        client = AsyncClient()
        headers = {
            "Tus-Resumable": "1.0.0",
            "Upload-Length": str(2 * size),
            "Upload-Metadata": NAME,
        }

        async def send_all():
            begun = await client.generic(
                "POST", URL, b"x" * size, PIECE, headers=headers
            )
            assert begun.headers["Upload-Offset"] == str(size)
            return await client.generic(
                "PATCH",
                begun.headers["Location"],
                b"y" * size,
                PIECE,
                headers={**headers, "Upload-Offset": str(size)},
            )

        response = async_to_sync(send_all)()

        assert response.status_code == 204
        assert response.headers["Upload-Offset"] == str(2 * size)
        plain = Client()
        plain.cookies = client.cookies
        assert shelf(plain) == {"spam.txt": b"x" * size + b"y" * size}
        assert len(stored()) == 1
