"""remove_outdated: outdated rows, then what no row refers to."""

import os
import shutil
import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.core.files.base import ContentFile
from django.db import OperationalError, connection, transaction
from django.db.models.signals import pre_delete
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from session_attachments import orphans, outdated
from session_attachments.bundles import Bundle
from session_attachments.files.storage import attachment_storage
from session_attachments.models import Attachment
from session_attachments.outdated import Gone, Outcome, remove_outdated
from tests.host.models import Contract, Note, Scan
from tests.storages import (
    Calls,
    at_once,
    attach,
    begin_deferred,
    failing,
    store_in,
)

pytestmark = pytest.mark.django_db(transaction=True)

DAY = timedelta(days=1)
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)

# A folder of uploads that every run clears, and one of 0.2.
OLD = "session_attachments/2020-02-20"
DIGEST = "session_attachments/00112233445566778899aabbccddeeff"
DIGESTS = f"{DIGEST}/ffeeddccbbaa99887766554433221100"


@pytest.fixture
def put(media):
    """Return a function that puts a file into the storage, past the app."""

    def put_file(name, content=b"12345", age=timedelta(days=1000)):
        path = media / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        modified = (datetime.now(UTC) - age).timestamp()
        os.utime(path, (modified, modified))
        return name

    return put_file


@pytest.fixture
def folders(media):
    """Return a function that lists the folders below the app's own."""

    def list_folders():
        paths = (media / "session_attachments").rglob("*")
        return sorted(p.relative_to(media).as_posix() for p in paths if p.is_dir())

    return list_folders


@pytest.fixture
def at(monkeypatch):
    """Return a function that sets the clock by which files are old."""

    def set_clock(moment):
        class Clock(datetime):
            @classmethod
            def now(cls, tz):
                return moment.astimezone(tz)

        monkeypatch.setattr(outdated, "datetime", Clock)

    return set_clock


@pytest.fixture
def bundle():
    return Bundle(SessionStore(), "foo")


class Names(list):
    """A ``report`` that remembers the names of what went."""

    def __call__(self, gone):
        self.append(gone.name)


def names():
    return sorted(Attachment.objects.values_list("filename", flat=True))


def content(attachment):
    with attachment.file.open() as file:
        return file.read()


def make_old(age=timedelta(days=10)):
    Attachment.objects.update(created=timezone.now() - age)


class AfterFirstQuery:
    """Does ``work``, with a connection of its own, after the next query of ours."""

    def __init__(self, *work):
        self.work = list(work)

    def __call__(self, execute, sql, params, many, context):
        result = execute(sql, params, many, context)
        while self.work:
            at_once(self.work.pop())
        return result


