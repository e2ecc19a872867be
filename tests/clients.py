"""What the tests say to the app over HTTP, and what they read from its answers."""

from base64 import b64encode
from importlib.util import find_spec
from io import BytesIO
from urllib.parse import quote

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from session_attachments.files.content import libmagic_fault
from tests.servers import NGINX

# For tests of types that only the content tells.
needs_libmagic = pytest.mark.skipif(bool(libmagic_fault()), reason="needs libmagic")

# For tests that start one of these.
NEEDS = {
    program: pytest.mark.skipif(find_spec(program) is None, reason=f"needs {program}")
    for program in ("gunicorn", "uvicorn")
}
needs_nginx = pytest.mark.skipif(not NGINX, reason="needs nginx")

URL = "/attachments/foo/"
MULTIPART = "multipart/form-data; boundary=limit"
PIECE = "application/offset+octet-stream"


def upload(client, files, url=URL, **extra):
    """POST ``files``, a dict of names and contents, each in a field of its own."""
    form = {
        f"field{number}": SimpleUploadedFile(name, content)
        for number, (name, content) in enumerate(files.items())
    }
    return client.post(url, form, **extra)


def names(response):
    """Return the names in a list, in its order."""
    assert response.status_code == 200, response.content
    return [attachment["name"] for attachment in response.json()]


def content(response):
    """Return the body of a download."""
    assert response.status_code in {200, 206}, response.content
    return b"".join(response)


def problem(response):
    """Return the status and code of an error."""
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["status"] == response.status_code
    return response.status_code, response.json()["code"]


def part(content=b"spam\n", name="spam.txt", field="file", headers=""):
    """Return a part of a form; with ``name=None`` a plain field."""
    filename = "" if name is None else f'; filename="{name}"'
    disposition = f'Content-Disposition: form-data; name="{field}"{filename}\r\n'
    return f"--limit\r\n{disposition}{headers}\r\n".encode() + content + b"\r\n"


def form(*parts, end=b"--limit--\r\n"):
    """Return the body of a form."""
    return b"".join(parts) + end


class Meanwhile(BytesIO):
    """A body; ``event()`` happens when it has come, before it is handed on."""

    def __init__(self, body, event):
        super().__init__(body)
        self.event = event

    def read(self, size=-1):
        self.event()
        return super().read(size)


def send(
    client, body, content_type=MULTIPART, length=None, url=URL, method="POST", **extra
):
    """Send ``body`` as it is, announced as ``length`` bytes long."""
    extra.setdefault("CONTENT_LENGTH", str(len(body) if length is None else length))
    extra.setdefault("wsgi.input", BytesIO(body))
    return client.generic(method, url, CONTENT_TYPE=content_type, **extra)


def put(client, body, url=f"{URL}spam.txt", *, content_type="text/plain", **extra):
    """PUT ``body``, which is a file."""
    return send(client, body, content_type, url=url, method="PUT", **extra)


def begin(client, size, name="spam.txt", body=b"", url=URL, **extra):
    """Begin an upload that resumes, and send ``body`` with that."""
    headers = {
        "HTTP_TUS_RESUMABLE": "1.0.0",
        "HTTP_UPLOAD_LENGTH": str(size),
        "HTTP_UPLOAD_METADATA": f"filename {b64encode(name.encode()).decode()}",
        **extra,
    }
    return send(client, body, PIECE if body else "", url=url, **headers)


def begun(client, size, *pieces, **options):
    """Begin an upload that resumes, send ``pieces`` of it, and return its URL."""
    url = begin(client, size, **options).headers["Location"]
    offset = 0
    for piece in pieces:
        assert resume(client, url, offset, piece).status_code == 204
        offset += len(piece)
    return url


def resume(client, url, offset=0, body=b"", method="PATCH", **extra):
    """Continue an upload at ``offset``, or send another method to it."""
    headers = {
        "HTTP_TUS_RESUMABLE": "1.0.0",
        "HTTP_UPLOAD_OFFSET": str(offset),
        "content_type": PIECE,
        **extra,
    }
    return send(client, body, url=url, method=method, **headers)


def offset(client, url):
    """Return how far an upload is; None if there is none."""
    response = resume(client, url, method="HEAD")
    if response.status_code == 404:
        return None
    assert response.status_code == 200
    return int(response.headers["Upload-Offset"])


def shelf(client, url=URL):
    """Return what the bundle holds: names and contents."""
    return {
        name: content(client.get(f"{url}{quote(name, safe='')}/"))
        for name in names(client.get(url))
    }
