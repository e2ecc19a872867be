"""Real browsers, and what a person does in one of their tabs.

What is done in all of them are the verbs of ``Tab``. A test that needs more of
playwright's API has ``tab.page``, and ``tab.run()`` for its coroutines.
"""

import os
import shutil
import subprocess
import warnings
from base64 import b64encode
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path

import pytest

from tests.loops import Loop
from tests.servers import eventually

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FIREFOX = shutil.which("firefox-esr")
WEBKIT_DRIVER = shutil.which("WebKitWebDriver")
XVFB = shutil.which("Xvfb")

needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
needs_firefox = pytest.mark.skipif(not FIREFOX, reason="needs Firefox")
needs_webkit = pytest.mark.skipif(
    not (WEBKIT_DRIVER and XVFB), reason="needs WebKitGTK and Xvfb"
)
each_engine = pytest.mark.parametrize(
    "tab",
    [
        pytest.param("Chromium", marks=needs_chromium),
        pytest.param("Firefox", marks=needs_firefox),
        pytest.param("WebKit", marks=needs_webkit),
    ],
    indirect=True,
)

# Drops or pastes; returns which of the events the page has kept from the browser.
TRANSFER = """([selector, kind, files, text]) => {
    const transfer = new DataTransfer();
    for (const [name, type, base64] of files) {
        const bytes = Uint8Array.from(atob(base64), c => c.charCodeAt(0));
        transfer.items.add(new File([bytes], name, {type}));
    }
    if (text) transfer.setData("text/plain", text);
    const options = {bubbles: true, cancelable: true, composed: true};
    const make = {
        drop: type => new DragEvent(type, {...options, dataTransfer: transfer}),
        paste: type => {
            const data = {...options, clipboardData: transfer};
            const event = new ClipboardEvent(type, data);
            // Firefox leaves the constructor's data away.
            if (!event.clipboardData.items.length) {
                for (const file of transfer.files) event.clipboardData.items.add(file);
                if (text) event.clipboardData.setData("text/plain", text);
            }
            return event;
        },
    }[kind];
    const types = kind == "drop" ? ["dragenter", "dragover", "drop"] : [kind];
    const target = document.querySelector(selector);
    return types.filter(type => !target.dispatchEvent(make(type)));
}"""


def _chromium(playwright):
    return playwright.chromium.launch(
        executable_path=CHROMIUM,
        args=["--no-sandbox"],
        # What the names of downloads are written in.
        env=os.environ | {"LC_ALL": "C.UTF-8"},
    )


def _firefox(playwright):
    # The distribution's own, by WebDriver BiDi.
    return playwright.firefox.launch(channel="moz-firefox", executable_path=FIREFOX)


def _playwright():
    # Not its synchronous half: coverage.py loses sight of what switches greenlets.
    api = pytest.importorskip("playwright.async_api", reason="needs playwright")
    return api.async_playwright()


@asynccontextmanager
async def browser():
    """Start Chromium; yield it, as playwright's API has it."""
    async with _playwright() as playwright:
        chromium = await _chromium(playwright)
        yield chromium
        await chromium.close()


def button(name):
    """Return the selector of the button that is called ``name``."""
    quote = "'" if '"' in name else '"'
    name = f"{quote}{name}{quote}"
    return f"//button[normalize-space() = {name} or @aria-label = {name}]"


@cache
def _axe():
    folder = pytest.importorskip("axe_playwright_python", reason="needs axe").__name__
    return files(folder).joinpath("axe.min.js").read_text(encoding="utf-8")


class Tab:
    """A tab of a browser, and a visitor of its own.

    Selectors are CSS, or XPath if they start with two slashes.
    """

    def wait(self, expression, argument=None):
        """Wait until a JavaScript expression is true."""

        def holds():
            # While another page comes there is nothing to ask.
            with suppress(self.error):
                return self.js(expression, argument)

        eventually(holds, 30)

    def back(self):
        """Go back, to a page that the browser may have kept."""
        self.js("history.back()")

    def drop(self, selector, *files):
        """Drop ``files``, pairs of name and content; return the events that are held.

        The events are made by a script: see TRANSFER.
        """
        return self._transfer("drop", selector, files)

    def paste(self, selector, *files, text="", type_="image/png"):
        """Paste files and text; return whether the browser was kept from doing it."""
        return bool(self._transfer("paste", selector, files, text, type_))

    def _transfer(self, kind, selector, files, text="", type_="text/plain"):
        files = [[name, type_, b64encode(content).decode()] for name, content in files]
        return self.js(TRANSFER, [selector, kind, files, text])

    def axe(self):
        """Return what axe finds wrong with the page: rules, and the HTML."""
        self._run_script(_axe())
        return self.js("""axe.run().then(result => result.violations.map(
            rule => [rule.id, ...rule.nodes.map(node => node.html)]
        ))""")


