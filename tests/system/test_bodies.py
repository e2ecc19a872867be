"""Bodies that are cut, malformed, slow or too large, sent to real servers."""

import socket
import struct
import time
from base64 import b64encode
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path

import pytest

from tests.clients import MULTIPART, NEEDS, URL, form, part
from tests.servers import KILOBYTE, Answer, Client, eventually, metered, running

pytestmark = [
    pytest.mark.server,
    pytest.mark.slow,
    pytest.mark.skipif(
        not Path("/proc/self/io").exists(), reason="needs Linux's /proc"
    ),
]

MEGABYTE = 1024 * KILOBYTE
LIMITS = {
    "DATA_UPLOAD_MAX_MEMORY_SIZE": 10_000,
    "DATA_UPLOAD_MAX_NUMBER_FIELDS": 10,
    "DATA_UPLOAD_MAX_NUMBER_FILES": 5,
    "FILE_UPLOAD_MAX_MEMORY_SIZE": KILOBYTE,
    "SESSION_ATTACHMENTS_MAX_BUNDLE_FILES": 3,
    "SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE": 1.25,
    "SESSION_ATTACHMENTS_MAX_FILE_SIZE": 1,
    "SESSION_ATTACHMENTS_MAX_SESSION_SIZE": 1.75,
    "SESSION_ATTACHMENTS_VALIDATORS": ["tests.system.served.no_programs"],
}
NEW = part(b"new")


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
    )


@contextmanager
def unharmed(server):
    """Yield a client, and what it costs the server, which must come out unharmed."""
    client = keep(server)
    before = server.worker, server.stored()
    with metered(server) as usage:
        yield client, usage
        eventually(lambda: server.temporary() + server.open_temporary() == [])
    assert (server.worker, server.stored()) == before
    assert kept(client)
    assert usage.memory < 16 * MEGABYTE
    assert "Traceback" not in server.log()


def large(megabytes, *parts):
    """Return the chunks of a form with a large file before ``parts``."""
    start, end = form(part(b"\0", "large.bin"), *parts).split(b"\0")
    return [start, *repeat(bytes(MEGABYTE), megabytes), end]


def post(client, url, chunks, **headers):
    """POST a form that is never whole in memory."""
    length = sum(map(len, chunks))
    return client.request(
        "POST", url, *chunks, Content_Type=MULTIPART, Content_Length=length, **headers
    )


def kilobytes(*sizes):
    """Return a form of files of these sizes."""
    return form(*(part(b"b" * n * KILOBYTE, f"{i}.bin") for i, n in enumerate(sizes)))


def encoded(content, encoding):
    """Return a part in a Content-Transfer-Encoding."""
    return part(content, headers=f"Content-Transfer-Encoding: {encoding}\r\n")


def long_header(rest, start=b""):
    """Return a part with as long a header as Django takes."""
    header = b"Content-Disposition:x" + start
    return b"--limit\r\n" + (header + rest * 1000)[:1000] + b"\r\n\r\n\r\n"


