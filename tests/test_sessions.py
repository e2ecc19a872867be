"""Which session reaches which attachments, on each of Django's session engines."""

import os
import socket
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from urllib.parse import urlsplit

import pytest
from django.contrib.sessions.backends.cache import SessionStore
from django.contrib.sessions.models import Session
from django.core import signing
from django.core.cache import caches
from django.core.files.base import ContentFile
from django.test import Client
from django.utils import timezone

from session_attachments.bundles import Bundle
from session_attachments.models import Attachment
from session_attachments.sessions import VARIABLE
from tests.clients import URL, content, names, problem, upload

pytestmark = pytest.mark.django_db(transaction=True)

REDIS = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/9")
ENGINES = ["db", "cached_db", "cache", "cache on Redis", "file", "signed_cookies"]
STORED = [engine for engine in ENGINES if engine != "signed_cookies"]


def redis_answers():
    """Whether the client is installed and something listens where Redis should."""
    address = urlsplit(REDIS)
    with socket.socket() as listener:
        refused = listener.connect_ex((address.hostname, address.port or 6379))
    return find_spec("redis") is not None and not refused


needs_redis = pytest.mark.skipif(not redis_answers(), reason=f"needs Redis at {REDIS}")


def each(engines):
    """Run the test on each of ``engines``."""
    marks = {"cache on Redis": [needs_redis, pytest.mark.server]}
    return pytest.mark.parametrize(
        "engine",
        [pytest.param(engine, marks=marks.get(engine, [])) for engine in engines],
        indirect=True,
    )


@pytest.fixture
def engine(request, settings, tmp_path):
    """Let sessions live in the engine that the test names; yield its SessionStore."""
    name, _, redis = request.param.partition(" on ")
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{name}"
    settings.SESSION_FILE_PATH = str(tmp_path)
    backend = "redis.RedisCache" if redis else "locmem.LocMemCache"
    settings.CACHES = {
        "default": {
            "BACKEND": f"django.core.cache.backends.{backend}",
            "LOCATION": REDIS,
            "KEY_PREFIX": str(tmp_path),
        }
    }
    yield import_module(settings.SESSION_ENGINE).SessionStore
    if redis:
        for pool in caches["default"]._cache._pools.values():
            pool.disconnect()


def client_with_cookie(value):
    client = Client()
    client.cookies["sessionid"] = value
    return client


def assert_reaches_nothing(client):
    """Every verb answers as for what does not exist; the attachment is still there."""
    assert client.get(URL).json() == []
    assert problem(client.get(f"{URL}spam.txt/")) == (404, "not_found")
    assert client.post(f"{URL}spam.txt/delete/").json() == [False]
    assert client.delete(f"{URL}spam.txt/").json() == [False]
    assert client.post(f"{URL}delete/").json() == []
    assert client.delete(URL).json() == []
    assert Attachment.objects.count() == 1


