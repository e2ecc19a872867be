"""Which session reaches which attachments, on each of Django's session engines.

What strangers see is in test_strangers.py.
"""

import re
from contextlib import contextmanager

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.cache import SessionStore
from django.contrib.sessions.models import Session
from django.core.checks import run_checks
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from session_attachments import sessions
from session_attachments.bundles import Bundle
from session_attachments.models import Attachment
from session_attachments.sessions import VARIABLE
from tests.clients import (
    URL,
    Meanwhile,
    content,
    form,
    names,
    part,
    problem,
    put,
    send,
    shelf,
    upload,
)
from tests.engines import ENGINES, STORED, each, expire

pytestmark = [pytest.mark.database, pytest.mark.django_db]


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
    """Return the event that a client POSTs to these URLs of the project's."""

    def event(client, store):
        for url in urls:
            client.post(url)

    return event


def run_out(client, store):
    """Let the client's session expire."""
    client.cookies["sessionid"] = expire(store, client.cookies["sessionid"].value)


# The rows of the documented table: what goes before the upload, what comes after it.
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
    """Return the documented table: what happens, and who reaches the attachments."""
    _, _, rows, _ = re.split(r"^=+ =+\n", sessions.__doc__, flags=re.MULTILINE)
    return dict(re.split("  +", row) for row in rows.splitlines())


def warned():
    """Whether a check says that cookies cannot be revoked."""
    messages = run_checks(include_deployment_checks=True)
    return "session_attachments.W002" in {message.id for message in messages}


class TestDocumentedTable:
    def test_rows_are_those_that_are_played(self):
        assert set(table()) == set(EVENTS)
        assert set(table().values()) == set(OUTCOMES)

    @pytest.mark.fault(7)
    @pytest.mark.django_db(transaction=True)
    @each(ENGINES)
    @each_play(PLAYS)
    def test_row_is_true(self, engine, stored, row, before, event):
        client = Client()
        before(client, engine)
        upload(client, {"spam.txt": b"spam\n"})

        event(client, engine)

        OUTCOMES[table()[row]](client, stored)

    @pytest.mark.fault(5)
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
        assert "With ``signed_cookies`` one sentence" in sessions.__doc__


@each(ENGINES)
class TestEngine:
    @pytest.mark.fault(1, 2)
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

    @pytest.mark.fault(5, 6)
    @pytest.mark.parametrize("cookie", ["", "inventedinventedinventedinvented"])
    def test_invented_cookie_is_never_adopted(self, engine, cookie):
        client = client_with_cookie(cookie)

        upload(client, {"spam.txt": b"spam\n"})

        assert Attachment.objects.get().session_id != cookie
        assert names(client.get(URL)) == ["spam.txt"]
        assert_reaches_nothing(client_with_cookie(cookie))

    def test_logging_in_again_does_not_bring_them_back(self, engine):
        client = Client()
        client.post("/login/ann/")
        upload(client, {"spam.txt": b"spam\n"})

        client.post("/logout/")
        client.post("/login/ann/")

        assert_reaches_nothing(client)

    @pytest.mark.fault(4)
    def test_expired_session_is_followed_by_one_with_a_new_key(self, engine):
        client = Client()
        upload(client, {"spam.txt": b"spam\n"})
        key = client.cookies["sessionid"].value
        run_out(client, engine)

        upload(client, {"egg.txt": b"egg\n"})

        assert client.cookies["sessionid"].value != key
        assert shelf(client) == {"egg.txt": b"egg\n"}

    @pytest.mark.fault(28)
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

    def test_project_reaches_the_same_bundle_by_the_session(self, engine):
        client = Client()
        upload(client, {"spam.txt": b"spam\n"})

        bundle = Bundle(engine(client.cookies["sessionid"].value), "foo")

        assert [attachment.filename for attachment in bundle] == ["spam.txt"]

    def test_project_may_add_before_the_session_has_a_key(self, engine):
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


def upload_while(client, event, body=None, **extra):
    """Upload two.txt in a body that comes slowly; ``event`` happens meanwhile."""
    body = body or form(part(name="two.txt"))
    return send(client, body, **{"wsgi.input": Meanwhile(body, event), **extra})


