"""The form's field in what projects build forms with."""

import asyncio
import re
from pathlib import Path

import django_htmx
import pytest
from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection
from django.forms import formset_factory
from django.http import HttpResponse
from django.urls import include, path
from django.utils import translation
from django.views.generic import FormView
from formtools.wizard.views import SessionWizardView

from session_attachments.forms import AttachmentsField, AttachmentsFormMixin
from session_attachments.models import Attachment
from tests.browsers import browser, needs_chromium
from tests.clients import upload
from tests.project.models import Enclosure, Letter
from tests.storages import attach
from tests.test_forms import (
    ONE,
    TWO,
    LetterForm,
    NarrowForm,
    answer,
    get,
    keys,
    list_url,
    listed,
    page,
    sent,
)

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

LetterFormSet = formset_factory(LetterForm, extra=1)


def rows(request):
    formset = LetterFormSet(
        request.POST or None,
        request.FILES or None,
        form_kwargs={"session": request.session},
    )
    if formset.is_valid():
        bundles = [form.cleaned_data.get("attachments") for form in formset]
        return HttpResponse(str([bundle and [*map(str, bundle)] for bundle in bundles]))
    template = "{{ formset }}<template>{{ formset.empty_form }}</template>"
    return answer(request, template, formset=formset)


class UserForm(AttachmentsFormMixin, forms.ModelForm):
    attachments = AttachmentsField()

    class Meta:
        model = User
        fields = ("username",)


class UserView(FormView):
    form_class = UserForm

    def get_form_kwargs(self):
        return super().get_form_kwargs() | {"session": self.request.session}

    def render_to_response(self, context):
        return answer(self.request, "{{ form }}", **context)

    def form_valid(self, form):
        form.save()
        return sent(form.cleaned_data["attachments"])


class NameForm(forms.Form):
    name = forms.CharField()


class Wizard(SessionWizardView):
    form_list = (("letter", LetterForm), ("name", NameForm))

    def get_form_kwargs(self, step=None):
        return {"session": self.request.session} if step == "letter" else {}

    def render_to_response(self, context):
        template = "{{ wizard.management_form }}{{ wizard.form }}"
        return answer(self.request, template, **context)

    def done(self, form_list, **kwargs):
        return sent(form_list[0].cleaned_data["attachments"])


class FilesForm(AttachmentsFormMixin, forms.Form):
    attachments = AttachmentsField(required=False)


class WizardOfRows(Wizard):
    form_list = (("rows", formset_factory(FilesForm)), ("name", NameForm))

    def get_form_kwargs(self, step=None):
        session = {"session": self.request.session}
        return {"form_kwargs": session} if step == "rows" else {}

    def done(self, form_list, **kwargs):
        (row,) = form_list[0]
        return sent(row.cleaned_data["attachments"])


class LetterAdminForm(AttachmentsFormMixin, forms.ModelForm):
    attachments = AttachmentsField(help_text="Scans, please.")


class EnclosureForm(AttachmentsFormMixin, forms.ModelForm):
    attachments = AttachmentsField(required=False)

    class Meta:
        model = Enclosure
        fields = ()


class EnclosureInline(admin.StackedInline):
    model = Enclosure
    form = EnclosureForm
    extra = 1


class LetterAdmin(admin.ModelAdmin):
    form = LetterAdminForm
    inlines = (EnclosureInline,)

    def get_form(self, request, obj=None, change=False, **kwargs):
        form = super().get_form(request, obj, change, **kwargs)
        form.session = request.session
        return form

    def get_formset_kwargs(self, request, obj, inline, prefix):
        kwargs = super().get_formset_kwargs(request, obj, inline, prefix)
        return kwargs | {"form_kwargs": {"session": request.session}}

    def save_model(self, request, obj, form, change):
        super().save_model(request, obj, form, change)
        sent(form.cleaned_data["attachments"])

    def save_formset(self, request, form, formset, change):
        super().save_formset(request, form, formset, change)
        for row in filter(None, (form.cleaned_data for form in formset)):
            sent(row["attachments"])


site = admin.AdminSite(name="letters")
site.register(Letter, LetterAdmin)

BUTTON = "{% csrf_token %}{{ form.as_div }}<button>Send</button>"
CRISPY = "{% load crispy_forms_tags %}"


def htmx(request):
    """Show a page into which htmx puts a form."""
    return HttpResponse(
        '<!doctype html><script src="/htmx.js"></script><div id="place"></div>'
        '<button hx-get="/fragment/" hx-target="#place">Write</button>'
    )


