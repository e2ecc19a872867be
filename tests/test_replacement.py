"""What is stored for whoever stores: what it replaces, and what comes before it."""

import pytest
from django.core.files.base import ContentFile
from django.db import OperationalError, connection

from session_attachments.exceptions import BundleTooLarge
from session_attachments.models import Attachment
from session_attachments.replacement import store
from tests.storages import Lost, attach

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

NEW = {"egg.txt": ContentFile(b"new egg"), "spam.txt": ContentFile(b"new spam")}


def shelf():
    """Return what there is: names and contents."""
    contents = {}
    for row in Attachment.objects.all():
        with row.open() as file:
            contents[file.name] = file.read()
    return contents


def note(attachments):
    """Insert another attachment."""
    assert connection.in_atomic_block
    attach("note.txt", b"note")


def test_names_of_what_was_replaced_are_told():
    attach("spam.txt", b"old")
    attach("bacon.txt", b"old")

    stored = store("key", "foo", NEW)

    assert [row.filename for row in stored.attachments] == ["egg.txt", "spam.txt"]
    assert stored.replaced == {"spam.txt"}
    assert store("key", "bar", NEW).replaced == set()


def test_first_is_done_in_the_transaction():
    store("key", "foo", NEW, first=note)

    assert shelf() == {
        "egg.txt": b"new egg", "note.txt": b"note", "spam.txt": b"new spam",
    }  # fmt: skip


def test_first_is_done_again_at_each_try():
    tries = []

    def first(attachments):
        note(attachments)
        tries.append(len(shelf()))
        if len(tries) < 3:
            raise OperationalError("lost") from Lost()

    store("key", "foo", NEW, first=first)

    assert tries == [1, 1, 1]
    assert len(shelf()) == 3


def test_first_is_undone_with_all_else(settings, stored):
    attach("spam.txt", b"old")
    before = stored()
    settings.SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE = 16 / 1024 / 1024

    def first(attachments):
        Attachment.objects.get(filename="spam.txt").delete()

    with pytest.raises(BundleTooLarge):
        store("key", "foo", NEW | {"c": ContentFile(b"cc")}, first=first)

    assert shelf() == {"spam.txt": b"old"}
    assert stored() == before


def test_first_may_refuse(stored):
    def first(attachments):
        raise LookupError("another one was faster")

    with pytest.raises(LookupError):
        store("key", "foo", NEW, first=first)

    assert shelf() == {}
    assert stored() == []
