"""What tests do in a browser does the same in each engine."""

import pytest

from tests.browsers import button, each_engine

pytestmark = [pytest.mark.server, pytest.mark.slow]

LISTEN = """() => {
    window.got = [];
    for (const type of ["drop", "paste"]) {
        addEventListener(type, async event => {
            event.preventDefault();
            const data = event.dataTransfer ?? event.clipboardData;
            const text = data.getData("text/plain");
            const files = [...data.files].map(async file => [
                file.name, file.type, await file.text()
            ]);
            got.push([type, text, await Promise.all(files)]);
        });
    }
}"""


@pytest.fixture
def page(tab, letters):
    """Return a tab with a form in it, with which the app's script has nothing to do."""
    tab.goto(f"{letters.url}/write/without-urls/")
    return tab


@each_engine
class TestTab:
    def test_text_is_typed_and_keys_are_pressed(self, page):
        page.click("[name=body]")
        page.type("Hi!")
        page.press("Tab", "Shift+Tab", "End", "Backspace")

        assert page.js("document.activeElement.value") == "Hi"

    def test_files_are_chosen(self, page, tmp_path):
        paths = [tmp_path / name for name in ("spam.txt", "Отчёт «1».txt")]
        for path in paths:
            path.touch()

        page.choose("[type=file]", *paths)

        page.wait("document.querySelector('[type=file]').files.length == 2")
        chosen = "[...document.querySelector('[type=file]').files].map(f => f.name)"
        assert page.js(chosen) == [path.name for path in paths]

    def test_files_are_dropped_and_pasted(self, page):
        page.js(LISTEN)

        held = page.drop("#beside", ("a.txt", b"a"), ("b.txt", b"b"))
        page.wait("got.length == 1")
        assert "drop" in held
        assert page.paste("main", ("c.png", b"c"), text="cell")
        page.wait("got.length == 2")

        assert page.js("got") == [
            ["drop", "", [["a.txt", "text/plain", "a"], ["b.txt", "text/plain", "b"]]],
            ["paste", "cell", [["c.png", "image/png", "c"]]],
        ]

    def test_functions_and_promises_return_what_they_end_with(self, page):
        assert page.js("1 + 1") == 2
        assert page.js("number => number + 1", 2) == 3
        assert page.js("async ([one, other]) => ({[one]: other})", [1, 2]) == {"1": 2}
        with pytest.raises(page.error, match="mine"):
            page.js("() => { throw new Error('mine'); }")

    def test_pages_come_and_go(self, page, letters):
        page.js("document.title = 'old'")
        page.reload()
        page.wait("document.title == 'Letters'")
        page.click(button("Keep"))
        page.wait("document.querySelector('.errorlist')")
        assert page.text(".errorlist") == "This field is required."

        page.goto(f"{letters.url}/write/narrow/")
        page.wait("location.pathname == '/write/narrow/'")
        page.back()
        page.wait("location.pathname == '/write/without-urls/'")

    def test_page_is_looked_at(self, page, tmp_path):
        assert page.axe() == []
        page.js("document.querySelector('html').lang = ''")
        assert [rule for rule, *_html in page.axe()] == ["html-has-lang"]

        page.screenshot(tmp_path / "page.png")
        assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
        page.js("sessionStorage.clear()")

    def test_inline_script_is_refused_and_told(self, page):
        page.js("""() => {
            const script = document.createElement("script");
            script.textContent = "ran = 1";
            document.body.append(script);
        }""")

        page.wait("sessionStorage.faults")
        assert page.js("typeof ran") == "undefined"
        page.js("sessionStorage.clear()")
