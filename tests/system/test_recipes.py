"""The recipes of the example project, as people use them."""

import json
import os
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.browsers import needs_chromium
from tests.lines import Line
from tests.npm import NPM, PATH, needs_npm
from tests.servers import eventually
from tests.system.test_example_project import serving_project

ROOT = Path(__file__).parents[2]

SPAM, REPORT = ("spam.txt", b"spam\n"), ('Отчёт "1".txt', "за май".encode())
EMPTY, BIG = ("empty.txt", b""), ("big.bin", bytes(10 * 1024 * 1024))
TOO_LARGE = ("large.bin", bytes(10 * 1024 * 1024 + 1))
SENTENCE = "The file “large.bin” is larger than 10.0\xa0MB."

NAMES = "selector => [...document.querySelectorAll(selector)].map(e => e.textContent)"
LISTED = """performance.getEntriesByType("resource").some(
    ({initiatorType}) => initiatorType == "fetch"
)"""
FIND = "selector => !!document.querySelector(selector)"
COUNT = "([query, count]) => document.querySelectorAll(query).length == count"
SAYS = "([query, text]) => document.querySelector(query)?.innerText.includes(text)"
LIST = """async () => {
    const url = document.querySelector("main").dataset.url;
    return (await (await fetch(url)).json()).map(({name, size}) => [name, size]);
}"""


@dataclass
class Uploader:
    """An uploader's page; the rest are selectors."""

    page: str
    row: str
    name: str
    remove: str
    cancel: str
    done: str
    # Where a refusal is read.
    refusal: str = "[role=alert]"
    remove_restored: str = ""
    input: str = "[type=file]"
    # What is pressed to choose more files.
    more: str = ""
    # Each browser sends a quote like this in a form.
    report: str = "Отчёт %221%22.txt"
    # All files go with one form, when this is pressed.
    button: str = ""


UPLOADERS = [
    Uploader(
        "jquery-form",
        row="li",
        name="li span",
        remove="button",
        cancel="#cancel",
        done="li",
        button="form button:not([type])",
    ),
    Uploader(
        "htmx",
        row="li",
        name="li span",
        remove="button",
        cancel="#cancel",
        done="li",
        button="form button:not([type])",
    ),
    Uploader(
        "dropzone",
        input=".dz-hidden-input",
        row=".dz-preview",
        name="[data-dz-name]",
        remove=".dz-remove",
        cancel=".dz-remove",
        done=".dz-success.dz-complete",
    ),
    Uploader(
        "filepond",
        input=".filepond--browser",
        row=".filepond--item",
        name=".filepond--file-info-main",
        remove=".filepond--action-revert-item-processing",
        remove_restored=".filepond--action-remove-item",
        cancel=".filepond--action-abort-item-processing",
        done="[data-filepond-item-state=processing-complete]",
        refusal=".filepond--file-status-main",
    ),
    Uploader(
        "uppy",
        input=".uppy-Dashboard-input:first-of-type",
        more=".uppy-DashboardContent-addMore",
        row=".uppy-Dashboard-Item",
        name=".uppy-Dashboard-Item-name",
        remove=".uppy-Dashboard-Item-action--remove",
        cancel=".uppy-StatusBar-actionCircleBtn",
        done=".uppy-Dashboard-Item.is-complete",
        refusal=".uppy-Informer",
    ),
]
UPLOADERS.append(replace(UPLOADERS[-1], page="uppy-tus", report=REPORT[0]))
UPPY = UPLOADERS[-2:]


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """Serve the recipes; return a line to them."""
    var = tmp_path_factory.mktemp("recipes")
    env = os.environ | {"PATH": PATH, "EXAMPLE_VAR": str(var)}
    command = [NPM, "--prefix", ROOT / "tests", "run", "bundle"]
    subprocess.run(command, env=env, check=True, timeout=100)
    with serving_project(var, "recipes.settings") as port:
        line = Line(int(port))
        yield line
        line.close()


