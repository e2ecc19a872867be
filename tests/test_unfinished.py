"""Uploads that are not complete yet: their pieces, their finish, their end."""

import errno
from datetime import timedelta
from functools import partial
from io import StringIO

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.db import OperationalError, connection
from django.db.models.signals import pre_delete
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from session_attachments import unfinished as module
from session_attachments.bundles import Bundle
from session_attachments.exceptions import BadName, FileTooLarge
from session_attachments.files import storage
from session_attachments.models import (
    LIFETIME,
    Attachment,
    Piece,
    UnfinishedUpload,
)
from session_attachments.outdated import remove_outdated
from session_attachments.signals import attachment_stored
from tests.clients import (
    URL,
    Meanwhile,
    begin,
    begun,
    names,
    offset,
    problem,
    put,
    resume,
    shelf,
    upload,
)
from tests.engines import ENGINES, each
from tests.project.models import Contract
from tests.storages import (
    DAY,
    OLD,
    Calls,
    Lost,
    Names,
    at_once,
    attach,
    failing,
    store_in,
    unfinished,
)

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

MIB = 1 / 1024 / 1024
HOUR = timedelta(hours=1)
ALMOST = LIFETIME - timedelta(minutes=1)


def untouched(age):
    """Let the last byte of all uploads have come that long ago."""
    UnfinishedUpload.objects.update(touched=timezone.now() - age)


def seen(file):
    """Validate, and remember what is seen of a file."""
    SEEN.append((file.name, file.size, file.content_type, file.read()))


def no_spam(file):
    """Validate as a project would."""
    raise ValidationError("No spam, please.")


def no_socket(file):
    """Validate as what asks a scanner whose socket is not there."""
    raise FileNotFoundError(errno.ENOENT, "No such file or directory", "clamd.ctl")


SEEN = []
VALIDATORS = "SESSION_ATTACHMENTS_VALIDATORS"


class TestPieces:
    def test_each_is_stored_until_the_last_one_comes(self, client, stored):
        url = begun(client, 9)

        for number, byte in enumerate(b"spam\negg"):
            assert len(stored()) == number
            assert names(client.get(URL)) == []
            assert resume(client, url, number, bytes([byte])).status_code == 204
            assert offset(client, url) == number + 1
        resume(client, url, 8, b"\n")

        assert shelf(client) == {"spam.txt": b"spam\negg\n"}
        assert len(stored()) == 1
        assert not Piece.objects.exists()

    @pytest.mark.slow
    def test_thousands_of_one_byte_are_one_file(self, client, stored):
        # Hundreds elsewhere, where it would take minutes.
        content = bytes(range(200)) * (10 if connection.vendor == "sqlite" else 1)
        url = begun(client, len(content))

        for number, byte in enumerate(content):
            assert resume(client, url, number, bytes([byte])).status_code == 204

        assert shelf(client) == {"spam.txt": content}
        assert len(stored()) == 1

    def test_more_than_the_most_are_refused(self, client, stored):
        url = begun(client, 10_002)
        row = UnfinishedUpload.objects.get()
        row.offset = row.piece_count = module.MAX_PIECES - 1
        row.save()

        assert resume(client, url, 9_999, b"x").status_code == 204
        for piece in (b"x", b"xx"):
            response = resume(client, url, 10_000, piece)
            assert problem(response) == (413, "too_many_files")
            assert response.json()["limit"] == 10_000
        # It stays, until its owner gives it up.
        assert resume(client, url, 10_000, b"").status_code == 204
        assert offset(client, url) == 10_000
        assert len(stored()) == 1
        assert resume(client, url, method="DELETE").status_code == 204
        assert stored() == []

    def test_of_two_at_one_offset_the_first_counts(self, client, stored):
        url = begun(client, 9)
        other = partial(resume, client, url, 0, b"egg")
        body = Meanwhile(b"spam\n", other)

        response = resume(client, url, 0, b"", length=5, **{"wsgi.input": body})

        assert problem(response) == (409, "wrong_offset")
        assert response.headers["Upload-Offset"] == "3"
        assert len(stored()) == 1
        assert offset(client, url) == 3

    def test_piece_of_an_upload_that_ends_meanwhile_is_not_kept(self, client, stored):
        url = begun(client, 9, b"sp")
        end = partial(resume, client, url, method="DELETE")
        body = Meanwhile(b"am", end)

        response = resume(client, url, 2, b"", length=2, **{"wsgi.input": body})

        assert problem(response) == (404, "not_found")
        assert stored() == []

    def test_piece_that_cannot_be_stored_does_not_count(self, client, settings, stored):
        url = begun(client, 9)
        store_in(settings, failing("saved", OSError(errno.ENOSPC, "no space here")))

        response = resume(client, url, 0, b"spam\n")

        assert problem(response) == (507, "insufficient_storage")
        store_in(settings, Calls())
        assert offset(client, url) == 0
        assert stored() == []

    @pytest.mark.parametrize("size", [5, 9], ids=["whole", "part"])
    def test_creation_whose_piece_cannot_be_stored_leaves_nothing(
        self, client, settings, stored, size
    ):
        store_in(settings, failing("saved", OSError(errno.ENOSPC, "no space here")))

        response = begin(client, size, body=b"spam\n")

        assert problem(response) == (507, "insufficient_storage")
        assert not UnfinishedUpload.objects.exists()
        assert stored() == []

    def test_transaction_that_lost_is_done_again(self, client, monkeypatch, stored):
        url = begun(client, 9)
        lost = [OperationalError("lost")]
        lost[0].__cause__ = Lost()
        create = Piece.save

        def save(self, **options):
            if lost:
                raise lost.pop()
            create(self, **options)

        monkeypatch.setattr(Piece, "save", save)

        assert resume(client, url, 0, b"spam\n").status_code == 204
        assert offset(client, url) == 5
        assert len(stored()) == Piece.objects.count() == 1

    def test_one_has_a_name(self):
        unfinished(b"spam\n", filename="a.txt")

        assert str(UnfinishedUpload.objects.get()) == "a.txt"
        assert str(Piece.objects.get()).startswith("session_attachments/")


