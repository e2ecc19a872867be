"""The same without CSRF protection, for plain curl on a developer's machine."""

from django.core.exceptions import ImproperlyConfigured

from .settings import *  # noqa: F403
from .settings import DEBUG, MIDDLEWARE

if not DEBUG:
    raise ImproperlyConfigured(
        "example.settings_curl has no CSRF protection and is for trying things out "
        "only: with DEBUG off use example.settings."
    )

MIDDLEWARE = [
    path for path in MIDDLEWARE if path != "django.middleware.csrf.CsrfViewMiddleware"
]
