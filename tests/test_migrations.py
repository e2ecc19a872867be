"""The upgrade from 0.2: a real installation, and its table on every database."""

import hashlib
import json
import os
import shutil
import tarfile
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from unicodedata import normalize

import pytest
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.files.storage import FileSystemStorage
from django.core.management import call_command
from django.db import IntegrityError, connection, connections, transaction
from django.db.migrations.loader import MigrationLoader
from django.db.utils import ConnectionHandler
from django.test import Client, override_settings

from session_attachments.models import Attachment
from tests.clients import content, names, needs_libmagic, upload

APP = "session_attachments"
FIXTURES = Path(__file__).parent / "fixtures"
MANIFEST = json.loads((FIXTURES / "upgrade-a.manifest.json").read_text())
ROWS = {row["id"]: row for row in MANIFEST["rows"]}
# Of the two rows of one name the older one goes.
MERGED = 14
LISTS = [e for e in MANIFEST["expected_from_the_original"] if e["list_status"] == 200]
DOWNLOADS = [
    (expected["session"], download)
    for expected in MANIFEST["expected_from_the_original"]
    for download in expected["downloads"]
    if download["status"] == 200
]


@contextmanager
def default_database(path, blocker):
    """Make a SQLite file the default database, whichever the tests run on."""
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": path}
    before = connections["default"]
    connections["default"] = ConnectionHandler({"default": database})["default"]
    try:
        with blocker.unblock():
            yield
    finally:
        connections["default"].close()
        connections["default"] = before
        # Its numbers are another database's.
        ContentType.objects.clear_cache()


@pytest.fixture(scope="module")
def migrated(tmp_path_factory, django_db_blocker):
    """Return the folder of 0.2's installation after ``migrate --fake-initial``."""
    parent = tmp_path_factory.mktemp("original")
    with tarfile.open(FIXTURES / "upgrade-a.tar.gz") as archive:
        # Python 3.11.3 has no filters, and says nothing where none is chosen.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(parent)  # noqa: S202 - a file of ours
    folder = parent / "upgrade-a"
    with (
        override_settings(MEDIA_ROOT=folder / "media", USE_TZ=False),
        default_database(folder / "sqlite.db", django_db_blocker),
    ):
        call_command("migrate", fake_initial=True, verbosity=0)
    return folder


@pytest.fixture
def installation(migrated, settings, media, tmp_path, django_db_blocker):
    """Run the test on a copy of 0.2's installation, with its settings."""
    shutil.copytree(migrated / "media", media)
    shutil.copy(migrated / "sqlite.db", tmp_path)
    settings.USE_TZ = False
    settings.TIME_ZONE = "America/Chicago"
    with default_database(tmp_path / "sqlite.db", django_db_blocker):
        yield


def visitor(session):
    """Return the client of one of the sessions that 0.2 left."""
    client = Client()
    client.cookies["sessionid"] = MANIFEST["sessions"][session]["sessionid"]
    return client


def body(attachments):
    return (json.dumps(attachments, separators=(", ", ": ")) + "\r\n").encode()


