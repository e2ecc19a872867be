"""Change a letter that has files: boxes for those that are kept, a field for new ones.

Both happen when the form is saved, or neither. The template is
templates/recipes/editing.html, the URL ``path("letters/<int:pk>/edit/", edit)``.
``Letter`` and ``Enclosure`` stand for models of yours, ``letters()`` for your way to
know whose letter it is.
"""

from functools import partial

from django import forms
from django.db import transaction
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache

from example.models import Enclosure, Letter
from example.views import letters
from session_attachments.exceptions import AttachmentError
from session_attachments.forms import AttachmentsField, AttachmentsFormMixin


class EditForm(AttachmentsFormMixin, forms.ModelForm):
    """A letter that is there; what is ticked in ``remove`` goes, attachments come."""

    remove = forms.ModelMultipleChoiceField(
        Enclosure.objects.none(), required=False, widget=forms.CheckboxSelectMultiple
    )
    attachments = AttachmentsField(required=False, label="Add")

    class Meta:
        model = Letter
        fields = ("to", "subject", "body")

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        kept = self.instance.enclosures.all()
        self.fields["remove"].queryset = kept
        if not kept:
            self.fields["remove"].widget = forms.MultipleHiddenInput()

    def save(self):
        """Save the letter and its files; a removed one is deleted after the commit."""
        with self.cleaned_data["attachments"].take() as attachments:
            letter = super().save()
            for enclosure in self.cleaned_data["remove"]:
                enclosure.delete()
                delete_file = partial(enclosure.file.delete, save=False)
                transaction.on_commit(delete_file, robust=True)
            for attachment in attachments:
                enclosure = Enclosure(letter=letter, name=attachment.filename)
                attachment.keep(enclosure.file)
                enclosure.save()
        return letter


@never_cache
def edit(request, pk):
    """Show the form, or change the letter; only the session that wrote it may."""
    letter = get_object_or_404(Letter, pk=pk, pk__in=letters(request))
    form = EditForm(
        request.POST or None,
        request.FILES or None,
        instance=letter,
        session=request.session,
    )
    if form.is_valid():
        try:
            form.save()
        except AttachmentError as error:
            form.add_error("attachments", str(error))
        else:
            return redirect(letter)
    return render(request, "recipes/editing.html", {"form": form})
