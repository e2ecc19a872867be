"""The recipe for nginx, in a real nginx before gunicorn."""

import json
import os
import re
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from django.utils.http import http_date

from tests.clients import MULTIPART, NEEDS, URL, form, needs_nginx, part
from tests.servers import Client, another, behind_nginx, running
from tests.system.test_readme import ROOT, run_code

pytestmark = [
    pytest.mark.server,
    pytest.mark.slow,
    needs_nginx,
    NEEDS["gunicorn"],
]

RECIPE = (ROOT / "example_project" / "recipes" / "nginx.conf").read_text()
SETTING = "SESSION_ATTACHMENTS_ACCEL"
SPAM = f"{URL}spam.txt/"
DIGITS = b"0123456789"
LARGE = bytes(range(250)) * 32_000
NAMES = [
    "Отчёт за год.txt",
    "100%.txt",
    "%41%2F%00.txt",
    "what?.txt",
    'it\'s "quoted".txt',
    "😀.txt",
    "a#b;c&d+e=f.txt",
    "$uri ~ .txt",
]
OLD_NAMES = ["a\\b.txt", "a\r\nb.txt"]
EARLIER = 1_500_000_000
DATE = http_date(EARLIER)
# What a server or a connection adds for itself.
OWN = {"Server", "Date", "Connection"}


def locations(server):
    """Return the recipe, for a server's address and folder."""
    block = RECIPE
    for printed, real in {
        "http://127.0.0.1:8000": server.url,
        "/srv/yoursite/attachments/": f"{server.folder / 'media'}/",
    }.items():
        assert block.count(printed) == 1
        block = block.replace(printed, real)
    return block


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """Run ``app`` as the recipe says, behind ``nginx``; and ``django`` without both."""
    accel = {SETTING: run_code(re.search(f"{SETTING} = .+", RECIPE)[0])[SETTING]}
    folder = tmp_path_factory.mktemp("nginx")
    with (
        running("gunicorn", folder, **accel) as app,
        another(app, **{SETTING: None}) as django,
        behind_nginx(app, locations(app)) as nginx,
    ):
        yield SimpleNamespace(app=app, django=django, nginx=nginx)


@pytest.fixture
def client(servers):
    """Return a client of nginx that has stored ``spam.txt``, which is ten digits.

    The file is older than its attachment, as files are that were copied.
    """
    client = Client(servers.nginx)
    client.get(URL)
    store(client, "spam.txt", DIGITS)
    os.utime(media(servers) / stored_name(servers, client), (EARLIER, EARLIER))
    return client


def media(servers):
    """Return the folder of the stored files."""
    return servers.app.folder / "media"


def stored_name(servers, client):
    """Return what the file of ``spam.txt`` is called."""
    answer = Client(servers.app, client.cookies).get(SPAM)
    assert answer.content == b""
    return answer.headers["X-Accel-Redirect"].removeprefix("/protected/")


def store(client, name, content):
    """Upload a file, as a page does."""
    body = form(part(content, name.replace('"', '\\"')))
    answer = client.post(URL, body, MULTIPART, Origin="http://127.0.0.1")
    assert answer.status == 200, answer


def compared(servers, client, url, method="GET", **headers):
    """Return nginx's answer, and Django's own, each with the headers that count."""
    answers = []
    for server in (servers.nginx, servers.django):
        answer = Client(server, client.cookies).request(method, url, **headers)
        answer.headers = {n: v for n, v in answer.headers.items() if n not in OWN}
        answers.append(answer)
    return answers


def load(server, file, names):
    """Insert rows for files with these names into the session that has ``file``."""
    (key,) = {row["session_id"] for row in server.rows() if row["file"] == file}
    rows = [
        {
            "model": "session_attachments.attachment",
            "fields": {
                "bundle": "old",
                "created": "2026-01-01T00:00:00Z",
                "file": name,
                "filename": str(number),
                "mimetype": "text/plain",
                "session_id": key,
                "size": len(name.encode()),
            },
        }
        for number, name in enumerate(names)
    ]
    (server.folder / "old.json").write_text(json.dumps(rows))
    server.manage("loaddata", "old.json")


class TestDownload:
    def test_nginx_sends_the_file(self, servers, client):
        asked = Client(servers.app, client.cookies).get(SPAM)
        answer = client.get(SPAM)

        assert "X-Accel-Redirect" in asked.headers
        assert asked.content == b""
        assert "X-Accel-Redirect" not in answer.headers
        assert answer.content == DIGITS

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_answer_is_django_s_own_whatever_the_name(
        self, servers, client, name, method
    ):
        store(client, name, DIGITS)
        url = f"{URL}{quote(name, safe='')}/"

        answer, expected = compared(servers, client, url, method)

        assert answer == expected
        assert answer.status == 200
        assert answer.content == (DIGITS if method == "GET" else b"")
        assert answer.headers["Content-Length"] == "10"

    def test_stored_names_of_02_are_found(self, servers, client):
        names = [f"session_attachments/0a/1b/{name}" for name in [*NAMES, *OLD_NAMES]]
        (media(servers) / names[0]).parent.mkdir(parents=True)
        for name in names:
            (media(servers) / name).write_text(name)
        load(servers.app, stored_name(servers, client), names)

        for number, name in enumerate(names):
            answer, expected = compared(servers, client, f"/attachments/old/{number}/")

            assert answer == expected
            assert answer.content.decode() == name

    def test_large_file_comes_whole_and_in_part(self, servers, client):
        store(client, "large.bin", LARGE)
        url = f"{URL}large.bin/"

        whole, expected = compared(servers, client, url)
        some = client.request("GET", url, Range="bytes=1000-7000000")

        assert whole == expected
        assert whole.content == LARGE
        assert (some.status, some.content) == (206, LARGE[1000:7000001])


