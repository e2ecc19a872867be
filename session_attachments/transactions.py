"""Transactions that are tried again when they lose, and connections given back."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from django.db import OperationalError, connections, transaction

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


def in_transaction(using: str, work: Callable[[], T]) -> T:
    """Return what ``work`` returns, done in a transaction of ``using``.

    A conflict with another transaction is tried again a few times, unless the
    transaction is the host's: then the whole of it has to be, and the error
    propagates.
    """
    attempts = 1 if connections[using].in_atomic_block else ATTEMPTS
    committed: list[bool] = []
    while True:
        attempts -= 1
        try:
            with transaction.atomic(using=using):
                # What fails behind it comes from the host's on_commit().
                transaction.on_commit(
                    partial(committed.append, True), using=using, robust=True
                )
                return work()
        except OperationalError as error:
            if committed or not attempts or not is_conflict(error):
                raise


def release_connections() -> None:
    """Give the database connections back, as Django does at the end of a request.

    A body comes and goes as slowly as the client likes. A connection stays if its
    CONN_MAX_AGE says so, or if a transaction is open, a test's for example.
    """
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None and connection.get_autocommit():
            connection.close_if_unusable_or_obsolete()
