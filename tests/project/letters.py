"""The URLs of the tests' project, and a letter that keeps its files.

Its pages let nothing inline run, and speak the visitor's language.
"""

from functools import partial

from django import forms
from django.contrib.staticfiles import finders
from django.forms import formset_factory
from django.http import FileResponse, HttpResponse
from django.shortcuts import render
from django.urls import path, set_urlconf
from django.views.decorators.cache import never_cache

from session_attachments.exceptions import AttachmentsGone
from session_attachments.forms import AttachmentsField, AttachmentsFormMixin
from tests import urls
from tests.project.models import Enclosure, Letter

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'"
)


class LetterForm(AttachmentsFormMixin, forms.Form):
    """A letter with files, and some text."""

    body = forms.CharField()
    attachments = AttachmentsField(required=False)


class NarrowForm(LetterForm):
    """Takes few files, which are small, and of some types."""

    attachments = AttachmentsField(
        max_files=3, max_size=1, accept=[".txt", "image/*"], help_text="Scans, please."
    )


LetterFormSet = formset_factory(LetterForm, extra=2)


def page(request, **context):
    """Answer with a page."""
    response = render(request, "letters.html", context)
    response["Content-Security-Policy"] = POLICY
    return response


def send(bundle):
    """Keep what is in ``bundle`` with a letter; return how many files there were."""
    with bundle.take() as attachments:
        letter = Letter.objects.create()
        for attachment in attachments:
            enclosure = Enclosure(letter=letter)
            attachment.keep(enclosure.file)
            enclosure.save()
    return len(attachments)


def write(request, form_class=LetterForm):
    """Write a letter; answer how many files were sent with it, or the form."""
    form = form_class(
        request.POST or None, request.FILES or None, session=request.session
    )
    if form.is_valid():
        try:
            count = send(form.cleaned_data["attachments"])
            return HttpResponse(f"Sent{request.POST.get('how', '')}: {count}")
        except AttachmentsGone as error:
            form.add_error("attachments", str(error))
    return page(request, form=form)


def write_many(request):
    """Write several letters; answer how many files were sent with each, or the form."""
    formset = LetterFormSet(
        request.POST or None,
        request.FILES or None,
        form_kwargs={"session": request.session},
    )
    if formset.is_valid():
        bundles = [f.cleaned_data["attachments"] for f in formset if f.has_changed()]
        return HttpResponse(f"Sent: {[send(bundle) for bundle in bundles]}")
    return page(request, form=formset)


def write_without_urls(request):
    """Do as ``write`` in a project that does not route the app's URLs."""
    set_urlconf("tests.urls_without_app")
    try:
        return write(request)
    finally:
        set_urlconf(None)


def static(request, path):
    """Serve a static file, also where django.contrib.staticfiles is not installed."""
    return FileResponse(open(finders.find(path), "rb"))


urlpatterns = [
    *urls.urlpatterns,
    path("write/", write),
    path("write/anew/", never_cache(write)),
    path("write/many/", write_many),
    path("write/narrow/", partial(write, form_class=NarrowForm)),
    path("write/without-urls/", write_without_urls),
    path("static/<path:path>", static),
]
