"""The recipes that keep files in the example project's letters.

A generic view writes them, a form edits them, and an API is Django REST framework's.
"""

from types import ModuleType

import pytest
from django.contrib.admin import AdminSite
from django.core import mail
from django.db import connection
from django.test import Client
from django.urls import include, path

from tests.browsers import button, needs_chromium
from tests.clients import problem, shelf, upload
from tests.pages import Page
from tests.project.views import login
from tests.system.test_example_project import serving_project

LETTER = {"to": "you@example.org", "subject": "Spam", "body": "Eggs."}
FILES = {"egg.txt": b"egg\n", "spam.txt": b"spam\n"}
HAM = ("ham.txt", b"ham\n")
TOKEN = "t" * 32


@pytest.fixture
def letters(settings, transactional_db):
    """Install the example project and the recipes; return the model of letters."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "example", "recipes"]
    from example.models import Enclosure, Letter

    with connection.schema_editor() as editor:
        for model in (Letter, Enclosure):
            editor.create_model(model)
    yield Letter
    with connection.schema_editor() as editor:
        for model in (Enclosure, Letter):
            editor.delete_model(model)


def kept(letter):
    """Return names and contents of the files that a letter has."""
    files = {}
    for enclosure in letter.enclosures.all():
        with enclosure.file.open() as file:
            files[enclosure.name] = file.read()
    return files


@pytest.fixture
def client(letters, settings):
    """Return a client of the recipes' pages."""
    settings.ROOT_URLCONF = "recipes.urls"
    return Client(enforce_csrf_checks=True)


def lose(media, content):
    """Delete the only stored file with this content."""
    (path,) = [p for p in media.rglob("*") if p.is_file() and p.read_bytes() == content]
    path.unlink()


class TestGenericView:
    @pytest.fixture
    def page(self, client):
        """Post a letter that lacks a subject; return the page that comes back."""
        page = Page(client.get("/write/"))
        assert "no-store" in page.response.headers["Cache-Control"]
        return page.post(
            client, LETTER | {"subject": ""}, {"attachments": FILES.items()}
        )

    def test_files_survive_an_error_and_are_kept(self, client, letters, page):
        assert page.errors == ["This field is required."]

        page = page.post(client, {"subject": "Spam"})

        assert [*page.links.values()][:2] == ["egg.txt", "spam.txt"]
        assert kept(letters.objects.get()) == FILES
        assert mail.outbox[0].subject == "Spam"

    def test_file_that_cannot_be_kept_is_an_error(self, client, letters, page, media):
        lose(media, FILES["egg.txt"])

        page = page.post(client, {"subject": "Spam"})

        (error,) = page.errors
        assert error.startswith("The file “egg.txt” is gone.")
        assert not letters.objects.exists()
        assert mail.outbox == []


