"""What README.rst says is what the code does."""

import ast
import asyncio
import builtins
import re
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from symtable import symtable
from textwrap import dedent
from types import ModuleType

import pytest
from django import forms
from django.conf import settings as live_settings
from django.contrib.sessions.backends.db import SessionStore
from django.core.checks import run_checks
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.shortcuts import redirect, render
from django.test import Client, TestCase, override_settings
from django.urls import include, path
from django.views.decorators.cache import never_cache

from session_attachments import checks, conf, urls
from session_attachments.bundles import Bundle
from session_attachments.exceptions import AttachmentError
from session_attachments.files.storage import attachment_storage
from session_attachments.forms import AttachmentsField, AttachmentsFormMixin
from session_attachments.web.responses import STATUSES
from tests.benchmarks.client import PNG
from tests.browsers import browser, needs_chromium
from tests.clients import URL, names, needs_libmagic, problem, upload
from tests.pages import Page
from tests.project.views import login
from tests.storages import attach

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.rst").read_text(encoding="utf-8")
RECIPES = ROOT / "example_project" / "recipes"


def section(title):
    """Return the text of the section with this title."""
    pattern = (
        rf"^{re.escape(title)}\n[-=~]+\n\n(.*?)(?=^[^\n]+\n(?:---+|===+|~~~+)\n\n|\Z)"
    )
    return re.search(pattern, README, re.DOTALL | re.MULTILINE).group(1)


def code_blocks(title, language="python"):
    """Return the code in the section with this title."""
    blocks = re.findall(
        rf"^\.\. code-block:: {language}\n\n((?:    .*\n|\n)+)",
        section(title),
        re.MULTILINE,
    )
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in blocks]


def run_code(code, **names):
    """Run code of the README; return the names it defines."""
    exec(compile(code, "README.rst", "exec"), names)  # noqa: S102
    return names


def imports(code):
    """Return what ``code`` imports, as pairs of a module and a name."""
    return {
        (node.module, alias.name)
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def global_names(table):
    """Return the symbols of a symbol table, and those of its blocks that are global."""
    inner = [name for child in table.get_children() for name in global_names(child)]
    return [name for name in [*table.get_symbols(), *inner] if name.is_global()]


def printed_settings():
    """Return the settings and their defaults, as they are printed."""
    return dict(re.findall(r"^_`(SESSION_ATTACHMENTS_\w+)` = ``(.+)``$", README, re.M))


def test_settings_are_those_of_the_code():
    source = Path(conf.__file__).read_text()

    assert sorted(printed_settings()) == sorted(
        set(re.findall(r'"(SESSION_ATTACHMENTS_\w+)"', source))
    )


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("SESSION_ATTACHMENTS_MAX_FILE_SIZE", conf.conf.max_file_megabytes),
        ("SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE", conf.conf.max_bundle_size),
        ("SESSION_ATTACHMENTS_MAX_BUNDLE_FILES", conf.conf.max_bundle_files),
        ("SESSION_ATTACHMENTS_MAX_SESSION_SIZE", conf.conf.max_session_size),
        ("SESSION_ATTACHMENTS_VALIDATORS", conf.conf.validators),
        ("SESSION_ATTACHMENTS_ACCEL", conf.conf.accel),
    ],
)
def test_defaults_are_those_of_the_code(setting, value):
    assert printed_settings()[setting] == str(value)


def test_check_ids_are_those_of_the_code():
    source = Path(checks.__file__).read_text()
    ids = set(re.findall(r'[".]([EW]\d{3})"', source))
    rows = re.findall(
        r"^([EW])(\d{3})(?: to [EW](\d{3}))? ", section("System checks"), re.MULTILINE
    )

    assert ids == {
        f"{kind}{number:03}"
        for kind, first, last in rows
        for number in range(int(first), int(last or first) + 1)
    }


def test_settings_are_in_the_order_of_their_checks():
    assert [*printed_settings()] == [setting for _, setting, _ in checks.SETTINGS]


def test_error_codes_and_statuses_are_those_of_the_code():
    rows = re.findall(r"^``(\w+)`` +(\d{3}) ", section("Errors"), re.MULTILINE)

    assert sorted(rows) == sorted(
        (code, str(status.value)) for code, status in STATUSES.items()
    )
    assert set(STATUSES) == {e.code for e in AttachmentError.__subclasses__()}


