"""The example project, as a visitor, a curl and a browser find it."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from email import message_from_bytes, policy
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPCookieProcessor, ProxyHandler, Request, build_opener

import pytest

from tests.browsers import browser, needs_chromium
from tests.clients import MULTIPART, form, part
from tests.pages import Page

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ROOT / "example_project"
MANAGE = [sys.executable, "-X", "dev", "-W", "error", PROJECT / "manage.py"]

# The examples of 0.2's README, in its order, and one of what it had not.
EXAMPLES = """\
$ echo spam > spam.txt
$ echo egg > egg.txt
$ curl --cookie session.txt --cookie-jar session.txt -F attach1=@spam.txt \
-F attach2=@egg.txt -X POST http://localhost:8000/attachments/foo/
[{"mimetype": "text/plain", "size": 4, "name": "egg.txt", "created": "TIME"}, \
{"mimetype": "text/plain", "size": 5, "name": "spam.txt", "created": "TIME"}]
$ curl --cookie session.txt --cookie-jar session.txt \
-X GET http://localhost:8000/attachments/foo/
[{"mimetype": "text/plain", "size": 4, "name": "egg.txt", "created": "TIME"}, \
{"mimetype": "text/plain", "size": 5, "name": "spam.txt", "created": "TIME"}]
$ curl --cookie session.txt --cookie-jar session.txt \
-X GET http://localhost:8000/attachments/foo/spam.txt/
spam
$ curl --cookie session.txt --cookie-jar session.txt \
-X POST http://localhost:8000/attachments/foo/spam.txt/delete/
[true]
$ curl --cookie session.txt --cookie-jar session.txt \
-X POST http://localhost:8000/attachments/foo/delete/
[[true]]
$ curl --cookie session.txt --cookie-jar session.txt \
-T spam.txt http://localhost:8000/attachments/foo/
[{"mimetype": "text/plain", "size": 5, "name": "spam.txt", "created": "TIME"}]
"""

HOSTILE = [
    "<img src=x onerror=alert(1)>.txt",
    "' autofocus onfocus='alert(1).txt",
    '".txt',
    "#?%41&=1;.txt",
    "%2E%2E",
    "delete",
    "Отчёт за май.txt",
    "😀.txt",
    "{{ 7|add:7 }}{% url %}",
    "a" * 251 + ".txt",
]


def environment(**variables):
    """Return this machine's environment, in which only ``variables`` are about us."""
    others = ("DJANGO", "EXAMPLE", "PYTHON")
    outside = {k: v for k, v in os.environ.items() if not k.startswith(others)}
    return outside | variables


def project(var, **variables):
    """Return the environment of a manage.py that keeps everything in ``var``."""
    return environment(
        PYTHONPATH=str(ROOT), PYTHONUNBUFFERED="1", EXAMPLE_VAR=str(var), **variables
    )


def manage(var, *arguments, **variables):
    """Run a command of the example project to its end."""
    command = [*MANAGE, *arguments]
    env = project(var, **variables)
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


