"""A letter is written, sent and looked at."""

from django.http import FileResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from session_attachments.exceptions import AttachmentError

from .forms import LetterForm
from .models import Enclosure, Letter


@never_cache
def write(request):
    """Show the form, with the files that are there already, or send the letter."""
    form = LetterForm(
        request.POST or None, request.FILES or None, session=request.session
    )
    if form.is_valid():
        try:
            letter = send(form)
        except AttachmentError as error:
            form.add_error("attachments", str(error))
        else:
            request.session["letters"] = [*letters(request), letter.pk]
            return redirect(letter)
    return render(request, "write.html", {"form": form})


def send(form):
    """Keep the letter with its files, and send it."""
    with form.cleaned_data["attachments"].take() as attachments:
        letter = form.save()
        for attachment in attachments:
            enclosure = Enclosure(letter=letter, name=attachment.filename)
            attachment.keep(enclosure.file)
            enclosure.save()
    # Not inside the block, which locks SQLite.
    letter.send()
    return letter


def letters(request):
    """Return the primary keys of the letters that this session has sent."""
    return request.session.get("letters", [])


@never_cache
def show(request, pk):
    """Show a letter to the session that has sent it; POST sends it again."""
    letter = get_object_or_404(Letter, pk=pk, pk__in=letters(request))
    if request.method == "POST" and letter.sent is None:
        letter.send()
    return render(request, "letter.html", {"letter": letter})


@never_cache
def download(request, pk):
    """Send a file of such a letter, always as a download."""
    enclosure = get_object_or_404(Enclosure, pk=pk, letter__in=letters(request))
    return FileResponse(
        enclosure.file.open(), as_attachment=True, filename=enclosure.name
    )


@require_POST
def leave(request):
    """Forget the session, as a logout does."""
    request.session.flush()
    return redirect("write")