@pytest.mark.usefixtures("installation")
class TestInstallation:
    def test_rows_survive(self):
        columns = ["id", "session_id", "bundle", "file", "filename"]

        rows = {row.pk: row for row in Attachment.objects.all()}

        assert set(rows) == set(ROWS) - {MERGED}
        for pk, row in rows.items():
            was = ROWS[pk]
            assert [str(getattr(row, column)) for column in columns] == [
                str(was[column]) for column in columns
            ]
            assert str(row.created) == was["created"]
            assert row.size == was.get("size", 0)

    def test_files_survive(self, stored):
        expected = [row["file"] for row in ROWS.values() if row["on_disk"]]
        expected.remove(ROWS[MERGED]["file"])

        assert stored() == sorted(expected)

    @pytest.mark.parametrize("expected", LISTS, ids=lambda e: e["bundle"])
    def test_list_is_that_of_the_original(self, expected):
        was = json.loads(expected["list_body"])
        was = [a for a in was if a["size"] != ROWS[MERGED]["size"]]

        response = visitor(expected["session"]).get(
            f"/attachments/{expected['bundle']}/"
        )

        assert response.content == body(sorted(was, key=lambda a: a["name"]))

    @pytest.mark.parametrize(
        ("session", "expected"), DOWNLOADS, ids=lambda value: str(value)[:30]
    )
    def test_download_is_that_of_the_original(self, session, expected):
        response = visitor(session).get(expected["url"])

        assert hashlib.sha256(content(response)).hexdigest() == expected["sha256"]
        assert response.headers["Content-Type"] == expected["mimetype"]
        assert response.headers["Content-Length"] == str(expected["size"])

    def test_created_is_taken_for_utc_with_time_zones(self, settings):
        settings.USE_TZ = True

        response = visitor("s2").get("/attachments/old/")

        # 0.2 wrote 09:36 and 21:36, the time in Chicago.
        assert [attachment["created"] for attachment in response.json()] == [
            "2026-11-12 03:36",
            "2026-11-12 15:36",
        ]
        assert Attachment.objects.get(pk=16).created == datetime(
            2026, 11, 12, 9, 36, 43, 964658, tzinfo=UTC
        )

    def test_created_stays_if_the_database_is_given_its_time_zone(self, settings):
        settings.USE_TZ = True
        connections["default"].settings_dict["TIME_ZONE"] = "America/Chicago"

        response = visitor("s2").get("/attachments/old/")

        assert [attachment["created"] for attachment in response.json()] == [
            "2026-11-12 09:36",
            "2026-11-12 21:36",
        ]

    def test_sessions_see_their_own_only(self):
        assert names(visitor("s2").get("/attachments/foo/")) == ["report 2011.doc"]
        assert visitor("s2").get("/attachments/foo/egg.txt/").status_code == 404
        assert names(Client().get("/attachments/foo/")) == []

    def test_session_goes_on(self, stored):
        client = visitor("s1")
        before = stored()

        upload(client, {"egg.txt": b"new egg\n"})
        client.post("/attachments/foo/spam.txt/delete/")
        client.post("/attachments/mail-1/delete/")

        assert names(client.get("/attachments/foo/")) == ["egg.txt"]
        assert content(client.get("/attachments/foo/egg.txt/")) == b"new egg\n"
        assert names(client.get("/attachments/mail-1/")) == []
        assert len(stored()) == len(before) - 3

    def test_newest_duplicate_stays(self):
        client = visitor("s2")

        assert names(client.get("/attachments/race/")) == ["dup.txt"]
        digest = hashlib.sha256(content(client.get("/attachments/race/dup.txt/")))
        assert digest.hexdigest() == ROWS[15]["sha256"]

    def test_missing_file_breaks_its_download_only(self):
        client = visitor("s3")

        listed = client.get("/attachments/gone/").json()

        assert [(a["name"], a["size"]) for a in listed] == [
            ("gone.txt", 0),
            ("here.txt", 5),
        ]
        assert client.get("/attachments/gone/gone.txt/").status_code == 404
        deleted = client.post("/attachments/gone/gone.txt/delete/")
        assert deleted.content == b"[true]\r\n"

    def test_missing_file_is_replaced(self):
        client = visitor("s3")

        upload(client, {"gone.txt": b"again"}, url="/attachments/gone/")

        assert content(client.get("/attachments/gone/gone.txt/")) == b"again"

    def test_admin_shows_all_of_it(self):
        client = Client()
        client.force_login(User.objects.get(username="admin"))
        page = "/admin/session_attachments/attachment/"

        listed = client.get(page).context["cl"].result_list

        assert {row.pk for row in listed} == set(ROWS) - {MERGED}
        for row in listed:
            assert client.get(f"{page}{row.pk}/change/").status_code == 200
            with closing(client.get(f"{page}{row.pk}/download/")) as response:
                expected = 200 if ROWS[row.pk]["on_disk"] else 404
                assert response.status_code == expected

    def test_missing_file_that_comes_back_is_sent(self, media):
        path = media / ROWS[18]["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"mounted again")

        response = visitor("s3").get("/attachments/gone/gone.txt/")

        assert content(response) == b"mounted again"

    def test_database_refuses_duplicates_now(self):
        row = Attachment.objects.values("session_id", "bundle", "filename").get(pk=1)

        with pytest.raises(IntegrityError), transaction.atomic():
            Attachment.objects.create(**row)

    def test_migrating_once_more_does_nothing(self):
        before = list(Attachment.objects.values())
        # Exits with 1 if one is to be applied.
        call_command("migrate", check=True)

        call_command("migrate", fake_initial=True)

        assert list(Attachment.objects.values()) == before

    @pytest.mark.parametrize("use_tz", [False, True])
    def test_command_takes_all_of_it(self, settings, media, stored, use_tz, capsys):
        settings.USE_TZ = use_tz
        # A file without a row, as 0.2's races left them, days ago.
        orphan = media / Path(ROWS[1]["file"]).with_name("orphan.txt")
        orphan.write_text("orphan")
        os.utime(orphan, (time.time() - 3 * 86400,) * 2)

        call_command("remove_outdated_attachments", older_than=0)

        size = sum(row.get("size", 0) for row in ROWS.values()) - ROWS[MERGED]["size"]
        assert capsys.readouterr().out == (
            "Removed 11 attachments, 0 unfinished uploads and "
            "1 file without an attachment, "
            f"{(size + len('orphan')) / 1024:.1f} KB.\n"
        )
        assert not Attachment.objects.exists()
        assert stored() == []
        assert list((media / APP).iterdir()) == []


class Table:
    """0.2's table, for tests to fill, and the way on from there."""

    def __init__(self, media, session_id):
        state = MigrationLoader(connection).project_state((APP, "0001_initial"))
        self.rows = state.apps.get_model(APP, "Attachment").objects
        self.media = media
        self.session_id = session_id

    def insert(self, filename, data=b"", *, file=None, age=0, **columns):
        """Insert a row, with its file unless ``data`` is None."""
        digest = hashlib.sha256(f"{columns}{filename}".encode()).hexdigest()[:32]
        file = file if file is not None else f"{APP}/{digest}/{digest}/{filename}"
        if data is not None:
            path = self.media / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        row = self.rows.create(
            **{"session_id": self.session_id, "bundle": "foo", **columns},
            filename=filename,
            file=file,
        )
        created = datetime(2026, 3, 1, tzinfo=UTC) - timedelta(days=age)
        self.rows.filter(pk=row.pk).update(created=created)
        return row.pk

    def upgrade(self):
        call_command("migrate", verbosity=0)

    def empty(self):
        execute(f"DELETE FROM {Attachment._meta.db_table}")  # noqa: S608

    def convert_to(self, character_set):
        """Convert it, on MySQL and MariaDB; other databases have one for all."""
        table = Attachment._meta.db_table
        convert = f"ALTER TABLE {table} CONVERT TO CHARACTER SET {character_set}"
        execute({"mysql": convert}.get(connection.vendor, "SELECT 1"))


def execute(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)


def columns_of_table():
    with connection.cursor() as cursor:
        table = connection.introspection.get_table_description(
            cursor, Attachment._meta.db_table
        )
    return {column.name for column in table}


@pytest.fixture
def table(client, media, transactional_db):
    """Return the table of 0.2, where ``client`` has a session."""
    client.get("/attachments/foo/")
    table = Table(media, client.session.session_key)
    try:
        call_command("migrate", APP, "0001", verbosity=0)
        yield table
    finally:
        table.empty()
        table.upgrade()


@pytest.fixture
def old_table(table):
    """Return the table as MySQL made it in 0.2's day."""
    table.convert_to("utf8mb3")
    yield table
    table.empty()
    call_command("migrate", APP, "0001", verbosity=0)
    table.convert_to("utf8mb4")


def kept():
    """Return the names of today's rows and their numbers."""
    return {row.filename: row.pk for row in Attachment.objects.all()}


@pytest.mark.database
class TestRows:
    def test_empty_table_is_taken_over(self, table):
        table.upgrade()

        assert not Attachment.objects.exists()

    @needs_libmagic
    def test_row_gets_size_and_type(self, table, client):
        table.insert("spam.txt", b"spam\n")
        table.insert("image.txt", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08")

        table.upgrade()

        listed = client.get("/attachments/foo/").json()
        assert [(a["name"], a["mimetype"], a["size"]) for a in listed] == [
            ("image.txt", "image/png", 25),
            ("spam.txt", "text/plain", 5),
        ]
        assert content(client.get("/attachments/foo/spam.txt/")) == b"spam\n"

    def test_row_without_file_gets_the_type_of_its_name(self, table):
        table.insert("spam.pdf", None)

        table.upgrade()

        row = Attachment.objects.get()
        assert (row.size, row.mimetype) == (0, "application/pdf")

    @pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 7])
    def test_rows_are_taken_in_batches(self, table, monkeypatch, count):
        migration = import_module(f"{APP}.migrations.0003_rows_of_02")
        monkeypatch.setattr(migration, "BATCH", 3)
        for number in range(count):
            table.insert(f"{number}.txt", b"x" * (number + 1))

        table.upgrade()

        sizes = Attachment.objects.order_by("filename").values_list("size", flat=True)
        assert list(sizes) == list(range(1, count + 1))

    def test_other_sessions_and_bundles_stay(self, table):
        for columns in ({}, {"bundle": "bar"}, {"session_id": "x"}):
            table.insert("a.txt", b"a", **columns)

        table.upgrade()

        assert Attachment.objects.filter(filename="a.txt").count() == 3

    def test_similar_names_stay(self, table):
        # A collation of 0.2's table may have taken them for one.
        for name in ("a", "A", "á", "a "):
            table.insert(name, b"a")
            table.insert("same", b"a", bundle=name)

        table.upgrade()

        assert Attachment.objects.count() == 8

    def test_table_of_an_old_character_set_takes_any_name(self, old_table, client):
        old_table.insert("Отчёт.txt", b"report")

        old_table.upgrade()
        upload(client, {"😀.png": b"smile"})

        assert names(client.get("/attachments/foo/")) == ["Отчёт.txt", "😀.png"]