class TestFinish:
    @pytest.mark.parametrize("pieces", [[], [b"%PDF-"], [b"%", b"PDF", b"-1.4\n"]])
    def test_validators_see_the_whole_file(self, client, settings, pieces):
        setattr(settings, VALIDATORS, [f"{__name__}.seen"])
        SEEN.clear()
        whole = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"
        url = begun(client, len(whole), *pieces, name="a.pdf")
        came = sum(map(len, pieces))
        assert SEEN == []

        resume(client, url, came, whole[came:])

        assert [("a.pdf", len(whole), "application/pdf", whole)] == SEEN
        assert [row["mimetype"] for row in client.get(URL).json()] == [
            "application/pdf"
        ]

    def test_upload_is_where_it_was_until_the_attachment_is_there(
        self, client, settings
    ):
        url = begun(client, 9, b"spam\n")
        asked = []

        def watch(operation, name):
            if operation == "saved":
                asked.append((offset(client, url), names(client.get(URL))))

        store_in(settings, watch)

        resume(client, url, 5, b"egg\n")

        assert asked == [(5, [])]
        assert offset(client, url) == 9

    def test_project_is_told(self, client, removed):
        heard = []

        def remember(attachment, **kwargs):
            heard.append(attachment.filename)

        attachment_stored.connect(remember)
        upload(client, {"spam.txt": b"old"})
        old = Attachment.objects.get()
        url = begun(client, 9, b"spam\n")
        assert heard == ["spam.txt"]
        resume(client, url, 5, b"egg\n")
        attachment_stored.disconnect(remember)

        assert heard == ["spam.txt", "spam.txt"]
        assert removed == [(old.pk, "spam.txt")]

    def test_attachment_of_the_name_is_replaced_then(self, client, stored):
        upload(client, {"egg.txt": b"egg\n", "spam.txt": b"old"})
        url = begun(client, 9, b"spam\n")
        assert shelf(client) == {"egg.txt": b"egg\n", "spam.txt": b"old"}

        resume(client, url, 5, b"new\n")

        assert shelf(client) == {"egg.txt": b"egg\n", "spam.txt": b"spam\nnew\n"}
        assert len(stored()) == 2

    def test_large_pieces_are_joined_in_blocks(self, client, settings, stored):
        settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 1000
        parts = [bytes([number]) * 300_000 for number in range(4)]
        url = begun(client, 1_200_000, *parts[:3])

        assert resume(client, url, 900_000, parts[3]).status_code == 204

        assert shelf(client) == {"spam.txt": b"".join(parts)}
        assert len(stored()) == 1

    def test_single_piece_is_moved(self, client, settings, temporary, media, stored):
        settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 0
        waiting = []

        def watch(operation, name):
            if operation == "save":
                waiting.extend(path.stat().st_ino for path in temporary.iterdir())

        store_in(settings, watch)
        url = begun(client, 5)
        resume(client, url, 0, b"spam\n")

        assert [(media / name).stat().st_ino for name in stored()] == waiting

    def test_transaction_that_lost_is_done_again(self, client, monkeypatch, stored):
        url = begun(client, 9, b"spam\n")
        lost = [OperationalError("lost")]
        lost[0].__cause__ = Lost()
        add = type(Attachment.objects.all()).store

        def store(self, attachments):
            if lost:
                raise lost.pop()
            return add(self, attachments)

        monkeypatch.setattr(type(Attachment.objects.all()), "store", store)

        assert resume(client, url, 5, b"egg\n").status_code == 204
        assert shelf(client) == {"spam.txt": b"spam\negg\n"}
        assert len(stored()) == 1


