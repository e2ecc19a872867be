"""Large files, which the script sends in pieces, and resumes."""

import hashlib

import pytest

from tests.browsers import button, each_engine, needs_chromium
from tests.servers import eventually

pytestmark = [pytest.mark.server, pytest.mark.slow]

MEGABYTES = 1024 * 1024
PIECE = 8 * MEGABYTES
# Three pieces, the last one smaller; no two blocks are alike.
LARGE = b"".join(number.to_bytes(8) for number in range(20 * MEGABYTES // 8))
STORED = "large.bin 20.0 MB Remove"
DIGEST = """async () => {
    const answer = await fetch(document.querySelector("li a").href);
    const digest = await crypto.subtle.digest("SHA-256", await answer.arrayBuffer());
    return Array.from(new Uint8Array(digest));
}"""


@pytest.fixture
def large(disk):
    """Return the path of a large file."""
    return disk("large.bin", LARGE)


@pytest.fixture
def asked(field):
    """Return a list that gets method, URL and offset of what the page asks the app."""
    requests = []

    def note(request):
        asked = (request.method, request.url, request.headers.get("upload-offset"))
        requests.extend([asked] * ("/attachments/" in request.url))

    field.tab.on("request", note)
    return requests


def offsets(asked):
    """Return the offsets of the pieces, in megabytes."""
    return [int(offset) / MEGABYTES for _, _, offset in asked if offset]


def is_whole(field):
    return field.tab.js(DIGEST) == list(hashlib.sha256(LARGE).digest())


@each_engine
def test_upload_is_resumed_after_a_broken_line(field, large, line):
    line.break_after(up=12 * MEGABYTES, times=2)
    field.choose(large)

    field.tab.wait("document.body.innerText.includes('It is tried again soon.')")
    field.show(STORED)
    assert field.stored() == {"large.bin": len(LARGE)}
    assert is_whole(field)


@needs_chromium
class TestPieces:
    def test_are_of_8_megabytes(self, field, asked, large):
        field.choose(large)

        field.show(STORED)
        assert offsets(asked) == [0, 8, 16]
        assert is_whole(field)

    def test_what_has_come_is_not_sent_again(self, field, asked, large, line):
        line.rate = PIECE
        field.choose(large)
        eventually(lambda: len(offsets(asked)) == 3)
        line.break_after(up=MEGABYTES, times=2)

        field.show(STORED)
        assert offsets(asked)[:3] == [0, 8, 16]
        assert all(offset >= 16 for offset in offsets(asked)[3:])
        assert "HEAD" in [method for method, _, _ in asked]
        assert is_whole(field)

    def test_progress_counts_what_has_come(self, field, asked, large, line):
        field.choose(large)
        eventually(lambda: len(offsets(asked)) == 2)
        line.hold()

        assert field.tab.js("document.querySelector('progress').value") >= 0.4
        line.go_on()
        field.show(STORED)

    def test_one_that_fails_is_sent_again(self, field, asked, large):
        field.tab.js("document.cookie = 'faults-PATCH=503; path=/'")
        field.choose(large)

        field.show(STORED)
        assert offsets(asked) == [0, 0, 8, 16]

    def test_one_that_came_before_is_gone_past(self, field, asked, large):
        # Its answer was late, as behind a proxy that keeps bodies back.
        field.tab.js("document.cookie = 'faults-PATCH=409; path=/'")
        field.choose(large)

        field.show(STORED)
        assert is_whole(field)

    def test_upload_that_is_gone_begins_anew(self, field, asked, large, line):
        line.rate = 4 * MEGABYTES
        field.choose(large)
        eventually(lambda: len(offsets(asked)) == 2)
        forget = """url => fetch(url, {method: "DELETE", headers: {
            "Tus-Resumable": "1.0.0",
            "X-CSRFToken": document.querySelector("[name=csrfmiddlewaretoken]").value,
        }}).then(answer => answer.status)"""
        assert field.tab.js(forget, asked[-1][1]) == 204
        line.rate = None

        field.show(STORED)
        assert is_whole(field)

    def test_cancel_leaves_nothing(self, field, asked, large, line):
        line.rate = 4 * MEGABYTES
        field.choose(large)
        eventually(lambda: len(offsets(asked)) == 2)
        field.tab.click(button("Cancel large.bin"))
        field.show()
        line.rate = None

        status = """url => fetch(url, {
            method: "HEAD", headers: {"Tus-Resumable": "1.0.0"}
        }).then(answer => answer.status)"""
        url = asked[-1][1]
        eventually(lambda: field.tab.js(status, url) == 404)
        assert field.stored() == {}

    def test_file_is_replaced_by_a_large_one(self, field, disk):
        field.choose(disk("large.bin"))
        field.show("large.bin 5 bytes Remove")
        field.choose(disk("large.bin", LARGE))

        field.show(f"{STORED} Replaces the file that had this name.")
        assert field.stored() == {"large.bin": len(LARGE)}

    def test_refusal_is_told_before_a_piece_is_sent(self, field, asked, disk):
        field.choose(disk("\u200b", LARGE))

        field.tab.wait("document.querySelector('.failed')")
        assert "The file name must have" in field.rows()[0]
        assert offsets(asked) == []

    def test_name_is_the_one_that_the_server_gives(self, field, disk):
        field.choose(disk("in\\large.bin", LARGE))

        field.show(STORED)
        assert is_whole(field)

    def test_four_large_ones_at_once(self, field, disk):
        names = [f"{number}.bin" for number in range(4)]
        field.choose(*[disk(name, LARGE) for name in names])

        field.show(*[f"{name} 20.0 MB Remove" for name in names])