class TestAttachments:
    @pytest.mark.parametrize("use_tz", [True, False])
    def test_outdated_goes_with_its_file(self, settings, use_tz, stored):
        settings.USE_TZ = use_tz
        attach("old.txt", b"old", age=timedelta(days=3, minutes=1))
        young = attach("young.txt", age=timedelta(days=3, minutes=-1))

        outcome = remove_outdated(timedelta(days=3))

        assert outcome == Outcome(attachments=1, files=0, size=3, failures=[])
        assert names() == ["young.txt"]
        assert stored() == [young.file.name]

    def test_zero_takes_all(self, stored):
        attach("a")
        attach("b", session_id="other", bundle="bar")

        assert remove_outdated(timedelta(0)).attachments == 2
        assert stored() == []

    def test_nothing_to_remove_is_fine(self, media):
        assert remove_outdated(timedelta(0)) == Outcome()
        assert not media.exists()

    @pytest.mark.parametrize(
        "older_than", [timedelta(days=-1), timedelta.max, timedelta.min], ids=str
    )
    def test_impossible_age_removes_nothing(self, older_than, put, stored):
        attach(file=f"{OLD}/referred", age=timedelta(days=5000))
        put(f"{OLD}/unreferred")

        with pytest.raises(ValueError, match="the age"):
            remove_outdated(older_than)

        assert (len(names()), len(stored())) == (1, 2)

    def test_more_than_a_batch_goes(self, monkeypatch, stored):
        monkeypatch.setattr(outdated, "BATCH", 2)
        for number in range(5):
            attach(f"{number}", b"x" * number, age=DAY)
        reported = Names()

        outcome = remove_outdated(DAY, report=reported)

        assert outcome == Outcome(attachments=5, size=10)
        assert sorted(reported) == ["0", "1", "2", "3", "4"]
        assert stored() == []

    def test_report_tells_attachments_from_files(self, put):
        row = attach("a.txt", b"1", age=DAY, bundle="draft-7")
        put(f"{OLD}/token", b"12")
        reported = []

        remove_outdated(DAY, report=reported.append)

        assert reported == [
            Gone("a.txt", 1, "draft-7", row.created),
            Gone(f"{OLD}/token", 2),
        ]

    def test_batches_have_a_fixed_number_of_queries(self, monkeypatch):
        def queries(batch):
            monkeypatch.setattr(outdated, "BATCH", batch)
            for number in range(batch):
                attachment = attach(f"{number}", age=DAY)
                Note.objects.create(attachment=attachment)
                Scan.objects.create(attachment=attachment)
            with CaptureQueriesContext(connection) as captured:
                assert remove_outdated(DAY).attachments == batch
            return len(captured)

        queries(1)

        assert queries(4) == queries(40) < 20

    def test_missing_file_is_no_failure(self, media, stored):
        lost = attach("lost.txt", b"lost", age=DAY)
        attach("old.txt", b"old", age=DAY)
        (media / lost.file.name).unlink()

        assert remove_outdated(DAY) == Outcome(attachments=2, size=7)
        assert names() == stored() == []

    def test_host_objects_go_as_they_say(self):
        attachment = attach(age=DAY)
        Note.objects.create(attachment=attachment)
        scan = Scan.objects.create(attachment=attachment)

        assert remove_outdated(DAY) == Outcome(attachments=1, size=5)

        scan.refresh_from_db()
        assert scan.attachment is None
        assert not Note.objects.exists()

    def test_protected_attachment_is_reported_and_the_rest_goes(self, stored):
        attach("a.txt", age=DAY)
        kept = attach("kept.txt", age=DAY)
        attach("z.txt", age=DAY)
        contract = Contract.objects.create(attachment=kept)
        reported = Names()

        outcome = remove_outdated(DAY, report=reported)

        assert outcome == Outcome(
            attachments=2,
            size=10,
            failures=[
                "'kept.txt' could not be removed: Cannot delete some instances of "
                "model 'Attachment' because they are referenced through protected "
                "foreign keys: 'Contract.attachment'."
            ],
        )
        assert reported == ["a.txt", "z.txt"]
        assert names() == ["kept.txt"]
        assert stored() == [kept.file.name]
        assert Contract.objects.get() == contract

    def test_receiver_that_fails_is_reported_and_the_rest_goes(self, stored):
        def refuse(instance, **kwargs):
            if instance.filename == "kept.txt":
                raise RuntimeError("not this one")

        attach("a.txt", age=DAY)
        kept = attach("kept.txt", age=DAY)
        pre_delete.connect(refuse, sender=Attachment)
        outcome = remove_outdated(DAY)
        pre_delete.disconnect(refuse, sender=Attachment)

        assert outcome.failures == ["'kept.txt' could not be removed: not this one"]
        assert stored() == [kept.file.name]

    def test_file_that_cannot_be_deleted_is_reported(self, settings, stored):
        bad = attach("bad.txt", age=DAY)
        attach("good.txt", age=DAY)
        store_in(settings, failing("delete", OSError("read only"), bad.file.name))

        outcome = remove_outdated(DAY)

        assert outcome == Outcome(
            attachments=2,
            size=5,
            failures=["The file of 'bad.txt' could not be deleted: read only"],
        )
        assert names() == []
        assert stored() == [bad.file.name]

    def test_commit_whose_answer_is_lost_is_reported(self, stored, monkeypatch):
        attachment = attach(age=DAY)
        commit = connection._commit

        def lose_answer():
            commit()
            raise OperationalError("connection lost")

        monkeypatch.setattr(connection, "_commit", lose_answer)
        outcome = remove_outdated(DAY)

        assert outcome == Outcome(failures=["A removal was cut off: connection lost"])
        assert names() == []
        # The command takes it when its day is old.
        assert stored() == [attachment.file.name]

    def test_file_that_was_not_deleted_is_found_in_the_next_run(self, settings, stored):
        attach(file=f"{OLD}/bad", age=DAY)
        store_in(settings, failing("delete", PermissionError("read only")))
        outcome = remove_outdated(DAY)
        store_in(settings, Calls())

        assert outcome == Outcome(
            attachments=1,
            failures=["The file of 'spam.txt' could not be deleted: read only"],
        )
        assert remove_outdated(DAY) == Outcome(files=1, size=5)
        assert stored() == []

    def test_transaction_of_the_host_that_rolls_back_keeps_all(self, put, stored):
        attach(file=f"{OLD}/referred", age=DAY)
        put(f"{OLD}/unreferred")

        with transaction.atomic():
            assert remove_outdated(DAY) == Outcome(attachments=1, size=5)
            transaction.set_rollback(True)

        assert names() == ["spam.txt"]
        assert len(stored()) == 2

    def test_transaction_of_the_host_that_commits_leaves_the_files_for_later(
        self, put, stored
    ):
        attach(file=f"{OLD}/referred", age=DAY)
        put(f"{OLD}/unreferred")

        with transaction.atomic():
            assert remove_outdated(DAY) == Outcome(attachments=1, size=5)

        assert stored() == [f"{OLD}/unreferred"]
        assert remove_outdated(DAY) == Outcome(files=1, size=5)


