"""Large files, and what they cost real servers: memory, writes, others' time."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import wave
from http.client import IncompleteRead
from pathlib import Path
from socket import SO_RCVBUF, SOL_SOCKET

import pytest

from session_attachments.conf import MEGABYTE
from tests.benchmarks.memory import (
    MEMORY,
    SETTINGS,
    WRITTEN,
    blocks,
    downloading,
    measure,
    upload,
    warm_up,
)
from tests.browsers import browser, needs_chromium
from tests.clients import MULTIPART, NEEDS, URL, form, part
from tests.servers import KILOBYTE, Client, eventually, running

pytestmark = [
    pytest.mark.server,
    pytest.mark.slow,
    pytest.mark.skipif(
        not Path("/proc/self/io").exists(), reason="needs Linux's /proc"
    ),
]

MEGABYTES = 40
WHOLE_AND_PART = ["", "bytes=1-"]


class SlowClient(Client):
    """Has little room for what it has not read: the server cannot send it all."""

    def connect(self):
        connection = super().connect()
        connection.setsockopt(SOL_SOCKET, SO_RCVBUF, 64 * KILOBYTE)
        return connection


def serving(kind, folder):
    """Run a server; yield a client that has a large file there, and what it cost."""
    with running(kind, folder, **SETTINGS) as server:
        client = SlowClient(server)
        warm_up(client)
        yield client, dict(measure(client, MEGABYTES))


@pytest.fixture(scope="module")
def gunicorn(tmp_path_factory):
    """Run gunicorn; return a client and usages."""
    yield from serving("gunicorn", tmp_path_factory.mktemp("gunicorn"))


@pytest.fixture(scope="module")
def uvicorn(tmp_path_factory):
    """Run uvicorn; return a client and usages."""
    yield from serving("uvicorn", tmp_path_factory.mktemp("uvicorn"))


@pytest.fixture(params=[pytest.param(kind, marks=NEEDS[kind]) for kind in NEEDS])
def served(request):
    """Return the client and the usages of one server after the other."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def client(served):
    """Return a client of one server after the other, which has a large file there."""
    return served[0]


@pytest.fixture
def log(client):
    """Return a function that returns what the server has logged in this test."""
    before = len(client.server.log())
    return lambda: client.server.log()[before:]


def newest(client):
    """Return the number of the newest attachment, and the path of its file."""
    dump = client.server.manage("dumpdata", "session_attachments.attachment")
    row = max(json.loads(dump), key=lambda row: row["pk"])
    return row["pk"], client.server.folder / "media" / row["fields"]["file"]


class TestCost:
    def test_file_is_not_held_in_memory(self, served):
        _, usages = served

        assert [*usages] == ["upload", "put", "download", "range"]
        assert all(usage.memory < MEMORY for usage in usages.values())
        assert usages["put"].memory < 10 * MEGABYTE

    def test_file_is_written_once(self, served):
        client, usages = served
        size = MEGABYTES * MEGABYTE

        for transfer in ("upload", "put"):
            written = usages[transfer].written
            assert size <= written <= WRITTEN[client.server.kind] * size

    @NEEDS["gunicorn"]
    def test_whole_file_is_sent_by_the_system(self, gunicorn):
        _, usages = gunicorn

        # For Linux sendfile() writes, and send() does not.
        assert usages["download"].written >= MEGABYTES * MEGABYTE
        assert usages["range"].written < MEGABYTE


@pytest.mark.parametrize("wanted", WHOLE_AND_PART)
class TestSlowClient:
    def test_download_waits_and_holds_nobody_up(self, client, wanted):
        before = client.server.figure("io", "rchar")

        with downloading(client, Range=wanted) as response:
            assert len(response.read(KILOBYTE)) == KILOBYTE
            for _ in range(3):
                assert client.get(URL).json()[0]["name"] == "large.bin"
            eventually(lambda: len(client.server.open_stored()) == 1)
            assert (
                client.server.figure("io", "rchar") - before < MEGABYTES * MEGABYTE / 2
            )

    def test_client_may_go_away(self, client, log, wanted):
        with downloading(client, Range=wanted) as response:
            response.read(KILOBYTE)
            eventually(lambda: len(client.server.open_stored()) == 1)

        eventually(lambda: client.server.open_stored() == [])
        assert client.get(URL).status == 200
        assert "Traceback" not in log()
        # Python warns once of each.
        assert not re.search(r"unclosed file|StreamingHttp", client.server.log())


