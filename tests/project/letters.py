"""The URLs of the tests' project, and a letter that keeps its files."""

from django import forms
from django.http import HttpResponse
from django.urls import path

from session_attachments.exceptions import AttachmentsGone
from session_attachments.forms import AttachmentsField, AttachmentsFormMixin
from tests import urls
from tests.project.models import Enclosure, Letter


class LetterForm(AttachmentsFormMixin, forms.Form):
    """A letter with files, and some text."""

    body = forms.CharField()
    attachments = AttachmentsField(required=False)


def write(request):
    """Write a letter; answer how many files were sent with it, or the form."""
    form = LetterForm(
        request.POST or None, request.FILES or None, session=request.session
    )
    if form.is_valid():
        try:
            with form.cleaned_data["attachments"].take() as attachments:
                letter = Letter.objects.create()
                for attachment in attachments:
                    enclosure = Enclosure(letter=letter)
                    attachment.keep(enclosure.file)
                    enclosure.save()
            return HttpResponse(f"Sent: {len(attachments)}")
        except AttachmentsGone as error:
            form.add_error("attachments", str(error))
    return HttpResponse(form.as_div())


urlpatterns = [*urls.urlpatterns, path("write/", write)]
