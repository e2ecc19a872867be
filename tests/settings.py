"""Settings of the tests; TEST_DATABASE chooses the database."""

import os
import tempfile
from pathlib import Path

env = os.environ.get

# How often loops are gone through: `tox -e soak` goes on for longer.
LOOPS = int(env("TEST_LOOPS", "1"))

TEMPORARY = Path(tempfile.gettempdir())

SECRET_KEY = "not secret: tests only"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TIME_ZONE = "America/Chicago"
ROOT_URLCONF = "tests.urls"
# What a command says of it is not said everywhere.
SILENCED_SYSTEM_CHECKS = ["session_attachments.W001"]
# Each test gets a MEDIA_ROOT of its own: see conftest.py.
MEDIA_ROOT = TEMPORARY / "no-test-writes-here"
MEDIA_URL = ""
STATIC_URL = "static/"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "session_attachments",
    "tests.project",
]

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "session_attachments.context_processors.filesize",
            ]
        },
    }
]

DATABASES = {
    "sqlite": {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": ":memory:",
            # A file, which threads and server processes can share.
            "TEST": {"NAME": TEMPORARY / f"session_attachments.{os.getpid()}"},
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF",
                "timeout": 20,
            },
        }
    },
    "postgresql": {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "session_attachments",
            "HOST": env("TEST_POSTGRES_HOST", "127.0.0.1"),
            "PORT": env("TEST_POSTGRES_PORT", "5432"),
            "USER": env("TEST_POSTGRES_USER", "session_attachments"),
            "PASSWORD": env("TEST_POSTGRES_PASSWORD", "session_attachments"),
        }
    },
    "mariadb": {
        "default": {
            "ENGINE": "django.db.backends.mysql",
            "NAME": "session_attachments",
            "HOST": env("TEST_MARIADB_HOST", "127.0.0.1"),
            "PORT": env("TEST_MARIADB_PORT", "3306"),
            "USER": env("TEST_MARIADB_USER", "session_attachments"),
            "PASSWORD": env("TEST_MARIADB_PASSWORD", "session_attachments"),
        }
    },
}[env("TEST_DATABASE", "sqlite")]

if env("TEST_DATABASE") == "mariadb":  # pragma: no cover - measured on SQLite
    import pymysql

    pymysql.install_as_MySQLdb()

# Django 6.1 asks for it.
MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
