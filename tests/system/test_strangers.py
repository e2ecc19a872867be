"""To a stranger what is there looks like what never was, byte for byte.

What is compared: status, headers in their order, names of the cookies that are set,
body, and the number of queries, which is what the time of an answer depends on.
"""

import re
from itertools import count

import pytest
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.core import signing
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from session_attachments.models import Attachment, Lock
from session_attachments.sessions import VARIABLE
from tests.clients import MULTIPART, URL, form, names, part, shelf, upload
from tests.engines import ENGINES, SIGNED, STORED, each, expire

pytestmark = [pytest.mark.database, pytest.mark.django_db]

FILES = {"spam.txt": b"spam\n", "delete": b"egg\n"}

# For bundles and names that nobody has used.
NUMBERS = count()

# Method, path and headers; the version is the victim's.
REQUESTS = {
    "list": ("GET", "", {}),
    "HEAD of the list": ("HEAD", "", {}),
    "OPTIONS": ("OPTIONS", "{name}/", {}),
    "download": ("GET", "{name}/", {}),
    "HEAD of the download": ("HEAD", "{name}/", {}),
    "download of the file called delete": ("GET", "delete/", {}),
    "part": ("GET", "{name}/", {"Range": "bytes=0-1"}),
    "impossible part": ("GET", "{name}/", {"Range": "bytes=99-"}),
    "part if it is that version": (
        "GET",
        "{name}/",
        {"Range": "bytes=0-1", "If-Range": "{ETag}"},
    ),
    "if it is not that version": ("GET", "{name}/", {"If-None-Match": "{ETag}"}),
    "if there is none": ("GET", "{name}/", {"If-None-Match": "*"}),
    "if it is that version": ("GET", "{name}/", {"If-Match": "{ETag}"}),
    "if there is one": ("HEAD", "{name}/", {"If-Match": "*"}),
    "if modified": ("GET", "{name}/", {"If-Modified-Since": "{Last-Modified}"}),
    "if unmodified": ("GET", "{name}/", {"If-Unmodified-Since": "{Last-Modified}"}),
    "POST to delete": ("POST", "{name}/delete/", {}),
    "DELETE": ("DELETE", "{name}/", {}),
    "DELETE of the wrong URL": ("DELETE", "{name}/delete/", {}),
    "DELETE of the file called delete": ("DELETE", "delete/", {}),
    "POST to delete the bundle": ("POST", "delete/", {}),
    "DELETE of the bundle": ("DELETE", "", {}),
    "upload": ("POST", "", {}),
}

COOKIES = {
    "empty": "",
    "empty in quotes": '""',
    "invented": "i" * 32,
    "long": "x" * 10_000,
    "bytes above ASCII": bytes(range(0x80, 0x100)).decode("latin-1"),
    "UTF-8": "ключ от сессии".encode().decode("latin-1"),
    "percent escapes": "%00%0d%0a%ff%2e%2e%2f" * 2,
    "NUL": r'"\000\000\000\000\000\000\000\000"',
    "controls": "".join(map(chr, [*range(1, 32), 127])),
    "controls in quotes": r'"\001\011\012\015\033[31m\177\377"',
    "quotes": r'"""it\'s "quoted\""',
    "spaces": f'"{" " * 32}"',
    "wildcards": "_" * 32,
    "more wildcards": "%%%%%%%%*?[a-z]",
    "path": "../../../../../etc/passwd",
    "SQL": "' OR session_key LIKE '%",
    "key in capitals": "{capitals}",
    "key and a space": '"{key} "',
    "space and key": '" {key}"',
    "key and NUL": r'"{key}\000"',
    "key and a line break": r'"{key}\012"',
    "key and more": "{key}a",
    "key twice": "{key}{key}",
    "key, cut": "{cut}",
    "key of the table": "{filing_key}",
    "signed with another secret": "{forged}",
}
# Django asks the database for whatever the cookie says. PostgreSQL's driver refuses
# NUL, and that is an error 500 before the app is reached (Django's ticket 30064);
# MariaDB takes these for the key itself, and so does Django.
LEFT_OUT = {
    "postgresql": {"NUL", "key and NUL"},
    "mysql": {"key in capitals", "key and a space"},
}


