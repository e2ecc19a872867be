"""The recipe for ClamAV, with a real clamd that knows one virus."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tracemalloc
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from threading import Thread, Timer
from types import SimpleNamespace
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
from django.core.exceptions import ValidationError
from django.core.files import File
from django.core.files.base import ContentFile

from session_attachments.conf import conf
from tests.clients import names, problem, shelf, upload
from tests.system.test_readme import ROOT, run_code

RECIPE = (ROOT / "example_project" / "recipes" / "clamav.py").read_text()

# A user's PATH lacks Debian's daemons.
CLAMD = shutil.which("clamd", path=os.pathsep.join([*os.get_exec_path(), "/usr/sbin"]))

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.server,
    pytest.mark.skipif(CLAMD is None, reason="needs clamd"),
]

MODULE = "yoursite.clamav"
INFECTED = "The virus scanner does not accept this file."
TOO_LARGE = "This file is too large for the virus scanner."
NO_ANSWER = "The virus scanner does not answer. Please try later."

VIRUS = b"the only virus that this clamd knows"
CHUNK = 64 * 1024

# The recipe's sizes for clamd.conf, divided by 50.
STREAM = 1024 * 1024
ARCHIVE = 4 * STREAM

CLEAN = (bytes(range(251)) * 5000)[:STREAM]


def printed_limits():
    """Return the lines for clamd.conf that the recipe prints."""
    return re.search(r"clamd\.conf::\n\n((?:    .+\n)+)", RECIPE)[1]


def zipped(*contents):
    """Return an archive of files with these contents."""
    with BytesIO() as file:
        with ZipFile(file, "w", ZIP_DEFLATED) as archive:
            for number, content in enumerate(contents):
                archive.writestr(f"{number}.bin", content)
        return file.getvalue()


@dataclass
class Daemon:
    """A running clamd."""

    process: subprocess.Popen
    folder: Path
    port: int

    @property
    def addresses(self):
        """The two kinds of what the recipe calls CLAMD."""
        return {"unix": str(self.folder / "socket"), "tcp": ("127.0.0.1", self.port)}

    @contextmanager
    def hanging(self):
        """Stop the daemon until the end of the block; its sockets stay open.

        A client that would wait for ever does not: it gets its answer, much later.
        """
        go_on = partial(self.process.send_signal, signal.SIGCONT)
        timer = Timer(10, go_on)
        self.process.send_signal(signal.SIGSTOP)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
            go_on()

    @contextmanager
    def failing(self):
        """Take its temporary folder away until the end of the block."""
        folder = self.folder / "temporary"
        folder.rename(self.folder / "away")
        try:
            yield
        finally:
            (self.folder / "away").rename(folder)


@contextmanager
def running(folder):
    """Run clamd with the recipe's limits, made smaller; yield the daemon."""
    (folder / "temporary").mkdir()
    (folder / "test.ndb").write_text(f"Virus:0:*:{VIRUS.hex()}\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        _, port = free.getsockname()
    (folder / "clamd.conf").write_text(
        f"DatabaseDirectory {folder}\n"
        f"TemporaryDirectory {folder}/temporary\n"
        f"LocalSocket {folder}/socket\n"
        f"TCPSocket {port}\n"
        "TCPAddr 127.0.0.1\n"
        "Foreground yes\n"
        + re.sub(r"\d+(?=M)", lambda size: f"{int(size[0]) // 50}", printed_limits())
    )
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [CLAMD, f"--config-file={folder}/clamd.conf"], stderr=log, stdout=log
        )
    daemon = Daemon(process, folder, port)
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            while probe.connect_ex(daemon.addresses["unix"]):
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.02)
        yield daemon
    finally:
        process.terminate()
        process.wait(timeout=20)


@contextmanager
def answering(reply):
    """Run something that is no clamd and answers ``reply``; yield its address."""

    def answer():
        connection, _ = listening.accept()
        with connection:
            connection.sendall(reply)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(CHUNK):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(20)
        thread = Thread(target=answer)
        thread.start()
        try:
            yield listening.getsockname()
        finally:
            thread.join()


