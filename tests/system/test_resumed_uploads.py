"""Uploads that resume: raced, killed, and through a line that breaks."""

import json
import os
import signal
import socket
import subprocess
import threading
from contextlib import contextmanager, suppress
from functools import partial
from http.client import HTTPException
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from random import Random
from urllib.parse import quote, urlsplit

import pytest

from session_attachments.conf import MEGABYTE
from tests.benchmarks.memory import blocks
from tests.clients import MULTIPART, NEEDS, URL, form, part
from tests.npm import NODE, needs_npm
from tests.servers import TOKEN, Client, eventually, going_on, metered, running
from tests.settings import LOOPS
from tests.storages import at_once

pytestmark = [
    pytest.mark.server,
    pytest.mark.soak,
    NEEDS["gunicorn"],
]

CLIENTS = 16
ROUNDS = 5 * LOOPS
SIZE = 300_000
CONTENT = Random(1).randbytes(SIZE)  # noqa: S311 - nothing here is secret
IN_MEMORY = {"FILE_UPLOAD_MAX_MEMORY_SIZE": 100_000}
MIB = 1 / 1024 / 1024


@pytest.fixture(scope="module", params=["gunicorn", "gunicorn processes"])
def server(request, tmp_path_factory):
    """Run gunicorn with threads, or with processes; return the server."""
    folder = tmp_path_factory.mktemp("gunicorn")
    with running(request.param, folder, **IN_MEMORY) as server:
        yield server
        assert "Traceback" not in server.log()


@pytest.fixture
def client(server):
    """Return a client with a session, and see that nothing is left of it."""
    client = Client(server)
    client.get(URL)
    yield client
    client.request("DELETE", URL)
    assert server.unreferenced() == []


def statuses(answers):
    """Return the statuses of answers, sorted."""
    return sorted(answer.status for answer in answers)


def content(client, name="spam.bin"):
    """Return what an attachment holds; None if there is none."""
    answer = client.get(f"{URL}{quote(name)}/")
    assert answer.status in {200, 404}
    return answer.content if answer.status == 200 else None


@pytest.mark.database
class TestRaces:
    def test_of_pieces_at_one_offset_one_counts(self, server, client):
        for _ in range(ROUNDS):
            url = client.begun(URL, SIZE)
            bodies = [CONTENT[: 1000 * number] for number in range(1, CLIENTS + 1)]
            send = [partial(client.patch, url, 0, body) for body in bodies]

            answers = at_once(*send)

            assert statuses(answers) == [204] + [409] * (CLIENTS - 1)
            (moved,) = [answer for answer in answers if answer.status == 204]
            offset = client.offset(url)
            assert moved.headers["Upload-Offset"] == str(offset)
            assert [path.stat().st_size for path in server.unreferenced()] == [offset]
            assert client.patch(url, offset, CONTENT[offset:]).status == 204
            assert content(client) == CONTENT

    @pytest.mark.parametrize("pieces", [0, 1])
    def test_of_last_pieces_one_counts(self, server, client, pieces):
        for _ in range(ROUNDS):
            url = client.begun(URL, SIZE, CONTENT[: pieces * 150_000])
            offset = client.offset(url)
            send = partial(client.patch, url, offset, CONTENT[offset:])

            answers = at_once(*[send] * CLIENTS)

            assert statuses(answers) == [204] + [409] * (CLIENTS - 1)
            lost = {a.headers.get("Upload-Offset") for a in answers if a.status == 409}
            assert lost == {str(SIZE)}
            assert content(client) == CONTENT
            assert client.offset(url) == SIZE
        assert server.unreferenced() == []

    def test_finish_against_all_verbs_and_the_command(self, server, client):
        replacement = form(part(b"new", "spam.bin"))
        works = {
            "replace": partial(client.post, URL, replacement, MULTIPART),
            "delete": partial(client.request, "DELETE", f"{URL}spam.bin/"),
            "clear": partial(client.request, "DELETE", URL),
            "cancel": lambda: client.resume("DELETE", url),
        }
        for number in range(ROUNDS):
            for name, work in works.items():
                url = client.begun(URL, SIZE, CONTENT[:1000])
                finish = partial(client.patch, url, 1000, CONTENT[1000:])

                other, answer = at_once(work, finish)

                assert other.status in {200, 204}, (name, number, other)
                # Who ended the upload was faster.
                ended = {"clear", "cancel"} if answer.status == 404 else works
                assert answer.status in {204, 404}
                assert name in ended
                shelf = content(client)
                assert shelf in {None, CONTENT, b"new"}
                assert (client.offset(url) == SIZE) == (shelf == CONTENT)

    def test_uploads_and_the_command(self, server, client):
        def upload(name):
            url = client.begun(URL, SIZE, CONTENT[:1000], name=name)
            client.patch(url, 1000, CONTENT[1000:200_000])
            assert client.patch(url, 200_000, CONTENT[200_000:]).status == 204
            assert content(client, name) == CONTENT

        with going_on(*(partial(upload, name) for name in "abcd")):
            for _ in range(2):
                server.manage("remove_outdated_attachments", "--older-than=1")

    def test_clears_leave_nothing(self, server, client):
        def upload():
            answer = client.begin(URL, SIZE, CONTENT[:1000])
            assert answer.status in {201, 404}, answer
            # Cleared before its first piece was there, it has no URL.
            url = answer.headers.get("Location", f"{URL}gone/resume/")
            answer = client.patch(url, 1000, CONTENT[1000:])
            assert answer.status in {204, 404}, answer

        def clear():
            assert client.request("DELETE", URL).status == 200

        with going_on(*[upload] * 4, clear, clear):
            server.manage("remove_outdated_attachments", "--older-than=1")


