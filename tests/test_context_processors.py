"""The context processor: the limit of a file's size in a project's template."""

import pytest
from django.template import engines


@pytest.mark.parametrize(("limit", "shown"), [(50, "50"), (1.5, "1.5"), (0, "0")])
def test_filesize_is_in_templates(rf, settings, limit, shown):
    settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = limit
    template = engines["django"].from_string("{{ SESSION_ATTACHMENTS_MAX_FILE_SIZE }}")

    text = template.render({}, rf.get("/"))

    assert text == shown


def test_filesize_has_a_default(rf):
    template = engines["django"].from_string("{{ SESSION_ATTACHMENTS_MAX_FILE_SIZE }}")

    text = template.render({}, rf.get("/"))

    assert text == "50"


def test_filesize_without_limit_is_none(rf, settings):
    settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = None
    template = engines["django"].from_string(
        "{% if SESSION_ATTACHMENTS_MAX_FILE_SIZE is None %}no limit{% endif %}"
    )

    text = template.render({}, rf.get("/"))

    assert text == "no limit"
