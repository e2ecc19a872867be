"""Limits to the byte, and quotas under parallel uploads, on real servers."""

from functools import partial

import pytest

from tests.clients import MULTIPART, NEEDS, URL, form, part
from tests.servers import Client, running
from tests.settings import LOOPS
from tests.storages import at_once

pytestmark = [pytest.mark.database, pytest.mark.server]

LIMITS = {
    "SESSION_ATTACHMENTS_MAX_BUNDLE_FILES": 9,
    "SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE": 0.7,
    "SESSION_ATTACHMENTS_MAX_FILE_SIZE": 0.3,
    "SESSION_ATTACHMENTS_MAX_SESSION_SIZE": 1.1,
}
# The same in whole bytes.
FILE, BUNDLE, SESSION = 314_572, 734_003, 1_153_433
OTHER = "/attachments/bar/"
SERVERS = ["gunicorn", "gunicorn processes", "uvicorn"]
CLIENTS = 16


@pytest.fixture(
    scope="module",
    params=[pytest.param(kind, marks=NEEDS[kind.split()[0]]) for kind in SERVERS],
)
def server(request, tmp_path_factory):
    """Run one server after the other."""
    with running(request.param, tmp_path_factory.mktemp("server"), **LIMITS) as server:
        yield server


def new_client(server):
    """Return a client with a session."""
    client = Client(server)
    client.get(URL)
    return client


def store(client, url, files):
    """Upload ``files``, a dict of names and sizes."""
    parts = [part(b"b" * size, name) for name, size in files.items()]
    return client.post(url, form(*parts), MULTIPART)


def sizes(client, url):
    """Return what a bundle holds: names and sizes."""
    return {row["name"]: row["size"] for row in client.get(url).json()}


TWO = {"1.bin": FILE, "2.bin": FILE}
THIRD = BUNDLE - 2 * FILE
FOURTH = SESSION - 3 * FILE
EXACT = {
    "file": ("file_too_large", FILE, {}, {"new": FILE}),
    "bundle": ("bundle_too_large", BUNDLE, {}, {**TWO, "new": THIRD}),
    "bundle that holds two": ("bundle_too_large", BUNDLE, {URL: TWO}, {"new": THIRD}),
    "session": ("session_too_large", SESSION, {OTHER: TWO}, {"3": FILE, "new": FOURTH}),
}


class TestExactLimit:
    @pytest.mark.parametrize(
        ("code", "limit", "before", "files"), EXACT.values(), ids=EXACT
    )
    def test_is_allowed_and_a_byte_more_is_not(
        self, server, code, limit, before, files
    ):
        client = new_client(server)
        for url, held in before.items():
            assert store(client, url, held).status == 200
        stored = server.stored()

        refused = store(client, URL, {**files, "new": files["new"] + 1})

        assert refused.problem == (413, code)
        assert refused.json()["limit"] == limit
        assert server.stored() == stored
        assert sizes(client, URL) == before.get(URL, {})
        assert store(client, URL, files).status == 200
        assert sizes(client, URL) == {**before.get(URL, {}), **files}


PARALLEL = {
    "files of a bundle": ("too_many_files", 9, 1000, "/attachments/foo/"),
    "size of a bundle": ("bundle_too_large", 7, 100_000, "/attachments/foo/"),
    "size of a session": ("session_too_large", 11, 100_000, "/attachments/foo{}/"),
}
# Fills all quotas.
FULL = {
    URL: {**TWO, "3.bin": THIRD, **dict.fromkeys("456789", 0)},
    OTHER: {"1.bin": FILE, "2.bin": SESSION - BUNDLE - FILE},
}


@pytest.mark.soak
class TestParallelUploads:
    @pytest.mark.parametrize(
        ("code", "fitting", "size", "url"), PARALLEL.values(), ids=PARALLEL
    )
    def test_as_many_are_stored_as_fit(self, server, code, fitting, size, url):
        for _ in range(LOOPS):
            client = new_client(server)
            urls = [url.format(number) for number in range(CLIENTS)]
            before = server.stored()

            answers = at_once(
                *(
                    partial(store, client, url, {f"{number}.bin": size})
                    for number, url in enumerate(urls)
                )
            )

            refused = [answer.problem for answer in answers if answer.status != 200]
            assert refused == [(413, code)] * (CLIENTS - fitting)
            assert sum(len(sizes(client, url)) for url in {*urls}) == fitting
            assert len(server.stored()) == len(before) + fitting

    def test_replacements_fit_where_no_byte_is_left(self, server):
        for _ in range(LOOPS):
            client = new_client(server)
            for url, files in FULL.items():
                assert store(client, url, files).status == 200
            before = server.stored()
            bodies = [form(part(b"%x" % i * FILE, "1.bin")) for i in range(CLIENTS)]

            answers = at_once(
                *(partial(client.post, URL, body, MULTIPART) for body in bodies)
            )

            assert {answer.status for answer in answers} == {200}
            assert {url: sizes(client, url) for url in FULL} == FULL
            content = client.get(f"{URL}1.bin/").content
            assert form(part(content, "1.bin")) in bodies
            assert len(server.stored()) == len(before)
