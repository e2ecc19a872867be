"""The main job, over HTTP: upload, list, download, delete, delete the bundle."""

import unicodedata

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext

from session_attachments.models import Attachment
from tests.clients import (
    MULTIPART,
    URL,
    content,
    form,
    names,
    part,
    problem,
    send,
    shelf,
    upload,
)
from tests.storages import Calls, store_in

MEGABYTE = 1024 * 1024
HANDLERS = "django.core.files.uploadhandler."
committed = pytest.mark.django_db(transaction=True)


@pytest.mark.database
@pytest.mark.django_db
class TestMainJob:
    def test_upload_lists_what_this_request_stored(self, client, stored):
        upload(client, {"old.txt": b"old"})

        response = upload(client, {"spam.txt": b"spam\n", "egg.txt": b"egg\n"})

        assert names(response) == ["egg.txt", "spam.txt"]
        assert len(stored()) == 3

    @committed
    def test_upload_replaces_the_attachment_of_that_name(self, client, stored):
        upload(client, {"spam.txt": b"old", "egg.txt": b"egg\n"})
        before = stored()

        response = upload(client, {"spam.txt": b"new"})

        assert names(response) == ["spam.txt"]
        assert shelf(client) == {"egg.txt": b"egg\n", "spam.txt": b"new"}
        assert len(set(before) & set(stored())) == 1
        assert len(stored()) == 2

    def test_upload_of_one_bundle_leaves_the_others_alone(self, client):
        upload(client, {"spam.txt": b"foo"})
        upload(client, {"spam.txt": b"bar"}, "/attachments/bar/")

        assert shelf(client) == {"spam.txt": b"foo"}
        assert shelf(client, "/attachments/bar/") == {"spam.txt": b"bar"}

    def test_list_of_an_unknown_bundle_is_empty(self, client):
        assert client.get(URL).content == b"[]\r\n"

    def test_download_sends_the_content(self, client):
        upload(client, {"spam.txt": b"spam\n"})

        assert content(client.get(f"{URL}spam.txt/")) == b"spam\n"

    def test_download_of_another_session_answers_as_if_there_were_none(self, client):
        other = type(client)()
        upload(other, {"spam.txt": b"spam\n"})
        client.get(URL)

        foreign = client.get(f"{URL}spam.txt/")
        missing = client.get("/attachments/bar/spam.txt/")

        assert problem(foreign) == (404, "not_found")
        assert foreign.content == missing.content
        assert foreign.headers == missing.headers
        assert content(other.get(f"{URL}spam.txt/")) == b"spam\n"

    @committed
    def test_delete_removes_row_and_file(self, client, stored):
        upload(client, {"spam.txt": b"spam\n", "egg.txt": b"egg\n"})

        response = client.post(f"{URL}spam.txt/delete/")

        assert response.content == b"[true]\r\n"
        assert names(client.get(URL)) == ["egg.txt"]
        assert len(stored()) == 1
        assert client.post(f"{URL}spam.txt/delete/").content == b"[false]\r\n"

    @committed
    def test_delete_in_another_session_does_nothing(self, client, stored):
        other = type(client)()
        upload(other, {"spam.txt": b"spam\n"})
        client.get(URL)

        assert client.post(f"{URL}spam.txt/delete/").content == b"[false]\r\n"
        assert client.post(f"{URL}delete/").content == b"[]\r\n"
        assert shelf(other) == {"spam.txt": b"spam\n"}
        assert len(stored()) == 1

    @committed
    def test_delete_bundle_answers_once_an_attachment(self, client, stored):
        upload(client, {"spam.txt": b"spam\n", "egg.txt": b"egg\n"})
        upload(client, {"spam.txt": b"bar"}, "/attachments/bar/")

        assert client.post(f"{URL}delete/").content == b"[[true], [true]]\r\n"
        assert client.post(f"{URL}delete/").content == b"[]\r\n"
        assert shelf(client, "/attachments/bar/") == {"spam.txt": b"bar"}
        assert len(stored()) == 1


def no_programs(file):
    """Validate as a project would."""
    if file.name.endswith(".exe"):
        raise ValidationError("No %(what)s, please.", params={"what": "programs"})


# Each body holds a new version of what is already there.
NEW = part(b"new")

# Two characters, and one in NFC.
DECOMPOSED = "e\u0301"


def refused(status, code, case, body, *type_, limits=None, about=None, **request):
    """Return one row of the table of refusals."""
    expected = {"status": status, "code": code, **(about or {})}
    return pytest.param(
        limits or {}, ([body, *type_], request), expected, id=f"{code}: {case}"
    )


