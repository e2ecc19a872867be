"""The signals: what is sent, when, with what; and receivers that fail."""

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.db import connection, transaction

from session_attachments.bundles import Bundle
from session_attachments.models import Attachment
from session_attachments.signals import attachment_removed, attachment_stored
from tests.clients import URL, content, names, upload
from tests.project.models import Contract, Note, Scan

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

STORED, REMOVED = "stored", "removed"


class Rollback(Exception):
    """Ends a transaction."""


class Ear:
    """A project's receiver, which writes down what it hears."""

    def __init__(self):
        self.heard = []
        self.attachments = []
        self.senders = set()
        self.in_transaction = set()

    def stored(self, sender, attachment, **kwargs):
        self._note(STORED, sender, attachment)

    def removed(self, sender, attachment, **kwargs):
        self._note(REMOVED, sender, attachment)

    def _note(self, what, sender, attachment):
        self.heard.append((what, attachment.filename))
        self.attachments.append(attachment)
        self.senders.add(sender)
        self.in_transaction.add(connection.in_atomic_block)


@pytest.fixture
def ear():
    ear = Ear()
    attachment_stored.connect(ear.stored)
    attachment_removed.connect(ear.removed)
    yield ear
    attachment_stored.disconnect(ear.stored)
    attachment_removed.disconnect(ear.removed)


@pytest.fixture
def deaf():
    """Connect a receiver that fails, before all others."""

    def fail(sender, attachment, **kwargs):
        raise ValueError("The receiver of a project failed.")

    attachment_stored.connect(fail)
    attachment_removed.connect(fail)
    yield
    attachment_stored.disconnect(fail)
    attachment_removed.disconnect(fail)


@pytest.fixture
def bundle(client):
    """Return a bundle that holds one attachment, before the ear listens."""
    upload(client, {"spam.txt": b"old"})
    return Bundle(client.session, "foo")


@transaction.atomic
def change_and_roll_back(bundle):
    bundle.add(ContentFile(b"new", "spam.txt"))
    bundle.clear()
    Attachment.objects.all().delete()
    raise Rollback


class TestStored:
    def test_stored_is_sent_for_each_attachment(self, client, ear):
        upload(client, {"spam.txt": b"spam\n", "egg.txt": b"egg\n"})

        assert sorted(ear.heard) == [(STORED, "egg.txt"), (STORED, "spam.txt")]
        assert ear.senders == {Attachment}

    def test_stored_attachment_is_the_row(self, client, ear):
        upload(client, {"spam.txt": b"spam\n"})

        (attachment,) = ear.attachments
        assert attachment == Attachment.objects.get()
        assert attachment.size == 5
        assert attachment.mimetype == "text/plain"
        with attachment.file.open() as file:
            assert file.read() == b"spam\n"

    def test_stored_is_not_sent_for_a_refused_upload(self, client, ear, settings):
        settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 1 / 1024

        response = upload(client, {"egg.txt": b"", "spam.bin": bytes(2000)})

        assert response.status_code == 413
        assert ear.heard == []

    def test_replacement_sends_both(self, bundle, client, ear):
        old = Attachment.objects.get()

        upload(client, {"spam.txt": b"new"})

        assert sorted(ear.heard) == [(REMOVED, "spam.txt"), (STORED, "spam.txt")]
        new = Attachment.objects.get()
        assert {attachment.pk for attachment in ear.attachments} == {old.pk, new.pk}


