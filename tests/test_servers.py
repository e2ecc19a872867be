"""The app behind real servers, spoken to through sockets and with curl."""

import shutil
import subprocess

import pytest

from tests.clients import MULTIPART, NEEDS, URL, form, part
from tests.servers import Client, running

pytestmark = pytest.mark.server


@pytest.fixture(
    scope="module", params=[pytest.param(kind, marks=NEEDS[kind]) for kind in NEEDS]
)
def server(request, tmp_path_factory):
    """Run one server after the other."""
    with running(request.param, tmp_path_factory.mktemp("server")) as server:
        yield server


LARGE = bytes(range(256)) * 4000


@pytest.fixture
def client(server):
    """Return a client that has stored a large file and an empty one."""
    client = Client(server)
    client.get(URL)
    files = form(part(LARGE, "large.bin"), part(b"", "empty"))
    assert client.post(URL, files, MULTIPART).status == 200
    return client


class TestDownload:
    def test_file_comes_whole_and_in_part(self, client):
        url = f"{URL}large.bin/"

        whole = client.get(url)
        some = client.request("GET", url, Range="bytes=1000-500000")
        head = client.request("HEAD", url)

        assert whole.content == LARGE
        assert (some.status, some.content) == (206, LARGE[1000:500001])
        assert head.content == b""
        assert head.headers["Content-Length"] == whole.headers["Content-Length"]
        assert client.get(f"{URL}empty/").content == b""

    def test_client_may_go_away(self, server, client):
        with client.connect() as connection:
            client.send(connection, "GET", f"{URL}large.bin/")
            connection.recv(1000)

        assert client.get(f"{URL}large.bin/").content == LARGE
        assert "Traceback" not in server.log()


def test_missing_attachment_and_wrong_method_are_told(client):
    assert client.get(f"{URL}missing.txt/").problem == (404, "not_found")
    assert client.request("PUT", URL).problem == (405, "method_not_allowed")
    assert [row["name"] for row in client.get(URL).json()] == ["empty", "large.bin"]


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
