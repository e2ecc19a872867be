"""openapi.json describes the URLs: all that is in it is answered, and nothing else."""

import errno
import json
import re
import subprocess
import sys
from base64 import b64encode
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import pytest
from django.contrib.sessions.backends import db
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils.http import http_date
from hypothesis import example, given
from hypothesis import strategies as st

from session_attachments import urls
from session_attachments.exceptions import AttachmentsGone
from session_attachments.models import Attachment, UnfinishedUpload
from session_attachments.web.responses import STATUSES
from tests import servers
from tests.clients import MULTIPART, NEEDS, PIECE, form, part, send
from tests.project.models import Contract
from tests.servers import TOKEN, running
from tests.settings import INSTALLED_APPS, LOOPS, MIDDLEWARE
from tests.storages import attach, failing, store_in, unfinished
from tests.tries import tries

FILE = Path(__file__).with_name("openapi.json")
DOCUMENT = json.loads(FILE.read_text())
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method != "parameters"
}
POSTS = [label for label in OPERATIONS if label.startswith("POST ")]
UPLOAD = "POST /attachments/{bundle_id}/"
PATCHES = [label for label in OPERATIONS if label.startswith("PATCH ")]
PUTS = [label for label in OPERATIONS if label.startswith("PUT ")]

WITHOUT_CSRF = [path for path in MIDDLEWARE if "csrf" not in path]
KILOBYTE = 1000 / 1024 / 1024
LIMITS = {
    "DATA_UPLOAD_MAX_MEMORY_SIZE": 1000,
    "DATA_UPLOAD_MAX_NUMBER_FIELDS": 5,
    "DATA_UPLOAD_MAX_NUMBER_FILES": 5,
    "SESSION_ATTACHMENTS_MAX_BUNDLE_FILES": 3,
    "SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE": 1.5 * KILOBYTE,
    "SESSION_ATTACHMENTS_MAX_FILE_SIZE": KILOBYTE,
    "SESSION_ATTACHMENTS_MAX_SESSION_SIZE": 2 * KILOBYTE,
    "SESSION_ATTACHMENTS_VALIDATORS": ["tests.system.served.no_programs"],
}


def cookies(session):
    """Return a header with the cookies of this session and of the CSRF token."""
    return f"sessionid={session}; csrftoken={TOKEN}"


def resolve(node):
    """Return ``node``, or what it refers to."""
    found = DOCUMENT
    for key in node.get("$ref", "#").split("/")[1:]:
        found = found[key]
    return found if "$ref" in node else node


def described(label):
    """Return the operation's responses by status."""
    responses = OPERATIONS[label]["responses"]
    return {int(status): resolve(responses[status]) for status in responses}


def codes(response):
    """Return the codes, with their statuses, of the problems that it may be."""
    content = response.get("content", {}).get("application/problem+json", {})
    schema = content.get("schema", {"oneOf": []})
    problems = [resolve(problem) for problem in schema.get("oneOf", [schema])]
    return {
        problem["properties"]["code"]["const"]: problem["properties"]["status"]["const"]
        for problem in problems
    }


class TestDescription:
    def test_codes_are_those_of_the_app(self):
        found = {}
        for label in OPERATIONS:
            for status, response in described(label).items():
                assert set(codes(response).values()) <= {status}
                found |= codes(response)

        # No URL takes attachments.
        assert found | {AttachmentsGone.code: 409} == STATUSES

    def test_paths_are_those_of_the_app(self):
        assert list(DOCUMENT["paths"]) == [
            "/attachments/" + re.sub(r"<str:(\w+)>", r"{\1}", str(pattern.pattern))
            for pattern in urls.urlpatterns
            if pattern.name
        ]

    @pytest.mark.parametrize("path", DOCUMENT["paths"])
    def test_methods_are_those_of_the_app(self, client, path):
        allowed = client.options(path).headers["Allow"].split(", ")

        assert set(allowed) == {
            label.split()[0]
            for label in OPERATIONS
            if label.endswith(f" {path}") and {200, 204} & {*described(label)}
        }


