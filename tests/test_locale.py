"""The message catalogues: complete, compiled, and used in answers."""

import gettext
from pathlib import Path

import pytest
from django.utils import translation

import session_attachments
from session_attachments.exceptions import TooManyFiles
from tests.clients import URL, problem

pytestmark = pytest.mark.usefixtures("english")

LOCALE = Path(session_attachments.__file__).parent / "locale"


@pytest.fixture
def english():
    """Undo what LocaleMiddleware activates for the thread."""
    with translation.override("en"):
        yield


def catalogue(language):
    """Return msgids and translations, as compiled."""
    with (LOCALE / language / "LC_MESSAGES/django.mo").open("rb") as file:
        return gettext.GNUTranslations(file)._catalog


def source_messages():
    """Return the msgids of the English source file, which has them all."""
    source = (LOCALE / "en/LC_MESSAGES/django.po").read_text()
    lines = [line for line in source.splitlines() if line.startswith("msgid ")]
    return {line.removeprefix('msgid "').removesuffix('"') for line in lines} - {""}


def test_russian_has_every_message():
    russian = {
        message if isinstance(message, str) else message[0]
        for message in catalogue("ru")
    }

    assert source_messages() <= russian


def test_every_error_has_a_sentence_in_the_source_file():
    details = {str(error.detail) for error in all_errors()}
    titles = {str(error.title) for error in all_errors()}

    assert details | titles <= source_messages()
    assert len(details) == len(titles) == len(all_errors())


def all_errors():
    from session_attachments.exceptions import AttachmentError

    return AttachmentError.__subclasses__()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("language", "detail"),
    [
        ("en", "The form contains no file."),
        ("ru", "В форме нет файла."),
        ("ja", "The form contains no file."),
    ],
)
def test_detail_speaks_the_visitors_language(client, settings, language, detail):
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE,
        "django.middleware.locale.LocaleMiddleware",
    ]

    response = client.post(URL, {}, headers={"Accept-Language": language})

    assert problem(response) == (400, "no_file")
    assert response.json()["detail"] == detail


def test_limit_is_part_of_the_sentence():
    assert str(TooManyFiles(limit=7)) == "No more than 7 files are allowed."
