"""The lock that the uploads of a session wait for in the moment of their commit."""

import zlib

from django.db import connections, models

# SQLite's transaction modes that lock the whole database at once.
LOCKING = {"IMMEDIATE", "EXCLUSIVE"}


class Lock(models.Model):
    """One of 256 rows, made when it is first needed, that sessions share.

    An empty bundle has no row to lock, and the session may live in Redis. Two sessions
    of one row wait a moment for each other.
    """

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.pk)

    @staticmethod
    def take(session_id: str, using: str) -> None:
        """Hold the session's lock until the transaction ends."""
        # SQLite may be locked from the transaction's beginning on.
        if getattr(connections[using], "transaction_mode", None) in LOCKING:
            return
        pk = zlib.crc32(session_id.encode()) % 256 + 1
        rows = Lock.objects.using(using)
        # An update locks the row on every database, and SQLite as a whole.
        if not rows.filter(pk=pk).update(id=pk):
            rows.bulk_create([Lock(pk=pk)], ignore_conflicts=True)
            rows.filter(pk=pk).update(id=pk)
