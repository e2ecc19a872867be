"""What files the script takes, under which names, and in which order."""

import os

import pytest

from tests.browsers import button, needs_chromium
from tests.servers import eventually

pytestmark = [pytest.mark.server, pytest.mark.slow, needs_chromium]

NAMES = {
    # As they are on the disk, and in the list.
    "<img src=x onerror=alert(1)>.txt": "<img src=x onerror=alert(1)>.txt",
    "' autofocus onfocus='alert(1).txt": "' autofocus onfocus='alert(1).txt",
    'it\'s "q".txt': "it's %22q%22.txt",
    "#?%41&=1;.txt": "#?%41&=1;.txt",
    "%2E%2E": "%2E%2E",
    "...": "...",
    "delete": "delete",
    "{name} $& $1": "{name} $& $1",
    "Отчёт за май.txt": "Отчёт за май.txt",
    "😀.txt": "😀.txt",
    "e\u0301.txt": "é.txt",
    "שלום.pdf": "שלום.pdf",
    "a" * 251 + ".txt": "a" * 251 + ".txt",
    "a&amp;b.txt": "a&b.txt",
    "in\\folder.txt": "folder.txt",
}


POSITIONS = """[...document.querySelectorAll('progress')]
    .filter(progress => progress.checkVisibility()).map(({position}) => position)"""


class TestOrder:
    def test_three_are_sent_at_once_in_the_order_chosen(self, field, disk, line):
        field.choose(disk("spam.txt"))
        field.show("spam.txt 5 bytes Remove")
        line.hold()
        names = ["e.txt", "d.txt", "c.txt", "b.txt", "a.txt"]
        field.choose(*map(disk, names))

        # What is with the server has no progress to tell.
        field.tab.wait(f"{POSITIONS}.filter(position => position == -1).length == 3")
        assert field.tab.js(POSITIONS) == [-1, -1, -1, 0, 0]
        shown = [f"{name} 5 bytes Cancel" for name in names]
        assert field.rows() == ["spam.txt 5 bytes Remove", *shown]
        line.go_on()
        rest = [f"{name} 5 bytes Remove" for name in sorted(names)]
        field.show(*rest, "spam.txt 5 bytes Remove")

    def test_rows_are_sorted_as_the_server_does(self, field, disk):
        names = ["b", "a", "Z", "é", "10", "9", "ｚ", "😀"]
        field.choose(*map(disk, names))

        field.show(*[f"{name} 5 bytes Remove" for name in sorted(names)])
        field.tab.reload()
        field.show(*[f"{name} 5 bytes Remove" for name in sorted(names)])

    def test_hundred_files_and_the_keys_still_work(self, field, disk):
        names = [f"{number:03}.txt" for number in range(100)]
        field.choose(*map(disk, names))
        field.tab.click("[name=body]")
        field.tab.type("Hello")
        assert field.is_busy()

        field.show(*[f"{name} 5 bytes Remove" for name in names])
        assert field.status() == "Files added: 100."
        assert len(field.stored()) == 100
        assert field.tab.js("document.querySelector('[name=body]').value") == "Hello"


class TestNames:
    def test_each_is_listed_linked_and_removed(self, field, disk):
        field.choose(*[disk(name, name.encode()) for name in NAMES])
        sizes = {listed: len(name.encode()) for name, listed in NAMES.items()}
        field.tab.wait("!document.querySelector('[busy]')")

        assert field.stored() == sizes
        texts = field.tab.js(
            "[...document.querySelectorAll('li a')].map(a => [a.textContent, a.href])"
        )
        assert [name for name, _url in texts] == sorted(sizes)
        read = "url => fetch(url).then(answer => answer.text())"
        contents = {name: field.tab.js(read, url) for name, url in texts}
        assert contents == {listed: name for name, listed in NAMES.items()}
        while field.rows():
            name = field.tab.js("document.querySelector('li a').textContent")
            field.tab.click("li button:not([hidden])")
            field.tab.wait(
                "name => document.querySelector('li a')?.textContent != name", name
            )
        assert field.stored() == {}

    def test_same_name_replaces_and_says_so(self, field, disk):
        field.choose(disk("spam.txt"))
        field.show("spam.txt 5 bytes Remove")
        field.choose(disk("spam.txt", b"more spam"))

        field.show(
            "spam.txt 9 bytes Remove Replaces the file that had this name.",
        )
        assert field.stored() == {"spam.txt": 9}

    def test_old_one_is_removed_while_the_new_one_comes(self, field, disk, line):
        field.choose(disk("spam.txt"))
        field.show("spam.txt 5 bytes Remove")
        line.rate = 100_000
        field.choose(disk("spam.txt", bytes(300_000)))
        eventually(lambda: len(field.rows()) == 2)
        field.tab.click(button("Remove spam.txt"))

        field.show("spam.txt 293.0 KB Remove")
        assert field.stored() == {"spam.txt": 300_000}

    def test_two_of_one_name_at_once_are_one(self, field, tmp_path):
        paths = [tmp_path / folder / "spam.txt" for folder in ("one", "two")]
        for size, path in enumerate(paths, 5):
            path.parent.mkdir()
            path.write_bytes(b"x" * size)
        field.choose(*paths)

        field.show("spam.txt 6 bytes Remove Replaces the file that had this name.")
        assert field.stored() == {"spam.txt": 6}