class TestMeanwhile:
    """What happens while remove_outdated is at work."""

    def test_attachment_replaced_after_the_look_stays(self, bundle, stored):
        bundle.add(ContentFile(b"old", "spam.txt"), ContentFile(b"old", "egg.txt"))
        make_old()
        replace = AfterFirstQuery(lambda: bundle.add(ContentFile(b"new", "spam.txt")))

        with connection.execute_wrapper(replace):
            outcome = remove_outdated(DAY)

        assert outcome == Outcome(attachments=1, size=3)
        [attachment] = bundle
        assert content(attachment) == b"new"
        assert stored() == [attachment.file.name]

    def test_attachment_made_younger_after_the_look_stays(self, bundle, stored):
        bundle.add(ContentFile(b"old", "spam.txt"))
        make_old()
        touch = AfterFirstQuery(lambda: make_old(timedelta(0)))

        with connection.execute_wrapper(touch):
            assert remove_outdated(DAY) == Outcome()

        assert content(bundle.get("spam.txt")) == b"old"

    def test_attachment_removed_after_the_look_is_not_counted(self, bundle):
        bundle.add(ContentFile(b"old", "spam.txt"))
        make_old()

        with connection.execute_wrapper(AfterFirstQuery(bundle.clear)):
            assert remove_outdated(DAY) == Outcome()

    def test_attachments_replaced_all_the_time_stay(
        self, bundle, monkeypatch, settings, stored
    ):
        monkeypatch.setattr(outdated, "BATCH", 3)
        every = [f"{number:02}.txt" for number in range(20)]
        bundle.add(*(ContentFile(b"old", name) for name in every))
        make_old()
        start = threading.Barrier(2, timeout=10)

        def replace():
            start.wait()
            for name in every:
                bundle.add(ContentFile(b"new", name))

        def remove():
            start.wait()
            return [remove_outdated(DAY).failures for _ in range(5)]

        _, failures = at_once(replace, remove)

        assert failures == [[]] * 5
        assert [content(attachment) for attachment in bundle] == [b"new"] * 20
        assert stored() == sorted(attachment.file.name for attachment in bundle)

    def test_attachment_in_use_is_not_waited_for(self):
        used = attach("used.txt", age=DAY)
        attach("free.txt", age=DAY)
        can_skip = connection.features.has_select_for_update_skip_locked
        held, done = threading.Event(), threading.Event()

        def use():
            with transaction.atomic():
                Attachment.objects.filter(pk=used.pk).update(mimetype="text/plain")
                held.set()
                # SQLite locks all rows, so that there this runs into its timeout.
                return done.wait(10 if can_skip else 0.3)

        def remove():
            held.wait(10)
            outcome = remove_outdated(DAY)
            done.set()
            return outcome

        did_not_wait, outcome = at_once(use, remove)

        assert did_not_wait == can_skip
        assert (outcome.attachments, outcome.failures) == (1 if can_skip else 2, [])
        assert remove_outdated(DAY).attachments == 2 - outcome.attachments

    def test_several_at_once_remove_each_once(
        self, monkeypatch, settings, put, stored, folders
    ):
        monkeypatch.setattr(outdated, "BATCH", 3)
        calls = Calls()
        store_in(settings, calls)
        files = [attach(f"{number}", age=DAY).file.name for number in range(20)]
        for number in range(20):
            put(f"{OLD}/{number}")
            put(f"{DIGESTS}/{number}")
        start = threading.Barrier(3, timeout=10)
        reported = Names()

        def remove():
            begin_deferred()
            start.wait()
            return remove_outdated(DAY, report=reported)

        outcomes = at_once(remove, remove, remove)

        assert [outcome.failures for outcome in outcomes] == [[], [], []]
        assert sum(outcome.attachments for outcome in outcomes) == 20
        assert sorted(n for n in calls.names("delete") if n in files) == sorted(files)
        assert {name for name in reported if "/" not in name} == {*map(str, range(20))}
        assert stored() == []
        assert OLD not in folders()
        assert DIGEST not in folders()

    @pytest.mark.parametrize("later", [timedelta(0), DAY], ids=["now", "tomorrow"])
    def test_upload_between_its_file_and_its_row_survives(
        self, settings, bundle, at, later
    ):
        saved, go_on = threading.Event(), threading.Event()
        at(datetime.now(UTC) + later)

        def pause(operation, name):
            if operation == "saved":
                saved.set()
                go_on.wait(10)

        def upload():
            return bundle.add(ContentFile(b"spam\n", "spam.txt"))

        def remove():
            saved.wait(10)
            outcome = remove_outdated(timedelta(0))
            go_on.set()
            return outcome

        store_in(settings, pause)
        _, outcome = at_once(upload, remove)

        assert outcome == Outcome()
        assert content(bundle.get("spam.txt")) == b"spam\n"


