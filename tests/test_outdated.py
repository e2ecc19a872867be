"""remove_outdated: outdated rows, then what no row refers to."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.core.files.base import ContentFile
from django.db import OperationalError, connection, transaction
from django.db.models.signals import pre_delete
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from session_attachments import outdated
from session_attachments.bundles import Bundle
from session_attachments.models import Attachment
from session_attachments.outdated import Gone, Outcome, remove_outdated
from tests.project.models import Contract, Note, Scan
from tests.storages import (
    DAY,
    DIGEST,
    DIGESTS,
    OLD,
    Calls,
    Names,
    at_once,
    attach,
    begin_deferred,
    failing,
    store_in,
)

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def bundle():
    return Bundle(SessionStore(), "foo")


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

    def test_batch_has_gone_before_the_next(self, monkeypatch):
        monkeypatch.setattr(outdated, "BATCH", 2)
        for number in range(5):
            attach(f"{number}", age=DAY)
        left = []

        remove_outdated(DAY, report=lambda gone: left.append(len(names())))

        assert left == [3, 3, 1, 1, 0]

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

    @pytest.mark.fault(15)
    def test_missing_file_is_no_failure(self, media, stored):
        lost = attach("lost.txt", b"lost", age=DAY)
        attach("old.txt", b"old", age=DAY)
        (media / lost.file.name).unlink()

        assert remove_outdated(DAY) == Outcome(attachments=2, size=7)
        assert names() == stored() == []

    def test_project_objects_go_as_they_say(self):
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

    def test_transaction_of_the_project_that_rolls_back_keeps_all(self, put, stored):
        attach(file=f"{OLD}/referred", age=DAY)
        put(f"{OLD}/unreferred")

        with transaction.atomic():
            assert remove_outdated(DAY) == Outcome(attachments=1, size=5)
            transaction.set_rollback(True)

        assert names() == ["spam.txt"]
        assert len(stored()) == 2

    def test_transaction_of_the_project_that_commits_leaves_the_files_for_later(
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