@pytest.fixture(scope="session")
def clamd(tmp_path_factory):
    """Run a daemon for all tests that leave it as it was; return it."""
    with running(tmp_path_factory.mktemp("clamd")) as daemon:
        yield daemon


@pytest.fixture
def mortal(tmp_path_factory):
    """Run a daemon for one test; return it."""
    with running(tmp_path_factory.mktemp("clamd")) as daemon:
        yield daemon


@pytest.fixture(params=["unix", "tcp"])
def transport(request):
    """Return one kind of socket after the other."""
    return request.param


@pytest.fixture
def recipe(settings, monkeypatch, clamd, transport):
    """Install the validator as the recipe says; return its module's names."""
    recipe = run_code(RECIPE, __name__=MODULE)
    recipe["CLAMD"] = clamd.addresses[transport]
    monkeypatch.setitem(sys.modules, MODULE, SimpleNamespace(**recipe))
    setting = re.search(r"SESSION_ATTACHMENTS_VALIDATORS = .+", RECIPE)[0]
    for name, value in run_code(setting).items():
        setattr(settings, name, value)
    return recipe


@pytest.fixture
def client(client, recipe):
    """Return a client that has an attachment."""
    assert names(upload(client, {"spam.txt": b"spam\n"})) == ["spam.txt"]
    return client


@pytest.fixture
def refused(client, stored, caplog):
    """Return a function that uploads what is refused; it returns why, and the log."""
    (before,) = stored()

    def upload_in_vain(files):
        caplog.clear()
        response = upload(client, files)
        assert problem(response) == (400, "invalid")
        assert shelf(client) == {"spam.txt": b"spam\n"}
        assert stored() == [before]
        logged = [r.getMessage() for r in caplog.records if r.name == MODULE]
        answer = response.json()
        refusal = f"The file “{answer['name']}” is not accepted. "
        assert answer["name"] in files
        assert answer["detail"].startswith(refusal)
        return answer["detail"].removeprefix(refusal), logged

    return upload_in_vain


def test_printed_limits_fit_the_default():
    limits = dict(line.split() for line in printed_limits().splitlines())

    assert int(limits["StreamMaxLength"].rstrip("M")) >= conf.max_file_megabytes


class TestScan:
    @pytest.mark.parametrize(
        "content",
        [
            VIRUS,
            b"b" * (CHUNK - 9) + VIRUS,
            CLEAN[len(VIRUS) :] + VIRUS,
            zipped(b"egg\n", VIRUS),
            zipped(b"b" * (ARCHIVE // 2) + VIRUS),
        ],
        ids=["alone", "in two chunks", "at the end", "archive", "large archive"],
    )
    def test_infected_file_is_refused(self, refused, content):
        assert refused({"egg.txt": content}) == (INFECTED, [])
        assert refused({"spam.txt": content}) == (INFECTED, [])

    @pytest.mark.parametrize("infected", ["a.txt", "b.txt"])
    def test_infected_file_keeps_the_other_out(self, refused, infected):
        files = {"a.txt": b"a", "b.txt": b"b", infected: VIRUS}

        assert refused(files) == (INFECTED, [])

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            VIRUS[:-1],
            CLEAN,
            zipped(b"b" * (ARCHIVE - CHUNK)),
        ],
        ids=["empty", "short", "long", "archive"],
    )
    def test_clean_file_is_stored_whole(self, client, content):
        upload(client, {"egg.txt": content})

        assert shelf(client) == {"egg.txt": content, "spam.txt": b"spam\n"}

    def test_file_that_waits_on_the_disk_is_scanned(self, client, refused, temporary):
        assert refused({"egg.txt": CLEAN[len(VIRUS) :] + VIRUS}) == (INFECTED, [])
        upload(client, {"egg.txt": CLEAN})

        assert shelf(client) == {"egg.txt": CLEAN, "spam.txt": b"spam\n"}
        assert list(temporary.iterdir()) == []

    @pytest.mark.parametrize(
        "content",
        [zipped(b"b" * (ARCHIVE + 1)), zipped(*[b"b" * STREAM, b"c" * STREAM] * 3)],
        ids=["one file", "many files"],
    )
    def test_archive_that_clamd_does_not_look_into_is_refused(self, refused, content):
        assert refused({"egg.zip": content}) == (INFECTED, [])

    @pytest.mark.parametrize("size", [STREAM + 1, 3 * STREAM])
    def test_file_over_the_limit_of_clamd_is_refused(self, refused, size):
        reply = r"'INSTREAM size limit exceeded. ERROR\x00'"

        assert refused({"egg.bin": b"b" * size}) == (
            TOO_LARGE,
            [f"clamd has not scanned a file of {size} bytes: {reply}"],
        )

    def test_file_is_read_from_its_beginning_and_left_there(self, recipe):
        clean, infected = ContentFile(b"spam\n"), ContentFile(VIRUS)
        clean.seek(5)
        infected.seek(5)

        recipe["no_viruses"](clean)

        assert clean.tell() == 0
        with pytest.raises(ValidationError, match=INFECTED):
            recipe["no_viruses"](infected)

    def test_file_is_not_read_into_memory(self, recipe, tmp_path):
        with (tmp_path / "large").open("w+b") as file:
            file.truncate(50 * STREAM)
            tracemalloc.start()

            with pytest.raises(ValidationError, match=TOO_LARGE):
                recipe["no_viruses"](File(file))

            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak < STREAM