class TestDayFolders:
    @pytest.mark.parametrize(
        ("now", "days", "cleared"),
        [
            (NOON, 0, ["03-07", "03-08"]),
            (NOON, 0.5, ["03-07", "03-08"]),
            (NOON, 1, ["03-07", "03-08"]),
            (NOON, 1.5, ["03-07", "03-08"]),
            (NOON, 1.6, ["03-07"]),
            (NOON, 2, ["03-07"]),
            (NOON, 3, []),
            # The last and the first moment of a day in UTC, another day in Chicago.
            (datetime(2026, 3, 9, 23, 59, 59, tzinfo=UTC), 0, ["03-07"]),
            (datetime(2026, 3, 10, tzinfo=UTC), 0, ["03-07", "03-08"]),
            (datetime(2026, 3, 10, 23, 59, 59, tzinfo=UTC), 0, ["03-07", "03-08"]),
        ],
        ids=str,
    )
    def test_days_that_lie_whole_far_enough_back_are_cleared(
        self, put, stored, folders, at, now, days, cleared
    ):
        every = [f"03-{day:02}" for day in range(7, 12)]
        for day in every:
            put(f"session_attachments/2026-{day}/token")
        at(now)

        outcome = remove_outdated(timedelta(days=days))

        left = [f"session_attachments/2026-{d}" for d in every if d not in cleared]
        assert outcome == Outcome(files=len(cleared), size=5 * len(cleared))
        assert stored() == [f"{folder}/token" for folder in left]
        assert folders() == left

    def test_file_with_a_row_stays(self, put, stored):
        # A host may have set a newer time.
        attach(file=f"{OLD}/referred", age=timedelta(0))
        put(f"{OLD}/unreferred")

        assert remove_outdated(DAY) == Outcome(files=1, size=5)
        assert stored() == [f"{OLD}/referred"]

    def test_more_than_a_batch_goes(self, put, stored, monkeypatch):
        monkeypatch.setattr(outdated, "BATCH", 2)
        every = [put(f"{OLD}/{number}", b"x" * number) for number in range(5)]
        attach(file=f"{OLD}/referred")
        reported = Names()

        outcome = remove_outdated(DAY, report=reported)

        assert outcome == Outcome(files=5, size=10)
        assert sorted(reported) == every
        assert stored() == [f"{OLD}/referred"]

    def test_batches_have_one_query(self, put, monkeypatch, django_assert_num_queries):
        monkeypatch.setattr(orphans, "BATCH", 4)
        for number in range(12):
            put(f"{OLD}/{number}")

        # One for the attachments.
        with django_assert_num_queries(4):
            assert remove_outdated(DAY).files == 12

    def test_empty_folders_go(self, media, folders, at):
        for day in ["07", "08", "09", "10", "11"]:
            (media / f"session_attachments/2026-03-{day}").mkdir(parents=True)
        at(NOON)

        assert remove_outdated(timedelta(0)) == Outcome()
        assert folders() == [
            f"session_attachments/2026-03-{day}" for day in ("09", "10", "11")
        ]

    def test_root_stays(self, media, put, folders):
        put(f"{OLD}/token")

        remove_outdated(DAY)

        assert folders() == []
        assert (media / "session_attachments").is_dir()

    def test_folder_in_a_folder_stays(self, put, stored, folders):
        put(f"{OLD}/token")
        put(f"{OLD}/notes/mine.txt")

        assert remove_outdated(DAY) == Outcome(files=1, size=5)
        assert stored() == [f"{OLD}/notes/mine.txt"]
        assert folders() == [OLD, f"{OLD}/notes"]


