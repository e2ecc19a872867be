"""The demonstrated faults of 0.2.2, by their numbers; each is gone.

No test here for what cannot exist any more, or is tested where it belongs:

* 16 (the installed package lacks the command): ``package_check.py`` runs the command
  from the installed wheel.
* 30 (``LC_ALL=C`` and a non-ASCII name): stored names are ASCII, so no locale matters.
* 34, 35 (the README's set-up, the demo): ``test_example_project.py`` and
  ``package_check.py`` do what the README says. The example serves no folder of files.
* 36 (the tests write into the system's temporary folder): the fixture ``media`` gives
  each test a folder of its own, and ``tests/run`` works from anywhere.
"""

import threading
from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from session_attachments.bundles import Bundle
from session_attachments.models import Attachment
from tests.clients import URL, content, form, names, part, problem, send, upload
from tests.storages import at_once, failing, store_in

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def spam(client):
    """Return a client with one attachment."""
    upload(client, {"spam.txt": b"spam\n"})
    return client


def age(days):
    """Let all attachments be that old."""
    Attachment.objects.update(created=timezone.now() - timedelta(days=days))


def lose_file(media):
    """Delete the only stored file behind the app's back."""
    (media / Attachment.objects.get().file.name).unlink()


class TestSessionsAndPrivacy:
    def test_01_02_anonymous_client_s_first_request_is_an_upload(self, client):
        assert names(upload(client, {"spam.txt": b"spam\n"})) == ["spam.txt"]
        assert names(client.get(URL)) == ["spam.txt"]

    def test_03_upload_leaves_other_sessions_alone(self, spam):
        upload(Client(), {"spam.txt": b"other"})

        assert content(spam.get(f"{URL}spam.txt/")) == b"spam\n"

    def test_04_upload_under_an_expired_session_is_reachable(self, spam):
        Session.objects.update(expire_date=timezone.now() - timedelta(days=1))

        upload(spam, {"egg.txt": b"egg\n"})

        assert names(spam.get(URL)) == ["egg.txt"]

    @pytest.mark.parametrize("cookie", ["", "inventedinventedinventedinvented"])
    def test_05_06_invented_and_empty_cookies_share_nothing(self, cookie):
        first, second = Client(), Client()
        for client in (first, second):
            client.cookies["sessionid"] = cookie
        upload(first, {"spam.txt": b"spam\n"})

        assert names(second.get(URL)) == []

    def test_05_old_cookie_reads_nothing_after_logout(self, spam):
        cookie = spam.cookies["sessionid"].value
        spam.post("/logout/")
        spam.cookies["sessionid"] = cookie

        assert problem(spam.get(f"{URL}spam.txt/")) == (404, "not_found")

    def test_07_login_keeps_the_attachments(self, spam):
        spam.post("/login/ann/")

        assert names(spam.get(URL)) == ["spam.txt"]

    def test_28_session_is_not_written_and_answers_are_private(self, spam):
        for url in (URL, f"{URL}spam.txt/"):
            response = spam.get(url)
            response.close()

            assert not response.cookies
            assert "Cookie" in response.headers["Vary"]
            assert response.headers["Cache-Control"] == "private, no-store"


class TestDownload:
    def test_08_html_is_an_attachment_of_its_type(self, client):
        upload(client, {"page.html": b"<html><script>alert(1)</script>"})

        response = client.get(f"{URL}page.html/")

        assert content(response).startswith(b"<html>")
        assert response.headers["Content-Type"] == "text/html"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Content-Disposition"].startswith("attachment")

    def test_09_11_name_is_encoded_and_quoted(self, client):
        send(client, form(part(name="Отчёт.txt"), part(name=r"a\";b.txt")))

        found = [client.head(f"{URL}{name}/") for name in ("Отчёт.txt", 'a";b.txt')]

        assert [response.headers["Content-Disposition"] for response in found] == [
            'attachment; filename="_____.txt"; '
            "filename*=utf-8''%D0%9E%D1%82%D1%87%D1%91%D1%82.txt",
            'attachment; filename="a\\";b.txt"',
        ]

    def test_10_newline_in_a_name_is_dropped_or_can_be_downloaded(self, spam):
        send(spam, form(part(b"x", "a&#10;b.txt")))
        assert names(spam.get(URL)) == ["ab.txt", "spam.txt"]
        Attachment.objects.filter(filename="ab.txt").update(filename="a\nb.txt")

        assert content(spam.get(f"{URL}a%0Ab.txt/")) == b"x"

    def test_12_file_called_delete(self, spam):
        upload(spam, {"delete": b"x"})

        assert content(spam.get(f"{URL}delete/")) == b"x"
        assert spam.delete(f"{URL}delete/").json() == [True]
        assert names(spam.get(URL)) == ["spam.txt"]


