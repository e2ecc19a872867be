"""The app behind real servers, spoken to through sockets and with curl."""

import shutil
import subprocess
from importlib.util import find_spec

import pytest

from tests.clients import MULTIPART, URL, form, part
from tests.servers import Client, running

pytestmark = pytest.mark.server

KILOBYTE = 1024
MEGABYTE = 1024 * KILOBYTE
LIMITS = {
    "DATA_UPLOAD_MAX_MEMORY_SIZE": 10_000,
    "DATA_UPLOAD_MAX_NUMBER_FIELDS": 10,
    "DATA_UPLOAD_MAX_NUMBER_FILES": 5,
    "SESSION_ATTACHMENTS_MAX_BUNDLE_FILES": 3,
    "SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE": 1.25,
    "SESSION_ATTACHMENTS_MAX_FILE_SIZE": 1,
    "SESSION_ATTACHMENTS_MAX_SESSION_SIZE": 1.75,
    "SESSION_ATTACHMENTS_VALIDATORS": ["tests.servers.no_programs"],
}


NEEDS = {
    kind: pytest.mark.skipif(find_spec(kind) is None, reason=f"needs {kind}")
    for kind in ("gunicorn", "uvicorn")
}


@pytest.fixture(scope="session")
def gunicorn(tmp_path_factory):
    """Run gunicorn with threads; return the server."""
    with running("gunicorn", tmp_path_factory.mktemp("gunicorn"), **LIMITS) as server:
        yield server


@pytest.fixture(scope="session")
def uvicorn(tmp_path_factory):
    """Run uvicorn; return the server."""
    with running("uvicorn", tmp_path_factory.mktemp("uvicorn"), **LIMITS) as server:
        yield server


@pytest.fixture(params=[pytest.param(kind, marks=NEEDS[kind]) for kind in NEEDS])
def server(request):
    """Return one server after the other."""
    return request.getfixturevalue(request.param)


def keep(server):
    """Return a client whose session holds what every test must leave alone."""
    client = Client(server)
    assert client.get(URL).content == b"[]\r\n"
    assert client.post(URL, form(part(b"old")), MULTIPART).status == 200
    large = part(b"b" * 900 * KILOBYTE, "large.bin")
    assert client.post("/attachments/bar/", form(large), MULTIPART).status == 200
    return client


def kept(client):
    """Whether what keep() has stored is still there, and nothing else new."""
    (row,) = client.get(URL).json()
    (large,) = client.get("/attachments/bar/").json()
    return (
        (row["name"], row["size"]) == ("spam.txt", 3)
        and (large["name"], large["size"]) == ("large.bin", 900 * KILOBYTE)
        and client.get(f"{URL}spam.txt/").content == b"old"
        and client.server.temporary() == []
    )


def kilobytes(*sizes):
    """Return a form of files of these sizes."""
    return form(*(part(b"b" * n * KILOBYTE, f"{i}.bin") for i, n in enumerate(sizes)))


NEW = part(b"new")
ROWS = {
    "no body": (b"", {}, (400, "no_file")),
    "only fields": (form(part(b"egg", None)), {}, (400, "no_file")),
    "empty file name": (form(part(name="")), {}, (400, "no_file")),
    "JSON": (b"{}", {"type_": "application/json"}, (400, "no_file")),
    "urlencoded": (
        b"a=b",
        {"type_": "application/x-www-form-urlencoded"},
        (400, "no_file"),
    ),
    "no end": (form(NEW, end=b""), {}, (400, "incomplete_upload")),
    "no boundary": (
        form(NEW),
        {"type_": "multipart/form-data"},
        (400, "incomplete_upload"),
    ),
    "another boundary": (
        form(NEW),
        {"type_": f"{MULTIPART}s"},
        (400, "incomplete_upload"),
    ),
    "garbage": (bytes(range(256)), {}, (400, "incomplete_upload")),
    "long part header": (
        form(NEW, part(headers=f"X: {'x' * 1024}\r\n")),
        {},
        (400, "incomplete_upload"),
    ),
    "many fields": (form(NEW, *[part(b"", None)] * 20), {}, (400, "bad_form")),
    "long name": (form(NEW, part(name="n" * 256)), {}, (400, "bad_name")),
    "bad bundle": (
        form(NEW),
        {"url": f"/attachments/{'b' * 257}/"},
        (400, "bad_bundle"),
    ),
    "control in bundle": (
        form(NEW),
        {"url": "/attachments/a%00b/"},
        (400, "bad_bundle"),
    ),
    "validator": (form(NEW, part(name="a.exe")), {}, (400, "invalid")),
    "file": (kilobytes(1, 1100), {}, (413, "file_too_large")),
    "bundle": (kilobytes(700, 700), {}, (413, "bundle_too_large")),
    "session": (kilobytes(900), {}, (413, "session_too_large")),
    "quota of files": (kilobytes(1, 1, 1, 1), {}, (413, "too_many_files")),
    "files of a form": (form(*[NEW] * 6), {}, (413, "too_many_files")),
    "large field": (
        form(NEW, part(b"f" * 10_001, None)),
        {},
        (413, "form_too_large"),
    ),
    "large urlencoded body": (
        b"a=" + b"b" * 10_000,
        {"type_": "application/x-www-form-urlencoded"},
        (413, "form_too_large"),
    ),
}


