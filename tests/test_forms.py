"""A form with attachments, over HTTP: they survive what fails."""

import errno
import gzip
import re
from pathlib import Path

import pytest
from django import forms
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.staticfiles import finders
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.files.storage import FileSystemStorage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.template import RequestContext, Template
from django.test import Client
from django.urls import include, path
from django.utils.datastructures import MultiValueDict

from session_attachments.bundles import Bundle
from session_attachments.exceptions import AttachmentsGone, BadBundle
from session_attachments.forms import (
    AttachmentsField,
    AttachmentsFormMixin,
    AttachmentsWidget,
)
from session_attachments.models import Attachment
from tests.clients import form, needs_libmagic, part, send, shelf, upload
from tests.pages import Page
from tests.project.models import Contract

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

ONE, TWO = ("one.txt", b"1\n"), ("two.txt", b"22\n")
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\x06\0\0\0"


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
    with bundle.take() as attachments:
        return HttpResponse(f"sent: {[row.filename for row in attachments]}")


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

    def test_what_is_ticked_replaces_nothing_that_vanished(self, client):
        page = failed(client, ONE, TWO)
        client.delete(next(iter(page.links)))

        page = page.post(client, {"body": "x"}, tick=keys(page)[1:])

        assert "meanwhile" in page.errors[0]
        assert listed(page) == []

    def test_more_than_was_seen_is_fine(self, client):
        page = failed(client, ONE)
        upload(client, {"more.txt": b"more"}, list_url(page))

        page = page.post(client, {"body": "x"})

        assert page.text == "sent: ['more.txt', 'one.txt']"

    def test_session_flushed_between_two_posts_is_gone(self, client):
        page = failed(client, ONE)
        client.session.flush()

        page = page.post(client, {"body": "x"})

        assert "meanwhile" in page.errors[0]
        assert listed(page) == []

    def cleaned(self, client, page):
        """Return the valid form that ``page`` would send."""
        names = ("attachments-bundle", "attachments-seen")
        data = {name: page.value(name) for name in names}
        form = LetterForm(data | {"body": "Dear Sir"}, session=client.session)
        assert form.is_valid()
        return form

    def test_upload_after_cleaning_stays(self, client):
        page = failed(client, ONE)
        bundle = self.cleaned(client, page).cleaned_data["attachments"]

        upload(client, {"more.txt": b"more"}, list_url(page))

        assert [attachment.filename for attachment in bundle] == ["one.txt"]
        assert sent(bundle).content == b"sent: ['one.txt']"
        assert Attachment.objects.get().filename == "more.txt"

    @pytest.mark.parametrize("replaced", [False, True])
    def test_what_vanished_after_cleaning_is_gone(self, client, replaced):
        page = failed(client, ONE, TWO)
        form = self.cleaned(client, page)
        if replaced:
            upload(client, {"one.txt": b"new"}, list_url(page))
        else:
            client.delete(next(iter(page.links)))

        with pytest.raises(AttachmentsGone) as gone:
            sent(form.cleaned_data["attachments"])
        form.add_error("attachments", str(gone.value))

        html = form.as_div()
        assert "have been sent or removed meanwhile" in html
        assert (">one.txt<" in html) is replaced
        assert ">two.txt<" in html
        assert "Dear Sir" in html


@pytest.mark.database
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


@pytest.mark.database
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

    def test_file_is_named_though_its_name_is_a_word_of_the_sentence(
        self, client, settings
    ):
        settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = 0

        page = get(client).post(client, {}, {"attachments": [("files", b"x")]})

        assert page.errors[-1] == (
            "files: You would store more than 0\xa0bytes. "
            "Please remove some files first."
        )

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
            "one.txt: The server has no space left for this. Please try later."
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


