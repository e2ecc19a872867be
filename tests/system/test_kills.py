"""Processes killed at any moment: what was answered is there, whole."""

import os
import signal
import time
from contextlib import contextmanager, suppress
from functools import partial
from http.client import HTTPException
from random import Random

import pytest

from tests.clients import MULTIPART, NEEDS, form, part
from tests.servers import Client, going_on, running
from tests.settings import LOOPS

pytestmark = [
    pytest.mark.database,
    pytest.mark.server,
    pytest.mark.soak,
    NEEDS["gunicorn"],
]

# Each time workers, and then the command.
TIMES = 8
WORKERS = 6

NAMES = ["a", "b", "c"]

# The largest waits in a temporary file and is moved, the others are written.
SIZES = [0, 1_000, 400_000, 600_000]
IN_MEMORY = {"FILE_UPLOAD_MAX_MEMORY_SIZE": 500_000}

# Finds work for itself until it is killed, and looks what the last one has left.
COMMAND = """
from datetime import timedelta
from django.contrib.sessions.backends.db import SessionStore
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.utils import timezone
from session_attachments.bundles import Bundle
from session_attachments.models import Attachment

rows = Attachment.objects.filter(bundle="outdated")
assert all(row.file.size == row.size for row in rows)
bundle = Bundle(SessionStore(), "outdated")
print("ready", flush=True)
while True:
    bundle.add(*[ContentFile(b"outdated", str(number)) for number in range(20)])
    rows.update(created=timezone.now() - timedelta(days=2))
    call_command("remove_outdated_attachments", older_than="1")
"""


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Run gunicorn with threads, in a worker that is replaced at once."""
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--preload")
    with running("gunicorn", tmp_path, **IN_MEMORY) as server:
        yield server


def seeded(*seeds):
    """Return a generator of random numbers, the same for the same seeds."""
    return Random(repr(seeds))  # noqa: S311 - nothing here is secret


class Shelf:
    """A bundle of one client, and what each name in it may be.

    That is a content, or None if there may be no such attachment. A request without
    an answer was done or not. In a database server it may even be done later: not
    after an answered upload, though, which has waited for it.
    """

    def __init__(self, client, bundle, random):
        self.client = client
        self.url = f"/attachments/{bundle}/"
        self.random = random
        self.answered = {name: {None} for name in NAMES}
        self.unanswered = {name: set() for name in NAMES}
        self.acts = self.killed = 0

    def __getitem__(self, name):
        return self.answered[name] | self.unanswered[name]

    def act(self):
        """Send some request; if there is no answer, look what has become of it."""
        name = self.random.choice(NAMES)
        answer = self.random.choice(
            [
                partial(self.upload, [name]),
                partial(self.upload, [name]),
                partial(self.upload, NAMES),
                partial(self.put, name),
                partial(self.put, name),
                partial(self.delete, f"{name}/", [name]),
                partial(self.delete, "", NAMES),
                self.check,
            ]
        )()
        while not answer:
            answer = self.check()
        self.acts += 1

    def upload(self, names):
        sizes = self.random.choices(SIZES, k=len(names))
        files = dict(zip(names, map(self.random.randbytes, sizes), strict=True))
        parts = [part(content, name) for name, content in files.items()]
        answer = self.ask(self.client.post, "", form(*parts), MULTIPART)
        self.remember(files, answer)
        return answer

    def put(self, name):
        (size,) = self.random.choices(SIZES)
        content = self.random.randbytes(size)
        answer = self.ask(self.client.put, name, content)
        if answer and self[name] in ({None}, self[name] - {None}):
            assert answer.status == (201 if self[name] == {None} else 200)
        self.remember({name: content}, answer)
        return answer

    def remember(self, files, answer):
        for name, content in files.items():
            if answer:
                self.answered[name] = {content}
                self.unanswered[name] = set()
            else:
                self.unanswered[name].add(content)

    def delete(self, path, names):
        answer = self.ask(partial(self.client.request, "DELETE"), path)
        if answer:
            possible = [name for name in names if self[name] != {None}]
            certain = [
                name
                for name in names
                if None not in self[name] and not self.unanswered[name]
            ]
            removed = answer.content.count(b"true")
            assert len(certain) <= removed <= len(possible)
        for name in names:
            if answer:
                self.answered[name] = {None}
            else:
                self.unanswered[name].add(None)
        return answer

    def check(self):
        """Look at everything; return whether there were answers."""
        answers = [self.list(), *map(self.download, NAMES), self.list()]
        before, *downloads, after = answers
        missing = {
            name
            for name, answer in zip(NAMES, downloads, strict=True)
            if answer and answer.status == 404
        }
        assert not missing & listed_names(before) & listed_names(after)
        return all(answers)

    def download(self, name):
        answer = self.ask(partial(self.client.request, "GET"), f"{name}/")
        if answer:
            content = answer.content if answer.status == 200 else None
            assert content in self[name]
        return answer

    def list(self):
        answer = self.ask(partial(self.client.request, "GET"), "")
        if answer:
            sizes = {row["name"]: row["size"] for row in answer.json()}
            for name in NAMES:
                possible = {None if c is None else len(c) for c in self[name]}
                assert sizes.get(name) in possible
        return answer

    def ask(self, request, path, *arguments):
        """Return the answer, or None if the process that should give it was killed."""
        answer = None
        with suppress(ConnectionError, HTTPException):
            answer = request(f"{self.url}{path}", *arguments)
        if answer is None:
            self.killed += 1
        else:
            assert answer.status in {200, 201, 404}, answer
        return answer


def listed_names(answer):
    return {row["name"] for row in answer.json()} if answer else set()


@contextmanager
def command_killed(server, random):
    """Run the command during the block, and kill it some time after."""
    with server.popen("shell", "--no-imports", "-c", COMMAND) as command:
        try:
            yield
            ready = command.stdout.readline()
            time.sleep(random.uniform(0, 0.1))
        finally:
            command.kill()
        assert (ready, command.stderr.read()) == ("ready\n", "")


def wait_for_change(look):
    """Wait until what ``look`` returns has changed; but not for ever."""
    before, limit = look(), time.monotonic() + 1
    while look() == before and time.monotonic() < limit:
        time.sleep(0.0005)


def kill_workers(server, shelves, random):
    """Let some requests be done, and kill soon after the next file has come or gone."""
    for _ in range(random.randint(1, 8)):
        wait_for_change(lambda: [shelf.acts for shelf in shelves])
    folder = server.folder / "media" / "session_attachments"
    wait_for_change(lambda: [day.stat().st_mtime_ns for day in folder.iterdir()])
    time.sleep(random.uniform(0, 0.01))
    for worker in server.workers():
        # It may have been the last one's turn, too.
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)


def remove_unreferenced(server):
    """Let the files without a row be old, and the command remove them."""
    rows = server.rows()
    old = server.folder / "media" / "session_attachments" / "2000-01-01"
    old.mkdir()
    for path in server.unreferenced():
        path.rename(old / path.name)
    # The attachments that were made old are younger.
    server.manage("remove_outdated_attachments", "--older-than=3")
    assert server.unreferenced() == []
    assert server.rows() == rows


@pytest.mark.parametrize("seed", range(LOOPS))
def test_what_was_answered_is_there(server, seed):
    sessions = [Client(server) for _ in range(3)]
    for session in sessions:
        session.get("/attachments/a/")
    shelves = [
        Shelf(session, bundle, seeded(seed, number, bundle))
        for number, session in enumerate(sessions)
        for bundle in ("a", "b")
    ]
    assert all(shelf.upload(NAMES) for shelf in shelves)

    random = seeded(seed)
    with going_on(*[shelf.act for shelf in shelves]):
        for _ in range(TIMES):
            with command_killed(server, random):
                for _ in range(WORKERS):
                    kill_workers(server, shelves, random)

    assert sum(shelf.killed for shelf in shelves) > TIMES * WORKERS / 2
    assert server.unreferenced()
    assert all(shelf.check() for shelf in shelves)
    assert all(shelf.upload(NAMES) for shelf in shelves)
    remove_unreferenced(server)
    assert all(shelf.check() for shelf in shelves)
