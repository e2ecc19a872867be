"""System checks. Their ids are permanent."""

import os
import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import FileSystemStorage
from django.urls import get_script_prefix
from django.utils.module_loading import import_string

from .conf import conf
from .files.storage import attachment_storage

# One location belongs to one database.
PRIVATE_LOCATION = (
    "Let 'session_attachments' in STORAGES have an absolute path outside MEDIA_ROOT as "
    "its location, which no other database's attachments share: each project removes "
    "the files that its own database does not know."
)

# Each setting has an id of its own; ``conf`` reads it by the other name.
SETTINGS = (
    ("E002", "SESSION_ATTACHMENTS_MAX_FILE_SIZE", "max_file_size"),
    ("E003", "SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE", "max_bundle_size"),
    ("E004", "SESSION_ATTACHMENTS_MAX_BUNDLE_FILES", "max_bundle_files"),
    ("E005", "SESSION_ATTACHMENTS_MAX_SESSION_SIZE", "max_session_size"),
    ("E006", "SESSION_ATTACHMENTS_VALIDATORS", "validators"),
    ("E007", "SESSION_ATTACHMENTS_ACCEL", "accel"),
)


def check_middleware(**kwargs: Any) -> list[CheckMessage]:
    """E001: without SessionMiddleware, or a subclass, no request has a session."""
    # Not needed to start a project.
    from django.contrib.sessions.middleware import SessionMiddleware

    middleware = [import_string(path) for path in settings.MIDDLEWARE]
    if any(
        isinstance(m, type) and issubclass(m, SessionMiddleware) for m in middleware
    ):
        return []
    return [
        Error(
            "session_attachments needs sessions, and MIDDLEWARE has no "
            "SessionMiddleware.",
            hint="Add 'django.contrib.sessions.middleware.SessionMiddleware' to "
            "MIDDLEWARE.",
            id="session_attachments.E001",
        )
    ]


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """E002 to E007: the settings' types and ranges."""
    messages: list[CheckMessage] = []
    for number, setting, name in SETTINGS:
        try:
            getattr(conf, name)
        except ImproperlyConfigured as error:
            messages.append(
                Error(
                    str(error),
                    hint=f"Change {setting} in your settings.",
                    id=f"session_attachments.{number}",
                )
            )
    return messages


def check_libmagic(**kwargs: Any) -> list[CheckMessage]:
    """W001: without libmagic a type comes from the name alone."""
    from .files import content  # Not needed to start a project.

    fault = content.libmagic_fault()
    if fault is None:
        return []
    return [
        Warning(
            f"libmagic cannot be used ({fault}): the types of attachments come from "
            "their names alone.",
            hint="Install the C library: 'apt-get install libmagic1' on Debian and "
            "Ubuntu, 'brew install libmagic' on macOS; on Windows 'pacman -S "
            "mingw-w64-x86_64-file' in MSYS2, whose folder mingw64/bin goes into "
            "PATH. Or see the extra 'libmagic' in the README.",
            id="session_attachments.W001",
        )
    ]


def check_sessions(**kwargs: Any) -> list[CheckMessage]:
    """W002: a signed cookie cannot be revoked."""
    from django.contrib.sessions.backends.signed_cookies import SessionStore

    engine = import_string(f"{settings.SESSION_ENGINE}.SessionStore")
    if not issubclass(engine, SessionStore):
        return []
    return [
        Warning(
            "Sessions live in signed cookies, which Django cannot revoke: who kept an "
            "old cookie keeps its attachments after logout.",
            hint="Set SESSION_ENGINE to an engine that stores sessions on the server, "
            "such as 'django.contrib.sessions.backends.db'.",
            id="session_attachments.W002",
        )
    ]


def check_storage(**kwargs: Any) -> list[CheckMessage]:
    """W003: files below MEDIA_ROOT may be served to everyone."""
    storage = attachment_storage()
    media = str(settings.MEDIA_ROOT)
    if (
        not isinstance(storage, FileSystemStorage)
        or not media
        # Django puts the script's prefix before a MEDIA_URL, before an empty one, too.
        or settings.MEDIA_URL in {None, "", get_script_prefix()}
        or not Path(storage.location).resolve().is_relative_to(Path(media).resolve())
    ):
        return []
    return [
        Warning(
            "Attachments are private, but are stored inside MEDIA_ROOT, which is "
            "usually served at MEDIA_URL.",
            hint=PRIVATE_LOCATION,
            id="session_attachments.W003",
        )
    ]


def check_quotas(**kwargs: Any) -> list[CheckMessage]:
    """W004: without a quota one visitor can fill the disk."""
    try:
        if conf.has_quota:
            return []
    except ImproperlyConfigured:
        # check_settings() says what is wrong.
        return []
    return [
        Warning(
            "A session may store any number of attachments.",
            hint="Set SESSION_ATTACHMENTS_MAX_SESSION_SIZE. "
            "(SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE and "
            "SESSION_ATTACHMENTS_MAX_BUNDLE_FILES limit each bundle, of which a "
            "session may have any number.)",
            id="session_attachments.W004",
        )
    ]


def check_temporary_folder(**kwargs: Any) -> list[CheckMessage]:
    """W005: a large upload's temporary file is moved, or copied, into the storage."""
    storage = attachment_storage()
    if not isinstance(storage, FileSystemStorage):
        return []
    folder = settings.FILE_UPLOAD_TEMP_DIR or tempfile.gettempdir()
    if _device(folder) == _device(storage.location):
        return []
    return [
        Warning(
            f"Large uploads are written twice: temporary files are in {folder}, on "
            f"another file system than {storage.location}.",
            hint="Set FILE_UPLOAD_TEMP_DIR to a folder on the file system where the "
            "attachments are, so that a file is moved and not copied.",
            id="session_attachments.W005",
        )
    ]


def check_location(**kwargs: Any) -> list[CheckMessage]:
    """W006: a location that is not absolute is below the working directory."""
    storage = attachment_storage()
    if not isinstance(storage, FileSystemStorage) or os.path.isabs(
        storage.base_location
    ):
        return []
    return [
        Warning(
            "Attachments are stored in the working directory of whatever process "
            f"stores them, here in {storage.location}: neither STORAGES nor MEDIA_ROOT "
            "says where.",
            hint=PRIVATE_LOCATION,
            id="session_attachments.W006",
        )
    ]


def _device(folder: str | os.PathLike[str]) -> int:
    """Return the number of the file system where ``folder`` is, or will be."""
    path = Path(folder).resolve()
    return next(p for p in (path, *path.parents) if p.exists()).stat().st_dev