class TestBundleId:
    def test_id_is_random_and_two_tabs_are_two_bundles(self, client):
        one, two = get(client), get(client)

        ids = {one.value("attachments-bundle"), two.value("attachments-bundle")}

        assert len(ids) == 2
        assert all(re.fullmatch("[0-9a-f]{32}", bundle_id) for bundle_id in ids)
        one.post(client, files={"attachments": [ONE]})
        page = two.post(client, files={"attachments": [TWO]})
        assert listed(page) == ["two.txt"]

    def test_id_stays_when_the_form_fails(self, client):
        page = get(client)

        again = page.post(client)

        assert again.value("attachments-bundle") == page.value("attachments-bundle")

    @pytest.mark.parametrize(
        "bundle_id", ["", ".", "..", "a/b", "\x01", "x" * 257, "x" * 1_000_000]
    )
    def test_bad_id_is_replaced(self, client, bundle_id):
        fill = {"attachments-bundle": bundle_id}

        page = get(client).post(client, fill, {"attachments": [ONE]})

        assert re.fullmatch("[0-9a-f]{32}", page.value("attachments-bundle"))
        assert listed(page) == ["one.txt"]
        assert page.post(client, {"body": "x"}).text == "sent: ['one.txt']"

    def test_chosen_id_is_kept(self, client):
        page = get(client).post(client, {"attachments-bundle": "my draft 🎉"})

        assert page.value("attachments-bundle") == "my draft 🎉"

    def test_another_sessions_id_reaches_nothing(self, client):
        theirs = failed(Client(), ONE)
        fill = {"attachments-bundle": theirs.value("attachments-bundle")}

        page = get(client).post(client, fill, {"attachments": [TWO]})

        assert listed(page) == ["two.txt"]
        assert get(client).post(client, fill | {"body": "x"}).text == (
            "sent: ['two.txt']"
        )
        assert Attachment.objects.get().filename == "one.txt"

    def test_repeated_inputs_do_no_harm(self, client):
        page = failed(client, ONE)
        page.inputs += page.inputs

        page = page.post(client, {"body": "x"}, {"attachments": [TWO]}, keys(page))

        assert page.text == "sent: ['two.txt']"

    def test_initial_names_the_bundle(self, client):
        page = failed(client, ONE, url="/draft/")
        assert page.value("attachments-bundle") == "ticket-7"

        page = get(client, "/draft/")

        assert listed(page) == ["one.txt"]
        assert page.post(client, {"body": "x"}).text == "sent: ['one.txt']"

    def test_initial_names_the_bundle_whatever_is_posted(self, client):
        page = get(client, "/draft/")

        page.post(client, {"attachments-bundle": "x"}, {"attachments": [ONE]})

        assert Attachment.objects.get().bundle == "ticket-7"

    def test_bad_initial_is_an_error(self, client):
        with pytest.raises(BadBundle):
            client.get("/bad-draft/")

    def test_initial_shows_another_session_nothing(self, client):
        failed(client, ONE, url="/draft/")

        assert listed(get(Client(), "/draft/")) == []


@pytest.mark.database
class TestSeen:
    @pytest.mark.parametrize(
        "seen", ["", "x", "-1", "1.5", "²", "9" * 7, "9" * 1_000_000]
    )
    def test_what_is_no_number_is_none(self, client, seen):
        page = failed(client, ONE)

        page = page.post(client, {"body": "x", "attachments-seen": seen})

        assert page.text == "sent: ['one.txt']"

    def test_more_than_there_is_is_gone(self, client):
        page = failed(client, ONE)

        page = page.post(client, {"body": "x", "attachments-seen": "2"})

        assert "meanwhile" in page.errors[0]
        assert (page.value("attachments-seen"), listed(page)) == ("1", ["one.txt"])

    def test_code_is_gone(self):
        data = {"body": "x", "attachments-bundle": "b", "attachments-seen": 1}
        form = LetterForm(data, session=SessionStore())

        assert form.has_error("attachments", "gone")

    @pytest.mark.parametrize("cut", ["seen", "file", "box"])
    def test_body_cut_short_adds_and_removes_nothing(self, client, cut):
        page = failed(client, ONE)
        body = form(*page.body({}, {"attachments": [TWO]}, keys(page)))
        end = {
            "seen": body.index(b'name="attachments-seen"') - 40,
            "file": body.index(b"22\n") + 1,
            "box": body.index(b'name="attachments-remove"') + 30,
        }[cut]

        page = Page(send(client, body[:end], length=len(body), url="/letter/"))

        assert page.errors[-1] == (
            "The upload arrived incomplete or malformed. Please send it again."
        )
        assert listed(page) == ["one.txt"]
        assert Attachment.objects.count() == 1

    def test_form_without_an_enctype_is_not_sent_without_its_files(self, client):
        page = get(client, "/letter/")
        data = {i["name"]: i["value"] for i in page.inputs if "name" in i}
        data |= {"body": "x", "attachments": "one.txt"}

        page = Page(client.post("/letter/", data))

        (error,) = page.errors
        assert "incomplete" in error

    def test_code_of_what_is_cut_short_is_incomplete_upload(self):
        form = LetterForm({"attachments-bundle": "b"}, session=SessionStore())

        assert form.has_error("attachments", "incomplete_upload")

    def test_neither_bundle_nor_seen_is_a_new_bundle(self, client):
        body = form(part(b"x", None, "body"), part(name="a.txt", field="attachments"))

        assert Page(send(client, body, url="/letter/")).text == "sent: ['a.txt']"

    def test_seen_without_its_bundle_is_gone(self, client):
        body = form(part(b"x", None, "body"), part(b"1", None, "attachments-seen"))

        assert "meanwhile" in Page(send(client, body, url="/letter/")).errors[0]


