"""A form with attachments, over HTTP: they survive what fails."""

import errno

import pytest
from django import forms
from django.contrib.sessions.backends.db import SessionStore
from django.core.exceptions import ValidationError
from django.core.files.storage import FileSystemStorage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.template import RequestContext, Template
from django.test import Client
from django.urls import include, path
from django.utils.datastructures import MultiValueDict

from session_attachments.forms import (
    AttachmentsField,
    AttachmentsFormMixin,
)
from session_attachments.models import Attachment
from tests.clients import shelf, upload
from tests.host.models import Contract
from tests.pages import Page

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

ONE, TWO = ("one.txt", b"1\n"), ("two.txt", b"22\n")


class LetterForm(AttachmentsFormMixin, forms.Form):
    body = forms.CharField(widget=forms.Textarea)
    attachments = AttachmentsField(required=False)


class RequiredForm(LetterForm):
    attachments = AttachmentsField()


class NarrowForm(LetterForm):
    attachments = AttachmentsField(
        required=False, max_files=2, max_size=0.001, accept=[".TXT", "image/*"]
    )


class DisabledForm(LetterForm):
    attachments = AttachmentsField(required=False, disabled=True)


def page(request, *, form_class=LetterForm, template="{{ form.as_div }}", **kwargs):
    """Show the form, or say what was sent."""
    form = form_class(
        request.POST or None, request.FILES or None, session=request.session, **kwargs
    )
    if form.is_valid():
        return sent(form.cleaned_data["attachments"])
    return answer(request, template, form=form)


def sent(bundle):
    names = [attachment.filename for attachment in bundle]
    bundle.clear()
    return HttpResponse(f"sent: {names}")


def answer(request, template, **context):
    html = '<form method="post" enctype="multipart/form-data">' + template + "</form>"
    return HttpResponse(Template(html).render(RequestContext(request, context)))


FIELD_BY_FIELD = """
{{ form.body }} {{ form.attachments.errors }}
{{ form.attachments.label_tag }} {{ form.attachments }}
"""

urlpatterns = [
    path("attachments/", include("session_attachments.urls")),
    path("letter/", page),
    path("fields/", page, {"template": FIELD_BY_FIELD}),
    path("required/", page, {"form_class": RequiredForm}),
    path("narrow/", page, {"form_class": NarrowForm}),
    path("disabled/", page, {"form_class": DisabledForm}),
    path("draft/", page, {"initial": {"attachments": "ticket-7"}}),
    path("bad-draft/", page, {"initial": {"attachments": "a/b"}}),
]


def get(client, url="/letter/"):
    return Page(client.get(url))


def list_url(page):
    """Return the URL of the bundle's list."""
    return page.find("session-attachments")["url"]


def listed(page):
    """Return the names that the page lists."""
    return [*page.links.values()]


def keys(page, field="attachments"):
    """Return the values of the boxes, in their order."""
    return [i["value"] for i in page.inputs if i.get("name") == f"{field}-remove"]


def failed(client, *files, url="/letter/"):
    """Return the page of a form that failed with ``files``."""
    page = get(client, url).post(client, files={"attachments": files})
    assert "This field is required." in page.errors
    return page