@pytest.mark.database
class TestNormalization:
    NFD = normalize("NFD", "Отчёт é.txt")
    NFC = normalize("NFC", NFD)

    def test_names_and_bundles_become_nfc(self, table, client):
        table.insert(self.NFD, b"report", bundle=self.NFD)

        table.upgrade()

        for bundle in (self.NFC, self.NFD):
            assert names(client.get(f"/attachments/{bundle}/")) == [self.NFC]
            for name in (self.NFC, self.NFD):
                response = client.get(f"/attachments/{bundle}/{name}/")
                assert content(response) == b"report"

    @pytest.mark.parametrize(
        ("newer", "older"), [(NFC, NFD), (NFD, NFC)], ids=["nfc", "nfd"]
    )
    def test_pair_becomes_one(self, table, client, stored, newer, older):
        table.insert(older, b"older", age=2)
        pk = table.insert(newer, b"newer", age=1)

        table.upgrade()

        assert kept() == {self.NFC: pk}
        assert content(client.get(f"/attachments/foo/{self.NFC}/")) == b"newer"
        assert stored() == [Attachment.objects.get().file.name]

    def test_pair_of_bundles_becomes_one(self, table, client, stored):
        table.insert("a.txt", b"older", bundle=self.NFD, age=2)
        table.insert("a.txt", b"newer", bundle=self.NFC, age=1)
        table.insert("b.txt", b"other", bundle=self.NFD, age=1)

        table.upgrade()

        assert names(client.get(f"/attachments/{self.NFC}/")) == ["a.txt", "b.txt"]
        assert content(client.get(f"/attachments/{self.NFC}/a.txt/")) == b"newer"
        assert len(stored()) == 2

    def test_name_that_grows_finds_room(self, table):
        table.insert("\u0958" * 100, None)

        table.upgrade()

        assert list(kept()) == [normalize("NFC", "\u0958" * 100)]
        assert len(Attachment.objects.get().filename) == 200

    def test_name_that_grows_beyond_the_column_stays(self, table, client):
        table.insert("\U0001d160" * 100, b"a", file="a", bundle="\u0958" * 256)

        table.upgrade()

        row = Attachment.objects.get()
        assert row.filename == "\U0001d160" * 100
        assert row.bundle == "\u0958" * 256
        assert row.size == 1