class TestRequired:
    def test_one_attachment_at_least(self, client):
        page = get(client, "/required/")
        assert "required" in page.find("input", type="file")

        page = page.post(client, {"body": "x"})

        assert page.errors == ["This field is required."]
        assert "required" in page.find("input", type="file")

    def test_attribute_stands_only_while_there_is_none(self, client):
        page = get(client, "/required/").post(client, files={"attachments": [ONE]})

        assert "required" not in page.find("input", type="file")
        assert page.post(client, {"body": "x"}).text == "sent: ['one.txt']"

    def test_removing_the_last_one_fails(self, client):
        page = get(client, "/required/").post(client, files={"attachments": [ONE]})

        page = page.post(client, {"body": "x"}, tick=keys(page))

        assert page.errors == ["This field is required."]

    def test_refusal_says_enough(self, client, settings):
        settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 0

        page = get(client, "/required/").post(
            client, {"body": "x"}, {"attachments": [ONE]}
        )

        assert len(page.errors) == 1


class TestLimits:
    """max_files, max_size and accept narrow the app's limits."""

    def test_page_says_them(self, client):
        page = get(client, "/narrow/")

        element = page.find("session-attachments")
        assert (element["max-files"], element["max-size"]) == ("2", "1048")
        entry = page.find("input", type="file")
        assert entry["accept"] == ".TXT,image/*"
        assert entry["aria-describedby"] == "id_attachments_limits"
        assert page.find("div", id="id_attachments_limits")
        assert (
            "Number of files: up to 2. Size of each: up to 1.0\xa0KB. "
            "Allowed: .TXT, image/*."
        ) in page.text

    def test_smaller_limit_of_the_app_is_said(self, client, settings):
        settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 0.0005
        settings.SESSION_ATTACHMENTS_MAX_BUNDLE_FILES = 1

        element = get(client, "/narrow/").find("session-attachments")

        assert (element["max-files"], element["max-size"]) == ("1", "524")

    def test_no_limit_says_nothing(self, client, settings):
        settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = None

        page = get(client)

        element = page.find("session-attachments")
        assert (element["max-files"], element["max-size"]) == ("", "")
        assert "aria-describedby" not in page.find("input", type="file")
        assert "_limits" not in page.html

    def test_too_many_stay_listed(self, client):
        files = [(f"{number}.txt", b"x") for number in range(3)]

        page = get(client, "/narrow/").post(
            client, {"body": "x"}, {"attachments": files}
        )

        assert page.errors == ["No more than 2 files are allowed. Please remove some."]
        assert listed(page) == ["0.txt", "1.txt", "2.txt"]
        page = page.post(client, {"body": "x"}, tick=keys(page)[:1])
        assert page.text == "sent: ['1.txt', '2.txt']"

    def test_posted_file_that_does_not_fit_is_refused(self, client):
        files = [("a.exe", b"MZ\x90"), ("big.txt", b"x" * 1049), ("a.png", PNG)]

        page = get(client, "/narrow/").post(
            client, {"body": "x"}, {"attachments": files}
        )

        assert page.errors == [
            "The file “a.exe” is not accepted. Allowed: .TXT, image/*.",
            "The file “big.txt” is larger than 1.0\xa0KB.",
        ]
        assert listed(page) == ["a.png"]

    @needs_libmagic
    def test_type_of_the_content_fits(self, client):
        page = get(client, "/narrow/").post(
            client, {"body": ""}, {"attachments": [("IMAGE", PNG)]}
        )

        assert listed(page) == ["IMAGE"]

    def test_refused_file_replaces_nothing(self, client):
        page = get(client, "/narrow/").post(client, {}, {"attachments": [ONE]})

        page.post(client, {}, {"attachments": [("one.txt", b"x" * 2000)]})

        assert Attachment.objects.get().size == 2

    def test_limit_itself_and_another_case_of_the_name_fit(self, client):
        files = [("A.TxT", b"x" * 1048), ("b.txt", b"b")]

        page = get(client, "/narrow/").post(
            client, {"body": "x"}, {"attachments": files}
        )

        assert page.text == "sent: ['A.TxT', 'b.txt']"

    def test_validators_get_the_bundle(self):
        def refuse(bundle):
            raise ValidationError(f"{len(bundle)} {bundle.bundle_id}")

        class Form(AttachmentsFormMixin, forms.Form):
            attachments = AttachmentsField(required=False, validators=[refuse])

        data = {"attachments-bundle": "b", "attachments-seen": "0"}

        form = Form(data, session=SessionStore())

        assert form.errors["attachments"] == ["0 b"]

    def test_whole_bundle_is_checked(self, client):
        page = get(client, "/narrow/")
        files = {"a.exe": b"MZ", "b.txt": b"x" * 2000, "c.txt": b"c"}
        upload(client, files, list_url(page))

        page = page.post(client, {"body": "x"})

        assert page.errors == [
            "The file “a.exe” is not accepted. Allowed: .TXT, image/*.",
            "The file “b.txt” is larger than 1.0\xa0KB.",
            "No more than 2 files are allowed. Please remove some.",
        ]
        assert listed(page) == ["a.exe", "b.txt", "c.txt"]
        page = page.post(client, {"body": "x"}, tick=keys(page)[:2])
        assert page.text == "sent: ['c.txt']"

    def test_codes(self):
        session = SessionStore()
        files = ("1.txt", b"x" * 2000), ("2", b"x"), ("3", b"x")
        Bundle(session, "b").add(*(SimpleUploadedFile(*file) for file in files))

        form = NarrowForm(
            {"attachments-bundle": "b", "attachments-seen": 0}, session=session
        )

        codes = {error.code for error in form.errors.as_data()["attachments"]}
        assert codes == {"invalid", "file_too_large", "too_many_files"}

    @pytest.mark.parametrize("accept", [".pdf", ["pdf"], [".pdf", ""]])
    def test_malformed_accept_is_refused(self, accept):
        with pytest.raises(ImproperlyConfigured, match="accept must be a list"):
            AttachmentsField(accept=accept)

    @pytest.mark.parametrize(
        ("option", "value", "reason"),
        [
            ("max_files", "3", "a whole number, 0 or more, not '3'"),
            ("max_files", 1.5, "a whole number, 0 or more, not 1.5"),
            ("max_files", -1, "a whole number, 0 or more, not -1"),
            ("max_size", "3", "a number of MB, 0 or more, not '3'"),
            ("max_size", -1, "a number of MB, 0 or more, not -1"),
            ("widget", forms.ClearableFileInput, "an AttachmentsWidget, not <django"),
        ],
    )
    def test_option_that_cannot_be_used_is_refused(self, option, value, reason):
        with pytest.raises(ImproperlyConfigured, match=f"{option} must be .*{reason}"):
            AttachmentsField(**{option: value})