def htmx_script(request):
    folder = Path(django_htmx.__file__).parent / "static" / "django_htmx"
    script = (folder / "htmx-4.min.js").read_bytes()
    return HttpResponse(script, content_type="text/javascript")


def fragment(request):
    """Answer as ``page`` does, in what htmx puts into a page."""
    response = page(
        request, template="{% csrf_token %}{{ form.as_div }}<button>Send</button>"
    )
    html = response.content.replace(
        b'<form method="post" enctype="multipart/form-data">',
        b'<form hx-post="/fragment/" hx-encoding="multipart/form-data" '
        b'hx-target="#place">',
    )
    return HttpResponse(html)


def strict(request):
    """Answer as ``page`` does, and let the browser refuse what is inline."""
    response = page(request, template=BUTTON)
    policy = "default-src 'none'; script-src 'self'; style-src 'self'"
    response.headers["Content-Security-Policy"] = policy
    return response


urlpatterns = [
    path("attachments/", include("session_attachments.urls")),
    path("letter/", page),
    path("button/", page, {"template": BUTTON}),
    path("narrow/", page, {"form_class": NarrowForm}),
    path("rows/", rows),
    path("user/", UserView.as_view()),
    path("wizard/", Wizard.as_view()),
    path("wizard-of-rows/", WizardOfRows.as_view()),
    path("crispy/", page, {"template": CRISPY + "{{ form|crispy }}"}),
    path("layout/", page, {"template": CRISPY + "{% crispy form %}"}),
    path("admin/", site.urls),
    path("htmx/", htmx),
    path("htmx.js", htmx_script),
    path("fragment/", fragment),
    path("strict/", strict),
]


class TestFormset:
    def test_each_row_has_its_bundle(self, client):
        page = get(client, "/rows/")
        page.add_row(1)
        files = {"form-0-attachments": [ONE], "form-1-attachments": [TWO]}

        page = page.post(client, {"form-TOTAL_FORMS": "2"}, files)

        assert page.errors == ["This field is required."] * 2
        assert listed(page) == ["one.txt", "two.txt"]
        ids = [page.value(f"form-{row}-attachments-bundle") for row in (0, 1)]
        assert len({*ids}) == 2
        page = page.post(client, {"form-0-body": "x", "form-1-body": "y"})
        assert page.text == "[['one.txt'], ['two.txt']]"

    def test_row_has_changed_if_it_has_files(self, client):
        page = get(client, "/rows/")
        assert page.post(client).text == "[None]"

        page = page.post(client, {}, {"form-0-attachments": [ONE]})

        assert page.errors == ["This field is required."]
        assert page.post(client).errors == ["This field is required."]
        page = page.post(client, {}, {}, keys(page, "form-0-attachments"))
        assert page.errors == ["This field is required."]
        assert page.post(client).text == "[None]"

    def test_empty_form_has_no_id(self, client):
        page = get(client, "/rows/")

        (url,) = {
            attrs["url"]
            for tag, attrs in page.tags
            if tag == "session-attachments" and "__bundle__" in attrs["url"]
        }
        assert url == "/attachments/__bundle__/"
        values = {i["name"]: i["value"] for i in page.template}
        assert values["form-__prefix__-attachments-bundle"] == ""
        assert values["form-__prefix__-attachments-seen"] == "0"

    def test_new_row_without_script_gets_an_id(self, client):
        page = get(client, "/rows/")
        page.add_row(1)
        fill = {"form-TOTAL_FORMS": "2", "form-1-body": "y"}

        page = page.post(client, fill, {"form-1-attachments": [ONE]})

        assert page.text == "[None, ['one.txt']]"
        assert re.fullmatch("[0-9a-f]{32}", Attachment.objects.get().bundle)


class TestModelFormInAFormView:
    def test_files_survive(self, client):
        page = get(client, "/user/").post(client, {}, {"attachments": [ONE]})
        assert page.errors == ["This field is required."]
        assert listed(page) == ["one.txt"]

        page = page.post(client, {"username": "ann"})

        assert page.text == "sent: ['one.txt']"
        assert User.objects.get().username == "ann"

    def test_fault_of_the_model_keeps_them(self, client):
        User.objects.create_user("ann")
        page = get(client, "/user/")

        page = page.post(client, {"username": "ann"}, {"attachments": [ONE]})

        assert page.errors == ["A user with that username already exists."]
        assert listed(page) == ["one.txt"]