class TestRefusal:
    @pytest.mark.parametrize(("body", "options", "expected"), ROWS.values(), ids=ROWS)
    def test_upload_that_is_refused_changes_nothing(
        self, server, body, options, expected
    ):
        client = keep(server)
        before = server.stored()

        answer = client.post(body=body, **{"url": URL, "type_": MULTIPART, **options})

        assert answer.problem == expected
        assert server.stored() == before
        assert kept(client)

    def test_large_body_is_answered_when_it_is_sent(self, server):
        client = keep(server)
        before = server.stored()

        answer = client.post(URL, kilobytes(20 * KILOBYTE), MULTIPART)

        assert answer.problem == (413, "file_too_large")
        assert answer.json()["limit"] == MEGABYTE
        assert server.stored() == before
        assert kept(client)

    @pytest.mark.parametrize("cookies", [{}, {"csrftoken": "b" * 32}])
    def test_upload_without_the_right_token_is_refused(self, server, cookies):
        client = keep(server)
        before = server.stored()
        foreign = Client(server, {**cookies, "sessionid": client.cookies["sessionid"]})

        answer = foreign.post(URL, kilobytes(5000), MULTIPART)

        # With a secret the form is read for the token, within the limits.
        assert answer.status == (413 if cookies else 403)
        assert foreign.post(URL, form(NEW), MULTIPART).status == 403
        assert foreign.request("DELETE", URL).status == 403
        assert foreign.request("POST", f"{URL}delete/").status == 403
        assert server.stored() == before
        assert kept(client)

    def test_missing_attachment_and_wrong_method_are_told(self, server):
        client = keep(server)

        assert client.get(f"{URL}missing.txt/").problem == (404, "not_found")
        assert client.request("PUT", URL).problem == (405, "method_not_allowed")
        assert kept(client)

    @NEEDS["gunicorn"]
    def test_body_that_is_cut_is_refused(self, gunicorn):
        client = keep(gunicorn)
        before = gunicorn.stored()
        body = form(NEW, part(b"b" * 100_000, "b.bin"))

        answers = [
            client.post(URL, body[:length], MULTIPART, length=len(body), cut=True)
            for length in (0, 50, 200, 90_000, len(body) - 1)
        ]

        assert {answer.problem for answer in answers} == {(400, "incomplete_upload")}
        assert gunicorn.stored() == before
        assert kept(client)

    @NEEDS["uvicorn"]
    def test_body_that_is_cut_reaches_no_view_under_asgi(self, uvicorn):
        client = keep(uvicorn)
        before = uvicorn.stored()
        body = form(NEW, part(b"b" * 3 * MEGABYTE, "b.bin"))

        answer = client.post(URL, body[:-9], MULTIPART, length=len(body), cut=True)

        assert answer is None
        assert uvicorn.stored() == before
        assert kept(client)