class TestPromise:
    """Files survive a form that fails, and nothing is sent without its files."""

    def test_file_survives_a_form_that_fails(self, client):
        page = get(client).post(client, files={"attachments": [ONE, TWO]})

        assert page.errors == ["This field is required."]
        assert listed(page) == ["one.txt", "two.txt"]

        page = page.post(client, {"body": "Dear Sir"})

        assert page.text == "sent: ['one.txt', 'two.txt']"

    def test_what_was_typed_and_stored_is_still_there(self, client):
        page = failed(client, ONE)
        page = page.post(client, {"body": " "}, {"attachments": [TWO]})

        assert listed(page) == ["one.txt", "two.txt"]
        url = next(iter(page.links))
        assert b"".join(client.get(url)) == b"1\n"

    def test_files_of_a_valid_form_are_sent(self, client):
        page = get(client).post(client, {"body": "x"}, {"attachments": [TWO, ONE]})

        assert page.text == "sent: ['one.txt', 'two.txt']"

    def test_form_without_files_is_sent(self, client):
        assert get(client).post(client, {"body": "x"}).text == "sent: []"
        assert "sessionid" not in client.cookies

    def test_double_submit_of_a_page_that_lists_files_is_gone(self, client):
        page = failed(client, ONE)
        assert page.post(client, {"body": "x"}).text == "sent: ['one.txt']"

        again = page.post(client, {"body": "x"})

        assert again.errors == [
            "Attachments have been sent or removed meanwhile. "
            "Please look at what is left."
        ]
        assert listed(again) == []
        assert again.value("body") == "x"

    def test_file_that_vanished_is_gone_and_the_rest_listed(self, client):
        page = failed(client, ONE, TWO)
        client.delete(next(iter(page.links)))

        page = page.post(client, {"body": "x"}, {"attachments": [("3.txt", b"3")]})

        assert "meanwhile" in page.errors[0]
        assert listed(page) == ["3.txt", "two.txt"]
        assert page.post(client, {"body": "x"}).text == "sent: ['3.txt', 'two.txt']"

    def test_more_than_was_seen_is_fine(self, client):
        page = failed(client, ONE)
        upload(
            client, {"more.txt": b"more"}, url=page.find("session-attachments")["url"]
        )

        page = page.post(client, {"body": "x"})

        assert page.text == "sent: ['more.txt', 'one.txt']"

    def test_session_flushed_between_two_posts_is_gone(self, client):
        page = failed(client, ONE)
        client.session.flush()

        page = page.post(client, {"body": "x"})

        assert "meanwhile" in page.errors[0]
        assert listed(page) == []

    def test_upload_after_cleaning_stays(self, client):
        page = failed(client, ONE)
        form = LetterForm(
            {"body": "x", "attachments-bundle": page.value("attachments-bundle")}
            | {"attachments-seen": "1"},
            session=client.session,
        )
        assert form.is_valid()
        upload(
            client, {"more.txt": b"more"}, url=page.find("session-attachments")["url"]
        )

        assert len(form.cleaned_data["attachments"]) == 1
        assert [a.filename for a in form.cleaned_data["attachments"]] == ["one.txt"]
        form.cleaned_data["attachments"].clear()

        assert Attachment.objects.get().filename == "more.txt"


class TestRemoval:
    """A box names the very attachment."""

    def test_ticked_attachment_goes_though_the_form_fails(
        self, client, stored, django_capture_on_commit_callbacks
    ):
        page = failed(client, ONE, TWO)

        with django_capture_on_commit_callbacks(execute=True):
            page = page.post(client, tick=keys(page)[:1])

        assert listed(page) == ["two.txt"]
        assert len(stored()) == 1
        assert page.post(client, {"body": "x"}).text == "sent: ['two.txt']"

    def test_removal_comes_before_the_files(self, client, settings):
        settings.SESSION_ATTACHMENTS_MAX_BUNDLE_FILES = 1
        page = failed(client, ONE)

        page = page.post(client, {}, {"attachments": [TWO]}, keys(page))

        assert page.errors == ["This field is required."]
        assert listed(page) == ["two.txt"]

    def test_old_page_does_not_remove_a_new_file_of_that_name(self, client):
        old = failed(client, ONE)
        old.post(client, files={"attachments": [("one.txt", b"new\n")]})

        page = old.post(client, {"body": "x"}, tick=keys(old))

        assert page.text == "sent: ['one.txt']"

    def test_row_that_is_gone_is_no_error(self, client):
        page = failed(client, ONE, TWO)
        page.post(client, tick=keys(page)[:1])

        page = page.post(client, {"body": "x"}, tick=keys(page)[:1])

        assert page.text == "sent: ['two.txt']"

    def test_protected_attachment_stays_listed(self, client):
        page = failed(client, ONE, TWO)
        Contract.objects.create(attachment=Attachment.objects.get(filename="one.txt"))

        page = page.post(client, {"body": "x"}, tick=keys(page))

        assert page.errors == [
            "one.txt: The attachment is in use and cannot be removed or replaced."
        ]
        assert listed(page) == ["one.txt"]

    @pytest.mark.parametrize(
        "key", ["", "x", "-1", "1" * 40, "1" * 1_000_000, "½", "0"]
    )
    def test_altered_box_removes_nothing(self, client, key):
        page = failed(client, ONE)
        for box in page.inputs:
            if box.get("name") == "attachments-remove":
                box["value"] = key

        page = page.post(client, {"body": "x"}, tick=[key])

        assert page.text == "sent: ['one.txt']"

    def test_box_of_another_bundle_or_session_removes_nothing(self, client):
        mine, other = failed(client, ONE), failed(client, TWO)
        foreign = failed(Client(), ("foreign.txt", b"f"))
        boxes = [
            {"name": "attachments-remove", "type": "checkbox", "value": key}
            for key in keys(other) + keys(foreign)
        ]
        mine.inputs += boxes

        page = mine.post(client, tick=keys(other) + keys(foreign))

        assert listed(page) == ["one.txt"]
        assert Attachment.objects.count() == 3


