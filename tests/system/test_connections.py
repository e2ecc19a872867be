"""Clients that are slow hold no connection to the database: others are served."""

import os
import socket
from contextlib import ExitStack

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.test import AsyncClient

from tests.clients import MULTIPART, NEEDS, URL, form, part, upload
from tests.servers import Answer, Client, another, eventually, running
from tests.system.test_servers import needs_granian

pytestmark = pytest.mark.database

# More than the buffers of the two ends hold.
LARGE = os.urandom(16_000_000)
BODY = form(part(LARGE, "large.bin"))
# One thread of each server is left for the others.
CLIENTS = {"gunicorn": 3, "granian wsgi": 3, "runserver": 14, "uvicorn": 14}
NEEDED = {**NEEDS, "granian wsgi": needs_granian}
KINDS = [pytest.param(kind, marks=NEEDED.get(kind, ())) for kind in CLIENTS]
# Django has a pool for PostgreSQL only, and only there a database has a limit.
ON_POSTGRESQL = connection.vendor == "postgresql"
POOL = {"pool": {"min_size": 0, "max_size": 2, "timeout": 5}}
LIMIT = """
from django.db import connection
with connection.cursor() as cursor:
    name = connection.settings_dict["NAME"]
    cursor.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 2")
"""


@pytest.fixture(scope="module", params=[{}] + [POOL] * ON_POSTGRESQL)
def first(request, tmp_path_factory):
    """Run a server on a database that takes few connections, where it can be told."""
    folder = tmp_path_factory.mktemp("connections")
    with running("runserver", folder, options=request.param) as server:
        if ON_POSTGRESQL:  # pragma: no cover - measured on SQLite
            server.manage("shell", "--no-imports", "-c", LIMIT)
        yield server


@pytest.fixture(scope="module", params=[False, True], ids=["modified", "every"])
def saving(request):
    """Return the settings that say when Django saves sessions."""
    return {"SESSION_SAVE_EVERY_REQUEST": request.param}


@pytest.fixture(scope="module", params=KINDS)
def server(request, first, saving):
    """Run a server of this kind."""
    settings = {**saving, "FILE_UPLOAD_MAX_MEMORY_SIZE": 100_000}
    with another(first, request.param, **settings) as server:
        yield server


@pytest.fixture
def owner(server):
    """Return a client who has uploaded a large file."""
    client = Client(server)
    client.get(URL)
    assert client.post(URL, BODY, MULTIPART).status == 200
    return client


def assert_others_are_served(server):
    """No connection is held, and whoever comes is answered."""
    most = 2 if '"pool"' in server.env["TEST_SERVER_SETTINGS"] else 0
    eventually(lambda: server.connections() <= most)
    for _ in range(3):
        assert Client(server).get(URL).status == 200


@pytest.mark.server
@pytest.mark.django_db(transaction=True)
class TestSlowClients:
    def test_who_read_leave_the_database_to_others(self, server, owner):
        with ExitStack() as stack:
            for _ in range(CLIENTS[server.kind]):
                reader = stack.enter_context(owner.connect())
                owner.send(reader, "GET", f"{URL}large.bin/")
                assert reader.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 200"
            assert_others_are_served(server)

    @pytest.mark.parametrize(
        ("method", "url", "body", "type_"),
        [
            ("POST", URL, BODY, MULTIPART),
            ("PUT", f"{URL}large.bin", LARGE, "text/plain"),
        ],
        ids=["POST", "PUT"],
    )
    def test_who_upload_leave_the_database_to_others(
        self, server, owner, method, url, body, type_
    ):
        headers = {"Content_Type": type_, "Content_Length": len(body)}
        with ExitStack() as stack:
            uploads = []
            for _ in range(CLIENTS[server.kind]):
                upload = stack.enter_context(owner.connect())
                owner.send(upload, method, url, body[:-1000], **headers)
                uploads.append(upload)
                if server.kind != "uvicorn":
                    eventually(lambda: len(server.open_temporary()) == len(uploads))
            assert_others_are_served(server)
            for upload in uploads:
                upload.sendall(body[-1000:])
                assert Answer.read(upload, method).status == 200


@pytest.mark.django_db(transaction=True)
def test_first_block_is_read_without_a_connection(client, monkeypatch):
    upload(client, {"spam.txt": b"spam\n"})
    blocks = iter(client.get(f"{URL}spam.txt/"))
    # As a middleware that asks the database.
    connection.ensure_connection()
    closed = []
    monkeypatch.setattr(connection, "close", lambda: closed.append(True))

    assert (next(blocks), closed[:1], [*blocks]) == (b"spam\n", [True], [])


@pytest.mark.django_db
class TestTestCase:
    """A project's tests run in a transaction, which must stay open."""

    @pytest.fixture
    def kept(self, client):
        upload(client, {"spam.txt": b"spam\n"})
        opened = connection.connection
        yield client.cookies
        assert connection.connection is opened
        assert connection.in_atomic_block

    def test_connection_stays(self, client, kept):
        assert b"".join(client.get(f"{URL}spam.txt/")) == b"spam\n"
        upload(client, {"egg.txt": b"egg\n"})

    def test_connection_stays_under_asgi(self, kept):
        client = AsyncClient()
        client.cookies = kept

        async def download():
            return [block async for block in await client.get(f"{URL}spam.txt/")]

        assert async_to_sync(download)() == [b"spam\n"]