@contextmanager
def heeding_ctrl_c():
    """Let new processes heed it: a shell's background jobs, and theirs, ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def serving(command, folder, env):
    """Start a server in ``folder``, yield its port, and end it with Ctrl-C."""
    log = folder / "log"
    with log.open("w") as stderr, heeding_ctrl_c():
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            # Ctrl-C goes to all processes of a terminal.
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    with process:
        try:
            started = partial(re.search, r"server at http://127\.0\.0\.1:(\d+)/")
            match = next(filter(None, map(started, process.stdout)), None)
            assert match, log.read_text()
            yield match[1]
            # Django itself leaves its socket open after that.
            assert "Traceback" not in log.read_text()
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(timeout=30) == 0, log.read_text()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def serving_project(var, settings):
    """Start the example project on an empty database, and yield its port."""
    env = project(var, DJANGO_SETTINGS_MODULE=settings)
    done = manage(var, "migrate", "--verbosity=0")
    assert done.returncode == 0, done.stderr
    command = [*MANAGE, "runserver", "--noreload", "127.0.0.1:0"]
    with serving(command, var, env) as port:
        yield port


@pytest.fixture(scope="module")
def var(tmp_path_factory):
    """Return the folder in which the example project keeps everything."""
    return tmp_path_factory.mktemp("var")


@pytest.fixture(scope="module")
def site(var):
    """Start the example project with its own settings; return its address."""
    with serving_project(var, "example.settings") as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def visitor(site):
    """Return a new visitor."""
    return Visitor(site)


class Answer:
    """A response as ``Page`` reads it."""

    def __init__(self, response):
        self.content = response.read()
        self.status_code = response.status
        self.path = urlsplit(response.url).path


class Visitor:
    """Keeps cookies, follows links and sends forms, and knows no JavaScript."""

    def __init__(self, site):
        self.site = site
        self.opener = build_opener(ProxyHandler({}), HTTPCookieProcessor())

    def open(self, path="/", body=None):
        request = Request(self.site + path, body, {"Content-Type": MULTIPART})
        return self.opener.open(request, timeout=30)

    def see(self, path="/", body=None):
        """Return the page that ``path``, or the form ``body`` sent there, leads to."""
        with self.open(path, body) as response:
            return Page(Answer(response))

    def submit(self, page, fill=(), files=(), tick=()):
        """Fill a page's form in, send it, and return the page that it leads to."""
        files = {"attachments": files} if files else {}
        body = form(*page.body(dict(fill), files, tick))
        return self.see(page.response.path, body)

    def read(self, path):
        with self.open(path) as response:
            return response.read()


def stored(var):
    """Return the files in the storage."""
    return {path for path in (var / "attachments").rglob("*") if path.is_file()}


def readme_examples():
    """Return the curl examples in README.rst without the times in them."""
    text = (ROOT / "README.rst").read_text(encoding="utf-8")
    blocks = re.findall(r"\.\. code-block:: console\n\n((?:    .+\n)+)", text)
    lines = re.sub("^    ", "", "".join(blocks), flags=re.MULTILINE)
    return without_times(lines)


def without_times(text):
    return re.sub(r'"created": "\d{4}-\d\d-\d\d \d\d:\d\d"', '"created": "TIME"', text)


class TestSettings:
    def test_deployment_check_has_nothing_to_say_about_attachments(self, tmp_path):
        done = manage(tmp_path, "check", "--deploy")

        assert done.returncode == 0, done.stderr
        assert "security.W" in done.stderr
        # Without libmagic only that is said.
        found = set(re.findall(r"session_attachments\.\w\d+", done.stderr))
        assert found <= {"session_attachments.W001"}

    def test_secret_key_is_made_once_and_for_the_owner_only(self, tmp_path):
        var = tmp_path / "var"
        key = var / "secret_key"

        assert manage(var, "check").returncode == 0
        first = key.read_text()
        assert manage(var, "check").returncode == 0

        assert key.read_text() == first
        assert len(first) >= 50
        assert key.stat().st_mode & 0o077 == 0
        assert var.stat().st_mode & 0o077 == 0
        assert list(var.iterdir()) == [key]

    def test_database_is_in_wal_mode_with_immediate_transactions(self, tmp_path):
        code = (
            "from django.db import connection as c; "
            "print(c.cursor().execute('PRAGMA journal_mode').fetchone()); "
            "print(c.transaction_mode)"
        )

        done = manage(tmp_path, "shell", "--no-imports", "--command", code)

        assert done.stdout.splitlines() == ["('wal',)", "IMMEDIATE"], done.stderr

    def test_curl_settings_refuse_debug_off(self, tmp_path):
        settings = "--settings=example.settings_curl"

        assert manage(tmp_path, "check", settings).returncode == 0
        done = manage(tmp_path, "check", settings, EXAMPLE_DEBUG="0")

        assert done.returncode != 0
        assert done.stderr.splitlines()[-1] == (
            "django.core.exceptions.ImproperlyConfigured: example.settings_curl has "
            "no CSRF protection and is for trying things out only: with DEBUG off use "
            "example.settings."
        )

    def test_debug_can_be_off_otherwise(self, tmp_path):
        assert manage(tmp_path, "check", EXAMPLE_DEBUG="0").returncode == 0

    @pytest.mark.parametrize("module", ["asgi", "wsgi"])
    def test_application_can_be_served(self, tmp_path, module):
        code = f"from example.{module} import application; print(callable(application))"
        command = [sys.executable, "-X", "dev", "-W", "error", "-c", code]

        done = subprocess.run(
            command, cwd=PROJECT, env=project(tmp_path), capture_output=True, text=True
        )

        assert (done.stdout, done.stderr) == ("True\n", "")