class TestChunked:
    @NEEDS["gunicorn"]
    @pytest.mark.parametrize("size", [1, 3000])
    def test_body_of_unknown_length_is_refused_under_wsgi(self, gunicorn, size):
        client = keep(gunicorn)
        before = gunicorn.stored()

        answer = client.post_chunked(URL, kilobytes(size), MULTIPART)

        assert answer.problem == (411, "length_required")
        assert gunicorn.stored() == before
        assert kept(client)

    @NEEDS["gunicorn"]
    def test_chunks_that_are_none_are_refused_under_wsgi(self, gunicorn):
        client = keep(gunicorn)

        answer = client.request(
            "POST",
            URL,
            b"zz\r\nabc",
            Content_Type=MULTIPART,
            Transfer_Encoding="chunked",
        )

        assert answer.problem == (411, "length_required")
        assert kept(client)

    @NEEDS["uvicorn"]
    def test_body_of_unknown_length_is_taken_under_asgi(self, uvicorn):
        client = Client(uvicorn)
        client.get(URL)

        answer = client.post_chunked(URL, kilobytes(800), MULTIPART)

        assert answer.status == 200
        assert answer.json()[0]["size"] == 800 * KILOBYTE
        assert client.get(f"{URL}0.bin/").content == b"b" * 800 * KILOBYTE
        assert uvicorn.temporary() == []

    @NEEDS["uvicorn"]
    def test_body_of_unknown_length_is_limited_under_asgi(self, uvicorn):
        client = keep(uvicorn)
        before = uvicorn.stored()

        answer = client.post_chunked(URL, kilobytes(5000), MULTIPART)

        assert answer.problem == (413, "file_too_large")
        assert uvicorn.stored() == before
        assert kept(client)


class TestDownload:
    def test_file_comes_whole_and_in_part(self, server):
        client = Client(server)
        client.get(URL)
        large = bytes(range(256)) * 4000
        client.post(URL, form(part(large, "large.bin"), part(b"", "empty")), MULTIPART)
        url = f"{URL}large.bin/"

        whole = client.get(url)
        some = client.request("GET", url, Range="bytes=1000-500000")
        head = client.request("HEAD", url)

        assert whole.content == large
        assert (some.status, some.content) == (206, large[1000:500001])
        assert head.content == b""
        assert head.headers["Content-Length"] == whole.headers["Content-Length"]
        assert client.get(f"{URL}empty/").content == b""

    def test_client_may_go_away(self, server):
        client = keep(server)

        with client.connect() as connection:
            client.send(connection, "GET", "/attachments/bar/large.bin/")
            connection.recv(1000)

        assert kept(client)
        assert "Traceback" not in server.log()


@pytest.fixture
def without_csrf(tmp_path):
    """Run gunicorn without CsrfViewMiddleware; return the server."""
    from tests.settings import MIDDLEWARE

    middleware = [path for path in MIDDLEWARE if "csrf" not in path]
    with running("gunicorn", tmp_path, MIDDLEWARE=middleware) as server:
        yield server


@NEEDS["gunicorn"]
@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_curl_works_as_the_readme_of_02_says(without_csrf):
    folder = without_csrf.folder
    (folder / "spam.txt").write_text("spam\n")
    (folder / "egg.txt").write_text("egg\n")

    def curl(arguments):
        session = "--cookie session.txt --cookie-jar session.txt --noproxy * -sS"
        command = ["curl", *session.split(), *arguments.split()]
        command[-1] = f"{without_csrf.url}{command[-1]}"
        return subprocess.run(
            command, cwd=folder, capture_output=True, check=True, text=True
        ).stdout

    files = "-F attach1=@spam.txt -F attach2=@egg.txt"
    uploaded = curl(f"{files} -X POST /attachments/foo/")

    egg, spam = uploaded.split("}, {")
    start = '[{"mimetype": "text/plain", "size": 4, "name": "egg.txt", "created": "'
    assert egg.startswith(start)
    assert spam.startswith('"mimetype": "text/plain", "size": 5, "name": "spam.txt", ')
    assert curl("-X GET /attachments/foo/") == uploaded
    assert curl("-X GET /attachments/foo/spam.txt/") == "spam\n"
    assert curl("-X POST /attachments/foo/spam.txt/delete/") == "[true]\n"
    assert curl("-X POST /attachments/foo/delete/") == "[[true]]\n"