class TestFileThatIsLost:
    @pytest.mark.parametrize("wanted", WHOLE_AND_PART)
    def test_client_and_log_learn_that_it_became_shorter(self, client, log, wanted):
        upload(client, 24, "short.bin")
        number, path = newest(client)
        # A server may take the connection for whole, and wait for more requests.
        headers = {"Range": wanted, "Connection": "keep-alive"}

        with downloading(client, "short.bin", **headers) as response:
            response.read(KILOBYTE)
            os.truncate(path, 23 * MEGABYTE)
            with pytest.raises(IncompleteRead):
                response.read()

        eventually(lambda: f"attachment {number} " in log())
        eventually(lambda: client.server.open_stored() == [])
        assert client.get(f"{URL}short.bin/").status == 200

    def test_client_gets_what_vanishes_meanwhile(self, client, log):
        upload(client, 24, "lost.bin")
        number, path = newest(client)

        with downloading(client, "lost.bin") as response:
            path.unlink()
            assert response.read() == b"".join(blocks(0, 24))

        assert client.get(f"{URL}lost.bin/").problem == (404, "not_found")
        assert f"attachment {number} is gone" in log()
        assert "lost.bin" in {row["name"] for row in client.get(URL).json()}


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_curl_takes_a_part_and_resumes(client, tmp_path):
    large = b"".join(blocks(0, MEGABYTES))
    resumed = tmp_path / "resumed.bin"
    resumed.write_bytes(large[:12_345_678])

    def curl(*arguments):
        url = f"{client.server.url}{URL}large.bin/"
        session = f"sessionid={client.cookies['sessionid']}"
        command = ["curl", "--cookie", session, "--noproxy", "*", "-sS", "--fail"]
        return subprocess.run(
            [*command, *arguments, url], capture_output=True, check=True
        ).stdout

    written = "%{http_code} %{size_download}"

    assert curl("-r", "0-99") == large[:100]
    assert curl("-C", "-", "-o", resumed, "-w", written) == (
        b"206 %d" % (len(large) - 12_345_678)
    )
    assert resumed.read_bytes() == large


SEEK = """url => new Promise((resolve, reject) => {
    const audio = new Audio(url);
    audio.onerror = () => reject(audio.error.message);
    audio.onloadedmetadata = () => { audio.currentTime = 900; };
    audio.onseeked = () => resolve([audio.duration, audio.currentTime]);
})"""


def silence(path, seconds):
    """Write a sound without one, 16,000 bytes a second; return the file's content."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16_000 * seconds))
    return path.read_bytes()


@needs_chromium
@NEEDS["gunicorn"]
def test_browser_seeks_in_a_sound(gunicorn, tmp_path):
    client, _ = gunicorn
    sound = form(part(silence(tmp_path / "sound.wav", 1000), "sound.wav"))
    assert client.post(URL, sound, MULTIPART).status == 200
    url = client.server.url
    cookie = {"name": "sessionid", "value": client.cookies["sessionid"], "url": url}
    answers = []

    async def use_browser():
        async with browser() as chromium:
            context = await chromium.new_context()
            await context.add_cookies([cookie])
            page = await context.new_page()
            await page.goto(f"{url}/admin/login/")
            page.on("response", lambda answer: answers.append(answer))
            return await page.evaluate(SEEK, f"{URL}sound.wav/")

    assert asyncio.run(use_browser()) == [1000, 900]
    assert {answer.status for answer in answers} == {206}
    first, *_, last = [answer.request.headers["range"] for answer in answers]
    assert first == "bytes=0-"
    assert int(last.removeprefix("bytes=").removesuffix("-")) > 10 * MEGABYTE