@pytest.mark.database
class TestDuplicates:
    def test_newest_stays(self, table, stored):
        table.insert("a.txt", b"a", file="1", age=3)
        newest = table.insert("a.txt", b"a", file="2", age=1)
        table.insert("a.txt", b"a", file="3", age=2)

        table.upgrade()

        assert kept() == {"a.txt": newest}
        assert stored() == ["2"]

    @pytest.mark.parametrize("data", [b"a", None], ids=["file", "no file"])
    def test_last_of_one_moment_stays(self, table, data):
        table.insert("a.txt", data, file="1")
        last = table.insert("a.txt", data, file="2")

        table.upgrade()

        assert kept() == {"a.txt": last}

    def test_file_goes_before_age(self, table, stored):
        with_file = table.insert("a.txt", b"a", file="1", age=9)
        table.insert("a.txt", None, file="2")

        table.upgrade()

        assert kept() == {"a.txt": with_file}
        assert stored() == ["1"]

    def test_newest_of_those_without_file_stays(self, table):
        table.insert("a.txt", None, file="1", age=2)
        newest = table.insert("a.txt", None, file="2", age=1)

        table.upgrade()

        assert kept() == {"a.txt": newest}

    @pytest.mark.parametrize("file", ["folder", "", ".", "../outside", "/outside"])
    def test_file_goes_before_what_is_none(self, table, media, stored, file):
        (media / "folder").mkdir(parents=True)
        (media.parent / "outside").touch()
        with_file = table.insert("a.txt", b"a", file="1", age=9)
        table.insert("a.txt", None, file=file)

        table.upgrade()

        assert kept() == {"a.txt": with_file}
        assert stored() == ["1"]
        assert (media.parent / "outside").exists()

    def test_file_of_both_survives(self, table, client, stored):
        table.insert("a.txt", b"a", file="same", age=2)
        newest = table.insert("a.txt", b"a", file="same", age=1)
        table.insert("a.txt", b"a", file="other", age=3)

        table.upgrade()

        assert kept() == {"a.txt": newest}
        assert stored() == ["same"]
        assert content(client.get("/attachments/foo/a.txt/")) == b"a"

    def test_files_go_after_the_commit(self, table, settings, stored):
        settings.STORAGES = with_storage(Witness)
        table.insert("a.txt", b"a", file="1", age=2)
        table.insert("a.txt", b"a", file="2", age=1)
        Witness.seen = []

        table.upgrade()

        assert Witness.seen == [("1", False)]
        assert stored() == ["2"]

    def test_file_that_cannot_be_deleted_stops_nothing(
        self, table, settings, stored, caplog
    ):
        settings.STORAGES = with_storage(Undeletable)
        table.insert("a.txt", b"a", file="1", age=2)
        table.insert("a.txt", b"a", file="2", age=1)
        table.insert("b.txt", b"b", file="3")

        table.upgrade()

        assert set(kept()) == {"a.txt", "b.txt"}
        assert stored() == ["1", "2", "3"]
        assert "The stored file '1' could not be deleted." in caplog.messages


