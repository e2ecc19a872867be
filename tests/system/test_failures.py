"""Storages, disks, databases, sessions and projects that fail, seen from outside.

What was stored before survives, nothing is there by half, the answer is an error and
the log says which.
"""

import errno
import json
import logging
import os
import resource
import select
import shutil
import socket
import subprocess
import threading
from contextlib import closing, contextmanager
from datetime import timedelta
from importlib.util import find_spec
from io import StringIO
from socketserver import BaseRequestHandler, ThreadingTCPServer

import pytest
from django.contrib.sessions.backends import db
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.db import Error, close_old_connections, connection, transaction
from django.db.backends.signals import connection_created
from django.db.utils import ConnectionHandler
from django.template.response import SimpleTemplateResponse
from django.test import Client
from django.urls import path
from django.utils import timezone

from session_attachments.bundles import Bundle
from session_attachments.models import Attachment
from session_attachments.signals import attachment_removed, attachment_stored
from tests import servers
from tests.clients import MULTIPART, NEEDS, URL, form, names, part, shelf
from tests.clients import upload as upload_files
from tests.storages import Calls, attach, failing, store_in
from tests.urls import urlpatterns as urls_of_the_tests

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

KILOBYTE = 1024
MEGABYTE = 1024 * KILOBYTE
OLD = {"egg.txt": b"old egg", "spam.txt": b"old spam"}
# One that there was not, and one for each of the old.
NEW = {"bacon.txt": b"new bacon", "egg.txt": b"new egg", "spam.txt": b"new spam"}


def upload(client):
    """Replace OLD by NEW."""
    return upload_files(client, NEW)


def delete(client):
    """Delete one attachment."""
    return client.delete(f"{URL}spam.txt/")


def clear(client):
    """Delete the bundle."""
    return client.post(f"{URL}delete/")


# What each makes of OLD.
CHANGES = {upload: NEW, delete: {"egg.txt": OLD["egg.txt"]}, clear: {}}
each_change = pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)


def new_client(cookies=()):
    """Return a client that gets Django's answer where it has a 500."""
    client = Client(raise_request_exception=False)
    client.cookies.update(cookies)
    return client


@pytest.fixture
def visitor(temporary):
    """Return a client that has stored OLD."""
    client = new_client()
    upload_files(client, OLD)
    return client


@pytest.fixture
def assert_kept(visitor, stored, temporary):
    """Return a function that asserts that all is as it was."""
    before = stored()

    def assert_kept():
        assert shelf(visitor) == OLD
        assert stored() == before
        assert list(temporary.iterdir()) == []

    return assert_kept


@pytest.fixture
def in_memory(visitor, settings):
    """Let uploads wait in memory: temporary files go with the process."""
    handler = "django.core.files.uploadhandler.MemoryFileUploadHandler"
    settings.FILE_UPLOAD_HANDLERS = [handler]


@pytest.fixture
def assert_recovered(visitor, stored):
    """Return a function that asserts that the visitor can go on."""

    def assert_recovered():
        for change, result in CHANGES.items():
            clear(visitor)
            assert upload_files(visitor, OLD).status_code == 200
            assert change(visitor).status_code == 200
            assert shelf(visitor) == result
            assert len(stored()) == len(result)

    return assert_recovered


@pytest.fixture
def heard():
    """Return the list of the names that the signals tell."""
    heard = []

    def hear(attachment, **kwargs):
        heard.append(attachment.filename)

    with listening(hear):
        yield heard


@contextmanager
def listening(hear):
    signals = (attachment_stored, attachment_removed)
    for signal in signals:
        signal.connect(hear)
    try:
        yield
    finally:
        for signal in signals:
            signal.disconnect(hear)


def crashes(caplog):
    """Return the errors that Django has logged with its answers."""
    return [
        record.exc_info[1]
        for record in caplog.records
        if record.name == "django.request" and record.levelno == logging.ERROR
    ]


def remove_outdated():
    """Let all attachments be old, and run the command; return what it has printed."""
    Attachment.objects.update(created=timezone.now() - timedelta(days=9))
    stdout = StringIO()
    call_command("remove_outdated_attachments", older_than=1, stdout=stdout)
    return stdout.getvalue()