def no_file(case, *args, **kwargs):
    return refused(400, "no_file", case, *args, **kwargs)


def incomplete(case, *args, **kwargs):
    return refused(400, "incomplete_upload", case, *args, **kwargs)


def bad_name(case, name, about=None, before=(NEW,)):
    about = {"name": about or unicodedata.normalize("NFC", name)[:255]}
    case = f"{case}, {len(before)} before"
    return refused(400, "bad_name", case, form(*before, part(name=name)), about=about)


def too_large(code, limits, *parts, **about):
    (setting,) = limits
    return refused(413, code, setting, form(NEW, *parts), limits=limits, about=about)


BIG = part(b"b" * (MEGABYTE + 1), "big.bin")
TEN = part(b"b" * 10, "ten.txt")
MARKED = part(b"b" * 99, "MARK")
LATIN = MARKED.replace(b"MARK", b"caf\xe9.txt")
NESTED = b'--in\r\nContent-Disposition: file; filename="a"\r\n\r\na\r\n--in--'
MIXED = "Content-Type: multipart/mixed; boundary=in\r\n"
# What Django's parser passes over without a word, and how that is refused.
SKIPPED = {
    "name in no charset": (
        "incomplete_upload",
        MARKED.replace(b'filename="MARK"', b"filename*=mark''mark"),
    ),
    "field not in UTF-8": (
        "incomplete_upload", part(b"", None, "MARK").replace(b"MARK", b"\xcc"),
    ),
    "no field": (
        "incomplete_upload", MARKED.replace(b'name="file"; ', b""),
    ),
    "line ends of another kind": (
        "incomplete_upload", MARKED.replace(b'"MARK"\r\n\r\n', b'"MARK"\n\n'),
    ),
    "part that is none": ("incomplete_upload", b"--limit\r\n\r\nspam\r\n"),
    "part of another kind": ("incomplete_upload", b"--limit\r\nX: x\r\n\r\nspam\r\n"),
    "form within the form": (
        "incomplete_upload", part(NESTED, None, "more", headers=MIXED),
    ),
    "form within the form, in other words": (
        "incomplete_upload",
        part(NESTED, None, "filename=", headers=MIXED.swapcase()),
    ),
}  # fmt: skip
REFUSALS = [
    no_file("no body", b""),
    no_file("no body and no length", b"", CONTENT_LENGTH=""),
    no_file("empty form", form()),
    no_file("only fields", form(part(b"spam", None), part(b"spam.txt", None, "name"))),
    no_file("empty file name", form(part(name=""))),
    no_file("urlencoded", b"spam=egg", "application/x-www-form-urlencoded"),
    no_file(
        "urlencoded, not in UTF-8",
        b"spam=egg",
        "application/x-www-form-urlencoded; charset=latin-1",
    ),
    no_file("JSON", b'{"spam": "egg"}', "application/json"),
    no_file("another multipart", form(NEW), "multipart/mixed; boundary=limit"),
    no_file("no type", form(NEW), ""),
    incomplete("cut in a file", form(NEW)[:80], length=len(form(NEW))),
    incomplete("cut in a header", form(NEW)[:30], length=len(form(NEW))),
    incomplete("cut in a later file", NEW + part()[:90], length=len(NEW) + 200),
    incomplete("a byte too few", form(NEW), length=len(form(NEW)) + 1),
    incomplete("no end", form(NEW, end=b"")),
    incomplete("delimiter that closes nothing", form(NEW, end=b"--limit\r\n")),
    incomplete("end cut", form(NEW, end=b"--limit-")),
    incomplete("garbage", bytes(range(256))),
    incomplete("no boundary", form(NEW), "multipart/form-data"),
    incomplete("empty boundary", form(NEW), "multipart/form-data; boundary="),
    incomplete("long boundary", form(NEW), f"{MULTIPART}{'x' * 200}"),
    incomplete("boundary not in ASCII", form(NEW), f"{MULTIPART}\u00e4"),
    incomplete("another boundary", form(NEW), f"{MULTIPART}s"),
    incomplete("charset is none", form(NEW), f"{MULTIPART}; charset=base64"),
    incomplete("charset is Python's", form(NEW), f"{MULTIPART}; charset=punycode"),
    incomplete(
        "charset is Python's escapes", form(NEW), f"{MULTIPART}; charset=unicode_escape"
    ),
    incomplete("charset is undefined", form(NEW), f"{MULTIPART}; charset=undefined"),
    incomplete("file in a field without a name, last", form(NEW, part(field=""))),
    *(
        refused(400, code, f"{what}, {where}", form(*before, skipped, *after))
        for what, (code, skipped) in SKIPPED.items()
        for where, before, after in (
            ("alone", [], []),
            ("before a file", [], [NEW]),
            ("after a file", [NEW], []),
        )
    ),
    incomplete("file in a field without a name", form(part(field=""))),
    incomplete("negative length", form(NEW), length=-1),
    incomplete("long header", form(NEW, part(headers=f"X-Spam: {'s' * 1024}\r\n"))),
    incomplete("long name in UTF-8", form(NEW, part(name="\U0001f600" * 250))),
    incomplete(
        "not base64",
        form(NEW, part(b"c3Bh!", headers="Content-Transfer-Encoding: base64\r\n")),
    ),
    incomplete(
        "base64 cut",
        form(NEW, part(b"c3BhbQ", headers="Content-Transfer-Encoding: base64\r\n")),
    ),
    refused(
        400,
        "bad_form",
        "too many fields",
        form(NEW, *[part(b"", None)] * 10),
        limits={"DATA_UPLOAD_MAX_NUMBER_FIELDS": 5},
    ),
    *(
        refused(
            400,
            "bad_name",
            f"name not in UTF-8, {len(before)} before, {len(after)} after",
            form(*before, LATIN, *after),
            about={"name": "caf\ufffd.txt"},
        )
        for before, after in (([], []), ([NEW], []), ([], [NEW]))
    ),
    bad_name("256 characters", "n" * 256),
    bad_name("256 characters and a type", f"{'n' * 252}.txt"),
    bad_name("256 characters in NFC", DECOMPOSED * 256),
    *(
        bad_name(f"file name {name}", name, before=before)
        for name in (".", "..", "a/", "\u200d\u00a0")
        for before in ([], [NEW])
    ),
    bad_name("nothing after a long folder", f"{'n' * 300}/", "n" * 255),
    refused(
        400,
        "invalid",
        "validator",
        form(NEW, part(name="virus.exe")),
        limits={"SESSION_ATTACHMENTS_VALIDATORS": ["tests.test_views.no_programs"]},
        about={
            "name": "virus.exe",
            "detail": "The file “virus.exe” is not accepted. No programs, please.",
        },
    ),
    too_large(
        "file_too_large",
        {"SESSION_ATTACHMENTS_MAX_FILE_SIZE": 1},
        BIG,
        name="big.bin",
        limit=MEGABYTE,
    ),
    too_large(
        "file_too_large",
        {"SESSION_ATTACHMENTS_MAX_FILE_SIZE": 0},
        name="spam.txt",
        limit=0,
    ),
    too_large(
        "bundle_too_large",
        {"SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE": 1},
        BIG,
        limit=MEGABYTE,
    ),
    too_large(
        "bundle_too_large",
        {"SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE": 12 / MEGABYTE},
        TEN,
        limit=12,
    ),
    too_large(
        "too_many_files", {"SESSION_ATTACHMENTS_MAX_BUNDLE_FILES": 1}, TEN, limit=1
    ),
    too_large(
        "session_too_large",
        {"SESSION_ATTACHMENTS_MAX_SESSION_SIZE": 12 / MEGABYTE},
        TEN,
        limit=12,
    ),
    too_large("too_many_files", {"DATA_UPLOAD_MAX_NUMBER_FILES": 1}, TEN, limit=1),
    too_large(
        "form_too_large",
        {"DATA_UPLOAD_MAX_MEMORY_SIZE": 100},
        part(b"f" * 101, None),
        limit=100,
    ),
    refused(
        413,
        "form_too_large",
        "urlencoded",
        b"spam=" + b"e" * 100,
        "application/x-www-form-urlencoded",
        limits={"DATA_UPLOAD_MAX_MEMORY_SIZE": 100},
        about={"limit": 100},
    ),
    refused(
        411,
        "length_required",
        "chunked",
        form(NEW),
        CONTENT_LENGTH="",
        HTTP_TRANSFER_ENCODING="chunked",
    ),
]


