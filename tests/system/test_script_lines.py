"""The script on a line that is slow, stalls and breaks, and with strange answers.

The page's clock is moved where it would wait.
"""

import os

import pytest

from tests.browsers import button, needs_chromium
from tests.fields import Field
from tests.servers import eventually

pytestmark = [pytest.mark.server, pytest.mark.slow, needs_chromium]

STORED = "spam.txt 5 bytes Remove"
AGAIN = "spam.txt 5 bytes Cancel This did not work. It is tried again soon."
UNREACHABLE = "spam.txt 5 bytes Try again Dismiss The server cannot be reached."
UNREADABLE = "The file cannot be read, or has changed. Please choose it again."
# In seconds.
PAUSES = [1, 4, 10]
MEGABYTES = 1024 * 1024
# More than the buffers of a connection swallow, and sent as a whole.
LARGE = bytes(15 * MEGABYTES)


STORING = "document.querySelector('progress').position == -1"
SHOWN = "document.querySelector('progress').checkVisibility()"


@pytest.fixture
def visitor(field, disk):
    """Return the field of a visitor who has a session, and the page's clock stopped."""
    field.choose(disk("old.txt"))
    field.show("old.txt 5 bytes Remove")
    field.tab.click("[aria-label='Remove old.txt']")
    field.show()
    page = field.tab.page
    field.tab.run(page.clock.install())
    field.tab.run(page.clock.pause_at(field.tab.js("Date.now() + 1000")))
    return field


def shows(field, *rows):
    """Wait until these rows are there, whatever goes on."""
    eventually(lambda: field.rows() == [*rows], 30)


def move(field, seconds):
    """Move the page's clock."""
    field.tab.run(field.tab.page.clock.run_for(round(seconds * 1000)))


def go_on(field, *rows):
    """Move the page's clock on until these rows are there."""
    eventually(lambda: move(field, 1) or field.rows() == [*rows], 30)


def fault(field, fault, method="POST"):
    """Let something else answer than the app: see ``tests.project.faults``."""
    field.tab.js(f"document.cookie = 'faults-{method}={fault}; path=/'")


class TestSlow:
    def test_progress_is_shown(self, visitor, disk, line):
        line.hold()
        visitor.choose(disk("large.bin", LARGE))

        visitor.tab.wait("document.querySelector('progress').value > 0")
        assert visitor.tab.js("document.querySelector('progress').value") < 1
        assert visitor.tab.js("document.querySelector('progress').checkVisibility()")
        line.go_on()
        visitor.show("large.bin 15.0 MB Remove")
        assert not visitor.tab.js(
            "document.querySelector('progress').checkVisibility()"
        )

    def test_stalled_line_says_so(self, visitor, disk, line):
        line.hold()
        visitor.choose(disk("large.bin", LARGE))
        visitor.tab.wait("document.querySelector('progress').value > 0")
        move(visitor, 11)

        shows(
            visitor,
            "large.bin 15.0 MB Cancel No progress. The connection is slow or broken.",
        )
        line.go_on()
        visitor.show("large.bin 15.0 MB Remove")

    def test_progress_is_not_told_while_the_server_stores(self, visitor, disk, line):
        line.hold()
        visitor.choose(disk("spam.txt"))

        visitor.tab.wait(STORING)
        assert visitor.tab.js(SHOWN)
        line.go_on()
        visitor.show(STORED)

    def test_upload_that_is_being_stored_is_cancelled(self, visitor, disk, line):
        line.hold()
        visitor.choose(disk("spam.txt"))
        visitor.tab.wait(STORING)
        visitor.tab.click(button("Cancel spam.txt"))

        shows(visitor, "spam.txt 5 bytes Cancel Being cancelled.")
        line.go_on()
        visitor.show()
        assert visitor.stored() == {}


class TestBroken:
    def test_large_file_is_sent_again_after_a_pause(self, visitor, disk, line):
        line.break_after(up=8 * MEGABYTES, times=2)
        visitor.choose(disk("large.bin", LARGE))

        shows(
            visitor,
            "large.bin 15.0 MB Cancel This did not work. It is tried again soon.",
        )
        go_on(visitor, "large.bin 15.0 MB Remove")
        assert visitor.stored() == {"large.bin": len(LARGE)}

    def test_lines_that_break_for_ever_leave_a_button(self, visitor, disk, line):
        started = visitor.tab.asked("POST")
        line.refuse()
        visitor.choose(disk("spam.txt"))
        for number, pause in enumerate(PAUSES, 1):
            shows(visitor, AGAIN)
            assert len(started) == number
            move(visitor, pause - 0.1)
            assert len(started) == number
            move(visitor, 0.1)
            eventually(lambda number=number: len(started) == number + 1)
        visitor.show(UNREACHABLE)

        line.accept()
        visitor.tab.click(button("Try again: spam.txt"))
        visitor.show(STORED)
        assert len(started) == 5

    def test_what_was_lost_is_sent_when_the_line_is_back(self, visitor, disk):
        context = visitor.tab.page.context
        visitor.tab.run(context.set_offline(True))
        visitor.choose(disk("spam.txt"))
        shows(visitor, AGAIN)
        visitor.tab.run(context.set_offline(False))

        visitor.show(STORED)

    def test_answer_that_is_lost_does_not_store_twice(self, visitor, disk, line):
        line.break_after(down=0, times=2)
        visitor.choose(disk("spam.txt"))
        shows(visitor, AGAIN)
        go_on(visitor, STORED)

        assert visitor.stored() == {"spam.txt": 5}

    def test_answer_that_is_cut_is_asked_for_again(self, visitor, disk, line):
        line.break_after(down=350)
        visitor.choose(disk("spam.txt"))
        shows(visitor, AGAIN)
        go_on(visitor, STORED)

    def test_tab_that_is_closed_leaves_nothing(self, open_tab, disk, line, letters):
        tab = open_tab()
        tab.goto(f"{line.url}/write/")
        line.rate = MEGABYTES
        Field(tab).choose(disk("large.bin", LARGE))
        eventually(letters.open_temporary)
        tab.close()

        eventually(lambda: not letters.open_temporary())
        assert letters.unreferenced() == []


