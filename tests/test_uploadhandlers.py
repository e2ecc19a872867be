"""What holds while a body is read: limits, order, names, the project's own handlers."""

import errno
import re
import unicodedata
from io import BytesIO
from itertools import permutations, product
from urllib.parse import quote

import pytest
from asgiref.sync import async_to_sync
from django.core.files.uploadhandler import (
    FileUploadHandler,
    MemoryFileUploadHandler,
    SkipFile,
    StopUpload,
)
from django.http.multipartparser import MultiPartParser
from django.test import Client

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

pytestmark = pytest.mark.django_db

KILOBYTE = 1024
MEGABYTE = 1024 * KILOBYTE
MEMORY = "django.core.files.uploadhandler.MemoryFileUploadHandler"
TEMPORARY = "django.core.files.uploadhandler.TemporaryFileUploadHandler"


class ProjectHandler(FileUploadHandler):
    """A handler of the project's that leaves the files to the next one."""

    def receive_data_chunk(self, raw_data, start):
        return raw_data

    def file_complete(self, file_size):
        """Make no file."""


class Meter(ProjectHandler):
    """Measures what reaches the handlers of the project."""

    names = []
    received = []

    def new_file(self, *args, **kwargs):
        super().new_file(*args, **kwargs)
        self.names.append(self.file_name)

    def receive_data_chunk(self, raw_data, start):
        self.received.append(len(raw_data))
        return raw_data


@pytest.fixture
def meter(settings, monkeypatch, temporary):
    """Measure what reaches the handlers; return the Meter."""
    settings.FILE_UPLOAD_HANDLERS = [f"{__name__}.Meter", TEMPORARY]
    monkeypatch.setattr(Meter, "names", [])
    monkeypatch.setattr(Meter, "received", [])
    return Meter


class Wire(BytesIO):
    """A connection that remembers how it was read, and that allows no lines."""

    def __init__(self, body):
        super().__init__(body)
        self.reads = []

    def read(self, size=-1, /):
        self.reads.append(size)
        return super().read(size)

    # A body need not have any lines.
    readline = None


BIG = part(b"b" * MEGABYTE, "big.bin")