needs_schemathesis = pytest.mark.skipif(
    find_spec("schemathesis") is None, reason="needs schemathesis"
)
# It comes with schemathesis. The environments without it leave out what is `server`.
jsonschema_rs = find_spec("jsonschema_rs") and import_module("jsonschema_rs")
needs_validator = pytest.mark.skipif(
    jsonschema_rs is None, reason="needs jsonschema-rs"
)

KEY = "kept" * 8

# Unfinished uploads of draft-7 and of the bundle in use, and a finished one of that.
RESUMED, IN_VAIN, DONE = "a" * 32, "b" * 32, "c" * 32
TYPES_OF = {"PUT": "text/plain", "PATCH": PIECE}
TUS = {"HTTP_TUS_RESUMABLE": "1.0.0", "HTTP_UPLOAD_OFFSET": "5"}


@cache
def validator(schema):
    """Return what validates by this schema, which is JSON, of the document."""
    components = DOCUMENT["components"]
    return jsonschema_rs.validator_for({**json.loads(schema), "components": components})


def validate(value, schema):
    """Raise if ``value`` is not as the schema says."""
    validator(json.dumps(schema)).validate(value)


def check(label, response):
    """Raise if the answer is not described, or is not as it is described."""
    body = b"".join(response)
    assert response.status_code in described(label), body
    wanted = described(label)[response.status_code]
    headers = {name: resolve(node) for name, node in wanted.get("headers", {}).items()}
    validate(
        dict(response.headers),
        {
            "properties": {name: headers[name]["schema"] for name in headers},
            "required": [name for name in headers if headers[name].get("required")],
        },
    )
    if label.startswith("HEAD ") or "content" not in wanted:
        assert body == b""
        return
    type_ = response.headers["Content-Type"].partition(";")[0]
    media = wanted["content"]["*/*" if "*/*" in wanted["content"] else type_]
    if "schema" in media:
        validate(json.loads(body), media["schema"])
        assert body == f"{json.dumps(json.loads(body))}\r\n".encode()


def ask(label, bundle="draft-7", name="spam.txt", upload=RESUMED, **options):
    """Send a request; return its answer, which is as described."""
    method, path = label.split()
    has_file = method in {"PUT", "PATCH"}
    options = {
        "body": form(part()) if method == "POST" else b"spam\n" * has_file,
        "content_type": TYPES_OF.get(method, MULTIPART),
        "HTTP_COOKIE": cookies(KEY),
        "HTTP_X_CSRFTOKEN": TOKEN,
        **(TUS if "upload_id" in path else {}),
        **options,
    }
    client = Client(enforce_csrf_checks=True)
    url = path.format(bundle_id=bundle, file_name=name, upload_id=upload)
    response = send(client, url=url, method=method, **options)
    check(label, response)
    return response


class SessionStore(db.SessionStore):
    """A session engine whose disk is full."""

    def create(self):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def limits(settings):
    """Set low limits; let the session KEY be there; return the settings."""
    for name, value in LIMITS.items():
        setattr(settings, name, value)
    db.SessionStore(KEY).save(must_create=True)
    return settings


def keep():
    """See to it that the session KEY has its attachments, those of a bundle in use."""
    if Attachment.objects.count() == 4:
        return
    Contract.objects.all().delete()
    Attachment.objects.all().delete()
    for name in ("spam.txt", "delete"):
        attach(name, b"spam" * 50, session_id=KEY, bundle="draft-7")
        used = attach(name, b"spam" * 50, session_id=KEY, bundle="contract")
        Contract.objects.create(attachment=used)


