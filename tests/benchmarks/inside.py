"""What is done inside a project, below HTTP, by a process of its own.

Its commands are ``prepare``, ``fill NUMBER``, ``count``, ``keep NUMBER`` and
``drop_database``.
"""

import json
import shutil
import sys
import time
from contextlib import suppress
from datetime import timedelta

import django
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connection, models
from django.utils import timezone

SESSIONS = 8
BATCH = 500


def _on_server(*statements):
    """Execute statements on the database's server, outside of the database."""
    import psycopg
    from psycopg.sql import SQL, Identifier

    options = connection.settings_dict
    with psycopg.connect(
        host=options["HOST"],
        port=options["PORT"],
        user=options["USER"],
        password=options["PASSWORD"],
        dbname="postgres",
        autocommit=True,
    ) as server:
        for statement in statements:
            server.execute(SQL(statement).format(Identifier(options["NAME"])))


def drop_database():
    """Remove the database from its server."""
    _on_server("DROP DATABASE IF EXISTS {} WITH (FORCE)")


def prepare():
    """Make the tables, the folder and some sessions; return the sessions' keys."""
    from django.contrib.sessions.backends.db import SessionStore

    if connection.vendor == "postgresql":
        drop_database()
        _on_server("CREATE DATABASE {}")
    settings.MEDIA_ROOT.joinpath("temporary").mkdir(parents=True)
    call_command("migrate", run_syncdb=True, verbosity=0)
    sessions = [SessionStore() for _ in range(SESSIONS)]
    for session in sessions:
        session["visits"] = 1
        session.save()
    return [session.session_key for session in sessions]


def fill(number):
    """Store so many outdated attachments of 1 KB, ten in a bundle."""
    (model,) = (m for m in apps.get_models() if m.__name__ == "Attachment")
    created = timezone.now() - timedelta(days=10)
    day = f"session_attachments/{created:%Y-%m-%d}"
    folder = settings.MEDIA_ROOT / day
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, int(number), BATCH):
        batch = range(first, min(first + BATCH, int(number)))
        for n in batch:
            (folder / f"{n:032x}").write_bytes(bytes(1024))
        model.objects.bulk_create(
            model(
                created=created,
                session_id=f"session{n // 100}",
                bundle=f"bundle{n // 10}",
                file=f"{day}/{n:032x}",
                filename=f"{n}.bin",
                size=1024,
                mimetype="application/octet-stream",
            )
            for n in batch
        )


def count():
    """Return what an upload and a list cost the app, of one and of 100 files."""
    from django.core.files.uploadedfile import SimpleUploadedFile
    from django.test import Client
    from django.test.utils import CaptureQueriesContext, override_settings

    from tests.benchmarks.client import PNG, TEXT
    from tests.storages import Calls

    calls = Calls()
    watched = {"BACKEND": "tests.storages.WatchedStorage", "OPTIONS": {"watch": calls}}
    storages = {**settings.STORAGES, "session_attachments": watched}
    client = Client(HTTP_HOST="localhost")

    def cost(method, bundle, form=None):
        calls.clear()
        with CaptureQueriesContext(connection) as queries:
            response = method(f"/attachments/{bundle}/", form)
        assert response.status_code == 200
        sql = [query["sql"] for query in queries]
        saves = ('INSERT INTO "django_session"', 'UPDATE "django_session"')
        return {
            "statements": len(sql),
            "session saves": sum(statement.startswith(saves) for statement in sql),
            "storage calls": len(calls),
            "sql": [statement[:60] for statement in sql],
        }

    def form(number, content, name):
        return {
            f"file{n}": SimpleUploadedFile(f"{n}-{name}", content)
            for n in range(number)
        }

    costs = {}
    with override_settings(STORAGES=storages):
        client.get("/attachments/new/")
        client.post("/attachments/new/", form(1, PNG, "a.png"))
        for number in (1, 100):
            for content, name in ((PNG, "a.png"), (TEXT, "a.txt")):
                files = f"{number} {name}"
                new = form(number, content, name)
                costs[f"upload of {files}"] = cost(client.post, files, new)
            costs[f"list of {number}"] = cost(client.get, files)
    return costs


def keep(number):
    """Return in how many seconds so many files of 1 MB come into a FileField.

    In the app from a bundle, by take() and keep(); else from temporary files, as Django
    gets them from a form, by save().
    """
    from django.contrib.sessions.backends.db import SessionStore
    from django.core.files.uploadedfile import TemporaryUploadedFile

    from tests.benchmarks.client import BLOCK

    class Enclosure(models.Model):
        file = models.FileField(upload_to="kept")

        class Meta:
            app_label = "inside"

    files = []
    for n in range(int(number)):
        file = TemporaryUploadedFile(f"{n}.bin", None, len(BLOCK), None)
        file.write(BLOCK)
        file.flush()
        files.append(file)
    if settings.PROJECT == "app":
        from session_attachments.bundles import Bundle

        bundle = Bundle(SessionStore(), "kept")
        bundle.add(*files)
        start = time.perf_counter()
        with bundle.take() as attachments:
            for attachment in attachments:
                attachment.keep(Enclosure().file)
    else:
        start = time.perf_counter()
        for file in files:
            Enclosure().file.save(file.name, file, save=False)
    took = time.perf_counter() - start
    kept = settings.MEDIA_ROOT / "kept"
    assert {path.stat().st_size for path in kept.iterdir()} == {len(BLOCK)}
    shutil.rmtree(kept)
    for file in files:
        # It has been moved.
        with suppress(FileNotFoundError):
            file.close()
    return took


if __name__ == "__main__":
    django.setup()
    command, *arguments = sys.argv[1:]
    commands = [prepare, fill, count, keep, drop_database]
    act = next(act for act in commands if act.__name__ == command)
    print(json.dumps(act(*arguments)))