# One for each way out: a file that waits in memory leaves nothing behind anyway.
IN_MEMORY = {
    "incomplete_upload: cut in a file",
    "incomplete_upload: end cut",
    "bad_name: 256 characters, 1 before",
    "invalid: validator",
    "session_too_large: SESSION_ATTACHMENTS_MAX_SESSION_SIZE",
}


class TestRefusal:
    @pytest.mark.fault(19, 32)
    @pytest.mark.parametrize(
        ("handler", "limits", "request_", "expected"),
        [
            pytest.param(handler, *refusal.values, id=f"{refusal.id}-{handler}")
            for handler in ("Temporary", "Memory")
            for refusal in REFUSALS
            if handler == "Temporary" or refusal.id in IN_MEMORY
        ],
    )
    @pytest.mark.django_db
    def test_upload_that_is_refused_changes_nothing(
        self, client, settings, stored, temporary, handler, limits, request_, expected
    ):
        upload(client, {"spam.txt": b"old"})
        before = stored()
        settings.FILE_UPLOAD_HANDLERS = [f"{HANDLERS}{handler}FileUploadHandler"]
        args, kwargs = request_
        for setting, value in limits.items():
            setattr(settings, setting, value)

        response = send(client, *args, **kwargs)

        assert problem(response) == (expected["status"], expected["code"])
        told = response.json()
        assert told["title"]
        assert told["detail"]
        assert told == {"title": told["title"], "detail": told["detail"], **expected}
        assert stored() == before
        assert list(temporary.iterdir()) == []
        assert shelf(client) == {"spam.txt": b"old"}