@pytest.mark.server
@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
class TestCurl:
    def test_examples_in_the_readme_are_those_of_02_and_a_put(self):
        assert readme_examples() == EXAMPLES

    def test_examples_come_out_as_printed(self, tmp_path):
        examples = re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", EXAMPLES, re.MULTILINE)
        # Neither a proxy nor a .curlrc of this machine.
        env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}

        with serving_project(tmp_path, "example.settings_curl") as port:
            for command, output in examples:
                shell = ["sh", "-c", command.replace("8000", port)]
                printed = subprocess.check_output(
                    shell, cwd=tmp_path, env=env, text=True
                )
                assert without_times(printed) == output


@pytest.mark.server
class TestToken:
    def test_post_without_a_token_is_refused_and_stores_nothing(self, visitor, var):
        before = stored(var)

        for path in ["/", "/attachments/foo/"]:
            with pytest.raises(HTTPError, match="403") as error:
                visitor.open(path, form(part(b"spam\n", "spam.txt")))
            error.value.close()

        assert visitor.read("/attachments/foo/") == b"[]\r\n"
        assert stored(var) == before


LETTER = {"to": "you@example.org", "subject": "Spam", "body": "Eggs,\n\nand spam."}
SPAM, EGG = ("spam.txt", b"spam\n"), ("egg.txt", b"egg\n")


def listed(page):
    """Return the addresses of the files that ``page`` links to, by their names."""
    return {
        name: link
        for link, name in page.links.items()
        if link.startswith(("/attachments/", "/enclosures/"))
    }


def tick(page, name):
    """Return the value of the box that removes ``name``."""
    return page.find("input", **{"aria-label": f"Remove {name}"})["value"]


def mails(var):
    """Return the e-mails that were sent, in their order."""
    return [
        message_from_bytes(text, policy=policy.default)
        for path in sorted((var / "mail").glob("*"), key=lambda p: p.stat().st_mtime_ns)
        for text in path.read_bytes().split(b"\n" + b"-" * 79 + b"\n")[:-1]
    ]