@pytest.mark.database
class TestQuota:
    @pytest.fixture(params=["gunicorn", "gunicorn processes"])
    def server(self, request, tmp_path):
        """Run gunicorn with a quota, into which four files fit."""
        quota = {"SESSION_ATTACHMENTS_MAX_SESSION_SIZE": 4 * SIZE * MIB}
        with running(request.param, tmp_path, **quota) as server:
            yield server

    def test_parallel_creations_do_not_exceed_it(self, server, client):
        for _ in range(ROUNDS):
            begin = [partial(client.begin, URL, SIZE, name=f"{n}") for n in range(16)]

            answers = at_once(*begin)

            assert statuses(answers) == [201] * 4 + [413] * 12
            urls = [a.headers["Location"] for a in answers if a.status == 201]
            finish = [partial(client.patch, url, 0, CONTENT) for url in urls]
            assert statuses(at_once(*finish)) == [204] * 4
            assert client.begin(URL, 1, name="more").problem[0] == 413
            client.request("DELETE", URL)

    def test_creations_and_forms_do_not_exceed_it(self, server, client):
        for _ in range(ROUNDS):
            works = []
            for number in range(8):
                body = form(part(CONTENT, f"form-{number}"))
                works += [
                    partial(client.begin, URL, SIZE, name=f"{number}"),
                    partial(client.post, URL, body, MULTIPART),
                ]

            answers = statuses(at_once(*works))

            assert answers[4:] == [413] * 12
            assert answers[:4].count(200) == len(client.get(URL).json())
            client.request("DELETE", URL)


@pytest.mark.slow
@pytest.mark.parametrize("server", ["gunicorn"], indirect=True)
def test_many_pieces_of_one_byte(server, client):
    number = 200
    with client.keep_alive():
        client.post(URL, form(part(b"egg\n", "egg.txt")), MULTIPART)
        url = client.begun(URL, number)
        for at in range(number):
            answer = client.patch(url, at, CONTENT[at : at + 1])
            assert answer.headers["Upload-Offset"] == str(at + 1)

        assert content(client) == CONTENT[:number]
        assert content(client, "egg.txt") == b"egg\n"
    assert server.unreferenced() == []


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("piece", "written"), [(40, 1.02), (8, 2.04)], ids=["one piece", "pieces"]
)
def test_cost_of_a_large_file(tmp_path, piece, written):
    size = 40 * MEGABYTE
    with running("gunicorn", tmp_path) as server:
        client = Client(server)
        client.get(URL)
        # What is needed once.
        client.begun(URL, 2, b"1")
        client.patch(client.begun(URL, 2, b"1", name="small.bin"), 1, b"2")
        url = client.begun(URL, size, name="large.bin")
        with metered(server) as usage:
            for start in range(0, 40, piece):
                body = blocks(start, start + piece)
                answer = client.patch(url, start * MEGABYTE, *body)
                assert answer.status == 204
        assert content(client, "large.bin") == b"".join(blocks(0, 40))

    assert usage.memory < 10 * MEGABYTE
    assert size <= usage.written <= written * size


def kill(server):
    """Kill the workers, and wait for others."""
    before = server.workers()
    for worker in before:
        os.kill(worker, signal.SIGKILL)
    eventually(lambda: server.workers() and not {*server.workers()} & {*before}, 30)


