"""Real servers: processes with a database, a folder and settings of their own.

What runs in them is ``tests.system.served``.
"""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from http.client import HTTPResponse
from pathlib import Path

from django.db import connection
from django.utils.datastructures import CaseInsensitiveMapping

from tests import settings as tests_settings

ROOT = Path(__file__).resolve().parent.parent
GUNICORN = "gunicorn --graceful-timeout=15 --bind=fd://{fd} tests.system.served:wsgi()"
GRANIAN = "granian --port={port} --factory --interface"
COMMANDS = {
    "gunicorn": f"{GUNICORN} --worker-class=gthread --threads=4",
    "gunicorn processes": f"{GUNICORN} --workers=4",
    "gunicorn sync": GUNICORN,
    "uvicorn": "uvicorn --fd={fd} --lifespan=off --factory tests.system.served:asgi",
    "granian wsgi": f"{GRANIAN}=wsgi --blocking-threads=4 tests.system.served:wsgi",
    "granian asgi": f"{GRANIAN}=asgi tests.system.served:asgi",
    "runserver": "tests.system.served runserver --noreload {port}",
}
# A user's PATH lacks Debian's daemons.
NGINX = shutil.which("nginx", path=os.pathsep.join([*os.get_exec_path(), "/usr/sbin"]))
# All that it writes goes into its own folder. Started by root, its workers would run
# as another user, who may not read what belongs to the tests.
NGINX_CONF = """
daemon off;
user root;
pid pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    fastcgi_temp_path fastcgi;
    proxy_temp_path proxy;
    scgi_temp_path scgi;
    uwsgi_temp_path uwsgi;
    server {{
        listen 127.0.0.1:{port};
        {locations}
    }}
}}
"""
# Statements that count the connections to a database.
CONNECTIONS = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = %s",
    "mysql": "SELECT count(*) FROM information_schema.processlist WHERE db = %s",
}
# SQLite's files as ``migrate`` leaves them, by the apps that are installed: copying one
# takes no time.
MIGRATED = {}
KILOBYTE = 1024
TOKEN = "a" * 32
PIECE = {"Content_Type": "application/offset+octet-stream"}


@dataclass
class Server:
    """A running server."""

    kind: str
    folder: Path
    env: dict = field(repr=False)
    port: int = 0
    process: subprocess.Popen | None = None
    output: Path | None = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def workers(self):
        """Return the ids of gunicorn's or granian's worker processes."""
        pid = self.process.pid
        return [int(p) for p in _read(f"/proc/{pid}/task/{pid}/children").split()]

    @property
    def worker(self):
        """The id of the process that answers, or of the first of them."""
        return [*self.workers(), self.process.pid][0]

    def figure(self, file, name):
        """Return what Linux says of the worker under ``name``."""
        return figure(file, name, self.worker)

    def popen(self, *command):
        """Start one of Django's commands on the server's database and files."""
        return subprocess.Popen(
            [sys.executable, "-m", "tests.system.served", *command],
            cwd=self.folder,
            env=self.env,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def manage(self, *command):
        """Run one of Django's commands to its end; return what it has printed."""
        process = self.popen(*command)
        output, errors = process.communicate(timeout=100)
        assert not process.returncode, errors
        return output

    def rows(self):
        """Return the attachments' rows: dicts of their fields."""
        dump = json.loads(self.manage("dumpdata", "session_attachments.attachment"))
        return [row["fields"] for row in dump]

    def stored(self):
        """Return the names of all stored files."""
        return _files(self.folder / "media")

    def unreferenced(self):
        """Return the paths of the files without a row; each row's file is whole."""
        media = self.folder / "media"
        sizes = {path: path.stat().st_size for path in media.glob("*/*/*")}
        for row in self.rows():
            assert sizes.pop(media / row["file"], None) == row["size"], row
        return sorted(sizes)

    def log(self):
        """Return what the server has printed."""
        return self.output.read_text()

    def temporary(self):
        """Return the names of all temporary files."""
        return _files(self.folder / "tmp")

    def open_temporary(self):
        """Return the paths of the temporary files that are open, also without a name.

        gunicorn's workers keep one for themselves.
        """
        return [path for path in self._opened("tmp") if "wgunicorn" not in path]

    def open_stored(self):
        """Return the paths of the stored files that are open."""
        return self._opened("media")

    def connections(self):
        """Return how many connections to its database the worker holds."""
        databases = json.loads(self.env["TEST_SERVER_SETTINGS"])["DATABASES"]
        name = databases["default"]["NAME"]
        if connection.vendor == "sqlite":
            return self._opened("session_attachments_").count(name)
        with connection.cursor() as cursor:  # pragma: no cover - measured on SQLite
            cursor.execute(CONNECTIONS[connection.vendor], [name])
            return cursor.fetchone()[0]

    def _opened(self, name):
        folder = str(self.folder / name)
        return [path for path in open_files(self.worker) if path.startswith(folder)]


def figure(file, name, process="self"):
    """Return what Linux says of a process under ``name``: see proc(5)."""
    text = _read(f"/proc/{process}/{file}")
    return int(re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)[1])