@pytest.mark.server
class TestLetter:
    @pytest.fixture(autouse=True)
    def folder(self, var):
        (var / "mail").mkdir(exist_ok=True)

    def test_files_survive_an_error_and_are_sent(self, visitor, var):
        before = stored(var)
        page = visitor.see()
        assert "Files stay with the letter" in page.text

        page = visitor.submit(page, LETTER | {"subject": ""}, [SPAM, EGG])
        assert page.errors == ["This field is required."]
        assert list(listed(page)) == ["egg.txt", "spam.txt"]
        assert visitor.read(listed(page)["spam.txt"]) == b"spam\n"
        assert page.value("body") == LETTER["body"]
        assert len(stored(var) - before) == 2

        page = visitor.submit(page, {"subject": "Spam"})
        assert page.response.path.startswith("/letters/")
        assert "Sent to you@example.org" in page.text
        assert "and spam." in page.text
        assert {name: visitor.read(link) for name, link in listed(page).items()} == {
            "egg.txt": b"egg\n",
            "spam.txt": b"spam\n",
        }
        assert stored(var) == before
        mail = mails(var)[-1]
        assert (mail["To"], mail["Subject"]) == ("you@example.org", "Spam")
        assert [
            (file.get_filename(), file.get_content())
            for file in mail.iter_attachments()
        ] == [EGG, SPAM]

    def test_letter_needs_no_files(self, visitor, var):
        page = visitor.submit(visitor.see(), LETTER)

        assert "Sent to" in page.text
        assert listed(page) == {}
        assert not [*mails(var)[-1].iter_attachments()]

    def test_letter_that_cannot_be_sent_is_kept_with_its_files(self, visitor, var):
        page = visitor.submit(visitor.see(), files=[SPAM])
        (var / "mail").rename(var / "away")
        (var / "mail").touch()

        page = visitor.submit(page, LETTER)

        assert "could not be sent to you@example.org" in page.text
        assert visitor.read(listed(page)["spam.txt"]) == b"spam\n"
        (var / "mail").unlink()
        (var / "away").rename(var / "mail")
        page = visitor.submit(page)
        assert "Sent to you@example.org" in page.text
        (file,) = mails(var)[-1].iter_attachments()
        assert file.get_filename() == "spam.txt"

    def test_subject_of_two_lines_is_refused(self, visitor):
        page = visitor.submit(visitor.see(), LETTER | {"subject": "a\r\nTo: b"})

        assert page.errors == ["Enter a valid value."]

    def test_file_is_removed(self, visitor):
        page = visitor.submit(visitor.see(), files=[SPAM, EGG])

        page = visitor.submit(page, tick=[tick(page, "spam.txt")])

        assert list(listed(page)) == ["egg.txt"]

    def test_two_tabs_are_two_letters(self, visitor):
        one, two = visitor.see(), visitor.see()
        one = visitor.submit(one, files=[("spam.txt", b"one")])
        two = visitor.submit(two, files=[("spam.txt", b"two")])

        assert visitor.read(listed(one)["spam.txt"]) == b"one"
        assert visitor.read(listed(two)["spam.txt"]) == b"two"

        sent = visitor.submit(one, LETTER)
        assert visitor.read(listed(sent)["spam.txt"]) == b"one"
        assert visitor.read(listed(two)["spam.txt"]) == b"two"

    def test_page_that_lists_files_is_sent_once(self, visitor, var):
        page = visitor.submit(visitor.see(), files=[SPAM])
        visitor.submit(page, LETTER)
        sent = len(mails(var))

        # The button "back", and once more.
        page = visitor.submit(page, LETTER)

        (error,) = page.errors
        assert "have been sent or removed meanwhile" in error
        assert listed(page) == {}
        assert len(mails(var)) == sent

    def test_hostile_names_are_only_names(self, visitor, var):
        uploads = [(name, name.encode()) for name in HOSTILE]

        page = visitor.submit(visitor.see(), files=uploads)

        for path in ["/", "/letters/"]:
            assert page.response.path.startswith(path)
            assert sorted(listed(page)) == sorted(HOSTILE)
            assert not [tag for tag, _ in page.tags if tag == "img"]
            assert not [a for _, a in page.tags if "onfocus" in a]
            for name, link in listed(page).items():
                assert visitor.read(link) == name.encode()
            page = visitor.submit(page, LETTER) if path == "/" else page
        names = [file.get_filename() for file in mails(var)[-1].iter_attachments()]
        assert sorted(names) == sorted(HOSTILE)

    def test_too_large_a_file_is_refused_and_the_others_stay(self, visitor):
        page = visitor.see()
        assert "up to 10.0\xa0MB" in page.text

        large = ("large.bin", bytes(10 * 1024 * 1024 + 1))
        page = visitor.submit(page, LETTER, [SPAM, large])

        assert page.errors == ["The file “large.bin” is larger than 10.0\xa0MB."]
        assert list(listed(page)) == ["spam.txt"]

    def test_nobody_else_sees_a_letter(self, site, visitor):
        page = visitor.submit(visitor.see(), LETTER, [SPAM])
        stranger = Visitor(site)
        stranger.submit(stranger.see(), LETTER)

        for path in [page.response.path, *listed(page).values()]:
            with pytest.raises(HTTPError, match="404") as error:
                stranger.open(path)
            error.value.close()

    def test_who_has_left_sees_nothing(self, visitor):
        page = visitor.submit(visitor.see(), files=[SPAM])
        sent = visitor.submit(visitor.see(), LETTER)
        token = page.inputs[0]["value"].encode()

        left = visitor.see("/leave/", form(part(token, None, "csrfmiddlewaretoken")))

        assert left.response.path == "/"
        for path in [sent.response.path, listed(page)["spam.txt"]]:
            with pytest.raises(HTTPError, match="404") as error:
                visitor.open(path)
            error.value.close()

    def test_controls_have_labels(self, visitor):
        page = visitor.submit(visitor.see(), files=[('".txt', b"")])

        labelled = {a["for"] for tag, a in page.tags if tag == "label" and "for" in a}
        assert labelled == {"id_to", "id_subject", "id_body"}
        assert page.find("html", lang="en")
        assert tick(page, '".txt')