def keep_uploads():
    """See to it that the session KEY has its uploads."""
    UnfinishedUpload.objects.all().delete()
    ours = {"session_id": KEY, "size": 10}
    unfinished(b"spam\n", upload_id=RESUMED, bundle="draft-7", **ours)
    unfinished(b"spam\n", upload_id=IN_VAIN, bundle="contract", **ours)
    file = Attachment.objects.get(bundle="contract", filename="spam.txt").file
    unfinished(upload_id=DONE, bundle="contract", offset=10, stored=str(file), **ours)


URLENCODED = "application/x-www-form-urlencoded"
CHUNKED = {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}

# What is sent to be answered so, if it is not the plain request.
REQUESTS = {
    201: {"bundle": "empty"},
    206: {"HTTP_RANGE": "bytes=1-2"},
    304: {"HTTP_IF_NONE_MATCH": "*"},
    403: {"HTTP_X_CSRFTOKEN": ""},
    412: {"HTTP_IF_MATCH": '"x"'},
    416: {"HTTP_RANGE": "bytes=999-"},
    "bad_bundle": {"bundle": "a%0Ab"},
    "bad_form": {"body": form(*[part(b"", None)] * 6), "QUERY_STRING": "a&" * 6},
    "bad_name": {"body": form(part(), part(name=".."))},
    "bundle_too_large": {"body": form(*(part(b"b" * 800, f"{n}") for n in range(2)))},
    "chunked_upload": {
        "HTTP_CONTENT_RANGE": "bytes 0-4/9",
        "QUERY_STRING": "flowChunkNumber=1&flowTotalChunks=1",
    },
    "file_too_large": {"body": form(part(b"b" * 1001))},
    "form_too_large": {"body": form(part(b"f" * 1001, None))},
    "incomplete_upload": {"content_type": "multipart/form-data"},
    "insufficient_storage": {"HTTP_COOKIE": cookies("unknown")},
    "invalid": {"body": form(part(name="a.exe"))},
    "length_required": CHUNKED,
    "no_file": {"content_type": f"{URLENCODED}; charset=koi8-r"},
    "not_found": {"bundle": "empty"},
    "protected": {"bundle": "contract"},
    "session_too_large": {
        "bundle": "empty",
        "body": form(part(b"b" * 900), part(b"b" * 500, "b")),
    },
    "too_many_files": {"body": form(*[part()] * 6)},
    "unsupported_media_type": {"content_type": MULTIPART},
}
OF_PUT = {
    "bad_name": {"name": "a%5Cb"},
    "bundle_too_large": {},
    "file_too_large": {"body": b"b" * 1001},
    "incomplete_upload": {"length": 99},
    "invalid": {"name": "a.exe"},
    "session_too_large": {},
    "too_many_files": {},
}
BEGIN = {
    "body": b"",
    "content_type": "",
    "HTTP_TUS_RESUMABLE": "1.0.0",
    "HTTP_UPLOAD_LENGTH": "5",
    "HTTP_UPLOAD_METADATA": "filename c3BhbS50eHQ=",
}
OF_UPLOAD = {
    201: BEGIN,
    "bad_header": {**BEGIN, "HTTP_UPLOAD_LENGTH": "five"},
    "unsupported_media_type": {
        **BEGIN,
        "body": b"spam\n",
        "content_type": "text/plain",
    },
    "unsupported_version": {**BEGIN, "HTTP_TUS_RESUMABLE": "0.2.2"},
}
OF_RESUMED = {
    "bad_header": {"HTTP_UPLOAD_OFFSET": "five"},
    "bundle_too_large": {},
    "file_too_large": {"body": b"spam and more"},
    "insufficient_storage": {},
    "invalid": {},
    "session_too_large": {},
    "too_many_files": {},
    "unsupported_version": {"HTTP_TUS_RESUMABLE": "0.2.2"},
    "wrong_offset": {"HTTP_UPLOAD_OFFSET": "4"},
}
# A quota of nothing: one file exceeds it.
QUOTAS = {
    "bundle_too_large": "SESSION_ATTACHMENTS_MAX_BUNDLE_SIZE",
    "session_too_large": "SESSION_ATTACHMENTS_MAX_SESSION_SIZE",
    "too_many_files": "SESSION_ATTACHMENTS_MAX_BUNDLE_FILES",
}