class TestEditing:
    @pytest.fixture
    def letter(self, client, letters):
        """Write a letter with two files; return it."""
        Page(client.get("/")).post(client, LETTER, {"attachments": FILES.items()})
        return letters.objects.get()

    @pytest.fixture
    def page(self, client, letter):
        return Page(client.get(f"/letters/{letter.pk}/edit/"))

    def box(self, letter, name):
        """Return the value of the box that removes a kept file."""
        return str(letter.enclosures.get(name=name).pk)

    def test_file_goes_and_another_one_comes(self, client, letter, page, stored):
        spam = self.box(letter, "spam.txt")

        page = page.post(
            client, {"subject": "Ham"}, {"attachments": [HAM]}, tick=[spam]
        )

        assert page.response.request["PATH_INFO"] == f"/letters/{letter.pk}/"
        assert [*page.links.values()][:2] == ["egg.txt", "ham.txt"]
        letter.refresh_from_db()
        assert letter.subject == "Ham"
        assert kept(letter) == {"egg.txt": b"egg\n", "ham.txt": b"ham\n"}
        assert [name.split("/")[0] for name in stored()] == ["letters", "letters"]

    def test_file_comes_and_none_goes(self, client, letter, page):
        page.post(client, {}, {"attachments": [HAM]})

        assert kept(letter) == FILES | dict([HAM])

    def test_boxes_stand_above_the_field(self, page):
        names = [i["name"] for i in page.inputs]

        assert names[4:7] == ["remove", "remove", "attachments-bundle"]

    def test_letter_without_files_has_no_boxes(self, client, letter, page):
        boxes = [self.box(letter, "spam.txt"), self.box(letter, "egg.txt")]
        page.post(client, tick=boxes)

        page = Page(client.get(page.response.request["PATH_INFO"]))

        assert kept(letter) == {}
        assert "Remove" not in page.text.partition("Add files")[0]

    def test_form_that_fails_changes_nothing_and_forgets_nothing(
        self, client, letter, page
    ):
        spam = self.box(letter, "spam.txt")

        page = page.post(client, {"subject": ""}, {"attachments": [HAM]}, tick=[spam])

        assert page.errors == ["This field is required."]
        assert kept(letter) == FILES
        page.post(client, {"subject": "Spam"})
        assert kept(letter) == {"egg.txt": b"egg\n", "ham.txt": b"ham\n"}

    def test_file_that_cannot_be_kept_changes_nothing(
        self, client, letter, page, media
    ):
        spam = self.box(letter, "spam.txt")
        page = page.post(client, {"subject": ""}, {"attachments": [HAM]})
        lose(media, b"ham\n")

        page = page.post(client, {"subject": "Ham"}, tick=[spam])

        (error,) = page.errors
        assert error.startswith("The file “ham.txt” is gone.")
        letter.refresh_from_db()
        assert letter.subject == "Spam"
        assert kept(letter) == FILES

    def test_stranger_finds_nothing(self, page):
        response = Client().get(page.response.request["PATH_INFO"])

        assert response.status_code == 404


class TestAdmin:
    """The recipe for the admin."""

    @pytest.fixture
    def client(self, letters, settings, admin_client):
        """Install the recipe as it says; return a client that may do everything."""
        from recipes.letter_admin import LetterAdmin

        class EditableAdmin(LetterAdmin):
            list_display, list_editable = ("pk", "subject"), ("subject",)

        site = AdminSite()
        site.register(letters, EditableAdmin)
        settings.ROOT_URLCONF = ModuleType("urlconf")
        settings.ROOT_URLCONF.urlpatterns = [
            path("admin/", site.urls),
            path("attachments/", include("session_attachments.urls")),
        ]
        return admin_client

    def test_files_survive_an_error_and_are_kept(self, client, letters):
        page = Page(client.get("/admin/example/letter/add/"))

        page = page.post(
            client, LETTER | {"subject": ""}, {"attachments": FILES.items()}
        )
        assert "This field is required." in page.errors
        page.post(client, {"subject": "Spam"})

        assert kept(letters.objects.get()) == FILES

    def test_list_is_edited(self, client, letters):
        letter = letters.objects.create(**LETTER)
        management = {"form-TOTAL_FORMS": 1, "form-INITIAL_FORMS": 1, "_save": "Save"}
        row = {"form-0-id": letter.pk, "form-0-subject": "Ham"}

        client.post("/admin/example/letter/", management | row)

        letter.refresh_from_db()
        assert letter.subject == "Ham"