class TestNoAnswer:
    """Then nobody knows whether there is a virus: refused, and logged."""

    @pytest.mark.parametrize("end", ["terminate", "kill"])
    def test_clamd_that_is_gone(self, refused, recipe, mortal, transport, end):
        recipe["CLAMD"] = mortal.addresses[transport]
        getattr(mortal.process, end)()
        mortal.process.wait()

        why, logged = refused({"egg.txt": b"egg\n"})

        assert why == NO_ANSWER
        assert len(logged) == 1
        assert re.search("FileNotFoundError|ConnectionRefusedError", logged[0])

    def test_clamd_that_dies_meanwhile(self, refused, recipe, mortal, transport):
        recipe["CLAMD"] = mortal.addresses[transport]
        timer = Timer(0.2, mortal.process.kill)

        with mortal.hanging():
            timer.start()
            why, logged = refused({"egg.txt": b"egg\n"})

        assert why == NO_ANSWER
        assert len(logged) == 1

    @pytest.mark.parametrize("size", [4, STREAM])
    def test_clamd_that_hangs(self, refused, recipe, clamd, size):
        recipe["TIMEOUT"] = 0.2

        with clamd.hanging():
            why, logged = refused({"egg.bin": b"b" * size})

        assert why == NO_ANSWER
        assert len(logged) == 1
        assert "TimeoutError" in logged[0]

    def test_clamd_that_cannot_scan(self, client, refused, clamd):
        with clamd.failing():
            why, logged = refused({"egg.txt": b"egg\n"})

        assert why == NO_ANSWER
        assert len(logged) == 1
        assert names(upload(client, {"egg.txt": b"egg\n"})) == ["egg.txt"]

    @pytest.mark.parametrize("transport", ["tcp"], indirect=True)
    @pytest.mark.parametrize(
        "reply",
        [
            b"stream: OK",
            b"stream: OK\n",
            b"stream: OK\0 FOUND",
            b"stream: x FOUND",
            b"x: OK\0",
            b"PONG\0",
            b"\xff\0",
            b"UNKNOWN COMMAND\0",
        ],
    )
    def test_answer_that_is_not_clamd_s(self, refused, recipe, reply):
        with answering(reply) as recipe["CLAMD"]:
            why, logged = refused({"egg.txt": b"egg\n"})

        assert why == NO_ANSWER
        assert logged[0].endswith(f"bytes: {reply.decode(errors='replace')!r}")
