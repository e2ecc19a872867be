"""A project that reads from a replica of its database, which lags behind."""

import json
import sqlite3
from contextlib import closing

import pytest

from tests.clients import MULTIPART, NEEDS, URL, form, part
from tests.servers import Client, running

pytestmark = [pytest.mark.server, pytest.mark.slow, NEEDS["gunicorn"]]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Run a server that reads from another database than it writes to."""
    folder = tmp_path_factory.mktemp("replica")
    routers = ["tests.system.served.Replica"]
    with running("gunicorn", folder, DATABASE_ROUTERS=routers) as server:
        yield server


def replicate(server):
    """Bring the replica up to date."""
    databases = json.loads(server.env["TEST_SERVER_SETTINGS"])["DATABASES"]
    names = [databases[alias]["NAME"] for alias in ("default", "other")]
    with (
        closing(sqlite3.connect(names[0])) as a,
        closing(sqlite3.connect(names[1])) as b,
    ):
        a.backup(b)


def test_replaced_attachment_is_found_though_the_replica_lags(server):
    replicate(server)
    client = Client(server)
    client.get(URL)
    replicate(server)
    assert client.post(URL, form(part(b"old\n")), MULTIPART).status == 200
    replicate(server)
    assert client.post(URL, form(part(b"new\n")), MULTIPART).status == 200

    assert client.get(URL).json()[0]["size"] == 4
    assert client.get(f"{URL}spam.txt/").content == b"new\n"
