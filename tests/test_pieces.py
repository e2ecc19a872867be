"""Pieces of files, as uploaders send them in chunks: refused, and nothing is stored."""

import pytest

from tests.clients import MULTIPART, URL, form, names, part, problem, send, shelf

pytestmark = pytest.mark.django_db

# What each client sends with its second piece of three, as it was seen to.
CLIENTS = {
    "Dropzone": {
        "dzuuid": "2f9c", "dzchunkindex": "1", "dztotalfilesize": "3000000",
        "dzchunksize": "1000000", "dztotalchunkcount": "3",
        "dzchunkbyteoffset": "1000000",
    },
    "Fine Uploader": {
        "qqpartindex": "1", "qqpartbyteoffset": "1000000", "qqchunksize": "1000000",
        "qqtotalparts": "3", "qqtotalfilesize": "3000000", "qqfilename": "big.bin",
        "qquuid": "2f9c",
    },
    "Resumable.js": {
        "resumableChunkNumber": "2", "resumableChunkSize": "1000000",
        "resumableTotalSize": "3000000", "resumableTotalChunks": "3",
        "resumableIdentifier": "3000000-bigbin", "resumableFilename": "big.bin",
    },
    "flow.js": {
        "flowChunkNumber": "2", "flowChunkSize": "1000000", "flowTotalSize": "3000000",
        "flowIdentifier": "3000000-bigbin", "flowFilename": "big.bin",
        "flowTotalChunks": "3",
    },
    "Plupload": {"name": "big.bin", "chunk": "1", "chunks": "3"},
}  # fmt: skip
TOTALS = {
    "Dropzone": "dztotalchunkcount",
    "Fine Uploader": "qqtotalparts",
    "Resumable.js": "resumableTotalChunks",
    "flow.js": "flowTotalChunks",
    "Plupload": "chunks",
}
INDEXES = {
    "Dropzone": "dzchunkindex",
    "Fine Uploader": "qqpartindex",
    "Resumable.js": "resumableChunkNumber",
    "flow.js": "flowChunkNumber",
    "Plupload": "chunk",
}
HEADERS = {
    # blueimp's; it sends its name in a header, too.
    "Content-Range": "bytes 1000000-1999999/3000000",
    "Upload-Complete": "?0",
    "Upload-Incomplete": "?1",
}
each_client = pytest.mark.parametrize("client_", CLIENTS)
# Neither a number of ASCII digits nor one that any client sends.
NO_NUMBERS = [
    "",
    "many",
    "2.0",
    "-2",
    "+2",
    " 2",
    "0x2",
    "٢",
    "1_0",
    "9" * 16,
    "9" * 99,
]


def fields(values):
    """Return the parts of these fields."""
    return [part(value.encode(), None, name) for name, value in values.items()]


@pytest.fixture
def old(client):
    """Store a file; return what the bundle holds."""
    send(client, form(part(b"old", "big.bin")))
    return {"big.bin": b"old"}


@pytest.fixture
def reading(settings):
    """Let a middleware read each form before the view, from the first request on."""
    settings.MIDDLEWARE = [
        "tests.test_uploadhandlers.reads_form",
        *settings.MIDDLEWARE,
    ]


@pytest.fixture
def seen(settings, monkeypatch, temporary):
    """Return the list of files that a handler of the project's is asked to take."""
    settings.FILE_UPLOAD_HANDLERS = [
        "tests.test_uploadhandlers.Meter",
        "django.core.files.uploadhandler.TemporaryFileUploadHandler",
    ]
    monkeypatch.setattr("tests.test_uploadhandlers.Meter.names", seen := [])
    return seen