@needs_validator
@pytest.mark.server
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("label", "answer"),
    [
        (label, answer)
        for label in OPERATIONS
        for status, response in described(label).items()
        for answer in codes(response) or [status]
    ],
)
def test_described_answer_is_given(limits, label, answer):
    keep()
    requests = REQUESTS
    if "upload_id" in label:
        keep_uploads()
        used = DONE if label.startswith("DELETE") else IN_VAIN
        protected = {"bundle": "contract", "upload": used}
        requests = {**REQUESTS, **OF_RESUMED, "protected": protected}
    if label == UPLOAD:
        requests = {**REQUESTS, **OF_UPLOAD}
    if label in PUTS:
        requests = {**REQUESTS, **OF_PUT}
    if label in PUTS + PATCHES and answer in QUOTAS:
        setattr(limits, QUOTAS[answer], 0)
    if label in PATCHES and answer == "insufficient_storage":
        store_in(limits, failing("save", OSError(errno.ENOSPC, "no space here")))
    elif answer == "insufficient_storage":
        limits.SESSION_ENGINE = __name__
    if label in PATCHES and answer == "invalid":
        limits.SESSION_ATTACHMENTS_VALIDATORS = [f"{__name__}.nothing"]

    response = ask(label, **requests.get(answer, {}))

    status = STATUSES.get(answer, answer)
    assert response.status_code == status
    if status != answer and not label.startswith("HEAD "):
        assert response.json()["code"] == answer


def nothing(file):
    """Validate as a project that takes no files."""
    raise ValidationError(f"Not {file.name}.")


def rarely(hostile, plain):
    """Make up something plain, and now and then something hostile."""
    choices = st.sampled_from([plain, plain, plain, hostile])
    return choices.flatmap(lambda chosen: chosen)


CHARSETS = ["utf-16", "base64", "idna", "punycode", "undefined", "x", "\xe9"]
TYPES = [
    *(f"{MULTIPART}; charset={charset}" for charset in CHARSETS),
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=\xe9",
    f"multipart/form-data; boundary={'l' * 300}",
    "multipart/mixed; boundary=limit",
    URLENCODED,
    f"{URLENCODED}; charset=koi8-r",
    "application/json",
    "nonsense",
    "",
]
PART_HEADERS = [
    "Content-Disposition: form-data\r\n",
    "Content-Length: 99\r\n",
    "Content-Transfer-Encoding: base64\r\n",
    "Content-Transfer-Encoding: quoted-printable\r\n",
    "Content-Type: multipart/mixed; boundary=limit\r\n",
    "Content-Type: text/plain; charset=base64\r\n",
    "Content-Type: text/plain; charset=\0\r\n",
    f"X: {'x' * 1024}\r\n",
    "\0",
]
ENDS = [b"--limit--", b"--limit\r\n", b"--lim", b"", b"\r\n--limit--\r\nepilogue"]
LENGTHS = [CHUNKED, *({"CONTENT_LENGTH": length} for length in ("", "0", "9", "9999"))]

NAMES = ["..", "", "a.exe", "n" * 256, 'a"b', "&#47;"]
PARTS = st.builds(
    part,
    st.binary(max_size=9) | st.sampled_from([500, 800, 1000, 1001]).map(bytes),
    rarely(
        st.none() | st.text(max_size=9) | st.sampled_from(NAMES),
        st.sampled_from(["spam.txt", "egg.txt"]),
    ),
    rarely(st.text(max_size=9) | st.just("csrfmiddlewaretoken"), st.just("file")),
    rarely(st.sampled_from(PART_HEADERS), st.just("")),
)
FORMS = st.builds(
    lambda parts, end: form(*parts, end=end),
    st.lists(rarely(st.binary(max_size=9), PARTS), max_size=6),
    rarely(st.sampled_from(ENDS), st.just(b"--limit--\r\n")),
)