class TestRemoved:
    def test_removed_is_sent_for_one(self, bundle, client, ear):
        client.post(f"{URL}spam.txt/delete/")

        assert ear.heard == [(REMOVED, "spam.txt")]
        assert ear.senders == {Attachment}

    def test_removed_attachment_says_which_it_was(self, bundle, client, ear):
        old = Attachment.objects.get()

        client.post(f"{URL}spam.txt/delete/")

        (attachment,) = ear.attachments
        assert attachment.pk == old.pk
        assert attachment.bundle == "foo"
        assert attachment.session_id == old.session_id
        assert attachment.file.name == old.file.name

    def test_removed_is_not_sent_where_nothing_was(self, bundle, client, ear):
        client.post(f"{URL}egg.txt/delete/")
        client.post("/attachments/bar/delete/")

        assert ear.heard == []

    def test_removed_is_sent_for_each_of_a_bundle(self, bundle, client, ear):
        upload(client, {"egg.txt": b"egg\n"})
        ear.heard.clear()

        client.post(f"{URL}delete/")

        assert sorted(ear.heard) == [(REMOVED, "egg.txt"), (REMOVED, "spam.txt")]

    def test_removed_is_sent_by_the_admin(self, bundle, admin_client, ear):
        attachment = Attachment.objects.get()

        admin_client.post(
            f"/admin/session_attachments/attachment/{attachment.pk}/delete/",
            {"post": "yes"},
        )

        assert ear.heard == [(REMOVED, "spam.txt")]
        assert ear.attachments[0].pk == attachment.pk

    def test_removed_is_sent_by_the_admins_action(self, bundle, admin_client, ear):
        admin_client.post(
            "/admin/session_attachments/attachment/",
            {
                "action": "delete_selected",
                "_selected_action": [Attachment.objects.get().pk],
                "post": "yes",
            },
        )

        assert ear.heard == [(REMOVED, "spam.txt")]

    def test_removed_is_sent_by_the_command(self, bundle, ear, capsys):
        call_command("remove_outdated_attachments", older_than=0)

        assert ear.heard == [(REMOVED, "spam.txt")]

    @pytest.mark.parametrize(
        "delete",
        [
            lambda: Attachment.objects.all().delete(),
            lambda: Attachment.objects.get().delete(),
            lambda: Attachment.objects.filter(bundle="foo").delete(),
        ],
        ids=["all", "instance", "filtered"],
    )
    def test_removed_is_sent_by_djangos_own_deletion(self, bundle, ear, delete):
        pk = Attachment.objects.get().pk

        delete()

        assert ear.heard == [(REMOVED, "spam.txt")]
        assert ear.attachments[0].pk == pk

    def test_removed_is_sent_once_with_all_that_points_at_it(self, bundle, ear):
        attachment = Attachment.objects.get()
        Note.objects.create(attachment=attachment)
        scan = Scan.objects.create(attachment=attachment)

        bundle.clear()

        assert ear.heard == [(REMOVED, "spam.txt")]
        assert not Note.objects.exists()
        scan.refresh_from_db()
        assert scan.attachment is None

    def test_removed_is_not_sent_for_the_protected(self, bundle, client, ear):
        Contract.objects.create(attachment=Attachment.objects.get())

        client.post(f"{URL}delete/")

        assert ear.heard == []


class TestCommit:
    def test_signals_are_sent_outside_of_the_transaction(self, bundle, client, ear):
        upload(client, {"spam.txt": b"new"})
        client.post(f"{URL}spam.txt/delete/")

        assert len(ear.heard) == 3
        assert ear.in_transaction == {False}

    def test_signals_wait_for_the_projects_commit(self, bundle, ear):
        with transaction.atomic():
            bundle.add(ContentFile(b"egg\n", "egg.txt"))
            bundle.remove("spam.txt")
            heard_before = list(ear.heard)

        assert heard_before == []
        assert ear.heard == [(STORED, "egg.txt"), (REMOVED, "spam.txt")]

    def test_signals_are_not_sent_on_rollback(self, bundle, client, ear, stored):
        before = stored()

        with pytest.raises(Rollback):
            change_and_roll_back(bundle)

        assert ear.heard == []
        assert set(before) <= set(stored())
        assert content(client.get(f"{URL}spam.txt/")) == b"old"


@pytest.mark.usefixtures("deaf")
class TestFailingReceiver:
    def test_upload_goes_on(self, client, ear, caplog):
        response = upload(client, {"spam.txt": b"spam\n"})

        assert names(response) == ["spam.txt"]
        assert ear.heard == [(STORED, "spam.txt")]
        assert names(client.get(URL)) == ["spam.txt"]
        assert "The receiver of a project failed." in caplog.text

    def test_removal_goes_on(self, client, ear, caplog, stored):
        upload(client, {"spam.txt": b"spam\n", "egg.txt": b"egg\n"})
        caplog.clear()

        response = client.post(f"{URL}delete/")

        assert response.content == b"[[true], [true]]\r\n"
        assert len(ear.heard) == 4
        assert stored() == []
        assert caplog.text.count("The receiver of a project failed.") >= 2

    def test_replacement_goes_on(self, client, ear, stored):
        upload(client, {"spam.txt": b"old"})

        assert names(upload(client, {"spam.txt": b"new"})) == ["spam.txt"]

        assert len(ear.heard) == 3
        assert len(stored()) == 1

    def test_receiver_that_queries_in_vain_is_logged(self, client, ear, caplog):
        def query(sender, attachment, **kwargs):
            User.objects.get(username="nobody")

        attachment_stored.connect(query)
        try:
            response = upload(client, {"spam.txt": b"spam\n"})
        finally:
            attachment_stored.disconnect(query)

        assert names(response) == ["spam.txt"]
        assert "User matching query does not exist" in caplog.text