class TestSave:
    """A storage that fails for the second of three files."""

    @pytest.fixture(params=["begin", "half"])
    def breaking(self, request, settings, media):
        """Return a function that lets the storage raise, as it begins or halfway."""
        operation = "save" if request.param == "begin" else "saved"
        calls = []

        def break_with(error):
            def watch(called, name):
                calls.append(called)
                if called == operation and calls.count(operation) == 2:
                    if (file := media / name).exists():
                        os.truncate(file, file.stat().st_size // 2)
                    raise error

            store_in(settings, watch)

        return break_with

    @pytest.mark.parametrize(
        "error",
        [
            OSError(errno.EIO, "Input/output error"),
            TimeoutError("The far side does not answer."),
            MemoryError(),
            RuntimeError("What a storage of somebody's raises."),
        ],
        ids=repr,
    )
    def test_error_is_logged_and_all_is_as_before(
        self, visitor, assert_kept, breaking, caplog, error
    ):
        breaking(error)

        assert upload(visitor).status_code == 500

        assert crashes(caplog) == [error]
        assert_kept()

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
    def test_end_of_the_process_leaves_all_as_before(
        self, visitor, assert_kept, breaking, in_memory, error
    ):
        breaking(error())

        with pytest.raises(error):
            upload(visitor)

        assert_kept()

    def test_next_request_goes_on(self, visitor, breaking, assert_recovered):
        breaking(OSError(errno.EIO, "Input/output error"))

        assert upload(visitor).status_code == 500

        assert_recovered()

    def test_upload_without_a_place_to_wait_leaves_all_as_before(
        self, visitor, assert_kept, temporary, caplog
    ):
        temporary.rmdir()

        assert upload(visitor).status_code == 500

        temporary.mkdir()
        assert isinstance(crashes(caplog)[0], FileNotFoundError)
        assert_kept()


class TestOpen:
    @pytest.mark.parametrize(
        "error",
        [
            PermissionError(errno.EACCES, "Permission denied"),
            OSError(errno.EIO, "Input/output error"),
            OSError(errno.EMFILE, "Too many open files"),
            TimeoutError("The far side does not answer."),
        ],
        ids=repr,
    )
    def test_file_that_cannot_be_opened_is_not_taken_for_missing(
        self, visitor, assert_kept, settings, caplog, error
    ):
        storages = settings.STORAGES
        store_in(settings, failing("open", error))

        for ask in (visitor.get, visitor.head):
            assert ask(f"{URL}spam.txt/").status_code == 500

        assert crashes(caplog) == [error, error]
        assert names(visitor.get(URL)) == list(OLD)
        settings.STORAGES = storages
        assert_kept()

    def test_everything_else_goes_on(self, visitor, settings, stored):
        store_in(settings, failing("open", OSError(errno.EIO, "Input/output error")))

        assert names(upload(visitor)) == list(NEW)
        assert delete(visitor).json() == [True]
        assert clear(visitor).json() == [[True], [True]]
        assert stored() == []


class TestDelete:
    def test_file_that_stays_is_left_to_the_command(
        self, visitor, settings, caplog, media, stored
    ):
        stuck = Attachment.objects.get(filename="spam.txt").file.name
        store_in(settings, failing("delete", PermissionError("read only"), stuck))

        assert clear(visitor).json() == [[True], [True]]

        assert shelf(visitor) == {}
        assert stored() == [stuck]
        assert f"The stored file {stuck!r} could not be deleted." in caplog.messages
        today = (media / stuck).parent
        today.rename(today.with_name("2001-01-01"))
        store_in(settings, failing("delete", PermissionError("read only")))
        with pytest.raises(CommandError, match=r"^Not removed: 1\.$"):
            remove_outdated()
        store_in(settings, Calls())
        assert "0 unfinished uploads and 1 file without" in remove_outdated()
        assert stored() == []


DISK = 4 * MEGABYTE
PAGE = 4 * KILOBYTE


def can_mount():
    """Whether this user may; root in a container may not."""
    command = ["sh", "-c", "unshare --mount mount --types=tmpfs tmpfs /mnt"]
    return not subprocess.run(command, capture_output=True).returncode


def needs_disks(test):
    """Mark what uses the server."""
    reason = "needs the right to mount a tmpfs"
    for mark in (
        pytest.mark.server,
        pytest.mark.skipif("not can_mount()", reason=reason),
        NEEDS["gunicorn"],
    ):
        test = mark(test)
    return test


@contextmanager
def disk(folder):
    """Mount a small disk."""
    folder.mkdir()
    options = f"--types=tmpfs --options=size={DISK} tmpfs"
    subprocess.run(["mount", *options.split(), folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Run gunicorn with a disk for what is stored and one for what is uploaded."""
    folder = tmp_path_factory.mktemp("failures")
    options = {
        "FILE_UPLOAD_MAX_MEMORY_SIZE": 2 * MEGABYTE,
        "FILE_UPLOAD_TEMP_DIR": str(folder / "uploads"),
        "LOGGING": {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"stderr": {"class": "logging.StreamHandler"}},
            "root": {"handlers": ["stderr"]},
        },
    }
    with (
        disk(folder / "media"),
        disk(folder / "uploads"),
        servers.running("gunicorn", folder, **options) as server,
    ):
        yield server


def full(disk, left):
    """Return what leaves so many bytes on the disk of a server."""

    @contextmanager
    def fill(server):
        ballast = server.folder / disk / "ballast"
        ballast.write_bytes(bytes(shutil.disk_usage(ballast.parent).free - left))
        try:
            yield
        finally:
            ballast.unlink()

    return fill


def limited(size):
    """Return what lets no file of a server grow over ``size`` bytes."""

    @contextmanager
    def limit(server):
        before = resource.prlimit(server.worker, resource.RLIMIT_FSIZE)
        resource.prlimit(server.worker, resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.prlimit(server.worker, resource.RLIMIT_FSIZE, before)

    return limit


SMALL = MEGABYTE  # is kept in memory
LARGE = 3 * MEGABYTE + 2 * PAGE  # waits in a temporary file
# The first file of the form takes a page, and so one page is missing for the second.
LACKS = {
    "small": (SMALL, full("media", SMALL // 2)),
    "small, by a page": (SMALL, full("media", SMALL)),
    "large": (LARGE, full("media", LARGE // 2)),
    "large, by a page": (LARGE, full("media", LARGE)),
    "temporary": (LARGE, full("uploads", LARGE // 2)),
    "temporary, by a page": (LARGE, full("uploads", LARGE)),
    "limit of a small file": (SMALL, limited(SMALL - 1)),
    "limit of a temporary file": (LARGE, limited(LARGE - 1)),
}


@pytest.fixture
def guest(server):
    """Return a client of the server that has stored a file."""
    guest = servers.Client(server)
    guest.get(URL)
    assert post(guest, spam=b"old").status == 200
    yield guest
    assert guest.request("DELETE", URL).status == 200


@needs_disks
class TestDisk:
    @pytest.mark.parametrize(("size", "lack"), LACKS.values(), ids=LACKS)
    def test_lack_of_space_refuses_what_is_too_large(self, server, guest, size, lack):
        new = os.urandom(size)
        before, said = files(server), server.log()

        with lack(server):
            refused = post(guest, egg=b"egg", spam=new)
            left = files(server)
            old = guest.get(f"{URL}spam.txt/")
            small = post(guest, egg=b"egg")

        assert refused.problem == (507, "insufficient_storage")
        assert left == before
        assert old.content == b"old"
        assert small.status == 200
        assert "OSError: [Errno " in server.log().removeprefix(said)
        assert post(guest, spam=new).status == 200
        assert guest.get(f"{URL}spam.txt/").content == new

    @pytest.mark.parametrize(("size", "lack"), LACKS.values(), ids=LACKS)
    def test_lack_of_space_refuses_what_is_put(self, server, guest, size, lack):
        # Here no other file takes a page before.
        new = os.urandom(size + PAGE)
        before, said = files(server), server.log()

        with lack(server):
            refused = guest.put(f"{URL}spam.txt", new)
            left = files(server)
            old = guest.get(f"{URL}spam.txt")

        assert refused.problem == (507, "insufficient_storage")
        assert left == before
        assert old.content == b"old"
        assert "OSError: [Errno " in server.log().removeprefix(said)
        assert guest.put(f"{URL}spam.txt", new).status == 200
        assert guest.get(f"{URL}spam.txt").content == new


def post(client, **contents):
    """Upload files, and wait until the server has put everything away."""
    body = form(*(part(content, f"{name}.txt") for name, content in contents.items()))
    headers = {"Content_Type": MULTIPART, "Content_Length": len(body)}
    with client.connect() as connection:
        client.send(connection, "POST", URL, body, **headers)
        answer = servers.Answer.read(connection, "POST")
        assert connection.recv(1) == b""
    return answer


def files(server):
    """Return the names of all files, stored and temporary."""
    folders = (server.folder / "media", server.folder / "uploads")
    names = {p.name for folder in folders for p in folder.rglob("*") if p.is_file()}
    return names - {"ballast"}


# What ends a connection, and so a transaction, when the row of spam.txt is touched.
# SQLite has no connection: it refuses.
CUTS = {
    "sqlite": (
        """
        CREATE TRIGGER cut BEFORE {event} ON session_attachments_attachment
        WHEN {row}.filename = 'spam.txt' BEGIN SELECT RAISE(ABORT, 'cut'); END
        """,
        "DROP TRIGGER cut",
    ),
    "postgresql": (
        """
        CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
        CREATE TRIGGER cut AFTER {event} ON session_attachments_attachment
        FOR EACH ROW WHEN ({row}.filename = 'spam.txt') EXECUTE FUNCTION cut()
        """,
        "DROP FUNCTION cut CASCADE",
    ),
    "mysql": (
        """
        CREATE TRIGGER cut AFTER {event} ON session_attachments_attachment
        FOR EACH ROW IF {row}.filename = 'spam.txt' THEN KILL CONNECTION_ID(); END IF
        """,
        "DROP TRIGGER cut",
    ),
}


def execute(sql, database=connection):
    with database.cursor() as cursor:
        cursor.execute(sql)


@contextmanager
def cut_at(event, database=connection):
    """End the connection to the database in the middle of INSERT or DELETE."""
    create, drop = CUTS[database.vendor]
    row = {"INSERT": "NEW", "DELETE": "OLD"}[event]
    execute(create.format(event=event, row=row), database)
    try:
        yield
    finally:
        # As Django does between requests; its test client does not.
        close_old_connections()
        execute(drop, database)


# What lets the database take no changes.
READ_ONLY = {
    "sqlite": "PRAGMA query_only = ON",
    "postgresql": "SET default_transaction_read_only = ON",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
}
IMPATIENT = {
    "sqlite": "PRAGMA busy_timeout = 10",
    "postgresql": "SET lock_timeout = 10",
    "mysql": "SET innodb_lock_wait_timeout = 0",
}


@pytest.fixture
def session(visitor):
    """Return a function that changes the settings of all connections from now on."""
    changes = []

    def change(statements):
        changes.append(lambda **_: execute(statements[connection.vendor]))
        connection_created.connect(changes[0])
        changes[0]()

    yield change
    connection_created.disconnect(changes[0])
    connection.close()


@contextmanager
def locked():
    """Let another connection lock what is there."""
    with closing(connection.copy()) as other:
        other.set_autocommit(False)
        execute("UPDATE session_attachments_lock SET id = id", other)
        execute("UPDATE session_attachments_attachment SET size = size", other)
        yield


class TestDatabase:
    @pytest.mark.parametrize(
        ("event", "change"),
        [("INSERT", upload), *(("DELETE", change) for change in CHANGES)],
    )
    def test_cut_in_a_transaction_leaves_all_as_before(
        self, visitor, assert_kept, assert_recovered, heard, caplog, event, change
    ):
        with cut_at(event):
            assert change(visitor).status_code == 500

        (error,) = crashes(caplog)
        assert isinstance(error, Error)
        assert heard == []
        assert_kept()
        assert_recovered()

    def test_cut_does_not_stop_the_command(self, visitor, capsys, stored):
        with cut_at("DELETE"), pytest.raises(CommandError, match="Not removed: 1"):
            remove_outdated()

        assert "'spam.txt' could not be removed: " in capsys.readouterr().err
        assert shelf(visitor) == {"spam.txt": OLD["spam.txt"]}
        assert len(stored()) == 1
        assert "Removed 1 attachment, " in remove_outdated()
        assert stored() == []

    @each_change
    def test_lock_that_is_held_too_long_leaves_all_as_before(
        self, visitor, session, assert_kept, caplog, change
    ):
        session(IMPATIENT)

        with locked():
            assert change(visitor).status_code == 500
            assert_kept()

        (error,) = crashes(caplog)
        assert isinstance(error, Error)
        assert change(visitor).status_code == 200
        assert shelf(visitor) == CHANGES[change]

    @each_change
    def test_database_that_takes_no_changes_can_be_read(
        self, visitor, session, assert_kept, caplog, change
    ):
        session(READ_ONLY)

        assert change(visitor).status_code == 500

        (error,) = crashes(caplog)
        assert isinstance(error, Error)
        assert_kept()

    @needs_disks
    def test_server_goes_on_after_a_cut(self, server, guest):
        before, said = files(server), server.log()
        databases = json.loads(server.env["TEST_SERVER_SETTINGS"])["DATABASES"]

        with (
            closing(ConnectionHandler(databases)["default"]) as database,
            cut_at("INSERT", database),
        ):
            cut = post(guest, spam=b"new")
            left = files(server)
            old = guest.get(f"{URL}spam.txt/")

        assert cut.status == 500
        assert left == before
        assert old.content == b"old"
        assert "Internal Server Error: /attachments/foo/" in (
            server.log().removeprefix(said)
        )
        assert post(guest, spam=b"new").status == 200
        assert guest.get(f"{URL}spam.txt/").content == b"new"


# How a connection ends: without a word, or with one to PostgreSQL or MariaDB.
GOODBYES = {b"", b"X\0\0\0\4", b"\1\0\0\0\1"}


class Wire(ThreadingTCPServer):  # pragma: no cover - measured on SQLite
    """What the app takes for its database: relays to it, and cuts when told."""

    def __init__(self, database):
        super().__init__(("127.0.0.1", 0), Relay)
        self.database = database
        self.newest = None
        self.left = 0
        self.answered = False

    def cut(self, left, answered):
        """Cut at the ``left``-th message from here.

        With ``answered`` it reaches the database, but its answer not the app.
        """
        self.left, self.answered = left, answered

    def mend(self):
        """Cut no more; return whether it has cut."""
        was_cut, self.left = self.left <= 0, 0
        return was_cut

    def count(self, relay):
        """Count a message of the app; return whether to cut."""
        self.left -= relay is self.newest
        return relay is self.newest and not self.left


class Relay(BaseRequestHandler):  # pragma: no cover - measured on SQLite
    """One connection."""

    def handle(self):
        self.server.newest = self
        with socket.create_connection(self.server.database) as database:
            ends = {self.request: database, database: self.request}
            while self.pass_on(ends):
                pass

    def pass_on(self, ends):
        for end in select.select(ends, [], [])[0]:
            message = end.recv(MEGABYTE)
            is_last = (
                end is self.request
                # An old connection may do that before or after a new one begins.
                and message not in GOODBYES
                and self.server.count(self)
            )
            if not is_last or self.server.answered:
                ends[end].sendall(message)
            if is_last and self.server.answered:
                ends[end].recv(MEGABYTE)
            if is_last or not message:
                return False
        return True


@pytest.fixture
def wire(monkeypatch):  # pragma: no cover - measured on SQLite
    """Put a wire between the app and its database; return it."""
    settings = connection.settings_dict
    with Wire((settings["HOST"], int(settings["PORT"]))) as wire:
        threading.Thread(target=wire.serve_forever).start()
        monkeypatch.setitem(settings, "HOST", "127.0.0.1")
        monkeypatch.setitem(settings, "PORT", wire.server_address[1])
        connection.close()
        yield wire
        connection.close()
        wire.shutdown()


@pytest.mark.skipif(
    connection.vendor == "sqlite", reason="SQLite is asked over no wire"
)
@pytest.mark.parametrize("answered", [False, True])
class TestWire:  # pragma: no cover - measured on SQLite
    """The connection is cut at one message after the other, until there are no more."""

    @pytest.fixture
    def outcomes(self, visitor, wire, media, stored, answered):
        """Return a function that does something again and again, and what came of it.

        For each cut, and at last without one: what was returned, what is there, and
        how many files without a row.
        """
        session_id = Attachment.objects.all()[0].session_id

        def cut_once(number, work):
            shutil.rmtree(media)
            Attachment.objects.all().delete()
            for name, content in OLD.items():
                attach(name, content, session_id=session_id)
            wire.cut(number, answered)
            result = work()
            was_cut = wire.mend()
            close_old_connections()
            there = {
                row.filename: (media / row.file.name).read_bytes()
                for row in Attachment.objects.all()
            }
            return was_cut, (result, there, len(stored()) - len(there))

        def repeat(work):
            outcomes = []
            was_cut = True
            while was_cut:
                was_cut, outcome = cut_once(len(outcomes) + 1, work)
                outcomes.append(outcome)
            return outcomes

        return repeat

    @each_change
    def test_cut_leaves_what_was_or_what_will_be(
        self, visitor, outcomes, change, answered
    ):
        result = CHANGES[change]
        new = len(NEW) if change is upload else 0

        *cuts, last = outcomes(lambda: change(visitor).status_code)

        assert last == (200, result, 0)
        # Nobody notices that a message is lost which ends a connection, before a body
        # comes, or offers to encrypt the next one.
        cuts = [cut for cut in cuts if cut != last]
        assert {status for status, _, _ in cuts} == {500}
        before = [left for _, there, left in cuts if there == OLD]
        after = [left for _, there, left in cuts if there == result]
        assert len(before) + len(after) == len(cuts) > 5
        # Files are left only where nobody knows whether the commit was done.
        *known, unknown = before
        assert not any(known)
        assert unknown == (0 if answered else new)
        assert set(after) <= {len(OLD.items() - result.items())}
        assert after or not answered

    def test_cut_stops_the_command_with_an_error_or_not_at_all(self, outcomes):
        def run():
            try:
                return remove_outdated()
            except (CommandError, Error):
                return "error"

        *cuts, last = outcomes(run)

        assert last[0].startswith("Removed 2 attachments")
        assert len(cuts) > 5
        for result, there, left in cuts:
            # The database may hold its locks a moment longer: then rows are left out.
            assert there or result == "error" or result.startswith("Removed 2 att")
            assert there.items() <= OLD.items()
            assert not (there and left)


class Crash(Exception):
    """Something in a project's code that nobody has thought of."""


VERBS = {
    "add": lambda bundle: bundle.add(ContentFile(b"new spam", "spam.txt")),
    "remove": lambda bundle: bundle.remove("spam.txt"),
    "clear": lambda bundle: bundle.clear(),
}


def crash_in_the_view(request, verb):
    """Work with a bundle as a project's view does."""
    VERBS[verb](Bundle(request.session, "foo"))
    raise Crash


def crash_in_the_template(request, verb):
    """Do the same, and let Django render the answer when the view is done."""
    VERBS[verb](Bundle(request.session, "foo"))
    return SimpleTemplateResponse("no such template")


urlpatterns = [
    *urls_of_the_tests,
    path("view/<str:verb>/", crash_in_the_view),
    path("template/<str:verb>/", crash_in_the_template),
]


def crash_in_a_transaction(get_response):
    """Run requests in a transaction, as a project may, and roll it back."""

    def middleware(request):
        with transaction.atomic():
            get_response(request)
            raise Crash

    return middleware


def crash_after_all(get_response):
    """Let the view do its work, and fail."""

    def middleware(request):
        get_response(request)
        raise Crash

    return middleware


class TestProject:
    """Code of the project's that fails when the app has done its part."""

    @pytest.fixture
    def crash_in(self, settings, visitor):
        """Return a function that gives the visitor's client another middleware."""

        def crash_in(middleware):
            settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.{middleware}"]
            return new_client(visitor.cookies)

        return crash_in

    @pytest.fixture
    def views(self, settings, monkeypatch):
        """Install the views above, each in a transaction."""
        settings.ROOT_URLCONF = __name__
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)

    @pytest.mark.parametrize("verb", VERBS)
    def test_view_that_crashes_has_changed_nothing(
        self, visitor, views, stored, heard, caplog, verb
    ):
        before = set(stored())

        assert visitor.get(f"/view/{verb}/").status_code == 500

        assert [type(error) for error in crashes(caplog)] == [Crash]
        assert heard == []
        assert shelf(visitor) == OLD
        # What is new is left to the command.
        assert len(set(stored()) - before) == (verb == "add")
        assert before <= set(stored())

    @pytest.mark.parametrize(
        ("verb", "result"),
        [
            ("add", {**OLD, "spam.txt": b"new spam"}),
            ("remove", {"egg.txt": b"old egg"}),
            ("clear", {}),
        ],
    )
    def test_template_that_crashes_changes_nothing_back(
        self, visitor, views, stored, heard, verb, result
    ):
        assert visitor.get(f"/template/{verb}/").status_code == 500

        assert heard
        assert shelf(visitor) == result
        assert len(stored()) == len(result)

    @each_change
    def test_transaction_of_a_middleware_that_crashes_has_changed_nothing(
        self, visitor, crash_in, stored, heard, change
    ):
        before = set(stored())

        assert change(crash_in("crash_in_a_transaction")).status_code == 500

        assert heard == []
        assert shelf(visitor) == OLD
        assert len(set(stored()) - before) == len(NEW) * (change is upload)
        assert before <= set(stored())

    @each_change
    def test_middleware_that_crashes_changes_nothing_back(
        self, visitor, crash_in, stored, heard, change
    ):
        assert change(crash_in("crash_after_all")).status_code == 500

        assert heard
        assert shelf(visitor) == CHANGES[change]
        assert len(stored()) == len(CHANGES[change])


class SessionStore(db.SessionStore):
    """Makes sessions and cannot save them again."""

    def save(self, must_create=False):
        if not must_create:
            raise ConnectionError("The store of sessions is gone.")
        super().save(must_create)

    @classmethod
    def get_model_class(cls):
        return db.SessionStore.get_model_class()


class TestSession:
    """A store of sessions that fails."""

    @pytest.mark.server
    @pytest.mark.skipif(find_spec("redis") is None, reason="needs redis-py")
    @pytest.mark.parametrize(
        ("engine", "statuses"),
        [
            # Django's engine "cache" takes every session for one that does not exist.
            ("cache", {upload: 500, delete: 200, clear: 200}),
            ("cached_db", {upload: 500, delete: 500, clear: 500}),
        ],
    )
    def test_redis_that_is_gone_leaves_all_as_it_was(
        self, settings, stored, temporary, caplog, engine, statuses
    ):
        settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
        visitor = new_client()
        upload_files(visitor, OLD)
        cookies, before, caches = visitor.cookies.copy(), stored(), settings.CACHES
        with socket.create_server(("127.0.0.1", 0)) as gone:
            address = f"redis://127.0.0.1:{gone.getsockname()[1]}"
        backend = "django.core.cache.backends.redis.RedisCache"
        settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": address}}

        assert {change: change(visitor).status_code for change in CHANGES} == statuses

        assert {type(error).__name__ for error in crashes(caplog)} == {
            "ConnectionError"
        }
        settings.CACHES = caches
        assert shelf(new_client(cookies)) == OLD
        assert stored() == before
        assert list(temporary.iterdir()) == []

    def test_session_that_is_lost_after_the_upload_leaves_whole_attachments(
        self, settings, media, caplog
    ):
        settings.SESSION_ENGINE = __name__

        assert upload(new_client()).status_code == 500

        assert isinstance(crashes(caplog)[0], ConnectionError)
        for attachment in Attachment.objects.all():
            file = media / attachment.file.name
            assert file.read_bytes() == NEW[attachment.filename]
        assert "Removed 3 attachments" in remove_outdated()


def validate(file):
    """Crash at the second of three files."""
    if file.name == "egg.txt":
        raise Crash


class TestValidator:
    def test_validator_that_crashes_refuses_all(
        self, visitor, assert_kept, settings, caplog
    ):
        settings.SESSION_ATTACHMENTS_VALIDATORS = [f"{__name__}.validate"]

        assert upload(visitor).status_code == 500

        assert [type(error) for error in crashes(caplog)] == [Crash]
        assert_kept()


class TestReceiver:
    """test_signals.py has receivers that raise; here they end the process."""

    @each_change
    def test_end_of_the_process_leaves_what_was_committed(
        self, visitor, in_memory, stored, change
    ):
        def exit_(**kwargs):
            raise SystemExit

        with listening(exit_), pytest.raises(SystemExit):
            change(visitor)

        assert shelf(visitor) == CHANGES[change]
        assert len(stored()) >= len(CHANGES[change])
