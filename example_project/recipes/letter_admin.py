"""An admin whose form takes attachments; register it in your admin.py as ever.

``LetterForm`` and ``Enclosure`` stand for a form and a model of yours.

The admin makes its forms without keywords, so the session is an attribute of the form's
class. Where the list is editable, its forms have no such field. (If files go in the
moment between validation and ``take()``, the answer is a 500, and nothing is saved.)

The formset of an inline does get keywords: hand it the session if the inline's form has
an AttachmentsField, and else nothing, for other forms do not know the keyword::

    def get_formset_kwargs(self, request, obj, inline, prefix):
        kwargs = super().get_formset_kwargs(request, obj, inline, prefix)
        if isinstance(inline, InlineWithAttachments):
            kwargs["form_kwargs"] = {"session": request.session}
        return kwargs

``save_formset()`` then saves, and does for each of ``formset.forms`` that has changed
and is not deleted what ``save_model()`` does here.
"""

from django.contrib import admin

from example.forms import LetterForm
from example.models import Enclosure


class LetterAdmin(admin.ModelAdmin):
    """Letters, with files."""

    form = LetterForm

    def get_form(self, request, obj=None, change=False, **kwargs):
        """Let the form know the session."""
        form = super().get_form(request, obj, change, **kwargs)
        return type(form.__name__, (form,), {"session": request.session})

    def save_model(self, request, obj, form, change):
        """Save the letter, and keep its files."""
        if "attachments" not in form.cleaned_data:
            super().save_model(request, obj, form, change)
            return
        with form.cleaned_data["attachments"].take() as attachments:
            super().save_model(request, obj, form, change)
            for attachment in attachments:
                enclosure = Enclosure(letter=obj, name=attachment.filename)
                attachment.keep(enclosure.file)
                enclosure.save()