UNNAMED = b"--limit\r\nContent-Disposition:x;filename=b\r\n\r\n\r\n"
NESTED = b'--inner\r\nContent-Disposition: file; filename="a"\r\n\r\na\r\n--inner--'
MIXED = "Content-Type: multipart/mixed; boundary=inner\r\n"
URLENCODED = "application/x-www-form-urlencoded"
REFUSED = {
    (400, "no_file"): {
        "no body": b"",
        "only fields": form(part(b"egg", None)),
        "empty file name": form(part(name="")),
    },
    (400, "incomplete_upload"): {
        "nested files": form(NEW, part(NESTED, None, headers=MIXED)),
        "LF only": form(NEW).replace(b"\r", b""),
        "parameters": form(NEW, *[long_header(b";")] * 4000),
        "lines of a header": form(NEW, *[long_header(b"\r\n:;")] * 4000),
        "garbage": bytes(range(256)) * 8000,
        "no end": form(NEW, end=b""),
        "half an end": form(NEW, end=b"--limit-"),
        "long file name": form(NEW, part(name="n" * MEGABYTE)),
        "long header of a part": form(NEW, part(headers=f"X: {'x' * KILOBYTE}\r\n")),
        "header of a part without end": form(NEW, b"--limit\r\nX: " + b"x" * 2_000_000),
        "headers of a part without end": form(
            NEW, b"--limit\r\n" + b"X: x\r\n" * 400_000
        ),
        "no base64": form(NEW, encoded(b"!garbage", "base64")),
        "base64 that is cut": form(NEW, encoded(b"a" + b" " * MEGABYTE, "base64")),
    },
    (400, "bad_form"): {
        "fields": form(NEW, *[part(b"", None)] * 10_000),
        "empty parts": form(NEW, *[b"--limit\r\n\r\n\r\n"] * 10_000),
        "boundaries": form(NEW, *[b"--limit\r\n"] * 10_000),
        "files in no field": form(NEW, *[UNNAMED] * 10_000),
        "files in no field, behind the end": form(NEW) + UNNAMED * 10_000,
    },
    (400, "bad_name"): {
        "long name": form(NEW, part(name="n" * 256)),
        "name in Latin-1": form(part(name="MARK").replace(b"MARK", b"\xe9")),
    },
    (400, "invalid"): {"validator": form(NEW, part(name="a.exe"))},
    (413, "file_too_large"): {"file": kilobytes(1, 1100)},
    (413, "bundle_too_large"): {"bundle": kilobytes(700, 700)},
    (413, "session_too_large"): {"session": kilobytes(900)},
    (413, "too_many_files"): {
        "quota of files": kilobytes(1, 1, 1, 1),
        "files of a form": form(*[NEW] * 10_000),
    },
    (413, "form_too_large"): {"large field": form(NEW, part(b"f" * 10_001, None))},
}
OTHERWISE_REFUSED = {
    "JSON": ((400, "no_file"), b"{}", URL, "application/json"),
    "urlencoded": ((400, "no_file"), b"a=b", URL, URLENCODED),
    "large urlencoded": ((413, "form_too_large"), b"a" * 10_001, URL, URLENCODED),
    "mixed": ((400, "no_file"), form(NEW), URL, "multipart/mixed; boundary=limit"),
    "no boundary": ((400, "incomplete_upload"), form(NEW), URL, "multipart/form-data"),
    "another boundary": ((400, "incomplete_upload"), form(NEW), URL, f"{MULTIPART}s"),
    "long boundary": (
        (400, "incomplete_upload"),
        form(NEW).replace(b"limit", b"b" * 8000),
        URL,
        f"multipart/form-data; boundary={'b' * 8000}",
    ),
    "bad bundle": (
        (400, "bad_bundle"), form(NEW), f"/attachments/{'b' * 257}/", MULTIPART,
    ),
    "control in bundle": (
        (400, "bad_bundle"), form(NEW), "/attachments/a%00b/", MULTIPART,
    ),
}  # fmt: skip
NO_LENGTHS = ["-1", "+9", "five", "0x9", "9\r\nContent-Length: 10", 10**30]


class TestRefusal:
    @pytest.mark.parametrize(
        ("expected", "body"),
        [
            pytest.param(expected, body, id=name)
            for expected, bodies in REFUSED.items()
            for name, body in bodies.items()
        ],
    )
    def test_form_that_is_refused_changes_nothing(self, server, expected, body):
        with unharmed(server) as (client, _):
            answer = client.post(URL, body, MULTIPART)

        assert answer.problem == expected

    @pytest.mark.parametrize(
        ("expected", "body", "url", "type_"),
        OTHERWISE_REFUSED.values(),
        ids=OTHERWISE_REFUSED,
    )
    def test_upload_that_is_refused_changes_nothing(
        self, server, expected, body, url, type_
    ):
        with unharmed(server) as (client, _):
            answer = client.post(url, body, type_)

        assert answer.problem == expected

    @pytest.mark.parametrize("length", NO_LENGTHS)
    def test_length_that_is_none_is_refused(self, server, length):
        # gunicorn takes the last ones for a length, and waits.
        cut = server.kind == "gunicorn"

        # What a server leaves unread resets the connection. See RFC 9112, 9.6.
        with unharmed(server) as (client, _):
            answer = client.post(URL, b"", MULTIPART, length=length, cut=cut)

        assert answer.status == 400

    def test_request_without_end_is_refused(self, server):
        start = b"POST / HTTP/1.1\r\n"
        # One byte more than the server takes.
        size = {"gunicorn": len(start) + 819_205, "uvicorn": 65_537}[server.kind]

        with unharmed(server) as (client, _), client.connect() as connection:
            connection.sendall((start + b"X: x\r\n" * size)[:size])
            answer = Answer.read(connection, "POST")

        assert answer.status in {400, 431}