@each(ENGINES)
class TestEngine:
    def test_first_request_may_be_an_upload(self, engine):
        client = Client()

        upload(client, {"spam.txt": b"spam\n"})

        assert names(client.get(URL)) == ["spam.txt"]
        assert content(client.get(f"{URL}spam.txt/")) == b"spam\n"

    def test_list_starts_the_session_that_uploads_share(self, engine):
        client = Client()

        client.get(URL)
        cookie = client.cookies["sessionid"].value
        upload(client_with_cookie(cookie), {"spam.txt": b"spam\n"})
        upload(client_with_cookie(cookie), {"egg.txt": b"egg\n"})

        assert names(client.get(URL)) == ["egg.txt", "spam.txt"]

    @pytest.mark.parametrize(
        ("method", "url"),
        [
            ("get", "spam.txt/"),
            ("delete", "spam.txt/"),
            ("post", "spam.txt/delete/"),
            ("post", "delete/"),
            ("delete", ""),
            ("options", ""),
            ("put", ""),
            ("post", ""),
        ],
    )
    def test_nothing_else_starts_a_session(self, engine, method, url):
        response = getattr(Client(), method)(URL + url)

        assert not response.cookies

    def test_other_session_reaches_nothing(self, engine):
        upload(Client(), {"spam.txt": b"spam\n"})

        assert_reaches_nothing(Client())

    @pytest.mark.parametrize(
        "cookie",
        ["", "short", "inventedinventedinventedinvented", "x" * 4000, "\xfc\x01;"],
    )
    def test_invented_cookie_reaches_nothing(self, engine, cookie):
        upload(Client(), {"spam.txt": b"spam\n"})

        assert_reaches_nothing(client_with_cookie(cookie))

    def test_invented_cookie_is_never_adopted(self, engine):
        client = client_with_cookie("inventedinventedinventedinvented")

        upload(client, {"spam.txt": b"spam\n"})

        assert Attachment.objects.get().session_id != "inventedinventedinventedinvented"
        assert names(client.get(URL)) == ["spam.txt"]
        assert_reaches_nothing(client_with_cookie("inventedinventedinventedinvented"))

    def test_filing_key_of_another_session_is_no_cookie(self, engine):
        """Nobody gets in with what stands in the table, once the key has changed."""
        client = Client()
        upload(client, {"spam.txt": b"spam\n"})
        client.post("/cycle-key/")

        assert_reaches_nothing(client_with_cookie(Attachment.objects.get().session_id))

    @pytest.mark.parametrize("url", ["/login/ann/", "/cycle-key/"])
    def test_new_key_keeps_the_attachments(self, engine, url):
        client = Client()
        upload(client, {"spam.txt": b"spam\n"})

        client.post(url)

        assert content(client.get(f"{URL}spam.txt/")) == b"spam\n"
        upload(client, {"egg.txt": b"egg\n"})
        assert names(client.get(URL)) == ["egg.txt", "spam.txt"]

    def test_change_of_password_keeps_the_attachments(self, engine):
        client = Client()
        client.post("/login/ann/")
        upload(client, {"spam.txt": b"spam\n"})

        client.post("/change-password/")

        assert names(client.get(URL)) == ["spam.txt"]

    @pytest.mark.parametrize("urls", [["/logout/"], ["/flush/"], ["/login/bob/"]])
    def test_lost_data_lose_the_attachments(self, engine, urls):
        client = Client()
        client.post("/login/ann/")
        upload(client, {"spam.txt": b"spam\n"})

        for url in urls:
            client.post(url)

        assert_reaches_nothing(client)

    def test_logging_in_again_does_not_bring_them_back(self, engine):
        client = Client()
        client.post("/login/ann/")
        upload(client, {"spam.txt": b"spam\n"})

        client.post("/logout/")
        client.post("/login/ann/")

        assert_reaches_nothing(client)

    def test_session_that_remembers_is_not_saved_again(self, engine):
        client = Client()
        upload(client, {"spam.txt": b"spam\n"})

        for response in (
            client.get(URL),
            client.head(f"{URL}spam.txt/"),
            upload(client, {"egg.txt": b"egg\n"}),
            client.post(f"{URL}spam.txt/delete/"),
            client.post(f"{URL}delete/"),
        ):
            assert not response.cookies

    def test_host_reaches_the_same_bundle_by_the_session(self, engine):
        client = Client()
        upload(client, {"spam.txt": b"spam\n"})

        bundle = Bundle(engine(client.cookies["sessionid"].value), "foo")

        assert [attachment.filename for attachment in bundle] == ["spam.txt"]

    def test_host_may_add_before_the_session_has_a_key(self, engine):
        session = engine()
        session["unsaved"] = True

        Bundle(session, "foo").add(ContentFile(b"spam\n", "spam.txt"))
        session.save()

        loaded = engine(session.session_key)
        assert len(Bundle(loaded, "foo")) == 1
        assert loaded["unsaved"] is True


@each(STORED)
class TestEngineOnTheServer:
    def test_files_under_the_key_that_the_session_has(self, engine):
        client = Client()

        upload(client, {"spam.txt": b"spam\n"})

        key = client.cookies["sessionid"].value
        assert Attachment.objects.get().session_id == key

    @pytest.mark.parametrize("url", ["/logout/", "/flush/", "/cycle-key/"])
    def test_kept_cookie_reaches_nothing(self, engine, url):
        client = Client()
        client.post("/login/ann/")
        upload(client, {"spam.txt": b"spam\n"})
        kept = client.cookies["sessionid"].value

        client.post(url)

        assert_reaches_nothing(client_with_cookie(kept))