class TestFoldersOf02:
    @pytest.mark.parametrize("use_tz", [True, False])
    @pytest.mark.parametrize(("days", "limit"), [(0, 1), (1, 1), (2.5, 2.5)])
    def test_files_go_if_modified_before(
        self, put, stored, settings, use_tz, days, limit
    ):
        settings.USE_TZ = use_tz
        put(f"{DIGESTS}/old.txt", age=timedelta(days=limit, minutes=1))
        put(f"{DIGESTS}/young.txt", age=timedelta(days=limit, minutes=-1))

        assert remove_outdated(timedelta(days=days)) == Outcome(files=1, size=5)
        assert stored() == [f"{DIGESTS}/young.txt"]

    def test_file_with_a_row_stays(self, put, stored):
        attach(file=f"{DIGESTS}/Отчёт за год.pdf", age=timedelta(0))
        put(f"{DIGESTS}/Отчёт за год.pdf")

        assert remove_outdated(DAY) == Outcome()
        assert stored() == [f"{DIGESTS}/Отчёт за год.pdf"]

    def test_file_called_almost_as_one_with_a_row_goes(self, put, stored):
        attach(file=f"{DIGESTS}/Resume", age=timedelta(0))
        put(f"{DIGESTS}/Resume")
        put(f"{DIGESTS}/Resume ")
        put(f"{DIGESTS}/resume")
        put(f"{DIGESTS}/Résumé")

        assert remove_outdated(DAY).files == 3
        assert stored() == [f"{DIGESTS}/Resume"]

    def test_outdated_rows_leave_no_folder(self, stored, folders):
        attach(file=f"{DIGESTS}/spam.txt", age=timedelta(days=2))

        assert remove_outdated(DAY) == Outcome(attachments=1, size=5)
        assert stored() == folders() == []

    def test_emptied_folders_go_and_others_stay(self, put, folders):
        put(f"{DIGESTS}/old.txt")
        put(f"{DIGEST}/{'1' * 32}/old.txt")
        put(f"{DIGEST}/{'2' * 32}/young.txt", age=timedelta(0))
        put(f"session_attachments/{'3' * 32}/{'4' * 32}/old.txt")

        assert remove_outdated(DAY).files == 3
        assert folders() == [DIGEST, f"{DIGEST}/{'2' * 32}"]

    def test_what_02_did_not_make_stays(self, put, stored, folders):
        every = [put(f"{DIGEST}/file"), put(f"{DIGEST}/notes/mine.txt")]

        assert remove_outdated(DAY) == Outcome()
        assert stored() == every
        assert folders() == [DIGEST, f"{DIGEST}/notes"]


class TestForeign:
    @pytest.mark.parametrize(
        "folder",
        [
            "notes",
            "2020-1-1",
            "20200101",
            "2020-W01-1",
            "2020-13-45",
            "2020-02-30",
            "2020-01-01 ",
            "2020-01-01.bak",
            "x2020-01-01",
            "0000-00-00",
            "9999-12-31",
            "0123456789abcdef",
            "00112233445566778899AABBCCDDEEFF",
            "00112233445566778899aabbccddeeff0",
            "..2020-01-01",
        ],
    )
    def test_other_folder_is_left_alone(self, put, media, stored, folder):
        every = [
            put(f"session_attachments/{folder}/{'f' * 32}/token"),
            put(f"session_attachments/{folder}/token"),
        ]
        (media / "session_attachments" / folder / "empty").mkdir()

        assert remove_outdated(timedelta(0)) == Outcome()
        assert sorted(stored()) == every
        assert (media / "session_attachments" / folder / "empty").is_dir()

    def test_file_beside_the_folders_is_left_alone(self, put, stored):
        every = [
            put("2020-01-01/mine.txt"),
            put("mine.txt"),
            put("session_attachments/2020-01-01"),
            put("session_attachments/mine.txt"),
        ]

        assert remove_outdated(timedelta(0)) == Outcome()
        assert sorted(stored()) == every


