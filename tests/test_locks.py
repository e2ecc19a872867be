"""The lock of a session's uploads."""

import threading

import pytest
from django.db import connection, transaction

from session_attachments.locks import Lock
from session_attachments.transactions import in_transaction
from tests.storages import at_once, begin_deferred

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


def test_lock_is_its_number():
    assert str(Lock(7)) == "7"


class TestTake:
    def test_second_transaction_of_a_session_waits(self):
        events = []
        held = threading.Event()

        def first():
            begin_deferred()
            with transaction.atomic():
                Lock.take("key", "default")
                held.set()
                threading.Event().wait(0.3)
                events.append("first ends")

        def second():
            held.wait(10)
            begin_deferred()
            with transaction.atomic():
                Lock.take("key", "default")
                events.append("second begins")

        Lock.take("key", "default")

        at_once(first, second)

        assert events == ["first ends", "second begins"]

    def test_first_use_makes_one_row_and_waits(self):
        start = threading.Barrier(4, timeout=10)
        inside, seen = [], []

        def work():
            Lock.take("key", "default")
            inside.append("me")
            threading.Event().wait(0.05)
            seen.append(len(inside))
            inside.pop()

        def take():
            begin_deferred()
            start.wait()
            in_transaction("default", work)

        at_once(take, take, take, take)

        assert seen == [1, 1, 1, 1]
        assert Lock.objects.count() == 1

    def test_sqlite_that_is_locked_anyway_needs_no_row(self):
        with transaction.atomic():
            Lock.take("key", "default")

        assert Lock.objects.exists() == (connection.vendor != "sqlite")

    def test_sessions_share_256_rows(self):
        def take():
            begin_deferred()
            with transaction.atomic():
                for number in range(1000):
                    Lock.take(f"session {number}", "default")

        at_once(take)

        assert 200 < Lock.objects.count() <= 256
        assert Lock.objects.filter(pk__range=(1, 256)).count() == Lock.objects.count()