class TestLimits:
    @pytest.mark.parametrize(
        ("setting", "code"),
        [
            ("SESSION_ATTACHMENTS_MAX_FILE_SIZE", "file_too_large"),
            ("SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE", "bundle_too_large"),
            ("SESSION_ATTACHMENTS_MAX_SESSION_SIZE", "session_too_large"),
        ],
    )
    def test_nothing_past_a_limit_reaches_the_handlers(
        self, client, settings, temporary, meter, setting, code
    ):
        setattr(settings, setting, 0.25)
        wire = Wire(form(BIG, part(b"", "after.txt")))
        size = len(wire.getvalue())

        response = send(client, b"", length=size, **{"wsgi.input": wire})

        assert problem(response) == (413, code)
        assert 0 < sum(meter.received) <= MEGABYTE // 4
        assert meter.names == ["big.bin"]
        assert list(temporary.iterdir()) == []

    @pytest.mark.parametrize(
        "setting",
        ["SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE", "SESSION_ATTACHMENTS_MAX_SESSION_SIZE"],
    )
    def test_quota_is_spent_by_all_files_of_the_form(
        self, client, settings, meter, setting
    ):
        setattr(settings, setting, 250 / KILOBYTE)
        hundred = b"b" * 100 * KILOBYTE

        send(client, form(*(part(hundred, f"{i}.bin") for i in range(9))))

        assert meter.names == ["0.bin", "1.bin", "2.bin"]
        assert sum(meter.received) <= 250 * KILOBYTE

    def test_file_past_the_number_is_not_begun(self, client, settings, meter):
        settings.SESSION_ATTACHMENTS_MAX_BUNDLE_FILES = 2

        response = send(client, form(*(part(name=f"{i}.txt") for i in range(5))))

        assert problem(response) == (413, "too_many_files")
        assert meter.names == ["0.txt", "1.txt"]

    def test_file_with_a_bad_name_is_not_begun(self, client, meter):
        response = send(client, form(part(name="n" * 256), BIG))

        assert problem(response) == (400, "bad_name")
        assert meter.names == meter.received == []

    def test_file_that_replaces_another_spends_its_place(self, client, settings):
        settings.SESSION_ATTACHMENTS_MAX_BUNDLE_FILES = 1
        settings.SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE = 12 / MEGABYTE

        response = send(client, form(part(b"b" * 10), part(b"c" * 12)))

        assert names(response) == ["spam.txt"]
        assert shelf(client) == {"spam.txt": b"c" * 12}

    @pytest.mark.parametrize(
        "body",
        [
            form(part(b"b" * MEGABYTE)),
            form(part(b"b" * MEGABYTE), end=b""),
            b"b" * MEGABYTE,
        ],
        ids=["too large", "too large and cut", "garbage"],
    )
    @pytest.mark.parametrize("type_", [MULTIPART, "multipart/form-data", "text/plain"])
    def test_rest_of_a_refused_body_is_read_in_blocks(
        self, client, settings, body, type_
    ):
        settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 0.125
        wire = Wire(body)

        response = send(client, b"", type_, length=len(body), **{"wsgi.input": wire})

        assert response.status_code in {400, 413}
        assert wire.tell() == len(body)
        assert 0 < max(wire.reads) <= 512 * KILOBYTE
        assert min(wire.reads) >= 0

    @pytest.mark.parametrize("terminated", [True, False])
    def test_body_of_unknown_length_is_read_if_it_has_an_end(self, client, terminated):
        wire = Wire(form(BIG))
        wsgi = {"wsgi.input": wire, "wsgi.input_terminated": terminated}

        response = send(
            client, b"", CONTENT_LENGTH="", HTTP_TRANSFER_ENCODING="chunked", **wsgi
        )

        assert problem(response) == (411, "length_required")
        assert wire.tell() == (len(wire.getvalue()) if terminated else 0)
        assert set(wire.reads) <= {64 * KILOBYTE}

    def test_rest_is_read_when_the_token_is_missing(self, settings):
        wire = Wire(form(BIG))
        length = len(wire.getvalue())

        response = send(
            Client(enforce_csrf_checks=True), b"", length=length, **{"wsgi.input": wire}
        )

        assert response.status_code == 403
        assert wire.tell() == length

    def test_large_file_waits_on_the_disk(self, client, settings, temporary):
        settings.FILE_UPLOAD_HANDLERS = [MEMORY, TEMPORARY]
        large = bytes(range(256)) * 12 * KILOBYTE
        seen = []
        settings.SESSION_ATTACHMENTS_VALIDATORS = [f"{__name__}.look"]
        look.at = lambda file: seen.append((file.size, len(list(temporary.iterdir()))))

        response = send(client, form(part(large, "large.bin"), part(b"", "empty.txt")))

        assert names(response) == ["empty.txt", "large.bin"]
        assert seen == [(0, 2), (3 * MEGABYTE, 2)]
        assert list(temporary.iterdir()) == []
        assert shelf(client) == {"empty.txt": b"", "large.bin": large}


def look(file):
    """Look at an uploaded file as a validator of the project's."""
    look.at(file)


BLOCK = 64 * KILOBYTE
LATIN = part(name="MARK").replace(b"MARK", b"\xe9")


class TestPartThatDjangoSkips:
    def test_delimiter_may_begin_in_one_block_and_end_in_the_next(self, client):
        header = len(part(b""))
        for offset in range(len(LATIN)):
            first = part(b"b" * (BLOCK - header - offset))
            assert len(first) + offset == BLOCK

            response = send(client, form(first, LATIN))

            assert problem(response) == (400, "bad_name")

    def test_file_input_without_a_file_is_none(self, client):
        body = form(part(b"", ""), part(b"spam\n"), part(b"", ""))

        assert names(send(client, body)) == ["spam.txt"]


