"""The form's script, in each engine: what a person does with it, and what is then."""

import pytest

from tests.browsers import button, each_engine

pytestmark = [pytest.mark.server, pytest.mark.slow, each_engine]

PICTURE = ("image.png", b"\x89PNG\r\n\x1a\n")


class TestComing:
    def test_chosen_files_are_listed_as_the_server_does(self, field, disk):
        field.choose(disk("spam.txt"), disk("Egg.txt", b"egg"))

        field.show("Egg.txt 3 bytes Remove", "spam.txt 5 bytes Remove")
        assert field.stored() == {"Egg.txt": 3, "spam.txt": 5}

    def test_files_are_dropped_anywhere_on_the_fieldset(self, field):
        held = field.tab.drop("legend", ("spam.txt", b"spam\n"), ("egg.txt", b"egg"))

        assert held == ["dragover", "drop"]
        field.show("egg.txt 3 bytes Remove", "spam.txt 5 bytes Remove")

    def test_drop_beside_does_not_leave_the_page(self, field):
        assert field.tab.drop("#beside", PICTURE) == ["dragover", "drop"]
        assert field.rows() == []

    def test_pasted_pictures_get_names_of_their_own(self, field):
        for _ in range(2):
            assert field.tab.paste("[name=body]", PICTURE)

        field.show("image (2).png 8 bytes Remove", "image.png 8 bytes Remove")

    def test_paste_with_text_is_left_alone(self, field):
        assert not field.tab.paste("[name=body]", PICTURE, text="a1\tb1")
        assert field.rows() == []


class TestSending:
    def test_files_are_sent_once(self, field, disk):
        field.choose(disk("spam.txt"), disk("egg.txt"))
        field.show("egg.txt 5 bytes Remove", "spam.txt 5 bytes Remove")
        assert field.tab.js("document.querySelector('[type=file]').files.length") == 0
        field.tab.click("[name=body]")
        field.tab.type("Hi")
        field.tab.press("Enter")

        field.tab.wait("document.body.innerText == 'Sent: 2'")

    def test_form_waits_for_its_files(self, field, disk, line):
        field.tab.click("[name=body]")
        field.tab.type("Hi")
        line.hold()
        field.choose(disk("spam.txt"))
        field.tab.click(button("Keep"))

        assert field.status().endswith("The form is sent when the files are uploaded.")
        line.go_on()
        field.tab.wait("document.body.innerText == 'Sent as a draft: 1'")

    def test_files_survive_an_error_of_the_form(self, field, disk):
        field.choose(disk("spam.txt"))
        field.show("spam.txt 5 bytes Remove")
        field.tab.click(button("Send"))

        field.tab.wait("document.querySelector('.errorlist')")
        field.show("spam.txt 5 bytes Remove")


class TestErrors:
    def test_form_is_not_sent_without_a_file_that_failed(self, field, disk):
        field.choose(disk("\u200b"), disk("spam.txt"))
        field.show(
            "spam.txt 5 bytes Remove",
            "\u200b 5 bytes Dismiss The file name must have 1 to 255 characters, no "
            "slashes, no HTML entities and no invisible characters.",
        )
        field.tab.click(button("Send"))
        assert field.focus() == "Dismiss \u200b"
        assert (
            field.tab.js("() => getComputedStyle(document.activeElement).outlineStyle")
            == "solid"
        )
        assert field.status().startswith("Not sent yet: a file has failed.")

        field.tab.press("Enter")
        field.show("spam.txt 5 bytes Remove")
        assert field.focus() == "file"
        field.tab.click(button("Send"))
        field.tab.wait("document.querySelector('.errorlist')")

    def test_large_file_is_refused_before_it_is_sent(self, field, large):
        field.choose(large)

        field.show(
            "large.bin 3.0 GB Dismiss The file “large.bin” is larger than 50.0 MB."
        )

    def test_broken_line_is_tried_again(self, field, disk, line):
        field.choose(disk("spam.txt"))
        field.show("spam.txt 5 bytes Remove")
        line.break_after(up=7_000_000, times=2)
        field.choose(disk("large.bin", bytes(15_000_000)))

        field.tab.wait("document.body.innerText.includes('It is tried again soon.')")
        field.show("large.bin 14.3 MB Remove", "spam.txt 5 bytes Remove")
        assert field.stored()["large.bin"] == 15_000_000


class TestKeyboard:
    def test_everything_is_done_by_keys(self, field, disk):
        field.tab.click("[name=body]")
        field.tab_to("file")
        field.choose(disk("\u200b"), disk("egg.txt"), disk("spam.txt"), disk("tea.txt"))
        field.tab.wait("document.querySelectorAll('.stored').length == 3")
        field.tab.click("[name=body]")

        field.tab_to("Remove egg.txt")
        field.tab.press("Enter")
        field.tab.wait("document.querySelectorAll('li').length == 3")
        assert field.focus() == "Remove spam.txt"
        field.tab.press("Space")
        field.tab.wait("document.querySelectorAll('li').length == 2")
        assert field.focus() == "Remove tea.txt"
        field.tab_to("Dismiss \u200b")
        field.tab.press("Enter")
        field.show("tea.txt 5 bytes Remove")
        assert field.focus() == "file"
        assert list(field.stored()) == ["tea.txt"]

        field.tab.press("Tab")
        assert field.focus() == "Send"

    def test_upload_is_cancelled_by_keys(self, field, disk, line):
        field.choose(disk("spam.txt"))
        field.show("spam.txt 5 bytes Remove")
        field.tab.click("[name=body]")
        line.hold()
        field.choose(disk("large.bin", bytes(15_000_000)))
        field.tab_to("Cancel large.bin")
        field.tab.press("Enter")

        field.show("spam.txt 5 bytes Remove")
        assert field.focus() == "file"
        line.go_on()
        assert list(field.stored()) == ["spam.txt"]


class TestComingBack:
    def test_reload_shows_the_same_files(self, field, disk):
        field.choose(disk("spam.txt"))
        field.show("spam.txt 5 bytes Remove")
        bundle = field.bundle()

        field.tab.reload()

        field.show("spam.txt 5 bytes Remove")
        assert field.bundle() == bundle
        field.choose(disk("egg.txt"))
        field.show("egg.txt 5 bytes Remove", "spam.txt 5 bytes Remove")

    def test_back_shows_what_is_there_now(self, field, disk):
        field.choose(disk("egg.txt"), disk("spam.txt"))
        field.show("egg.txt 5 bytes Remove", "spam.txt 5 bytes Remove")
        url = field.tab.js("document.querySelector('li a').href")
        page = field.tab.js("location.href")

        field.tab.goto(f"{page}narrow/")
        field.tab.wait("location.pathname == '/write/narrow/'")
        delete = """url => fetch(url, {method: "DELETE", headers: {
            "X-CSRFToken": document.querySelector("[name=csrfmiddlewaretoken]").value
        }}).then(answer => answer.text())"""
        assert field.tab.js(delete, url) == "[true]\r\n"
        field.tab.back()
        field.tab.wait("location.pathname == '/write/'")

        field.show("spam.txt 5 bytes Remove")
