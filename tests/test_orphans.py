"""Old files without an attachment, and the folders that they leave empty."""

import os
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from django.core.files.base import ContentFile

from session_attachments import orphans, outdated
from session_attachments.files.storage import attachment_storage
from session_attachments.outdated import Outcome, remove_outdated
from tests.storages import (
    DAY,
    DIGEST,
    DIGESTS,
    NOON,
    OLD,
    Calls,
    Names,
    attach,
    failing,
    store_in,
)

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


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
        # A project may have set a newer time.
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

    def test_batches_have_two_queries(
        self, put, monkeypatch, django_assert_num_queries
    ):
        monkeypatch.setattr(orphans, "BATCH", 4)
        for number in range(12):
            put(f"{OLD}/{number}")

        # One for the attachments, one for uploads, and each batch twice, for pieces.
        with django_assert_num_queries(2 + 3 * 2):
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
        store_in(settings, failing(operation, error("read only"), "/bad"))

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
        store_in(settings, failing("get_modified_time", OSError("no clock"), "/bad"))

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
    def test_file_that_vanishes_is_no_failure(
        self, settings, media, put, stored, operation
    ):
        def vanish(called, name):
            # The first of two, in whatever order they are listed.
            if called == operation and len(stored()) == 2:
                (media / name).unlink()

        put(f"{DIGESTS}/a")
        put(f"{DIGESTS}/b")
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