def headers_of(start, rest):
    """Return a part with headers as long as Django takes them."""
    headers = f"Content-Disposition: form-data{start}"
    return f"--limit\r\n{(headers + rest * 1000)[:1000]}\r\n\r\n\r\n".encode()


PUNYCODE = ";a*=punycode''-"


class TestHeaders:
    """What keeps Django's parser busy for longer than it takes to send."""

    @pytest.mark.parametrize("name", ["", ";name=a", ";name=a;filename=a"])
    @pytest.mark.parametrize(
        ("start", "rest"),
        [
            ("", ";"),
            ("", ";a"),
            (';a="', ";"),
            ("", "\r\n:;"),
            (";a*=punycode''-", "a"),
        ],
    )
    def test_headers_that_no_client_writes_are_refused(
        self, client, stored, name, start, rest
    ):
        body = form(part(), *[headers_of(name + start, rest)] * 900)

        response = send(client, body)

        assert problem(response) == (400, "incomplete_upload")
        assert stored() == []
        enforcing = Client(enforce_csrf_checks=True)
        enforcing.cookies["csrftoken"] = "a" * 32
        response = send(enforcing, body, url=f"{URL}delete/")
        assert problem(response) == (400, "incomplete_upload")

    def test_parts_without_a_field_are_counted(self, client, stored):
        unnamed = b"--limit\r\nContent-Disposition:x;filename=b\r\n\r\n\r\n"
        for body in (form(*[unnamed] * 9000), form(part()) + unnamed * 9000):
            response = send(client, body)

            assert problem(response) == (400, "bad_form")
        assert stored() == []

    def test_many_fields_and_files_are_taken(self, client):
        fields = [
            part(b"*", None, f"a*{n}", "Content-Type: a/b\r\n") for n in range(990)
        ]
        files = [part(b"", f"{n};" + ";*" * 100) for n in range(100)]

        assert len(names(send(client, form(*fields, *files)))) == 100

    def test_number_of_parts_is_as_unlimited_as_that_of_fields(self, client, settings):
        settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = None

        response = send(client, form(part(), *[part(b"", None)] * 2000))

        assert names(response) == ["spam.txt"]


class Broken(BytesIO):
    """A connection that breaks while the body is being read."""

    def read(self, size=-1, /):
        if self.tell():
            raise OSError("The client is gone.")
        return super().read(60)


class TestBrokenConnection:
    @pytest.mark.parametrize("enforce", [True, False])
    def test_upload_is_refused(self, client, stored, temporary, enforce):
        upload(client, {"spam.txt": b"old"})
        before = stored()
        client.handler.enforce_csrf_checks = enforce
        client.cookies["csrftoken"] = token = "a" * 32

        response = send(
            client,
            b"",
            length=200,
            HTTP_X_CSRFTOKEN=token,
            **{"wsgi.input": Broken(form(part(b"new")))},
        )

        assert problem(response) == (400, "incomplete_upload")
        assert stored() == before
        assert list(temporary.iterdir()) == []
        assert shelf(client) == {"spam.txt": b"old"}


# Of three files: in which field each is.
ORDERS = ["aaa", "aab", "aba", "baa", "abc", "acb", "bac", "bca", "cab", "cba"]


def in_fields(*files):
    """Return a form of files, each a pair of its field and its name."""
    return form(
        *(
            part(str(number).encode(), name, field)
            for number, (field, name) in enumerate(files)
        )
    )


