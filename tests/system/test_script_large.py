"""The script's large files, which are sent in pieces, and go on after a broken line."""

import pytest

from tests.browsers import button, needs_chromium
from tests.servers import Client, eventually

pytestmark = [pytest.mark.server, pytest.mark.slow, needs_chromium]

MEGABYTES = 1024 * 1024
STORED = "large.bin 20.0 MB Remove"
AGAIN = "large.bin 20.0 MB Cancel This did not work. It is tried again soon."


@pytest.fixture
def large_file(disk):
    """Return the path of a file of 20 MB, whose bytes tell where they stand."""
    pieces = [bytes([number]) * MEGABYTES for number in range(20)]
    return disk("large.bin", b"".join(pieces))


@pytest.fixture
def requests(field):
    """Return a list of what the page asks, as methods."""
    methods = []

    def note(request):
        if "/attachments/" in request.url:
            methods.append(request.method)

    field.tab.on("request", note)
    return methods


def content(field, name):
    """Return the bytes of an attachment, one of each megabyte."""
    return field.tab.js(
        """async ([name, step]) => {
            const url = document.querySelector("session-attachments").url;
            const answer = await fetch(`${url}${encodeURIComponent(name)}/`);
            const bytes = new Uint8Array(await answer.arrayBuffer());
            return [bytes.length, ...bytes.filter((_, index) => index % step === 1)];
        }""",
        [name, MEGABYTES],
    )


def test_it_is_sent_in_pieces(field, requests, large_file):
    field.choose(large_file)

    field.show(STORED)
    assert requests == ["GET", "POST", *["PATCH"] * 3, "GET"]
    assert content(field, "large.bin") == [20 * MEGABYTES, *range(20)]
    assert field.status() == "Files added: large.bin."


def break_in_the_middle(field, requests, line):
    """Break the line while the second piece comes, until the script has noticed."""
    line.rate = 10 * MEGABYTES
    eventually(lambda: requests.count("PATCH") == 2, 30)
    line.refuse()
    eventually(lambda: field.rows() == [AGAIN], 30)


def test_broken_line_costs_a_piece_only(field, requests, large_file, line):
    field.choose(large_file)
    break_in_the_middle(field, requests, line)
    line.accept()

    field.show(STORED)
    assert requests.count("POST") == 1
    assert requests.count("PATCH") == 4
    assert "HEAD" in requests
    assert content(field, "large.bin") == [20 * MEGABYTES, *range(20)]


def test_upload_that_is_gone_begins_anew(field, requests, large_file, line, letters):
    field.choose(large_file)
    break_in_the_middle(field, requests, line)
    client = Client(letters)
    for cookie in field.tab.run(field.tab.page.context.cookies()):
        client.cookies.setdefault(cookie["name"], cookie["value"])
    url = field.tab.js("document.querySelector('session-attachments').url")
    assert client.request("DELETE", url).status == 200
    line.accept()

    field.show(STORED)
    assert requests.count("POST") == 2
    assert content(field, "large.bin") == [20 * MEGABYTES, *range(20)]


def test_cancelled_one_leaves_nothing(field, requests, large_file, line, letters):
    before = letters.unreferenced()
    field.choose(large_file)
    eventually(lambda: "PATCH" in requests, 30)
    line.hold()
    field.tab.click(button("Cancel large.bin"))
    line.go_on()

    field.show()
    eventually(lambda: "DELETE" in requests, 30)
    assert field.stored() == {}
    eventually(lambda: letters.unreferenced() == before, 30)


def test_name_that_the_server_changes_is_shown(field, disk):
    field.choose(disk("a\u200db &amp; c.bin", bytes(17 * MEGABYTES)))

    field.show("ab & c.bin 17.0 MB Remove")


def test_what_the_server_refuses_says_why(field, disk):
    field.tab.js(
        "document.querySelector('session-attachments').setAttribute('max-size', '')"
    )
    field.choose(disk("large.bin", bytes(51 * MEGABYTES)))

    field.show("large.bin 51.0 MB Dismiss The file “large.bin” is larger than 50.0 MB.")
