"""The script in the life of a page: forms, rows, reloads, and new visitors."""

import pytest

from tests.browsers import button, needs_chromium
from tests.fields import Field
from tests.servers import eventually

pytestmark = [pytest.mark.server, pytest.mark.slow, needs_chromium]

SPAM = "spam.txt 5 bytes Remove"
EGG = "egg.txt 5 bytes Remove"


def dialogs(tab):
    """Return a list that will have the kinds of dialogs, all of which are declined."""
    kinds = []

    async def decline(dialog):
        kinds.append(dialog.type)
        await dialog.dismiss()

    tab.on("dialog", decline)
    return kinds


def leave(tab):
    """Try to go to another page, as by a link."""
    tab.js("document.querySelector('h1').innerHTML = '<a href=narrow/>Elsewhere</a>'")
    tab.click("h1 a")


class TestSubmit:
    def test_button_that_was_pressed_is_sent(self, field, disk, line):
        field.tab.click("[name=body]")
        field.tab.type("Hi")
        line.hold()
        field.choose(disk("spam.txt"))
        field.tab.press("Enter")
        field.tab.click(button("Keep"))
        line.go_on()

        field.tab.wait("document.body.innerText == 'Sent as a draft: 1'")

    def test_form_waits_for_all_its_files(self, field, disk, line):
        field.tab.click("[name=body]")
        field.tab.type("Hi")
        field.choose(*[disk(f"{number}.txt") for number in range(10)])
        field.tab.press("Enter")

        field.tab.wait("document.body.innerText == 'Sent: 10'")

    def test_other_form_of_the_page_does_not_wait(self, field, disk, line):
        field.tab.js("""document.body.insertAdjacentHTML("beforeend",
            "<dialog open><form method=dialog><button>OK</button></form></dialog>"
        )""")
        line.hold()
        field.choose(disk("spam.txt"))
        assert field.is_busy()
        field.tab.click(button("OK"))

        assert not field.tab.js("document.querySelector('dialog').open")
        line.go_on()
        field.show(SPAM)

    def test_failed_upload_keeps_the_form_here(self, field, disk, line):
        field.tab.click("[name=body]")
        field.tab.type("Hi")
        field.tab.js("document.cookie = 'faults-POST=400; path=/'")
        line.hold()
        field.choose(disk("spam.txt"))
        field.tab.click(button("Send"))
        line.go_on()

        eventually(lambda: field.focus() == "Try again: spam.txt")
        field.tab.click(button("Send"))
        assert field.focus() == "Try again: spam.txt"
        field.tab.press("Enter")
        field.show(SPAM)
        field.tab.click(button("Send"))
        field.tab.wait("document.body.innerText == 'Sent: 1'")

    def test_page_is_not_left_while_something_runs(self, field, disk, line):
        asked = dialogs(field.tab)
        field.tab.click("[name=body]")
        line.hold()
        field.choose(disk("spam.txt"))
        leave(field.tab)
        eventually(lambda: asked == ["beforeunload"])
        assert field.tab.js("location.pathname") == "/write/"

        line.go_on()
        field.show(SPAM)
        leave(field.tab)
        field.tab.wait("location.pathname == '/write/narrow/'")
        assert asked == ["beforeunload"]

    def test_two_clicks_send_one_letter(self, field, disk):
        field.choose(disk("spam.txt"), disk("egg.txt"))
        field.show(EGG, SPAM)
        field.tab.click(button("Remove egg.txt"))
        field.show(SPAM)
        assert field.tab.js("document.querySelector('[name$=-seen]').value") == "1"
        field.tab.click("[name=body]")
        field.tab.type("Hi")

        again = """() => {
            const body = new FormData(document.querySelector("form"));
            return fetch("", {method: "POST", body}).then(answer => answer.text());
        }"""
        assert field.tab.js(again) == "Sent: 1"
        field.tab.click(button("Send"))
        field.tab.wait("document.querySelector('.errorlist')")
        assert "sent or removed meanwhile" in field.tab.text(".errorlist")
        field.show()


class TestComingBack:
    def test_back_to_a_page_that_is_loaded_anew(self, field, disk, line):
        field.tab.goto(f"{line.url}/write/anew/")
        before = field.bundle()
        field.choose(disk("spam.txt"))
        field.show(SPAM)
        field.tab.goto(f"{line.url}/write/narrow/")
        field.tab.back()
        field.tab.wait("location.pathname == '/write/anew/'")

        field.show(SPAM)
        assert field.bundle() == before

    def test_what_was_sent_does_not_come_back(self, field, disk, line):
        field.tab.goto(f"{line.url}/write/anew/")
        field.choose(disk("spam.txt"))
        field.show(SPAM)
        field.tab.click("[name=body]")
        field.tab.type("Hi")
        field.tab.press("Enter")
        field.tab.wait("document.body.innerText == 'Sent: 1'")
        field.tab.back()
        field.tab.wait("location.pathname == '/write/anew/'")

        field.show()
        field.choose(disk("egg.txt"))
        field.show(EGG)

    def test_page_that_was_never_used_has_a_new_bundle(self, field):
        before = field.bundle()
        field.tab.reload()

        assert field.bundle() != before

    def test_other_state_of_the_page_stays(self, field, disk):
        field.tab.js("history.replaceState({page: 7}, '')")
        field.choose(disk("spam.txt"))
        field.show(SPAM)

        assert field.tab.js("history.state.page") == 7
        field.tab.reload()
        field.show(SPAM)
        assert field.tab.js("history.state.page") == 7

    def test_two_pages_are_two_bundles(self, field, disk, line):
        field.choose(disk("spam.txt"))
        field.show(SPAM)
        field.tab.goto(f"{line.url}/write/")

        field.show()