def interrupted(client, url, at, body, event):
    """Send the last piece; ``event`` happens after it came. Return the answer."""
    body_ = {"wsgi.input": Meanwhile(body, event)}
    return resume(client, url, at, b"", length=len(body), **body_)


class TestStorage:
    def test_no_more_is_asked_than_every_storage_does(self, client, settings):
        backend = "django.core.files.storage.InMemoryStorage"
        settings.STORAGES = {
            **settings.STORAGES,
            "session_attachments": {"BACKEND": backend},
        }
        url = begun(client, 9, b"sp", b"am\n")

        assert resume(client, url, 5, b"egg\n").status_code == 204

        assert shelf(client) == {"spam.txt": b"spam\negg\n"}
        folders, _ = storage.attachment_storage().listdir("session_attachments")
        (folder,) = folders
        _, files = storage.attachment_storage().listdir(f"session_attachments/{folder}")
        assert len(files) == 1


class TestFinishThatFails:
    def test_refused_file_ends_the_upload(self, client, settings, stored):
        upload(client, {"spam.txt": b"old"})
        before = stored()
        url = begun(client, 9, b"spam\n")
        setattr(settings, VALIDATORS, [f"{__name__}.no_spam"])

        response = resume(client, url, 5, b"egg\n")

        assert problem(response) == (400, "invalid")
        assert offset(client, url) is None
        assert stored() == before
        assert not UnfinishedUpload.objects.exists()

    @pytest.mark.parametrize(
        ("setting", "limit", "code"),
        [
            ("MAX_FILE_SIZE", 8 * MIB, "file_too_large"),
            ("MAX_BUNDLE_SIZE", 8 * MIB, "bundle_too_large"),
            ("MAX_SESSION_SIZE", 8 * MIB, "session_too_large"),
            ("MAX_BUNDLE_FILES", 0, "too_many_files"),
        ],
    )
    def test_limit_that_was_lowered_ends_it(
        self, client, settings, stored, setting, limit, code
    ):
        url = begun(client, 9, b"spam\n")
        setattr(settings, f"SESSION_ATTACHMENTS_{setting}", limit)

        assert problem(resume(client, url, 5, b"egg\n")) == (413, code)
        assert offset(client, url) is None
        assert stored() == []

    def test_protected_attachment_leaves_it(self, client, stored):
        upload(client, {"spam.txt": b"old"})
        contract = Contract.objects.create(attachment=Attachment.objects.get())
        url = begun(client, 9, b"spam\n")
        before = stored()

        assert problem(resume(client, url, 5, b"egg\n")) == (409, "protected")
        assert offset(client, url) == 5
        assert stored() == before
        contract.delete()
        assert resume(client, url, 5, b"egg\n").status_code == 204
        assert shelf(client) == {"spam.txt": b"spam\negg\n"}
        assert len(stored()) == 1

    def test_full_disk_leaves_it(self, client, settings, stored):
        url = begun(client, 9, b"spam\n")
        before = stored()
        store_in(settings, failing("saved", OSError(errno.ENOSPC, "no space here")))

        response = resume(client, url, 5, b"egg\n")

        assert problem(response) == (507, "insufficient_storage")
        store_in(settings, Calls())
        assert offset(client, url) == 5
        assert stored() == before
        assert resume(client, url, 5, b"egg\n").status_code == 204
        assert shelf(client) == {"spam.txt": b"spam\negg\n"}

    @pytest.mark.parametrize("operation", ["save", "open"])
    def test_storage_that_fails_leaves_it(self, client, settings, stored, operation):
        client.raise_request_exception = False
        url = begun(client, 9, b"spam\n")
        before = stored()
        store_in(settings, failing(operation, PermissionError("read only")))

        assert resume(client, url, 5, b"egg\n").status_code == 500
        store_in(settings, Calls())
        assert offset(client, url) == 5
        assert stored() == before

    def test_storage_that_is_not_there_leaves_it(self, client, settings, stored):
        client.raise_request_exception = False
        url = begun(client, 9, b"spam\n")
        store_in(settings, failing("save", FileNotFoundError("not mounted")))

        assert resume(client, url, 5, b"egg\n").status_code == 500
        assert offset(client, url) == 5

    def test_validator_that_fails_leaves_it(self, client, settings):
        client.raise_request_exception = False
        url = begun(client, 9, b"spam\n")
        setattr(settings, VALIDATORS, [f"{__name__}.no_socket"])

        assert resume(client, url, 5, b"egg\n").status_code == 500
        assert offset(client, url) == 5

    @pytest.mark.parametrize("lost", ["missing", "shorter", "empty"])
    def test_piece_that_is_lost_ends_it(self, client, media, stored, caplog, lost):
        url = begun(client, 14, b"spam\n", b"egg\n")
        path = media / str(Piece.objects.get(offset=5).file)
        if lost == "missing":
            path.unlink()
        else:
            path.write_bytes(b"egg"[: 0 if lost == "empty" else 3])

        response = resume(client, url, 9, b"bacon")

        assert problem(response) == (404, "not_found")
        assert "is lost" in caplog.text
        assert offset(client, url) is None
        assert stored() == []
        assert names(client.get(URL)) == []

    def test_piece_that_became_longer_is_cut(self, client, media):
        url = begun(client, 14, b"spam\n", b"egg\n")
        with (media / str(Piece.objects.get(offset=5).file)).open("ab") as file:
            file.write(b"more")

        resume(client, url, 9, b"bacon")

        assert shelf(client) == {"spam.txt": b"spam\negg\nbacon"}

    @pytest.mark.parametrize("piece", [b"egg!", b"egg"], ids=["last", "other"])
    def test_who_comes_second_is_told_so(self, client, stored, piece):
        url = begun(client, 9, b"spam\n")
        first = partial(resume, client, url, 5, b"egg\n")

        response = interrupted(client, url, 5, piece, first)

        assert problem(response) == (409, "wrong_offset")
        assert response.headers["Upload-Offset"] == "9"
        assert shelf(client) == {"spam.txt": b"spam\negg\n"}
        assert len(stored()) == 1

    @pytest.mark.parametrize("piece", [b"egg!", b"egg"], ids=["last", "other"])
    def test_who_comes_after_the_attachment_is_gone_too(self, client, stored, piece):
        url = begun(client, 9, b"spam\n")

        def finish():
            resume(client, url, 5, b"egg\n")
            upload(client, {"spam.txt": b"newer"})

        response = interrupted(client, url, 5, piece, finish)

        assert problem(response) == (404, "not_found")
        assert shelf(client) == {"spam.txt": b"newer"}
        assert len(stored()) == 1

    def test_who_is_refused_ends_no_upload_that_moved(self, client, settings, stored):
        url = begun(client, 9, b"spam\n")
        setattr(settings, VALIDATORS, [f"{__name__}.no_spam"])

        response = interrupted(
            client, url, 5, b"egg!", partial(resume, client, url, 5, b"e")
        )

        assert problem(response) == (409, "wrong_offset")
        assert offset(client, url) == 6
        assert len(stored()) == 2

    @pytest.mark.parametrize("validators", [[], [f"{__name__}.no_spam"]])
    def test_upload_that_ends_meanwhile_is_gone(
        self, client, settings, stored, validators
    ):
        url = begun(client, 9, b"spam\n")
        setattr(settings, VALIDATORS, validators)
        end = partial(resume, client, url, method="DELETE")

        response = interrupted(client, url, 5, b"egg\n", end)

        assert problem(response) == (404, "not_found")
        assert stored() == []
        assert names(client.get(URL)) == []

    @pytest.mark.parametrize("piece", [b"egg\n", b"egg"], ids=["last", "other"])
    def test_upload_that_expires_meanwhile_is_gone(self, client, stored, piece):
        url = begun(client, 9, b"spam\n")
        expire = partial(untouched, LIFETIME + HOUR)

        response = interrupted(client, url, 5, piece, expire)

        assert problem(response) == (404, "not_found")
        assert len(stored()) == 1
        assert names(client.get(URL)) == []