class TestWizard:
    def first(self, client, **fill):
        page = get(client, "/wizard/")
        fill = {"letter-body": "x"} | fill
        return page.post(client, fill, {"letter-attachments": [ONE]})

    def test_files_wait_for_the_last_step(self, client):
        page = self.first(client)
        assert page.errors == []

        page = page.post(client, {"name-name": "Ann"})

        assert page.text == "sent: ['one.txt']"

    def test_step_that_fails_keeps_them(self, client):
        page = self.first(client, **{"letter-body": ""})
        assert listed(page) == ["one.txt"]

        page = page.post(client, {"letter-body": "x"})

        assert page.post(client, {"name-name": "Ann"}).text == "sent: ['one.txt']"

    def test_going_back_shows_them(self, client):
        page = self.first(client)
        page.inputs.append({"name": "wizard_goto_step", "value": "letter"})

        page = page.post(client)

        assert listed(page) == ["one.txt"]
        assert page.value("letter-body") == "x"

    def test_row_with_nothing_but_files_is_sent(self, client):
        page = get(client, "/wizard-of-rows/")
        page = page.post(client, {}, {"rows-0-attachments": [ONE]})
        assert page.errors == []

        page = page.post(client, {"name-name": "Ann"})

        assert page.text == "sent: ['one.txt']"

    def test_id_that_was_replaced_is_remembered(self, client):
        page = self.first(client, **{"letter-attachments-bundle": ""})

        assert page.post(client, {"name-name": "Ann"}).text == "sent: ['one.txt']"

    def test_nothing_is_sent_without_what_a_step_left(self, client):
        page = self.first(client, **{"letter-body": ""})
        files = {"letter-attachments": [TWO]}
        page = page.post(
            client, {"letter-body": "x"}, files, keys(page, "letter-attachments")
        )
        assert Attachment.objects.get().filename == "two.txt"
        Attachment.objects.all().delete()

        page = page.post(client, {"name-name": "Ann"})

        assert "meanwhile" in page.errors[0]

    def test_nothing_is_sent_without_its_files(self, client):
        page = self.first(client)
        Attachment.objects.all().delete()

        page = page.post(client, {"name-name": "Ann"})

        assert "meanwhile" in page.errors[0]
        assert page.value("letter-body") == "x"
        page = page.post(client)
        assert page.post(client, {"name-name": "Ann"}).text == "sent: []"


class TestAdmin:
    URL = "/admin/project/letter/add/"

    @pytest.fixture
    def start(self, admin_client):
        return get(admin_client, self.URL)

    def test_files_survive(self, admin_client, start):
        files = {"enclosures-0-attachments": [TWO]}

        page = start.post(admin_client, {}, files)

        assert page.errors == ["This field is required."]
        assert "two.txt" in listed(page)
        assert not Letter.objects.exists()
        page.post(admin_client, {}, {"attachments": [ONE]})
        assert Letter.objects.get().enclosures.count() == 1
        assert not Attachment.objects.exists()

    def test_help_is_djangos(self, start):
        start.find("div", id="id_attachments_helptext")

    def test_empty_form_of_the_inline_has_no_id(self, start):
        assert start.value("enclosures-__prefix__-attachments-bundle") == ""
        assert start.value("enclosures-0-attachments-bundle") != ""

    def test_another_row_of_the_inline(self, admin_client, start):
        for i in [*start.inputs]:
            if "__prefix__" in i.get("name", ""):
                start.inputs.append(i | {"name": i["name"].replace("__prefix__", "1")})
        files = {"enclosures-1-attachments": [TWO]}

        page = start.post(admin_client, {"enclosures-TOTAL_FORMS": "2"}, files)

        assert page.errors == ["This field is required."]
        assert "two.txt" in listed(page)
        assert page.value("enclosures-1-attachments-bundle") != ""


RENDERERS = ("DjangoTemplates", "Jinja2", "TemplatesSetting")


@pytest.fixture
def early(settings, tmp_path, monkeypatch):
    """Install an app before ours that has another template."""
    folder = tmp_path / "early/templates/session_attachments"
    folder.mkdir(parents=True)
    (tmp_path / "early/__init__.py").touch()
    (folder / "attachments.html").write_text("another: {{ widget.name }}")
    monkeypatch.syspath_prepend(tmp_path)
    settings.INSTALLED_APPS = ["early", *settings.INSTALLED_APPS]