class TestPage:
    """The HTML, by which the script and the visitor go."""

    def test_inputs_stand_in_their_order(self, client):
        page = failed(client, ONE, TWO)

        assert page.names() == [
            "attachments-bundle",
            "attachments-remove",
            "attachments-remove",
            "attachments",
            "attachments-seen",
        ]
        assert all(
            i["autocomplete"] == "off" for i in page.inputs if i["name"] in page.names()
        )
        assert page.html.index("<session-attachments") < page.html.index("-bundle")
        assert page.html.index("-seen") < page.html.index("</session-attachments>")

    def test_list_has_names_sizes_and_links(self, client):
        name = "a <b> & \"c\" 'd' ; # ? % é 🎉.txt"
        page = get(client)
        upload(client, {"x": b"x"}, list_url(page))
        Attachment.objects.update(filename=name)

        page = page.post(client)

        assert listed(page) == [name]
        (url,) = page.links
        assert b"".join(client.get(url)) == b"x"
        assert "1\xa0byte" in page.text
        box = page.find("input", name="attachments-remove")
        assert box["aria-label"] == f"Remove {name}"
        assert "<bdi>a &lt;b&gt;" in page.html

    def test_file_input_is_labelled(self, client):
        page = get(client)

        entry = page.find("input", type="file")
        assert {"multiple", "name", "id"} <= {*entry}
        assert entry["id"] == "id_attachments"
        assert re.search(r"<label>Add files <input type=\"file\"", page.html)
        assert re.search(r"<fieldset>\s*<legend", page.html)

    def test_url_is_that_of_the_list(self, client):
        page = failed(client, ONE)

        assert client.get(list_url(page)).json()[0]["name"] == "one.txt"
        assert page.find("session-attachments")["max-size"] == "52428800"

    @pytest.mark.urls("tests.urls_without_app")
    def test_no_url_where_the_project_routes_none(self, rf):
        html = str(LetterForm(session=SessionStore())["attachments"])

        assert " url=" not in html

    def test_strict_csp_has_nothing_to_forbid(self, client):
        page = failed(client, ONE)

        tags = {tag for tag, _attrs in page.tags}
        attributes = {name for _tag, attrs in page.tags for name in attrs}
        assert not {"script", "style"} & tags
        assert not {name for name in attributes if name.startswith(("on", "style"))}

    def test_errors_are_tied_to_the_field(self, client):
        page = get(client, "/required/").post(client, {"body": "x"})

        assert page.find("input", type="file")["aria-invalid"] == "true"
        assert page.find("fieldset")["aria-describedby"] == "id_attachments_error"
        assert page.find("ul", id="id_attachments_error")

    def test_widget_attributes_are_those_of_the_file_input(self):
        class Form(AttachmentsFormMixin, forms.Form):
            attachments = AttachmentsField(
                widget=AttachmentsWidget(attrs={"class": "x", "aria-describedby": "y"})
            )

        html = str(Form(session=SessionStore())["attachments"])

        assert 'class="x"' in html
        assert 'aria-describedby="y id_attachments_limits"' in html

    def test_form_without_ids_has_none(self):
        html = str(LetterForm(session=SessionStore(), auto_id=False)["attachments"])

        assert " id=" not in html
        assert "aria-describedby" not in html

    def test_prefix_is_djangos(self):
        form = LetterForm(session=SessionStore(), prefix="form-0")

        html = str(form["attachments"])

        assert set(re.findall('name="(.*?)"', html)) == {
            "form-0-attachments-bundle",
            "form-0-attachments",
            "form-0-attachments-seen",
        }

    def test_form_needs_multipart(self):
        form = LetterForm(session=SessionStore())

        assert form.is_multipart()
        assert not isinstance(form.fields["attachments"], forms.FileField)
        assert not isinstance(form.fields["attachments"].widget, forms.FileInput)
        assert form["attachments"].id_for_label == "id_attachments"

    def test_field_by_field(self, client):
        page = get(client, "/fields/").post(client, files={"attachments": [ONE]})

        assert listed(page) == ["one.txt"]
        assert page.find("label", **{"for": "id_attachments"})
        assert page.post(client, {"body": "x"}).text == "sent: ['one.txt']"

    def test_disabled_field_takes_nothing(self, client):
        page = get(client, "/disabled/")
        assert "disabled" in page.find("input", type="file")
        body = form(part(b"x", None, "body"), part(name="a.txt", field="attachments"))

        assert Page(send(client, body, url="/disabled/")).text == "sent: []"
        assert not Attachment.objects.exists()