class TestUpload:
    def test_13_bundle_id_that_is_not_ascii(self, client):
        url = "/attachments/Письмо 1/"

        assert names(upload(client, {"spam.txt": b"spam\n"}, url)) == ["spam.txt"]
        assert names(client.get(url)) == ["spam.txt"]

    def test_19_limit_counts_bytes(self, spam, settings):
        settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 1
        limit = 1024 * 1024

        refused = upload(spam, {"egg.txt": b"x" * (limit + 1)})

        assert problem(refused) == (413, "file_too_large")
        assert upload(spam, {"egg.txt": b"x" * limit}).status_code == 200

    def test_20_refused_file_keeps_the_others_out(self, spam, settings):
        settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 4 / 1024 / 1024

        upload(spam, {"a.txt": b"a", "large.txt": b"12345", "b.txt": b"b"})

        assert names(spam.get(URL)) == ["spam.txt"]

    def test_21_answer_is_sorted(self, client):
        files = dict.fromkeys("hgfabcde", b"x")

        assert names(upload(client, files)) == sorted(files)

    def test_22_two_files_of_one_field(self, client):
        response = send(client, form(part(b"a", "a.txt"), part(b"b", "b.txt")))

        assert names(response) == ["a.txt", "b.txt"]

    def test_23_two_files_of_one_name(self, client):
        response = send(
            client,
            form(part(b"first", field="z"), part(b"last", field="a")),
        )

        assert names(response) == ["spam.txt"]
        assert content(client.get(f"{URL}spam.txt/")) == b"last"

    def test_24_race_makes_one_row(self):
        session = SessionStore()
        Bundle(session, "foo").start_session()
        session.save()
        start = threading.Barrier(4)

        def send_spam():
            client = Client()
            client.cookies["sessionid"] = session.session_key
            start.wait()
            return upload(client, {"spam.txt": b"spam\n"}).status_code

        assert at_once(*[send_spam] * 4) == [200] * 4
        assert Attachment.objects.count() == 1

    def test_25_file_called_dot_dot_is_refused(self, spam, stored):
        assert problem(send(spam, form(part(b"x", "..")))) == (400, "bad_name")
        assert len(stored()) == 1

    def test_26_name_of_255_characters(self, client):
        name = "я" * 251 + ".txt"

        assert names(upload(client, {name: b"x"})) == [name]
        assert content(client.get(f"{URL}{name}/")) == b"x"

    def test_31_full_disk_loses_nothing(self, spam, settings):
        full = OSError(28, "No space left on device")
        store_in(settings, failing("saved", full))

        response = upload(spam, {"spam.txt": b"new"})

        assert problem(response) == (507, "insufficient_storage")

        assert content(spam.get(f"{URL}spam.txt/")) == b"spam\n"

    def test_32_body_that_is_cut_off(self, spam):
        body = form(part(b"new"))

        response = send(spam, body[:-20], length=len(body))

        assert problem(response) == (400, "incomplete_upload")
        assert content(spam.get(f"{URL}spam.txt/")) == b"spam\n"


class TestDeleteAndCommand:
    def test_14_missing_file_disturbs_only_its_download(self, spam, media):
        lose_file(media)

        assert names(spam.get(URL)) == ["spam.txt"]
        assert problem(spam.get(f"{URL}spam.txt/")) == (404, "not_found")
        assert names(upload(spam, {"spam.txt": b"again"})) == ["spam.txt"]
        lose_file(media)
        assert spam.post(f"{URL}spam.txt/delete/").json() == [True]
        upload(spam, {"spam.txt": b"again"})
        lose_file(media)
        assert spam.post(f"{URL}delete/").json() == [[True]]

    def test_15_missing_file_does_not_stop_the_command(self, spam, media):
        lose_file(media)
        upload(spam, {"egg.txt": b"egg\n"})
        age(days=4)

        call_command("remove_outdated_attachments", older_than=3, stdout=StringIO())

        assert names(spam.get(URL)) == []

    def test_17_verbose_with_a_name_that_is_not_ascii(self, client):
        upload(client, {"Отчёт.txt": b"x"})
        age(days=4)
        stdout = StringIO()

        call_command(
            "remove_outdated_attachments", older_than=3, verbose=True, stdout=stdout
        )

        assert stdout.getvalue().startswith("delete Отчёт.txt (")

    @pytest.mark.parametrize("older_than", ["-1", "1e9", "nan"])
    def test_18_nonsense_deletes_nothing(self, spam, older_than):
        with pytest.raises(CommandError) as caught:
            call_command("remove_outdated_attachments", f"--older-than={older_than}")

        assert caught.value.returncode == 2
        assert names(spam.get(URL)) == ["spam.txt"]

    def test_29_deletion_in_the_admin_takes_the_file(self, spam, stored, admin_client):
        pk = Attachment.objects.get().pk

        admin_client.post(
            f"/admin/session_attachments/attachment/{pk}/delete/", {"post": "yes"}
        )

        assert stored() == []

    @pytest.mark.parametrize("use_tz", [True, False])
    def test_33_age_is_right_with_and_without_time_zones(self, spam, settings, use_tz):
        settings.USE_TZ = use_tz
        age(days=3)
        upload(spam, {"egg.txt": b"egg\n"})

        call_command("remove_outdated_attachments", older_than=2.99, stdout=StringIO())

        assert names(spam.get(URL)) == ["egg.txt"]


class TestMethods:
    def test_27_other_methods_are_refused_and_head_works(self, spam):
        assert problem(spam.put(URL)) == (405, "method_not_allowed")
        assert spam.head(f"{URL}spam.txt/").status_code == 200