class TestRenderers:
    @pytest.mark.parametrize("renderer", RENDERERS)
    def test_each_renderer_shows_the_field(self, client, settings, renderer):
        settings.FORM_RENDERER = f"django.forms.renderers.{renderer}"
        settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django.forms"]

        page = get(client).post(client, {}, {"attachments": [ONE]})

        assert page.errors == ["This field is required."]
        assert listed(page) == ["one.txt"]
        assert page.names() == [
            "attachments-bundle",
            "attachments-remove",
            "attachments",
            "attachments-seen",
        ]
        assert page.post(client, {"body": "x"}).text == "sent: ['one.txt']"

    def test_templates_setting_without_djangos_templates(self, settings):
        settings.FORM_RENDERER = "django.forms.renderers.TemplatesSetting"
        settings.TEMPLATES = []

        html = str(LetterForm(session=SessionStore())["attachments"])

        assert 'name="attachments-seen"' in html

    @pytest.mark.usefixtures("early")
    @pytest.mark.parametrize("renderer", ["DjangoTemplates", "TemplatesSetting"])
    def test_template_of_an_app_before_ours(self, settings, renderer):
        settings.FORM_RENDERER = f"django.forms.renderers.{renderer}"

        html = str(LetterForm(session=SessionStore())["attachments"])

        assert html == "another: attachments"

    def test_template_of_templates_setting(self, settings, tmp_path):
        folder = tmp_path / "session_attachments"
        folder.mkdir()
        (folder / "attachments.html").write_text("another: {{ widget.name }}")
        settings.FORM_RENDERER = "django.forms.renderers.TemplatesSetting"
        settings.TEMPLATES = [settings.TEMPLATES[0] | {"DIRS": [tmp_path]}]

        html = str(LetterForm(session=SessionStore())["attachments"])

        assert html == "another: attachments"


class TestLanguages:
    def test_numbers_have_no_separators(self, settings):
        settings.USE_THOUSAND_SEPARATOR = True
        session = SessionStore()
        session["_session_attachments_key"] = "key"
        attach(pk=1234567, size=1_234_567)
        initial = {"attachments": "foo"}
        form = NarrowForm(session=session, initial=initial)
        form.fields["attachments"].max_files = 1000

        with translation.override("de"):
            html = form.as_div()

        assert 'value="1234567"' in html
        assert 'max-files="1000" max-size="1048"' in html
        assert "1,2\xa0MB" in html

    def test_thousand_attachments_are_seen(self, settings):
        settings.USE_THOUSAND_SEPARATOR = True
        session = SessionStore()
        session["_session_attachments_key"] = "key"
        Attachment.objects.bulk_create(
            Attachment(session_id="key", bundle="foo", filename=str(number))
            for number in range(1000)
        )

        html = LetterForm(session=session, initial={"attachments": "foo"}).as_div()

        assert 'name="attachments-seen" value="1000"' in html

    def test_russian(self, client):
        with translation.override("ru"):
            page = get(client, "/narrow/").post(
                client,
                {},
                {"attachments": [ONE, TWO, ("3.txt", b"3"), ("a.exe", b"MZ")]},
            )

        assert page.errors == [
            "Обязательное поле.",
            "Файл «a.exe» не принят. Допускаются: .TXT, image/*.",
            "Допустимое число файлов: не более 2. Удалите лишние.",
        ]
        page.find("input", **{"aria-label": "Удалить 3.txt"})
        assert (
            "Количество файлов: до 2. Размер каждого: до 1,0\xa0КБ. "
            "Допускаются: .TXT, image/*."
        ) in page.text
        assert not {"Remove", "Add", "Size", "Allowed"} & {*page.text.split()}

    @pytest.mark.parametrize("language", ["he", "ar", "fa"])
    def test_names_and_sizes_are_isolated_right_to_left(self, client, language):
        page = get(client)
        upload(client, {"דוח (1).pdf": b"x"}, list_url(page))

        with translation.override(language):
            page = page.post(client)

        assert listed(page) == ["דוח (1).pdf"]
        assert sum(tag == "bdi" for tag, _attrs in page.tags) == 2


@pytest.mark.database
class TestTransactions:
    @pytest.mark.django_db(transaction=True)
    def test_files_survive_with_atomic_requests(self, client, monkeypatch, stored):
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)

        page = get(client).post(client, {}, {"attachments": [ONE, TWO]})
        page = page.post(client, {}, {"attachments": [("one.txt", b"new")]})

        assert listed(page) == ["one.txt", "two.txt"]
        assert len(stored()) == 2
        assert page.post(client, {"body": "x"}).text == "sent: ['one.txt', 'two.txt']"
        assert stored() == []

    @pytest.mark.django_db(transaction=True)
    def test_refused_file_spoils_no_transaction(self, client, settings, monkeypatch):
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
        settings.SESSION_ATTACHMENTS_MAX_BUNDLE_FILES = 1

        page = get(client).post(client, {}, {"attachments": [ONE, TWO]})

        assert len(page.errors) == 2
        assert listed(page) == ["one.txt"]


