"""Real servers: processes with a database, a folder and settings of their own.

The first half is for the tests, the second runs in the servers.
"""

import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPResponse
from pathlib import Path

from django.core.exceptions import ValidationError
from django.core.files.uploadhandler import FileUploadHandler
from django.db import connections

ROOT = Path(__file__).resolve().parent.parent
GUNICORN = "--worker-class=gthread --threads=2 --graceful-timeout=1 --bind=fd://{}"
COMMANDS = {
    "gunicorn": ["gunicorn", *GUNICORN.split(), "tests.servers:wsgi()"],
    "uvicorn": [
        "uvicorn",
        "--fd={}",
        "--lifespan=off",
        "--factory",
        "tests.servers:asgi",
    ],
}
TOKEN = "a" * 32


@dataclass
class Server:
    """A running server."""

    kind: str
    port: int
    folder: Path

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def stored(self):
        """Return the names of all stored files."""
        return _files(self.folder / "media")

    def log(self):
        """Return what the server has printed."""
        return (self.folder / "log").read_text()

    def temporary(self):
        """Return the names of all temporary files."""
        return _files(self.folder / "tmp")


def _files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@contextmanager
def running(kind, folder, **settings):
    """Run a server, with these settings, until the end of the block; yield it."""
    (folder / "tmp").mkdir()
    settings = {
        "MEDIA_ROOT": str(folder / "media"),
        "DATABASES": {
            alias: {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(folder / alias),
                "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
                "ATOMIC_REQUESTS": True,
            }
            for alias in ("default", "other")
        },
        "FILE_UPLOAD_HANDLERS": [
            "tests.servers.NoTransaction",
            "django.core.files.uploadhandler.MemoryFileUploadHandler",
            "django.core.files.uploadhandler.TemporaryFileUploadHandler",
        ],
        **settings,
    }
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        # gunicorn puts a socket there.
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "TEST_DATABASE": "sqlite",
        "TEST_SERVER_SETTINGS": json.dumps(settings),
        "TMPDIR": str(folder / "tmp"),
    }
    with (folder / "log").open("w") as log:
        # Whoever connects before the server is up waits, without a look at the clock.
        with socket.create_server(("127.0.0.1", 0)) as listening:
            number, (_, port) = listening.fileno(), listening.getsockname()
            process = subprocess.Popen(
                [sys.executable, "-m", *(w.format(number) for w in COMMANDS[kind])],
                cwd=folder,
                env=env,
                pass_fds=[number],
                stderr=log,
                stdout=log,
            )
        try:
            yield Server(kind, port, folder)
        finally:
            process.terminate()
            process.wait(timeout=20)


@dataclass
class Client:
    """Speaks to a server through a socket, byte by byte, in a session of its own."""

    server: Server
    cookies: dict = field(default_factory=lambda: {"csrftoken": TOKEN})

    def request(self, method, url, *body, cut=False, **headers):
        """Send a request and return the answer, or None if there is none.

        ``body`` are its chunks, ``headers`` are written with underscores. With
        ``cut`` the client stops sending before its end.
        """
        with self.connect() as connection:
            self.send(connection, method, url, *body, **headers)
            if cut:
                connection.shutdown(socket.SHUT_WR)
            if not connection.recv(1, socket.MSG_PEEK):
                return None
            return Answer.read(connection, method)

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=30)

    def send(self, connection, method, url, *body, **headers):
        """Send a request."""
        headers = {
            "Host": "127.0.0.1",
            "Connection": "close",
            "Cookie": "; ".join(
                f"{name}={text}" for name, text in self.cookies.items()
            ),
            "X-CSRFToken": TOKEN,
            **{name.replace("_", "-"): text for name, text in headers.items()},
        }
        lines = [f"{method} {url} HTTP/1.1", *(f"{n}: {t}" for n, t in headers.items())]
        for chunk in ("\r\n".join([*lines, "", ""]).encode(), *body):
            connection.sendall(chunk)

    def get(self, url):
        """GET, and keep the session that the server gives."""
        answer = self.request("GET", url)
        cookie, _, _ = answer.headers.get("Set-Cookie", "").partition(";")
        self.cookies.update([cookie.split("=")] if cookie else [])
        return answer

    def post(self, url, body, type_, *, length=None, **options):
        """POST a body as it is, announced as ``length`` bytes long."""
        length = len(body) if length is None else length
        return self.request(
            "POST", url, body, Content_Type=type_, Content_Length=length, **options
        )

    def post_chunked(self, url, body, type_):
        """POST a body whose length is not announced."""
        blocks = [body[i : i + 50_000] for i in range(0, len(body), 50_000)]
        chunks = [b"%x\r\n%s\r\n" % (len(block), block) for block in [*blocks, b""]]
        return self.request(
            "POST", url, *chunks, Content_Type=type_, Transfer_Encoding="chunked"
        )


@dataclass
class Answer:
    """What a server has answered."""

    status: int
    headers: dict
    content: bytes

    @classmethod
    def read(cls, connection, method):
        """Read an answer to its end."""
        with HTTPResponse(connection, method=method) as response:
            response.begin()
            return cls(response.status, dict(response.getheaders()), response.read())

    def json(self):
        return json.loads(self.content)

    @property
    def problem(self):
        """Status and code of an error."""
        assert self.headers["Content-Type"] == "application/problem+json", self
        return self.status, self.json()["code"]


# In the servers:


class NoTransaction(FileUploadHandler):
    """Makes sure that no transaction is open while a body is read."""

    def new_file(self, *args, **kwargs):
        assert not any(connection.in_atomic_block for connection in connections.all())

    def receive_data_chunk(self, raw_data, start):
        return raw_data

    def file_complete(self, file_size):
        """Leave the file to the next handler."""


def no_programs(file):
    """Validate as a host would."""
    if file.name.endswith(".exe"):
        raise ValidationError("No programs, please.")


def _set_up():
    """Set Django up as the test has asked for, and make the tables."""
    import django
    from django.conf import settings

    for name, value in json.loads(os.environ["TEST_SERVER_SETTINGS"]).items():
        setattr(settings, name, value)
    django.setup()
    # In a thread: uvicorn asks for the application in its event loop.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_migrate).result()


def _migrate():
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    connections.close_all()


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
