"""Settings of the example project.

Two environment variables change them: EXAMPLE_VAR is the folder in which everything
is kept, EXAMPLE_DEBUG=0 turns DEBUG off.
"""

import os
import secrets
from pathlib import Path

import django
from django.conf import global_settings

BASE_DIR = Path(__file__).resolve().parent.parent

# Secret key, database and attachments: for nobody else on this machine.
VAR = Path(os.environ.get("EXAMPLE_VAR", BASE_DIR / "var")).resolve()
VAR.mkdir(mode=0o700, parents=True, exist_ok=True)


def read_secret_key(path):
    """Return the key that ``path`` holds; the first start makes one."""
    if not path.exists():
        # Replaced as a whole: another process that starts now reads no half of it.
        new = path.with_name(f"{path.name}.{os.getpid()}")
        new.touch(mode=0o600)
        new.write_text(secrets.token_urlsafe(64))
        new.replace(path)
    return path.read_text()


SECRET_KEY = read_secret_key(VAR / "secret_key")
DEBUG = os.environ.get("EXAMPLE_DEBUG", "1") != "0"
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "session_attachments",
    "example",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "example.urls"
WSGI_APPLICATION = "example.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": VAR / "db.sqlite3",
        # Uploads wait for each other instead of failing with "database is locked".
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
            "timeout": 20,
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

SESSION_ENGINE = "django.contrib.sessions.backends.db"

# Attachments are private: a folder that nothing serves, and no other site uses.
# What was sent is kept in another one.
STORAGES = global_settings.STORAGES | {
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": VAR / "kept"},
    },
    "session_attachments": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": VAR / "attachments"},
    },
}

SESSION_ATTACHMENTS_MAX_FILE_SIZE = 10
SESSION_ATTACHMENTS_MAX_SESSION_SIZE = 100

# E-mails are written into this folder; a site of yours sends them.
SILENCED_SYSTEM_CHECKS = ["mail.E001"]
if django.VERSION >= (6, 1):
    MAILERS = {
        "default": {
            "BACKEND": "django.core.mail.backends.filebased.EmailBackend",
            "OPTIONS": {"file_path": VAR / "mail"},
        }
    }
else:
    EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    EMAIL_FILE_PATH = VAR / "mail"
DEFAULT_FROM_EMAIL = "visitor@example.org"

STATIC_URL = "static/"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