class Witness(FileSystemStorage):
    """Remembers what it deletes, and whether in a transaction."""

    seen = []

    def delete(self, name):
        self.seen.append((name, connection.in_atomic_block))
        super().delete(name)


class Undeletable(FileSystemStorage):
    """Deletes nothing."""

    def delete(self, name):
        raise PermissionError("Permission denied")


def with_storage(backend):
    return {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        APP: {"BACKEND": f"{__name__}.{backend.__name__}"},
    }


@pytest.mark.database
class TestStoredNames:
    @pytest.mark.parametrize(
        "file", ["../../outside", "../outside", "/outside", "a\\..\\b", "x" * 1000]
    )
    def test_name_that_leads_nowhere_is_a_missing_file(
        self, table, client, media, file
    ):
        (media.parent / "outside").write_text("not ours")
        table.insert("a.txt", None, file=file)

        table.upgrade()

        (listed,) = client.get("/attachments/foo/").json()
        assert (listed["name"], listed["size"]) == ("a.txt", 0)
        assert client.get("/attachments/foo/a.txt/").status_code == 404
        assert client.post("/attachments/foo/a.txt/delete/").json() == [True]
        assert (media.parent / "outside").read_text() == "not ours"

    @pytest.mark.parametrize("file", ["folder", "folder/..", "", "file/a"])
    def test_folder_is_a_missing_file(self, table, client, media, file):
        (media / "folder" / "full").mkdir(parents=True)
        (media / "file").touch()
        table.insert("a.txt", None, file=file)

        table.upgrade()

        (listed,) = client.get("/attachments/foo/").json()
        assert listed["size"] == 0
        assert client.get("/attachments/foo/a.txt/").status_code == 404
        assert client.post("/attachments/foo/a.txt/delete/").json() == [True]
        assert (media / "folder" / "full").is_dir()

    def test_name_with_a_line_break_is_sent(self, table, client):
        table.insert("a\nSet-Cookie: b=c.txt", b"a")

        table.upgrade()

        response = client.get("/attachments/foo/a%0ASet-Cookie:%20b=c.txt/")
        assert content(response) == b"a"
        assert "Set-Cookie" not in response.headers

    def test_name_of_a_file_in_the_root_is_kept(self, table, client):
        table.insert("a.txt", b"a", file="anywhere.txt")

        table.upgrade()

        assert content(client.get("/attachments/foo/a.txt/")) == b"a"