def test_url_names_are_those_of_the_code():
    for pattern in urls.urlpatterns:
        for name in filter(None, (pattern.name, *pattern.pattern.converters)):
            assert f"``{name}``" in section("URLs and methods")


@pytest.mark.server
@pytest.mark.slow
@needs_chromium
@pytest.mark.django_db(transaction=True)
def test_parallel_first_uploads_of_a_page_share_a_session(live_server):
    code = (RECIPES / "fetch.js").read_text().replace("export ", "")
    script = f"""async () => {{
        const csrftoken = document.cookie.match(/csrftoken=(\\w+)/)[1];
        {code}
        const files = [1, 2, 3, 4, 5].map((n) => new File(["x"], `${{n}}.txt`));
        await Promise.all(files.map((file) => upload([file])));
        return (await (await fetch(url)).json()).map((attachment) => attachment.name);
    }}"""

    async def use_browser():
        async with browser() as chromium:
            page = await chromium.new_page()
            await page.goto(f"{live_server.url}/admin/login/")
            return await page.evaluate(script)

    assert asyncio.run(use_browser()) == [f"{n}.txt" for n in (1, 2, 3, 4, 5)]


def test_settings_of_the_tests_pass_the_checks():
    assert not [m for m in run_checks() if m.id.startswith("session_attachments.E")]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "line", sorted(set(re.findall(r"remove_outdated_attachments (--[^`\n]+)", README)))
)
def test_command_lines_can_be_called(line):
    stdout = StringIO()

    call_command(
        "remove_outdated_attachments", *line.replace("=N", "=3").split(), stdout=stdout
    )

    verb = "Would remove" if "--dry-run" in line else "Removed"
    assert stdout.getvalue().startswith(f"{verb} 0 attachments")


@pytest.mark.django_db(transaction=True)
def test_output_of_the_command_is_what_it_prints():
    pattern = r"\.\. code-block:: text\n\n    \$ \S+ (.*)\n((?:    .*\n)+)"
    ((line, output),) = re.findall(pattern, section("The command"))
    created = datetime(2026, 11, 2, 12, tzinfo=UTC)
    attach("report.pdf", size=16328998, bundle="draft-7", created=created)
    attachment_storage().save(
        "session_attachments/2026-10-30/5bd3", ContentFile(b"12345")
    )
    stdout = StringIO()

    call_command(*line.split(), stdout=stdout)

    assert stdout.getvalue() == dedent(output)


