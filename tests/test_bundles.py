"""The Python API for projects: Bundle."""

import os
import threading
from contextlib import suppress
from functools import partial
from io import StringIO
from tempfile import NamedTemporaryFile, TemporaryFile
from uuid import UUID

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile, File
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.db import (
    DatabaseError,
    IntegrityError,
    OperationalError,
    connection,
    transaction,
)
from django.db.models.signals import post_delete
from django.test.utils import CaptureQueriesContext
from django.utils import translation

from session_attachments.bundles import Bundle
from session_attachments.exceptions import (
    AttachmentNotFound,
    AttachmentProtected,
    BadBundle,
    BadName,
    BundleTooLarge,
    FileTooLarge,
    Invalid,
    NoFile,
    SessionTooLarge,
    TooManyFiles,
)
from session_attachments.models import Attachment
from tests.clients import needs_libmagic
from tests.project.models import Contract
from tests.storages import Lost, at_once, store_in

pytestmark = [pytest.mark.database, pytest.mark.django_db]
committed = pytest.mark.django_db(transaction=True)


@pytest.fixture
def session():
    session = SessionStore()
    session.create()
    return session


@pytest.fixture
def bundle(session):
    return Bundle(session, "draft-7")


def add(bundle, *contents, **named):
    """Add files: ``add(bundle, ("a b.txt", b"..."), spam=b"...")``."""
    files = [*contents, *((f"{name}.txt", content) for name, content in named.items())]
    return bundle.add(*(ContentFile(content, name) for name, content in files))


def contents(bundle):
    """Return what is in the bundle; closes what it opens."""
    found = {}
    for attachment in bundle:
        with attachment.file.open() as file:
            found[attachment.filename] = file.read()
    return found


class TestReading:
    def test_bundle_is_read_as_the_readme_says(self, bundle):
        add(bundle, spam=b"spam\n", egg=b"egg\n")

        assert [a.filename for a in bundle] == ["egg.txt", "spam.txt"]
        assert contents(bundle) == {"egg.txt": b"egg\n", "spam.txt": b"spam\n"}
        assert [a.mimetype for a in bundle] == ["text/plain", "text/plain"]
        assert (len(bundle), bundle.size) == (2, 9)
        assert bundle.get("spam.txt").size == 5

    def test_iteration_is_one_query(self, bundle, django_assert_num_queries):
        add(bundle, spam=b"spam\n", egg=b"egg\n")

        with django_assert_num_queries(1):
            assert len([attachment.size for attachment in bundle]) == 2

    def test_bundles_of_one_session_are_apart(self, session, bundle):
        add(bundle, spam=b"spam\n")

        other = Bundle(session, "draft-8")

        assert (len(other), other.size, other.list()) == (0, 0, [])
        with pytest.raises(AttachmentNotFound):
            other.get("spam.txt")
        assert not other.remove("spam.txt")
        assert other.clear() == 0
        assert len(bundle) == 1

    def test_reading_does_not_start_a_session(self):
        session = SessionStore()
        bundle = Bundle(session, "draft-7")

        assert (bundle.list(), len(bundle), bundle.clear()) == ([], 0, 0)
        assert session.session_key is None

    def test_name_and_bundle_id_are_compared_in_nfc(self, session, bundle):
        add(Bundle(session, "cafe\u0301"), ("re\u0301sume\u0301.pdf", b"x"))

        found = Bundle(session, "caf\xe9").get("r\xe9sum\xe9.pdf")

        assert found == Bundle(session, "cafe\u0301").get("re\u0301sume\u0301.pdf")
        assert (found.bundle, found.filename) == ("caf\xe9", "r\xe9sum\xe9.pdf")

    @pytest.mark.parametrize("name", ["no\0t", "\ud800", "", "x" * 300, "\n"])
    def test_name_that_cannot_be_is_not_found(self, bundle, name):
        with pytest.raises(AttachmentNotFound):
            bundle.get(name)
        assert bundle.remove(name) is False

    @pytest.mark.skipif(
        connection.vendor != "sqlite", reason="only SQLite turns round what it finds"
    )
    def test_lists_are_sorted_whatever_the_database_finds_first(self, bundle):
        add(bundle, spam=b"spam\n")
        add(bundle, egg=b"egg\n")
        with connection.cursor() as cursor:
            # What no query sorts SQLite's index does, this way round or that.
            cursor.execute("PRAGMA reverse_unordered_selects = 1")
            try:
                lists = [[*bundle.list()], [*bundle.summaries()]]
            finally:
                cursor.execute("PRAGMA reverse_unordered_selects = 0")

        for rows in lists:
            assert [row.filename for row in rows] == ["egg.txt", "spam.txt"]


