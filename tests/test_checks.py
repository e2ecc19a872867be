"""The system checks, by id; and the app where libmagic is missing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.checks import ERROR, WARNING, run_checks
from django.core.files.storage import FileSystemStorage
from django.core.management import CommandError, call_command

from tests.clients import needs_libmagic

ROOT = Path(__file__).resolve().parent.parent
SESSION = "django.contrib.sessions.middleware.SessionMiddleware"
COMMON = "django.middleware.common.CommonMiddleware"
SETTINGS = {
    "session_attachments.E002": ("SESSION_ATTACHMENTS_MAX_FILE_SIZE", "50"),
    "session_attachments.E003": ("SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE", -1),
    "session_attachments.E004": ("SESSION_ATTACHMENTS_MAX_BUNDLE_FILES", 1.5),
    "session_attachments.E005": ("SESSION_ATTACHMENTS_MAX_SESSION_SIZE", True),
    "session_attachments.E006": ("SESSION_ATTACHMENTS_VALIDATORS", "a.b"),
    "session_attachments.E007": ("SESSION_ATTACHMENTS_ACCEL", "X-Accel-Redirect"),
}


class OwnSessionMiddleware(SessionMiddleware):
    """A project's own."""


class OwnSignedCookies(SessionStore):
    """A project's own engine; its module is one."""


SessionStore = OwnSignedCookies


def function_middleware(get_response):
    return get_response


class Elsewhere(FileSystemStorage):
    """A project's subclass."""


def messages(deploy=False):
    """Return the app's messages, by id; TestLibmagic asks for the first warning."""
    found = {m.id: m for m in run_checks(include_deployment_checks=deploy)}
    found.pop("session_attachments.W001", None)
    return {id: m for id, m in found.items() if id.startswith("session_attachments.")}


@pytest.fixture(autouse=True)
def good(settings, tmp_path):
    """Give the project nothing that a check could warn of."""
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path
    settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = 100


@pytest.fixture
def media_url(settings):
    """Let the project serve MEDIA_ROOT."""
    settings.MEDIA_URL = "media/"


def alias(location, backend=FileSystemStorage):
    """Return what STORAGES needs for attachments in ``location``."""
    return {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "session_attachments": {
            "BACKEND": f"{backend.__module__}.{backend.__qualname__}",
            "OPTIONS": {"location": location},
        },
    }


class TestSilence:
    @pytest.mark.parametrize("deploy", [False, True])
    def test_all_is_well(self, deploy):
        assert messages(deploy) == {}

    def test_command_is_silent(self, capsys):
        call_command("check", "session_attachments")

        assert "no issues" in capsys.readouterr().out

    def test_what_is_for_deployment_waits_for_it(self, settings, media_url):
        settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = None
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"

        assert messages() == {}
        assert set(messages(deploy=True)) == {
            "session_attachments.W002",
            "session_attachments.W003",
            "session_attachments.W004",
        }


class TestMiddleware:
    @pytest.mark.parametrize(
        "middleware",
        [[], [COMMON], ["tests.test_checks.function_middleware", COMMON]],
        ids=["none", "another", "function"],
    )
    def test_missing_middleware_is_an_error(self, settings, middleware):
        settings.MIDDLEWARE = middleware

        message = messages()["session_attachments.E001"]

        assert message.level == ERROR
        assert "SessionMiddleware" in message.msg
        assert message.hint == f"Add '{SESSION}' to MIDDLEWARE."

    @pytest.mark.parametrize(
        "middleware",
        [SESSION, "tests.test_checks.OwnSessionMiddleware"],
        ids=["django's", "subclass"],
    )
    def test_middleware_is_accepted(self, settings, middleware):
        function = "tests.test_checks.function_middleware"
        settings.MIDDLEWARE = [COMMON, function, middleware]

        assert messages() == {}
        assert function_middleware(middleware) is middleware