class TestChanged:
    @pytest.mark.parametrize(
        ("data", "files", "changed"),
        [
            ({}, {}, False),
            ({"attachments-bundle": "b", "attachments-seen": "0"}, {}, False),
            ({"attachments-seen": "1"}, {}, True),
            ({"attachments-remove": "1"}, {}, True),
            ({"attachments-remove": ["1"]}, {}, True),
            ({}, {"attachments": SimpleUploadedFile(*ONE)}, True),
        ],
    )
    def test_files_boxes_and_seen_are_changes(self, data, files, changed):
        form = LetterForm(data, files, session=SessionStore())
        assert ("attachments" in form.changed_data) is changed

        form.full_clean()
        del form.changed_data

        assert ("attachments" in form.changed_data) is changed

    def test_disabled_field_has_not_changed(self):
        form = DisabledForm({"attachments-seen": "1"}, session=SessionStore())

        assert form.changed_data == []


class TestCleaningAgain:
    def test_nothing_changes(self):
        session = SessionStore()
        files = MultiValueDict({"attachments": [SimpleUploadedFile(*ONE)]})
        form = LetterForm({"body": "x"}, files, session=session)
        assert form.is_valid()
        key = Attachment.objects.get().pk

        form.full_clean()

        assert form.is_valid()
        assert Attachment.objects.get().pk == key
        assert "attachments" not in files

    @pytest.mark.parametrize("kind", [dict, MultiValueDict])
    def test_what_was_refused_stays_refused(self, settings, kind):
        settings.SESSION_ATTACHMENTS_VALIDATORS = ["tests.test_forms.refuse_two"]
        posted = [SimpleUploadedFile(*file) for file in (ONE, TWO, TWO)]
        form = LetterForm({}, kind({"attachments": posted}), session=SessionStore())
        errors = [*form.errors["attachments"]]

        form.full_clean()

        assert [*form.errors["attachments"]] == errors
        assert len(errors) == 2
        assert form.files == kind({"attachments": posted[1:]})

    def test_gone_stays_gone(self):
        data = {"attachments-bundle": "b", "attachments-seen": "1"}
        files = {"attachments": SimpleUploadedFile(*ONE)}
        form = LetterForm(data, files, session=SessionStore())
        assert form.has_error("attachments", "gone")

        form.full_clean()

        assert form.has_error("attachments", "gone")


