"""Settings of all projects, chosen by the environment: alike but for their apps."""

import os
from pathlib import Path

PROJECT = os.environ["BENCHMARK_PROJECT"]
BASE_DIR = Path(os.environ["BENCHMARK_FOLDER"])

SECRET_KEY = "not secret: benchmarks only"
ALLOWED_HOSTS = ["localhost"]
DEBUG = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "tests.benchmarks.urls"
MEDIA_ROOT = BASE_DIR / "media"
MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware"]
SQLITE = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": BASE_DIR / "database",
    "CONN_MAX_AGE": None,
    "OPTIONS": {
        "transaction_mode": "IMMEDIATE",
        "init_command": (
            "PRAGMA journal_mode=WAL;"
            f"PRAGMA synchronous={os.environ['BENCHMARK_SYNCHRONOUS']}"
        ),
        "timeout": 20,
    },
}
# See tests/settings.py; the user makes a database for each project.
POSTGRESQL = {
    "ENGINE": "django.db.backends.postgresql",
    "NAME": f"benchmark {BASE_DIR.name}",
    "HOST": os.environ.get("TEST_POSTGRES_HOST", "127.0.0.1"),
    "PORT": os.environ.get("TEST_POSTGRES_PORT", "5432"),
    "USER": os.environ.get("TEST_POSTGRES_USER", "session_attachments"),
    "PASSWORD": os.environ.get("TEST_POSTGRES_PASSWORD", "session_attachments"),
    "CONN_MAX_AGE": None,
}
DATABASES = {
    "default": {"sqlite": SQLITE, "postgresql": POSTGRESQL}[
        os.environ["BENCHMARK_DATABASE"]
    ]
}
LOGGING = {"version": 1, "root": {"level": "ERROR"}}

# What `startproject` installs.
USUAL = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]
INSTALLED_APPS = {
    "floor": ["django.contrib.sessions", "tests.benchmarks"],
    "app": ["django.contrib.sessions", "session_attachments"],
    "drf-filepond": [
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django_drf_filepond",
    ],
    "file-form": ["django.contrib.sessions", "django_file_form"],
    "private-storage": ["django.contrib.sessions", "private_storage"],
    "usual": USUAL,
    "usual with app": [*USUAL, "session_attachments"],
}[PROJECT]

SESSION_ATTACHMENTS_MAX_FILE_SIZE = None

DJANGO_DRF_FILEPOND_UPLOAD_TMP = str(MEDIA_ROOT)
DJANGO_DRF_FILEPOND_FILE_STORE_PATH = str(BASE_DIR / "store")

FILE_FORM_UPLOAD_DIR = "temporary"

PRIVATE_STORAGE_ROOT = MEDIA_ROOT
PRIVATE_STORAGE_AUTH_FUNCTION = "tests.benchmarks.settings.has_session"


def has_session(private_file):
    """Let whoever has a session download."""
    return bool(private_file.request.session.keys())