class TestSettings:
    @pytest.mark.parametrize("check_id", SETTINGS)
    def test_bad_setting_is_an_error(self, settings, check_id):
        name, value = SETTINGS[check_id]
        setattr(settings, name, value)

        found = messages()

        assert list(found) == [check_id]
        assert found[check_id].level == ERROR
        assert found[check_id].msg.split()[0] == name
        assert repr(value) in found[check_id].msg
        assert found[check_id].hint == f"Change {name} in your settings."

    def test_bad_settings_are_all_named(self, settings):
        for name, value in SETTINGS.values():
            setattr(settings, name, value)

        # No W004: who cannot be read may be a quota.
        assert set(messages(deploy=True)) == set(SETTINGS)

    def test_path_of_a_validator_that_leads_nowhere_is_an_error(self, settings):
        settings.SESSION_ATTACHMENTS_VALIDATORS = ["tests.nowhere.refuse"]

        message = messages()["session_attachments.E006"]

        assert "tests.nowhere" in message.msg
        assert message.hint == "Change SESSION_ATTACHMENTS_VALIDATORS in your settings."

    def test_command_refuses_them(self, settings):
        settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = "50"

        with pytest.raises(CommandError, match=r"session_attachments\.E002"):
            call_command("check")


class TestSessions:
    @pytest.mark.parametrize(
        "engine",
        ["django.contrib.sessions.backends.signed_cookies", "tests.test_checks"],
        ids=["django's", "subclass"],
    )
    def test_signed_cookies_are_a_warning(self, settings, engine):
        settings.SESSION_ENGINE = engine

        message = messages(deploy=True)["session_attachments.W002"]

        assert message.level == WARNING
        assert "revoke" in message.msg
        assert message.hint.startswith("Set SESSION_ENGINE to")

    @pytest.mark.parametrize("engine", ["db", "cache", "cached_db", "file"])
    def test_other_engines_are_fine(self, settings, engine):
        settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"

        assert messages(deploy=True) == {}


class TestStorage:
    @pytest.mark.usefixtures("media_url")
    def test_default_storage_inside_media_is_a_warning(self):
        message = messages(deploy=True)["session_attachments.W003"]

        assert message.level == WARNING
        assert "MEDIA_ROOT" in message.msg
        assert_hint_is_a_private_location(message.hint)

    @pytest.mark.parametrize("url", ["", None])
    def test_media_that_is_not_served_is_fine(self, settings, url):
        settings.MEDIA_URL = url

        assert messages(deploy=True) == {}

    @pytest.mark.parametrize("url", ["/media/", "https://media.example.com/"])
    def test_media_may_be_served_elsewhere(self, settings, url):
        settings.MEDIA_URL = url

        assert set(messages(deploy=True)) == {"session_attachments.W003"}

    @pytest.mark.usefixtures("media_url")
    @pytest.mark.parametrize("backend", [FileSystemStorage, Elsewhere])
    @pytest.mark.parametrize("place", ["private", "media2", "media/../private", "."])
    def test_alias_outside_is_fine(self, settings, tmp_path, place, backend):
        settings.STORAGES = alias(tmp_path / place, backend)

        assert messages(deploy=True) == {}

    @pytest.mark.usefixtures("media_url")
    @pytest.mark.parametrize("backend", [FileSystemStorage, Elsewhere])
    @pytest.mark.parametrize("place", ["media", "media/a/b", "private/../media/a"])
    def test_alias_inside_is_a_warning(self, settings, tmp_path, place, backend):
        settings.STORAGES = alias(tmp_path / place, backend)

        assert set(messages(deploy=True)) == {"session_attachments.W003"}

    @pytest.mark.usefixtures("media_url")
    def test_link_into_media_is_a_warning(self, settings, media, tmp_path):
        media.mkdir()
        (tmp_path / "private").symlink_to(media)
        settings.STORAGES = alias(tmp_path / "private")

        assert set(messages(deploy=True)) == {"session_attachments.W003"}

    @pytest.mark.usefixtures("media_url")
    def test_link_out_of_media_is_fine(self, settings, media, tmp_path):
        # What is served below MEDIA_ROOT is another question: the link itself.
        media.mkdir()
        (tmp_path / "private").mkdir()
        (media / "link").symlink_to(tmp_path / "private")
        settings.STORAGES = alias(tmp_path / "private")

        assert messages(deploy=True) == {}

    @pytest.mark.usefixtures("media_url")
    def test_storage_elsewhere_is_fine(self, settings):
        backend = "django.core.files.storage.InMemoryStorage"
        settings.STORAGES = {"default": {"BACKEND": backend}}

        assert messages(deploy=True) == {}


