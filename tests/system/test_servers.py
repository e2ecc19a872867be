"""The app behind real servers, spoken to through sockets and with curl."""

import json
import os
import shutil
import subprocess
from contextlib import ExitStack, nullcontext
from importlib.util import find_spec
from pathlib import Path
from socket import SHUT_WR
from urllib.parse import quote

import pytest

from tests.clients import MULTIPART, NEEDS, URL, form, needs_nginx, part
from tests.servers import (
    KILOBYTE,
    TOKEN,
    Client,
    another,
    behind_nginx,
    eventually,
    going_on,
    open_files,
    running,
)

pytestmark = [
    pytest.mark.server,
    pytest.mark.slow,
    pytest.mark.skipif(
        not Path("/proc/self/fd").exists(), reason="needs Linux's /proc"
    ),
]

needs_granian = pytest.mark.skipif(not find_spec("granian"), reason="needs granian")

# Kinds of servers; and some behind an nginx which reads requests and answers to their
# end before it hands them on, or hands on what it has.
SERVERS = {
    "runserver": [],
    "gunicorn sync": [NEEDS["gunicorn"]],
    "gunicorn": [NEEDS["gunicorn"]],
    "uvicorn": [NEEDS["uvicorn"]],
    "granian wsgi": [needs_granian],
    "granian asgi": [needs_granian],
    "gunicorn, nginx with buffering": [NEEDS["gunicorn"], needs_nginx],
    "gunicorn, nginx without buffering": [NEEDS["gunicorn"], needs_nginx],
    "uvicorn, nginx with buffering": [NEEDS["uvicorn"], needs_nginx],
    "uvicorn, nginx without buffering": [NEEDS["uvicorn"], needs_nginx],
}
CLOSING = {"gunicorn sync"}
# Django reads no body without a Content-Length under WSGI.
NOT_CHUNKED = {
    "runserver",
    "gunicorn sync",
    "gunicorn",
    "granian wsgi",
    "gunicorn, nginx without buffering",
}
# What is read while it comes, and handed on by nobody in between.
COUNTS = {"runserver", "gunicorn sync", "gunicorn"}
LOCATION = """
    location / {{
        proxy_pass {url};
        proxy_http_version 1.1;
        proxy_buffering {buffering};
        proxy_request_buffering {buffering};
        client_max_body_size 20m;
    }}
"""
# More than the buffers of the two ends hold.
SIZE = 8000 * KILOBYTE
LARGE = bytes(range(250)) * (SIZE // 250)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Return a function that starts a server, once; all share a database."""
    limit = {"SESSION_ATTACHMENTS_MAX_FILE_SIZE": SIZE / KILOBYTE**2}
    with (
        running("runserver", tmp_path_factory.mktemp("server"), **limit) as first,
        ExitStack() as stack,
    ):
        servers = {"runserver": first}

        def start(name):
            if name not in servers:
                kind, _, proxy = name.partition(", nginx ")
                if proxy:
                    buffering = {"with": "on", "without": "off"}[proxy.split()[0]]
                    locations = LOCATION.format(
                        url=start(kind).url, buffering=buffering
                    )
                    context = behind_nginx(start(kind), locations)
                else:
                    context = another(first, kind)
                servers[name] = stack.enter_context(context)
            return servers[name]

        yield start


@pytest.fixture(params=[pytest.param(name, marks=SERVERS[name]) for name in SERVERS])
def name(request):
    """Return one server's name after the other."""
    return request.param


@pytest.fixture
def server(start, name):
    """Return the server, which must come out unharmed."""
    server = start(name)
    yield server
    eventually(lambda: server.temporary() + server.open_temporary() == [])
    for fault in ("Traceback", "StreamingHttpResponse must", "unclosed file"):
        assert fault not in server.log()


@pytest.fixture
def client(server):
    """Return a client with a session."""
    client = Client(server)
    assert client.get(URL).content == b"[]\r\n"
    return client


def upload(client, **files):
    """Store files; return their names and sizes."""
    body = form(*(part(content, name) for name, content in files.items()))
    return listed(client.post(URL, body, MULTIPART))


def listed(answer):
    """Return the names and sizes in a list."""
    assert answer.status == 200, answer
    return {row["name"]: row["size"] for row in answer.json()}


def stored_by(answer):
    """Return the names in the list that a PUT of a new file is answered with."""
    assert answer.status == 201, answer
    return [row["name"] for row in answer.json()]


def test_everything_works_and_the_connection_is_kept(client, name):
    with nullcontext() if name in CLOSING else client.keep_alive():
        assert upload(client, small=b"spam\n", empty=b"") == {"empty": 0, "small": 5}
        assert upload(client, large=LARGE) == {"large": SIZE}
        assert listed(client.get(URL)) == {"empty": 0, "large": SIZE, "small": 5}

        whole = client.get(f"{URL}large/")
        head = client.request("HEAD", f"{URL}large/")
        some = client.request("GET", f"{URL}large/", Range="bytes=1000-5000000")
        end = client.request("GET", f"{URL}large/", Range="bytes=-3")
        none = client.request("GET", f"{URL}large/", Range=f"bytes={SIZE}-")
        assert whole.content == LARGE
        assert (head.status, head.content) == (200, b"")
        assert head.headers["Content-Length"] == whole.headers["Content-Length"]
        assert (some.status, some.content) == (206, LARGE[1000:5000001])
        assert (end.status, end.content) == (206, LARGE[-3:])
        assert (none.status, none.content) == (416, b"")
        assert client.get(f"{URL}empty/").content == b""

        assert upload(client, small=LARGE) == {"small": SIZE}
        assert client.get(f"{URL}small/").content == LARGE

        too_large = client.post(URL, form(part(LARGE * 2)), MULTIPART)
        assert too_large.problem == (413, "file_too_large")
        assert client.request("PUT", URL).problem == (405, "method_not_allowed")
        assert client.get(f"{URL}missing/").problem == (404, "not_found")

        assert client.request("DELETE", f"{URL}small/").content == b"[true]\r\n"
        assert listed(client.get(URL)) == {"empty": 0, "large": SIZE}
        deleted = client.request("POST", f"{URL}delete/", Content_Length=0)
        assert deleted.content == b"[[true], [true]]\r\n"
        assert client.get(f"{URL}large/").problem == (404, "not_found")


def test_body_of_unknown_length(client, name):
    # What nginx gets with the headers it hands on with a length. What runserver does
    # not get with the headers it leaves unread, which resets the connection.
    size = 200_000 if "nginx" in name else 5000
    answer = client.post_chunked(URL, form(part(bytes(size))), MULTIPART)

    if name in NOT_CHUNKED:
        assert answer.problem == (411, "length_required")
    else:
        assert listed(answer) == {"spam.txt": size}


def test_file_is_put(client, name):
    with nullcontext() if name in CLOSING else client.keep_alive():
        for slash in ("", "/"):
            assert stored_by(client.put(f"{URL}small{slash}", b"spam\n")) == ["small"]
            assert client.put(f"{URL}empty{slash}", b"").json()[0]["size"] == 0
            assert stored_by(client.put(f"{URL}delete{slash}", LARGE)) == ["delete"]
            assert listed(client.get(URL)) == {"delete": SIZE, "empty": 0, "small": 5}

            replaced = client.put(f"{URL}small{slash}", LARGE)
            assert (replaced.status, listed(replaced)) == (200, {"small": SIZE})
            assert client.get(f"{URL}small{slash}").content == LARGE
            assert client.get(f"{URL}delete{slash}").content == LARGE
            assert client.get(f"{URL}empty{slash}").content == b""

            too_large = client.put(f"{URL}small{slash}", LARGE, b"b")
            assert too_large.problem == (413, "file_too_large")
            a_form = client.put(f"{URL}small{slash}", form(part()), type_=MULTIPART)
            assert a_form.problem == (415, "unsupported_media_type")
            piece = client.put(f"{URL}small{slash}", LARGE, Upload_Complete="?0")
            assert piece.problem == (400, "chunked_upload")
            assert client.get(f"{URL}small{slash}").content == LARGE

            posted = client.request("POST", f"{URL}small{slash}", Content_Length=0)
            assert posted.problem == (405, "method_not_allowed")
            deleted = client.request("DELETE", f"{URL}small{slash}")
            assert deleted.content == b"[true]\r\n"
            cleared = client.request("POST", f"{URL}delete{slash}", Content_Length=0)
            assert cleared.content == b"[[true], [true]]\r\n"


def test_file_of_unknown_length_is_put(client, name):
    # See above.
    size = 200_000 if "nginx" in name else 5000
    answer = client.post_chunked(f"{URL}spam.txt", bytes(size), "text/plain", "PUT")

    if name in NOT_CHUNKED:
        assert answer.problem == (411, "length_required")
    else:
        assert stored_by(answer) == ["spam.txt"]
        assert client.get(f"{URL}spam.txt").content == bytes(size)


def test_upload_resumes(client, name):
    half = SIZE // 2
    with nullcontext() if name in CLOSING else client.keep_alive():
        options = client.request("OPTIONS", URL)
        assert (options.status, options.content) == (204, b"")
        assert options.headers["Tus-Max-Size"] == str(SIZE)

        url = client.begun(URL, SIZE, LARGE[:half], name="large")
        assert client.offset(url) == half
        wrong = client.patch(url, half + 1, LARGE[half + 1 :])
        assert wrong.problem == (409, "wrong_offset")
        assert wrong.headers["Upload-Offset"] == str(half)
        too_large = client.patch(url, half, LARGE)
        assert too_large.problem == (413, "file_too_large")
        moved = client.patch(url, half, LARGE[half:-3])
        assert (moved.status, moved.content) == (204, b"")
        override = {"method": "POST", "X_HTTP_Method_Override": "PATCH"}
        last = client.patch(url, SIZE - 3, LARGE[-3:], **override)
        assert last.headers["Upload-Offset"] == str(SIZE)
        assert listed(client.get(URL)) == {"large": SIZE}
        assert client.get(f"{URL}large/").content == LARGE
        assert client.offset(url) == SIZE

        assert client.offset(client.begun(URL, 0, name="empty")) == 0
        small = client.begun(URL, 9)
        assert client.patch(small, 0, b"spam\n").status == 204
        assert client.resume("DELETE", small).status == 204
        assert client.resume("DELETE", small).problem == (404, "not_found")
        assert client.resume("DELETE", url).status == 204
        assert listed(client.get(URL)) == {"empty": 0}


def test_body_of_a_piece_is_cut(server, client, name):
    url = client.begun(URL, SIZE, name="large")
    came = SIZE // 2
    headers = {
        "Content_Length": SIZE,
        "Content_Type": "application/offset+octet-stream",
        "Tus_Resumable": "1.0.0",
        "Upload_Offset": 0,
    }

    with client.connect() as connection:
        client.send(connection, "PATCH", url, LARGE[:came], **headers)
        eventually(lambda: "nginx with buff" in name or server.open_temporary())
        if name in COUNTS:
            connection.shutdown(SHUT_WR)
            while connection.recv(KILOBYTE):
                pass

    eventually(lambda: server.open_temporary() == [])
    if name in COUNTS:
        assert client.offset(url) == came

    def goes_on():
        # What came may still be on its way to be counted.
        offset = client.offset(url)
        assert 0 <= offset <= came
        return client.patch(url, offset, LARGE[offset:]).status == 204

    eventually(goes_on)
    assert client.get(f"{URL}large/").content == LARGE
    client.request("DELETE", URL)


def test_piece_of_unknown_length(client, name):
    # See above.
    size = 200_000 if "nginx" in name else 5000
    url = client.begun(URL, size)
    blocks = [b"%x\r\n%s\r\n" % (len(block), block) for block in (bytes(size), b"")]
    headers = {
        "Content_Type": "application/offset+octet-stream",
        "Transfer_Encoding": "chunked",
        "Upload_Offset": 0,
    }

    answer = client.resume("PATCH", url, b"".join(blocks), **headers)

    if name in NOT_CHUNKED:
        assert answer.problem == (411, "length_required")
        assert client.offset(url) == 0
    else:
        assert answer.status == 204
        assert client.offset(url) == size


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
@pytest.mark.parametrize("file", ["spam.txt", "отчёт 50%.txt"])
@pytest.mark.parametrize("size", [0, 5000, SIZE])
def test_curl_puts_a_file(server, client, tmp_path, file, size):
    (tmp_path / file).write_bytes(LARGE[:size])
    command = ["curl", "-sS", "--fail-with-body", "--noproxy", "*", "-T", file]
    for name, value in client.cookies.items():
        command += ["--cookie", f"{name}={value}"]
    command += ["--header", f"X-CSRFToken: {TOKEN}", f"{server.url}{URL}"]

    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)

    assert [(row["name"], row["size"]) for row in json.loads(answer.stdout)] == [
        (file, size)
    ]
    assert client.get(f"{URL}{quote(file)}").content == LARGE[:size]