def replace(client):
    """Replace the attachment."""
    upload(client, {"spam.txt": b"newer"})


def take(client):
    """Take the attachments as a project does."""
    with Bundle(client.session, "foo").take() as attachments:
        assert len(attachments) == 1


def remove_it(client):
    """Remove the attachment."""
    client.delete(f"{URL}spam.txt/")


def clear(client):
    """Remove the bundle."""
    client.delete(URL)


GONE = [replace, take, remove_it, clear]


class TestFinished:
    @pytest.mark.parametrize("pieces", [[b"spam\n"], [b"sp", b"am\n"]])
    def test_it_is_known_as_long_as_its_attachment(self, client, pieces):
        url = begun(client, 5, *pieces)
        upload(client, {"egg.txt": b"egg\n"})

        response = resume(client, url, method="HEAD")

        assert response.headers["Upload-Offset"] == "5"
        assert response.headers["Upload-Length"] == "5"

    @pytest.mark.parametrize("go", GONE)
    @pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
    def test_then_no_more(self, client, stored, go, method):
        url = begun(client, 5, b"spam\n")
        go(client)
        before = shelf(client), stored()

        assert resume(client, url, 5, method=method).status_code == 404
        assert (shelf(client), stored()) == before

    def test_delete_removes_that_very_attachment(self, client, stored, removed):
        upload(client, {"egg.txt": b"egg\n"})
        url = begun(client, 5, b"spam\n")
        key = Attachment.objects.get(filename="spam.txt").pk

        assert resume(client, url, method="DELETE").status_code == 204

        assert shelf(client) == {"egg.txt": b"egg\n"}
        assert len(stored()) == 1
        assert removed == [(key, "spam.txt")]
        assert resume(client, url, method="DELETE").status_code == 404

    @pytest.mark.parametrize("go", GONE[:-1])
    def test_delete_of_one_that_goes_meanwhile(self, client, go):
        url = begun(client, 5, b"spam\n")
        row = UnfinishedUpload.objects.get()
        go(client)
        before = shelf(client)

        with pytest.raises(module.AttachmentNotFound):
            module.cancel(row)

        assert shelf(client) == before
        assert offset(client, url) is None

    def test_delete_of_what_is_protected(self, client):
        url = begun(client, 5, b"spam\n")
        Contract.objects.create(attachment=Attachment.objects.get())

        response = resume(client, url, method="DELETE")

        assert problem(response) == (409, "protected")
        assert offset(client, url) == 5

    def test_memory_ends_a_day_later(self, client):
        url = begun(client, 5, b"spam\n")
        untouched(ALMOST)
        assert offset(client, url) == 5

        untouched(LIFETIME)

        assert offset(client, url) is None
        assert shelf(client) == {"spam.txt": b"spam\n"}