class TestTwoFields:
    def test_each_has_its_bundle(self):
        class Form(LetterForm):
            scans = AttachmentsField()

        session = SessionStore()
        files = {"attachments": SimpleUploadedFile(*ONE)}
        files["scans"] = SimpleUploadedFile(*TWO)
        form = Form({}, files, session=session)
        assert [*form.errors] == ["body"]

        form = Form(form.data | {"body": "x"}, session=session)

        assert form.is_valid()
        names = [
            [*map(str, form.cleaned_data[name])] for name in ("attachments", "scans")
        ]
        assert names == [["one.txt"], ["two.txt"]]


class TestSession:
    def test_form_without_session_says_what_to_write(self):
        with pytest.raises(
            ImproperlyConfigured,
            match=r"LetterForm\(\.\.\., session=request\.session\)",
        ):
            LetterForm()

    def test_form_without_the_mixin_says_so(self):
        class Form(forms.Form):
            attachments = AttachmentsField()

        with pytest.raises(ImproperlyConfigured, match="AttachmentsFormMixin"):
            Form().as_div()

    def test_session_may_be_an_attribute_of_the_class(self):
        class Form(LetterForm):
            session = SessionStore()

        assert "attachments-bundle" in Form().as_div()

    def test_mixin_without_the_field_needs_no_session(self):
        class Form(AttachmentsFormMixin, forms.Form):
            pass

        assert Form({}).is_valid()


@pytest.fixture
def session(client):
    """Return a session that has come to the app, loaded."""
    client.get("/attachments/any/")
    session = SessionStore(client.session.session_key)
    session.get("any")
    return session


@pytest.mark.database
class TestQueries:
    def test_new_form_asks_for_nothing(self, session, django_assert_num_queries):
        with django_assert_num_queries(0):
            LetterForm(session=session).as_div()

    def test_rendering_loads_no_session(self, client):
        failed(client, ONE)
        session = SessionStore(client.session.session_key)

        LetterForm(session=session).as_div()

        assert not session.accessed

    def test_rendering_starts_no_session(self, client, django_assert_num_queries):
        with django_assert_num_queries(0):
            client.get("/draft/")

        assert "sessionid" not in client.cookies

    def test_session_that_never_came_is_not_asked_for(self, django_assert_num_queries):
        session = SessionStore()
        session["visited"] = True
        session.create()

        with django_assert_num_queries(0):
            LetterForm(session=session, initial={"attachments": "b"}).as_div()

        assert "_session_attachments_key" not in session

    def test_form_that_failed_asks_once(self, session, django_assert_num_queries):
        data = {"attachments-bundle": "b", "attachments-seen": "0"}
        form = LetterForm(data, session=session)
        with django_assert_num_queries(1):
            assert not form.is_valid()

        with django_assert_num_queries(1):
            form.as_div()

    def test_new_bundle_that_got_files_is_shown(self, session):
        files = {"attachments": SimpleUploadedFile(*ONE)}

        assert "one.txt" in LetterForm({}, files, session=session).as_div()

    def test_cleaning_a_new_bundle_asks_nothing(
        self, session, django_assert_num_queries
    ):
        with django_assert_num_queries(0):
            assert LetterForm({"body": "x"}, session=session).is_valid()


class TestMedia:
    def test_script_and_style_come_with_the_form(self, session):
        page = str(LetterForm(session=session).media)

        assert '<script src="/static/session_attachments/attachments.js" ' in page
        assert 'type="module"></script>' in page
        assert 'href="/static/session_attachments/attachments.css"' in page

    def test_script_is_small(self):
        script = Path(finders.find("session_attachments/attachments.js"))

        assert len(gzip.compress(script.read_bytes())) < 10 * 1024