class TestCrispyForms:
    @pytest.fixture(autouse=True)
    def crispy(self, settings):
        packs = ["crispy_forms", "crispy_bootstrap5"]
        settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, *packs]
        settings.CRISPY_TEMPLATE_PACK = "bootstrap5"
        settings.CRISPY_ALLOWED_TEMPLATE_PACKS = "bootstrap5"

    @pytest.mark.parametrize("url", ["/crispy/", "/layout/"])
    def test_files_survive(self, client, url):
        page = get(client, url).post(client, {}, {"attachments": [ONE]})

        assert page.errors == ["This field is required."]
        assert listed(page) == ["one.txt"]
        assert page.post(client, {"body": "x"}).text == "sent: ['one.txt']"

    @pytest.mark.parametrize("url", ["/crispy/", "/layout/"])
    def test_bootstrap_shows_the_error(self, client, settings, url):
        settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 0

        page = get(client, url).post(client, {"body": "x"}, {"attachments": [ONE]})

        assert page.errors == ["The file “one.txt” is larger than 0\xa0bytes."]
        assert "form-control" in page.find("input", type="file")["class"]
        # Shown where it stands behind what has this class, in one parent.
        assert page.find("session-attachments")["class"] == "is-invalid"
        assert re.search(
            r'</session-attachments>\s*<div id="\w+_error" class="invalid-feedback">',
            page.html,
        )


def file(name, content):
    """Return what the browser takes for a file that was chosen."""
    return {"name": name, "mimeType": "text/plain", "buffer": content}


@pytest.mark.server
@pytest.mark.slow
@needs_chromium
@pytest.mark.django_db(transaction=True)
class TestBrowser:
    def use(self, work, **options):
        """Return what ``work`` returns for a new page of a browser."""

        async def use_browser():
            async with browser() as chromium:
                return await work(await chromium.new_page(**options))

        return asyncio.run(use_browser())

    def test_files_survive_without_javascript(self, live_server):
        async def work(page):
            await page.goto(f"{live_server.url}/button/")
            await page.set_input_files("[type=file]", [file(*ONE), file(*TWO)])
            await page.fill("textarea", " ")
            await page.click("button")
            names = await page.locator("session-attachments a").all_inner_texts()
            assert await page.inner_text(".errorlist") == "This field is required."
            await page.check("text=Remove >> nth=0")
            await page.fill("textarea", "Dear Sir")
            await page.click("button")
            return names, await page.inner_text("body")

        names, text = self.use(work, java_script_enabled=False)

        assert names == ["one.txt", "two.txt"]
        assert text == "sent: ['two.txt']"

    def test_files_survive_in_what_htmx_inserts(self, live_server):
        async def work(page):
            await page.goto(f"{live_server.url}/htmx/")
            await page.click("text=Write")
            await page.set_input_files("[type=file]", [file(*ONE), file(*TWO)])
            await page.fill("textarea", " ")
            await page.click("text=Send")
            await page.wait_for_selector(".errorlist")
            names = await page.locator("session-attachments a").all_inner_texts()
            await page.fill("textarea", "Dear Sir")
            await page.click("text=Send")
            await page.wait_for_selector("text=sent:")
            return names, await page.inner_text("#place"), page.url

        names, text, url = self.use(work)

        assert names == ["one.txt", "two.txt"]
        assert text == "sent: ['one.txt', 'two.txt']"
        assert url == f"{live_server.url}/htmx/"

    def test_nothing_is_inline(self, live_server):
        async def work(page):
            refused = []
            page.on("console", lambda message: refused.append(message.text))
            await page.goto(f"{live_server.url}/strict/")
            await page.set_input_files("[type=file]", [file(*ONE)])
            await page.fill("textarea", " ")
            await page.click("button")
            await page.wait_for_selector("session-attachments a")
            return refused

        assert self.use(work) == []

    def test_add_another_of_the_admin(self, live_server):
        User.objects.create_superuser("admin", password="admin")

        async def work(page):
            await page.goto(f"{live_server.url}/admin/login/?next={TestAdmin.URL}")
            await page.fill("#id_username", "admin")
            await page.fill("#id_password", "admin")
            await page.click("input[type=submit]")
            await page.click("text=Add another Enclosure")
            row = "#id_enclosures-1-attachments"
            await page.set_input_files(row, [file(*TWO)])
            await page.click("input[name=_save]")
            assert await page.inner_text("#id_attachments_error") == (
                "This field is required."
            )
            return await page.inner_text("#enclosures-1 session-attachments")

        assert "two.txt" in self.use(work)