class TestDelete:
    def test_upload_ends_with_its_pieces(self, client, stored):
        other = begun(client, 9, b"egg")
        kept = stored()
        url = begun(client, 9, b"spam", b"\n")

        response = resume(client, url, method="DELETE")

        assert response.status_code == 204
        assert "Content-Type" not in response.headers
        assert offset(client, url) is None
        assert offset(client, other) == 3
        assert stored() == kept

    def test_one_that_has_ended_meanwhile(self, client):
        url = begun(client, 9, b"spam")
        row = UnfinishedUpload.objects.get()
        resume(client, url, method="DELETE")

        with pytest.raises(module.AttachmentNotFound):
            module.cancel(row)

    def test_piece_whose_file_stays_is_left_to_the_command(
        self, client, settings, stored, caplog
    ):
        url = begun(client, 9, b"spam")
        store_in(settings, failing("delete", PermissionError("read only")))

        assert resume(client, url, method="DELETE").status_code == 204
        assert "could not be deleted" in caplog.text
        assert len(stored()) == 1
        assert not Piece.objects.exists()


class TestClear:
    @pytest.mark.parametrize(
        "clear",
        [partial(Client.delete, path=URL), partial(Client.post, path=f"{URL}delete/")],
    )
    def test_uploads_of_the_bundle_end(self, client, stored, clear):
        elsewhere = begun(client, 9, b"egg", url="/attachments/bar/")
        kept = stored()
        upload(client, {"egg.txt": b"egg\n"})
        url = begun(client, 9, b"spam\n")

        response = clear(client)

        assert response.content == b"[[true]]\r\n"
        assert offset(client, url) is None
        assert offset(client, elsewhere) == 3
        assert stored() == kept
        assert client.delete(URL).content == b"[]\r\n"

    def test_nothing_ends_if_an_attachment_is_protected(self, client):
        upload(client, {"egg.txt": b"egg\n"})
        Contract.objects.create(attachment=Attachment.objects.get())
        url = begun(client, 9, b"spam\n")

        assert problem(client.delete(URL)) == (409, "protected")
        assert offset(client, url) == 5

    @pytest.mark.parametrize("go", [remove_it, take])
    def test_they_do_not_end_with_an_attachment(self, client, go):
        upload(client, {"spam.txt": b"spam\n"})
        url = begun(client, 9, b"spam\n")

        go(client)

        assert offset(client, url) == 5

    def test_they_do_not_end_with_some_of_the_attachments(self, client):
        upload(client, {"spam.txt": b"spam\n", "egg.txt": b"egg\n"})
        url = begun(client, 9, b"spam\n")
        bundle = Bundle(client.session, "foo")

        assert bundle.narrowed_to([bundle.get("spam.txt")]).clear() == 1

        assert offset(client, url) == 5

    def test_nobody_else_ends_any(self, client):
        url = begun(client, 9, b"spam\n")
        other = Client()
        upload(other, {"egg.txt": b"egg\n"})

        assert other.delete(URL).content == b"[[true]]\r\n"
        assert Client().delete(URL).content == b"[]\r\n"
        assert client.delete("/attachments/f%0Ao/").content == b"[]\r\n"
        assert offset(client, url) == 5