def open_files(pid):
    """Return what the descriptors of a process stand for, but for those it closes."""
    paths = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            paths.append(os.readlink(descriptor))
    return paths


@contextmanager
def going_on(*works):
    """Do ``works`` over and over, in threads, until the block ends."""
    over = threading.Event()

    def go_on(work):
        while not over.is_set():
            work()

    with ThreadPoolExecutor(len(works)) as pool:
        results = [pool.submit(go_on, work) for work in works]
        try:
            yield
        finally:
            over.set()
    for result in results:
        result.result()


def eventually(condition, seconds=10):
    """Wait until ``condition`` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@dataclass
class Usage:
    """What a worker takes, in bytes."""

    memory: int = 0
    written: int = 0


@contextmanager
def metered(server):
    """Measure how far the worker's memory grows meanwhile, and what it writes."""
    # From here on, the peak of its memory is a new one. See proc_pid_clear_refs(5).
    Path(f"/proc/{server.worker}/clear_refs").write_text("5")
    resident, written = server.figure("status", "VmRSS"), server.figure("io", "wchar")
    usage = Usage()
    yield usage
    usage.memory = (server.figure("status", "VmHWM") - resident) * KILOBYTE
    usage.written = server.figure("io", "wchar") - written
    print(server.kind, usage)


def _files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def _read(path):
    return Path(path).read_text()


@contextmanager
def running(kind, folder, *, atomic_requests=True, options=None, **settings):
    """Run a server, with these settings, until the end of the block; yield it.

    ``options`` are those of its database connections.
    """
    (folder / "tmp").mkdir()
    settings = {
        "MEDIA_ROOT": str(folder / "media"),
        "DATABASES": _databases(folder, atomic_requests, options or {}),
        # In process, a project's models point at attachments.
        "INSTALLED_APPS": [
            app for app in tests_settings.INSTALLED_APPS if app != "tests.project"
        ],
        "FILE_UPLOAD_HANDLERS": [
            "tests.system.served.NoTransaction",
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
        "TEST_SERVER_SETTINGS": json.dumps(settings),
        "TMPDIR": str(folder / "tmp"),
    }
    server = Server(kind, folder, env)
    with _database(server, settings), _started(server):
        yield server


@contextmanager
def _database(server, settings):
    """Let a server have its tables until the end of the block."""
    if connection.vendor == "sqlite":
        path = Path(settings["DATABASES"]["default"]["NAME"])
        apps = tuple(settings["INSTALLED_APPS"])
        if apps in MIGRATED:
            path.write_bytes(MIGRATED[apps])
        else:
            server.manage("create_database")
            MIGRATED[apps] = path.read_bytes()
        yield
    else:  # pragma: no cover - measured on SQLite
        server.manage("create_database")
        try:
            yield
        finally:
            server.manage("drop_database")


@contextmanager
def another(server, kind=None, **settings):
    """Run one more server, with the same database and files; yield it.

    It may be one of another ``kind``, and have other ``settings``.
    """
    settings = {**json.loads(server.env["TEST_SERVER_SETTINGS"]), **settings}
    env = {**server.env, "TEST_SERVER_SETTINGS": json.dumps(settings)}
    kind = kind or server.kind
    with _started(replace(server, kind=kind, env=env)) as machine:
        yield machine


@contextmanager
def _started(server):
    with _reserved() as reserved:
        server.port = reserved.getsockname()[1]
        server.output = server.folder / f"log-{server.port}"
        command = COMMANDS[server.kind]
        if "{fd}" in command:
            # Whoever connects before the server is up waits.
            reserved.listen()
        command = command.format(fd=reserved.fileno(), port=server.port)
        command = [sys.executable, "-m", *command.split()]
        options = {"cwd": server.folder, "env": server.env}
        with _listening(
            command, server, pass_fds=[reserved.fileno()], **options
        ) as server.process:
            yield server


@contextmanager
def behind_nginx(server, locations):
    """Put nginx, with these ``locations``, before a server; yield both as one."""
    with _reserved() as reserved:
        port = reserved.getsockname()[1]
        folder = server.folder / f"nginx-{port}"
        folder.mkdir()
        conf = NGINX_CONF.format(port=port, locations=locations)
        (folder / "nginx.conf").write_text(conf)
        command = [NGINX, "-p", str(folder), "-e", "stderr", "-c", "nginx.conf"]
        both = replace(server, port=port)
        with _listening(command, replace(both, output=folder / "log")):
            yield both


@contextmanager
def _reserved():
    """Yield a socket whose port nobody gets but who asks for it with SO_REUSEADDR."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        yield reserved


@contextmanager
def _listening(command, server, **options):
    """Run a server's process, from when it listens until the block ends; yield it."""

    def listens():
        assert process.poll() is None, server.log()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", server.port)) == 0

    with server.output.open("w") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log, **options)
        try:
            eventually(listens, 60)
            yield process
        finally:
            process.terminate()
            process.wait(timeout=20)


