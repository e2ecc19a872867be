"""Projects as processes: each has a folder, a database and servers of its own."""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.client import MEGABYTE, Connection
from tests.benchmarks.peers import DIALECTS
from tests.npm import NODE
from tests.servers import ROOT, Server

GUNICORN = (
    "gunicorn --bind=fd://{} --workers=1 --worker-class=gthread --threads=8 "
    "--keep-alive=75 --log-level=error"
)
COMMANDS = {
    "gthread": f"{GUNICORN} django.core.wsgi:get_wsgi_application()",
    "asgi": (
        "uvicorn --fd={} --lifespan=off --log-level=warning --no-access-log "
        "--factory django.core.asgi:get_asgi_application"
    ),
    "without Django": f"{GUNICORN} tests.benchmarks.machine:application",
    "node": "{} media",
}


def program(kind):
    """Return the program that runs that kind of server, and its first argument."""
    if kind != "node":
        return [sys.executable, "-m"]
    # NODE may be a script that starts it, and does not end it.
    node = subprocess.check_output([NODE, "-p", "process.execPath"], text=True)
    return [node.strip(), Path(__file__).with_name("tus_server.js")]


@contextmanager
def started(kind, folder, env):
    """Run a server from when it answers until the block ends; yield it."""
    folder.mkdir(exist_ok=True)
    # gunicorn puts a socket there.
    server = Server(kind, folder, {**env, "HOME": str(folder)})
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server.port = listening.getsockname()[1]
        command = COMMANDS[kind].format(listening.fileno())
        server.process = subprocess.Popen(
            [*program(kind), *command.split()],
            cwd=folder,
            env=server.env,
            pass_fds=[listening.fileno()],
        )
    try:
        # What is no HTTP is answered without a look at the project. (Who connects
        # before gunicorn is up gets a socket without TCP_NODELAY: 40 ms an answer.)
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as asking:
            asking.sendall(b"no HTTP\r\n\r\n")
            while asking.recv(1000):
                pass
        yield server
    finally:
        server.process.terminate()
        server.process.wait(timeout=20)


@dataclass
class Cost:
    """What a process took, from its start to its end: seconds and bytes."""

    wall: float
    cpu: float
    memory: int


@dataclass
class Project:
    """A project that may be served and talked to."""

    name: str
    folder: Path
    synchronous: str
    database: str
    session_keys: list = field(default_factory=list)
    server: Server | None = None

    @property
    def dialect(self):
        """What to say to it."""
        return DIALECTS[self.name]

    @property
    def env(self):
        """The environment of its processes."""
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDEVMODE"}
        return {
            **env,
            "BENCHMARK_DATABASE": self.database,
            "BENCHMARK_FOLDER": str(self.folder),
            "BENCHMARK_PROJECT": self.name,
            "BENCHMARK_SYNCHRONOUS": self.synchronous,
            "DJANGO_SETTINGS_MODULE": "tests.benchmarks.settings",
            "PYTHONPATH": str(ROOT),
            # Of the floor's FileResponse under ASGI.
            "PYTHONWARNINGS": "ignore",
            "TMPDIR": str(self.folder / "tmp"),
        }

    def inside(self, *command):
        """Do something inside the project; return what it printed."""
        env = {**self.env, "BENCHMARK_SYNCHRONOUS": "OFF"}
        return self._run("tests.benchmarks.inside", *command, env=env)

    def run(self, *arguments):
        """Run Python with these arguments, to its end; return its cost."""
        return Cost(**self._run("tests.benchmarks.cost", *arguments, env=self.env))

    def _run(self, module, *arguments, env):
        process = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            check=True,
            cwd=self.folder,
            env=env,
            stdout=subprocess.PIPE,
        )
        return json.loads(process.stdout)

    def connect(self, number=0, server=None):
        """Connect to the server as one of the sessions."""
        return Connection((server or self.server).port, self.session_keys[number])

    def cpu(self):
        """Return how many seconds the server's worker has kept a processor busy."""
        nanoseconds = 0
        for task in Path(f"/proc/{self.server.worker}/task").glob("*/schedstat"):
            # A thread may end meanwhile.
            with suppress(FileNotFoundError, ProcessLookupError):
                nanoseconds += int(task.read_text().split()[0])
        return nanoseconds / 1e9

    @contextmanager
    def fresh(self, kind):
        """Run one more server, whose worker has done nothing yet; yield it."""
        with started(kind, self.folder / f"fresh {kind}", self.env) as server:
            yield server

    def files(self):
        """Return the paths of all stored files."""
        return {path for path in (self.folder / "media").rglob("*") if path.is_file()}

    def forget_large(self):
        """Remove the large files, before they are written to disk."""
        for path in self.files():
            if path.stat().st_size >= MEGABYTE:
                path.unlink()


class Projects:
    """The projects of one run, made and started when they are first needed."""

    def __init__(self, folder, synchronous, database):
        self.folder = Path(folder)
        self.synchronous = synchronous
        self.database = database
        self.stack = ExitStack()
        self.made = {}

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.stack.close()

    def make(self, name, kind=None):
        """Return the project of that name, served by that kind of server."""
        if (name, kind) not in self.made:
            folder = self.folder / f"{name} {kind}".replace(" ", "-")
            (folder / "tmp").mkdir(parents=True)
            project = Project(name, folder, self.synchronous, self.database)
            is_django = kind != "node"
            if is_django and self.database != "sqlite":
                self.stack.callback(project.inside, "drop_database")
            project.session_keys = project.inside("prepare") if is_django else [""]
            if kind:
                project.server = self.stack.enter_context(
                    started(kind, folder, project.env)
                )
            self.made[name, kind] = project
        return self.made[name, kind]