LIMITS = {
    "SESSION_ATTACHMENTS_MAX_SESSION_SIZE": 10 * MIB,
    "SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE": 10 * MIB,
    "SESSION_ATTACHMENTS_MAX_BUNDLE_FILES": 1,
}
CODES = {
    "SESSION_ATTACHMENTS_MAX_SESSION_SIZE": "session_too_large",
    "SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE": "bundle_too_large",
    "SESSION_ATTACHMENTS_MAX_BUNDLE_FILES": "too_many_files",
}


@pytest.fixture(params=LIMITS)
def quota(request, settings):
    """Set a quota, into which ten bytes, or one file, fit; return what refuses more."""
    setattr(settings, request.param, LIMITS[request.param])
    return 413, CODES[request.param]


class TestReservation:
    def test_it_counts_from_the_creation_on(self, client, quota):
        begun(client, 8)

        assert problem(begin(client, 3, name="b")) == quota
        assert problem(upload(client, {"b": b"egg"})) == quota
        assert problem(put(client, b"egg")) == quota
        assert UnfinishedUpload.objects.count() == 1

    def test_it_does_not_count_beside_its_own_attachment(self, client, quota):
        url = begun(client, 10, b"12345")

        assert resume(client, url, 5, b"67890").status_code == 204
        assert problem(begin(client, 3, name="b")) == quota

    def test_what_it_will_replace_does_not_count(self, client, quota):
        upload(client, {"spam.txt": b"12345678"})

        url = begun(client, 9, b"spam\n")
        assert resume(client, url, 5, b"egg\n").status_code == 204
        assert shelf(client) == {"spam.txt": b"spam\negg\n"}

    def test_namesake_in_another_bundle_counts(self, client, settings):
        settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = 10 * MIB
        upload(client, {"spam.txt": b"12345678"}, url="/attachments/bar/")

        assert problem(begin(client, 3)) == (413, "session_too_large")

    def test_others_do_not_count(self, client, quota):
        begun(Client(), 8)

        assert begin(client, 8).status_code == 201

    @pytest.mark.parametrize(
        "end",
        [
            lambda client, url: resume(client, url, method="DELETE"),
            lambda client, url: client.delete(URL),
            lambda client, url: untouched(LIFETIME),
        ],
        ids=["delete", "clear", "expiry"],
    )
    def test_it_ends_with_the_upload(self, client, quota, end):
        url = begun(client, 8)
        assert problem(begin(client, 8, name="b")) == quota

        end(client, url)

        assert begin(client, 8, name="b").status_code == 201

    def test_parallel_creations_do_not_exceed_it(self, client, quota):
        client.get(URL)

        def create(number):
            other = Client()
            other.cookies = client.cookies
            return begin(other, 8, name=f"{number}").status_code

        statuses = at_once(*(partial(create, number) for number in range(6)))

        assert sorted(statuses) == [201, *[413] * 5]

    def test_session_has_so_many(self, client, monkeypatch):
        key = client.get(URL) and client.session["_session_attachments_key"]
        for number in range(module.MAX_UPLOADS - 1):
            unfinished(session_id=key, bundle=f"{number}")
        unfinished(session_id=key, age=LIFETIME)
        unfinished(session_id=key, offset=100, stored="x")
        unfinished(session_id="another")

        assert begin(client, 5).status_code == 201
        response = begin(client, 5)
        assert problem(response) == (413, "too_many_files")
        assert response.json()["limit"] == 100