def _databases(folder, atomic_requests, options):
    """Return settings of two databases, the first as TEST_DATABASE says."""
    default = tests_settings.DATABASES["default"]
    name = f"session_attachments_{secrets.token_hex(4)}"
    name = str(folder / name) if "sqlite3" in default["ENGINE"] else name
    options = {**default.get("OPTIONS", {}), **options}
    default = {**default, "NAME": name, "OPTIONS": options}
    other = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "other")}
    return {
        alias: {**database, "TEST": {}, "ATOMIC_REQUESTS": atomic_requests}
        for alias, database in {"default": default, "other": other}.items()
    }


@dataclass
class Client:
    """Speaks to a server through a socket, byte by byte, in a session of its own."""

    server: Server
    cookies: dict = field(default_factory=lambda: {"csrftoken": TOKEN})
    kept: socket.socket | None = None

    def request(self, method, url, *body, cut=False, **headers):
        """Send a request and return the answer, or None if there is none.

        ``body`` are its chunks, ``headers`` are written with underscores. With
        ``cut`` the client stops sending before its end.
        """
        with nullcontext(self.kept) if self.kept else self.connect() as connection:
            self.send(connection, method, url, *body, **headers)
            if cut:
                connection.shutdown(socket.SHUT_WR)
            if not connection.recv(1, socket.MSG_PEEK):
                return None
            return Answer.read(connection, method)

    @contextmanager
    def keep_alive(self):
        """Send all requests through one connection, until the block ends."""
        with self.connect() as self.kept:
            yield
        self.kept = None

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=30)

    def send(self, connection, method, url, *body, **headers):
        """Send a request."""
        headers = {
            "Host": "127.0.0.1",
            "Connection": "keep-alive" if self.kept else "close",
            "Cookie": "; ".join(
                f"{name}={text}" for name, text in self.cookies.items()
            ),
            "X-CSRFToken": TOKEN,
            **{name.replace("_", "-"): text for name, text in headers.items()},
        }
        lines = [f"{method} {url} HTTP/1.1", *(f"{n}: {t}" for n, t in headers.items())]
        # In one piece with the body: a server may answer, and close, after the first.
        start = "\r\n".join([*lines, "", ""]).encode() + b"".join(body[:1])
        for chunk in (start, *body[1:]):
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

    def put(self, url, *body, type_="text/plain", length=None, **options):
        """PUT a file, sent in these chunks and announced as ``length`` bytes long."""
        length = sum(map(len, body)) if length is None else length
        return self.request(
            "PUT", url, *body, Content_Type=type_, Content_Length=length, **options
        )

    def begin(self, url, size, *body, name="spam.bin", length=None):
        """Begin an upload that resumes, and send ``body`` with that."""
        length = sum(map(len, body)) if length is None else length
        return self.request(
            "POST",
            url,
            *body,
            Content_Length=length,
            **(PIECE if body else {}),
            Tus_Resumable="1.0.0",
            Upload_Length=size,
            Upload_Metadata=f"filename {b64encode(name.encode()).decode()}",
        )

    def begun(self, url, size, *body, **options):
        """Begin an upload that resumes; return its URL."""
        answer = self.begin(url, size, *body, **options)
        assert answer.status == 201, answer
        return answer.headers["Location"]

    def patch(self, url, offset, *body, length=None, **options):
        """Continue an upload at ``offset`` with a body of ``length`` bytes."""
        length = sum(map(len, body)) if length is None else length
        headers = {"Content_Length": length, "Upload_Offset": offset, **PIECE}
        return self.resume(
            options.pop("method", "PATCH"), url, *body, **headers, **options
        )

    def resume(self, method, url, *body, **options):
        """Send a request to an upload."""
        return self.request(method, url, *body, Tus_Resumable="1.0.0", **options)

    def offset(self, url):
        """Return how far an upload is; None if there is none."""
        answer = self.resume("HEAD", url)
        assert answer.status in {200, 404}, answer
        return int(answer.headers["Upload-Offset"]) if answer.status == 200 else None

    def post_chunked(self, url, body, type_, method="POST"):
        """POST a body whose length is not announced."""
        blocks = [body[i : i + 50_000] for i in range(0, len(body), 50_000)]
        chunks = [b"%x\r\n%s\r\n" % (len(block), block) for block in [*blocks, b""]]
        headers = {"Content_Type": type_, "Transfer_Encoding": "chunked"}
        return self.request(method, url, b"".join(chunks), **headers)


@dataclass
class Answer:
    """What a server has answered."""

    status: int
    headers: CaseInsensitiveMapping
    content: bytes

    @classmethod
    def read(cls, connection, method):
        """Read an answer to its end."""
        with HTTPResponse(connection, method=method) as response:
            response.begin()
            headers = CaseInsensitiveMapping(response.getheaders())
            return cls(response.status, headers, response.read())

    def json(self):
        return json.loads(self.content)

    @property
    def problem(self):
        """Status and code of an error."""
        assert self.headers["Content-Type"] == "application/problem+json", self
        return self.status, self.json()["code"]