def assert_hint_is_a_private_location(hint):
    start = "Let 'session_attachments' in STORAGES have an absolute path outside MEDIA_"
    assert hint.startswith(start)
    assert "no other database" in hint


class TestLocation:
    @pytest.fixture(autouse=True)
    def working_directory(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)

    @pytest.mark.parametrize("url", ["", "media/"])
    @pytest.mark.parametrize("root", ["", "media", Path("media/all")])
    def test_default_storage_in_the_working_directory_is_a_warning(
        self, settings, tmp_path, url, root
    ):
        settings.MEDIA_ROOT = root
        settings.MEDIA_URL = url

        message = messages(deploy=True)["session_attachments.W006"]

        assert message.level == WARNING
        assert "working directory" in message.msg
        assert f"here in {tmp_path / root}:" in message.msg
        assert_hint_is_a_private_location(message.hint)

    @pytest.mark.parametrize("location", [None, "", "private"])
    def test_alias_in_the_working_directory_is_a_warning(self, settings, location):
        settings.MEDIA_ROOT = ""
        settings.STORAGES = alias(location, Elsewhere)

        assert set(messages(deploy=True)) == {"session_attachments.W006"}

    def test_it_is_a_matter_of_deployment(self, settings):
        settings.MEDIA_ROOT = ""

        assert messages() == {}

    def test_alias_with_a_location_needs_no_media_root(self, settings, tmp_path):
        settings.MEDIA_ROOT = ""
        settings.STORAGES = alias(tmp_path)

        assert messages(deploy=True) == {}

    def test_storage_elsewhere_needs_no_media_root(self, settings):
        settings.MEDIA_ROOT = ""
        backend = "django.core.files.storage.InMemoryStorage"
        settings.STORAGES = {"default": {"BACKEND": backend}}

        assert messages(deploy=True) == {}


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux's /proc")
class TestTemporaryFolder:
    def test_other_file_system_is_a_warning(self, settings):
        settings.FILE_UPLOAD_TEMP_DIR = "/proc/self"

        message = messages(deploy=True)["session_attachments.W005"]

        assert message.level == WARNING
        assert "/proc/self" in message.msg
        assert str(settings.MEDIA_ROOT) in message.msg
        assert message.hint.startswith("Set FILE_UPLOAD_TEMP_DIR to a folder on ")

    def test_temporary_folder_of_the_system_counts(self, settings, monkeypatch):
        settings.FILE_UPLOAD_TEMP_DIR = None
        monkeypatch.setattr("tempfile.tempdir", "/proc/self")

        assert set(messages(deploy=True)) == {"session_attachments.W005"}

    def test_link_to_another_file_system_counts(self, settings, tmp_path):
        (tmp_path / "link").symlink_to("/proc/self")
        settings.STORAGES = alias(tmp_path / "link" / "attachments")

        assert set(messages(deploy=True)) == {"session_attachments.W005"}

    def test_folder_that_is_not_there_yet_is_fine(self, settings, tmp_path):
        settings.FILE_UPLOAD_TEMP_DIR = tmp_path / "a" / "b"

        assert messages(deploy=True) == {}

    def test_storage_elsewhere_is_fine(self, settings):
        settings.FILE_UPLOAD_TEMP_DIR = "/proc/self"
        backend = "django.core.files.storage.InMemoryStorage"
        settings.STORAGES = {"default": {"BACKEND": backend}}

        assert messages(deploy=True) == {}


class TestQuotas:
    def test_no_quota_is_a_warning(self, settings):
        settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = None

        message = messages(deploy=True)["session_attachments.W004"]

        assert message.level == WARNING
        for name in ("SESSION_SIZE", "BUNDLE_SIZE", "BUNDLE_FILES"):
            assert f"SESSION_ATTACHMENTS_MAX_{name}" in message.hint

    @pytest.mark.parametrize("name", ["SESSION_SIZE", "BUNDLE_SIZE", "BUNDLE_FILES"])
    def test_any_quota_is_fine(self, settings, name):
        settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = None
        setattr(settings, f"SESSION_ATTACHMENTS_MAX_{name}", 10)

        assert messages(deploy=True) == {}

    def test_limit_of_a_file_is_no_quota(self, settings):
        settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = None
        settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 1

        assert set(messages(deploy=True)) == {"session_attachments.W004"}


