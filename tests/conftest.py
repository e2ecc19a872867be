"""Fixtures that every test may use."""

import os
import sys
from datetime import UTC, datetime, timedelta

import pytest
from django.apps import apps

from session_attachments import outdated
from session_attachments.files import content
from session_attachments.signals import attachment_removed
from tests.engines import engine  # noqa: F401 - a fixture, too


@pytest.fixture(scope="session")
def live_server(django_db_setup, live_server):
    """Return pytest-django's server, whose threads have connections of their own.

    Before the test database is there, NAME is in the memory, and it would share one.
    """
    return live_server


@pytest.fixture(autouse=True)
def media(settings, tmp_path):
    """Give the test a folder of its own to store in; return it."""
    settings.MEDIA_ROOT = tmp_path / "media"
    return settings.MEDIA_ROOT


@pytest.fixture
def stored(media):
    """Return a function that lists what is stored: names relative to the storage."""

    def list_files():
        return sorted(
            path.relative_to(media).as_posix()
            for path in media.rglob("*")
            if path.is_file()
        )

    return list_files


@pytest.fixture
def put(media):
    """Return a function that puts a file into the storage, past the app."""

    def put_file(name, content=b"12345", age=timedelta(days=1000)):
        path = media / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        modified = (datetime.now(UTC) - age).timestamp()
        os.utime(path, (modified, modified))
        return name

    return put_file


@pytest.fixture
def folders(media):
    """Return a function that lists the folders below the app's own."""

    def list_folders():
        paths = (media / "session_attachments").rglob("*")
        return sorted(p.relative_to(media).as_posix() for p in paths if p.is_dir())

    return list_folders


@pytest.fixture
def at(monkeypatch):
    """Return a function that sets the clock by which files are old."""

    def set_clock(moment):
        class Clock(datetime):
            @classmethod
            def now(cls, tz):
                return moment.astimezone(tz)

        monkeypatch.setattr(outdated, "datetime", Clock)

    return set_clock


@pytest.fixture
def removed():
    """Return the attachments, by key and name, of which the project was told."""
    heard = []

    def remember(attachment, **kwargs):
        heard.append((attachment.pk, attachment.filename))

    attachment_removed.connect(remember)
    yield heard
    attachment_removed.disconnect(remember)


@pytest.fixture
def temporary(settings, tmp_path):
    """Give uploads a folder of their own to wait in; return it."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    settings.FILE_UPLOAD_TEMP_DIR = str(folder)
    settings.FILE_UPLOAD_HANDLERS = [
        "django.core.files.uploadhandler.TemporaryFileUploadHandler"
    ]
    return folder


@pytest.fixture
def alone(settings):
    """Let no model of the project's point at attachments."""
    settings.INSTALLED_APPS = [
        app for app in settings.INSTALLED_APPS if app != "tests.project"
    ]
    # Models remember what points at them.
    apps.clear_cache()


@pytest.fixture
def new_libmagic():
    """Let the test load libmagic anew, and the next one again."""
    loaded = (content._libmagic, content.libmagic_fault)
    for function in loaded:
        function.cache_clear()
    yield
    for function in loaded:
        function.cache_clear()


@pytest.fixture
def no_libmagic(monkeypatch, new_libmagic):
    """Take libmagic away: its import fails as where the C library is missing."""
    monkeypatch.setitem(sys.modules, "magic", None)
