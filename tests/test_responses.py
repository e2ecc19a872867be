"""The answers: JSON byte by byte, errors as problem+json, the headers of both."""

import json
from datetime import datetime, timedelta, timezone

import pytest
from django.utils import timezone as django_timezone
from django.utils import translation

from session_attachments.models import Attachment
from tests.clients import URL, form, names, part, send, upload

pytestmark = pytest.mark.django_db

CREATED = datetime(2011, 12, 29, 4, 12, 59, tzinfo=timezone.utc)  # noqa: UP017
TOO_LARGE = {"SESSION_ATTACHMENTS_MAX_FILE_SIZE": 0}


def created(response):
    """Return the times in a list."""
    return [attachment["created"] for attachment in response.json()]


@pytest.mark.database
class TestList:
    def test_list_is_printed_as_in_the_readme_of_02(self, client):
        upload(client, {"spam.txt": b"spam\n", "egg.txt": b"egg\n"})
        Attachment.objects.update(created=CREATED)

        response = client.get(URL)

        assert response.headers["Content-Type"] == "application/json"
        assert response.content == (
            b'[{"mimetype": "text/plain", "size": 4, "name": "egg.txt", '
            b'"created": "2011-12-28 22:12"}, '
            b'{"mimetype": "text/plain", "size": 5, "name": "spam.txt", '
            b'"created": "2011-12-28 22:12"}]\r\n'
        )
        assert response.headers["Content-Length"] == str(len(response.content))

    def test_upload_answers_in_the_same_format(self, client):
        response = upload(client, {"spam.txt": b"spam\n"})

        assert response.content == client.get(URL).content

    def test_name_is_written_in_ascii(self, client):
        send(client, form(part(name='Ж \\"é\\" 😀 <b>&~.txt')))

        answer = client.get(URL).content

        assert b'"name": "\\u0416 \\"\\u00e9\\" \\ud83d\\ude00 <b>&~.txt"' in answer
        assert answer.isascii()

    @pytest.mark.fault(21)
    def test_names_are_sorted_by_code_point(self, client):
        expected = [f"n{char}n" for char in " -19BZab~Éеяё字～😀"]

        response = upload(client, dict.fromkeys(reversed(expected), b""))

        assert names(response) == names(client.get(URL)) == expected

    def test_size_may_be_large(self, client):
        upload(client, {"spam.txt": b"spam\n"})
        Attachment.objects.update(size=5 * 1024**4)

        assert b'"size": 5497558138880, ' in client.get(URL).content


@pytest.mark.database
class TestCreated:
    def test_created_is_now(self, client):
        before = django_timezone.localtime()

        response = upload(client, {"spam.txt": b"spam\n"})

        (text,) = created(response)
        after = django_timezone.localtime() + timedelta(minutes=1)
        assert f"{before:%Y-%m-%d %H:%M}" <= text <= f"{after:%Y-%m-%d %H:%M}"

    @pytest.mark.parametrize(
        ("zone", "expected"),
        [
            ("UTC", "2011-12-29 04:12"),
            ("Asia/Kathmandu", "2011-12-29 09:57"),
            ("Pacific/Honolulu", "2011-12-28 18:12"),
        ],
    )
    def test_created_is_in_the_current_time_zone(self, client, zone, expected):
        upload(client, {"spam.txt": b"spam\n"})
        Attachment.objects.update(created=CREATED)

        with django_timezone.override(zone):
            response = client.get(URL)

        assert created(response) == [expected]

    def test_created_without_time_zones_is_as_stored(self, client, settings):
        settings.USE_TZ = False
        upload(client, {"spam.txt": b"spam\n"})
        Attachment.objects.update(created=CREATED.replace(tzinfo=None))

        assert created(client.get(URL)) == ["2011-12-29 04:12"]


def refuse(client, settings, body=None, **limits):
    """Send an upload that is refused."""
    for setting, value in limits.items():
        setattr(settings, setting, value)
    return send(client, form(part()) if body is None else body)


class TestProblem:
    def test_problem_has_its_members_in_order(self, client, settings):
        response = refuse(client, settings, **TOO_LARGE)

        assert response.status_code == 413
        assert response.headers["Content-Type"] == "application/problem+json"
        told = response.json()
        assert list(told) == ["title", "status", "detail", "code", "name", "limit"]
        assert told["status"] == 413
        assert told["code"] == "file_too_large"
        assert told["name"] == "spam.txt"
        assert told["limit"] == 0

    def test_problem_is_written_as_all_json(self, client, settings):
        settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 0

        response = send(client, form(part(name="файл.txt")))

        assert response.content == json.dumps(response.json()).encode() + b"\r\n"
        assert b'"name": "\\u0444\\u0430\\u0439\\u043b.txt"' in response.content

    def test_problem_leaves_out_what_does_not_apply(self, client, settings):
        told = refuse(client, settings, b"").json()

        assert list(told) == ["title", "status", "detail", "code"]

    def test_problem_with_a_count_has_no_name(self, client, settings):
        told = refuse(client, settings, SESSION_ATTACHMENTS_MAX_BUNDLE_FILES=0).json()

        assert list(told) == ["title", "status", "detail", "code", "limit"]
        assert told["limit"] == 0

    def test_limits_are_in_bytes(self, client, settings):
        told = refuse(client, settings, SESSION_ATTACHMENTS_MAX_FILE_SIZE=1e-6).json()

        assert told["limit"] == 1

    def test_problem_speaks_the_active_language(self, client, settings):
        english = refuse(client, settings, b"").json()

        with translation.override("ru"):
            russian = refuse(client, settings, b"").json()

        assert russian["code"] == english["code"] == "no_file"
        assert russian["title"] != english["title"]
        assert russian["detail"] != english["detail"]

    def test_missing_attachment_is_named(self, client):
        told = client.get(f"{URL}spam.txt/").json()

        assert told == {
            "title": "Not found",
            "status": 404,
            "detail": "There is no such attachment.",
            "code": "not_found",
            "name": "spam.txt",
        }


ANSWERS = {
    "list": lambda client: client.get(URL),
    "HEAD of a list": lambda client: client.head(URL),
    "upload": lambda client: upload(client, {"egg.txt": b"egg\n"}),
    "refused upload": lambda client: send(client, b""),
    "delete": lambda client: client.post(f"{URL}spam.txt/delete/"),
    "delete the bundle": lambda client: client.delete(URL),
    "download": lambda client: client.get(f"{URL}spam.txt/"),
    "HEAD of a download": lambda client: client.head(f"{URL}spam.txt/"),
    "part": lambda client: client.get(f"{URL}spam.txt/", HTTP_RANGE="bytes=1-2"),
    "impossible part": lambda client: client.get(
        f"{URL}spam.txt/", HTTP_RANGE="bytes=9-"
    ),
    "not modified": lambda client: client.get(
        f"{URL}spam.txt/", HTTP_IF_NONE_MATCH="*"
    ),
    "no match": lambda client: client.get(f"{URL}spam.txt/", HTTP_IF_MATCH='"x"'),
    "missing": lambda client: client.get(f"{URL}missing.txt/"),
    "wrong method": lambda client: client.put(URL),
    "OPTIONS": lambda client: client.options(URL),
}


@pytest.mark.fault(28)
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_no_answer_may_be_cached_or_reinterpreted(client, answer):
    upload(client, {"spam.txt": b"spam\n"})

    response = answer(client)
    b"".join(response)

    assert response.headers["Cache-Control"] == "private, no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "Cookie" in response.headers["Vary"].split(", ")
