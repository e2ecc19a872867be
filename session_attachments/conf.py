"""The app's settings: typed, with defaults, read at each use.

Nothing is cached, so that ``override_settings`` works. A value of a wrong type or out
of range raises ImproperlyConfigured with a sentence that names the setting; the
system checks report the same sentences.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files import File
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.module_loading import import_string

MEGABYTE = 1024 * 1024

# In bytes, what an integer of a database holds.
MAX_MEGABYTES = 2**63 // MEGABYTE

Validator = Callable[["File[Any]"], object]


class Conf:
    """Typed properties over ``django.conf.settings``."""

    @property
    def max_file_size(self) -> int | None:
        """Bytes that one file may have; None: no limit."""
        return _bytes("SESSION_ATTACHMENTS_MAX_FILE_SIZE", 50)

    @property
    def max_file_megabytes(self) -> float | None:
        """The same as the project wrote it, in MB."""
        return _megabytes("SESSION_ATTACHMENTS_MAX_FILE_SIZE", 50)

    @property
    def max_bundle_size(self) -> int | None:
        """Bytes that one bundle may have; None: no limit."""
        return _bytes("SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE", None)

    @property
    def max_session_size(self) -> int | None:
        """Bytes that one session may have; None: no limit."""
        return _bytes("SESSION_ATTACHMENTS_MAX_SESSION_SIZE", None)

    @property
    def max_bundle_files(self) -> int | None:
        """Attachments that one bundle may have; None: no limit."""
        name = "SESSION_ATTACHMENTS_MAX_BUNDLE_FILES"
        return count(name, getattr(settings, name, None))

    @property
    def has_quota(self) -> bool:
        """Whether a bundle or a session has any limit."""
        return not (
            self.max_bundle_size is None
            and self.max_bundle_files is None
            and self.max_session_size is None
        )

    @property
    def validators(self) -> list[Validator]:
        """The project's validators, imported."""
        name = "SESSION_ATTACHMENTS_VALIDATORS"
        paths = getattr(settings, name, [])
        if not isinstance(paths, list | tuple):
            raise ImproperlyConfigured(
                f"{name} must be a list of dotted paths, not {paths!r}."
            )
        return [_callable(name, path) for path in paths]

    @property
    def accel(self) -> tuple[str, str] | None:
        """Header and prefix with which the web server sends the file, or None."""
        name = "SESSION_ATTACHMENTS_ACCEL"
        value = getattr(settings, name, None)
        if value is None:
            return None
        match value:
            case [str(header), str(prefix)] if (
                header.replace("-", "").isalnum()
                and (header + prefix).isascii()
                and prefix.isprintable()
            ):
                return header, prefix
        raise ImproperlyConfigured(
            f"{name} must be None or a pair of a header's name and a prefix, such as "
            f'("X-Accel-Redirect", "/protected/"), not {value!r}.'
        )

    @property
    def csrf_middleware(self) -> type[CsrfViewMiddleware] | None:
        """The project's CsrfViewMiddleware, or its subclass of it, or None."""
        for path in settings.MIDDLEWARE:
            middleware = import_string(path)
            if isinstance(middleware, type) and issubclass(
                middleware, CsrfViewMiddleware
            ):
                return middleware
        return None

    @property
    def max_number_of_fields(self) -> int | None:
        """Django's own limit of fields in one form; None: no limit."""
        return settings.DATA_UPLOAD_MAX_NUMBER_FIELDS

    @property
    def max_number_of_files(self) -> int | None:
        """Django's own limit of files in one form; None: no limit."""
        return settings.DATA_UPLOAD_MAX_NUMBER_FILES

    @property
    def max_memory_size(self) -> int:
        """Bytes of an upload that waits in the memory; Django's own setting."""
        return settings.FILE_UPLOAD_MAX_MEMORY_SIZE

    @property
    def max_form_size(self) -> int | None:
        """Django's own limit of a form without its files in bytes; None: no limit."""
        return settings.DATA_UPLOAD_MAX_MEMORY_SIZE


def _bytes(name: str, default: float | None) -> int | None:
    """Return a setting in MB (1024 x 1024 bytes, fractions allowed) in bytes."""
    value = _megabytes(name, default)
    return None if value is None else int(value * MEGABYTE)


def _megabytes(name: str, default: float | None) -> float | None:
    return megabytes(name, getattr(settings, name, default))


def megabytes(name: str, value: Any) -> float | None:
    """Return ``value`` if it can be a limit in MB, else raise ImproperlyConfigured."""
    if value is not None and (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 <= value < MAX_MEGABYTES
    ):
        raise ImproperlyConfigured(
            f"{name} must be None or a number of MB, 0 or more, not {value!r}."
        )
    return value


def count(name: str, value: Any) -> int | None:
    """Return ``value`` if it can be a limit of files, else raise the same."""
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int) or value < 0
    ):
        raise ImproperlyConfigured(
            f"{name} must be None or a whole number, 0 or more, not {value!r}."
        )
    return value


def _callable(name: str, path: object) -> Validator:
    try:
        validator: Any = import_string(path) if isinstance(path, str) else None
    except (ImportError, TypeError, ValueError) as error:
        # Not only ImportError: ".validators.scan" is a relative path.
        raise ImproperlyConfigured(f"{name}: {error}.") from error
    if not callable(validator):
        raise ImproperlyConfigured(
            f"{name} must hold dotted paths of callables, not {path!r}."
        )
    return cast(Validator, validator)


conf = Conf()
