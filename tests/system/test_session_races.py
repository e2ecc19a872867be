"""A session that changes, over real sockets, while an upload is under way.

Under ASGI Django starts to work when the whole body is there, with the cookie that came
before it: of a login meanwhile the upload hears too late. Not so afterwards.
"""

import os

import pytest

from tests.clients import MULTIPART, NEEDS, URL, form, part
from tests.engines import ENGINES, needs_redis, settings_of
from tests.servers import Answer, Client, another, eventually, running
from tests.settings import MIDDLEWARE

pytestmark = [pytest.mark.server, pytest.mark.slow]

MARKS = {
    "db": pytest.mark.database,
    "cached_db": pytest.mark.database,
    "cache on Redis": needs_redis,
}
WITHOUT_CSRF = [name for name in MIDDLEWARE if "csrf" not in name.lower()]
BODY = form(part(os.urandom(1_000_000), "slow.bin"))
HALF = len(BODY) // 2 + 100_000


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Run a server whose database and files the others share."""
    with running("runserver", tmp_path_factory.mktemp("sessions")) as server:
        yield server


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=MARKS.get(name, [])) for name in ENGINES],
)
def engine(request, tmp_path_factory):
    """Return the settings of a session engine."""
    return settings_of(request.param, tmp_path_factory.mktemp("engine"))


# Kind of server, CSRF protection or none, and when Django saves sessions: any two of
# them meet, on each engine.
MIDDLEWARES = {"csrf": MIDDLEWARE, "none": WITHOUT_CSRF}
SAVING = {"modified": False, "every": True}
PROJECTS = [
    ("gunicorn", "csrf", "every"),
    ("gunicorn", "none", "modified"),
    ("uvicorn", "csrf", "modified"),
    ("uvicorn", "none", "every"),
]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(project, marks=NEEDS[project[0]], id="-".join(project))
        for project in PROJECTS
    ],
)
def server(request, first, engine):
    """Run a project's server, which waits while it validates."""
    kind, protection, saving = request.param
    settings = {
        **engine,
        "MIDDLEWARE": MIDDLEWARES[protection],
        "SESSION_SAVE_EVERY_REQUEST": SAVING[saving],
        "FILE_UPLOAD_MAX_MEMORY_SIZE": 100_000,
        "SESSION_ATTACHMENTS_VALIDATORS": ["tests.system.served.wait_while_validating"],
    }
    with another(first, kind, **settings) as server:
        yield server


def names(client):
    return [attachment["name"] for attachment in client.get(URL).json()]


def test_login_costs_neither_itself_nor_the_file(server):
    client = Client(server)
    validating = server.folder / "validating"
    client.get(URL)
    assert client.post(URL, form(part(name="one.txt")), MULTIPART).status == 200
    headers = {"Content_Type": MULTIPART, "Content_Length": len(BODY)}

    with client.connect() as connection:
        client.send(connection, "POST", URL, BODY[:HALF], **headers)
        if server.kind == "uvicorn":
            connection.sendall(BODY[HALF:])
            eventually(validating.exists)
        else:
            eventually(server.open_temporary)
        cookie = client.cookies["sessionid"]
        assert client.get("/login/ann/").status == 200
        if server.kind != "uvicorn":
            connection.sendall(BODY[HALF:])
            eventually(validating.exists)
            assert client.get("/cycle-key/").status == 200
        validating.unlink()
        answer = Answer.read(connection, "POST")

    assert client.cookies["sessionid"] != cookie
    assert answer.status == 200
    assert "Set-Cookie" not in answer.headers
    assert names(client) == ["one.txt", "slow.bin"]
    assert client.get("/whoami/").content == b"ann"