@pytest.mark.django_db(transaction=True)
class TestRecipes:
    @pytest.fixture
    def session(self):
        return SessionStore()

    def test_python_api(self, session):
        bundle = Bundle(session, "draft-7")
        bundle.add(ContentFile(b"spam\n", "spam.txt"))
        request = Request(session)
        code, _tests = code_blocks("In Python")

        run_code(code, request=request, uploaded_file=ContentFile(b"egg\n", "egg.txt"))

        assert len(bundle) == 0

    def test_form_is_that_of_the_example(self):
        example = ROOT / "example_project" / "example"
        code = "".join(
            (example / name).read_text()
            for name in ("forms.py", "views.py", "models.py")
        )
        blocks = code_blocks("A form with attachments")
        pieces = "\n\n\n".join(blocks).split("\n\n\n")
        definitions = [p for p in map(str.strip, pieces) if not p.startswith("from ")]
        (template,) = code_blocks("A form with attachments", r"html\+django")

        assert [piece for piece in definitions if piece not in code] == []
        assert imports("".join(blocks)) <= imports(code)
        assert template.strip() in (example / "templates" / "write.html").read_text()

    def test_imports_of_the_form_are_those_that_its_code_needs(self):
        forms_py, _, views_py = code_blocks("A form with attachments")

        for code in (forms_py, views_py):
            names = global_names(symtable(code, "README.rst", "exec"))
            made = {name.get_name() for name in names if name.is_assigned()}
            imported = {name for _, name in imports(code)}
            used = {name.get_name() for name in names if name.is_referenced()}
            assert used - made - set(dir(builtins)) == imported

    def test_view_is_all_that_is_needed(self, settings):
        block = re.search(
            r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", README, re.M
        )
        sent = []

        def send(body, attachments):
            for attachment in attachments:
                with attachment.open() as file:
                    sent.append((body, file.name, file.read()))

        names = run_code(
            dedent(block[1]),
            __name__=__name__,
            AttachmentsField=AttachmentsField,
            AttachmentsFormMixin=AttachmentsFormMixin,
            forms=forms,
            never_cache=never_cache,
            redirect=redirect,
            render=render,
            send=send,
        )
        template = "<form method=post>{{ form.as_div }}</form>"
        loader = ("django.template.loaders.locmem.Loader", {"write.html": template})
        settings.TEMPLATES = [
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "OPTIONS": {"loaders": [loader]},
            }
        ]
        settings.ROOT_URLCONF = ModuleType("urlconf")
        settings.ROOT_URLCONF.urlpatterns = [
            path("", names["write"]),
            path("sent/", names["write"], name="sent"),
            path("attachments/", include("session_attachments.urls")),
        ]
        client, files = Client(), {"attachments": [("spam.txt", b"spam\n")]}

        page = Page(client.get("/")).post(client, {"body": ""}, files)
        assert (page.errors, sent) == (["This field is required."], [])
        page.post(client, {"body": "Hello"})

        assert sent == [("Hello", "spam.txt", b"spam\n")]

    def test_recipes_are_there(self):
        files = set(re.findall(r"``(\w+\.\w+)``", section("Recipes")))

        assert {file for file in files if not (RECIPES / file).exists()} == set()
        assert len(files) == 12

    def test_tests_of_the_project(self, session, stored):
        _python, code = code_blocks("In Python")
        names = run_code(
            code,
            __name__=__name__,
            TestCase=TestCase,
            override_settings=override_settings,
            settings=live_settings,
        )
        bundle = Bundle(session, "draft-7")

        with override_settings(**names["LetterTests"]._overridden_settings):
            bundle.add(ContentFile(b"spam\n", "spam.txt"))
            assert bundle.get("spam.txt").open().read() == b"spam\n"
            default_storage.save("spam.txt", ContentFile(b"spam\n"))

        assert stored() == []

    def test_command_as_a_function(self):
        (code,) = code_blocks("The command")

        assert run_code(code)["outcome"].failures == []

    def test_only_for_users_who_are_logged_in(self, settings):
        settings.ROOT_URLCONF = ModuleType("urlconf")
        settings.ROOT_URLCONF.urlpatterns = [
            path("attachments/", include("recipes.login_required_urls")),
            path("login/<str:username>/", login),
        ]
        anonymous, ann = Client(), Client(enforce_csrf_checks=True)
        ann.post("/login/ann/")

        paths = ["", "delete", "delete/", "spam.txt", "spam.txt/", "spam.txt/delete/"]
        for method in ("get", "post", "put", "delete"):
            for url in paths:
                assert getattr(anonymous, method)(URL + url).status_code == 302
        assert upload(ann, {"spam.txt": b"spam\n"}).status_code == 403
        assert names(ann.get(URL)) == []

    def test_cookie_that_subdomains_cannot_set(self, settings, client):
        code = re.findall(r"``(SESSION_COOKIE_\w+)\s+= ([^`]+)``", section("Security"))
        for name, value in dict(code).items():
            setattr(settings, name, ast.literal_eval(value))

        (cookie,) = upload(client, {"spam.txt": b"spam\n"}).cookies.values()

        assert cookie.key == "__Host-sessionid"
        assert (cookie["secure"], cookie["path"], cookie["domain"]) == (True, "/", "")

    @needs_libmagic
    def test_only_some_types(self, settings, client):
        settings.SESSION_ATTACHMENTS_VALIDATORS = [
            "recipes.only_documents.only_documents"
        ]

        refused = upload(client, {"report.pdf": b"<html>"})
        pictures = {"a.txt": b"\xff\xd8\xff\xe0\0\x10JFIF\0\1", "b.txt": PNG}
        pdf = {"report.txt": b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"}
        taken = upload(client, pictures | pdf)

        assert problem(refused) == (400, "invalid")
        assert refused.json()["detail"].endswith(". Please send PDF, JPEG or PNG.")
        assert names(taken) == ["a.txt", "b.txt", "report.txt"]


class Request:
    """As much of a request as the README's code uses."""

    def __init__(self, session):
        self.session = session