class TestRefused:
    def test_what_the_field_does_not_take_is_not_sent(self, field, disk, letters):
        field.tab.goto(f"{letters.url}/write/narrow/")
        urls = field.tab.asked("POST")
        field.choose(
            disk("a.exe"), disk("a.txt", bytes(1024 * 1024 + 1)), disk("b.txt")
        )
        field.choose(disk("c.txt"), disk("d.txt"), disk("e.txt"))

        field.show(
            "b.txt 5 bytes Remove",
            "c.txt 5 bytes Remove",
            "d.txt 5 bytes Remove",
            "a.exe 5 bytes Dismiss The file “a.exe” is not accepted. Allowed: .txt, "
            "image/*.",
            "a.txt 1.0 MB Dismiss The file “a.txt” is larger than 1.0 MB.",
            "e.txt 5 bytes Try again Dismiss No more than 3 files are allowed. Please "
            "remove some.",
        )
        assert len(urls) == 3

        field.tab.click("[aria-label='Remove b.txt']")
        field.tab.wait("document.querySelectorAll('li').length == 5")
        field.tab.click(button("Try again: e.txt"))
        field.tab.wait("document.querySelectorAll('.stored').length == 3")
        assert list(field.stored()) == ["c.txt", "d.txt", "e.txt"]

    def test_file_that_replaces_another_is_not_one_more(self, field, disk, letters):
        field.tab.goto(f"{letters.url}/write/narrow/")
        field.choose(disk("a.txt"), disk("b.txt"), disk("\u00e9.txt"))
        field.tab.wait("document.querySelectorAll('.stored').length == 3")
        # The server takes it for the same name: Unicode's form NFC.
        field.choose(disk("e\u0301.txt", b"more"))

        field.show(
            "a.txt 5 bytes Remove",
            "b.txt 5 bytes Remove",
            "\u00e9.txt 4 bytes Remove Replaces the file that had this name.",
        )

    def test_large_file_is_not_even_read(self, field, large):
        urls = field.tab.asked("POST")
        field.choose(large)

        field.show(
            "large.bin 3.0 GB Dismiss The file “large.bin” is larger than 50.0 MB."
        )
        assert urls == []

    def test_empty_file_is_taken(self, field, disk):
        field.choose(disk("empty.txt", b""))

        field.show("empty.txt 0 bytes Remove")

    def test_folder_is_refused_with_a_sentence(self, field, disk, tmp_path):
        (tmp_path / "folder").mkdir()
        drag(field.tab, "legend", tmp_path / "folder", disk("spam.txt"))

        field.show(
            "spam.txt 5 bytes Remove",
            "folder Dismiss “folder” is a folder. Please choose the files in it.",
        )

    def test_drop_beside_the_field_does_not_leave_the_page(self, field, disk):
        drag(field.tab, "#beside", disk("spam.html"))

        assert field.rows() == []
        assert field.tab.js("location.pathname") == "/write/"


def drag(tab, selector, *paths):
    """Drag files and folders of the disk onto an element, as a person does."""
    point = tab.js(
        """selector => {
            const box = document.querySelector(selector).getBoundingClientRect();
            return {x: box.x + 5, y: box.y + 5};
        }""",
        selector,
    )
    session = tab.run(tab.page.context.new_cdp_session(tab.page))
    data = {"items": [], "files": list(map(os.fspath, paths)), "dragOperationsMask": 1}
    for type_ in ("dragEnter", "dragOver", "drop"):
        event = {"type": type_, "data": data, **point}
        tab.run(session.send("Input.dispatchDragEvent", event))


class TestClipboard:
    def test_picture_is_pasted_by_keys(self, field):
        context = field.tab.page.context
        field.tab.run(context.grant_permissions(["clipboard-read", "clipboard-write"]))
        picture = """async ([text]) => {
            const canvas = document.createElement("canvas");
            const blob = await new Promise(done => canvas.toBlob(done));
            const data = {"image/png": blob};
            if (text) data["text/plain"] = new Blob([text], {type: "text/plain"});
            await navigator.clipboard.write([new ClipboardItem(data)]);
        }"""
        field.tab.click("[name=body]")
        field.tab.js(picture, [""])
        field.tab.press("Control+V")
        field.tab.wait("document.querySelector('.stored')")
        # A spreadsheet puts both there.
        field.tab.js(picture, ["cell"])
        field.tab.press("Control+V")
        field.tab.wait("document.querySelector('[name=body]').value == 'cell'")

        assert list(field.stored()) == ["image.png"]
