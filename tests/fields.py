"""A form's field of attachments in a browser's tab, as a person finds it."""

from contextlib import suppress

from tests.servers import eventually

# The text of each row without what is hidden.
ROWS = """selector => [...document.querySelectorAll(`${selector} li`)].map(
    row => row.innerText.replace(/\\s+/g, " ").trim()
)"""
STORED = """selector => fetch(document.querySelector(selector).getAttribute("url"))
    .then(answer => answer.json())
    .then(list => list.map(({name, size}) => [name, size]))"""


class Field:
    """The field in ``tab`` that the CSS ``selector`` finds, the first one if not said.

    ``open(url)`` returns the field of another page in the same tab.
    """

    def __init__(self, tab, selector="session-attachments"):
        self.tab = tab
        self.selector = selector

    def choose(self, *paths):
        self.tab.choose(f"{self.selector} [type=file]", *paths)

    def rows(self):
        """Return what is written in each row."""
        return self.tab.js(ROWS, self.selector)

    def show(self, *rows):
        """Wait until these rows are there, no others, and nothing goes on."""
        with suppress(AssertionError):
            eventually(lambda: self._is([*rows]), 30)
        assert self._is([*rows]), (self.rows(), self.status())

    def _is(self, rows):
        return self.rows() == rows and not self.is_busy()

    def is_busy(self):
        return self.tab.js(
            f"document.querySelector('{self.selector}').matches('[busy]')"
        )

    def stored(self):
        """Return names and sizes of what the server has."""
        return dict(self.tab.js(STORED, self.selector))

    def status(self):
        """Return what was said last to those who do not see the rows."""
        return self.tab.text(f"{self.selector} [role=status]")

    def bundle(self):
        """Return the id that is sent with the form."""
        return self.tab.js(f"document.querySelector('{self.selector} input').value")

    def focus(self):
        """Return what the focus is on: a button's or link's name, an input's type."""
        return self.tab.js(
            "(e => e.ariaLabel || e.innerText || e.type)(document.activeElement)"
        )

    def tab_to(self, name):
        """Press Tab until the focus is on ``name``."""
        passed = []
        while (focus := self.focus()) != name:
            passed.append(focus)
            assert len(passed) < 20, passed
            self.tab.press("Tab")