class TestRangeAndConditions:
    @pytest.mark.parametrize(
        ("wanted", "content"),
        [
            ("bytes=0-0", b"0"),
            ("bytes=2-4", b"234"),
            ("bytes=7-", b"789"),
            ("bytes=7-99", b"789"),
            ("bytes=-3", b"789"),
            ("bytes=-99", DIGITS),
        ],
    )
    @pytest.mark.parametrize("condition", [None, "ETag", "Last-Modified"])
    def test_part_is_sent(self, servers, client, wanted, content, condition):
        headers = {"Range": wanted}
        if condition:
            headers["If_Range"] = client.request("HEAD", SPAM).headers[condition]

        answer, expected = compared(servers, client, SPAM, **headers)

        # nginx says it with whole files only.
        del expected.headers["Accept-Ranges"]
        assert answer == expected
        assert (answer.status, answer.content) == (206, content)

    @pytest.mark.parametrize(
        "headers",
        [
            {"Range": "bytes=2-4", "If_Range": '"x"'},
            {"Range": "bytes=2-4", "If_Range": DATE},
            {"Range": "bytes=0-1,4-5"},
            {"Range": "lines=0-1"},
            {"If_None_Match": '"x"'},
            {"If_Modified_Since": DATE},
            {"Accept_Encoding": "gzip"},
        ],
        ids=str,
    )
    def test_whole_file_is_sent(self, servers, client, headers):
        answer, expected = compared(servers, client, SPAM, **headers)

        assert answer == expected
        assert (answer.status, answer.content) == (200, DIGITS)

    @pytest.mark.parametrize("wanted", ["bytes=10-", "bytes=-0", "bytes=99-100"])
    def test_impossible_part_is_refused(self, client, wanted):
        answer = client.request("GET", SPAM, Range=wanted)

        assert answer.status == 416
        assert answer.headers["Content-Range"] == "bytes */10"
        assert DIGITS not in answer.content

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    @pytest.mark.parametrize(
        ("condition", "header"),
        [("If_None_Match", "ETag"), ("If_Modified_Since", "Last-Modified")],
    )
    def test_file_that_is_known_is_not_sent(
        self, servers, client, method, condition, header
    ):
        known = {condition: client.request("HEAD", SPAM).headers[header]}

        answer, expected = compared(servers, client, SPAM, method, **known)

        assert answer == expected
        assert (answer.status, answer.content) == (304, b"")

    @pytest.mark.parametrize(
        "headers", [{"If_Match": '"x"'}, {"If_Unmodified_Since": DATE}], ids=str
    )
    def test_version_that_is_gone_is_not_sent(self, servers, client, headers):
        answer, expected = compared(servers, client, SPAM, **headers)

        assert answer == expected
        assert (answer.status, answer.content) == (412, b"")

    @pytest.mark.parametrize("time", [EARLIER, 2_000_000_000])
    @pytest.mark.parametrize(
        ("condition", "header"),
        [("If_Match", "ETag"), ("If_Unmodified_Since", "Last-Modified")],
    )
    def test_version_that_is_there_is_sent(
        self, servers, client, time, condition, header
    ):
        os.utime(media(servers) / stored_name(servers, client), (time, time))
        wanted = {condition: client.request("HEAD", SPAM).headers[header]}

        answer, expected = compared(servers, client, SPAM, **wanted)

        assert answer == expected
        assert (answer.status, answer.content) == (200, DIGITS)


class TestPermission:
    def test_other_session_finds_nothing(self, servers, client):
        stranger = Client(servers.nginx)
        stranger.get(URL)

        answer, expected = compared(servers, stranger, SPAM)

        assert answer == expected
        assert answer.problem == (404, "not_found")

    def test_location_is_closed_to_the_outside(self, servers, client):
        url = f"/protected/{stored_name(servers, client)}"

        assert client.get(url).status == 404

    def test_deleted_file_is_not_found(self, client):
        assert client.request("DELETE", SPAM).content == b"[true]\r\n"

        assert client.get(SPAM).problem == (404, "not_found")

    def test_missing_file_is_not_found(self, servers, client):
        (media(servers) / stored_name(servers, client)).unlink()

        answer = client.get(SPAM)

        assert answer.status == 404
        assert "ETag" not in answer.headers
        assert [row["name"] for row in client.get(URL).json()] == ["spam.txt"]
