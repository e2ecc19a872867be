"""What the tests say to the app over HTTP, and what they read from its answers."""

from django.core.files.uploadedfile import SimpleUploadedFile

URL = "/attachments/foo/"


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