TEXT = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]))
RANGES = ["bytes=-", "bytes=9-1", "bytes=-0", f"bytes=1-{'9' * 700}", "bytes=0-1,3-4"]
RANGE = st.from_regex(r"bytes=\d{0,3}-\d{0,3}", fullmatch=True)
TAGS = st.sampled_from(["*", '"x"', 'W/"x"', '"x", W/"y"'])
DATES = st.sampled_from([0, 4e9]).map(http_date)
SESSIONS = rarely(TEXT, st.sampled_from([KEY, KEY.upper(), f"{KEY}."]))
HEADERS = {
    "HTTP_RANGE": st.sampled_from(RANGES) | RANGE | TEXT,
    "HTTP_IF_RANGE": TAGS | DATES | TEXT,
    "HTTP_IF_MATCH": TAGS | TEXT,
    "HTTP_IF_NONE_MATCH": TAGS | TEXT,
    "HTTP_IF_MODIFIED_SINCE": DATES | TEXT,
    "HTTP_IF_UNMODIFIED_SINCE": DATES | TEXT,
    "HTTP_COOKIE": rarely(TEXT, SESSIONS.map(cookies)),
    "HTTP_X_CSRFTOKEN": rarely(TEXT, st.just(TOKEN)),
}
NUMBERS = ["", "5", "10", "+5", "-5", "5.0", "1e1", "\xb2", "9" * 15, "9" * 16]
METADATA = [
    "",
    "filename",
    "name Zm9v,",
    "filename Zm9v,filename Zm9v",
    "filename Zg",
    "\xe9",
]
TUS_HEADERS = {
    "HTTP_TUS_RESUMABLE": rarely(TEXT, st.just("1.0.0")),
    "HTTP_UPLOAD_LENGTH": rarely(TEXT, st.sampled_from(NUMBERS)),
    "HTTP_UPLOAD_METADATA": TEXT
    | st.sampled_from(METADATA)
    | st.binary(max_size=9).map(lambda name: f"name {b64encode(name).decode()}"),
    "HTTP_UPLOAD_OFFSET": rarely(TEXT, st.sampled_from(NUMBERS)),
    "HTTP_UPLOAD_DEFER_LENGTH": st.just("1"),
    "HTTP_UPLOAD_CONCAT": st.just("partial"),
    "HTTP_X_HTTP_METHOD_OVERRIDE": st.sampled_from(["PATCH", "DELETE"]),
}
SEGMENTS = (
    (st.binary(min_size=1, max_size=9) | st.text(min_size=1).map(str.encode))
    .filter(lambda segment: b"/" not in segment and segment != b"delete")
    .map(quote)
)


def each(plain, **inputs):
    """Try each of these instead of the plain input, too."""

    def decorate(test):
        for name, values in inputs.items():
            for value in values:
                test = example(**{**plain, name: value})(test)
        return test

    return decorate