class TestOrder:
    @pytest.mark.fault(22)
    def test_every_file_is_stored_whatever_its_field(self, client):
        body = in_fields(("b", "1"), ("a", "2"), ("c d", "3"), ("b", "4"), ("ж[]", "5"))

        response = send(client, body)

        assert names(response) == ["1", "2", "3", "4", "5"]
        expected = {"1": b"0", "2": b"1", "3": b"2", "4": b"3", "5": b"4"}
        assert shelf(client) == expected

    @pytest.mark.fault(23)
    @pytest.mark.parametrize("handler", [MEMORY, TEMPORARY])
    @pytest.mark.parametrize("fields", ORDERS)
    def test_last_in_the_body_wins(self, client, settings, stored, handler, fields):
        settings.FILE_UPLOAD_HANDLERS = [handler]
        body = in_fields(*((field, "spam.txt") for field in fields), ("a", "egg.txt"))

        response = send(client, body)

        assert names(response) == ["egg.txt", "spam.txt"]
        assert shelf(client) == {"egg.txt": b"3", "spam.txt": b"2"}
        assert len(stored()) == 2

    def test_last_in_the_body_wins_in_every_normal_form(self, client):
        forms = [unicodedata.normalize(form, "é.txt") for form in ("NFC", "NFD")]

        response = send(client, in_fields(("b", forms[0]), ("a", forms[1])))

        assert names(response) == [forms[0]]
        assert shelf(client) == {forms[0]: b"1"}

    def test_last_decides_what_is_validated(self, client, settings):
        seen = []
        settings.SESSION_ATTACHMENTS_VALIDATORS = [f"{__name__}.look"]
        look.at = lambda file: seen.append(file.name)

        send(client, in_fields(("b", "spam.txt"), ("a", "spam.txt")))

        assert seen == ["spam.txt"]

    @pytest.mark.fault(20)
    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_one_refused_file_refuses_all(self, client, settings, stored, place):
        upload(client, {"1.txt": b"old"})
        before = stored()
        settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 100 / MEGABYTE
        parts = [part(b"new", f"{number}.txt") for number in range(2)]
        parts.insert(place, part(b"b" * 101, "big.bin"))

        response = send(client, form(*parts))

        assert problem(response) == (413, "file_too_large")
        assert response.json()["name"] == "big.bin"
        assert stored() == before
        assert shelf(client) == {"1.txt": b"old"}


class Keeps(ProjectHandler):
    """Keeps files called ``kept...`` to itself."""

    kept = []

    def new_file(self, *args, **kwargs):
        super().new_file(*args, **kwargs)
        self.keeps = self.file_name.startswith("kept")

    def receive_data_chunk(self, raw_data, start):
        if not self.keeps:
            return raw_data
        self.kept.append(raw_data)


class Picky(MemoryFileUploadHandler):
    """Makes no file of what is called ``kept...``."""

    def file_complete(self, file_size):
        if not self.file_name.startswith("kept"):
            return super().file_complete(file_size)


class Skips(ProjectHandler):
    """Skips files called ``skipped...``."""

    def receive_data_chunk(self, raw_data, start):
        if self.file_name.startswith("skipped"):
            raise SkipFile
        return raw_data


# Whether the connection is reset, at what, and of which files.
STOPS = [
    *product(
        [True, False],
        ["new_file", "receive_data_chunk", "file_complete"],
        [["stop", "a"], ["a", "stop"], ["a", "stop", "b"]],
    )
]


class StopsAtFile(ProjectHandler):
    """Stops the upload at a file called ``stop``."""

    connection_reset = False
    at = "new_file"

    def new_file(self, *args, **kwargs):
        super().new_file(*args, **kwargs)
        self.stop_at("new_file")

    def receive_data_chunk(self, raw_data, start):
        self.stop_at("receive_data_chunk")
        return raw_data

    def file_complete(self, file_size):
        self.stop_at("file_complete")

    def stop_at(self, method):
        if (self.file_name, self.at) == ("stop", method):
            raise StopUpload(connection_reset=self.connection_reset)


class FullDisk(Meter):
    """Keeps a file of its own, whose last bytes find no room."""

    file = None

    def new_file(self, *args, **kwargs):
        super().new_file(*args, **kwargs)
        self.file = self

    def close(self):
        raise OSError(errno.ENOSPC, "no space here")


class Scans(ProjectHandler):
    """Raises an error of its own."""

    def file_complete(self, file_size):
        raise RuntimeError("The scanner is out of order.")


