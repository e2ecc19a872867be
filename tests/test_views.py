"""The main job, over HTTP: upload, list, download, delete, delete the bundle."""

import pytest

from tests.clients import URL, content, names, upload

pytestmark = pytest.mark.django_db(transaction=True)


def test_upload_lists_what_this_request_stored(client, stored):
    upload(client, {"old.txt": b"old"})

    response = upload(client, {"spam.txt": b"spam\n", "egg.txt": b"egg\n"})

    assert names(response) == ["egg.txt", "spam.txt"]
    assert len(stored()) == 3


def test_list_is_json_as_in_02(client):
    upload(client, {"spam.txt": b"spam\n"})

    response = client.get(URL)

    assert response.headers["Content-Type"] == "application/json"
    created = response.json()[0]["created"]
    assert response.content.decode() == (
        '[{"mimetype": "text/plain", "size": 5, "name": "spam.txt", '
        f'"created": "{created}"}}]\r\n'
    )


def test_download_sends_the_content(client):
    upload(client, {"spam.txt": b"spam\n"})

    assert content(client.get(f"{URL}spam.txt/")) == b"spam\n"


def test_delete_removes_row_and_file(client, stored):
    upload(client, {"spam.txt": b"spam\n", "egg.txt": b"egg\n"})

    response = client.post(f"{URL}spam.txt/delete/")

    assert response.content == b"[true]\r\n"
    assert names(client.get(URL)) == ["egg.txt"]
    assert len(stored()) == 1
    assert client.post(f"{URL}spam.txt/delete/").content == b"[false]\r\n"


def test_delete_bundle_answers_once_an_attachment(client, stored):
    upload(client, {"spam.txt": b"spam\n", "egg.txt": b"egg\n"})

    assert client.post(f"{URL}delete/").content == b"[[true], [true]]\r\n"
    assert client.post(f"{URL}delete/").content == b"[]\r\n"
    assert stored() == []
