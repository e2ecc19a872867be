"""A process whose locale knows ASCII only, as some servers start theirs."""

import json
import os
import subprocess
import sys

import pytest

from tests.servers import ROOT

PROJECT = """
from tests.settings import *

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
INSTALLED_APPS.remove("tests.project")
MEDIA_ROOT = "media"
FILE_UPLOAD_HANDLERS = [
    "django.core.files.uploadhandler.TemporaryFileUploadHandler"
]
"""
MAIN_JOB = r"""
import json
import sys

import django

django.setup()

from urllib.parse import quote

from django.contrib.sessions.backends.db import SessionStore
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.test import Client

from session_attachments.bundles import Bundle
from session_attachments.models import Attachment

assert sys.getfilesystemencoding() == "ascii"
URL = "/attachments/\u0447\u0435\u0440\u043d\u043e\u0432\u0438\u043a/"
NAMES = json.loads(sys.argv[1])
call_command("migrate", verbosity=0)
client = Client()
form = {
    f"field{n}": SimpleUploadedFile(name, name.encode()) for n, name in enumerate(NAMES)
}
answer = client.post(quote(URL), form)
Bundle(SessionStore(client.cookies["sessionid"].value), "text").add(
    ContentFile("\u0421\u043b\u043e\u0432\u0430", "words.txt")
)
# As 0.2 has stored files.
Attachment.objects.create(
    session_id=client.cookies["sessionid"].value, bundle="old", filename="a",
    file="\u0444\u0430\u0439\u043b",
)
contents = {
    name: b"".join(client.get(quote(f"{URL}{name}/", "/"))).decode() for name in NAMES
}
result = {
    "status": answer.status_code,
    "names": [row["name"] for row in client.get(quote(URL)).json()],
    "contents": contents,
    "words": b"".join(client.get("/attachments/text/words.txt/")).decode(),
    "sizes": [row["size"] for row in client.get("/attachments/text/").json()],
    "gone": client.get("/attachments/old/a/").status_code,
    "deleted": client.delete(quote(URL)).json(),
}
print(json.dumps(result), flush=True)
call_command("remove_outdated_attachments", older_than=0, verbose=True)
"""
NAMES = [
    "файл.док",
    "файл.текст.док",
    "a.док",
    "док",
    "résumé.pdf",
    "a." + "語" * 100 + "." + "語" * 100,
]


@pytest.fixture
def in_process(tmp_path):
    """Return a function that does the main job in a process of its own."""
    (tmp_path / "alone.py").write_text(PROJECT)

    def run(**environment):
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", MAIN_JOB, json.dumps(NAMES)],
            cwd=tmp_path,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "alone",
                "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
                "LC_ALL": "C",
                "PYTHONCOERCECLOCALE": "0",
                "PYTHONUTF8": "0",
                **environment,
            },
            capture_output=True,
            text=True,
        )

    return run


@pytest.mark.fault(30)
def test_app_works(in_process):
    done = in_process()

    printed, *lines = done.stdout.splitlines() or [done.stderr]
    assert json.loads(printed) == {
        "status": 200,
        "names": sorted(NAMES),
        "contents": {name: name for name in NAMES},
        "words": "Слова",
        "sizes": [10],
        "gone": 404,
        "deleted": [[True]] * len(NAMES),
    }
    assert [line.partition(" (")[0] for line in lines[:2]] == [
        "delete words.txt",
        "delete a",
    ]