def put_while(client, event, **extra):
    """PUT two.txt, whose body comes slowly; ``event`` happens meanwhile."""
    wire = {"wsgi.input": Meanwhile(b"spam\n", event)}
    return put(client, b"spam\n", f"{URL}two.txt", **wire, **extra)


def counts_answers(get_response):
    """Let the session count the answers, after the view."""

    def middleware(request):
        response = get_response(request)
        request.session["answers"] = request.session.get("answers", 0) + 1
        return response

    return middleware


@each(STORED)
def test_middleware_of_the_project_writes_over_nothing(engine, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.counts_answers"]
    client = Client()
    upload(client, {"one.txt": b"spam\n"})

    upload_while(client, lambda: client.post("/visit/"))

    assert client.session["visited"] is True
    assert client.session["answers"] == 3


def test_session_that_django_does_not_save_is_read_once(client):
    client.get(URL)

    with CaptureQueriesContext(connection) as captured:
        upload(client, {"spam.txt": b"spam\n"})

    assert sum("django_session" in query["sql"] for query in captured) == 1


VALIDATION = {}


def validate(file):
    """Take some time, in which something happens."""
    VALIDATION["event"]()


@each(ENGINES)
@pytest.mark.parametrize("every_request", [False, True])
class TestMeanwhile:
    """Something happens to the session while the body of an upload comes."""

    @pytest.fixture
    def client(self, engine, settings, every_request):
        settings.SESSION_SAVE_EVERY_REQUEST = every_request
        client = Client()
        upload(client, {"one.txt": b"spam\n"})
        return client

    @pytest.mark.parametrize("event", ["/login/ann/", "/cycle-key/"])
    def test_visitor_has_both_files(self, client, event):
        response = upload_while(client, lambda: client.post(event))

        assert names(response) == ["two.txt"]
        assert not response.cookies
        assert names(client.get(URL)) == ["one.txt", "two.txt"]
        assert (SESSION_KEY in client.session) is (event == "/login/ann/")

    @pytest.mark.parametrize("event", ["/login/ann/", "/cycle-key/"])
    def test_visitor_has_both_files_if_one_is_put(self, client, event):
        response = put_while(client, lambda: client.post(event))

        assert response.status_code == 201
        assert not response.cookies
        assert names(client.get(URL)) == ["one.txt", "two.txt"]
        assert (SESSION_KEY in client.session) is (event == "/login/ann/")

    @pytest.mark.parametrize("event", ["/cycle-key/", "/change-password/"])
    def test_user_stays_logged_in(self, client, event):
        client.post("/login/ann/")

        response = upload_while(client, lambda: client.post(event))

        assert not response.cookies
        assert names(client.get(URL)) == ["one.txt", "two.txt"]
        assert SESSION_KEY in client.session

    @pytest.mark.parametrize("event", ["/logout/", "/flush/", "/login/eve/"])
    def test_file_goes_out_of_reach_with_the_session(self, client, event):
        client.post("/login/ann/")

        response = upload_while(client, lambda: client.post(event))

        assert names(response) == ["two.txt"]
        assert not response.cookies
        assert names(client.get(URL)) == []
        assert len({row.session_id for row in Attachment.objects.all()}) == 1

    def test_what_others_write_stays(self, client):
        upload_while(client, lambda: client.post("/visit/"))

        assert client.session["visited"] is True

    def test_refusal_changes_no_more_than_an_upload(self, client):
        body = form(part(name="two.txt"), end=b"")

        response = upload_while(client, lambda: client.post("/login/ann/"), body)

        assert problem(response) == (400, "incomplete_upload")
        assert not response.cookies
        assert SESSION_KEY in client.session
        assert names(client.get(URL)) == ["one.txt"]

    @pytest.mark.parametrize("upload_while", [upload_while, put_while])
    def test_refusal_of_a_body_still_to_come_changes_no_more(
        self, client, upload_while
    ):
        piece = {"HTTP_CONTENT_RANGE": "bytes 0-999/3000"}

        response = upload_while(client, lambda: client.post("/login/ann/"), **piece)

        assert problem(response) == (400, "chunked_upload")
        assert not response.cookies
        assert SESSION_KEY in client.session
        assert names(client.get(URL)) == ["one.txt"]


class TestFirstRequestIsAnUpload:
    """The project has started the session; the app is asked for the first time."""

    @pytest.fixture
    def client(self, engine):
        client = Client()
        client.post("/cycle-key/")
        client.post("/visit/")
        return client

    @each(STORED)
    def test_session_remembers_before_the_body_comes(self, client):
        response = upload_while(client, lambda: client.post("/login/ann/"))

        assert names(response) == ["two.txt"]
        assert not response.cookies
        assert SESSION_KEY in client.session
        assert names(client.get(URL)) == ["two.txt"]

    @each(STORED)
    def test_session_remembers_before_the_body_of_a_put_comes(self, client):
        response = put_while(client, lambda: client.post("/login/ann/"))

        assert response.status_code == 201
        assert not response.cookies
        assert SESSION_KEY in client.session
        assert names(client.get(URL)) == ["two.txt"]

    @each(STORED)
    def test_what_others_write_stays(self, client, settings, monkeypatch):
        settings.SESSION_ATTACHMENTS_VALIDATORS = [f"{__name__}.validate"]
        monkeypatch.setitem(VALIDATION, "event", lambda: client.post("/buy/"))

        upload(client, {"two.txt": b"spam\n"})

        assert client.session["bought"] is True
        assert names(client.get(URL)) == ["two.txt"]

    # Django's file engine follows one that has expired by a new one itself.
    @each([engine for engine in STORED if engine != "file"])
    def test_dead_cookie_does_not_take_away_the_one_of_a_login(self, client, engine):
        client.cookies["sessionid"] = expire(engine, client.cookies["sessionid"].value)
        body = form(part(), end=b"")

        response = upload_while(client, lambda: client.post("/login/ann/"), body)

        assert problem(response) == (400, "incomplete_upload")
        assert not response.cookies
        assert SESSION_KEY in client.session


def fail():
    raise OperationalError("database is locked")


class TestSessionThatVanishes:
    """Between its being loaded and its being made to remember."""

    @pytest.fixture
    def client(self, client):
        client.post("/login/ann/")
        return client

    @contextmanager
    def before(self, start, event):
        """Let ``event`` happen before the first statement on sessions of that kind."""
        events = [event]

        def interfere(execute, sql, params, many, context):
            if sql.startswith(start) and "django_session" in sql and events:
                events.pop()()
            return execute(sql, params, many, context)

        with connection.execute_wrapper(interfere):
            yield
        assert not events

    def test_is_followed_by_a_new_one(self, client):
        key = client.cookies["sessionid"].value

        with self.before("SELECT %s", Session.objects.all().delete):
            assert names(upload(client, {"spam.txt": b"spam\n"})) == ["spam.txt"]

        assert client.cookies["sessionid"].value != key
        assert names(client.get(URL)) == ["spam.txt"]
        assert SESSION_KEY not in client.session

    def test_upload_is_answered_though_nobody_can_look_for_it(
        self, client, caplog, settings
    ):
        client.get(URL)
        settings.SESSION_SAVE_EVERY_REQUEST = True

        with self.before("SELECT %s", fail):
            response = upload(client, {"spam.txt": b"spam\n"})

        assert names(response) == names(client.get(URL)) == ["spam.txt"]
        assert SESSION_KEY in client.session
        assert "The session could not be looked for." in caplog.text

    def test_is_there_if_it_was_the_database_that_failed(self, client):
        client.raise_request_exception = False
        with self.before("UPDATE", fail):
            response = upload(client, {"spam.txt": b"spam\n"})

        assert response.status_code == 500
        assert not response.cookies
        assert names(client.get(URL)) == []
        assert SESSION_KEY in client.session


class TestLinkFromAnotherSite:
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    @pytest.mark.parametrize(
        ("site", "starts"),
        [
            ("cross-site", False),
            ("same-site", True),
            ("same-origin", True),
            ("none", True),
        ],
    )
    def test_starts_no_session(self, client, method, site, starts):
        response = client.generic(method, URL, headers={"Sec-Fetch-Site": site})

        assert response.status_code == 200
        assert ("sessionid" in response.cookies) is starts

    def test_lists_what_a_session_has(self, client):
        upload(client, {"spam.txt": b"spam\n"})

        response = client.get(URL, headers={"Sec-Fetch-Site": "cross-site"})

        assert names(response) == ["spam.txt"]


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
