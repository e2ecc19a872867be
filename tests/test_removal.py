"""Removal: rows that go, and their files after them."""

import threading

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models import signals
from django.test.utils import CaptureQueriesContext

from session_attachments.models import Attachment
from session_attachments.removal import remove
from session_attachments.transactions import in_transaction
from tests.storages import (
    Calls,
    Lost,
    at_once,
    attach,
    begin_deferred,
    failing,
    store_in,
)

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


def remove_all(**options):
    """Remove all attachments in a transaction; return the Removal."""
    return in_transaction(
        "default", lambda: remove(Attachment.objects.all(), **options)
    )


class TestRemove:
    def test_failures_do_not_stop_the_rest(self, settings, stored, removed):
        bad = attach("bad.txt")
        attach("good.txt")
        store_in(settings, failing("delete", OSError("broken"), bad.file.name))

        removal = remove_all()

        assert stored() == [bad.file.name]
        assert sorted(name for _, name in removed) == ["bad.txt", "good.txt"]
        [(attachment, error)] = removal.failures
        assert (attachment, str(error)) == (bad, "broken")

    def test_row_without_a_file_is_told(self, removed):
        attach("none.txt")
        Attachment.objects.update(file="")
        attach("good.txt")

        remove_all()

        assert sorted(name for _, name in removed) == ["good.txt", "none.txt"]

    def test_remove_waits_for_no_row_that_is_in_use(self):
        used = attach("used.txt")
        attach("free.txt")
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
            removal = remove_all(skip_locked=True)
            done.set()
            return {attachment.filename for attachment in removal.attachments}

        did_not_wait, removed = at_once(use, remove)

        assert did_not_wait == can_skip
        assert removed == ({"free.txt"} if can_skip else {"free.txt", "used.txt"})

    def test_nothing_to_remove_leaves_nothing_to_finish(self):
        with transaction.atomic():
            removal = remove(Attachment.objects.all())

            assert connection.run_on_commit == []
        assert removal.attachments == []

    def test_remove_waits_for_a_row_and_tells_what_it_was_at_last(self, removed):
        used = attach("used.txt")
        held, began = threading.Event(), threading.Event()

        def rename():
            begin_deferred()
            with transaction.atomic():
                Attachment.objects.filter(pk=used.pk).update(filename="renamed.txt")
                held.set()
                began.wait(10)
                # Time to overtake, which a lock does not allow.
                threading.Event().wait(0.3)

        def remove():
            held.wait(10)
            began.set()
            remove_all()

        at_once(rename, remove)

        assert removed == [(used.pk, "renamed.txt")]

    def test_remove_that_is_tried_again_deletes_once(self, settings, removed):
        calls = Calls()
        store_in(settings, calls)
        attachment = attach()
        conflicts = [Lost()]

        def work():
            removal = remove(Attachment.objects.all())
            if conflicts:
                raise OperationalError from conflicts.pop()
            return removal

        removal = in_transaction("default", work)

        assert removal.attachments == [attachment]
        assert calls.names("delete") == [attachment.file.name]
        assert len(removed) == 1


@pytest.mark.usefixtures("alone")
class TestRemoveOfWhatStandsAlone:
    """Where no model of the project's points at attachments."""

    def test_rows_go_in_one_statement(self, stored):
        for name in ("a", "b", "c"):
            attach(name)
        kept = attach("a", bundle="other")
        rows = Attachment.objects.filter(bundle="foo")

        with CaptureQueriesContext(connection) as queries:
            in_transaction(rows.db, lambda: remove(rows))

        table = Attachment._meta.db_table
        statements = [query["sql"] for query in queries if table in query["sql"]]
        select, delete = statements
        assert delete.startswith("DELETE")
        # They are locked in one order.
        assert "ORDER BY" in select
        assert Attachment.objects.get() == kept
        assert stored() == [kept.file.name]

    def test_signal_is_sent(self, stored, removed):
        row = attach()

        remove_all()

        assert removed == [(row.pk, "spam.txt")]
        assert stored() == []

    @pytest.mark.parametrize("signal", [signals.pre_delete, signals.post_delete])
    def test_receivers_of_djangos_signals_are_told(self, stored, signal):
        attach()
        heard = []

        def hear(instance, **kwargs):
            heard.append((instance.filename, instance.mimetype))

        signal.connect(hear)
        remove_all()
        signal.disconnect(hear)

        assert heard == [("spam.txt", "application/octet-stream")]
        assert stored() == []

    def test_file_that_stays_is_told(self, settings, stored):
        row = attach()
        store_in(settings, failing("delete", OSError("broken")))

        removal = remove_all()

        [(attachment, error)] = removal.failures
        assert (attachment.filename, str(error)) == ("spam.txt", "broken")
        assert stored() == [row.file.name]