def accepted(case, *parts, stored, limits=None, end=b"--limit--\r\n"):
    """Return what is just inside a limit that refuses."""
    return pytest.param(limits or {}, form(*parts, end=end), stored, id=case)


ACCEPTED = [
    accepted("255 characters", part(name="n" * 255), stored={"n" * 255: b"spam\n"}),
    accepted(
        "255 characters in NFC",
        part(name=DECOMPOSED * 255),
        stored={"\u00e9" * 255: b"spam\n"},
    ),
    accepted("empty file", part(b""), stored={"spam.txt": b""}),
    accepted(
        "empty file where only those are let in",
        part(b""),
        stored={"spam.txt": b""},
        limits={"SESSION_ATTACHMENTS_MAX_FILE_SIZE": 0},
    ),
    accepted(
        "file of exactly the limit",
        part(b"b" * MEGABYTE),
        stored={"spam.txt": b"b" * MEGABYTE},
        limits={"SESSION_ATTACHMENTS_MAX_FILE_SIZE": 1},
    ),
    accepted(
        "file of exactly a fraction",
        part(b"b" * 512),
        stored={"spam.txt": b"b" * 512},
        limits={"SESSION_ATTACHMENTS_MAX_FILE_SIZE": 0.00048828125},
    ),
    accepted(
        "no limits",
        TEN,
        stored={"ten.txt": b"b" * 10},
        limits={"SESSION_ATTACHMENTS_MAX_FILE_SIZE": None},
    ),
    accepted(
        "exactly the quotas",
        TEN,
        part(b"b" * 2),
        stored={"ten.txt": b"b" * 10, "spam.txt": b"b" * 2},
        limits={
            "SESSION_ATTACHMENTS_MAX_BUNDLE_FILES": 2,
            "SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE": 12 / MEGABYTE,
            "SESSION_ATTACHMENTS_MAX_SESSION_SIZE": 12 / MEGABYTE,
        },
    ),
    accepted(
        "base64",
        part(b"c3B\r\nhbQo=", headers="Content-Transfer-Encoding: base64\r\n"),
        stored={"spam.txt": b"spam\n"},
    ),
    accepted(
        "fields beside it",
        part(b"egg", None),
        part(),
        part(b"bacon", None, "other"),
        stored={"spam.txt": b"spam\n"},
    ),
    accepted(
        "an input that was left empty beside it",
        part(b"", ""),
        part(),
        stored={"spam.txt": b"spam\n"},
    ),
    accepted(
        "epilogue",
        part(),
        end=b"--limit--\r\nThe end.\r\n",
        stored={"spam.txt": b"spam\n"},
    ),
    accepted(
        "end without a line break",
        part(),
        end=b"--limit--",
        stored={"spam.txt": b"spam\n"},
    ),
    accepted(
        "delimiters of others in it",
        part(b"--limi\r\n--\r\nlimit--\r\n"),
        stored={"spam.txt": b"--limi\r\n--\r\nlimit--\r\n"},
    ),
    accepted("preamble", b"Preamble.\r\n", part(), stored={"spam.txt": b"spam\n"}),
    accepted(
        "other headers",
        part(headers="Content-Type: text/html; charset=utf-16\r\nX-Spam: egg\r\n"),
        stored={"spam.txt": b"spam\n"},
    ),
]