@pytest.mark.database
@needs_validator
@pytest.mark.server
@pytest.mark.soak
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("limits")
class TestHostileRequest:
    @pytest.mark.parametrize(
        "middleware", [MIDDLEWARE, WITHOUT_CSRF], ids=["CSRF", "no CSRF"]
    )
    @pytest.mark.parametrize("label", POSTS)
    @tries(40)
    @given(
        body=FORMS,
        type_=rarely(st.sampled_from(TYPES), st.just(MULTIPART)),
        length=rarely(st.sampled_from(LENGTHS), st.just({})),
    )
    @each(
        {"body": form(part(b"egg", None), part()), "type_": MULTIPART, "length": {}},
        body=[form(part(), part(headers=headers)) for headers in PART_HEADERS],
        type_=TYPES,
        length=LENGTHS,
    )
    def test_form_is_answered_as_described(
        self, settings, label, middleware, body, type_, length
    ):
        settings.MIDDLEWARE = middleware
        keep()

        ask(label, body=body, content_type=type_, **length)

    @pytest.mark.parametrize("label", PUTS)
    @tries(25)
    @given(
        name=rarely(st.sampled_from(NAMES).filter(bool).map(quote), st.just("new.txt")),
        body=st.binary(max_size=9) | st.sampled_from([900, 1001]).map(bytes),
        type_=rarely(st.sampled_from(TYPES), st.just("text/plain")),
        length=rarely(st.sampled_from(LENGTHS), st.just({})),
    )
    @each(
        {"name": "new.txt", "body": b"spam\n", "type_": "text/plain", "length": {}},
        type_=TYPES,
        length=LENGTHS,
    )
    def test_file_is_answered_as_described(self, label, name, body, type_, length):
        keep()

        ask(label, name=name, body=body, content_type=type_, **length)

    @pytest.mark.parametrize("label", [UPLOAD, *PATCHES])
    @tries(25)
    @given(
        headers=st.fixed_dictionaries({}, optional=TUS_HEADERS),
        body=st.binary(max_size=9) | st.sampled_from([900, 1001]).map(bytes),
        type_=rarely(st.sampled_from(TYPES), st.just(PIECE)),
        length=rarely(st.sampled_from(LENGTHS), st.just({})),
    )
    @each(
        {"headers": {}, "body": b"spam\n", "type_": PIECE, "length": {}},
        type_=TYPES,
        length=LENGTHS,
        headers=[{"HTTP_UPLOAD_METADATA": metadata} for metadata in METADATA],
    )
    def test_tus_is_answered_as_described(self, label, headers, body, type_, length):
        keep()
        keep_uploads()

        asked = {**BEGIN, **TUS, **headers, **length}
        ask(label, **{**asked, "body": body, "content_type": type_})

    @pytest.mark.parametrize("label", OPERATIONS)
    @tries(25)
    @given(
        bundle=rarely(SEGMENTS, st.sampled_from(["draft-7", "contract"])),
        name=rarely(SEGMENTS, st.just("spam.txt")),
        headers=st.fixed_dictionaries({}, optional=HEADERS),
    )
    @each(
        {"bundle": "draft-7", "name": "spam.txt"},
        headers=[{"HTTP_RANGE": wanted} for wanted in RANGES],
    )
    def test_url_is_answered_as_described(self, label, bundle, name, headers):
        keep()
        keep_uploads()

        ask(label, bundle, name, RESUMED if name == "spam.txt" else name, **headers)


# What the checks of schemathesis that are left out want, and the contract does not:
# - negative_data_rejection: 4xx for what no attachment can be called; that is [] or
#   [false] but for downloads and uploads.
# - positive_data_acceptance: 2xx for every good form, quotas or not.
# - use_after_free: 404 for a deleted bundle; it is an empty one.
# - ensure_resource_availability: 2xx for an attachment of another session.
# - allow_header_conformance: methods in Allow that are described as 405.
# - missing_required_header, ignored_auth, object_level_authorization: nothing, as the
#   description requires no header and no authorization.
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
]

