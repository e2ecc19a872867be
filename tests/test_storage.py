"""Which storage holds attachments, what files are called in it, and its failures."""

import copy
import errno
import io
import logging
import pickle
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, Storage, storages
from django.db import IntegrityError, connection

from session_attachments.files import storage
from session_attachments.files.storage import attachment_storage
from session_attachments.models import Attachment
from tests.clients import URL, content, names, problem, put, upload

NAME = re.compile(r"session_attachments/(\d{4}-\d\d-\d\d)/[0-9a-f]{32}")
FULL = (507, "insufficient_storage")


class FullDisk(FileSystemStorage):
    """Breaks off after the first bytes."""

    def _save(self, name, content):
        path = Path(self.path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.read(3))
        raise OSError(errno.ENOSPC, "No space left on device")


def shorten(file):
    """Change a file, as a validator should not."""
    file.truncate(2)


class Undeletable(FileSystemStorage):
    """Deletes nothing."""

    def delete(self, name):
        raise PermissionError(errno.EACCES, "Permission denied", name)


class Broken(FullDisk, Undeletable):
    """Neither writes nor deletes."""


class Remote(Storage):
    """Offers what Django's documentation asks of a storage, and nothing else."""

    files = {}

    def _open(self, name, mode):
        return ContentFile(self.files[name], name)

    def _save(self, name, content):
        self.files[name] = content.read()
        return name

    def delete(self, name):
        self.files.pop(name, None)

    def exists(self, name):
        return name in self.files


@pytest.fixture
def use_storage(settings, media):
    """Return a function that makes a class of this module the storage."""

    def use(backend, **options):
        settings.STORAGES = {
            **settings.STORAGES,
            "session_attachments": {
                "BACKEND": f"{__name__}.{backend.__name__}",
                "OPTIONS": options,
            },
        }

    return use


class TestAlias:
    def test_default_is_used_without_alias(self, media):
        assert attachment_storage() is storages["default"]
        assert Path(attachment_storage().location) == media

    def test_alias_is_used_if_defined(self, use_storage, tmp_path):
        use_storage(Undeletable, location=tmp_path / "private")

        assert attachment_storage() is storages["session_attachments"]

    @pytest.mark.django_db
    def test_upload_goes_to_the_alias(self, client, use_storage, stored, tmp_path):
        use_storage(Undeletable, location=tmp_path / "private")

        upload(client, {"spam.txt": b"spam\n"})

        (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
        assert NAME.fullmatch(path.relative_to(tmp_path / "private").as_posix())
        assert content(client.get(f"{URL}spam.txt/")) == b"spam\n"
        assert stored() == []

    @pytest.mark.django_db
    def test_storage_is_looked_up_at_each_use(self, client, settings, tmp_path):
        upload(client, {"spam.txt": b"spam\n"})
        attachment = Attachment.objects.get()
        first = attachment.file.path

        settings.MEDIA_ROOT = tmp_path / "second"
        upload(client, {"egg.txt": b"egg\n"})

        assert Path(first).is_file()
        assert client.get(f"{URL}spam.txt/").status_code == 404
        assert content(client.get(f"{URL}egg.txt/")) == b"egg\n"

    def test_storage_stays_out_of_migrations(self):
        field = Attachment._meta.get_field("file")

        assert "storage" not in field.deconstruct()[3]
        assert "storage" not in field.clone().deconstruct()[3]


class Midnight(datetime):
    """A clock half an hour past midnight UTC, when Chicago still has the day before."""

    @classmethod
    def now(cls, tz=None):
        return datetime(2026, 3, 1, 0, 30, tzinfo=UTC).astimezone(tz)


class TestName:
    def test_name_is_day_and_token(self):
        before = datetime.now(UTC).date().isoformat()

        name = storage.save(ContentFile(b"spam", "spam.txt"))

        day = NAME.fullmatch(name)[1]
        assert day in {datetime.now(UTC).date().isoformat(), before}

    def test_name_owes_nothing_to_the_client(self, stored):
        names = [
            storage.save(ContentFile(b"spam", name))
            for name in ("../../spam.txt", "a/b.html", "x" * 5000, "спам", None)
        ]

        assert all(NAME.fullmatch(name) for name in names)
        assert stored() == sorted(names)

    def test_names_differ(self):
        names = {storage.save(ContentFile(b"")) for _ in range(20)}

        assert len(names) == 20
        assert all(NAME.fullmatch(name) for name in names)

    def test_day_is_utc(self, monkeypatch, settings):
        settings.TIME_ZONE = "America/Chicago"
        monkeypatch.setattr(storage, "datetime", Midnight)

        name = storage.save(ContentFile(b"spam"))

        assert name.startswith("session_attachments/2026-03-01/")

    def test_file_is_written_from_its_beginning(self, remote):
        file = ContentFile(b"spam")
        file.seek(3)

        name = storage.save(file)

        assert remote == {name: b"spam"}


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
class TestFailures:
    def test_partial_file_is_removed(self, client, use_storage, stored):
        use_storage(FullDisk)

        assert problem(upload(client, {"spam.txt": b"spam\n"})) == FULL

        assert stored() == []
        assert names(client.get(URL)) == []

    @pytest.mark.fault(31)
    def test_attachment_survives_a_replacement_that_fails(
        self, client, use_storage, stored
    ):
        upload(client, {"spam.txt": b"old"})
        before = stored()
        use_storage(FullDisk)

        assert problem(upload(client, {"spam.txt": b"new one"})) == FULL

        assert stored() == before
        assert content(client.get(f"{URL}spam.txt/")) == b"old"

    def test_partial_file_that_cannot_be_removed_is_logged(
        self, client, use_storage, stored, caplog
    ):
        use_storage(Broken)

        assert problem(upload(client, {"spam.txt": b"spam\n"})) == FULL

        (name,) = stored()
        assert f"The stored file {name!r} could not be deleted." in caplog.messages
        assert names(client.get(URL)) == []

    def test_file_that_a_validator_has_shortened_is_no_lack_of_space(
        self, client, settings, temporary
    ):
        settings.SESSION_ATTACHMENTS_VALIDATORS = [f"{__name__}.shorten"]

        assert names(upload(client, {"spam.txt": b"spam\n"})) == ["spam.txt"]
        assert content(client.get(f"{URL}spam.txt/")) == b"sp"

    def test_deletion_that_fails_is_logged(self, client, use_storage, stored, caplog):
        upload(client, {"spam.txt": b"spam\n"})
        use_storage(Undeletable)

        response = client.post(f"{URL}spam.txt/delete/")

        assert response.content == b"[true]\r\n"
        assert names(client.get(URL)) == []
        (name,) = stored()
        (record,) = (r for r in caplog.records if r.name == storage.__name__)
        assert record.levelno == logging.ERROR
        assert record.getMessage() == (
            f"The stored file {name!r} could not be deleted."
        )
        assert isinstance(record.exc_info[1], PermissionError)

    def test_replacement_succeeds_where_deletion_fails(
        self, client, use_storage, stored
    ):
        upload(client, {"spam.txt": b"old"})
        use_storage(Undeletable)

        assert names(upload(client, {"spam.txt": b"new"})) == ["spam.txt"]

        assert content(client.get(f"{URL}spam.txt/")) == b"new"
        assert len(stored()) == 2

    def test_file_is_removed_if_its_row_is_refused(self, client, stored, rows_refused):
        with pytest.raises(IntegrityError, match="refused"):
            upload(client, {"spam.txt": b"spam\n"})

        assert stored() == []


@pytest.fixture
def rows_refused():
    """Let the insertion of attachments fail."""

    def refuse(execute, sql, params, many, context):
        if sql.startswith("INSERT INTO") and "session_attachments_attachment" in sql:
            raise IntegrityError("refused")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(refuse):
        yield


class TestDelete:
    def test_deletion_returns_nothing(self, stored):
        name = storage.save(ContentFile(b"spam"))

        assert storage.delete(name) is None
        assert stored() == []

    def test_missing_file_is_no_failure(self, caplog):
        assert storage.delete("session_attachments/2026-01-01/gone") is None
        assert caplog.records == []

    def test_failure_is_returned(self, use_storage):
        use_storage(Undeletable)

        assert isinstance(storage.delete("a"), PermissionError)

    @pytest.mark.parametrize("name", ["../../outside", "/outside", ""])
    def test_name_that_leaves_the_storage_is_refused(self, name, tmp_path):
        outside = tmp_path.parent / "outside"
        outside.write_text("not ours")

        error = storage.delete(name)

        assert error is not None
        assert outside.exists()


@pytest.mark.django_db
class TestAttachment:
    """What a project does with an attachment it holds."""

    @pytest.mark.parametrize(
        "duplicate",
        [copy.copy, copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a))],  # noqa: S301
        ids=["copy", "deepcopy", "pickle"],
    )
    def test_duplicate_reads_its_file(self, client, duplicate):
        upload(client, {"spam.txt": b"spam\n"})

        attachment = duplicate(Attachment.objects.get())

        with attachment.file.open() as file:
            assert file.read() == b"spam\n"
        assert attachment.file.storage is attachment_storage()

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize(
        "duplicate",
        [copy.copy, copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a))],  # noqa: S301
        ids=["copy", "deepcopy", "pickle"],
    )
    def test_duplicate_deletes_its_file(self, client, duplicate, stored):
        upload(client, {"spam.txt": b"spam\n"})

        duplicate(Attachment.objects.get()).delete()

        assert stored() == []
        assert names(client.get(URL)) == []