def test_client_may_go_away_during_a_download(server, client):
    upload(client, large=LARGE)

    with client.connect() as connection:
        client.send(connection, "GET", f"{URL}large/")
        assert connection.recv(1)

    eventually(lambda: server.open_stored() == [])
    assert client.get(f"{URL}large/").content == LARGE


@pytest.mark.parametrize(
    ("method", "url", "body", "type_"),
    [
        ("POST", URL, form(part(LARGE, "large")), MULTIPART),
        ("PUT", f"{URL}large", LARGE, "text/plain"),
    ],
    ids=["POST", "PUT"],
)
def test_client_may_go_away_during_an_upload(
    server, client, name, method, url, body, type_
):
    upload(client, large=b"old")
    before = server.stored()
    headers = {"Content_Type": type_, "Content_Length": len(body)}

    with client.connect() as connection:
        client.send(connection, method, url, body[:-KILOBYTE], **headers)
        eventually(lambda: "with buffering" in name or server.open_temporary())

    eventually(lambda: server.open_temporary() == [])
    # First what takes a while: a server that stored it would do so after all.
    assert server.unreferenced() == []
    assert server.stored() == before
    assert client.get(f"{URL}large/").content == b"old"


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


class TestOpenFiles:
    def test_descriptor_that_is_closed_meanwhile_is_left_out(self, tmp_path):
        kept, closed = tmp_path / "kept", tmp_path / "closed"
        closed.touch()

        with kept.open("w"), going_on(lambda: closed.open().close()):
            for _ in range(1000):
                assert str(kept) in open_files(os.getpid())