def cookies(store, victim):
    """Return what strangers send instead of the victim's session key."""
    key = victim.cookies["sessionid"].value
    filing_key = store(key)[VARIABLE]
    values = {
        "key": key,
        "capitals": key.upper(),
        "cut": key[:-1],
        "filing_key": filing_key,
        "forged": signing.dumps(
            {VARIABLE: filing_key},
            key="another secret",
            salt=SIGNED,
        ),
    }
    assert key != filing_key
    left_out = LEFT_OUT if issubclass(store, DatabaseStore) else {}
    return {
        case: value.format(**values)
        for case, value in COOKIES.items()
        if case not in left_out.get(connection.vendor, ())
    }


def ask(client, version, bundle, name):
    """Send each kind of request; return the answers, as they are of any name."""
    answers = {}
    for case, (method, path, headers) in REQUESTS.items():
        body = form(part(name=name), part(name="delete")) if case == "upload" else b""
        with CaptureQueriesContext(connection) as queries:
            response = client.generic(
                method,
                f"/attachments/{bundle}/{path.format(name=name)}",
                body,
                MULTIPART,
                headers={key: text.format(**version) for key, text in headers.items()},
            )
            content = b"".join(response)
        answers[case] = {
            "status": response.status_code,
            "headers": list(response.items()),
            "cookies": list(response.cookies),
            # Between two uploads a minute may end.
            "body": re.sub(rb'"created": "[^"]*"', b"", content).replace(
                name.encode(), b"NAME"
            ),
            "queries": len(queries),
        }
    return answers


def assert_sees_nothing(client, version):
    """Compare the answers of what is there with those of what never was."""
    number = next(NUMBERS)
    there = ask(client, version, "foo", "spam.txt")
    never = ask(client, version, f"never-{number}", f"n{number:03}.txt")

    assert there == never
    assert there["list"]["body"] == b"[]\r\n"
    assert there["download"]["status"] == there["if there is one"]["status"] == 404
    assert there["DELETE of the bundle"]["body"] == b"[]\r\n"
    assert there["upload"]["status"] == 200


def everything(stored):
    """Return the rows and the files of all visitors."""
    return {*Attachment.objects.values_list("pk", "session_id", "file"), *stored()}


@pytest.fixture
def victim(engine, settings, stored):
    """Return a visitor with attachments, and see to it that they stay."""
    # The first upload under a lock makes it, which would be queries more.
    Lock.objects.bulk_create(Lock(pk=pk) for pk in range(1, 257))
    # A quota that is spent tells a stranger nothing, either.
    settings.SESSION_ATTACHMENTS_MAX_BUNDLE_FILES = len(FILES)
    client = Client()
    upload(client, FILES)
    # Now the key of the session is another one than that of the attachments.
    client.post("/login/ann/")
    before = everything(stored)
    yield client
    assert everything(stored) >= before
    assert shelf(client) == FILES


@pytest.fixture
def version(victim):
    """Return ETag and Last-Modified of the victim's attachment."""
    return victim.head(f"{URL}spam.txt/").headers


def visitor():
    """Return another visitor, with attachments like the victim's."""
    client = Client()
    upload(client, FILES)
    return client


def stranger(cookie):
    """Return a client that sends this cookie, whatever it is told to send."""
    return Client(HTTP_COOKIE=f"sessionid={cookie}")


@pytest.mark.fault(3)
@each(ENGINES)
class TestStranger:
    def test_without_a_cookie_sees_nothing(self, engine, victim, version):
        assert_sees_nothing(Client(HTTP_COOKIE=""), version)

    def test_with_a_session_sees_nothing(self, engine, victim, version):
        client = Client()
        client.post("/login/bob/")
        upload(client, {"own.txt": b"bacon\n"}, "/attachments/own/")

        assert_sees_nothing(client, version)

        assert names(client.get("/attachments/own/")) == ["own.txt"]

    def test_with_any_other_cookie_sees_nothing(
        self, engine, victim, version, subtests
    ):
        for case, cookie in cookies(engine, victim).items():
            with subtests.test(case):
                assert_sees_nothing(stranger(cookie), version)

    def test_with_the_cookie_of_an_expired_session_sees_nothing(
        self, engine, victim, version
    ):
        cookie = expire(engine, visitor().cookies["sessionid"].value)

        assert_sees_nothing(stranger(cookie), version)


@each(STORED)
def test_stranger_with_the_cookie_of_a_flushed_session_sees_nothing(
    engine, victim, version
):
    client = visitor()
    cookie = client.cookies["sessionid"].value
    client.post("/flush/")

    assert_sees_nothing(stranger(cookie), version)