class TestRest:
    @pytest.fixture
    def rest(self, letters, settings):
        """Install the recipe as it says; return its module."""
        pytest.importorskip("rest_framework", reason="needs djangorestframework")
        from recipes import rest

        settings.REST_FRAMEWORK = {"EXCEPTION_HANDLER": "recipes.rest.answer_errors"}
        settings.ROOT_URLCONF = ModuleType("urlconf")
        settings.ROOT_URLCONF.urlpatterns = [
            path("attachments/", include("session_attachments.urls")),
            path("letters/", rest.CreateLetter.as_view()),
            path("login/<str:username>/", login),
        ]
        return rest

    @pytest.fixture(params=["anonymous", "ann"])
    def client(self, request, rest):
        """Return a client that has uploaded two files, and knows its CSRF token."""
        client = Client(enforce_csrf_checks=True, headers={"X-CSRFToken": TOKEN})
        client.cookies["csrftoken"] = TOKEN
        if request.param == "ann":
            client.post("/login/ann/")
            # A login has changed it.
            client.defaults["HTTP_X_CSRFTOKEN"] = client.cookies["csrftoken"].value
        assert upload(client, FILES).status_code == 200
        return client

    def send(self, client, **fields):
        """Post a letter, as a page does."""
        return client.post(
            "/letters/", LETTER | {"bundle": "foo"} | fields, "application/json"
        )

    def test_letter_is_kept_with_its_files(self, client, letters):
        response = self.send(client, seen=2)

        assert response.status_code == 201
        letter = letters.objects.get()
        assert response.json() == LETTER | {"id": letter.pk}
        assert kept(letter) == FILES
        assert shelf(client) == {}

    def test_files_that_are_gone_are_told(self, client, letters):
        client.delete("/attachments/foo/spam.txt/")

        response = self.send(client, seen=2)

        assert problem(response) == (409, "gone")
        assert response.json()["detail"].startswith(
            "Attachments have been sent or removed"
        )
        assert response.headers["Cache-Control"] == "private, no-store"
        assert not letters.objects.exists()
        assert shelf(client) == {"egg.txt": b"egg\n"}

    def test_file_that_is_missing_is_named(self, client, letters, media, stored):
        for name in stored():
            (media / name).unlink()

        response = self.send(client, seen=2)

        assert problem(response) == (404, "not_found")
        assert response.json()["name"] == "egg.txt"
        assert not letters.objects.exists()

    @pytest.mark.parametrize("client", ["anonymous"], indirect=True)
    @pytest.mark.parametrize(
        ("fields", "wrong"),
        [
            ({"to": "you", "seen": 2}, "to"),
            ({"seen": -1}, "seen"),
            ({}, "seen"),
            ({"bundle": "", "seen": 2}, "bundle"),
        ],
    )
    def test_what_the_framework_refuses_is_its_own(
        self, client, letters, fields, wrong
    ):
        response = self.send(client, **fields)

        assert response.status_code == 400
        assert [*response.json()] == [wrong]
        assert not letters.objects.exists()
        assert shelf(client) == FILES

    def test_token_is_needed(self, client, letters):
        client.defaults["HTTP_X_CSRFTOKEN"] = ""

        assert self.send(client, seen=2).status_code == 403
        assert not letters.objects.exists()
        assert shelf(client) == FILES

    @pytest.mark.parametrize("client", ["anonymous"], indirect=True)
    def test_refusal_rolls_the_request_back(
        self, client, letters, rest, settings, monkeypatch
    ):
        class WritesBefore(rest.CreateLetter):
            def perform_create(self, serializer):
                letters.objects.create(to="me@example.org", subject="Before")
                super().perform_create(serializer)

        settings.ROOT_URLCONF.urlpatterns[1] = path("letters/", WritesBefore.as_view())
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)

        assert problem(self.send(client, seen=3)) == (409, "gone")
        assert not letters.objects.exists()
        assert self.send(client, seen=2).status_code == 201
        assert letters.objects.count() == 2


@pytest.mark.server
@pytest.mark.slow
@needs_chromium
def test_letter_is_edited_in_a_browser(tab, tmp_path, disk):
    var = tmp_path / "var"
    (var / "mail").mkdir(parents=True)
    with serving_project(var, "recipes.settings") as port:
        tab.goto(f"http://127.0.0.1:{port}/")
        tab.run(tab.page.get_by_label("To").fill("you@example.org"))
        tab.run(tab.page.get_by_label("Subject").fill("Spam"))
        tab.choose("[type=file]", disk("spam.txt"), disk("egg.txt"))
        tab.click(button("Send"))
        tab.wait("document.querySelectorAll('h2 + ul > li').length == 2")

        tab.goto(f"{tab.page.url}edit/")
        tab.run(tab.page.get_by_label("spam.txt", exact=True).check())
        tab.choose("[type=file]", disk("ham.txt"))
        tab.click(button("Save"))

        tab.wait("document.querySelector('h2 + ul')?.innerText.includes('ham.txt')")
        assert "spam.txt" not in tab.text("main")
        assert "egg.txt" in tab.text("main")
