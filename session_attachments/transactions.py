"""Transactions: done again when lost, undone when that is certain; connections."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TypeVar

from django.db import Error, IntegrityError, OperationalError, connections, transaction

T = TypeVar("T")

# Of a transaction that lost against another one: nothing of it was committed.
CONFLICTS = {
    "40001",  # PostgreSQL: serialization failure
    "40P01",  # PostgreSQL: deadlock
    1020,  # MariaDB: record has changed since last read
    1205,  # MariaDB: lock wait timeout
    1213,  # MariaDB: deadlock
    5,  # SQLite: busy
    6,  # SQLite: locked
}
ATTEMPTS = 5


def is_conflict(error: BaseException) -> bool:
    """Whether ``error`` says that the transaction lost against another one."""
    cause = error.__cause__
    if not isinstance(error, OperationalError) or cause is None:
        return False
    for attribute in ("sqlstate", "pgcode"):
        if getattr(cause, attribute, None) in CONFLICTS:
            return True
    # SQLite's extended codes carry the primary one in their lowest byte.
    sqlite = getattr(cause, "sqlite_errorcode", None)
    number = cause.args[0] if sqlite is None and cause.args else (sqlite or 0) & 0xFF
    return number in CONFLICTS


@contextmanager
def undone_when_certain(using: str, undo: ExitStack) -> Iterator[None]:
    """Do the block in a transaction of ``using``; if it fails, do what ``undo`` holds.

    But only if certainly nothing was committed, which nobody knows of a COMMIT that
    failed, but of one that the database has refused. Else ``undo`` is emptied.
    """
    committed: list[bool] = []
    is_done = False
    with undo:
        try:
            with transaction.atomic(using=using):
                transaction.on_commit(
                    partial(committed.append, True), using=using, robust=True
                )
                yield
                is_done = True
        except BaseException as error:
            # What fails after the commit is the project's, in its on_commit().
            is_refused = is_conflict(error) or isinstance(error, IntegrityError)
            if committed or (is_done and not is_refused):
                undo.pop_all()
            raise
        undo.pop_all()


def in_transaction(
    using: str,
    work: Callable[[], T],
    *,
    again: tuple[type[Error], ...] = (),
    undo: Callable[[], object] = lambda: None,
) -> T:
    """Return what ``work`` returns, done in a transaction of ``using``.

    It is done again a few times if the transaction lost against another one, or if it
    raises one of ``again``. Inside a transaction of the project's the whole of that has
    to be done again, and a conflict propagates. When all is in vain, ``undo`` is called
    if certainly nothing was committed.
    """
    inside = connections[using].in_atomic_block
    attempts = ATTEMPTS
    while True:
        attempts -= 1
        undone: list[bool] = []
        attempt = ExitStack()
        attempt.callback(undone.append, True)
        try:
            with undone_when_certain(using, attempt):
                return work()
        except BaseException as error:
            is_lost = isinstance(error, again) or (is_conflict(error) and not inside)
            if not undone:
                raise
            if not (is_lost and attempts):
                undo()
                raise


def release_connections() -> None:
    """Give the database connections back, as Django does at the end of a request.

    A body comes and goes as slowly as the client likes. A connection stays if its
    CONN_MAX_AGE says so, or if a transaction is open, a test's for example.
    """
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None and connection.get_autocommit():
            connection.close_if_unusable_or_obsolete()