class TestVisitor:
    def test_list_is_read_once_before_the_first_uploads(self, field, disk, line):
        field.tab.goto(f"{line.url}/write/many/")
        lists, uploads = (
            field.tab.asked("GET", "/attachments/"),
            field.tab.asked("POST", "/attachments/"),
        )
        rows = [
            Field(field.tab, f"section:nth-of-type({number}) session-attachments")
            for number in (1, 2)
        ]
        line.hold()
        rows[0].choose(disk("spam.txt"))
        rows[1].choose(disk("egg.txt"), disk("tea.txt"))
        eventually(lambda: lists)
        assert uploads == []
        line.go_on()
        rows[0].show(SPAM)
        rows[1].show(EGG, "tea.txt 5 bytes Remove")

        assert len(lists) == 1
        assert list(rows[0].stored()) == ["spam.txt"]
        assert list(rows[1].stored()) == ["egg.txt", "tea.txt"]

    def test_rows_of_a_formset_are_sent_with_their_own(self, field, disk, line):
        field.tab.goto(f"{line.url}/write/many/")
        field.tab.click("#add")
        for number in (0, 2):
            field.tab.click(f"[name=form-{number}-body]")
            field.tab.type("Hi")
        third = Field(field.tab, "section:nth-of-type(3) session-attachments")
        assert len(third.bundle()) == 32
        third.choose(disk("egg.txt"), disk("spam.txt"))
        third.show(EGG, SPAM)
        field.tab.click(button("Send"))

        field.tab.wait("document.body.innerText == 'Sent: [0, 2]'")

    def test_empty_form_in_the_page_is_left_alone(self, field, disk, line):
        field.tab.goto(f"{line.url}/write/many/")
        field.tab.js("""() => {
            const template = document.querySelector("form > template");
            template.after(template.content.cloneNode(true));
        }""")
        last = Field(field.tab, "section:nth-of-type(3) session-attachments")

        assert last.bundle() == ""
        assert field.tab.js("document.querySelectorAll('[role=status]').length") == 2

    def test_events_and_attribute_tell_the_page(self, field, disk):
        field.tab.js("""() => {
            window.told = [];
            document.addEventListener("session-attachments:change", ({detail}) => {
                told.push([detail.count, detail.names, detail.busy]);
            });
        }""")
        field.choose(disk("spam.txt"))
        field.show(SPAM)

        told = field.tab.js("told")
        assert [0, [], True] in told
        assert told[-1] == [1, ["spam.txt"], False]

    def test_element_that_is_moved_goes_on(self, field, disk, line):
        line.hold()
        field.choose(disk("spam.txt"))
        field.tab.js(
            "document.querySelector('main').prepend(document.querySelector('form'))"
        )
        line.go_on()

        field.show(SPAM)

    def test_element_that_is_taken_away_stops(self, field, disk, line, letters):
        field.choose(disk("egg.txt"))
        field.show(EGG)
        started = field.tab.asked("POST", "/attachments/")
        line.hold()
        field.choose(disk("large.bin", bytes(15_000_000)))
        eventually(lambda: started)
        asked = dialogs(field.tab)
        field.tab.js("document.querySelector('form').remove()")
        line.go_on()
        leave(field.tab)

        field.tab.wait("location.pathname == '/write/narrow/'")
        assert asked == []


class TestWithout:
    def test_page_works_without_javascript(self, open_tab, line, disk):
        tab = open_tab(java_script_enabled=False)
        tab.goto(f"{line.url}/write/")
        tab.choose("[type=file]", disk("spam.txt"))
        tab.click(button("Send"))
        assert tab.text("li a") == "spam.txt"
        tab.click("[name=body]")
        tab.type("Hi")
        tab.click(button("Send"))

        assert tab.text("body") == "Sent: 1"

    def test_page_works_without_the_urls_of_the_app(self, tab, line, disk):
        tab.goto(f"{line.url}/write/without-urls/")
        tab.choose("[type=file]", disk("spam.txt"))
        tab.click("[name=body]")
        tab.type("Hi")
        tab.click(button("Send"))

        tab.wait("document.body.innerText == 'Sent: 1'")

    def test_token_comes_from_the_cookie_where_no_form_has_one(self, field, disk):
        field.tab.js("document.querySelector('[name=csrfmiddlewaretoken]').remove()")
        field.choose(disk("spam.txt"))

        field.show(SPAM)