@each_client
class TestFields:
    @pytest.mark.parametrize("name", ["big.bin", "blob"])
    def test_piece_is_refused_before_it_is_kept(
        self, client, old, seen, stored, temporary, client_, name
    ):
        before = stored()
        settled = len(seen)

        response = send(client, form(*fields(CLIENTS[client_]), part(b"piece", name)))

        assert problem(response) == (400, "chunked_upload")
        assert seen[settled:] == []
        assert list(temporary.iterdir()) == []
        assert stored() == before
        assert shelf(client) == old

    def test_piece_is_refused_whose_fields_come_last(
        self, client, old, stored, temporary, client_
    ):
        before = stored()

        response = send(
            client, form(part(b"piece", "big.bin"), *fields(CLIENTS[client_]))
        )

        assert problem(response) == (400, "chunked_upload")
        assert list(temporary.iterdir()) == []
        assert stored() == before
        assert shelf(client) == old

    def test_piece_of_two_is_refused(self, client, old, client_):
        values = {**CLIENTS[client_], TOTALS[client_]: "2"}

        response = send(client, form(*fields(values), part(b"piece", "big.bin")))

        assert problem(response) == (400, "chunked_upload")
        assert shelf(client) == old

    def test_piece_is_refused_that_a_middleware_has_read(
        self, client, reading, old, stored, client_
    ):
        before = stored()

        response = send(client, form(*fields(CLIENTS[client_]), part(b"piece")))

        assert problem(response) == (400, "chunked_upload")
        assert stored() == before
        assert shelf(client) == old

    def test_file_in_one_piece_is_stored(self, client, client_):
        values = {**CLIENTS[client_], TOTALS[client_]: "1", INDEXES[client_]: "0"}

        response = send(client, form(*fields(values), part(b"whole")))

        assert names(response) == ["spam.txt"]
        assert shelf(client) == {"spam.txt": b"whole"}

    @pytest.mark.parametrize("number", NO_NUMBERS)
    @pytest.mark.parametrize("where", [TOTALS, INDEXES])
    def test_what_is_no_number_is_a_field_like_any_other(
        self, client, client_, where, number
    ):
        values = {**CLIENTS[client_], where[client_]: number}

        response = send(client, form(*fields(values), part(b"whole")))

        assert names(response) == ["spam.txt"]

    @pytest.mark.parametrize("missing", [TOTALS, INDEXES])
    def test_one_number_alone_says_nothing(self, client, client_, missing):
        values = {**CLIENTS[client_]}
        del values[missing[client_]]

        assert names(send(client, form(*fields(values), part()))) == ["spam.txt"]

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    @pytest.mark.parametrize("total", ["1", "3"])
    def test_question_for_a_piece_has_no_list_for_an_answer(
        self, client, old, client_, method, total
    ):
        query = {**CLIENTS[client_], TOTALS[client_]: total}

        response = client.generic(method, URL, query_params=query)

        assert response.status_code == 400
        if method == "GET":
            assert problem(response) == (400, "chunked_upload")
        assert names(client.get(URL, {"page": "2"})) == ["big.bin"]

    def test_question_starts_no_session(self, client, client_):
        response = client.get(URL, CLIENTS[client_])

        assert not response.cookies


class TestHeaders:
    @pytest.mark.parametrize(("header", "value"), HEADERS.items())
    def test_piece_is_refused_before_it_is_read(
        self, client, old, seen, stored, header, value
    ):
        before = stored()
        settled = len(seen)

        response = client.generic(
            "POST", URL, form(part(b"piece", "big.bin")), MULTIPART,
            headers={header: value},
        )  # fmt: skip

        assert problem(response) == (400, "chunked_upload")
        assert seen[settled:] == []
        assert stored() == before
        assert shelf(client) == old

    @pytest.mark.parametrize(("header", "value"), HEADERS.items())
    def test_piece_is_refused_that_is_put(self, client, old, stored, header, value):
        before = stored()

        response = client.generic(
            "PUT", f"{URL}big.bin", b"piece", headers={header: value}
        )

        assert problem(response) == (400, "chunked_upload")
        assert stored() == before
        assert shelf(client) == old

    @pytest.mark.parametrize(
        ("header", "value"), [("Upload-Complete", "?1"), ("Upload-Incomplete", "?0")]
    )
    def test_whole_file_is_put(self, client, header, value):
        client.generic("PUT", f"{URL}a", b"whole", headers={header: value})

        assert shelf(client) == {"a": b"whole"}

    @pytest.mark.parametrize(
        ("header", "value"), [("Upload-Complete", "?1"), ("Upload-Incomplete", "?0")]
    )
    def test_whole_file_is_stored(self, client, header, value):
        response = client.generic(
            "POST", URL, form(part()), MULTIPART, headers={header: value}
        )

        assert names(response) == ["spam.txt"]

    def test_header_means_nothing_to_a_list(self, client, old):
        response = client.get(URL, headers=HEADERS)

        assert names(response) == ["big.bin"]