class TestExpiry:
    def test_it_is_a_day_after_the_last_byte(self, client):
        url = begun(client, 9)
        untouched(ALMOST)
        assert resume(client, url, 0, b"spam").status_code == 204
        untouched(ALMOST)
        assert resume(client, url, 4, b"").status_code == 204
        assert offset(client, url) == 4

        untouched(LIFETIME)

        for method in ("HEAD", "PATCH", "DELETE"):
            assert resume(client, url, 4, b"egg", method=method).status_code == 404
        assert UnfinishedUpload.objects.count() == 1


class TestCommand:
    @pytest.mark.parametrize("older_than", [timedelta(0), DAY, timedelta(days=999)])
    def test_expired_uploads_go_with_their_pieces(self, stored, older_than):
        unfinished(b"spam\n", age=ALMOST, filename="live.txt")
        kept = stored()
        unfinished(b"egg\n", b"bacon", age=LIFETIME + HOUR, filename="old.txt")
        unfinished(offset=100, stored="x", age=LIFETIME + HOUR)
        gone = Names()

        outcome = remove_outdated(older_than, report=gone)

        assert (outcome.uploads, outcome.size, outcome.failures) == (1, 9, [])
        assert gone == ["old.txt"]
        assert UnfinishedUpload.objects.get().filename == "live.txt"
        assert stored() == kept
        assert Piece.objects.count() == 1

    def test_dry_run_changes_nothing(self, stored):
        unfinished(b"egg\n", age=LIFETIME + HOUR)
        before = stored()

        outcome = remove_outdated(DAY, dry_run=True)

        assert (outcome.uploads, outcome.size) == (1, 4)
        assert stored() == before
        assert UnfinishedUpload.objects.exists()

    def test_command_names_them(self):
        unfinished(b"egg\n", age=LIFETIME + HOUR)
        line = "1 unfinished upload and 0 files without an attachment, 4 bytes.\n"
        for options, verb, summary in (
            (["--dry-run"], "would delete", "Would remove"),
            ([], "delete", "Removed"),
        ):
            output = StringIO()
            call_command(
                "remove_outdated_attachments",
                "--older-than=9",
                "--verbose",
                *options,
                stdout=output,
            )
            assert output.getvalue() == (
                f"{verb} spam.txt (4 bytes, an unfinished upload)\n"
                f"{summary} 0 attachments, {line}"
            )

    def test_many_go_in_batches(self, stored):
        for _ in range(25):
            unfinished(b"egg\n", age=LIFETIME + HOUR)

        assert remove_outdated(DAY).uploads == 25
        assert stored() == []

    def test_upload_that_moved_meanwhile_stays(self, monkeypatch):
        upload = unfinished(b"egg\n", age=LIFETIME + HOUR)
        lockable = module.lockable

        def moved(rows, **options):
            UnfinishedUpload.objects.filter(pk=upload.pk).update(touched=timezone.now())
            return lockable(rows, **options)

        monkeypatch.setattr(module, "lockable", moved)

        assert remove_outdated(DAY).uploads == 0
        assert UnfinishedUpload.objects.exists()

    def test_pieces_in_use_are_not_without_an_attachment(self, media, stored):
        upload = unfinished(size=9)
        name = storage.attachment_storage().save(f"{OLD}/piece", ContentFile(b"egg\n"))
        upload.pieces.create(offset=0, size=4, file=name)
        storage.attachment_storage().save(f"{OLD}/orphan", ContentFile(b"x"))

        outcome = remove_outdated(DAY)

        assert (outcome.files, outcome.size) == (1, 1)
        assert stored() == [name]

    def test_piece_that_stays_is_reported_once(self, settings, stored):
        upload = unfinished(b"egg\n", age=LIFETIME + HOUR)
        storage.attachment_storage().save(f"{OLD}/piece", ContentFile(b"bacon"))
        upload.pieces.create(offset=4, size=5, file=f"{OLD}/piece")
        UnfinishedUpload.objects.update(offset=9)
        store_in(settings, failing("delete", PermissionError("read only"), f"{OLD}/p"))

        outcome = remove_outdated(timedelta(0))

        assert outcome.failures == [
            f"The file '{OLD}/piece' could not be deleted: read only"
        ]
        assert (outcome.uploads, outcome.files, outcome.size) == (1, 0, 4)

    def test_row_that_cannot_be_removed_does_not_stop_the_rest(self, stored):
        def refuse(instance, **kwargs):
            if instance.filename == "bad.txt":
                raise OperationalError("no")

        unfinished(b"egg\n", age=LIFETIME + HOUR)
        unfinished(b"egg", age=LIFETIME + HOUR, filename="bad.txt")
        unfinished(b"egg\n", age=LIFETIME + HOUR)
        pre_delete.connect(refuse, sender=UnfinishedUpload)
        try:
            outcome = remove_outdated(DAY)
        finally:
            pre_delete.disconnect(refuse, sender=UnfinishedUpload)

        assert outcome.failures == ["'bad.txt' could not be removed: no"]
        assert (outcome.uploads, outcome.size) == (2, 8)
        assert len(stored()) == 1


