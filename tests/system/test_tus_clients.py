"""tus-js-client as it is, in a browser: paused, overtaken, on a line that breaks."""

import hashlib
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import pytest

from tests.browsers import needs_chromium
from tests.clients import URL
from tests.npm import needs_npm
from tests.project import served
from tests.servers import Client, eventually
from tests.system.test_resumed_uploads import kill

pytestmark = [pytest.mark.server, pytest.mark.slow, needs_chromium, needs_npm]

MEGABYTE = 1024 * 1024
PIECE = 8 * MEGABYTE
LARGE = Random(1).randbytes(20 * MEGABYTE)  # noqa: S311 - nothing here is secret
TESTS = Path(__file__).parents[1]
SCRIPT = TESTS / "node_modules" / "tus-js-client" / "dist" / "tus.min.js"

# As the client's documentation has it.
UPLOAD = """([endpoint, chunkSize]) => {
    const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
    document.body.innerHTML = "<input type=file>";
    document.title = "";
    document.querySelector("input").onchange = async ({target: {files: [file]}}) => {
        window.upload = new tus.Upload(file, {
            endpoint,
            chunkSize: chunkSize ?? Infinity,
            headers: {"X-CSRFToken": token},
            metadata: {filename: file.name, filetype: file.type},
            retryDelays: Array(20).fill(100),
            onSuccess: () => document.title = "done",
            onError: error => document.title = error,
        });
        const [previous] = await window.upload.findPreviousUploads();
        if (previous) window.upload.resumeFromPreviousUpload(previous);
        window.upload.start();
    };
}"""
DIGEST = """async url => {
    const body = await (await fetch(url)).arrayBuffer();
    return Array.from(new Uint8Array(await crypto.subtle.digest("SHA-256", body)));
}"""


class Person:
    """Uploads a file by the client in a tab, and notes what it asks the app."""

    def __init__(self, tab, line, letters, path):
        self.tab, self.line, self.letters, self.path = tab, line, letters, path
        self.posts, self.heads = tab.asked("POST", URL), tab.asked("HEAD", URL)
        self.offsets, self.statuses = [], []
        tab.on("request", self._note_offset)
        tab.on("response", self._note_status)

    def _note_offset(self, request):
        if request.method == "PATCH":
            self.offsets.append(int(request.headers["upload-offset"]))

    def _note_status(self, response):
        self.statuses.append(response.status)

    def choose(self, chunk=PIECE):
        """Open a page, and choose the file."""
        # Any page with a token, where the app's own script is not.
        self.tab.goto(f"{self.line.url}/admin/login/")
        self.tab.js(SCRIPT.read_text())
        self.tab.js(UPLOAD, [URL, chunk])
        self.tab.choose("input", self.path)

    def is_at_the_second_piece(self):
        """Wait until that is on its way, and let no more of it come."""
        eventually(lambda: self.offsets == [0, PIECE])
        self.line.hold()

    def go_on(self):
        self.line.rate = None
        self.line.go_on()

    def is_done(self):
        """Wait until all is uploaded; return whether it is what was chosen."""
        self.tab.wait("document.title")
        assert self.tab.js("document.title") == "done"
        digest = self.tab.js(DIGEST, f"{URL}{self.path.name}/")
        return digest == [*hashlib.sha256(LARGE).digest()]

    def elsewhere(self):
        """Return another client of the same visitor, and the path of the upload."""
        client = Client(self.letters)
        for cookie in self.tab.run(self.tab.page.context.cookies()):
            client.cookies.setdefault(cookie["name"], cookie["value"])
        return client, urlsplit(self.tab.js("upload.url")).path


@pytest.fixture
def person(tab, line, letters, disk):
    """Return somebody who has a large file, and a line that is not fast."""
    line.rate = PIECE / 2
    return Person(tab, line, letters, disk("Отчёт.bin", LARGE))


@pytest.mark.parametrize("chunk", [PIECE, None], ids=["pieces", "one piece"])
def test_upload_goes_on_after_the_line_broke(person, chunk):
    person.line.rate = None
    person.line.break_after(up=12 * MEGABYTE, times=2)

    person.choose(chunk)

    assert person.is_done()
    assert len(person.posts) == 1
    assert person.heads
    assert person.offsets[-1] >= PIECE


def test_upload_is_paused(person):
    person.choose()
    person.is_at_the_second_piece()
    person.tab.js("upload.abort()")
    person.go_on()
    person.tab.js("upload.start()")

    assert person.is_done()
    assert len(person.posts) == 1
    assert person.heads
    assert 0 not in person.offsets[1:]


def test_upload_goes_on_in_another_page(person):
    person.choose()
    person.is_at_the_second_piece()
    person.go_on()
    person.choose()

    assert person.is_done()
    assert len(person.posts) == 1
    assert person.heads
    assert 0 not in person.offsets[1:]


def test_upload_is_overtaken(person):
    person.choose()
    person.is_at_the_second_piece()
    client, url = person.elsewhere()
    assert client.patch(url, PIECE, LARGE[PIECE : PIECE + 1000]).status == 204
    person.go_on()

    assert person.is_done()
    assert person.statuses.count(409) == len(person.posts) == 1
    assert person.offsets == [0, PIECE, PIECE + 1000, 2 * PIECE + 1000]


def test_upload_that_is_gone_begins_anew(person):
    person.choose()
    person.is_at_the_second_piece()
    person.tab.js("upload.abort()")
    client, url = person.elsewhere()
    assert client.resume("DELETE", url).status == 204
    person.go_on()
    person.tab.js("upload.start()")

    assert person.is_done()
    assert person.statuses.count(404) == 1
    assert len(person.posts) == 2


class TestKilledWorker:
    """On a server of its own: with its worker goes what coverage.py has measured."""

    @pytest.fixture
    def letters(self, tmp_path):
        """Run a server that waits as long over slow.bin as the test says."""
        folder = tmp_path / "server"
        folder.mkdir()
        validators = ["tests.system.served.wait_while_validating"]
        with served.letters(folder, SESSION_ATTACHMENTS_VALIDATORS=validators) as it:
            yield it

    def test_while_a_piece_comes(self, person):
        person.choose()
        person.is_at_the_second_piece()
        kill(person.letters)
        person.go_on()

        assert person.is_done()
        assert len(person.posts) == 1
        assert 0 not in person.offsets[1:]

    def test_in_the_finish(self, tab, line, letters, disk):
        person = Person(tab, line, letters, disk("slow.bin", LARGE))
        validating = letters.folder / "validating"
        person.choose()
        # Twice: of the first time the browser does not tell, see Line.break_after().
        for _time in range(2):
            eventually(validating.exists, 60)
            line.hold()
            kill(letters)
            validating.unlink()
            line.go_on()
        eventually(validating.exists, 60)
        validating.unlink()

        assert person.is_done()
        assert len(person.posts) == 1
        assert person.heads
        assert person.offsets == [0, PIECE, 2 * PIECE, 2 * PIECE]