class TestStoring:
    """Posted files are stored one by one; each that is refused is an error."""

    def test_refused_file_is_named_and_the_others_stay(self, client, settings):
        settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 0.001
        files = [ONE, ("big.txt", b"x" * 2000), TWO, ("bigger.txt", b"x" * 3000)]

        page = get(client).post(client, {"body": "x"}, {"attachments": files})

        assert page.errors == [
            "The file “big.txt” is larger than 1.0\xa0KB.",
            "The file “bigger.txt” is larger than 1.0\xa0KB.",
        ]
        assert listed(page) == ["one.txt", "two.txt"]
        assert page.value("body") == "x"

    def test_later_file_of_one_name_wins(self, client):
        page = failed(client, ("a.txt", b"first"), ("a.txt", b"second"))

        assert shelf(client, list_url(page)) == {"a.txt": b"second"}

    def test_quota_refuses_the_file_that_exceeds_it(self, client, settings):
        settings.SESSION_ATTACHMENTS_MAX_BUNDLE_FILES = 1

        page = get(client).post(client, {"body": "x"}, {"attachments": [ONE, TWO]})

        assert page.errors == ["two.txt: No more than 1 files are allowed."]
        assert listed(page) == ["one.txt"]

    def test_validator_refuses_with_its_message(self, client, settings):
        settings.SESSION_ATTACHMENTS_VALIDATORS = ["tests.test_forms.refuse_two"]

        page = get(client).post(client, {"body": "x"}, {"attachments": [TWO, ONE]})

        assert page.errors == ["The file “two.txt” is not accepted. Not two."]
        assert listed(page) == ["one.txt"]

    def test_protected_attachment_is_not_replaced(self, client):
        page = failed(client, ONE)
        Contract.objects.create(attachment=Attachment.objects.get())

        page = page.post(client, {}, {"attachments": [("one.txt", b"new"), TWO]})

        assert "one.txt: The attachment is in use" in page.errors[-1]
        assert listed(page) == ["one.txt", "two.txt"]

    def test_full_disk_is_an_error_of_the_field(self, client, settings, caplog):
        settings.STORAGES = settings.STORAGES | {
            "session_attachments": {"BACKEND": "tests.test_forms.Full"}
        }

        page = get(client).post(client, {"body": "x"}, {"attachments": [ONE]})

        assert page.errors == [
            "one.txt: The server has no space left. Nothing was stored; "
            "please try later."
        ]
        assert "no space here" in caplog.text

    @pytest.mark.usefixtures("temporary")
    def test_file_from_the_disk_is_stored_and_closed(self, client, temporary):
        page = failed(client, ONE, TWO)

        assert listed(page) == ["one.txt", "two.txt"]
        assert [*temporary.iterdir()] == []

    def test_codes_are_those_of_the_app(self, settings):
        settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 0
        files = MultiValueDict({"attachments": [SimpleUploadedFile(*ONE)]})
        form = LetterForm({"body": "x"}, files, session=SessionStore())

        assert not form.is_valid()
        assert form.has_error("attachments", "file_too_large")


def refuse_two(file):
    if file.name == "two.txt":
        raise ValidationError("Not two.")


class Full(FileSystemStorage):
    """A disk that is full."""

    def _save(self, name, content):
        raise OSError(errno.ENOSPC, "no space here")