class TestFiles:
    def test_file_that_vanishes_is_to_be_chosen_again(self, visitor, disk, line):
        path = disk("spam.txt")
        line.refuse()
        visitor.choose(path)
        shows(visitor, AGAIN)
        path.unlink()
        line.accept()
        move(visitor, PAUSES[0])

        visitor.show(f"spam.txt 5 bytes Dismiss {UNREADABLE}")

    def test_file_that_changes_is_to_be_chosen_again(self, visitor, disk, line):
        path = disk("large.bin", LARGE)
        line.hold()
        visitor.choose(path)
        visitor.tab.wait("document.querySelector('progress').value > 0")
        os.truncate(path, 100)
        line.go_on()

        visitor.show(f"large.bin 15.0 MB Dismiss {UNREADABLE}")


class TestAnswers:
    @pytest.mark.parametrize("status", [408, 423, 425, 429, 500, 502, 503, 504])
    def test_what_may_pass_is_tried_again(self, visitor, disk, status):
        fault(visitor, status)
        visitor.choose(disk("spam.txt"))
        shows(visitor, AGAIN)
        move(visitor, PAUSES[0])

        visitor.show(STORED)

    def test_server_says_how_long_to_wait(self, visitor, disk):
        fault(visitor, "503-30")
        started = visitor.tab.asked("POST")
        visitor.choose(disk("spam.txt"))
        shows(visitor, AGAIN)
        move(visitor, 29.9)
        assert len(started) == 1
        move(visitor, 0.1)

        visitor.show(STORED)

    def test_what_never_works_leaves_a_button(self, visitor, disk):
        fault(visitor, "500.ever")
        started = visitor.tab.asked("POST")
        visitor.choose(disk("spam.txt"))
        for pause in PAUSES:
            shows(visitor, AGAIN)
            move(visitor, pause)

        visitor.show(
            "spam.txt 5 bytes Try again Dismiss The server gave an unexpected answer "
            "(500). Please reload the page; files that are listed stay."
        )
        assert len(started) == 4

    @pytest.mark.parametrize("answer", ["400", "401", "403", "404", "413", "html"])
    def test_page_of_another_becomes_a_sentence(self, visitor, disk, answer):
        fault(visitor, answer)
        visitor.choose(disk("spam.txt"))

        status = "200" if answer == "html" else answer
        visitor.show(
            "spam.txt 5 bytes Try again Dismiss The server gave an unexpected answer "
            f"({status}). Please reload the page; files that are listed stay."
        )
        visitor.tab.click(button("Try again: spam.txt"))
        visitor.show(STORED)

    @pytest.mark.parametrize("answer", ["login", "empty"])
    def test_login_and_nothing_become_a_sentence(self, visitor, disk, answer):
        fault(visitor, answer)
        visitor.choose(disk("spam.txt"))

        visitor.show(
            "spam.txt 5 bytes Try again Dismiss The server gave an unexpected answer "
            "(200). Please reload the page; files that are listed stay."
        )

    def test_json_that_is_cut_short_is_asked_for_again(self, visitor, disk):
        fault(visitor, "cut")
        visitor.choose(disk("spam.txt"))
        shows(visitor, AGAIN)
        move(visitor, PAUSES[0])

        visitor.show(STORED)

    def test_removal_takes_what_is_not_told_yet(self, visitor, disk):
        visitor.choose(disk("spam.txt"))
        visitor.show(STORED)
        fault(visitor, "late")
        visitor.choose(disk("spam.txt", b"more spam"))
        eventually(lambda: visitor.stored() == {"spam.txt": 9})
        visitor.tab.click(button("Remove spam.txt"))

        visitor.show()
        assert visitor.stored() == {}

    @pytest.mark.parametrize("answer", ["500", "html", "login", "empty"])
    def test_removal_that_fails_leaves_the_file(self, visitor, disk, answer):
        visitor.choose(disk("spam.txt"))
        visitor.show(STORED)
        fault(visitor, answer, "DELETE")
        visitor.tab.click(button("Remove spam.txt"))

        status = 500 if answer == "500" else 200
        visitor.show(
            f"{STORED} The server gave an unexpected answer ({status}). Please reload "
            "the page; files that are listed stay."
        )
        visitor.tab.click(button("Remove spam.txt"))
        visitor.show()

    @pytest.mark.parametrize("answer", ["500", "html", "login", "empty", "cut"])
    def test_list_that_fails_is_asked_for_again(self, field, disk, answer):
        fault(field, answer, "GET")
        field.choose(disk("spam.txt"))

        field.tab.wait("document.querySelector('li').innerText.includes('again')")
        if "Try again" in field.rows()[0]:
            field.tab.click(button("Try again: spam.txt"))
        field.show(STORED)