@pytest.mark.database
class TestKills:
    @pytest.fixture(params=["gunicorn", "gunicorn sync"])
    def server(self, request, tmp_path):
        """Run gunicorn, which waits as long over a file as the test says."""
        validators = ["tests.system.served.wait_while_validating"]
        settings = {"SESSION_ATTACHMENTS_VALIDATORS": validators, **IN_MEMORY}
        with running(request.param, tmp_path, **settings) as server:
            yield server

    def test_worker_is_killed_while_a_piece_comes(self, server, client):
        url = client.begun(URL, SIZE, CONTENT[:1000])
        headers = {
            "Content_Length": SIZE - 1000,
            "Content_Type": "application/offset+octet-stream",
            "Tus_Resumable": "1.0.0",
            "Upload_Offset": 1000,
        }
        with client.connect() as connection:
            client.send(connection, "PATCH", url, CONTENT[1000:-1000], **headers)
            eventually(server.open_temporary)
            kill(server)

        assert client.offset(url) == 1000
        assert client.patch(url, 1000, CONTENT[1000:]).status == 204
        assert content(client) == CONTENT

    def test_worker_is_killed_in_the_finish(self, server, client):
        url = client.begun(URL, SIZE, CONTENT[:1000], name="slow.bin")
        signal_ = server.folder / "validating"

        def finish():
            with suppress(ConnectionError, HTTPException):
                assert client.patch(url, 1000, CONTENT[1000:]) is None

        thread = threading.Thread(target=finish)
        thread.start()
        eventually(signal_.exists)
        kill(server)
        thread.join()
        signal_.unlink()

        assert client.offset(url) == 1000
        thread = threading.Thread(
            target=lambda: (eventually(signal_.exists), signal_.unlink())
        )
        thread.start()
        assert client.patch(url, 1000, CONTENT[1000:]).status == 204
        thread.join()
        assert content(client, "slow.bin") == CONTENT


@contextmanager
def broken_line(server, limit):
    """Yield the port of a line to a server; it breaks after ``limit`` bytes, each time.

    But for what is smaller: questions come through.
    """

    def serve():
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                threading.Thread(target=connect, args=[near], daemon=True).start()

    def connect(near):
        with near, socket.create_connection(("127.0.0.1", server.port)) as far:
            back = threading.Thread(target=copy, args=[far, near], daemon=True)
            back.start()
            left = limit
            with suppress(OSError):
                while left > 0 and (data := near.recv(min(left, 65536))):
                    far.sendall(data)
                    left -= len(data)
            if left <= 0:
                breaks.append(limit)
                # What came before is there; of what comes nobody hears.
                with suppress(OSError):
                    far.shutdown(socket.SHUT_WR)
                near.close()
            back.join()

    def copy(far, near):
        with suppress(OSError):
            while data := far.recv(65536):
                near.sendall(data)

    breaks = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1], breaks
        listener.shutdown(socket.SHUT_RDWR)


def headers_of(client):
    """Return what another client sends of the same visitor."""
    cookies = "; ".join(f"{name}={text}" for name, text in client.cookies.items())
    return {"Cookie": cookies, "X-CSRFToken": TOKEN}


@pytest.mark.skipif(not find_spec("tusclient"), reason="needs tuspy")
class TestTuspy:
    @pytest.mark.parametrize("size", [0, 1, SIZE])
    @pytest.mark.parametrize("chunk", [100_000, 10 * SIZE])
    def test_unmodified_client_uploads(self, client, server, size, chunk):
        self.upload(client, server.port, CONTENT[:size], chunk)

        assert content(client, "Отчёт.bin") == CONTENT[:size]

    @pytest.mark.parametrize("chunk", [100_000, 10 * SIZE])
    def test_it_goes_on_after_the_line_broke(self, client, server, chunk):
        with broken_line(server, 70_000) as (port, breaks):
            self.upload(client, port, CONTENT, chunk)

        assert len(breaks) >= 4
        assert content(client, "Отчёт.bin") == CONTENT

    def upload(self, client, port, body, chunk):
        """Let tuspy send ``body`` in pieces of ``chunk`` bytes."""
        from tusclient.client import TusClient

        url = f"http://127.0.0.1:{port}{URL}"
        TusClient(url, headers=headers_of(client)).uploader(
            file_stream=BytesIO(body),
            chunk_size=chunk,
            retries=50,
            retry_delay=0.01,
            metadata={"filename": "Отчёт.bin"},
            metadata_encoding="utf-8",
        ).upload()


@needs_npm
class TestTusJsClient:
    @pytest.mark.parametrize("chunk", [100_000, "Infinity"])
    def test_unmodified_client_uploads(self, client, server, tmp_path, chunk):
        url = self.upload(client, server.port, tmp_path, chunk)

        assert content(client, "Отчёт.bin") == CONTENT
        assert client.offset(url) == SIZE

    @pytest.mark.parametrize("chunk", [100_000, "Infinity"])
    def test_it_goes_on_after_the_line_broke(self, client, server, tmp_path, chunk):
        with broken_line(server, 70_000) as (port, breaks):
            self.upload(client, port, tmp_path, chunk)

        assert len(breaks) >= 4
        assert content(client, "Отчёт.bin") == CONTENT

    def upload(self, client, port, folder, chunk):
        """Let tus-js-client send the content; return the path of the upload."""
        file = folder / "file"
        file.write_bytes(CONTENT)
        endpoint = f"http://127.0.0.1:{port}{URL}"
        headers = json.dumps(headers_of(client))
        script = Path(__file__).with_name("tus_client.js")
        command = [NODE, script, endpoint, file, "Отчёт.bin", str(chunk), headers]
        url = subprocess.check_output(command, text=True, timeout=60)
        return urlsplit(url).path