TAKEN = {
    "preamble": (b"Words.\r\n" + form(NEW), b"new"),
    "epilogue": (form(NEW) + b"\r\nWords.\r\n\r\n" + b"x" * 4000, b"new"),
    "no last line break": (form(NEW, end=b"--limit--"), b"new"),
    "base64": (form(encoded(b64encode(b"new") + b"\r\n", "base64")), b"new"),
    # No client sends it, and Django does not know it.
    "quoted-printable": (form(encoded(b"=6E", "quoted-printable")), b"=6E"),
    "nested": (form(part(NESTED, headers=MIXED)), NESTED),
    "line breaks": (form(part(b"\n\r\r\n\n")), b"\n\r\r\n\n"),
    "almost an end": (form(part(b"\r\n--limi--\r\n")), b"\r\n--limi--\r\n"),
}


class TestUnusualForm:
    @pytest.mark.parametrize(("body", "content"), TAKEN.values(), ids=TAKEN)
    def test_form_is_taken(self, server, body, content):
        client = Client(server)
        client.get(URL)

        answer = client.post(URL, body, MULTIPART)

        assert [row["name"] for row in answer.json()] == ["spam.txt"]
        assert client.get(f"{URL}spam.txt/").content == content


class TestChunked:
    @NEEDS["gunicorn"]
    @pytest.mark.parametrize("size", [1, 3000])
    def test_body_of_unknown_length_is_refused_under_wsgi(self, gunicorn, size):
        with unharmed(gunicorn) as (client, _):
            answer = client.post_chunked(URL, kilobytes(size), MULTIPART)

        assert answer.problem == (411, "length_required")

    @NEEDS["gunicorn"]
    def test_chunks_that_are_none_are_refused_under_wsgi(self, gunicorn):
        headers = {"Content_Type": MULTIPART, "Transfer_Encoding": "chunked"}

        with unharmed(gunicorn) as (client, _):
            answer = client.request("POST", URL, b"zz\r\nabc", **headers)

        assert answer.problem == (411, "length_required")

    @NEEDS["uvicorn"]
    def test_body_of_unknown_length_is_taken_under_asgi(self, uvicorn):
        client = Client(uvicorn)
        client.get(URL)

        answer = client.post_chunked(URL, kilobytes(800), MULTIPART)

        assert answer.status == 200
        assert answer.json()[0]["size"] == 800 * KILOBYTE
        assert client.get(f"{URL}0.bin/").content == b"b" * 800 * KILOBYTE


