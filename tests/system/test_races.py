"""Many clients of one session at once: nothing is lost, torn or answered 5xx."""

import os
from functools import partial
from hashlib import sha256
from http.cookies import SimpleCookie
from itertools import count, cycle

import pytest

from tests.clients import MULTIPART, NEEDS, form, part
from tests.servers import Client, going_on, running
from tests.settings import LOOPS
from tests.storages import at_once

pytestmark = [
    pytest.mark.database,
    pytest.mark.server,
    pytest.mark.soak,
    NEEDS["gunicorn"],
]

CLIENTS = 16
ROUNDS = 20 * LOOPS

# Up to a block that is read or written at once and beyond, and beyond what is
# received in memory.
SIZES = [1, 1_000, 70_000, 200_000]
IN_MEMORY = {"FILE_UPLOAD_MAX_MEMORY_SIZE": 100_000}

# One process for all runs: most of the time of a single one goes into its start.
COMMAND = """
from io import StringIO
from django.core.management import call_command

runs = removals = 0
while removals < {0} and runs < {0} * 100:
    output = StringIO()
    call_command("remove_outdated_attachments", older_than="0", stdout=output)
    runs += 1
    removals += "Removed 0" not in output.getvalue()
print(removals)
"""


@pytest.fixture(scope="module", params=["gunicorn", "gunicorn processes"])
def server(request, tmp_path_factory):
    """Run gunicorn with threads, or with processes; return the server."""
    # With it the project's login is one transaction, without it is several.
    atomic = request.param == "gunicorn"
    folder = tmp_path_factory.mktemp("gunicorn")
    with running(request.param, folder, atomic_requests=atomic, **IN_MEMORY) as server:
        yield server


class Contents:
    """Random contents; ``in`` knows them again, if they are whole."""

    def __init__(self):
        self._sizes = cycle(SIZES)
        self._digests = set()

    def new(self):
        """Return new content."""
        content = os.urandom(next(self._sizes))
        self._digests.add(sha256(content).digest())
        return content

    def __contains__(self, content):
        return sha256(content).digest() in self._digests


class Bundle:
    """A bundle as one session sees it, and what was ever sent to it."""

    def __init__(self, server, name):
        self.url = f"/attachments/{name}/"
        self.client = Client(server)
        self.client.get(self.url)
        self.contents = Contents()

    def upload(self, files, client=None):
        """Upload ``files``, a dict of names and contents."""
        parts = [part(content, name) for name, content in files.items()]
        answer = (client or self.client).post(self.url, form(*parts), MULTIPART)
        assert answer.status == 200, answer
        return answer

    def download(self, name, *also):
        """Download; the answer is whole, or has one of the other statuses."""
        answer = self.client.request("GET", f"{self.url}{name}/")
        assert answer.status in {200, *also}, answer
        assert answer.status != 200 or answer.content in self.contents
        return answer.content

    def delete(self, path):
        """Delete one, or with an empty path all; return how many went."""
        answer = self.client.request("DELETE", f"{self.url}{path}")
        assert answer.status == 200, answer
        return answer.content.count(b"true")


@pytest.mark.fault(24)
def test_uploads_of_one_name_leave_one_of_them_whole(server):
    bundle = Bundle(server, "one")
    others = len(server.stored())

    def upload(content):
        bundle.upload({"spam.bin": content})

    upload(bundle.contents.new())
    with going_on(*[partial(bundle.download, "spam.bin")] * 2):
        for _ in range(ROUNDS):
            sent = [bundle.contents.new() for _ in range(CLIENTS)]
            at_once(*[partial(upload, content) for content in sent])

            (row,) = bundle.client.get(bundle.url).json()
            content = bundle.download("spam.bin")
            assert content in sent
            assert row["size"] == len(content)
            assert len(server.stored()) == others + 1
    assert server.unreferenced() == []


def test_puts_of_one_name_are_one_new_file_and_replacements(server):
    for number in range(ROUNDS // 5):
        bundle = Bundle(server, f"put{number}")
        sent = [bundle.contents.new() for _ in range(12)]

        answers = at_once(
            *[
                partial(bundle.client.put, f"{bundle.url}spam.bin", content)
                for content in sent
            ]
        )

        assert sorted(answer.status for answer in answers) == [200] * 11 + [201]
        (row,) = bundle.client.get(bundle.url).json()
        content = bundle.download("spam.bin")
        assert content in sent
        assert row["size"] == len(content)
    assert server.unreferenced() == []


def test_deletions_remove_each_attachment_once(server):
    bundle = Bundle(server, "once")
    paths = ["", "a/", "b/", "c/"] * (CLIENTS // 4)

    for _ in range(ROUNDS // 5):
        bundle.upload({name: bundle.contents.new() for name in "abc"})
        removed = at_once(*[partial(bundle.delete, path) for path in paths])
        assert sum(removed) == 3
    assert server.unreferenced() == []


def test_all_verbs_and_the_command_leave_rows_with_their_files(server):
    bundle = Bundle(server, "all")
    names = cycle("abcde")

    def upload_one():
        bundle.upload({next(names): bundle.contents.new()})

    def upload_all():
        bundle.upload({name: bundle.contents.new() for name in "ecabd"})

    def delete():
        bundle.delete(f"{next(names)}/")

    def delete_all():
        bundle.delete("")

    def download():
        bundle.download(next(names), 404)

    uploads = [upload_one] * 4 + [upload_all] * 4
    with going_on(*uploads, *[delete] * 3, *[delete_all] * 2, *[download] * 3):
        output = server.manage("shell", "--no-imports", "-c", COMMAND.format(ROUNDS))
    assert int(output) == ROUNDS
    assert server.unreferenced() == []


# Only of a session that has been at the app before. If the first request of one that
# the project has started is an upload, and races the login, what it writes into the
# session, the key, may be lost with the old session, and with it the upload.
@pytest.mark.parametrize("user", range(3 * LOOPS))
def test_answered_uploads_are_reachable_while_the_session_changes_keys(server, user):
    bundle, numbers, sizes = Bundle(server, "moving"), count(), {}
    owner = bundle.client

    def upload(cookies):
        """Upload, and note in whose session it is; return that if it is a new one."""
        name, content = f"{next(numbers)}.bin", bundle.contents.new()
        answer = bundle.upload({name: content}, Client(server, cookies))
        cookie = SimpleCookie(answer.headers.get("Set-Cookie"))
        session = cookie["sessionid"].value if cookie else None
        sizes.setdefault(session, {})[name] = len(content)
        return session

    with going_on(*[lambda: upload({**owner.cookies})] * 8):
        for change in (f"/login/{user}/", "/change-password/", "/cycle-key/"):
            old = {**owner.cookies}
            assert upload(old) is None
            assert owner.get(change).status == 200
            assert upload(old) is not None

    sizes[owner.cookies["sessionid"]] = sizes.pop(None)
    for session, expected in sizes.items():
        reached = Client(server, {"sessionid": session}).get(bundle.url)
        assert {a["name"]: a["size"] for a in reached.json()} == expected
