"""Attachments that are taken, and kept in models of the project's."""

import errno
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from django.conf import settings as live_settings
from django.contrib.sessions.backends.db import SessionStore
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.core.mail import EmailMessage
from django.core.management import call_command
from django.db import (
    Error,
    IntegrityError,
    OperationalError,
    close_old_connections,
    connection,
    transaction,
)
from django.db.models.fields.files import FieldFile
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext
from django.utils.connection import ConnectionDoesNotExist
from hypothesis import given
from hypothesis import strategies as st

from session_attachments.bundles import Bundle
from session_attachments.exceptions import (
    AttachmentNotFound,
    AttachmentProtected,
    AttachmentsGone,
)
from session_attachments.files import storage
from session_attachments.limits import is_plain
from session_attachments.models import Attachment
from session_attachments.signals import attachment_removed
from session_attachments.transactions import is_conflict
from tests.project.models import Contract, Enclosure, Letter
from tests.servers import figure
from tests.settings import TEMPORARY
from tests.storages import (
    Calls,
    Lost,
    at_once,
    attach,
    begin_deferred,
    failing,
    store_in,
)
from tests.system.test_failures import can_mount, wire  # noqa: F401 - fixture
from tests.tries import tries

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

KILOBYTE = 1024
MEGABYTE = 1024 * KILOBYTE
FILES = {"egg.txt": b"an egg", "spam.txt": b"spam"}
KEPT = {"letters/egg.txt": b"an egg", "letters/spam.txt": b"spam"}
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - another file system


needs_two_disks = pytest.mark.skipif(
    len({os.stat(disk).st_dev for disk in (SHARED_MEMORY, TEMPORARY)}) < 2,
    reason="needs two disks",
)


@pytest.fixture
def session():
    """Return the session of a visitor who has stored FILES."""
    session = SessionStore()
    store(session)
    session.save()
    return session


@pytest.fixture
def bundle(session):
    """Return the bundle with FILES."""
    return Bundle(session, "foo")