class TestAcceptance:
    @pytest.mark.fault(19)
    @pytest.mark.parametrize("handler", ["Memory", "Temporary"])
    @pytest.mark.parametrize(("limits", "body", "expected"), ACCEPTED)
    @pytest.mark.django_db
    def test_upload_inside_the_limits_is_stored(
        self, client, settings, temporary, limits, body, expected, handler
    ):
        settings.FILE_UPLOAD_HANDLERS = [f"{HANDLERS}{handler}FileUploadHandler"]
        for setting, value in limits.items():
            setattr(settings, setting, value)

        response = send(client, body)

        assert names(response) == sorted(expected)
        assert shelf(client) == expected
        assert list(temporary.iterdir()) == []

    @pytest.mark.database
    @pytest.mark.django_db
    def test_upload_spends_a_quota_on_what_is_stored_already(
        self, client, settings, stored
    ):
        upload(client, {"spam.txt": b"b" * 10})
        upload(client, {"egg.txt": b"b"}, "/attachments/bar/")
        settings.SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE = 12 / MEGABYTE
        settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = 13 / MEGABYTE
        before = stored()

        bundle = upload(client, {"new.txt": b"b" * 3})
        session = upload(client, {"new.txt": b"b" * 3}, "/attachments/bar/")

        assert problem(bundle) == (413, "bundle_too_large")
        assert problem(session) == (413, "session_too_large")
        assert stored() == before
        assert names(upload(client, {"new.txt": b"b" * 2})) == ["new.txt"]
        assert names(upload(client, {"spam.txt": b"b" * 10})) == ["spam.txt"]


def fill(client, number):
    """Let the bundle hold ``number`` attachments, as rows only."""
    upload(client, {"0.txt": b"0"})
    row = Attachment.objects.get()
    Attachment.objects.bulk_create(
        Attachment(session_id=row.session_id, bundle="foo", filename=f"{i}.txt")
        for i in range(1, number)
    )


def queries(work):
    """Return what ``work`` returns, and its queries."""
    with CaptureQueriesContext(connection) as captured:
        result = work()
    return result, [query["sql"] for query in captured]


def writes_session(statements):
    return any(
        "django_session" in sql and not sql.startswith("SELECT") for sql in statements
    )


@pytest.mark.database
@pytest.mark.django_db
class TestCost:
    @pytest.mark.parametrize("number", [1, 100, 1000])
    def test_list_is_two_queries_and_no_look_at_the_storage(
        self, client, settings, number
    ):
        fill(client, number)
        store_in(settings, calls := Calls())

        response, statements = queries(lambda: client.get(URL))

        assert len(names(response)) == number
        assert len(statements) == 2, statements
        assert calls == []

    def test_upload_of_many_takes_as_many_queries_as_of_one(self, client):
        upload(client, {"first.txt": b""})
        files = {f"{number}.txt": b"spam\n" for number in range(100)}

        _, one = queries(lambda: upload(client, {"spam.txt": b"spam\n"}))
        response, many = queries(lambda: upload(client, files))

        assert len(names(response)) == 100
        assert len(many) == len(one), (one, many)

    def test_upload_with_quotas_takes_as_many_queries_as_well(self, client, settings):
        settings.SESSION_ATTACHMENTS_MAX_BUNDLE_FILES = 200
        upload(client, {"first.txt": b""})
        files = {f"{number}.txt": b"spam\n" for number in range(100)}

        _, one = queries(lambda: upload(client, {"spam.txt": b"spam\n"}))
        _, many = queries(lambda: upload(client, files))

        assert len(many) == len(one), (one, many)

    def test_session_is_saved_by_the_first_request_only(self, client):
        _, first = queries(lambda: upload(client, {"spam.txt": b"spam\n"}))
        later = [
            queries(work)[1]
            for work in (
                lambda: client.get(URL),
                lambda: content(client.get(f"{URL}spam.txt/")),
                lambda: upload(client, {"spam.txt": b"egg\n"}),
                lambda: send(client, b""),
                lambda: client.post(f"{URL}spam.txt/delete/"),
                lambda: client.post(f"{URL}delete/"),
            )
        ]

        assert writes_session(first)
        assert not any(map(writes_session, later))

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "spam.txt/"),
            ("DELETE", ""),
            ("DELETE", "spam.txt/"),
            ("POST", "delete/"),
            ("POST", "spam.txt/delete/"),
            ("OPTIONS", ""),
            ("PUT", ""),
        ],
    )
    def test_client_gets_no_session_from_other_requests(self, client, method, path):
        response = client.generic(method, f"{URL}{path}")

        assert "sessionid" not in response.cookies

    def test_client_gets_a_session_from_a_list(self, client):
        assert "sessionid" in client.get(URL).cookies

    def test_client_gets_no_session_from_a_refused_upload(self, client):
        assert "sessionid" not in send(client, b"").cookies
