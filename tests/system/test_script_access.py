"""Who uses the script by keys, by a screen reader, in other languages and colours."""

import pytest

from tests.browsers import button, needs_chromium
from tests.fields import Field
from tests.servers import eventually

pytestmark = [pytest.mark.server, pytest.mark.slow, needs_chromium]

SPAM = "spam.txt 5 bytes Remove"
# Boxes of what can be pressed that are smaller than WCAG 2.2 asks for (2.5.8).
SMALL = """() => [...document.querySelectorAll(
        "session-attachments :is(button, a, [type=file])"
    )]
    .filter(target => target.checkVisibility())
    .map(target => [target.outerHTML, target.getBoundingClientRect()])
    .filter(([html, {width, height}]) => width < 24 || height < 24)
    .map(([html]) => html)"""
# What the fieldset is described by.
DESCRIPTION = """() => (document.querySelector("fieldset")
    .getAttribute("aria-describedby") ?? "").split(" ").filter(Boolean)
    .map(id => document.getElementById(id).innerText)"""
# What the region of the status said, one after the other.
LISTEN = """() => {
    window.said = [];
    const status = document.querySelector("session-attachments [role=status]");
    new MutationObserver(() => said.push(status.textContent))
        .observe(status, {childList: true, characterData: true, subtree: true});
}"""


def with_an_error(field, disk):
    """Choose a file that is stored, and one that is refused."""
    field.choose(disk("spam.txt"), disk("\u200b"))
    field.tab.wait(
        "document.querySelector('.stored') && document.querySelector('.failed')"
    )


class TestStatus:
    def test_region_is_there_and_empty_from_the_start(self, field):
        assert (
            field.tab.js(
                "document.querySelectorAll('session-attachments [role=status]').length"
            )
            == 1
        )
        assert field.status() == ""

    def test_start_and_end_are_said_once(self, field, disk):
        field.tab.js(LISTEN)
        field.choose(disk("spam.txt"))
        field.show(SPAM)
        field.choose(disk("a.txt"), disk("b.txt"), disk("c.txt"), disk("d.txt"))
        field.tab.wait("said.length == 4")

        assert field.tab.js("said") == [
            "Files being uploaded: spam.txt.",
            "Files added: spam.txt.",
            "Files being uploaded: 4.",
            "Files added: 4.",
        ]

    def test_each_failure_and_removal_is_said(self, field, disk):
        with_an_error(field, disk)
        field.tab.js(LISTEN)
        field.tab.click(button("Remove spam.txt"))
        field.tab.wait("said.length == 1")
        field.choose(disk("c\u200b"), disk("\u200c"))
        field.tab.wait(
            "said.some(text => text.includes('c characters')) || said.length > 2"
        )

        said = field.tab.js("said")
        assert said[0] == "File removed: spam.txt."
        assert any("The file name must have" in text for text in said[1:])


class TestErrors:
    def test_error_is_tied_to_its_row_and_to_the_fieldset(self, field, disk):
        with_an_error(field, disk)
        (sentence,) = field.tab.js(DESCRIPTION)

        assert sentence.startswith("The file name must have")
        described = """() => document.getElementById(document.querySelector(
            ".failed button:not([hidden])"
        ).getAttribute("aria-describedby")).innerText"""
        assert field.tab.js(described) == sentence
        field.tab.click(button("Dismiss \u200b"))
        field.show(SPAM)
        assert field.tab.js(DESCRIPTION) == []

    def test_help_of_the_field_stays_in_the_description(self, field, disk, letters):
        field.tab.goto(f"{letters.url}/write/narrow/")
        assert field.tab.js(DESCRIPTION) == ["Scans, please."]
        field.choose(disk("a.exe"))
        field.tab.wait("document.querySelector('.failed')")

        assert field.tab.js(DESCRIPTION) == [
            "Scans, please.",
            "The file “a.exe” is not accepted. Allowed: .txt, image/*.",
        ]


class TestFocus:
    def test_end_of_an_upload_moves_nothing(self, field, disk, line):
        field.tab.click("[name=body]")
        line.hold()
        field.choose(disk("spam.txt"), disk("egg.txt"))
        field.tab.type("Hi")
        field.tab_to("Cancel spam.txt")
        line.go_on()
        field.show("egg.txt 5 bytes Remove", SPAM)

        assert field.focus() == "Remove spam.txt"

    def test_retry_by_keys_keeps_the_focus_in_the_row(self, field, disk):
        field.tab.js("document.cookie = 'faults-POST=400; path=/'")
        field.choose(disk("spam.txt"))
        field.tab.wait("document.querySelector('.failed')")
        field.tab.click("[name=body]")
        field.tab_to("Try again: spam.txt")
        field.tab.press("Enter")
        field.show(SPAM)

        assert field.focus() == "Remove spam.txt"

    def test_focus_is_seen(self, field):
        field.tab.click("[name=body]")
        field.tab.press("Tab")
        outline = "getComputedStyle(document.querySelector('label:has([type=file])'))"

        assert field.focus() == "file"
        assert field.tab.js(f"{outline}.outlineStyle") == "solid"

    def test_targets_are_large_enough(self, field, disk):
        with_an_error(field, disk)

        assert field.tab.js(SMALL) == []


@pytest.mark.parametrize("width", [320, 1280])
def test_long_name_gives_way(open_tab, letters, disk, width):
    tab = open_tab(viewport={"width": width, "height": 600})
    tab.goto(f"{letters.url}/write/")
    Field(tab).choose(disk("a long name of a file " * 8 + ".txt"))
    tab.wait("document.querySelector('.stored')")

    assert tab.js("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize(
    "options",
    [
        {"color_scheme": "dark"},
        {"forced_colors": "active"},
        {"locale": "ar", "viewport": {"width": 320, "height": 600}},
        {"locale": "en", "viewport": {"width": 320, "height": 600}},
        {"locale": "ru"},
        {"reduced_motion": "reduce"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_nothing_is_wrong_with_files_and_errors_there(open_tab, letters, disk, options):
    tab = open_tab(**options)
    tab.goto(f"{letters.url}/write/")
    field = Field(tab)
    assert tab.axe() == []
    with_an_error(field, disk)

    assert tab.axe() == []
    assert tab.js("sessionStorage.faults ?? ''") == ""


class TestLanguages:
    def test_russian(self, open_tab, letters, disk):
        tab = open_tab(locale="ru")
        tab.goto(f"{letters.url}/write/")
        field = Field(tab)
        field.choose(disk("spam.txt"), disk("egg.txt", bytes(1536)))

        field.show("egg.txt 1,5 КБ Удалить", "spam.txt 5 байт Удалить")
        assert field.status() in {
            f"Добавлены файлы: {names}."
            for names in ("spam.txt, egg.txt", "egg.txt, spam.txt")
        }
        before = field.rows()
        tab.reload()
        eventually(lambda: field.rows() == before)

    def test_right_to_left(self, open_tab, letters, disk):
        tab = open_tab(locale="ar")
        tab.goto(f"{letters.url}/write/")
        field = Field(tab)
        field.choose(disk("spam.txt"))
        tab.wait("document.querySelector('.stored')")

        left = (
            "selector => document.querySelector(selector).getBoundingClientRect().left"
        )
        assert tab.js("document.documentElement.dir") == "rtl"
        assert tab.js(left, "li button:not([hidden])") < tab.js(left, "li a")
