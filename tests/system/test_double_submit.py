"""Two clicks on "Send", over real sockets: one letter with its files, one error."""

import time

import pytest

from tests import settings as tests_settings
from tests.clients import MULTIPART, form
from tests.pages import Page
from tests.servers import Client, running
from tests.storages import at_once

pytestmark = [pytest.mark.database, pytest.mark.server]

FILES = [("spam.txt", b"spam\n"), ("egg.txt", b"egg\n")]


@pytest.fixture(
    scope="module", params=[False, True], ids=["own transaction", "ATOMIC_REQUESTS"]
)
def server(request, tmp_path_factory):
    """Run a server with the project's views."""
    with running(
        "runserver",
        tmp_path_factory.mktemp("double"),
        atomic_requests=request.param,
        INSTALLED_APPS=tests_settings.INSTALLED_APPS,
        ROOT_URLCONF="tests.project.letters",
    ) as server:
        yield server


class Answer:
    """An answer as ``Page`` reads it."""

    def __init__(self, answer):
        self.content = answer.content
        self.status_code = answer.status


def post(client, page, **filled):
    """Fill the form of ``page``, an answer, in, and send it; return the answer."""
    body = form(*Page(Answer(page)).body(**filled))
    return client.post("/write/", body, MULTIPART)


@pytest.mark.parametrize("gap", [0, 0.1])
def test_page_that_lists_files_is_sent_once(server, gap):
    client = Client(server)
    page = client.request("GET", "/write/")
    # A list gives the visitor a session; the answer to an upload is not looked at.
    client.get("/attachments/foo/")
    page = post(client, page, files={"attachments": FILES})
    assert len(Page(Answer(page)).links) == 2
    letters = server.folder / "media" / "letters"
    before = set(letters.glob("*"))

    def click(pause):
        time.sleep(pause)
        return post(client, page, fill={"body": "Hello."})

    answers = at_once(lambda: click(0), lambda: click(gap))

    assert [answer.status for answer in answers] == [200, 200], answers
    (refused,) = [a for a in answers if a.content != b"Sent: 2"]
    (error,) = Page(Answer(refused)).errors
    assert "have been sent or removed meanwhile" in error
    assert not Page(Answer(refused)).links
    kept = {path.read_bytes() for path in set(letters.glob("*")) - before}
    assert kept == {content for _, content in FILES}