class Person:
    """Uses an uploader's page in a tab."""

    def __init__(self, tab, line, uploader, folder):
        self.tab = tab
        self.line = line
        self.uploader = uploader
        self.folder = folder
        self.posts, self.patches = [], []
        tab.run(self._watch(tab.page))
        tab.goto(f"{line.url}/{uploader.page}/")
        tab.wait(LISTED)
        tab.wait(FIND, uploader.input)

    async def _watch(self, page):
        page.on("request", self._notice)
        page.on("dialog", self._accept)
        # What goes wrong in a page is kept for the fixture "tab".
        path = ROOT / "tests" / "project" / "static" / "letters.js"
        await page.add_init_script(path=path)

    def _notice(self, request):
        requests = {"POST": self.posts, "PATCH": self.patches}
        requests.get(request.method, []).append(request)

    async def _accept(self, dialog):
        await dialog.accept()

    def upload(self, *files):
        """Choose files, and press the button if there is one."""
        paths = [self.folder / name for name, _content in files]
        for path, (_name, content) in zip(paths, files, strict=True):
            path.write_bytes(content)
        if self.uploader.more and self.tab.js(FIND, self.uploader.more):
            self.tab.click(self.uploader.more)
        self.tab.choose(self.uploader.input, *paths)
        if self.uploader.button:
            self.tab.click(self.uploader.button)

    def sees(self, selector, count):
        """Wait until there are ``count`` of these."""
        self.tab.wait(COUNT, [selector, count])

    def names(self):
        """Return the names that are shown."""
        return sorted(self.tab.js(NAMES, self.uploader.name))

    def remove(self, name, button=""):
        row = f"{self.uploader.row}:has-text({json.dumps(name, ensure_ascii=False)})"
        self.tab.click(f"{row} {button or self.uploader.remove}")

    def stored(self):
        """Return names and sizes of what is stored."""
        return dict(self.tab.js(LIST))


@pytest.fixture(params=UPLOADERS, ids=lambda uploader: uploader.page)
def person(request, tab, line, tmp_path):
    """Return somebody who uses each of the pages."""
    return Person(tab, line, request.param, tmp_path)


@pytest.mark.server
@pytest.mark.slow
@needs_chromium
@needs_npm
class TestUploaders:
    def test_files_are_uploaded_removed_and_shown_again(self, person):
        uploader = person.uploader
        files = [SPAM, REPORT, EMPTY, BIG]

        person.upload(*files)
        person.sees(uploader.done, 4)
        stored = {name: len(content) for name, content in files}
        stored[uploader.report] = stored.pop(REPORT[0])
        assert person.stored() == stored
        assert len(person.posts) == (1 if uploader.button else 4)

        shown = uploader.report if uploader.button else REPORT[0]
        assert shown in person.names()
        person.remove(shown)
        person.sees(uploader.row, 3)
        del stored[uploader.report]
        eventually(lambda: person.stored() == stored)

        person.tab.reload()
        person.sees(uploader.row, 3)
        assert person.names() == sorted(stored)
        person.remove("spam.txt", uploader.remove_restored)
        person.sees(uploader.row, 2)
        del stored["spam.txt"]
        eventually(lambda: person.stored() == stored)
        assert len(person.posts) == (1 if uploader.button else 4)

    def test_refusal_is_told_in_the_words_of_the_app(self, person):
        uploader = person.uploader
        person.upload(SPAM)
        person.sees(uploader.done, 1)

        person.upload(TOO_LARGE)

        person.tab.wait(SAYS, [uploader.refusal, SENTENCE])
        assert len(person.posts) == 2
        assert person.stored() == {"spam.txt": 5}
        assert "file_too_large" not in person.tab.text("main")

    @pytest.mark.parametrize("person", UPPY, indirect=True)
    def test_cancel_keeps_what_is_uploaded(self, person):
        person.upload(SPAM, TOO_LARGE)
        person.sees(person.uploader.done, 1)
        person.sees(f"{person.uploader.row}.is-error", 1)

        person.tab.click(person.uploader.cancel)

        person.sees(person.uploader.row, 1)
        assert person.names() == ["spam.txt"]
        assert person.stored() == {"spam.txt": 5}

    @pytest.mark.parametrize("person", UPPY[1:], indirect=True)
    def test_tus_resumes_what_was_broken(self, person):
        person.line.break_after(up=9 * 1024 * 1024)

        person.upload(BIG)

        person.sees(person.uploader.done, 1)
        assert person.stored() == {"big.bin": len(BIG[1])}
        assert len(person.posts) == 1
        # The second piece, of 2 MB, was sent again, and not the first.
        assert len(person.patches) == 3

    def test_upload_is_cancelled(self, person):
        person.line.hold()
        try:
            person.upload(BIG)
            eventually(lambda: person.posts)
            person.tab.click(person.uploader.cancel)
            eventually(lambda: person.posts[0].failure)
        finally:
            person.line.go_on()
        person.upload(SPAM)
        eventually(lambda: person.stored() == {"spam.txt": 5})
        assert len(person.posts) == 2