class TestHandlersOfTheProject:
    @pytest.mark.parametrize("last", [MEMORY, TEMPORARY])
    def test_handler_sees_every_file(self, client, settings, meter, last):
        settings.FILE_UPLOAD_HANDLERS = [f"{__name__}.Meter", last]

        response = upload(client, {"a.txt": b"1234", "b.txt": b"567"})

        assert names(response) == meter.names == ["a.txt", "b.txt"]
        assert meter.received == [4, 3]

    def test_file_that_a_handler_keeps_is_not_stored(self, client, settings):
        settings.FILE_UPLOAD_HANDLERS = [f"{__name__}.Picky"]
        body = in_fields(
            ("f", "kept.txt"), ("f", "a.txt"), ("g", "b.txt"), ("g", "kept.png"),
            ("f", "c.txt"),
        )  # fmt: skip

        response = send(client, body)

        assert names(response) == ["a.txt", "b.txt", "c.txt"]
        assert shelf(client) == {"a.txt": b"1", "b.txt": b"2", "c.txt": b"4"}

    def test_content_that_a_handler_keeps_is_not_stored(
        self, client, settings, monkeypatch
    ):
        settings.FILE_UPLOAD_HANDLERS = [f"{__name__}.Keeps", MEMORY]
        monkeypatch.setattr(Keeps, "kept", kept := [])

        send(client, in_fields(("f", "kept.txt"), ("f", "a.txt")))

        assert kept == [b"0"]
        assert shelf(client) == {"a.txt": b"1", "kept.txt": b""}

    def test_form_of_which_a_handler_keeps_all_has_no_file(self, client, settings):
        settings.FILE_UPLOAD_HANDLERS = [f"{__name__}.Picky"]

        response = send(client, in_fields(("f", "kept.txt"), ("g", "kept.png")))

        assert problem(response) == (400, "no_file")

    @pytest.mark.parametrize("last", [MEMORY, TEMPORARY])
    @pytest.mark.parametrize(
        "order", [*permutations(["a.txt", "skipped.txt", "b.txt"])]
    )
    def test_file_that_a_handler_skips_is_not_stored(
        self, client, settings, temporary, last, order
    ):
        settings.FILE_UPLOAD_HANDLERS = [f"{__name__}.Skips", last]

        response = send(client, in_fields(*(("f", name) for name in order)))

        assert names(response) == ["a.txt", "b.txt"]
        assert shelf(client) == {
            name: str(order.index(name)).encode() for name in ("a.txt", "b.txt")
        }
        assert list(temporary.iterdir()) == []

    @pytest.mark.parametrize("name", ["kept.txt", "skipped.txt"])
    def test_file_that_is_not_stored_spends_no_quota(self, client, settings, name):
        settings.FILE_UPLOAD_HANDLERS = [f"{__name__}.Skips", f"{__name__}.Picky"]
        settings.SESSION_ATTACHMENTS_MAX_BUNDLE_FILES = 1
        settings.SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE = 5 / MEGABYTE

        response = send(client, form(part(b"1234", name), part(b"12", "a.txt")))

        assert names(response) == ["a.txt"]

    @pytest.mark.parametrize(
        ("last", "reset", "at", "order"),
        [
            *((TEMPORARY, *stop) for stop in STOPS),
            *((MEMORY, *stop) for stop in STOPS[::4]),
        ],
    )
    def test_upload_that_a_handler_stops_stores_nothing(
        self, client, settings, monkeypatch, stored, temporary, last, reset, at, order
    ):
        upload(client, {"a": b"old"})
        before = stored()
        settings.FILE_UPLOAD_HANDLERS = [f"{__name__}.StopsAtFile", last]
        monkeypatch.setattr(StopsAtFile, "at", at)
        monkeypatch.setattr(StopsAtFile, "connection_reset", reset)

        response = send(client, in_fields(*(("f", name) for name in order)))

        assert problem(response) == (400, "incomplete_upload")
        assert stored() == before
        assert list(temporary.iterdir()) == []
        assert shelf(client) == {"a": b"old"}

    def test_file_that_cannot_be_closed_leaves_no_other_open(
        self, client, settings, temporary
    ):
        settings.FILE_UPLOAD_HANDLERS = [f"{__name__}.FullDisk", TEMPORARY]
        settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 0.5

        response = send(client, form(BIG))

        assert problem(response) == (507, "insufficient_storage")
        assert list(temporary.iterdir()) == []

    def test_error_of_a_handler_is_the_projects(self, client, settings, temporary):
        settings.FILE_UPLOAD_HANDLERS = [f"{__name__}.Scans", TEMPORARY]
        wire = Wire(form(part(), BIG))
        client.raise_request_exception = False

        response = send(
            client, b"", length=len(wire.getvalue()), **{"wsgi.input": wire}
        )

        assert response.status_code == 500
        assert list(temporary.iterdir()) == []
        assert wire.tell() == len(wire.getvalue())