@pytest.mark.database
class TestBackwards:
    def test_table_is_02s_again(self, table):
        assert columns_of_table() == {
            *("id", "created", "session_id", "bundle", "file", "filename")
        }

    def test_rows_go_back_and_forth(self, client, transactional_db, table):
        table.upgrade()
        upload(client, {"spam.txt": b"spam\n", "Отчёт.pdf": b"%PDF-1.4\n"})
        before = client.get("/attachments/foo/").content

        call_command("migrate", APP, "0001", verbosity=0)
        old = list(table.rows.order_by("filename").values_list("filename", flat=True))
        call_command("migrate", verbosity=0)

        assert old == ["spam.txt", "Отчёт.pdf"]
        assert client.get("/attachments/foo/").content == before
        assert content(client.get("/attachments/foo/spam.txt/")) == b"spam\n"

    def test_each_step_goes_back_and_forth(self, table):
        table.insert("a.txt", b"a")

        for target in ("0002", "0001", "0003", "0002", "0004", "0003"):
            call_command("migrate", APP, target, verbosity=0)
        table.upgrade()

        assert Attachment.objects.get().size == 1


@pytest.mark.database
@pytest.mark.django_db
class TestMakemigrations:
    @pytest.mark.parametrize("auto_field", ["AutoField", "BigAutoField"])
    def test_nothing_is_left_to_migrate(self, settings, auto_field):
        settings.DEFAULT_AUTO_FIELD = f"django.db.models.{auto_field}"
        settings.STORAGES = with_storage(Undeletable)

        # Exits with 1 if something is.
        call_command("makemigrations", APP, check=True, dry_run=True)
