"""Context processor for templates that show the limit of a file's size."""

from typing import Any

from django.http import HttpRequest

from .conf import conf


def filesize(request: HttpRequest) -> dict[str, Any]:
    """Hand ``SESSION_ATTACHMENTS_MAX_FILE_SIZE`` to templates: MB, or None."""
    return {"SESSION_ATTACHMENTS_MAX_FILE_SIZE": conf.max_file_megabytes}
