"""What runs in the servers that tests start, see ``tests.servers``."""

import json
import os
import sys
from pathlib import Path

from django.core.exceptions import ValidationError
from django.core.files.uploadhandler import FileUploadHandler
from django.db import connection, connections

from tests.servers import eventually


class NoTransaction(FileUploadHandler):
    """Makes sure that no transaction is open while a body is read."""

    def new_file(self, *args, **kwargs):
        assert not any(connection.in_atomic_block for connection in connections.all())

    def receive_data_chunk(self, raw_data, start):
        return raw_data

    def file_complete(self, file_size):
        """Leave the file to the next handler."""


class Replica:
    """Reads from a database of its own."""

    def db_for_read(self, model, **hints):
        return "other"

    def db_for_write(self, model, **hints):
        return "default"


def no_programs(file):
    """Validate as a project would."""
    if file.name.endswith(".exe"):
        raise ValidationError("No programs, please.")


def wait_while_validating(file):
    """Take as long over slow.bin as the test lets the file "validating" stay."""
    if file.name == "slow.bin":
        signal = Path("validating")
        signal.touch()
        eventually(lambda: not signal.exists())


def _set_up():
    """Set Django up as the test has asked for."""
    import django
    from django.conf import settings

    for name, value in json.loads(os.environ["TEST_SERVER_SETTINGS"]).items():
        setattr(settings, name, value)
    django.setup()


def wsgi():
    """Return the WSGI application."""
    _set_up()
    from django.core.handlers.wsgi import WSGIHandler

    return WSGIHandler()


def asgi():
    """Return the ASGI application."""
    _set_up()
    from django.core.handlers.asgi import ASGIHandler

    return ASGIHandler()


def _change_database(verb):  # pragma: no cover - measured on SQLite
    with connection._nodb_cursor() as cursor:
        cursor.execute(f"{verb} DATABASE {connection.settings_dict['NAME']}")


def _main(command, *arguments):
    from django.core.management import ManagementUtility

    _set_up()
    if command == "drop_database":  # pragma: no cover - measured on SQLite
        return _change_database("DROP")
    if command == "create_database":
        if connection.vendor != "sqlite":  # pragma: no cover - measured on SQLite
            _change_database("CREATE")
        command, arguments = "migrate", ["--verbosity=0"]
    ManagementUtility(["manage.py", command, *arguments]).execute()


if __name__ == "__main__":
    _main(*sys.argv[1:])