class TestSession:
    @each(ENGINES)
    def test_upload_goes_on_in_every_engine(self, engine, client):
        url = begun(client, 9, b"spam\n")

        assert resume(client, url, 5, b"egg\n").status_code == 204
        assert shelf(client) == {"spam.txt": b"spam\negg\n"}

    @each(ENGINES)
    def test_upload_goes_on_after_a_login(self, engine, client):
        url = begun(client, 14, b"spam\n")
        user = get_user_model().objects.create_user("ann")
        client.force_login(user)
        assert resume(client, url, 5, b"egg\n").status_code == 204
        session = client.session
        session.cycle_key()
        session.save()
        client.cookies["sessionid"] = session.session_key

        assert resume(client, url, 9, b"bacon").status_code == 204
        assert shelf(client) == {"spam.txt": b"spam\negg\nbacon"}

    @each(ENGINES)
    def test_logout_loses_it(self, engine, client):
        url = begun(client, 9, b"spam\n")
        client.logout()

        assert offset(client, url) is None

    def test_logout_while_a_piece_comes(self, client):
        url = begun(client, 9, b"spam\n")
        client.force_login(get_user_model().objects.create_user("ann"))

        response = interrupted(client, url, 5, b"egg\n", client.logout)

        assert response.status_code == 204
        assert offset(client, url) is None
        assert Attachment.objects.get().size == 9


def test_it_is_read_from_the_database_that_is_written(client, settings, stored):
    # The other one, from which this project reads, is not there.
    settings.DATABASE_ROUTERS = ["tests.system.served.Replica"]
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"

    url = begun(client, 9, b"spam\n")
    assert offset(client, url) == 5
    assert resume(client, url, 5, b"egg\n").status_code == 204
    assert offset(client, url) == 9
    assert resume(client, url, method="DELETE").status_code == 204
    assert offset(client, url) is None
    assert stored() == []


class TestStatements:
    def test_few_are_needed(self, client, settings):
        settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = 1
        url = begun(client, 9)

        counts = []
        single = begun(client, 5, name="single")
        for to, at, piece in (
            (url, 0, b"spam\n"),
            (url, 5, b"egg\n"),
            (single, 0, b"spam\n"),
        ):
            with CaptureQueriesContext(connection) as queries:
                resume(client, to, at, piece)
            counts.append(len(queries))

        # With BEGIN and COMMIT, and with one of the session engine. Only SQLite needs
        # none for the lock; MariaDB is told something when it is connected again.
        expected = {
            "sqlite": [6, 11, 9],
            "postgresql": [6, 12, 10],
            "mysql": [7, 13, 11],
        }
        assert counts == expected[connection.vendor]


@pytest.mark.parametrize(
    ("name", "size", "error"),
    [
        ("a/b", 5, BadName),
        ("n" * 256, 5, BadName),
        ("spam.txt", 50 * 1024 * 1024 + 1, FileTooLarge),
    ],
)
def test_project_is_refused_what_a_form_is(client, name, size, error):
    with pytest.raises(error):
        Bundle(client.session, "foo").begin_upload(name, size, "")

    assert not UnfinishedUpload.objects.exists()


def test_project_without_a_request(client, stored):
    attach("egg.txt", b"egg\n")
    bundle = Bundle(client.session, "foo")

    row = bundle.begin_upload("spam.txt", 5, "")
    assert bundle.upload(row.upload_id) == row
    module.add(row, ContentFile(b"spam\n", "other.txt"))

    assert [attachment.filename for attachment in bundle] == ["spam.txt"]
    assert len(stored()) == 2
