"""The tests' project on a server of its own, without django.contrib.staticfiles."""

from tests import settings
from tests.servers import running


def letters(folder, **settings_):
    """Run a server with the pages that write letters, as ``running`` does."""
    left_out = "django.contrib.staticfiles"
    return running(
        "gunicorn",
        folder,
        INSTALLED_APPS=[app for app in settings.INSTALLED_APPS if app != left_out],
        MIDDLEWARE=[
            "tests.project.faults.Faults",
            *settings.MIDDLEWARE,
            "django.middleware.locale.LocaleMiddleware",
        ],
        ROOT_URLCONF="tests.project.letters",
        STATIC_URL="/static/",
        **settings_,
    )