# A process of its own: libmagic is loaded once in a process.
PROJECT = """
from tests.settings import *

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
MEDIA_ROOT = "media"
"""
MAIN_JOB = """
import json

import django

django.setup()

from django.core.checks import run_checks
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.test import Client

PNG = b"\\x89PNG\\r\\n\\x1a\\n\\0\\0\\0\\rIHDR\\0\\0\\0\\1\\0\\0\\0\\1\\x08\\6\\0\\0\\0"
FILES = {
    "a.html": PNG,
    "a.pdf": b"%PDF-1.4\\n",
    "a.png": PNG,
    "a.txt": b"%PDF-1.4\\n",
    "a.unknown": PNG,
    "empty.docx": b"",
}
call_command("migrate", verbosity=0)
client = Client()
form = {name: SimpleUploadedFile(name, data) for name, data in FILES.items()}
answer = client.post("/attachments/foo/", form)
print(json.dumps({
    "checks": [
        [m.id, m.level, m.msg, m.hint]
        for m in run_checks()
        if m.id.startswith("session_attachments.")
    ],
    "status": answer.status_code,
    "listed": client.get("/attachments/foo/").json() == answer.json(),
    "types": {a["name"]: a["mimetype"] for a in answer.json()},
    "download": b"".join(client.get("/attachments/foo/a.pdf/")).decode(),
    "deleted": client.post("/attachments/foo/delete/").json(),
}))
"""
TYPES_BY_NAME = {
    "a.html": "text/html",
    "a.pdf": "application/pdf",
    "a.png": "image/png",
    "a.txt": "text/plain",
    "a.unknown": "application/octet-stream",
    "empty.docx": (
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    ),
}


@pytest.fixture
def main_job(tmp_path):
    """Return a function that does the main job in a process of its own."""
    (tmp_path / "alone.py").write_text(PROJECT)

    def run(**environment):
        paths = f"{tmp_path}{os.pathsep}{ROOT}"
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", MAIN_JOB],
            cwd=tmp_path,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "alone",
                "PYTHONPATH": paths,
                **environment,
            },
            stdout=subprocess.PIPE,
            check=True,
        )
        return json.loads(done.stdout)

    return run


class TestLibmagic:
    def test_app_works_without_the_c_library(self, main_job, tmp_path):
        # What python-magic does then.
        (tmp_path / "magic.py").write_text(
            'raise ImportError("failed to find libmagic. Check your installation")'
        )

        result = main_job()

        assert_main_job_done(result, "failed to find libmagic")
        assert result["types"] == TYPES_BY_NAME

    @needs_libmagic
    def test_app_works_with_an_empty_database(self, main_job, tmp_path):
        empty = tmp_path / "empty.magic"
        empty.touch()

        result = main_job(MAGIC=str(empty))

        assert_main_job_done(result, "no magic database")
        assert result["types"] == TYPES_BY_NAME

    def test_app_works_without_a_database(self, main_job, tmp_path):
        result = main_job(MAGIC=str(tmp_path / "nowhere"))

        assert_main_job_done(result, "")
        assert result["types"] == TYPES_BY_NAME

    @needs_libmagic
    def test_check_is_silent_with_all_of_it(self, main_job):
        result = main_job()

        assert result["checks"] == []
        assert result["types"]["a.txt"] == "application/pdf"


def assert_main_job_done(result, reason):
    ((check_id, level, sentence, hint),) = result["checks"]
    assert (check_id, level) == ("session_attachments.W001", WARNING)
    assert reason in sentence
    assert "libmagic" in sentence
    assert "apt-get install libmagic1" in hint
    assert result["status"] == 200
    assert result["listed"]
    assert result["download"] == "%PDF-1.4\n"
    assert result["deleted"] == [[True]] * len(TYPES_BY_NAME)