class TestAdd:
    def test_add_returns_the_new_attachments_sorted(self, bundle):
        add(bundle, old=b"old")

        added = add(bundle, spam=b"spam\n", egg=b"egg\n")

        assert [a.filename for a in added] == ["egg.txt", "spam.txt"]
        assert [a.pk for a in added] == [bundle.get(a.filename).pk for a in added]

    def test_attachments_have_keys_without_bulk_returning(self, bundle, monkeypatch):
        """MySQL does not tell the keys of several new rows."""
        monkeypatch.setattr(
            type(connection.features), "can_return_rows_from_bulk_insert", False
        )

        added = add(bundle, spam=b"spam\n", egg=b"egg\n")

        assert [a.pk for a in added] == [bundle.get(a.filename).pk for a in added]

    def test_last_of_two_files_of_one_name_wins(self, bundle):
        added = add(bundle, ("a", b"first"), ("b", b"b"), ("a", b"last"))

        assert [a.filename for a in added] == ["a", "b"]
        assert contents(bundle)["a"] == b"last"

    def test_file_opened_by_the_project_keeps_its_base_name(self, bundle, tmp_path):
        path = tmp_path / "report.txt"
        path.write_bytes(b"report")

        with path.open("rb") as file:
            bundle.add(File(file))

        assert contents(bundle) == {"report.txt": b"report"}
        assert path.exists()

    def test_what_is_not_yet_written_counts(self, bundle, settings):
        settings.SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE = 5 / 1024 / 1024
        with TemporaryFile() as five, NamedTemporaryFile() as six:
            five.write(b"hello")
            six.write(b"hello!")

            with pytest.raises(BundleTooLarge):
                bundle.add(File(six, name="x.txt"))
            (attachment,) = bundle.add(File(five, name="x.txt"))

        assert attachment.size == bundle.size == 5
        assert contents(bundle) == {"x.txt": b"hello"}

    def test_file_on_disk_that_is_not_yet_written_is_stored_whole(self, bundle):
        with TemporaryUploadedFile("x.txt", "text/plain", 0, None) as file:
            file.write(b"hello")

            (attachment,) = bundle.add(file)

            assert attachment.size == 5
            assert contents(bundle) == {"x.txt": b"hello"}

    def test_text_counts_as_its_bytes(self, bundle, tmp_path):
        path = tmp_path / "words.txt"
        path.write_text("Слова\n", "utf-8")
        with path.open(encoding="utf-8") as words:
            sizes = [
                file.size
                for file in bundle.add(
                    ContentFile("Слова", "a.txt"), File(words), File(StringIO("ж"), "z")
                )
            ]

        assert sizes == [10, 11, 2]
        assert contents(bundle) == {
            "a.txt": "Слова".encode(),
            "words.txt": "Слова\n".encode(),
            "z": "ж".encode(),
        }

    def test_name_may_be_a_path(self, bundle, tmp_path):
        bundle.add(ContentFile(b"spam\n", tmp_path / "spam.txt"))

        assert contents(bundle) == {"spam.txt": b"spam\n"}

    def test_name_that_is_no_text_is_refused(self, bundle, stored, tmp_path):
        path = tmp_path / "spam.txt"
        path.touch()
        with (
            path.open("rb") as file,
            TemporaryFile() as numbered,
            open(os.fsencode(path), "rb") as named_in_bytes,
        ):
            for bad in (numbered, named_in_bytes):
                with pytest.raises(BadName):
                    bundle.add(File(file), File(bad))

        assert stored() == []

    @pytest.mark.parametrize("spam", [b"spam\n", "spam\n"], ids=["bytes", "text"])
    def test_file_that_was_read_before_is_stored_whole(self, bundle, spam):
        file = ContentFile(spam, "spam.txt")
        file.read()

        bundle.add(file)

        assert contents(bundle) == {"spam.txt": b"spam\n"}

    @committed
    def test_replacement_takes_the_old_file_away(self, bundle, stored):
        (old,) = add(bundle, spam=b"old")

        (new,) = add(bundle, spam=b"new")

        assert contents(bundle) == {"spam.txt": b"new"}
        assert stored() == [new.file.name]
        assert new.pk != old.pk

    @pytest.mark.parametrize(
        "bundle_id", ["", "x" * 257, "a/b", "a\nb", "a\0b", ".", "..", None]
    )
    def test_bad_bundle_id(self, session, stored, bundle_id):
        bundle = Bundle(session, bundle_id)

        with pytest.raises(BadBundle):
            add(bundle, spam=b"spam\n")
        assert stored() == []
        assert (bundle.list(), len(bundle), bundle.clear()) == ([], 0, 0)

    @pytest.mark.parametrize("bundle_id", ["x" * 256, " ", "...", "%", "я" * 256])
    def test_good_bundle_id(self, session, bundle_id):
        add(Bundle(session, bundle_id), spam=b"spam\n")

        assert contents(Bundle(session, bundle_id)) == {"spam.txt": b"spam\n"}

    @pytest.mark.parametrize("key", [7, UUID(int=7)])
    def test_primary_key_as_bundle_id(self, session, key):
        add(Bundle(session, key), spam=b"spam\n")

        assert contents(Bundle(session, str(key))) == {"spam.txt": b"spam\n"}

    @pytest.mark.parametrize(
        "name", ["", ".", "..", "a/..", "x" * 256, "a\nb", "a\0b", "\ud800", None]
    )
    def test_bad_name(self, bundle, stored, name):
        add(bundle, spam=b"spam\n")

        with pytest.raises(BadName):
            bundle.add(ContentFile(b"new", "spam.txt"), ContentFile(b"bad", name))
        assert contents(bundle) == {"spam.txt": b"spam\n"}
        assert len(stored()) == 1

    def test_no_file(self, bundle):
        with pytest.raises(NoFile):
            bundle.add()

    @needs_libmagic
    def test_validator_sees_the_detected_type(self, bundle, settings):
        settings.SESSION_ATTACHMENTS_VALIDATORS = [f"{__name__}.refuse_pdf"]

        add(bundle, spam=b"spam\n")

        with pytest.raises(Invalid) as caught:
            add(bundle, egg=b"spam\n", spam=b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
        assert caught.value.name == "spam.txt"
        assert str(caught.value) == (
            "The file “spam.txt” is not accepted. No PDF, please."
        )
        with translation.override("ru"):
            assert str(caught.value) == "Файл «spam.txt» не принят. No PDF, please."
        assert contents(bundle) == {"spam.txt": b"spam\n"}

    def test_validator_does_not_change_the_type(self, bundle, settings):
        settings.SESSION_ATTACHMENTS_VALIDATORS = [f"{__name__}.call_it_html"]

        (attachment,) = add(bundle, spam=b"spam\n")

        assert attachment.mimetype == "text/plain"


def call_it_html(file):
    """Stand for a validator that writes where it may only read."""
    file.content_type = "text/html"


def refuse_pdf(file):
    """Stand for a project's validator, which may read the file to its end."""
    file.read()
    if file.content_type == "application/pdf":
        raise ValidationError("No PDF, please.")


@committed
class TestRemove:
    def test_remove_says_whether_there_was_one(self, bundle, stored):
        add(bundle, spam=b"spam\n")

        assert bundle.remove("spam.txt") is True
        assert bundle.remove("spam.txt") is False
        assert stored() == []

    def test_clear_says_how_many(self, session, bundle, stored):
        add(bundle, spam=b"spam\n", egg=b"egg\n")
        add(Bundle(session, "other"), spam=b"spam\n")

        assert bundle.clear() == 2
        assert bundle.clear() == 0
        assert len(stored()) == 1

    @pytest.mark.fault(14)
    def test_missing_file_disturbs_nothing(self, bundle, media):
        (lost,) = add(bundle, lost=b"lost", egg=b"egg\n")[1:]
        (media / lost.file.name).unlink()

        assert [a.size for a in bundle] == [4, 4]
        add(bundle, lost=b"again")
        assert contents(bundle)["lost.txt"] == b"again"
        (media / bundle.get("lost.txt").file.name).unlink()
        assert bundle.remove("lost.txt")
        assert bundle.clear() == 1


@committed
class TestProtected:
    """A project's model holds on to an attachment."""

    @pytest.fixture(autouse=True)
    def contract(self, bundle):
        (attachment,) = add(bundle, contract=b"signed")
        return Contract.objects.create(attachment=attachment)

    def test_remove_is_refused(self, bundle, stored):
        with pytest.raises(AttachmentProtected):
            bundle.remove("contract.txt")
        assert contents(bundle) == {"contract.txt": b"signed"}

    def test_clear_is_refused_as_a_whole(self, bundle):
        add(bundle, egg=b"egg\n")

        with pytest.raises(AttachmentProtected):
            bundle.clear()
        assert len(contents(bundle)) == 2

    def test_replacement_is_refused_as_a_whole(self, bundle, stored):
        with pytest.raises(AttachmentProtected):
            add(bundle, contract=b"forged", egg=b"egg\n")
        assert contents(bundle) == {"contract.txt": b"signed"}
        assert len(stored()) == 1


@committed
class TestQuotas:
    MB = 1024 * 1024

    def test_file_of_exactly_the_limit(self, bundle, settings):
        settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 4 / self.MB

        add(bundle, spam=b"1234")

        with pytest.raises(FileTooLarge) as caught:
            add(bundle, spam=b"12345")
        assert (caught.value.limit, caught.value.name) == (4, "spam.txt")
        assert contents(bundle) == {"spam.txt": b"1234"}

    def test_bundle_of_exactly_the_limit(self, session, bundle, settings, stored):
        settings.SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE = 8 / self.MB

        add(bundle, spam=b"1234", egg=b"1234")
        add(Bundle(session, "other"), spam=b"12345678")

        with pytest.raises(BundleTooLarge) as caught:
            add(bundle, ham=b"1")
        assert caught.value.limit == 8
        assert len(stored()) == 3

    def test_number_of_files_of_exactly_the_limit(self, session, bundle, settings):
        settings.SESSION_ATTACHMENTS_MAX_BUNDLE_FILES = 2

        add(bundle, spam=b"1", egg=b"1")
        add(Bundle(session, "other"), spam=b"1", egg=b"1")

        with pytest.raises(TooManyFiles) as caught:
            add(bundle, ham=b"1")
        assert caught.value.limit == 2
        assert len(bundle) == 2

    def test_session_of_exactly_the_limit(self, session, bundle, settings):
        settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = 8 / self.MB

        add(bundle, spam=b"1234")
        add(Bundle(session, "other"), spam=b"1234")

        with pytest.raises(SessionTooLarge) as caught:
            add(bundle, egg=b"1")
        assert caught.value.limit == 8

    def test_other_sessions_do_not_count(self, bundle, settings):
        settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = 4 / self.MB
        settings.SESSION_ATTACHMENTS_MAX_BUNDLE_FILES = 1
        add(Bundle(SessionStore(), "draft-7"), spam=b"1234")

        add(bundle, spam=b"1234")

        assert len(bundle) == 1

    def test_what_is_replaced_does_not_count(self, bundle, settings):
        settings.SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE = 4 / self.MB
        settings.SESSION_ATTACHMENTS_MAX_BUNDLE_FILES = 1
        settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = 4 / self.MB
        add(bundle, spam=b"1234")

        add(bundle, spam=b"4321")

        assert contents(bundle) == {"spam.txt": b"4321"}

    def test_refused_replacement_keeps_the_old(self, bundle, settings):
        settings.SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE = 4 / self.MB
        add(bundle, spam=b"1234")

        with pytest.raises(BundleTooLarge):
            add(bundle, spam=b"12345")
        assert contents(bundle) == {"spam.txt": b"1234"}

    def test_parallel_uploads_stay_within_it(self, session, settings):
        """Eight uploads at once, of which three fit into the empty bundle."""
        settings.SESSION_ATTACHMENTS_MAX_BUNDLE_FILES = 3
        add(Bundle(session, "another"), spam=b"1")
        session.save()
        start = threading.Barrier(8, timeout=10)

        def upload(number):
            bundle = Bundle(SessionStore(session.session_key), "draft-7")
            start.wait()
            try:
                return add(bundle, (f"{number}.txt", b"1"))
            except TooManyFiles:
                return []

        answers = at_once(*(partial(upload, number) for number in range(8)))

        assert sorted(map(len, answers)) == [0] * 5 + [1] * 3
        assert len(Bundle(session, "draft-7")) == 3


@committed
class TestFaults:
    def test_full_disk_keeps_what_was_there(self, bundle, settings, stored):
        add(bundle, spam=b"old", egg=b"old")
        before = stored()
        # The first file is written; the second breaks off after it was begun.
        full = OSError(28, "No space left on device")
        saved = []

        def watch(operation, name):
            if operation == "saved":
                saved.append(name)
                if len(saved) == 2:
                    raise full

        store_in(settings, watch)

        with pytest.raises(OSError, match="No space left"):
            add(bundle, spam=b"new", egg=b"new")

        assert contents(bundle) == {"spam.txt": b"old", "egg.txt": b"old"}
        assert stored() == before

    def test_database_that_refuses_the_row(self, bundle, stored):
        add(bundle, spam=b"old")
        before = stored()

        with (
            connection.execute_wrapper(refuse_insert),
            pytest.raises(DatabaseError, match="gone"),
        ):
            add(bundle, spam=b"new")

        assert contents(bundle) == {"spam.txt": b"old"}
        assert stored() == before

    @pytest.mark.skipif(
        not connection.features.can_defer_constraint_checks,
        reason="this database checks its constraints before the commit",
    )
    def test_commit_that_is_refused_leaves_what_was(self, bundle, stored):
        add(bundle, spam=b"old")

        with (
            connection.execute_wrapper(insert_note_on_nothing),
            pytest.raises(IntegrityError),
        ):
            add(bundle, spam=b"new")

        assert contents(bundle) == {"spam.txt": b"old"}
        assert len(stored()) == 1

    def test_rollback_of_the_project_keeps_the_old(self, bundle, stored):
        add(bundle, spam=b"old")

        with transaction.atomic():
            add(bundle, spam=b"new")
            transaction.set_rollback(True)

        assert contents(bundle) == {"spam.txt": b"old"}
        assert len(stored()) == 2  # The new one is left to the command.

    def test_nothing_goes_before_the_project_commits(self, bundle, stored):
        add(bundle, spam=b"old", egg=b"egg\n")
        before = stored()

        with transaction.atomic():
            add(bundle, spam=b"new")
            bundle.remove("egg.txt")
            assert set(before) < set(stored())

        assert contents(bundle) == {"spam.txt": b"new"}
        assert len(stored()) == 1


def refuse_insert(execute, sql, params, many, context):
    """Break off between the file's write and the row's."""
    if sql.startswith("INSERT INTO") and "attachment" in sql:
        raise DatabaseError("The database is gone.")
    return execute(sql, params, many, context)


def insert_note_on_nothing(execute, sql, params, many, context):
    """Let the commit fail after all else went well."""
    result = execute(sql, params, many, context)
    if sql.startswith('INSERT INTO "session_attachments_attachment"'):
        with context["connection"].cursor() as cursor:
            cursor.execute("INSERT INTO project_note (attachment_id) VALUES (0)")
    return result


@committed
class TestAfterCommit:
    """What of the project's fails after the commit."""

    @pytest.fixture
    def fail_after(self):
        """Return a function that lets an error follow the next deletion's commit."""
        receivers = []

        def fail_after(error):
            errors = [error]

            def fail():
                with suppress(IndexError):
                    raise errors.pop()

            def register(using, **kwargs):
                transaction.on_commit(fail, using=using)

            post_delete.connect(register, sender=Attachment)
            receivers.append(register)

        yield fail_after
        for register in receivers:
            post_delete.disconnect(register, sender=Attachment)

    @pytest.mark.parametrize("kind", [IntegrityError, OperationalError])
    def test_replacement_is_not_tried_again(self, bundle, stored, fail_after, kind):
        add(bundle, spam=b"old")
        error = kind("of the project's")
        # For an OperationalError: a conflict with another transaction.
        error.__cause__ = Lost()
        fail_after(error)

        with pytest.raises(kind, match="of the project's"):
            add(bundle, spam=b"new")

        assert contents(bundle) == {"spam.txt": b"new"}

    def test_deletion_is_not_tried_again(self, bundle, fail_after):
        add(bundle, spam=b"spam", egg=b"egg")
        error = OperationalError("of the project's")
        error.__cause__ = Lost()
        fail_after(error)

        with pytest.raises(OperationalError, match="of the project's"):
            bundle.remove("spam.txt")

        assert contents(bundle) == {"egg.txt": b"egg"}


@committed
def test_insertion_in_a_transaction_of_the_projects_is_not_tried_in_vain(bundle):
    # What it would have locked stays locked then.
    add(bundle, spam=b"old")

    with CaptureQueriesContext(connection) as queries, transaction.atomic():
        add(bundle, spam=b"new")

    tried = [
        q for q in queries if q["sql"].startswith("INSERT") and "bundle" in q["sql"]
    ]
    assert len(tried) == 1
    assert contents(bundle) == {"spam.txt": b"new"}


def test_text_is_taken_as_its_bytes(bundle):
    (attachment,) = bundle.add(ContentFile("Слова и слова", "words.txt"))

    assert attachment.mimetype == "text/plain"
    assert contents(bundle) == {"words.txt": "Слова и слова".encode()}
