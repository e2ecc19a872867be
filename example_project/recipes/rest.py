"""An API by Django REST framework, for pages that upload first and send then.

A page uploads, lists and removes at the app's own URLs; in the end it posts the letter
with the bundle's id, and how many files it has shown. It needs ``pip install
djangorestframework``, in your settings "rest_framework" in INSTALLED_APPS and

    REST_FRAMEWORK = {"EXCEPTION_HANDLER": "yoursite.rest.answer_errors"}

and in your URLs

    path("letters/", CreateLetter.as_view())

It is for browsers, whose session the attachments belong to: a client that comes with a
token of its own, and without the session's cookie, has no attachments. ``Letter`` and
``Enclosure`` of ``example.models`` stand for models of yours. The letter is only saved:
send it after the block, as example/views.py does.
"""

from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_protect
from rest_framework.authentication import SessionAuthentication
from rest_framework.generics import CreateAPIView
from rest_framework.serializers import CharField, IntegerField, ModelSerializer
from rest_framework.views import exception_handler, set_rollback

from example.models import Enclosure, Letter
from session_attachments.bundles import Bundle
from session_attachments.exceptions import AttachmentError
from session_attachments.web.responses import problem


def answer_errors(error, context):
    """Answer what the app refuses as its own URLs do, the rest as ever."""
    if isinstance(error, AttachmentError):
        set_rollback()
        return problem(error)
    return exception_handler(error, context)


class LetterSerializer(ModelSerializer):
    """A letter with the files of ``bundle``, of which the page has shown ``seen``."""

    bundle = CharField(write_only=True, trim_whitespace=False)
    seen = IntegerField(write_only=True, min_value=0)

    class Meta:
        model = Letter
        fields = ("id", "to", "subject", "body", "bundle", "seen")

    def create(self, validated_data):
        """Keep the letter with its files; raise AttachmentsGone if some are missing."""
        session = self.context["request"].session
        bundle = Bundle(session, validated_data.pop("bundle"))
        with bundle.take(seen=validated_data.pop("seen")) as attachments:
            letter = super().create(validated_data)
            for attachment in attachments:
                enclosure = Enclosure(letter=letter, name=attachment.filename)
                attachment.keep(enclosure.file)
                enclosure.save()
        return letter


# SessionAuthentication asks for the token only if somebody is logged in.
@method_decorator(csrf_protect, name="dispatch")
class CreateLetter(CreateAPIView):
    """Takes a letter as JSON; the CSRF token comes in the header X-CSRFToken."""

    authentication_classes = [SessionAuthentication]
    serializer_class = LetterSerializer