class TestStorages:
    def test_storage_that_cannot_list_keeps_its_files(self, settings, put, stored):
        attach(age=DAY)
        put(f"{OLD}/token")
        store_in(settings, failing("listdir", NotImplementedError("no listing")))

        assert remove_outdated(DAY) == Outcome(attachments=1, size=5)
        assert stored() == [f"{OLD}/token"]

    @pytest.mark.parametrize(
        "error", [NotImplementedError(), OSError("not empty"), KeyError(OLD)], ids=repr
    )
    def test_folder_that_cannot_be_removed_is_no_failure(
        self, settings, put, folders, error
    ):
        def refuse(operation, name):
            if (operation, name) == ("delete", OLD):
                raise error

        put(f"{OLD}/token")
        store_in(settings, refuse)

        assert remove_outdated(DAY) == Outcome(files=1, size=5)
        assert folders() == [OLD]

    @pytest.mark.parametrize(
        "error", [PermissionError("no entry"), RuntimeError("no entry")], ids=repr
    )
    @pytest.mark.parametrize("folder", [OLD, DIGEST, DIGESTS])
    def test_folder_that_cannot_be_read_is_reported(
        self, settings, put, stored, folder, error
    ):
        kept = put(f"{folder}/{'' if folder == OLD else 'x/'}token")
        put("session_attachments/2020-01-01/token")
        put("session_attachments/2020-12-31/token")
        store_in(settings, failing("listdir", error, folder))

        outcome = remove_outdated(DAY)

        assert outcome == Outcome(
            files=2,
            size=10,
            failures=[f"The folder {folder!r} could not be read: no entry"],
        )
        assert stored() == [kept]

    def test_root_that_cannot_be_read_is_reported(self, settings, put):
        attach(age=DAY)
        put(f"{OLD}/token")
        store_in(settings, failing("listdir", PermissionError("no entry")))

        assert remove_outdated(DAY) == Outcome(
            attachments=1,
            size=5,
            failures=["The folder 'session_attachments' could not be read: no entry"],
        )

    @pytest.mark.parametrize("error", [PermissionError, RuntimeError])
    @pytest.mark.parametrize(
        ("operation", "verb"), [("size", "read"), ("delete", "deleted")]
    )
    def test_file_that_cannot_be_removed_is_reported(
        self, settings, put, stored, error, operation, verb
    ):
        bad, _ = put(f"{OLD}/bad"), put(f"{OLD}/good")
        store_in(settings, failing(operation, error("read only"), "bad"))

        outcome = remove_outdated(DAY)

        assert outcome == Outcome(
            files=1,
            size=5,
            failures=[f"The file {bad!r} could not be {verb}: read only"],
        )
        assert stored() == [bad]

    def test_file_that_was_not_removed_is_found_again(self, settings, put, stored):
        put(f"{OLD}/bad")
        store_in(settings, failing("delete", PermissionError("read only")))
        remove_outdated(DAY)
        store_in(settings, Calls())

        assert remove_outdated(DAY) == Outcome(files=1, size=5)
        assert stored() == []

    def test_file_whose_age_cannot_be_read_is_reported(self, settings, put, stored):
        bad, _ = put(f"{DIGESTS}/bad"), put(f"{DIGESTS}/good")
        store_in(settings, failing("get_modified_time", OSError("no clock"), "bad"))

        outcome = remove_outdated(DAY)

        assert outcome.failures == [f"The file {bad!r} could not be read: no clock"]
        assert stored() == [bad]

    def test_file_whose_name_is_no_text_is_reported(self, media, put, stored):
        put(f"{OLD}/good")
        bad = media / OLD / os.fsdecode(b"caf\xe9.txt")
        bad.write_bytes(b"latin1")

        outcome = remove_outdated(DAY)

        assert outcome == Outcome(
            files=1,
            size=5,
            failures=[
                f"The name of the file '{OLD}/caf\\udce9.txt' could not be decoded."
            ],
        )
        assert bad.exists()

    @pytest.mark.parametrize("operation", ["size", "get_modified_time"])
    def test_file_that_vanishes_is_no_failure(self, settings, media, put, operation):
        def vanish(called, name):
            if (called, name) == (operation, f"{DIGESTS}/fast"):
                (media / name).unlink()

        put(f"{DIGESTS}/fast")
        put(f"{DIGESTS}/slow")
        store_in(settings, vanish)

        assert remove_outdated(DAY) == Outcome(files=1, size=5)

    @pytest.mark.parametrize("folder", [OLD, DIGEST, DIGESTS])
    def test_folder_that_vanishes_is_no_failure(
        self, settings, media, put, folders, folder
    ):
        def vanish(operation, name):
            if (operation, name) == ("listdir", folder):
                shutil.rmtree(media / folder, ignore_errors=True)

        put(f"{folder}/token")
        store_in(settings, vanish)

        assert remove_outdated(DAY) == Outcome()
        assert folders() == []

    def test_folder_that_is_used_again_stays(self, settings, put, folders):
        def use(operation, name):
            if (operation, name) == ("delete", OLD):
                put(f"{OLD}/new")

        put(f"{OLD}/token")
        store_in(settings, use)

        assert remove_outdated(DAY) == Outcome(files=1, size=5)
        assert folders() == [OLD]

    def test_storage_that_would_remove_a_full_folder_is_not_asked(self, settings):
        settings.STORAGES = {
            **settings.STORAGES,
            "session_attachments": {
                "BACKEND": "django.core.files.storage.InMemoryStorage"
            },
        }
        storage = attachment_storage()
        storage.save(f"{OLD}/token", ContentFile(b"12345"))
        storage.save(f"{OLD}/notes/mine.txt", ContentFile(b"mine"))
        storage.save("session_attachments/2020-01-01/token", ContentFile(b"12345"))

        assert remove_outdated(DAY) == Outcome(files=2, size=10)
        assert storage.listdir("session_attachments") == (["2020-02-20"], [])
        assert storage.exists(f"{OLD}/notes/mine.txt")