async def write_and_send(page, site):
    """Do that in the browser's ``page``."""
    names = ["spam.txt", "«100% #1».txt"]
    files = [
        {"name": name, "mimeType": "text/plain", "buffer": name.encode()}
        for name in names
    ]
    links = page.get_by_role("listitem").get_by_role("link")
    send = page.get_by_role("button", name="Send")

    await page.goto(site)
    await page.get_by_label("To").fill("you@example.org")
    await page.get_by_label("Add files").set_input_files(files)
    await send.click()
    await page.get_by_text("This field is required.").wait_for()
    assert await links.all_inner_texts() == names

    async with page.expect_download() as downloading:
        await page.get_by_role("link", name=names[1]).click()
    download = await downloading.value
    assert download.suggested_filename == names[1]
    assert (await download.path()).read_bytes() == names[1].encode()

    await page.get_by_label(f"Remove {names[0]}").click()
    await page.get_by_label("Subject").fill("Spam")
    await send.click()
    await page.get_by_text("Sent to you@example.org").wait_for()
    assert await links.all_inner_texts() == names[1:]

    # A new page, however one comes to it.
    await page.get_by_role("link", name="Write a letter").click()
    await page.get_by_label("Subject").wait_for()
    assert await links.all_inner_texts() == []


@pytest.mark.server
@pytest.mark.slow
@needs_chromium
class TestBrowser:
    @pytest.mark.parametrize("scripts", [False, True])
    def test_writes_and_sends(self, site, scripts):
        async def use_browser():
            async with browser() as chromium:
                page = await chromium.new_page(java_script_enabled=scripts)
                await write_and_send(page, site)

        asyncio.run(use_browser())


@pytest.fixture
def run(tmp_path):
    """Return what starts the example project in a copy of the bare checkout."""
    copy = tmp_path / "bare checkout"
    made = [".*", "*.egg-info", "__pycache__", "build", "dist", "htmlcov", "var"]
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("tests", *made))
    return copy / "example_project" / "run"


def index_is_reachable():
    """Return whether pip finds what it needs to install the checkout."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    with TemporaryDirectory() as folder:
        command += ["--dest", folder, "setuptools>=77"]
        return not subprocess.run(command, capture_output=True).returncode


class TestRun:
    def test_refuses_a_python_that_is_too_old(self, run, tmp_path):
        python = tmp_path / "python3"
        code = "import sys; sys.version_info = (3, 10, 9); exec(sys.argv[1])"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{code}" "$2"\n')
        python.chmod(0o755)
        env = environment(PATH=f"{tmp_path}:{os.environ['PATH']}")

        done = subprocess.run(
            [run], cwd="/", env=env, capture_output=True, text=True, timeout=60
        )

        assert done.returncode == 1
        assert done.stderr == (
            f"{run} needs Python 3.11 or newer, and python3 is not. Is there another "
            f"one? Then say PYTHON=python3.13 {run}\n"
        )

    @pytest.mark.fault(34)
    @pytest.mark.server
    @pytest.mark.slow
    @pytest.mark.skipif("not index_is_reachable()", reason="needs pip and an index")
    @pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
    def test_serves_a_bare_checkout_and_installs_once(self, run, tmp_path):
        env = environment(PYTHON=sys.executable)
        upload = ["curl", "-sS", "--noproxy", "*", "-F", f"file=@{__file__}"]

        with serving([run, "--curl", "127.0.0.1:0"], tmp_path, env) as port:
            url = f"http://localhost:{port}/attachments/foo/"
            answer = subprocess.check_output([*upload, url], text=True)
        assert '"name": "test_example_project.py"' in answer

        # What it made serves again; without an index nothing could be installed.
        made = run.parent / ".venv" / "made-for"
        before = made.stat().st_mtime_ns
        (tmp_path / "magic.py").write_text("raise ImportError")
        env |= {"PIP_NO_INDEX": "1", "PYTHONPATH": str(tmp_path)}
        with serving([run, "127.0.0.1:0"], tmp_path, env):
            assert made.stat().st_mtime_ns == before
            assert (tmp_path / "log").read_text().count("W001") == 1
        assert stored(run.parent / "var")