FIRST = part(b"a" * 600_000, "a.bin")
BODY = form(FIRST, part(b"b" * 200_000, "b.bin"))
CUTS = {
    "before the form": 0,
    "in a header": 30,
    "in the first file": 590_000,
    "after the first file": len(FIRST),
    "in the second header": len(FIRST) + 30,
    "in the second file": 790_000,
    "in the closing delimiter": len(BODY) - 6,
    "in the last line break": len(BODY) - 1,
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
class TestCut:
    def test_body_that_is_cut_is_refused(self, server, cut):
        # uvicorn lets go of it, and Django is not asked.
        expected = {"gunicorn": (400, "incomplete_upload"), "uvicorn": None}

        with unharmed(server) as (client, _):
            answer = client.post(URL, BODY[:cut], MULTIPART, length=len(BODY), cut=True)

        assert (answer and answer.problem) == expected[server.kind]

    def test_client_may_go_away(self, server, cut):
        headers = {"Content_Type": MULTIPART, "Content_Length": len(BODY)}

        with unharmed(server) as (client, _), client.connect() as connection:
            client.send(connection, "POST", URL, BODY[:cut], **headers)
            eventually(lambda: bool(server.open_temporary()) == (cut > 30))
            # Closing is a reset then.
            linger = struct.pack("ii", True, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


PUT_REFUSED = {
    "form": ((415, "unsupported_media_type"), "foo/a", form(NEW), {"type_": MULTIPART}),
    "piece": ((400, "chunked_upload"), "foo/a", b"new", {"Upload_Complete": "?0"}),
    "folder": ((400, "bad_name"), "foo/a%5Cb", b"new", {}),
    "entity": ((400, "bad_name"), "foo/a&amp;b", b"new", {}),
    "direction": ((400, "bad_name"), "foo/%E2%80%AEgpj.exe", b"new", {}),
    "long name": ((400, "bad_name"), f"foo/{'n' * 256}", b"new", {}),
    "bad bundle": ((400, "bad_bundle"), f"{'b' * 257}/a", b"new", {}),
    "validator": ((400, "invalid"), "foo/a.exe", b"new", {}),
    "file": ((413, "file_too_large"), "foo/spam.txt", bytes(1025 * KILOBYTE), {}),
    "bundle": ((413, "bundle_too_large"), "bar/a", bytes(400 * KILOBYTE), {}),
    "session": ((413, "session_too_large"), "foo/spam.txt", bytes(900 * KILOBYTE), {}),
}  # fmt: skip


class TestWholeBody:
    @pytest.mark.parametrize(
        ("expected", "path", "body", "options"), PUT_REFUSED.values(), ids=PUT_REFUSED
    )
    def test_file_that_is_refused_changes_nothing(
        self, server, expected, path, body, options
    ):
        with unharmed(server) as (client, _):
            answer = client.put(f"/attachments/{path}", body, **options)

        assert answer.problem == expected

    @pytest.mark.parametrize("length", NO_LENGTHS)
    def test_length_that_is_none_is_refused(self, server, length):
        # See above.
        cut = server.kind == "gunicorn"

        with unharmed(server) as (client, _):
            answer = client.put(f"{URL}spam.txt", b"", length=length, cut=cut)

        assert answer.status in {400, 411}

    @pytest.mark.parametrize("sent", [0, 1, 3000, 599_999])
    def test_file_that_is_cut_is_refused(self, server, sent):
        expected = {"gunicorn": (400, "incomplete_upload"), "uvicorn": None}

        with unharmed(server) as (client, _):
            answer = client.put(f"{URL}spam.txt", bytes(sent), length=600_000, cut=True)

        assert (answer and answer.problem) == expected[server.kind]

    @pytest.mark.parametrize("sent", [0, 599_999])
    def test_client_may_go_away(self, server, sent):
        headers = {"Content_Type": "text/plain", "Content_Length": 600_000}

        with unharmed(server) as (client, _), client.connect() as connection:
            client.send(connection, "PUT", f"{URL}spam.txt", bytes(sent), **headers)
            if server.kind == "gunicorn" or sent:
                eventually(server.open_temporary)
            # Closing is a reset then.
            linger = struct.pack("ii", True, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    @NEEDS["gunicorn"]
    def test_no_more_is_taken_than_announced(self, gunicorn):
        client = Client(gunicorn)
        client.get(URL)

        answer = client.put(f"{URL}spam.txt", b"spam and more", length=4)

        assert answer.status == 201
        assert client.get(f"{URL}spam.txt").content == b"spam"

    def test_file_may_be_empty(self, server):
        client = Client(server)
        client.get(URL)

        assert client.put(f"{URL}spam.txt", b"").status == 201
        assert client.get(f"{URL}spam.txt").content == b""

    def test_file_that_is_none_has_no_length(self, server):
        client = Client(server)
        client.get(URL)

        answer = client.request("PUT", f"{URL}spam.txt")

        if server.kind == "uvicorn":
            # It is all here, and empty.
            assert answer.status == 201
        else:
            assert answer.problem == (411, "length_required")

    @NEEDS["gunicorn"]
    def test_what_is_too_large_is_read_and_not_kept_under_wsgi(self, gunicorn):
        with unharmed(gunicorn) as (client, usage):
            answer = client.put(f"{URL}spam.txt", *repeat(bytes(MEGABYTE), 300))

        assert answer.problem == (413, "file_too_large")
        assert answer.json()["limit"] == MEGABYTE
        assert usage.written < MEGABYTE
        assert usage.memory < 10 * MEGABYTE

    @NEEDS["uvicorn"]
    def test_what_is_too_large_is_refused_under_asgi(self, uvicorn):
        with unharmed(uvicorn) as (client, _):
            answer = client.put(f"{URL}spam.txt", *repeat(bytes(MEGABYTE), 50))

        assert answer.problem == (413, "file_too_large")

    @pytest.mark.parametrize("token", ["", "b" * 32])
    def test_file_without_the_token_is_not_kept(self, server, token):
        with unharmed(server) as (client, usage):
            answer = client.put(
                f"{URL}spam.txt", *repeat(bytes(MEGABYTE), 16), X_CSRFToken=token
            )

        assert answer.status == 403
        assert usage.written < MEGABYTE or server.kind == "uvicorn"

    def test_slow_file_holds_nobody_up(self, server):
        client = Client(server)
        client.get(URL)
        headers = {"Content_Type": "text/plain", "Content_Length": 4}

        with client.connect() as connection:
            client.send(connection, "PUT", f"{URL}spam.txt", **headers)
            for byte in (b"s", b"l", b"o", b"w"):
                # Another one of the same session, for the same attachment.
                assert client.put(f"{URL}spam.txt", b"new").status == 201
                assert client.request("DELETE", f"{URL}spam.txt").json() == [True]
                connection.sendall(byte)
            answer = Answer.read(connection, "PUT")

        assert answer.status == 201
        assert client.get(f"{URL}spam.txt").content == b"slow"


class TestSlowClient:
    def test_upload_holds_nobody_up(self, server):
        client = Client(server)
        client.get(URL)
        body = form(part(b"slow"))
        headers = {"Content_Type": MULTIPART, "Content_Length": len(body)}

        with client.connect() as connection:
            client.send(connection, "POST", URL, **headers)
            for start in range(0, len(body), 20):
                # Another one of the same session, for the same attachment.
                assert client.post(URL, form(NEW), MULTIPART).status == 200
                deletion = client.request("POST", f"{URL}spam.txt/delete/")
                assert deletion.json() == [True]
                time.sleep(0.2)
                connection.sendall(body[start : start + 20])
            answer = Answer.read(connection, "POST")

        assert answer.status == 200
        assert client.get(f"{URL}spam.txt/").content == b"slow"

    def test_upload_may_wait_to_be_asked_for(self, server):
        client = Client(server)
        client.get(URL)
        body = kilobytes(1000)
        headers = {"Content_Type": MULTIPART, "Content_Length": len(body)}

        with client.connect() as connection:
            client.send(connection, "POST", URL, Expect="100-continue", **headers)
            assert connection.recv(KILOBYTE).startswith(b"HTTP/1.1 100 ")
            connection.sendall(body)
            answer = Answer.read(connection, "POST")

        assert answer.status == 200
        assert answer.json()[0]["size"] == 1000 * KILOBYTE


class TestLargeBody:
    @NEEDS["gunicorn"]
    def test_gigabyte_is_read_and_thrown_away_under_wsgi(self, gunicorn):
        with unharmed(gunicorn) as (client, usage):
            answer = post(client, URL, large(1024))

        assert answer.problem == (413, "file_too_large")
        assert answer.json()["limit"] == MEGABYTE
        assert usage.written < 2 * MEGABYTE

    @NEEDS["uvicorn"]
    def test_body_is_refused_under_asgi(self, uvicorn):
        with unharmed(uvicorn) as (client, _):
            answer = post(client, URL, large(50))

        assert answer.problem == (413, "file_too_large")

    @NEEDS["uvicorn"]
    def test_body_of_unknown_length_is_refused_under_asgi(self, uvicorn):
        with unharmed(uvicorn) as (client, _):
            answer = client.post_chunked(URL, b"".join(large(50)), MULTIPART)

        assert answer.problem == (413, "file_too_large")


def token(text):
    """Return the field of a form in which Django looks for the token."""
    return part(text.encode(), None, "csrfmiddlewaretoken")


RIGHT, WRONG = token("a" * 32), token("b" * 32)
NO_TOKEN = {"X_CSRFToken": ""}
WRONG_TOKENS = {
    "no token": (NO_TOKEN, b""),
    "wrong token in the header": ({"X_CSRFToken": "b" * 32}, b""),
    "wrong token in the form": (NO_TOKEN, WRONG),
    "wrong token in the form, right one in the header": ({}, WRONG),
}
WRONG_SECRETS = [{}, {"csrftoken": "b" * 32}]
each_wrong_token = pytest.mark.parametrize(
    ("headers", "field"), WRONG_TOKENS.values(), ids=WRONG_TOKENS
)


class TestToken:
    @pytest.mark.parametrize("parts", [(RIGHT, NEW), (NEW, RIGHT)])
    def test_form_with_the_right_token_is_taken(self, server, parts):
        client = Client(server)
        client.get(URL)

        answer = post(client, URL, [form(*parts)], **NO_TOKEN)

        assert answer.status == 200
        assert client.get(f"{URL}spam.txt/").content == b"new"

    @each_wrong_token
    def test_form_with_a_wrong_token_is_refused(self, server, headers, field):
        with unharmed(server) as (client, _):
            for body in (form(field, NEW), form(NEW, field)):
                assert post(client, URL, [body], **headers).status == 403

    @pytest.mark.parametrize("secret", WRONG_SECRETS)
    def test_request_without_the_secret_is_refused(self, server, secret):
        with unharmed(server) as (client, _):
            foreign = Client(server, {**client.cookies, "csrftoken": "", **secret})
            assert post(foreign, URL, [form(NEW, RIGHT)]).status == 403
            assert foreign.request("DELETE", URL).status == 403
            assert foreign.request("POST", f"{URL}delete/").status == 403

    @each_wrong_token
    def test_limits_hold_before_the_token_is_found(self, server, headers, field):
        with unharmed(server) as (client, usage):
            answer = post(client, URL, large(64, field), **headers)

        assert answer.problem == (413, "file_too_large")
        # Under ASGI Django has spooled it before.
        assert usage.written < 2 * MEGABYTE or server.kind == "uvicorn"

    @NEEDS["gunicorn"]
    def test_form_is_not_kept_without_a_secret(self, gunicorn):
        with unharmed(gunicorn) as (client, usage):
            foreign = Client(gunicorn, {**client.cookies, "csrftoken": ""})
            answer = post(foreign, URL, large(64, RIGHT))

        assert answer.status == 403
        assert usage.written < MEGABYTE


DELETIONS = {
    "delete/": (200, b"[[true]]\r\n", []),
    "spam.txt/delete/": (200, b"[true]\r\n", []),
    # There is nothing to POST to.
    "spam.txt/": (405, None, ["spam.txt"]),
}
BROKEN = {
    "no boundary": ((400, "incomplete_upload"), form(RIGHT), "multipart/form-data"),
    "long boundary": (
        (400, "incomplete_upload"), form(RIGHT), f"{MULTIPART}{'t' * 200}",
    ),
    "header without end": (
        (400, "incomplete_upload"), form(RIGHT, b"--limit", bytes(MEGABYTE)), MULTIPART,
    ),
    "fields": ((400, "bad_form"), form(RIGHT, *[part(b"", None)] * 10_000), MULTIPART),
    "files in no field": (
        (400, "bad_form"), form(RIGHT, *[UNNAMED] * 10_000), MULTIPART,
    ),
    "parameters": (
        (400, "incomplete_upload"), form(RIGHT, *[long_header(b";")] * 999), MULTIPART,
    ),
    "large field": (
        (413, "form_too_large"), form(RIGHT, part(b"f" * 10_001, None)), MULTIPART,
    ),
}  # fmt: skip


@NEEDS["gunicorn"]
@pytest.mark.parametrize("path", DELETIONS)
class TestDeletion:
    """A form with a file makes no sense there, and can be sent nevertheless."""

    @each_wrong_token
    def test_form_with_a_wrong_token_is_not_kept(self, gunicorn, path, headers, field):
        with unharmed(gunicorn) as (client, usage):
            answer = post(client, f"{URL}{path}", large(64, field), **headers)

        assert answer.status == 403
        assert usage.written < MEGABYTE

    def test_form_is_not_kept_without_a_secret(self, gunicorn, path):
        with unharmed(gunicorn) as (client, usage):
            foreign = Client(gunicorn, {**client.cookies, "csrftoken": ""})
            answer = post(foreign, f"{URL}{path}", large(64, RIGHT))

        assert answer.status == 403
        assert usage.written < MEGABYTE

    def test_form_with_the_right_token_is_not_kept(self, gunicorn, path):
        client = Client(gunicorn)
        client.get(URL)
        client.post(URL, form(NEW), MULTIPART)
        status, content, left = DELETIONS[path]

        with metered(gunicorn) as usage:
            answer = post(client, f"{URL}{path}", large(64, RIGHT), **NO_TOKEN)

        assert answer.status == status
        assert content in {answer.content, None}
        assert [row["name"] for row in client.get(URL).json()] == left
        assert usage.written < MEGABYTE
        assert usage.memory < 16 * MEGABYTE

    @pytest.mark.parametrize(("expected", "body", "type_"), BROKEN.values(), ids=BROKEN)
    def test_broken_form_is_refused(self, gunicorn, path, expected, body, type_):
        with unharmed(gunicorn) as (client, _):
            answer = client.post(f"{URL}{path}", body, type_)

        assert answer.problem == expected
