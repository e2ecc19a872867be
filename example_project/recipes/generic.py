"""The letter in a generic view, at ``path("write/", WriteLetter.as_view())``.

``LetterForm`` and ``send()`` stand for yours: a form with attachments, and what saves
it and keeps its files. So ``form_valid()`` here must not save once more. ``letters()``
stands for your way to know whose letter it is.
"""

from django.shortcuts import redirect
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.generic import CreateView

from example.forms import LetterForm
from example.views import letters, send
from session_attachments.exceptions import AttachmentError


@method_decorator(never_cache, name="dispatch")
class WriteLetter(CreateView):
    """Show the form, with the files that are there already, or send the letter."""

    form_class = LetterForm
    template_name = "write.html"

    def get_form_kwargs(self):
        """Let the form know the session."""
        return super().get_form_kwargs() | {"session": self.request.session}

    def form_valid(self, form):
        """Send the letter, or show why its attachments cannot be taken."""
        try:
            self.object = send(form)
        except AttachmentError as error:
            form.add_error("attachments", str(error))
            return self.form_invalid(form)
        sent = [*letters(self.request), self.object.pk]
        self.request.session["letters"] = sent
        return redirect(self.get_success_url())