class ProjectParser(MultiPartParser):
    """A parser of the project's, which names files in its own way."""

    def sanitize_file_name(self, file_name):
        return f"project-{file_name}"


def chooses_parser(get_response):
    """Choose the parser, as a middleware of the project's may since Django 6.1."""

    def middleware(request):
        request.multipart_parser_class = ProjectParser
        return get_response(request)

    return middleware


def test_parser_may_be_the_projects(client, settings):
    settings.MIDDLEWARE = [f"{__name__}.chooses_parser", *settings.MIDDLEWARE]

    assert names(upload(client, {"spam.txt": b"spam\n"})) == ["project-spam.txt"]


def reads_form(get_response):
    """Read the form before the view, as a middleware of the project's may."""

    def middleware(request):
        request.POST.get("spam")
        return get_response(request)

    return middleware


def reads_body(get_response):
    """Read the body before the view, as a middleware of the project's may."""

    def middleware(request):
        request.spam = len(request.body)
        return get_response(request)

    return middleware


@pytest.mark.parametrize("middleware", ["reads_form", "reads_body"])
class TestMiddlewareThatReads:
    @pytest.fixture(autouse=True)
    def installed(self, settings, temporary, middleware):
        settings.MIDDLEWARE = [f"{__name__}.{middleware}", *settings.MIDDLEWARE]

    def test_upload_is_stored(self, client):
        files = {"spam.txt": b"spam\n", "e\u0301.txt": b"egg\n"}

        response = upload(client, files)

        assert names(response) == ["spam.txt", "é.txt"]
        assert shelf(client) == {"spam.txt": b"spam\n", "é.txt": b"egg\n"}

    @pytest.mark.parametrize(
        ("setting", "code"),
        [
            ("SESSION_ATTACHMENTS_MAX_FILE_SIZE", "file_too_large"),
            ("SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE", "bundle_too_large"),
            ("SESSION_ATTACHMENTS_MAX_BUNDLE_FILES", "too_many_files"),
            ("SESSION_ATTACHMENTS_MAX_SESSION_SIZE", "session_too_large"),
        ],
    )
    def test_limits_hold(self, client, settings, stored, temporary, setting, code):
        setattr(settings, setting, 0)

        response = upload(client, {"spam.txt": b"spam\n"})

        assert problem(response) == (413, code)
        assert stored() == []
        assert list(temporary.iterdir()) == []

    @pytest.mark.parametrize("body", [b"", form(), form(part(b"egg", None))])
    def test_form_without_a_file_is_refused(self, client, body):
        assert problem(send(client, body)) == (400, "no_file")

    def test_list_and_deletion_go_on(self, client):
        upload(client, {"spam.txt": b"spam\n"})

        assert names(client.get(URL)) == ["spam.txt"]
        assert client.post(f"{URL}delete/").content == b"[[true]]\r\n"


class TestAsgi:
    """Under ASGI the whole body is there before the view."""

    def post(self, client, *args):
        async def post():
            return await client.generic("POST", URL, *args)

        return async_to_sync(post)()

    def test_upload_is_stored(self, async_client):
        response = self.post(async_client, form(part()), MULTIPART)

        assert names(response) == ["spam.txt"]

    def test_body_may_be_none(self, async_client):
        assert problem(self.post(async_client)) == (400, "no_file")


