"""Each URL and method."""

import unicodedata
from urllib.parse import quote

import pytest
from django.urls import reverse

from tests.clients import (
    URL,
    content,
    names,
    problem,
    shelf,
    upload,
)

FILES = {"delete": b"a file", "spam.txt": b"spam\n"}
ATTACHMENT = {"bundle_id": "foo", "file_name": "spam.txt"}


class TestNames:
    @pytest.mark.parametrize(
        ("name", "kwargs", "url"),
        [
            ("bundle-attachments", {"bundle_id": "foo"}, URL),
            ("delete-bundle-attachments", {"bundle_id": "foo"}, f"{URL}delete/"),
            ("get-filename-attachment", ATTACHMENT, f"{URL}spam.txt/"),
            ("delete-filename-attachment", ATTACHMENT, f"{URL}spam.txt/delete/"),
        ],
    )
    def test_names_are_those_of_02(self, name, kwargs, url):
        assert reverse(name, kwargs=kwargs) == url

    def test_names_of_files_are_quoted(self):
        kwargs = {"bundle_id": "отчёт", "file_name": "50% of?#.txt"}

        url = reverse("get-filename-attachment", kwargs=kwargs)

        assert url == (
            "/attachments/%D0%BE%D1%82%D1%87%D1%91%D1%82/50%25%20of%3F%23.txt/"
        )


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
class TestDeletion:
    def test_delete_on_the_list_deletes_the_bundle(self, client, stored):
        upload(client, FILES)

        assert client.delete(URL).content == b"[[true], [true]]\r\n"
        assert stored() == []
        assert client.delete(URL).content == b"[]\r\n"

    def test_delete_on_a_file_deletes_it(self, client):
        upload(client, FILES)

        assert client.delete(f"{URL}spam.txt/").content == b"[true]\r\n"
        assert shelf(client) == {"delete": b"a file"}
        assert client.delete(f"{URL}spam.txt/").content == b"[false]\r\n"

    def test_post_deletes_a_file(self, client):
        upload(client, FILES)

        assert client.post(f"{URL}spam.txt/delete/").content == b"[true]\r\n"
        assert shelf(client) == {"delete": b"a file"}

    def test_post_to_delete_deletes_the_bundle(self, client, stored):
        upload(client, FILES)

        assert client.post(f"{URL}delete/").content == b"[[true], [true]]\r\n"
        assert stored() == []


@pytest.mark.database
@pytest.mark.fault(12)
@pytest.mark.django_db
class TestFileCalledDelete:
    def test_get_downloads_it(self, client):
        upload(client, FILES)

        assert content(client.get(f"{URL}delete/")) == b"a file"

    def test_get_finds_none(self, client):
        upload(client, {"spam.txt": b"spam\n"})

        assert problem(client.get(f"{URL}delete/")) == (404, "not_found")

    def test_delete_deletes_it_alone(self, client):
        upload(client, FILES)

        assert client.delete(f"{URL}delete/").content == b"[true]\r\n"
        assert shelf(client) == {"spam.txt": b"spam\n"}
        assert client.delete(f"{URL}delete/").content == b"[false]\r\n"

    def test_post_deletes_it_alone(self, client):
        upload(client, FILES)

        assert client.post(f"{URL}delete/delete/").content == b"[true]\r\n"
        assert shelf(client) == {"spam.txt": b"spam\n"}

    def test_bundle_may_be_called_so_too(self, client):
        url = "/attachments/delete/"
        upload(client, FILES, url)
        upload(client, FILES)

        assert shelf(client, url) == FILES
        assert client.post(f"{url}delete/").content == b"[[true], [true]]\r\n"
        assert shelf(client, url) == {}
        assert shelf(client) == FILES


BUNDLES = {
    "one character": "b",
    "256 characters": "b" * 256,
    "256 characters in NFC": "e\u0301" * 256,
    "not in ASCII": "отчёт за ноябрь 😀",
    "dots": "...",
    "punctuation": "a%b?c#d;e&f=g'h\"i\\j",
    "trailing space": "foo ",
    "format character": "a\u200db\u00adc",
}
BAD_BUNDLES = {
    "257 characters": "b" * 257,
    "257 characters in NFC": "e\u0301" * 257,
    "line break": "foo\nbar",
    "line break at the end": "foo\n",
    "escape": "\x1b[31mfoo",
    "NUL": "foo\0",
    "delete": "foo\x7f",
    "next line": "foo\x85",
    "folder": ".",
    "folder above": "..",
}


def bundle_url(bundle_id):
    return f"/attachments/{quote(bundle_id, safe='')}/"


@pytest.mark.database
@pytest.mark.django_db
class TestBundleId:
    @pytest.mark.fault(13)
    @pytest.mark.parametrize("bundle_id", BUNDLES.values(), ids=BUNDLES)
    def test_any_text_names_a_bundle(self, client, bundle_id):
        url = bundle_url(bundle_id)

        assert names(upload(client, FILES, url)) == ["delete", "spam.txt"]

        assert shelf(client, url) == FILES
        assert shelf(client) == {}
        assert client.post(f"{url}spam.txt/delete/").content == b"[true]\r\n"
        assert client.post(f"{url}delete/").content == b"[[true]]\r\n"

    @pytest.mark.parametrize("form", ["NFC", "NFD"])
    def test_bundle_is_the_same_in_every_normal_form(self, client, form):
        upload(client, FILES, bundle_url(unicodedata.normalize("NFD", "Résumé")))

        url = bundle_url(unicodedata.normalize(form, "Résumé"))

        assert shelf(client, url) == FILES
        assert shelf(client, bundle_url("Resume")) == {}

    @pytest.mark.parametrize("bundle_id", BAD_BUNDLES.values(), ids=BAD_BUNDLES)
    def test_upload_to_a_bad_bundle_is_refused(
        self, client, stored, temporary, bundle_id
    ):
        upload(client, FILES)
        before = stored()

        response = upload(client, FILES, bundle_url(bundle_id))

        assert problem(response) == (400, "bad_bundle")
        assert stored() == before
        assert list(temporary.iterdir()) == []
        assert shelf(client) == FILES

    @pytest.mark.parametrize("bundle_id", BAD_BUNDLES.values(), ids=BAD_BUNDLES)
    def test_bad_bundle_is_elsewhere_one_that_does_not_exist(
        self, client, stored, bundle_id
    ):
        upload(client, FILES)
        before = stored()
        url = bundle_url(bundle_id)

        assert client.get(url).content == b"[]\r\n"
        assert problem(client.get(f"{url}spam.txt/")) == (404, "not_found")
        assert problem(client.get(f"{url}delete/")) == (404, "not_found")
        assert client.delete(f"{url}spam.txt/").content == b"[false]\r\n"
        assert client.post(f"{url}spam.txt/delete/").content == b"[false]\r\n"
        assert client.post(f"{url}delete/").content == b"[]\r\n"
        assert client.delete(url).content == b"[]\r\n"
        assert stored() == before

    @pytest.mark.parametrize("name", ["spam\0.txt", "a\nb", "n" * 300])
    def test_file_of_a_bad_name_does_not_exist(self, client, name):
        upload(client, FILES)
        url = f"{URL}{quote(name)}/"

        assert problem(client.get(url)) == (404, "not_found")
        assert client.delete(url).content == b"[false]\r\n"
        assert shelf(client) == FILES