class TestSessionOf02:
    """Its data do not remember a key; its attachments are filed under its own."""

    @pytest.fixture
    def client(self, client):
        client.post("/visit/")
        Attachment.objects.create(
            session_id=client.cookies["sessionid"].value,
            bundle="foo",
            filename="old.txt",
            file="session_attachments/a/b/old.txt",
        )
        return client

    @pytest.mark.parametrize("url", [URL, f"{URL}other.txt/"])
    def test_keeps_its_attachments_after_its_first_request(self, client, url):
        client.get(url)
        client.post("/login/ann/")

        assert names(client.get(URL)) == ["old.txt"]

    def test_loses_them_by_logging_in_before(self, client):
        client.post("/login/ann/")

        assert names(client.get(URL)) == []


class TestForeignKey:
    """A session whose own key is not as Django makes them: of another engine, say."""

    @pytest.mark.parametrize("key", ["x" * 41, "KEY-IN-CAPITALS"])
    def test_gets_a_random_filing_key(self, key):
        session = SessionStore(key)
        session.save(must_create=True)

        Bundle(session, "foo").add(ContentFile(b"spam\n", "spam.txt"))
        session.save()

        assert Attachment.objects.get().session_id != key
        assert len(Bundle(SessionStore(key), "foo")) == 1

    def test_new_session_gets_a_random_filing_key(self):
        session = LongKeys()

        Bundle(session, "foo").add(ContentFile(b"spam\n", "spam.txt"))

        assert len(session.session_key) == 64
        assert len(Attachment.objects.get().session_id) == 32


class LongKeys(SessionStore):
    """An engine whose keys the column does not hold."""

    def _get_new_session_key(self):
        return super()._get_new_session_key() * 2


class TestExpiredSession:
    def test_reaches_nothing_and_gets_a_new_key(self, client):
        upload(client, {"spam.txt": b"spam\n"})
        key = client.cookies["sessionid"].value
        Session.objects.update(expire_date=timezone.now() - timedelta(days=1))

        assert_reaches_nothing(client_with_cookie(key))

        upload(client, {"egg.txt": b"egg\n"})
        assert client.cookies["sessionid"].value != key
        assert names(client.get(URL)) == ["egg.txt"]


@each(["signed_cookies"])
class TestSignedCookies:
    def test_kept_cookie_still_reaches_the_attachments(self, engine):
        """Django cannot revoke it: a check warns, and the README says so."""
        client = Client()
        upload(client, {"spam.txt": b"spam\n"})
        kept = client.cookies["sessionid"].value

        client.post("/logout/")

        assert names(client_with_cookie(kept).get(URL)) == ["spam.txt"]

    def test_key_is_random_and_of_the_column_s_length(self, engine):
        client = Client()

        upload(client, {"spam.txt": b"spam\n"})

        key = Attachment.objects.get().session_id
        assert len(key) == 32
        assert key not in client.cookies["sessionid"].value

    def test_tampered_cookie_reaches_nothing(self, engine):
        client = Client()
        upload(client, {"spam.txt": b"spam\n"})
        forged = signing.dumps(
            {VARIABLE: Attachment.objects.get().session_id},
            key="another secret",
            salt="django.contrib.sessions.backends.signed_cookies",
        )

        assert_reaches_nothing(client_with_cookie(forged))

    def test_invented_cookie_is_filed_under_nothing(self, engine):
        client = client_with_cookie("inventedinventedinventedinvented")

        response = client.get(f"{URL}spam.txt/")

        assert VARIABLE not in engine(response.cookies["sessionid"].value)

    def test_key_of_the_table_is_no_cookie(self, engine):
        """It stays in ``session_key`` although it did not load."""
        upload(Client(), {"spam.txt": b"spam\n"})

        assert_reaches_nothing(client_with_cookie(Attachment.objects.get().session_id))