class PlaywrightTab(Tab):
    """A tab of Chromium or Firefox."""

    def __init__(self, loop, page):
        from playwright.async_api import Error

        self.error = Error
        self.loop = loop
        self.run = loop.run
        self.page = page

    def on(self, event, function):
        """Call ``function`` for each of playwright's events of that name."""
        self.loop.call(self.page.on, event, function)

    def asked(self, method, path=""):
        """Return a list that will have the URLs, with ``path`` in them, so asked."""
        urls = []

        def note(request):
            if request.method == method and path in request.url:
                urls.append(request.url)

        self.on("request", note)
        return urls

    def goto(self, url):
        self.run(self.page.goto(url))

    def reload(self):
        self.run(self.page.reload())

    def js(self, expression, argument=None):
        """Return what an expression is, or what the function or promise returns."""
        return self.run(self.page.evaluate(expression, argument))

    _run_script = js

    def text(self, selector):
        """Return the text that a person sees."""
        return self.run(self.page.inner_text(selector))

    def choose(self, selector, *paths):
        """Choose files on the disk."""
        self.run(self.page.set_input_files(selector, list(map(str, paths))))

    def click(self, selector):
        self.run(self.page.click(selector))

    def press(self, *keys):
        """Press keys one after the other, such as "Tab" and "Shift+Tab"."""
        for key in keys:
            self.run(self.page.keyboard.press(key))

    def type(self, text):
        self.run(self.page.keyboard.type(text))

    def screenshot(self, path):
        """Take a picture; in Firefox that puts a style into the page."""
        # So that it need not be hidden by one in Chromium, too.
        self.run(self.page.screenshot(path=path, caret="initial"))

    def close(self):
        self.run(self.page.context.close())


class WebKitTab(Tab):
    """The only tab of a WebKitGTK of its own, which starts in half a second."""

    def __init__(self, display):
        pytest.importorskip("selenium", reason="needs selenium")
        from selenium.common.exceptions import WebDriverException
        from selenium.webdriver import WebKitGTK, WebKitGTKOptions
        from selenium.webdriver.webkitgtk.service import Service

        options = WebKitGTKOptions()
        (options.binary_location,) = map(
            str, Path("/usr/lib").glob("*/webkit2gtk-4.1/MiniBrowser")
        )
        options.add_argument("--automation")
        env = os.environ | {"DISPLAY": display}
        service = Service(WEBKIT_DRIVER, env=env)
        # Selenium warns of what it does itself.
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            self.driver = WebKitGTK(options=options, service=service)
        self.driver.implicitly_wait(30)
        # Else it waits for an answer for ever.
        self.driver.command_executor.client_config.timeout = 100
        self.error = WebDriverException

    def goto(self, url):
        self.driver.get(url)

    def reload(self):
        self.driver.refresh()

    def js(self, expression, argument=None):
        """Return what an expression is, or what the function or promise returns."""
        value, error = self.driver.execute_async_script(
            f"""const [argument, done] = arguments;
            const result = (async () => {{
                const value = ({expression});
                return typeof value == "function" ? value(argument) : value;
            }})();
            result.then(value => done([value, null]), e => done([null, String(e)]));""",
            argument,
        )
        if error is not None:
            raise self.error(error)
        return value

    def back(self):
        # By a script it goes while the next one is asked, and takes the answer along:
        # one time in ten.
        self.driver.back()

    def _run_script(self, script):
        self.driver.execute_script(script)

    def text(self, selector):
        """Return the text that a person sees."""
        return self._find(selector).text

    def choose(self, selector, *paths):
        """Choose files on the disk."""
        self._find(selector).send_keys("\n".join(map(str, paths)))

    def click(self, selector):
        self._find(selector).click()

    def press(self, *keys):
        """Press keys one after the other, such as "Tab" and "Shift+Tab"."""
        from selenium.webdriver import ActionChains, Keys

        for key in keys:
            *held, key = [getattr(Keys, k.upper(), k) for k in key.split("+")]
            chain = ActionChains(self.driver)
            for modifier in held:
                chain.key_down(modifier)
            chain.send_keys(key)
            for modifier in held:
                chain.key_up(modifier)
            chain.perform()

    def type(self, text):
        self.press(*text)

    def screenshot(self, path):
        self.driver.get_screenshot_as_file(str(path))

    def close(self):
        self.driver.quit()

    def _find(self, selector):
        by = "xpath" if selector.startswith("//") else "css selector"
        return self.driver.find_element(by, selector)


class Browsers:
    """The engines, each started when the first tab is opened in it."""

    def __init__(self):
        self._ends = ExitStack()

    def open(self, engine, **options):
        """Open a tab; ``options`` are those of playwright's contexts."""
        if engine == "WebKit":
            return WebKitTab(self._display)
        run, started = self._loop.run, getattr(self, f"_{engine.lower()}")
        context = run(started.new_context(**options))
        return PlaywrightTab(self._loop, run(context.new_page()))

    def close(self):
        self._ends.close()

    @cached_property
    def _loop(self):
        loop = Loop()
        self._ends.callback(loop.close)
        return loop

    @cached_property
    def _playwright(self):
        playwright = self._loop.run(_playwright().start())
        self._ends.callback(lambda: self._loop.run(playwright.stop()))
        return playwright

    def _launched(self, launch):
        launched = self._loop.run(launch(self._playwright))
        self._ends.callback(lambda: self._loop.run(launched.close()))
        return launched

    @cached_property
    def _chromium(self):
        return self._launched(_chromium)

    @cached_property
    def _firefox(self):
        return self._launched(_firefox)

    @cached_property
    def _display(self):
        """A screen that nobody sees, without which WebKitGTK hangs."""
        command = [XVFB, "-displayfd", "1", "-screen", "0", "1280x1024x24"]
        process = subprocess.Popen(
            [*command, "-nolisten", "tcp"],
            stderr=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ends.enter_context(process)
        self._ends.callback(process.terminate)
        return f":{process.stdout.readline().strip()}"