@pytest.fixture
def spam():
    """Return an attachment of a megabyte."""
    return attach("spam.bin", b"spam" * (MEGABYTE // 4), mimetype="image/png")


@pytest.fixture
def contents(media):
    """Return a function that tells the contents of what is stored in a folder."""

    def contents(folder="", root=media):
        paths = [path for path in (root / folder).rglob("*") if path.is_file()]
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}

    return contents


@pytest.fixture
def assert_kept(bundle, contents):
    """Return a function that asserts that all went with the letter."""

    def assert_kept():
        assert Attachment.objects.count() == 0
        assert Letter.objects.count() == 1
        names = sorted(Enclosure.objects.values_list("file", flat=True))
        assert names == sorted(KEPT)
        assert contents() == KEPT

    return assert_kept


@pytest.fixture
def assert_as_before(bundle, contents):
    """Return a function that asserts that nothing has happened."""
    before = contents()

    def assert_as_before():
        assert content_of(bundle) == FILES
        assert Letter.objects.count() == Enclosure.objects.count() == 0
        assert contents() == before

    return assert_as_before


def store(session, bundle_id="foo", files=FILES):
    """Store ``files`` in a bundle of ``session``."""
    Bundle(session, bundle_id).add(
        *[ContentFile(content, name) for name, content in files.items()]
    )


def content_of(bundle):
    """Return what is in a bundle, read through its attachments."""
    contents = {}
    for attachment in bundle:
        with attachment.open() as file:
            contents[attachment.filename] = file.read()
    return contents


def send(attachments):
    """Keep ``attachments`` with a new letter."""
    letter = Letter.objects.create()
    for attachment in attachments:
        enclosure = Enclosure(letter=letter)
        attachment.keep(enclosure.file)
        enclosure.save()


def take_and_send(bundle, **options):
    """Send what is in a bundle; return how much that was."""
    with bundle.take(**options) as attachments:
        if attachments:
            send(attachments)
        return len(attachments)


def keep(attachment, **options):
    """Keep an attachment in a field; return the field's file."""
    enclosure = Enclosure()
    name = attachment.keep(enclosure.file)
    assert name == enclosure.file.name
    return enclosure.file


def written(work):
    """Return how many bytes this process writes meanwhile."""
    before = figure("io", "wchar")
    work()
    return figure("io", "wchar") - before


class TestTake:
    def test_list_is_sorted_by_name_and_goes_with_its_files(self, bundle, assert_kept):
        bundle.remove("egg.txt")
        bundle.add(ContentFile(b"an egg", "egg.txt"))

        with bundle.take() as attachments:
            assert [attachment.filename for attachment in attachments] == [
                "egg.txt",
                "spam.txt",
            ]
            send(attachments)

        assert_kept()

    def test_nothing_goes_before_the_end(self, bundle, contents):
        with bundle.take():
            assert content_of(bundle) == FILES
            assert sorted(contents().values()) == sorted(FILES.values())

    def test_other_bundles_and_sessions_stay(self, session, bundle):
        store(session, "bar")
        other = SessionStore()
        store(other)

        take_and_send(bundle)

        assert len(bundle) == 0
        assert content_of(Bundle(session, "bar")) == FILES
        assert content_of(Bundle(other, "foo")) == FILES

    def test_receivers_are_told_after_the_commit(self, bundle):
        heard = []

        def hear(attachment, **kwargs):
            heard.append((attachment.filename, connection.in_atomic_block))

        attachment_removed.connect(hear)
        try:
            take_and_send(bundle)
        finally:
            attachment_removed.disconnect(hear)

        assert sorted(heard) == [("egg.txt", False), ("spam.txt", False)]

    @pytest.mark.parametrize("bundle_id", ["unknown", "..", ""])
    def test_what_does_not_exist_is_empty(self, session, bundle_id):
        with Bundle(session, bundle_id).take() as attachments:
            Letter.objects.create()

        assert attachments == []
        assert Letter.objects.count() == 1

    def test_visitor_without_a_session_has_nothing(self, bundle):
        assert take_and_send(Bundle(SessionStore(), "foo")) == 0

    def test_session_that_was_flushed_has_nothing(self, session, bundle):
        session.flush()

        with pytest.raises(AttachmentsGone):
            take_and_send(bundle, seen=2)

    def test_many_are_taken(self, session):
        store(session, "many", {f"{n}.txt": b"" for n in range(501)})

        with Bundle(session, "many").take() as attachments:
            pass

        assert len(attachments) == 501
        assert len(Bundle(session, "many")) == 0

    def test_list_may_be_changed(self, bundle):
        with bundle.take() as attachments:
            attachments.clear()

        assert len(bundle) == 0

    def test_what_is_removed_within_is_gone(self, bundle, stored):
        with bundle.take() as attachments:
            attachments[0].delete()

        assert (len(bundle), stored()) == (0, [])

    def test_upload_meanwhile_stays(self, bundle):
        with bundle.take() as attachments:
            bundle.add(ContentFile(b"bacon", "bacon.txt"))

        assert len(attachments) == 2
        assert content_of(bundle) == {"bacon.txt": b"bacon"}

    def test_database_is_the_one_for_writes(self, bundle, settings):
        class Router:
            def db_for_read(self, model, **hints):
                return "replica" if model is Attachment else None

        settings.DATABASE_ROUTERS = [Router()]
        with pytest.raises(ConnectionDoesNotExist):
            len(bundle)

        with bundle.take() as attachments:
            names = [attachment.filename for attachment in attachments]

        assert names == sorted(FILES)
        assert Attachment.objects.using("default").count() == 0

    def test_statements(self, bundle, alone):
        with CaptureQueriesContext(connection) as queries, bundle.take():
            pass

        verbs = [query["sql"].split()[0] for query in queries]
        assert [verb for verb in verbs if verb not in {"BEGIN", "COMMIT"}] == [
            "SELECT",
            "SELECT",
            "DELETE",
        ]


class TestSeen:
    @pytest.mark.parametrize("seen", [0, 1, 2])
    def test_as_many_as_were_seen_are_taken(self, bundle, assert_kept, seen):
        assert take_and_send(bundle, seen=seen) == 2

        assert_kept()

    def test_fewer_are_refused(self, bundle, assert_as_before):
        with pytest.raises(AttachmentsGone) as caught:
            take_and_send(bundle, seen=3)

        assert caught.value.code == "gone"
        assert "meanwhile" in str(caught.value)
        assert_as_before()

    def test_empty_bundle_is_refused_the_second_time(self, bundle, assert_kept):
        take_and_send(bundle, seen=2)

        with pytest.raises(AttachmentsGone):
            take_and_send(bundle, seen=2)

        assert_kept()


class TestValidated:
    @pytest.fixture
    def validated(self, bundle):
        """Return the bundle, as a form that is valid has seen it."""
        return bundle.narrowed_to(bundle)

    def test_what_was_validated_is_taken(self, validated, assert_kept):
        assert take_and_send(validated) == 2

        assert_kept()

    def test_what_has_come_since_stays(self, bundle, validated):
        bundle.add(ContentFile(b"bacon", "bacon.txt"))

        assert take_and_send(validated) == 2

        assert content_of(bundle) == {"bacon.txt": b"bacon"}

    @pytest.mark.parametrize(
        "change",
        [
            lambda bundle: bundle.remove("egg.txt"),
            lambda bundle: bundle.add(ContentFile(b"new", "egg.txt")),
            lambda bundle: bundle.clear(),
        ],
        ids=["removed", "replaced", "cleared"],
    )
    def test_what_is_gone_is_missed(self, bundle, validated, change, stored):
        change(bundle)
        left, files = content_of(bundle), stored()

        with pytest.raises(AttachmentsGone):
            take_and_send(validated)

        assert (content_of(bundle), stored()) == (left, files)
        assert Letter.objects.count() == 0

    def test_keys_of_another_session_reach_nothing(self, bundle):
        stranger = Bundle(SessionStore(), "foo")
        store(stranger.session, files={"stranger.txt": b""})

        with pytest.raises(AttachmentsGone):
            take_and_send(stranger.narrowed_to(bundle))

        assert content_of(bundle) == FILES

    def test_nothing_was_validated(self, session, bundle, assert_as_before):
        assert take_and_send(bundle.narrowed_to([])) == 0

        assert_as_before()


class TestFailure:
    @pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
    def test_error_leaves_all_as_before(self, bundle, assert_as_before, error):
        def fail():
            with bundle.take() as attachments:
                send(attachments)
                raise error

        with pytest.raises(error):
            fail()

        assert_as_before()
        assert take_and_send(bundle) == 2

    def test_error_in_a_transaction_of_the_projects(self, bundle, assert_as_before):
        def fail():
            with bundle.take() as attachments:
                send(attachments)
                raise ValueError("mine")

        with transaction.atomic():
            with pytest.raises(ValueError, match="mine"):
                fail()
            assert_as_before()

        assert_as_before()

    def test_savepoint_within_that_fails_leaves_the_rest(self, bundle, contents):
        with bundle.take() as attachments:
            with suppress(ValueError), transaction.atomic():
                send(attachments)
                raise ValueError
            send(attachments)

        assert len(bundle) == 0
        names = Enclosure.objects.values_list("file", flat=True)
        # As with Django's own fields, what a savepoint has lost stays.
        assert len(contents()) == 4
        assert sorted(contents()[name] for name in names) == sorted(FILES.values())

    @pytest.mark.parametrize("depth", [1, 2])
    def test_rollback_of_the_projects_transaction(self, bundle, contents, depth):
        def fail():
            take_and_send(bundle)
            raise ValueError("later")

        work = transaction.atomic(fail)
        for _ in range(depth - 1):
            work = transaction.atomic(work)

        with pytest.raises(ValueError, match="later"):
            work()

        assert content_of(bundle) == FILES
        assert Letter.objects.count() == 0
        # Files without a row, as with Django's own fields.
        assert contents("letters") == KEPT

    def test_rollback_that_was_asked_for(self, bundle, assert_as_before):
        def fail():
            with bundle.take() as attachments:
                send(attachments)
                transaction.set_rollback(True)

        with pytest.raises(TransactionManagementError):
            fail()

        assert_as_before()

    def test_protected_attachment(self, bundle, assert_as_before):
        def fail():
            with bundle.take() as attachments:
                send(attachments)
                Contract.objects.create(attachment=attachments[0])

        with pytest.raises(AttachmentProtected):
            fail()

        assert_as_before()
        assert Contract.objects.count() == 0

    @pytest.mark.skipif(
        connection.vendor == "mysql", reason="MariaDB looks at keys at once"
    )
    def test_commit_that_is_refused(self, bundle, assert_as_before):
        def fail():
            with bundle.take() as attachments:
                send(attachments)
                Enclosure.objects.create(letter_id=0, file="nothing")

        with pytest.raises(IntegrityError):
            fail()

        assert_as_before()

    @pytest.mark.parametrize("error", [ValueError, IntegrityError])
    def test_hook_that_fails_after_the_commit(self, bundle, contents, error):
        def hook():
            raise error("too late")

        def fail():
            with bundle.take() as attachments:
                send(attachments)
                transaction.on_commit(hook)

        with pytest.raises(error, match="too late"):
            fail()

        assert len(bundle) == 0
        assert contents("letters") == KEPT
        assert Enclosure.objects.count() == 2
        # Django calls no further hook, and leaves these to the command.
        assert len(contents()) == 4

    def test_conflict_is_the_projects(self, bundle, assert_as_before):
        tries = []

        def fail():
            with bundle.take() as attachments:
                tries.append(attachments)
                send(attachments)
                raise OperationalError("lost") from Lost()

        with pytest.raises(OperationalError, match="lost"):
            fail()

        assert len(tries) == 1
        assert_as_before()

    def test_kept_file_that_cannot_be_deleted_is_logged(
        self, bundle, settings, contents, caplog
    ):
        watch = failing("delete", PermissionError("mine"), "letters/egg")
        watched = {
            "BACKEND": "tests.storages.WatchedStorage",
            "OPTIONS": {"watch": watch},
        }
        settings.STORAGES = {**settings.STORAGES, "default": watched}

        def fail():
            with bundle.take() as attachments:
                send(attachments)
                raise ValueError("the reason")

        with pytest.raises(ValueError, match="the reason"):
            fail()

        assert list(contents("letters")) == ["letters/egg.txt"]
        [record] = caplog.records
        assert "letters/egg.txt" in record.getMessage()
        assert "mine" in caplog.text


class TestAtOnce:
    @pytest.fixture
    def take_at_once(self, session):
        """Return what four takers get, who all come while the first one works."""

        def take_at_once(**options):
            start = threading.Barrier(4, timeout=10)

            def work():
                begin_deferred()
                bundle = Bundle(session, "foo")
                start.wait()
                try:
                    with bundle.take(**options) as attachments:
                        threading.Event().wait(0.2)
                        if attachments:
                            send(attachments)
                        return len(attachments)
                except AttachmentsGone:
                    return "gone"

            return at_once(*[work] * 4)

        return take_at_once

    def test_one_gets_all_and_the_others_nothing(self, take_at_once, assert_kept):
        assert sorted(take_at_once()) == [0, 0, 0, 2]

        assert_kept()

    def test_others_are_told_if_they_saw_some(self, take_at_once, assert_kept):
        assert sorted(take_at_once(seen=2), key=str) == [2, "gone", "gone", "gone"]

        assert_kept()

    @pytest.mark.skipif(
        connection.vendor == "sqlite", reason="SQLite lets one write at a time"
    )
    def test_conflict_of_serializable_transactions_is_the_projects(
        self, session, assert_kept
    ):  # pragma: no cover - measured on SQLite
        start = threading.Barrier(2, timeout=10)
        postgresql = connection.vendor == "postgresql"
        serializable = "TRANSACTION ISOLATION LEVEL SERIALIZABLE"

        def work():
            with connection.cursor() as cursor:
                prefix = "CHARACTERISTICS AS " if postgresql else ""
                cursor.execute(f"SET SESSION {prefix}{serializable}")
            bundle = Bundle(session, "foo")
            try:
                with transaction.atomic():
                    assert len(bundle) == 2
                    start.wait()
                    return take_and_send(bundle)
            except OperationalError as error:
                return is_conflict(error)

        assert sorted(at_once(work, work)) == [True, 2]

        assert_kept()

    def test_replacement_waits_and_stays(self, session, bundle):
        taken = threading.Event()

        def take():
            begin_deferred()
            with Bundle(session, "foo").take() as attachments:
                taken.set()
                threading.Event().wait(0.2)
                send(attachments)

        def replace():
            taken.wait(10)
            begin_deferred()
            Bundle(session, "foo").add(ContentFile(b"new", "egg.txt"))

        at_once(take, replace)

        assert Enclosure.objects.count() == 2
        assert content_of(bundle) == {"egg.txt": b"new"}


@pytest.mark.skipif(
    connection.vendor == "sqlite", reason="SQLite is asked over no wire"
)
@pytest.mark.parametrize("answered", [False, True])
class TestWire:  # pragma: no cover - measured on SQLite
    def test_cut_leaves_all_as_before_or_all_sent(
        self,
        session,
        wire,  # noqa: F811
        contents,
        media,
        answered,
    ):
        outcomes = []
        was_cut = True
        while was_cut:
            shutil.rmtree(media)
            Attachment.objects.all().delete()
            Letter.objects.all().delete()
            store(session)
            bundle = Bundle(session, "foo")
            wire.cut(len(outcomes) + 1, answered)
            with suppress(Error):
                take_and_send(bundle)
            was_cut = wire.mend()
            close_old_connections()
            there = content_of(bundle)
            sent = list(Enclosure.objects.values_list("file", flat=True))
            kept = contents("letters")
            # Whoever has a row has a file.
            assert (there, sorted(sent)) in [(FILES, []), ({}, sorted(KEPT))]
            assert set(sent) <= set(kept)
            outcomes.append((bool(sent), len(kept)))

        assert outcomes[-1] == (True, 2)
        # Only where nobody knows of the commit does what was kept stay without a row.
        before = [kept for was_sent, kept in outcomes if not was_sent]
        assert len(before) > 5
        assert before[-1] == (0 if answered else 2)
        assert not any(before[:-1])
        assert {kept for was_sent, kept in outcomes if was_sent} == {2}


KILLED = """
import os, signal, sys
import django
from django.conf import settings

database, media, session_key, moment = sys.argv[1:]
settings.DATABASES["default"]["NAME"] = database
settings.MEDIA_ROOT = media
if settings.DATABASES["default"]["ENGINE"].endswith("mysql"):
    import pymysql
    pymysql.install_as_MySQLdb()
django.setup()

from django.contrib.sessions.backends.db import SessionStore
from django.core.files.storage import FileSystemStorage
from session_attachments.bundles import Bundle
from tests.project.models import Enclosure, Letter

def kill(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

class Killing(FileSystemStorage):
    get_available_name = kill

with Bundle(SessionStore(session_key), "foo").take() as attachments:
    letter = Letter.objects.create()
    for attachment in attachments:
        enclosure = Enclosure(letter=letter)
        if moment == "within keep":
            enclosure.file.storage = Killing()
        attachment.keep(enclosure.file)
        enclosure.save()
    kill()
"""


@pytest.mark.parametrize(
    ("moment", "kept"), [("within keep", []), ("at the end", list(KEPT))]
)
def test_kill_leaves_attachments_and_files_without_a_row(
    session, bundle, media, stored, contents, moment, kept
):
    database = str(connection.settings_dict["NAME"])
    before = stored()
    connection.close()

    process = subprocess.run(
        [sys.executable, "-c", KILLED, database, media, session.session_key, moment],
        capture_output=True,
        text=True,
    )

    assert (process.returncode, process.stderr) == (-signal.SIGKILL, "")
    assert content_of(bundle) == FILES
    assert Letter.objects.count() == 0
    assert sorted(contents("letters")) == kept
    # The second name of a file is left where the command clears.
    left = set(stored()) - set(before) - set(kept)
    assert len(left) == (1 if moment == "within keep" else 0)
    day = media / storage.FOLDER / "2020-02-20"
    day.mkdir()
    for name in left:
        os.rename(media / name, day / Path(name).name)
    call_command("remove_outdated_attachments", older_than="1")
    assert set(stored()) == {*before, *kept}
    assert take_and_send(bundle) == 2


class TestKeep:
    def test_instance_is_not_saved(self, spam, contents):
        letter = Letter.objects.create()
        enclosure = Enclosure(letter=letter)

        name = spam.keep(enclosure.file)

        assert name == enclosure.file.name == "letters/spam.bin"
        assert enclosure.pk is None
        with enclosure.file.open() as file:
            assert len(file.read()) == MEGABYTE
        # Outside of take() the attachment stays.
        assert len(contents()) == 2
        enclosure.save()
        assert Enclosure.objects.get().file.name == name

    def test_attachment_may_be_kept_twice(self, bundle, contents):
        with bundle.take() as attachments:
            send(attachments)
            send(attachments)

        assert sorted(contents().values()) == sorted([*FILES.values()] * 2)
        assert len(set(Enclosure.objects.values_list("file"))) == 4

    def test_field_that_gets_two_files_loses_both(self, bundle, assert_as_before):
        enclosure = Enclosure()

        def fail():
            with bundle.take() as attachments:
                for attachment in attachments:
                    attachment.keep(enclosure.file)
                raise ValueError("mine")

        with pytest.raises(ValueError, match="mine"):
            fail()

        assert_as_before()

    def test_upload_to_may_be_a_function(self, spam, monkeypatch, contents):
        seen = []

        def upload_to(instance, name):
            seen.append((instance, name))
            return f"by/function/{name.upper()}"

        field = Enclosure._meta.get_field("file")
        monkeypatch.setattr(field, "upload_to", upload_to)

        file = keep(spam)

        assert file.name == "by/function/SPAM.BIN"
        assert len(contents("by/function")["by/function/SPAM.BIN"]) == MEGABYTE
        assert all(call == (file.instance, "spam.bin") for call in seen)

    def test_field_may_make_something_else_of_it(self, spam, contents):
        class Small(FieldFile):
            def save(self, name, content, save=True):
                small = ContentFile(content.read(4), content.name)
                super().save(name, small, save)

        enclosure = Enclosure()

        spam.keep(Small(enclosure, Enclosure._meta.get_field("file"), ""))

        assert contents("letters") == {"letters/spam.bin": b"spam"}

    def test_storage_of_the_field_is_as_before(self, spam):
        file = Enclosure().file
        before = file.storage

        spam.keep(file)

        assert file.storage is before

    def test_field_may_ask_its_storage(self, spam):
        class Asking(FieldFile):
            def save(self, name, content, save=True):
                assert not self.storage.exists(name)
                super().save(name, content, save)

        spam.keep(Asking(Enclosure(), Enclosure._meta.get_field("file"), ""))

    @pytest.mark.parametrize("missing", [True, False])
    def test_file_that_is_gone(self, bundle, contents, missing):
        attachment = bundle.get("egg.txt")
        if missing:
            attachment.file.storage.delete(attachment.file.name)
        else:
            Attachment.objects.filter(pk=attachment.pk).update(file="")

        with pytest.raises(AttachmentNotFound) as caught:
            take_and_send(bundle)

        assert caught.value.name == "egg.txt"
        assert "egg.txt" in str(caught.value)
        assert contents("letters") == {}
        assert len(bundle) == 2
        # The visitor can remove it.
        bundle.remove("egg.txt")
        assert take_and_send(bundle) == 1

    def test_path_that_leaves_the_storage_is_gone(self):
        attachment = attach(file="a")
        Attachment.objects.update(file="../a")
        attachment.refresh_from_db()

        with pytest.raises(AttachmentNotFound):
            keep(attachment)


class TestOpen:
    def test_file_is_called_by_its_name(self, spam):
        with spam.open() as file:
            assert (file.name, file.size) == ("spam.bin", MEGABYTE)
            assert file.content_type == "image/png"
            assert len(file.read()) == MEGABYTE
            file.seek(-4, os.SEEK_END)
            assert file.read() == b"spam"
        assert file.closed

    def test_file_at_that_path_is_not_opened(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "settings.py").write_text("secret")
        file = attach("settings.py", b"harmless").open()

        file.read()
        assert file.open("rb").read() == b"harmless"
        file.close()

        with pytest.raises(ValueError, match="closed"):
            file.open()

    def test_file_can_be_saved_in_a_field(self, spam):
        enclosure = Enclosure()

        with spam.open() as file:
            enclosure.file.save(file.name, file, save=False)

        assert enclosure.file.name == "letters/spam.bin"
        assert enclosure.file.size == MEGABYTE

    def test_file_can_be_mailed(self):
        text = attach("text.txt", b"one\r\ntwo\n")
        message = EmailMessage("subject", "body", to=["a@example.com"])

        with text.open() as file:
            message.attach(file.name, file.read(), "application/octet-stream")

        [_, part] = message.message().get_payload()
        assert part.get_filename() == "text.txt"
        assert part.get_payload(decode=True) == b"one\r\ntwo\n"

    def test_file_that_is_gone_is_named(self, spam):
        spam.file.storage.delete(spam.file.name)

        with pytest.raises(AttachmentNotFound) as caught:
            spam.open()

        assert caught.value.name == "spam.bin"

    def test_file_that_cannot_be_read_is_not_taken_for_gone(self, spam, settings):
        store_in(settings, failing("open", PermissionError("locked up")))
        spam.refresh_from_db()

        with pytest.raises(PermissionError, match="locked up"):
            spam.open()


class Encrypting(FileSystemStorage):
    """Writes other bytes than it reads."""

    def _open(self, name, mode="rb"):
        with super()._open(name, mode) as file:
            return ContentFile(flip(file.read()), name)

    def _save(self, name, content):
        return super()._save(name, ContentFile(flip(content.read())))


class Stamping(FileSystemStorage):
    """Changes what it has written."""

    def _save(self, name, content):
        name = super()._save(name, content)
        with open(self.path(name), "r+b") as file:
            file.write(b"stamp")
        return name


def flip(content):
    return bytes(byte ^ 0xFF for byte in content)


@pytest.fixture
def kept_in(settings):
    """Return a function that says where the fields of the project store."""

    def kept_in(backend="django.core.files.storage.FileSystemStorage", **options):
        entry = {"BACKEND": backend, "OPTIONS": options}
        settings.STORAGES = {
            **settings.STORAGES,
            "session_attachments": settings.STORAGES["default"],
            "default": entry,
        }

    return kept_in


def fingerprint(path):
    """Return which file lies there: its disk and number."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


class TestLink:
    @pytest.fixture
    def assert_moved(self, spam, stored):
        """Return a function that keeps spam and asserts that no byte is written."""

        def assert_moved():
            source = fingerprint(spam.file.path)
            files = []
            assert written(lambda: files.append(keep(spam))) == 0
            [kept] = files
            assert fingerprint(kept.path) == source
            assert os.stat(kept.path).st_nlink == 2
            return kept

        return assert_moved

    @pytest.fixture
    def assert_copied(self, spam):
        """Return a function that keeps spam and asserts that it is another file."""

        def assert_copied():
            kept = keep(spam)
            assert fingerprint(kept.path) != fingerprint(spam.file.path)
            assert Path(kept.path).read_bytes() == Path(spam.file.path).read_bytes()
            assert os.stat(spam.file.path).st_nlink == 1
            return kept

        return assert_copied

    def test_no_byte_is_written(self, assert_moved, stored):
        assert_moved()

        assert len(stored()) == 2

    def test_name_of_its_own_in_another_folder(self, tmp_path, kept_in, assert_moved):
        (tmp_path / "kept").mkdir()
        kept_in(location=tmp_path / "kept")

        kept = assert_moved()

        assert Path(kept.path) == tmp_path / "kept/letters/spam.bin"

    def test_first_file_of_the_day(self, spam, assert_moved, media, stored):
        old = f"{storage.FOLDER}/2020-02-20/spam"
        (media / old).parent.mkdir()
        os.rename(spam.file.path, media / old)
        spam.file = old
        shutil.rmtree(media / storage.new_name().rpartition("/")[0])

        kept = assert_moved()

        assert stored() == sorted([kept.name, old])

    def test_attachment_is_whole_after_a_failure(self, spam, media):
        keep(spam).delete(save=False)

        assert os.stat(spam.file.path).st_nlink == 1
        assert Path(spam.file.path).read_bytes() == b"spam" * (MEGABYTE // 4)

    def test_folder_that_is_not_there_yet(self, tmp_path, kept_in, assert_copied):
        kept_in(location=tmp_path / "kept")

        assert_copied()

    @needs_two_disks
    def test_links_that_are_refused(self, spam, media, assert_copied, shared_memory):
        # Today's folder lies on another disk.
        today = media / storage.new_name().rpartition("/")[0]
        old = today.with_name("2020-02-20")
        os.rename(today, old)
        today.symlink_to(shared_memory)
        spam.file = f"{storage.FOLDER}/2020-02-20/{Path(spam.file.name).name}"

        assert_copied()

        assert list(shared_memory.iterdir()) == []

    def test_storage_that_refuses(self, spam, settings, kept_in, stored):
        class Refusing(FileSystemStorage):
            def get_available_name(self, name, max_length=None):
                raise SuspiciousFileOperation("refused")

        before = stored()
        enclosure = Enclosure()
        enclosure.file.storage = Refusing()

        with pytest.raises(SuspiciousFileOperation, match="refused"):
            spam.keep(enclosure.file)

        assert stored() == before

    def test_symbolic_link_is_read(self, spam, assert_copied, tmp_path):
        os.rename(spam.file.path, tmp_path / "elsewhere")
        os.symlink(tmp_path / "elsewhere", spam.file.path)

        kept = assert_copied()

        assert not Path(kept.path).is_symlink()


class TestMode:
    @pytest.fixture(autouse=True)
    def private(self, spam):
        """Let the attachment be readable to few."""
        os.chmod(spam.file.path, 0o640)

    def mode(self, path):
        return stat.S_IMODE(os.stat(path).st_mode)

    def test_attachment_keeps_its_own(self, spam, settings):
        settings.FILE_UPLOAD_PERMISSIONS = 0o644

        kept = keep(spam)

        assert self.mode(kept.path) == 0o644
        assert self.mode(spam.file.path) == 0o640
        assert fingerprint(kept.path) != fingerprint(spam.file.path)

    @pytest.mark.parametrize("permissions", [0o640, None])
    def test_same_one_or_none_is_moved(self, spam, settings, permissions):
        settings.FILE_UPLOAD_PERMISSIONS = permissions

        kept = keep(spam)

        assert self.mode(kept.path) == 0o640
        assert fingerprint(kept.path) == fingerprint(spam.file.path)

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root")
    def test_attachment_keeps_its_group(self, spam, settings, tmp_path, kept_in):
        settings.FILE_UPLOAD_PERMISSIONS = None
        (tmp_path / "kept").mkdir()
        os.chown(tmp_path / "kept", -1, 12345)
        kept_in(location=tmp_path / "kept")

        kept = keep(spam)

        assert os.stat(kept.path).st_gid == 12345
        assert os.stat(spam.file.path).st_gid == os.getegid()


@pytest.fixture
def shared_memory():
    """Return an empty folder on another disk."""
    folder = SHARED_MEMORY / f"session_attachments.{os.getpid()}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


class TestOtherStorages:
    @needs_two_disks
    def test_another_disk(self, spam, kept_in, shared_memory, stored):
        before = stored()
        kept_in(location=shared_memory)

        kept = keep(spam)

        assert Path(kept.path).read_bytes() == b"spam" * (MEGABYTE // 4)
        assert os.stat(spam.file.path).st_nlink == 1
        # The second name is gone.
        assert stored() == before

    @pytest.mark.server
    @pytest.mark.skipif("not can_mount()", reason="needs the right to mount a tmpfs")
    @pytest.mark.parametrize("missing", [100, 4096, 70_000])
    def test_another_disk_that_is_full(self, tmp_path, kept_in, stored, missing):
        content = os.urandom(MEGABYTE)
        large = attach("large.bin", content)
        before = stored()
        with small_disk(tmp_path / "small") as folder:
            kept_in(location=folder)
            (folder / "letters").mkdir()
            ballast = shutil.disk_usage(folder).free - MEGABYTE + missing
            (folder / "ballast").write_bytes(bytes(ballast))

            with pytest.raises(OSError, match="No space") as caught:
                keep(large)

            # Django leaves a part where it notices by itself.
            left = list((folder / "letters").iterdir())
            assert len(left) == (missing > 65_536)

        assert caught.value.errno == errno.ENOSPC
        assert Path(large.file.path).read_bytes() == content
        assert stored() == before

    def test_memory(self, spam, kept_in):
        kept_in("django.core.files.storage.InMemoryStorage")

        kept = keep(spam)

        assert kept.size == MEGABYTE
        with kept.open() as file:
            assert file.read(8) == b"spamspam"

    def test_memory_to_memory_and_to_disk(self, settings, kept_in):
        memory = {"BACKEND": "django.core.files.storage.InMemoryStorage"}
        settings.STORAGES = {**settings.STORAGES, "default": memory}
        attachment = attach("egg.txt", b"egg")

        with keep(attachment).open() as file:
            assert file.read() == b"egg"
        settings.STORAGES = {
            **live_settings.STORAGES,
            "session_attachments": memory,
            "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        }
        attachment = attach("spam.txt", b"spam")
        assert Path(keep(attachment).path).read_bytes() == b"spam"

        # It hands out the very file that it holds, which keeps its name there.
        with attachment.open() as file:
            assert (file.name, file.read()) == ("spam.txt", b"spam")
        assert attachment.file.size == 4

    def test_source_that_encrypts(self, settings):
        secret = {"BACKEND": "tests.test_keeping.Encrypting"}
        settings.STORAGES = {**settings.STORAGES, "session_attachments": secret}
        attachment = attach("egg.txt", b"egg")
        assert Path(attachment.file.path).read_bytes() == flip(b"egg")

        assert Path(keep(attachment).path).read_bytes() == b"egg"

    def test_target_that_encrypts(self, kept_in, stored):
        attachment = attach("egg.txt", b"egg")
        kept_in("tests.test_keeping.Encrypting")

        kept = keep(attachment)

        assert Path(kept.path).read_bytes() == flip(b"egg")
        with kept.open() as file:
            assert file.read() == b"egg"
        assert len(stored()) == 2

    def test_target_that_changes_the_file_in_its_place(self, spam, kept_in):
        kept_in("tests.test_keeping.Stamping")

        kept = keep(spam)

        assert Path(kept.path).read_bytes().startswith(b"stamp")
        assert Path(spam.file.path).read_bytes().startswith(b"spam")

    def test_stream_is_read_in_blocks(self, settings, kept_in):
        store_in(settings, Calls())
        attachment = attach("large.bin", bytes(MEGABYTE))
        sizes = []

        class Counting(FileSystemStorage):
            def _save(self, name, content):
                sizes.extend(map(len, content.chunks()))
                return name

        enclosure = Enclosure()
        enclosure.file.storage = Counting()

        attachment.keep(enclosure.file)

        assert sum(sizes) == MEGABYTE
        assert max(sizes) <= 256 * KILOBYTE


@contextmanager
def small_disk(folder):
    """Mount a disk of two megabytes."""
    folder.mkdir()
    options = ["--types=tmpfs", "--options=size=2M", "tmpfs"]
    subprocess.run(["mount", *options, folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


class TestName:
    @pytest.mark.parametrize(
        ("name", "kept"),
        [
            ("spam.txt", "spam.txt"),
            ("My résumé (1).PDF", "My_résumé_1.PDF"),
            ("archive.tar.gz", "archive.tar.gz"),
            ("no extension", "no_extension"),
            ("🎉", "file"),
            ("🎉.pdf", "file.pdf"),
            ("...", "file"),
            (".htaccess", "file.htaccess"),
            ("..a.txt", "a.txt"),
            ("a.", "a."),
            ("日" * 90 + ".pdf", "日" * 65 + ".pdf"),
            ("a." + "b" * 30, "a." + "b" * 30),
        ],
    )
    def test_what_is_left_of_it(self, name, kept):
        assert keep(attach(name)).name == f"letters/{kept}"

    @pytest.mark.parametrize(
        ("name", "start", "end"),
        [
            ("a" * 255, "a" * 84, ""),
            ("a" * 251 + ".pdf", "a" * 80, ".pdf"),
            ("1." + "b" * 253, "1." + "b" * 82, ""),
            ("Dr. " + "No. " * 61 + ".pdf", "Dr._No._No.", ".pdf"),
        ],
    )
    def test_field_that_is_too_short(self, name, start, end):
        kept = keep(attach(name)).name

        assert kept.startswith(f"letters/{start}_")
        assert kept.endswith(end)
        assert len(kept) == 100

    def test_field_without_a_length(self, monkeypatch):
        field = Enclosure._meta.get_field("file")
        monkeypatch.setattr(field, "max_length", None)

        assert keep(attach("a" * 255)).name == "letters/" + "a" * 200

    def test_name_of_another_file(self, contents):
        first = keep(attach("spam.txt", b"first"))
        second = keep(attach("spam.txt", b"second", bundle="bar"))

        assert first.name == "letters/spam.txt"
        assert re.fullmatch(r"letters/spam_\w{7}\.txt", second.name)
        assert contents("letters") == {first.name: b"first", second.name: b"second"}

    @pytest.mark.parametrize(
        "names",
        [("a b.txt", "a_b.txt"), ("a" * 254 + "b", "a" * 254 + "c")],
        ids=["alike when cleaned", "alike when cut"],
    )
    def test_storage_that_overwrites(self, kept_in, contents, names):
        attachments = [attach(name, name.encode()) for name in names]
        kept_in(allow_overwrite=True)

        files = [keep(attachment) for attachment in attachments]

        assert len({file.name for file in files}) == 2
        assert contents("letters") == {
            file.name: name.encode() for file, name in zip(files, names, strict=True)
        }

    @tries(100)
    @given(st.text(min_size=1, max_size=255).filter(lambda name: is_plain(name, 255)))
    def test_any_name_is_kept(self, name):
        attachment = attach(name, b"spam", bundle=os.urandom(8).hex())

        kept = keep(attachment)

        assert Path(kept.path).read_bytes() == b"spam"
        assert Path(kept.path).parent.name == "letters"
        kept.delete(save=False)
        attachment.delete()