# Where there is something, and what makes a difference, beside what is made up. The
# file called "delete" is in no list, or it would be tried in the URLs of others.
CONFIGURATION = """
hooks = "hooks.py"

[dictionaries]
bundles.values = ["draft-7", "other"]
unlisted.values = ["unlisted"]
names.values = ["spam.txt", "Отчёт 50%.pdf"]
ranges.values = ["bytes=0-1", "bytes=-2", "bytes=999-", "bytes=-", "bytes=0-1,3-4"]
tags.values = ["*", '"x"', 'W/"x"']
dates.values = ["Thu, 01 Jan 1970 00:00:00 GMT", "Sun, 02 Oct 2096 07:06:40 GMT"]
tokens.values = ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]

[parameters]
"path.bundle_id" = { dictionary = "bundles", probability = 0.7 }
"path.file_name" = { dictionary = "names", probability = 0.7 }
"header.Range" = { dictionary = "ranges", probability = 0.5 }
"header.If-Match" = { dictionary = "tags", probability = 0.5 }
"header.If-None-Match" = { dictionary = "tags", probability = 0.5 }
"header.If-Modified-Since" = { dictionary = "dates", probability = 0.5 }
"header.If-Unmodified-Since" = { dictionary = "dates", probability = 0.5 }
"header.X-CSRFToken" = { dictionary = "tokens", probability = 0.7 }

[[operations]]
include-path = "/attachments/{bundle_id}/delete/"
parameters = { "path.bundle_id" = { dictionary = "unlisted", probability = 1.0 } }

[phases.stateful.generation]
mode = "positive"
"""
HOOKS = """
import schemathesis

schemathesis.serializer.alias(
    "application/offset+octet-stream", "application/octet-stream"
)
"""


@contextmanager
def stocked(folder, **settings):
    """Run gunicorn, with attachments in use; yield the server and their session."""
    with running(
        "gunicorn", folder, INSTALLED_APPS=INSTALLED_APPS, **LIMITS, **settings
    ) as server:
        client = servers.Client(server)
        client.get("/attachments/draft-7/")
        client.post("/attachments/draft-7/", form(part()), MULTIPART)
        client.post("/attachments/unlisted/", form(part(name="delete")), MULTIPART)
        rows = [
            {"model": "project.contract", "fields": {"attachment": row}}
            for row in (1, 2)
        ]
        (folder / "rows.json").write_text(json.dumps(rows))
        server.manage("loaddata", str(folder / "rows.json"))
        yield server, client.cookies["sessionid"]


def fuzz(server, session, *options):
    """Let schemathesis make up requests; return the statuses of their answers."""
    (server.folder / "schemathesis.toml").write_text(CONFIGURATION)
    (server.folder / "hooks.py").write_text(HOOKS)
    process = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", FILE),
            *(f"--url={server.url}", f"--header=Cookie: {cookies(session)}"),
            *("--suppress-health-check=all", "--warnings=off"),
            *("--report=har", "--report-har-path=har.json"),
            "--generation-deterministic"
            if LOOPS == 1
            else "--generation-database=none",
            *options,
        ],
        cwd=server.folder,
        env={"NO_COLOR": "1", "PYTHONUTF8": "1"},
        stderr=subprocess.STDOUT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=300 * LOOPS,
    )
    assert process.returncode == 0, process.stdout
    assert "Traceback" not in server.log()
    requests = json.loads((server.folder / "har.json").read_text())["log"]["entries"]
    return {request["response"]["status"] for request in requests}


@NEEDS["gunicorn"]
@needs_schemathesis
@pytest.mark.server
@pytest.mark.soak
class TestSchemathesis:
    """It runs in a process of its own: it changes how all of Hypothesis works."""

    def test_requests_are_answered_as_described(self, tmp_path):
        with stocked(tmp_path, MIDDLEWARE=WITHOUT_CSRF) as stock:
            answered = fuzz(
                *stock,
                "--phases=examples,coverage,fuzzing,stateful",
                f"--checks={','.join([*CHECKS, 'unsupported_method'])}",
                f"--max-examples={15 * LOOPS}",
            )

        assert answered >= {200, 304, 400, 404, 405, 409, 412, 413}
        assert 403 not in answered

    def test_requests_are_answered_as_described_with_csrf_protection(self, tmp_path):
        with stocked(tmp_path) as stock:
            answered = fuzz(
                *stock,
                "--phases=coverage,fuzzing",
                f"--checks={','.join(CHECKS)}",
                f"--max-examples={5 * LOOPS}",
                "--include-method=POST",
                "--include-method=PUT",
                "--include-method=DELETE",
            )

        assert answered >= {200, 400, 403, 405, 409}