NAMES = {
    "spaces": (" a  b .txt ", " a  b .txt "),
    "quotes": (r"it's \"quoted\".txt", 'it\'s "quoted".txt'),
    "punctuation": ("a;b#c?d%e&f=g,h*.txt", "a;b#c?d%e&f=g,h*.txt"),
    "percent escapes": ("a%20b%2Fc%00.txt", "a%20b%2Fc%00.txt"),
    "Cyrillic": ("Отчёт за ноябрь.txt", "Отчёт за ноябрь.txt"),
    "emoji": ("😀🇩🇪.txt", "😀🇩🇪.txt"),
    "emoji with a joiner": ("👩\u200d🚀.txt", "👩🚀.txt"),
    "HTML entities": ("Tom &amp; J&eacute;r&#244;me.txt", "Tom & Jérôme.txt"),
    "HTML entity of a slash": ("a&#47;b.txt", "b.txt"),
    "no-break space": ("a\u00a0b\u202fc.txt", "abc.txt"),
    "right-to-left override": ("gpj.\u202eexe", "gpj.exe"),
    "control characters": ("a\x01b\x7fc\x85.txt", "abc.txt"),
    "NUL": ("a\0b.txt", "ab.txt"),
    "folders": ("/etc/cron.d/spam.txt", "spam.txt"),
    "folders upwards": ("../../../spam.txt", "spam.txt"),
    "folders of Windows": (r"C:\\docs\\spam.txt", "spam.txt"),
    "drive": ("C:spam.txt", "C:spam.txt"),
    "hidden file": (".htaccess", ".htaccess"),
    "dots": ("...", "..."),
    "script": ("shell.php.jpg", "shell.php.jpg"),
    "markup": ("<img src=x onerror=alert(1)>.txt", "<img src=x onerror=alert(1)>.txt"),
    "decomposed": ("Re\u0301sume\u0301.txt", "Résumé.txt"),
    "compatibility characters": ("ﬁ²Å.txt", "ﬁ²Å.txt"),
    "no type": ("spam", "spam"),
    "reserved by Windows": ("CON", "CON"),
}


@pytest.mark.database
class TestNames:
    @pytest.mark.parametrize(("sent", "name"), NAMES.values(), ids=NAMES)
    @pytest.mark.parametrize("handler", [MEMORY, TEMPORARY])
    def test_name_is_kept_and_finds_the_file(
        self, client, settings, stored, handler, sent, name
    ):
        settings.FILE_UPLOAD_HANDLERS = [handler]

        response = send(client, form(part(name=sent)))

        assert names(response) == names(client.get(URL)) == [name]
        assert shelf(client) == {name: b"spam\n"}
        (stored_name,) = stored()
        assert re.fullmatch(
            r"session_attachments/\d{4}-\d\d-\d\d/[0-9a-f]{32}", stored_name
        )

    def test_name_may_be_encoded_as_in_rfc_8187(self, client):
        body = form(part()).replace(
            b'filename="spam.txt"', b"filename*=UTF-8''%e2%82%ac%20rates.txt"
        )

        assert names(send(client, body)) == ["€ rates.txt"]

    def test_unknown_charset_is_utf_8(self, client):
        body = form(part(name="Отчёт.txt"))

        assert names(send(client, body, f"{MULTIPART}; charset=spam")) == ["Отчёт.txt"]

    @pytest.mark.parametrize("form_", ["NFC", "NFD"])
    def test_name_is_found_in_every_normal_form(self, client, form_):
        upload(client, {unicodedata.normalize("NFD", "Résumé.txt"): b"spam\n"})

        url = f"{URL}{quote(unicodedata.normalize(form_, 'Résumé.txt'))}/"

        assert content(client.get(url)) == b"spam\n"
        assert client.post(f"{url}delete/").content == b"[true]\r\n"