class TestDryRun:
    def test_dry_run_removes_nothing_and_counts_the_same(
        self, media, put, stored, folders, monkeypatch
    ):
        monkeypatch.setattr(outdated, "BATCH", 2)
        for number in range(5):
            attach(f"{number}", b"x" * number, age=DAY)
            put(f"{OLD}/{number}", b"x" * number)
            put(f"{DIGESTS}/{number}", b"x" * number)
        attach("young")
        (media / "session_attachments/2020-01-01").mkdir()
        before = names(), stored(), folders()
        foreseen, done = Names(), Names()

        outcome = remove_outdated(DAY, dry_run=True, report=foreseen)

        assert (names(), stored(), folders()) == before
        assert outcome == Outcome(attachments=5, files=10, size=30)
        assert remove_outdated(DAY, report=done) == outcome
        assert sorted(foreseen) == sorted(done)
        assert names() == ["young"]

    def test_dry_run_foresees_what_is_protected(self, stored):
        for name in ("a.txt", "kept.txt", "z.txt"):
            attachment = attach(name, age=DAY)
            if name == "kept.txt":
                Contract.objects.create(attachment=attachment)
        before = names(), stored()
        foreseen = Names()

        outcome = remove_outdated(DAY, dry_run=True, report=foreseen)

        assert (names(), stored()) == before
        assert foreseen == ["a.txt", "z.txt"]
        assert (outcome.attachments, outcome.size) == (2, 10)
        assert [line[:30] for line in outcome.failures] == [
            "'kept.txt' could not be remove"
        ]
        assert remove_outdated(DAY) == outcome

    @pytest.mark.usefixtures("alone")
    def test_dry_run_of_what_stands_alone_is_one_look(self, stored):
        attach("a.txt", age=DAY)
        attach("b.txt", age=DAY)
        foreseen = Names()

        outcome = remove_outdated(DAY, dry_run=True, report=foreseen)

        assert outcome == Outcome(attachments=2, size=10)
        assert foreseen == names() == ["a.txt", "b.txt"]
        assert len(stored()) == 2

    def test_dry_run_writes_nothing(self, settings, put):
        calls = Calls()
        store_in(settings, calls)
        attach(file=f"{OLD}/referred", age=DAY)
        put(f"{OLD}/unreferred")
        calls.clear()

        with CaptureQueriesContext(connection) as queries:
            remove_outdated(DAY, dry_run=True)

        assert {query["sql"].split()[0] for query in queries} == {"SELECT"}
        assert {operation for operation, _ in calls} == {"listdir", "size"}
