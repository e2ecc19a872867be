"""Which session reaches which attachments, on each of Django's session engines.

What strangers see is in test_strangers.py.
"""

import re

import pytest
from django.contrib.sessions.backends.cache import SessionStore
from django.core.checks import run_checks
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.test import Client

from session_attachments.bundles import Bundle
from session_attachments.models import Attachment
from session_attachments.sessions import VARIABLE
from tests.clients import URL, content, names, problem, shelf, upload
from tests.engines import ENGINES, STORED, each, expire
from tests.test_readme import section

pytestmark = pytest.mark.django_db


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


def post(*urls):
    """Return the event that a client POSTs to these URLs of the host's."""

    def event(client, store):
        for url in urls:
            client.post(url)

    return event


def run_out(client, store):
    """Let the client's session expire."""
    client.cookies["sessionid"] = expire(store, client.cookies["sessionid"].value)


# The rows of the README's table: what goes before the upload, and what comes after it.
EVENTS = {
    "the visitor logs in": [(post(), post("/login/ann/"))],
    "the key is cycled, the password is changed": [
        (post(), post("/cycle-key/")),
        (post("/login/ann/"), post("/change-password/")),
    ],
    "the visitor logs out; ``flush()``": [
        (post("/login/ann/"), post("/logout/")),
        (post(), post("/flush/")),
    ],
    "another user logs in, in the same session": [
        (post("/login/ann/"), post("/login/bob/")),
    ],
    "the session expires": [(post(), run_out)],
}
PLAYS = [(row, *play) for row, plays in EVENTS.items() for play in plays]


def each_play(plays):
    """Run the test for each of ``plays``."""
    return pytest.mark.parametrize(
        ("row", "before", "event"), plays, ids=[row for row, _, _ in plays]
    )


def assert_goes_on(client, stored):
    """Find what was uploaded, and add to it."""
    upload(client, {"egg.txt": b"egg\n"})
    assert shelf(client) == {"egg.txt": b"egg\n", "spam.txt": b"spam\n"}


def assert_over(client, stored):
    """Find nothing; let the command take what is left."""
    assert_reaches_nothing(client)
    call_command("remove_outdated_attachments", older_than=0)
    assert not Attachment.objects.exists()
    assert stored() == []


OUTCOMES = {
    "the visitor, with the new key": assert_goes_on,
    "nobody; the command takes them": assert_over,
}


def table():
    """Return the README's table: what happens, and who reaches the attachments."""
    _, _, rows, _ = re.split(r"^=+ =+\n", section("Sessions"), flags=re.MULTILINE)
    return dict(re.split("  +", row) for row in rows.splitlines())


def warned():
    """Whether a check says that cookies cannot be revoked."""
    messages = run_checks(include_deployment_checks=True)
    return "session_attachments.W002" in {message.id for message in messages}


class TestTableOfTheReadme:
    def test_rows_are_those_that_are_played(self):
        assert set(table()) == set(EVENTS)
        assert set(table().values()) == set(OUTCOMES)

    @pytest.mark.django_db(transaction=True)
    @each(ENGINES)
    @each_play(PLAYS)
    def test_row_is_true(self, engine, stored, row, before, event):
        client = Client()
        before(client, engine)
        upload(client, {"spam.txt": b"spam\n"})

        event(client, engine)

        OUTCOMES[table()[row]](client, stored)

    @each(STORED)
    @each_play(PLAYS)
    def test_kept_cookie_reaches_nothing(self, engine, row, before, event):
        client = Client()
        before(client, engine)
        upload(client, {"spam.txt": b"spam\n"})
        kept = client.cookies["sessionid"].value

        event(client, engine)

        assert_reaches_nothing(client_with_cookie(kept))
        assert not warned()

    @each(["signed_cookies"])
    @each_play([play for play in PLAYS if run_out not in play])
    def test_kept_signed_cookie_reaches_them_and_a_check_warns(
        self, engine, row, before, event
    ):
        client = Client()
        before(client, engine)
        upload(client, {"spam.txt": b"spam\n"})
        kept = client.cookies["sessionid"].value

        event(client, engine)

        assert shelf(client_with_cookie(kept)) == {"spam.txt": b"spam\n"}
        assert warned()
        assert "With ``signed_cookies`` one sentence" in section("Sessions")


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

    def test_invented_cookie_is_never_adopted(self, engine):
        client = client_with_cookie("inventedinventedinventedinvented")

        upload(client, {"spam.txt": b"spam\n"})

        assert Attachment.objects.get().session_id != "inventedinventedinventedinvented"
        assert names(client.get(URL)) == ["spam.txt"]
        assert_reaches_nothing(client_with_cookie("inventedinventedinventedinvented"))

    def test_logging_in_again_does_not_bring_them_back(self, engine):
        client = Client()
        client.post("/login/ann/")
        upload(client, {"spam.txt": b"spam\n"})

        client.post("/logout/")
        client.post("/login/ann/")

        assert_reaches_nothing(client)

    def test_expired_session_is_followed_by_one_with_a_new_key(self, engine):
        client = Client()
        upload(client, {"spam.txt": b"spam\n"})
        key = client.cookies["sessionid"].value
        run_out(client, engine)

        upload(client, {"egg.txt": b"egg\n"})

        assert client.cookies["sessionid"].value != key
        assert shelf(client) == {"egg.txt": b"egg\n"}

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


@each(["signed_cookies"])
class TestSignedCookies:
    def test_key_is_random_and_of_the_column_s_length(self, engine):
        client = Client()

        upload(client, {"spam.txt": b"spam\n"})

        key = Attachment.objects.get().session_id
        assert len(key) == 32
        assert key not in client.cookies["sessionid"].value

    def test_invented_cookie_is_filed_under_nothing(self, engine):
        client = client_with_cookie("inventedinventedinventedinvented")

        response = client.get(f"{URL}spam.txt/")

        assert VARIABLE not in engine(response.cookies["sessionid"].value)
