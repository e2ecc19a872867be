"""What the app does when transactions collide."""

import sqlite3
import threading
from contextlib import closing

import pytest
from django.db import DatabaseError, OperationalError, connection, transaction

from session_attachments.models import Attachment
from session_attachments.removal import remove
from session_attachments.transactions import in_transaction, is_conflict
from tests.storages import Lost, at_once, attach, begin_deferred

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


def collide(run):
    """Let two transactions lock two rows, each the other's first row second.

    ``run`` is called with each one's work. Return how often each was tried, and the
    errors that came out.
    """
    keys = [attach("a").pk, attach("b").pk]
    barrier = threading.Barrier(2, timeout=10)
    tries = [0, 0]
    errors = []

    def transact(this, that):
        rows = Attachment.objects.all()

        def work():
            tries[this] += 1
            if tries[this] == 1:
                rows.select_for_update().get(pk=keys[this])
                barrier.wait()
            rows.filter(pk=keys[that]).update(mimetype="text/plain")

        begin_deferred()
        try:
            run(work)
        except OperationalError as error:
            errors.append(error)

    at_once(lambda: transact(0, 1), lambda: transact(1, 0))
    return tries, errors


class TestInTransaction:
    def test_deadlock_is_tried_again(self):
        tries, errors = collide(lambda work: in_transaction("default", work))

        assert sorted(tries) == [1, 2]
        assert errors == []
        assert Attachment.objects.filter(mimetype="text/plain").count() == 2

    def test_deadlock_in_the_projects_transaction_is_the_projects(self):
        def run(work):
            with transaction.atomic():
                in_transaction("default", work)

        tries, errors = collide(run)

        assert tries == [1, 1]
        assert [is_conflict(error) for error in errors] == [True]
        assert Attachment.objects.filter(mimetype="text/plain").count() == 1

    def test_conflict_is_raised_after_some_attempts(self):
        tries = []

        def work():
            tries.append(attach(f"{len(tries)}.txt"))
            raise OperationalError("lost") from Lost()

        with pytest.raises(OperationalError, match="lost"):
            in_transaction("default", work)

        assert 1 < len(tries) < 10
        assert not Attachment.objects.exists()

    def test_other_errors_are_raised_at_once(self):
        tries = []

        def work():
            tries.append("try")
            connection.cursor().execute("SELECT 1 FROM no_such_table")

        with pytest.raises(DatabaseError, match="no_such_table"):
            in_transaction("default", work)

        assert tries == ["try"]

    def test_result_is_what_the_work_returns(self):
        assert in_transaction("default", lambda: 42) == 42


@pytest.mark.skipif(
    connection.vendor != "sqlite", reason="only SQLite locks the whole database"
)
class TestLockedSQLite:
    @pytest.fixture
    def writer(self):
        """Return another connection, which holds the lock."""
        with closing(sqlite3.connect(connection.settings_dict["NAME"])) as writer:
            writer.execute("BEGIN IMMEDIATE")
            connection.cursor().execute("PRAGMA busy_timeout = 10")
            yield writer
        connection.close()

    @pytest.fixture
    def refused(self, writer):
        """Return the statements that were refused; the lock is given up at the 3rd."""
        refused = []

        def count(execute, sql, params, many, context):
            try:
                return execute(sql, params, many, context)
            except OperationalError:
                refused.append(sql)
                if len(refused) == 3:
                    writer.rollback()
                raise

        with connection.execute_wrapper(count):
            yield refused

    def test_locked_database_is_tried_again(self, refused):
        in_transaction("default", attach)

        assert refused == ["BEGIN IMMEDIATE"] * 3
        assert Attachment.objects.count() == 1

    def test_locked_database_is_raised_after_some_attempts(self, writer):
        tries = []

        with pytest.raises(OperationalError, match="locked") as caught:
            in_transaction("default", lambda: tries.append("try"))

        assert is_conflict(caught.value)
        assert tries == []

    def test_remove_locks_before_it_looks(self):
        attach()

        def remove_all():
            begin_deferred()
            with connection.execute_wrapper(refuse):
                return in_transaction(
                    "default", lambda: remove(Attachment.objects.all())
                )

        def refuse(execute, sql, params, many, context):
            result = execute(sql, params, many, context)
            if sql.startswith("SELECT"):
                with pytest.raises(sqlite3.OperationalError, match="locked"):
                    other.execute("BEGIN IMMEDIATE")
            return result

        name = connection.settings_dict["NAME"]
        with closing(
            sqlite3.connect(name, timeout=0, check_same_thread=False)
        ) as other:
            [removed] = at_once(remove_all)

        assert len(removed.attachments) == 1


class TestIsConflict:
    @pytest.mark.parametrize(
        ("arguments", "attributes"),
        [
            ((), {"sqlstate": "40001"}),
            ((), {"sqlstate": "40P01"}),
            (("deadlock detected",), {"pgcode": "40P01"}),
            ((1020, "Record has changed since last read"), {}),
            ((1205, "Lock wait timeout exceeded"), {}),
            ((1213, "Deadlock found"), {}),
            (("database is locked",), {"sqlite_errorcode": sqlite3.SQLITE_BUSY}),
            ((), {"sqlite_errorcode": sqlite3.SQLITE_BUSY_SNAPSHOT}),
            ((), {"sqlite_errorcode": sqlite3.SQLITE_LOCKED_SHAREDCACHE}),
        ],
        ids=str,
    )
    def test_conflict_is_known_from_each_driver(self, arguments, attributes):
        error = OperationalError("something")
        error.__cause__ = type("Cause", (Exception,), attributes)(*arguments)

        assert is_conflict(error)

    @pytest.mark.parametrize(
        ("arguments", "attributes"),
        [
            ((), {}),
            (("server closed the connection",), {"sqlstate": None}),
            ((), {"sqlstate": "57014"}),
            ((2006, "MySQL server has gone away"), {}),
            (("disk I/O error",), {"sqlite_errorcode": sqlite3.SQLITE_IOERR}),
        ],
        ids=str,
    )
    def test_other_errors_are_no_conflict(self, arguments, attributes):
        error = OperationalError("something")
        error.__cause__ = type("Cause", (Exception,), attributes)(*arguments)

        assert not is_conflict(error)

    def test_error_without_a_cause_is_no_conflict(self):
        assert not is_conflict(OperationalError("lost"))

    def test_error_of_another_kind_is_no_conflict(self):
        error = DatabaseError("lost")
        error.__cause__ = Lost()

        assert not is_conflict(error)