@pytest.fixture
def remote(use_storage, monkeypatch):
    use_storage(Remote)
    monkeypatch.setattr(Remote, "files", {})
    return Remote.files


@pytest.mark.django_db(transaction=True)
class TestPlainStorage:
    """A storage without path() and without any extra: the main job over HTTP."""

    def test_upload_and_download(self, client, remote):
        assert names(upload(client, {"spam.txt": b"spam\n"})) == ["spam.txt"]

        assert list(remote.values()) == [b"spam\n"]
        assert content(client.get(f"{URL}spam.txt/")) == b"spam\n"

    @pytest.mark.parametrize("size", [5000, 3_000_000])
    def test_put(self, client, remote, size):
        assert put(client, bytes(size)).status_code == 201

        assert list(remote.values()) == [bytes(size)]
        assert content(client.get(f"{URL}spam.txt")) == bytes(size)
        assert put(client, b"new").status_code == 200
        assert list(remote.values()) == [b"new"]

    def test_range(self, client, remote):
        upload(client, {"spam.txt": b"spam\n"})

        response = client.get(f"{URL}spam.txt/", headers={"Range": "bytes=1-2"})

        assert content(response) == b"pa"

    def test_replace(self, client, remote):
        upload(client, {"spam.txt": b"old"})

        upload(client, {"spam.txt": b"new"})

        assert list(remote.values()) == [b"new"]

    def test_delete(self, client, remote):
        upload(client, {"spam.txt": b"spam\n", "egg.txt": b"egg\n"})

        client.post(f"{URL}spam.txt/delete/")
        assert list(remote.values()) == [b"egg\n"]

        client.post(f"{URL}delete/")
        assert remote == {}

    def test_large_upload_from_a_temporary_file(self, client, remote, settings):
        settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 1000

        upload(client, {"spam.bin": io.BytesIO(b"x" * 100_000).getvalue()})

        assert [len(data) for data in remote.values()] == [100_000]
