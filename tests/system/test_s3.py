"""Attachments in S3: django-storages' S3Storage, and moto's server behind a proxy.

The proxy notes what S3 is asked. Chosen requests it answers itself, or breaks off.
"""

import json
import logging
import os
import re
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from http.client import HTTPConnection, IncompleteRead
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from io import StringIO
from itertools import cycle
from posixpath import join
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest
from django.conf import settings as live_settings
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from session_attachments.bundles import Bundle
from session_attachments.exceptions import AttachmentNotFound
from session_attachments.files.storage import attachment_storage
from session_attachments.models import Attachment
from tests.clients import (
    MULTIPART,
    NEEDS,
    URL,
    begun,
    content,
    form,
    names,
    part,
    problem,
    put,
    resume,
    shelf,
    upload,
)
from tests.engines import REDIS, needs_redis
from tests.project.models import Enclosure
from tests.servers import Client as Socket
from tests.servers import another, eventually, going_on, running
from tests.settings import INSTALLED_APPS
from tests.storages import at_once, attach

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(
        not (find_spec("flask") and find_spec("moto") and find_spec("storages")),
        reason="needs django-storages[s3] and moto[server]",
    ),
    pytest.mark.django_db(transaction=True),
]

# django-storages forgets to close what it decompresses.
left_open = pytest.mark.filterwarnings("ignore:.*SpooledTemporaryFile.__del__")

KILOBYTE = 1024
MEGABYTE = 1024 * KILOBYTE
BUCKET = "attachments"
SPAM = f"{URL}spam.txt/"
DIGITS = b"0123456789"
LARGE = bytes(range(256)) * 8 * KILOBYTE
OLD = "session_attachments/2020-02-20"
DIGESTS = "session_attachments/00112233445566778899aabbccddeeff/" + "0f" * 16
ERROR = b"<Error><Code>Fault</Code><Message>on purpose</Message></Error>"


class S3(ThreadingHTTPServer):
    """moto's server as the app sees it; ``faults`` are what it does wrong."""

    def __init__(self, moto):
        super().__init__(("127.0.0.1", 0), Proxy)
        self.moto = moto
        self.client = storage(endpoint_url=url(moto)).connection.meta.client
        self.asked, self.faults, self.held, self.sent = [], {}, [], 0

    def storages(self, **options):
        """Return the setting STORAGES for attachments in this S3."""
        options = {"endpoint_url": url(self.server_address), **options}
        entry = {"BACKEND": "tests.system.test_s3.storage", "OPTIONS": options}
        return {**live_settings.STORAGES, "session_attachments": entry}

    def stored(self, bucket=BUCKET):
        """Return what is in the bucket: keys and contents."""
        keys = self.client.list_objects_v2(Bucket=bucket).get("Contents", [])
        return {key["Key"]: self.read(key["Key"], bucket) for key in keys}

    def read(self, key, bucket=BUCKET):
        """Return the content of an object."""
        with closing(self.client.get_object(Bucket=bucket, Key=key)["Body"]) as body:
            return body.read()

    def put(self, *keys):
        """Put small objects into the bucket, past the app."""
        for key in keys:
            self.client.put_object(Bucket=BUCKET, Key=key, Body=b"12345")

    def backdate(self, key, days):
        """Let an object be that old; S3 itself has no request for it."""
        from moto.s3.models import s3_backends

        (backend,) = s3_backends.values()
        backend["aws"].buckets[BUCKET].keys[key].last_modified -= timedelta(days=days)

    def forget(self):
        """Forget what was asked until now."""
        self.asked.clear()
        self.sent = 0

    def empty(self):
        """Delete all that is in the bucket."""
        for key in self.stored():
            self.client.delete_object(Bucket=BUCKET, Key=key)

    def deny(self, *keys):
        """Let a policy of the bucket forbid to delete these objects."""
        statement = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:DeleteObject",
            "Resource": [f"arn:aws:s3:::{BUCKET}/{key}" for key in keys],
        }
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        self.client.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))


class Proxy(BaseHTTPRequestHandler):
    """One connection to S3."""

    protocol_version = "HTTP/1.1"

    def handle_request(self):
        """Note what is asked, as ``POST delete`` or ``GET bytes=2-4``; answer it."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        words = [self.command, *sorted(query)[:1], self.headers.get("Range")]
        asked = " ".join(filter(None, words))
        self.server.asked.append(asked)
        self.server.faults.get(asked, Proxy.pass_on)(self, body)

    do_DELETE = do_GET = do_HEAD = do_POST = do_PUT = handle_request  # noqa: N815

    def ask(self, body):
        """Return moto's answer: status, headers and content."""
        headers = {n: text for n, text in self.headers.items() if n != "Expect"}
        with closing(HTTPConnection(*self.server.moto)) as moto:
            moto.request(self.command, self.path, body, headers)
            answer = moto.getresponse()
            content = answer.read()
        headers = {"Content-Length": len(content), **dict(answer.getheaders())}
        return answer.status, headers, content

    def pass_on(self, body, share=1):
        """Let moto answer; send the first half, say, of the content."""
        status, headers, content = self.ask(body)
        self.answer(status, headers, content[: len(content) // share])

    def answer(self, status, headers, content):
        """Send an answer."""
        self.send_response_only(status)
        for name, text in headers.items():
            if name != "Connection":
                self.send_header(name, text)
        self.end_headers()
        self.wfile.write(content)
        self.server.sent += len(content)

    def hold(self):
        """Say nothing more, until the client hangs up."""
        self.server.held.append(self)
        with suppress(ConnectionResetError):
            self.connection.recv(1)
        self.server.held.remove(self)
        self.close_connection = True


def status(code):
    """Return a fault: this error."""

    def fault(proxy, body):
        content = b"" if proxy.command == "HEAD" else ERROR
        proxy.answer(code, {"Content-Length": len(content)}, content)

    fault.__name__ = str(code)
    return fault


def silence(proxy, body):
    proxy.hold()


def lose_answer(proxy, body):
    proxy.ask(body)
    proxy.close_connection = True


def cut(proxy, body):
    proxy.pass_on(body, share=2)
    proxy.close_connection = True


def hang(proxy, body):
    proxy.pass_on(body, share=2)
    proxy.hold()


def vanish(proxy, body):
    proxy.server.empty()
    proxy.pass_on(body)


def each_fault(*faults):
    """Run the test with each of ``faults``."""
    return pytest.mark.parametrize("fault", faults, ids=lambda f: f.__name__)


# All that were made in this process: making one takes long.
STORAGES = {}


def url(address):
    return "http://{}:{}".format(*address)


def storage(**options):
    """Return an S3Storage with these options; to Django this is its class."""
    key = json.dumps(options, sort_keys=True)
    if key not in STORAGES:
        STORAGES[key] = new_storage(**options)
    return STORAGES[key]


def new_storage(timeout=10, attempts=1, **options):
    from botocore.config import Config
    from storages.backends.s3 import S3Storage

    config = Config(
        connect_timeout=timeout,
        read_timeout=timeout,
        retries={"mode": "standard", "total_max_attempts": attempts},
    )
    defaults = {
        "access_key": "key",
        "secret_key": "secret",
        "bucket_name": BUCKET,
        "region_name": "us-east-1",
        "gzip_content_types": ["text/plain"],
        "client_config": config,
    }
    return S3Storage(**{**defaults, **options})


@pytest.fixture(scope="module")
def moto():
    """Run moto's S3 server, with an empty bucket; return it as the app sees it."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    with S3(moto.get_host_and_port()) as s3:
        thread = Thread(target=s3.serve_forever)
        thread.start()
        s3.client.create_bucket(Bucket=BUCKET)
        yield s3
        while STORAGES:
            STORAGES.popitem()[1].connection.meta.client.close()
        s3.shutdown()
        thread.join()
    moto.stop()


@pytest.fixture
def s3(moto, settings):
    """Store in an empty bucket; return the S3 server."""
    moto.empty()
    moto.forget()
    settings.STORAGES = moto.storages()
    yield moto
    moto.faults.clear()
    moto.client.delete_bucket_policy(Bucket=BUCKET)


@pytest.fixture
def visitor(s3):
    """Return a client that gets Django's answer where it has a 500."""
    return Client(raise_request_exception=False)


@pytest.fixture
def spam(client, s3):
    """Store ``spam.txt``, which is ten digits; return its row."""
    upload(client, {"spam.txt": DIGITS})
    s3.forget()
    return Attachment.objects.get()


def keys(location=""):
    """Return the keys that the rows refer to."""
    files = Attachment.objects.values_list("file", flat=True)
    return sorted(join(location, file) for file in files)


def age(**fields):
    """Let attachments be outdated."""
    rows = Attachment.objects.filter(**fields)
    rows.update(created=timezone.now() - timedelta(days=10))


def command(*arguments):
    """Run the command; return its stdout, its stderr and its exit code."""
    stdout, stderr, code = StringIO(), StringIO(), 0
    try:
        call_command(
            "remove_outdated_attachments",
            "--older-than=3",
            *arguments,
            stdout=stdout,
            stderr=stderr,
        )
    except CommandError as error:
        code = error.returncode
    return stdout.getvalue(), stderr.getvalue(), code


# How an upload of that size reaches S3.
PARTS = ["POST uploads", "PUT partNumber", "PUT partNumber", "POST uploadId"]
SIZES = {"in memory": (10, ["PUT"]), "in a file": (3, ["PUT"]), "in parts": (9, PARTS)}


@pytest.fixture(params=["", "private/files"], ids=["root", "location"])
def location(request, settings, s3):
    """Store in the bucket itself, or in a folder of it, beside something else."""
    s3.put("else", "session_attachmentselse", "private/else")
    settings.STORAGES = s3.storages(location=request.param)
    return request.param


@pytest.fixture
def bucket(s3, location):
    """Return a function that returns what is in the bucket and ours."""
    others = s3.stored()

    def stored():
        stored = s3.stored()
        assert others.items() <= stored.items()
        return {key: stored[key] for key in stored.keys() - others.keys()}

    return stored


@pytest.mark.slow
class TestBucket:
    """What is there after each verb."""

    @pytest.mark.parametrize(("size", "asked"), SIZES.values(), ids=SIZES)
    def test_upload_is_one_object(self, client, s3, bucket, location, size, asked):
        sent = os.urandom(size * MEGABYTE if asked == PARTS or size == 3 else size)

        response = upload(client, {"spam.bin": sent})

        # Parts come in parallel.
        assert sorted(s3.asked) == sorted(asked)
        assert names(response) == ["spam.bin"]
        assert response.json()[0]["size"] == len(sent)
        assert bucket() == {keys(location)[0]: sent}
        today = datetime.now(UTC).date().isoformat()
        assert keys()[0].startswith(f"session_attachments/{today}/")
        assert content(client.get(f"{URL}spam.bin/")) == sent

    @pytest.mark.parametrize(("size", "asked"), SIZES.values(), ids=SIZES)
    def test_put_is_one_object(self, client, s3, bucket, location, size, asked):
        sent = os.urandom(size * MEGABYTE if asked == PARTS or size == 3 else size)

        assert put(client, sent).status_code == 201
        assert sorted(s3.asked) == sorted(asked)
        assert bucket() == {keys(location)[0]: sent}
        assert content(client.get(SPAM)) == sent
        s3.forget()
        assert put(client, b"new").status_code == 200
        assert s3.asked == ["PUT", "DELETE"]
        assert bucket() == {keys(location)[0]: b"new"}

    def test_pieces_are_objects_until_the_last_one_comes(
        self, client, s3, bucket, location
    ):
        sent = os.urandom(7 * MEGABYTE)
        pieces = [sent[: 3 * MEGABYTE], sent[3 * MEGABYTE : 6 * MEGABYTE]]
        url = begun(client, len(sent), *pieces, name="spam.bin")
        assert sorted(bucket().values()) == sorted(pieces)
        s3.forget()

        assert resume(client, url, 6 * MEGABYTE, sent[-MEGABYTE:]).status_code == 204

        # For the type, for a checksum of boto3's, and to be sent; it is one object.
        assert {*s3.asked[:-2]} == {"HEAD", "GET"}
        assert s3.asked[-2:] == ["PUT", "POST delete"]
        assert bucket() == {keys(location)[0]: sent}
        assert content(client.get(f"{URL}spam.bin/")) == sent

    def test_piece_that_is_gone_ends_the_upload(self, client, s3, bucket, location):
        url = begun(client, 9, b"spam", b"egg")
        (piece,) = [key for key, data in bucket().items() if data == b"egg"]
        s3.client.delete_object(Bucket=BUCKET, Key=piece)

        assert problem(resume(client, url, 7, b"!!")) == (404, "not_found")
        assert bucket() == {}

    def test_replacement_is_another_object(self, client, s3, bucket, location):
        upload(client, {"spam.txt": b"old"})
        old = keys(location)
        s3.forget()

        upload(client, {"spam.txt": b"new"})

        assert s3.asked == ["PUT", "DELETE"]
        assert bucket() == {keys(location)[0]: b"new"}
        assert keys(location) != old

    def test_deletion_takes_the_object(self, client, s3, bucket, location):
        upload(client, {"spam.txt": b"spam", "egg.txt": b"egg"})
        s3.forget()

        assert client.delete(SPAM).json() == [True]

        assert s3.asked == ["DELETE"]
        assert bucket() == {keys(location)[0]: b"egg"}

    def test_deletion_of_a_bundle_is_one_request(self, client, s3, bucket, location):
        upload(client, {"spam.txt": b"x"}, "/attachments/bar/")
        upload(client, dict.fromkeys("abc", b"x"))
        s3.forget()

        assert client.post(f"{URL}delete/").json() == [[True]] * 3

        assert s3.asked == ["POST delete"]
        assert bucket() == {keys(location)[0]: b"x"}

    def test_command_takes_what_is_outdated(self, client, s3, bucket, location):
        upload(client, dict.fromkeys("abcd", b"12345"))
        age(filename__in="abc")
        s3.forget()

        dry = command("--dry-run")
        assert len(bucket()) == 4
        assert not [asked for asked in s3.asked if "elete" in asked.lower()]

        line = (
            " 3 attachments, 0 unfinished uploads and "
            "0 files without an attachment, 15 bytes.\n"
        )
        assert dry == (f"Would remove{line}", "", 0)
        s3.forget()
        assert command() == (f"Removed{line}", "", 0)
        assert s3.asked[0] == "POST delete"
        assert "DELETE" not in s3.asked
        assert bucket() == {keys(location)[0]: b"12345"}

    def test_command_takes_old_files_without_a_row(self, s3, bucket, location):
        attach(file=f"{OLD}/referred", content=b"x")
        today = f"session_attachments/{datetime.now(UTC).date()}/young"
        s3.put(*[join(location, OLD, str(n)) for n in range(3)], join(location, today))
        # Names as in 0.2.
        s3.put(*[join(location, DIGESTS, name) for name in ("old ½.txt", "young")])
        s3.backdate(join(location, DIGESTS, "old ½.txt"), days=4)
        s3.forget()

        printed = (
            "Removed 0 attachments, 0 unfinished uploads and "
            "4 files without an attachment, 20 bytes.\n"
        )
        assert command() == (printed, "", 0)

        # Names of 0.2 go one by one.
        deletions = [asked for asked in s3.asked if asked in {"POST delete", "DELETE"}]
        assert deletions == ["POST delete", "DELETE"]
        kept = [f"{OLD}/referred", today, f"{DIGESTS}/young"]
        assert sorted(bucket()) == sorted(join(location, name) for name in kept)


# What a client asks for, and what S3 is asked.
RANGES = {
    "bytes=2-4": ("GET bytes=2-4", b"234"),
    "bytes=-3": ("GET bytes=7-9", b"789"),
    "bytes=8-99": ("GET bytes=8-9", b"89"),
    "bytes=0-": ("GET", DIGITS),
}


@pytest.mark.slow
class TestRequests:
    """What S3 is asked, and what it sends."""

    def test_database_alone_is_asked_for_what_it_knows(self, client, s3, spam):
        etag = client.head(SPAM).headers["ETag"]
        s3.forget()

        assert names(client.get(URL)) == ["spam.txt"]
        assert client.get(SPAM, HTTP_IF_NONE_MATCH=etag).status_code == 304
        assert client.get(SPAM, HTTP_IF_MATCH='"x"').status_code == 412
        assert problem(client.get(f"{URL}missing/")) == (404, "not_found")
        assert client.delete(f"{URL}missing/").json() == [False]
        assert client.delete("/attachments/missing/").json() == []
        assert s3.asked == []

    def test_download_is_sent_once(self, client, s3, spam):
        assert content(client.get(SPAM)) == DIGITS

        assert s3.asked == ["HEAD", "GET"]
        assert s3.sent == len(DIGITS)

    @pytest.mark.parametrize("wanted", RANGES)
    def test_part_alone_is_sent(self, client, s3, spam, wanted):
        asked, expected = RANGES[wanted]

        response = client.get(SPAM, HTTP_RANGE=wanted)

        assert response.status_code == 206
        assert content(response) == expected
        assert s3.asked == ["HEAD", asked]
        assert s3.sent == len(expected)

    def test_head_and_impossible_part_send_nothing(self, client, s3, spam):
        head = client.head(SPAM)
        refused = client.get(SPAM, HTTP_RANGE="bytes=99-")

        assert (head.status_code, head.headers["Content-Length"]) == (200, "10")
        assert head.headers["Accept-Ranges"] == "bytes"
        assert refused.status_code == 416
        assert refused.headers["Content-Range"] == "bytes */10"
        assert s3.asked == ["HEAD", "HEAD"]
        assert s3.sent == 0

    def test_condition_on_a_part_is_honoured(self, client, s3, spam):
        etag = client.head(SPAM).headers["ETag"]

        def part(condition):
            headers = {"Range": "bytes=2-4", "If-Range": condition}
            return content(client.get(SPAM, headers=headers))

        assert (part(etag), part('"x"')) == (b"234", DIGITS)

    def test_empty_object(self, client, s3):
        upload(client, {"spam.txt": b""})
        s3.forget()

        assert content(client.get(SPAM)) == b""
        assert s3.asked == ["HEAD", "GET"]
        assert client.get(SPAM, HTTP_RANGE="bytes=0-").status_code == 416

    def test_piece_is_read_only_as_far_as_is_asked_for(self, client, s3, settings):
        settings.SESSION_ATTACHMENTS_VALIDATORS = [f"{__name__}.refuse"]
        url = begun(client, len(LARGE) + 4, LARGE, name="large.bin")
        s3.faults["GET"] = cut

        response = resume(client, url, len(LARGE), b"spam")

        # The half that never comes is not missed.
        assert problem(response) == (400, "invalid")

    def test_owner_of_the_bucket_is_said_to_all(self, client, s3, spam, settings):
        parameters = {"CacheControl": "no-store", "ExpectedBucketOwner": "123456789012"}
        settings.STORAGES = s3.storages(object_parameters=parameters)

        assert content(client.get(SPAM, HTTP_RANGE="bytes=2-4")) == b"234"
        assert s3.asked == ["HEAD", "GET bytes=2-4"]


def refuse(file):
    """Stand for a project's validator that looks at the beginning."""
    raise ValidationError(f"Not what begins with {file.read(4)!r}, please.")


@pytest.mark.slow
class TestDeletions:
    """Many in one request, but only of names that save() gives."""

    def test_thousand_go_in_one_request(self, client, s3, spam):
        files = [f"{OLD}/{number}" for number in range(1000)]
        rows = Attachment.objects
        rows.bulk_create(
            Attachment(session_id=spam.session_id, bundle="foo", filename=f, file=f)
            for f in files
        )
        s3.put(files[0], files[-1], f"{OLD}/other")

        assert len(client.delete(URL).json()) == 1001

        assert s3.asked == ["POST delete", "DELETE"]
        assert list(s3.stored()) == [f"{OLD}/other"]

    def test_names_of_02_go_one_by_one(self, client, s3, spam, settings, caplog):
        settings.STORAGES = s3.storages(location="private")
        s3.put("x", "private/session_attachments/0a/1b/a b.txt", "privatex")
        for file in ("../x", "session_attachments/0a/1b/a b.txt", "../privatex"):
            Attachment.objects.create(
                session_id=spam.session_id, bundle="foo", filename=file, file=file
            )

        assert len(client.delete(URL).json()) == 4

        # That of spam.txt, which is elsewhere, too.
        assert s3.asked == ["DELETE", "DELETE"]
        assert sorted(s3.stored()) == sorted([str(spam.file), "privatex", "x"])
        told = [record.getMessage() for record in caplog.records]
        assert sorted(told) == [
            f"The stored file '../{name}' could not be deleted."
            for name in ("privatex", "x")
        ]

    @each_fault(*map(status, [400, 405, 501]))
    def test_server_that_knows_no_such_request_is_asked_one_by_one(
        self, client, s3, fault
    ):
        upload(client, dict.fromkeys("abc", b"x"))
        s3.faults["POST delete"] = fault
        s3.forget()

        assert len(client.delete(URL).json()) == 3

        assert s3.asked == ["POST delete", *["DELETE"] * 3]
        assert s3.stored() == {}

    def test_object_that_stays_is_told_and_goes_in_the_next_run(self, s3, caplog):
        attach("a.txt", file=f"{OLD}/a", age=timedelta(days=4))
        attach("b.txt", file=f"{OLD}/b", age=timedelta(days=4))
        s3.put(f"{OLD}/c", f"{OLD}/d")
        s3.deny(f"{OLD}/a", f"{OLD}/c")

        stdout, stderr, code = command()

        denied = "could not be deleted: AccessDenied: Access Denied\n"
        assert stderr == f"The file of 'a.txt' {denied}The file '{OLD}/c' {denied}"
        assert stdout.endswith(
            "2 attachments, 0 unfinished uploads and "
            "1 file without an attachment, 10 bytes.\n"
        )
        assert code == 1
        assert not Attachment.objects.exists()
        assert sorted(s3.stored()) == [f"{OLD}/a", f"{OLD}/c"]
        assert [record.getMessage() for record in caplog.records] == [
            f"The stored file '{OLD}/{name}' could not be deleted." for name in "ac"
        ]
        s3.client.delete_bucket_policy(Bucket=BUCKET)
        assert command()[1:] == ("", 0)
        assert s3.stored() == {}

    @each_fault(status(403), status(500), silence, lose_answer)
    def test_request_that_fails_is_told_and_made_up_for(self, s3, fault, settings):
        for name in "ab":
            attach(name, file=f"{OLD}/{name}", age=timedelta(days=4))
        s3.faults["POST delete"] = fault
        settings.STORAGES = s3.storages(timeout=1)

        _, stderr, code = command()

        assert stderr.count("could not be deleted: ") == 2
        assert code == 1
        assert not Attachment.objects.exists()
        assert s3.stored() == {} or fault is not lose_answer
        s3.faults.clear()
        assert command()[1:] == ("", 0)
        assert s3.stored() == {}

    @each_fault(status(403), status(500), silence)
    def test_deletion_that_fails_disturbs_nobody(
        self, client, s3, spam, settings, fault, caplog
    ):
        s3.faults["DELETE"] = fault
        settings.STORAGES = s3.storages(timeout=1)

        assert client.delete(SPAM).json() == [True]

        assert names(client.get(URL)) == []
        assert s3.stored() == {str(spam.file): DIGITS}
        (record,) = [r for r in caplog.records if r.name.startswith("session_att")]
        assert f"{str(spam.file)!r} could not be deleted" in record.getMessage()

    def test_folder_that_cannot_be_listed_is_told(self, s3):
        s3.faults["GET delimiter"] = status(500)

        _, stderr, code = command()

        assert stderr.startswith("The folder 'session_attachments' could not be read: ")
        assert code == 1


def crashes(caplog):
    """Return the errors that Django has logged."""
    return [r for r in caplog.records if r.name == "django.request" and r.exc_info]


@pytest.mark.slow
class TestUploadFails:
    """The old attachment is there, whole, and nothing else."""

    @each_fault(status(403), status(500), silence, lose_answer)
    def test_old_one_stays(self, visitor, s3, settings, caplog, fault):
        upload(visitor, {"spam.txt": b"old", "egg.txt": b"egg"})
        before = s3.stored()
        s3.faults["PUT"] = fault
        settings.STORAGES = s3.storages(timeout=1)

        response = upload(visitor, {"new.txt": b"new", "spam.txt": b"new"})

        assert response.status_code == 500
        assert len(crashes(caplog)) == 1
        assert shelf(visitor) == {"spam.txt": b"old", "egg.txt": b"egg"}
        assert s3.stored() == before
        assert sorted(before) == keys()

    @pytest.mark.parametrize("asked", PARTS[-2:])
    def test_parts_are_taken_back(self, visitor, s3, caplog, asked):
        s3.faults[asked] = status(500)

        response = upload(visitor, {"spam.bin": bytes(9 * MEGABYTE)})

        assert response.status_code == 500
        assert len(crashes(caplog)) == 1
        assert names(visitor.get(URL)) == []
        assert s3.stored() == {}
        uploads = s3.client.list_multipart_uploads(Bucket=BUCKET)
        assert "Uploads" not in uploads

    def test_one_of_several_that_fails_takes_all_back(self, visitor, s3):
        def fail_twice(proxy, body):
            s3.faults["PUT"] = status(500)
            proxy.pass_on(body)

        s3.faults["PUT"] = fail_twice

        assert upload(visitor, {"a": b"a", "b": b"b"}).status_code == 500

        # The one that failed might be there, too.
        assert s3.asked == ["PUT", "PUT", "DELETE", "DELETE"]
        assert s3.stored() == {}
        assert names(visitor.get(URL)) == []


@pytest.mark.slow
class TestDownloadFails:
    @pytest.mark.parametrize("asked", ["HEAD", "GET"])
    @each_fault(status(403), status(500), silence)
    def test_answer_is_an_error(self, visitor, s3, settings, caplog, asked, fault):
        upload(visitor, {"spam.txt": DIGITS})
        s3.faults[asked] = fault
        settings.STORAGES = s3.storages(timeout=1)

        response = visitor.get(SPAM)

        assert response.status_code == 500
        assert len(crashes(caplog)) == 1
        s3.faults.clear()
        assert shelf(visitor) == {"spam.txt": DIGITS}

    @pytest.mark.parametrize("asked", ["HEAD", "GET"])
    def test_object_that_vanishes_is_not_found(self, visitor, s3, caplog, asked):
        upload(visitor, {"spam.txt": DIGITS})
        s3.faults[asked] = vanish

        assert problem(visitor.get(SPAM)) == (404, "not_found")

        (record,) = [r for r in caplog.records if r.name.startswith("session_att")]
        assert record.levelno == logging.WARNING
        assert names(visitor.get(URL)) == ["spam.txt"]
        assert visitor.delete(SPAM).json() == [True]

    @pytest.mark.parametrize(
        ("location", "file"), [("private", "../else"), ("private", ""), ("", "")]
    )
    def test_name_that_no_object_has_is_not_found(
        self, visitor, s3, spam, settings, location, file
    ):
        s3.put("else")
        settings.STORAGES = s3.storages(location=location)
        visitor.cookies["sessionid"] = spam.session_id
        Attachment.objects.update(file=file)

        assert problem(visitor.get(SPAM)) == (404, "not_found")

    def test_connection_is_given_back_when_nobody_reads(self, client, s3):
        upload(client, {"spam.txt": bytes(10_000)})
        s3.faults["GET"] = hang

        response = client.get(SPAM)
        eventually(lambda: s3.held)
        response.close()

        eventually(lambda: not s3.held)

    @pytest.mark.parametrize("wanted", ["", f"bytes=0-{len(LARGE) - 2}"])
    @each_fault(cut, hang)
    def test_body_that_ends_early_is_no_whole_one(
        self, client, s3, settings, wanted, fault
    ):
        from botocore.exceptions import BotoCoreError

        upload(client, {"spam.bin": LARGE})
        s3.faults[f"GET {wanted}".strip()] = fault
        settings.STORAGES = s3.storages(timeout=1, attempts=3)
        response = client.get(f"{URL}spam.bin/", HTTP_RANGE=wanted)
        blocks = iter(response)

        # While S3 hangs, what it has sent is there: nothing waits for the whole.
        assert LARGE.startswith(next(blocks))
        with closing(response), pytest.raises(BotoCoreError):
            b"".join(blocks)

        eventually(lambda: not s3.held)
        assert s3.asked.count("HEAD") == 1


TEXT = b"spam, egg and spam\n" * 20_000


@pytest.mark.slow
@left_open
class TestCompressed:
    """Objects that the storage compresses."""

    @pytest.fixture(autouse=True)
    def text(self, client, s3, settings):
        settings.STORAGES = s3.storages(gzip=True)
        upload(client, {"spam.txt": TEXT})
        (stored,) = s3.stored().values()
        assert len(stored) < len(TEXT) / 10

    def test_content_and_sizes_are_those_of_the_upload(self, client):
        response = client.get(SPAM)

        assert content(response) == TEXT
        assert response.headers["Content-Length"] == str(len(TEXT))
        assert client.get(URL).json()[0]["size"] == len(TEXT)
        head = client.head(SPAM)
        assert head.headers["Content-Length"] == str(len(TEXT))

    def test_part_is_that_of_the_upload(self, client):
        response = client.get(SPAM, HTTP_RANGE="bytes=300000-300099")

        assert content(response) == TEXT[300_000:300_100]
        length = len(TEXT)
        assert response.headers["Content-Range"] == f"bytes 300000-300099/{length}"
        refused = client.get(SPAM, HTTP_RANGE=f"bytes={length}-")
        assert refused.status_code == 416

    def test_log_tells_nothing_and_the_object_is_asked_for_once(
        self, client, s3, caplog
    ):
        s3.forget()

        content(client.get(SPAM))

        # Twice by boto3's transfer manager, which looks at the size first.
        assert s3.asked == ["HEAD", "HEAD", "GET"]
        assert caplog.messages == []

    def test_head_does_not_ask_for_the_content(self, client, s3):
        s3.forget()

        client.head(SPAM)

        assert s3.asked == ["HEAD"]


def fail_to_download(client):
    with pytest.raises((IncompleteRead, ConnectionResetError)):
        client.get(f"{URL}spam.bin/")


@pytest.fixture(
    scope="module", params=[pytest.param(kind, marks=NEEDS[kind]) for kind in NEEDS]
)
def server(request, moto, tmp_path_factory):
    """Run one server after the other."""
    folder = tmp_path_factory.mktemp(request.param)
    moto.client.create_bucket(Bucket=folder.name)
    storages = moto.storages(bucket_name=folder.name, timeout=1, attempts=3, gzip=True)
    # The storage's module wants all of the tests' apps.
    settings = {"STORAGES": storages, "INSTALLED_APPS": INSTALLED_APPS}
    with running(request.param, folder, **settings) as server:
        yield server


@pytest.fixture
def guest(server, s3):
    """Return a client of the server, with a large object and a compressed one."""
    guest = Socket(server)
    guest.get(URL)
    files = form(part(LARGE, "spam.bin"), part(TEXT))
    assert guest.post(URL, files, MULTIPART).status == 200
    return guest


@pytest.mark.slow
class TestServers:
    def test_objects_come_whole_and_in_part(self, guest):
        for name, sent in {"spam.bin": LARGE, "spam.txt": TEXT}.items():
            url = f"{URL}{name}/"
            some = guest.request("GET", url, Range="bytes=1000-300000")

            assert guest.get(url).content == sent
            assert (some.status, some.content) == (206, sent[1000:300_001])
            head = guest.request("HEAD", url)
            assert head.headers["Content-Length"] == str(len(sent))

    @each_fault(cut, hang)
    def test_body_that_ends_early_breaks_the_connection(self, guest, s3, fault):
        logged = len(guest.server.log())
        s3.faults["GET"] = fault

        # More than the server has threads.
        at_once(*[partial(fail_to_download, guest)] * 6)

        s3.faults.clear()
        assert guest.get(f"{URL}spam.bin/").content == LARGE
        eventually(lambda: not s3.held)
        error = {cut: "IncompleteRead", hang: "ReadTimeoutError"}[fault]
        eventually(lambda: guest.server.log()[logged:].count(error) >= 6)

    def test_client_may_go_away_while_s3_hangs(self, guest, s3):
        s3.faults["GET"] = hang
        for _ in range(6):
            with guest.connect() as connection:
                guest.send(connection, "GET", f"{URL}spam.bin/")
                assert connection.recv(1000)

        s3.faults.clear()
        assert guest.get(f"{URL}spam.bin/").content == LARGE
        eventually(lambda: not s3.held)


@pytest.fixture(scope="module")
def machines(moto, tmp_path_factory):
    """Run gunicorn twice, with one database, Redis and S3; return both servers."""
    folder = tmp_path_factory.mktemp("machines")
    moto.client.create_bucket(Bucket=folder.name)
    redis = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS,
        "KEY_PREFIX": str(folder),
    }
    settings = {
        "CACHES": {"default": redis},
        "INSTALLED_APPS": INSTALLED_APPS,
        "SESSION_ENGINE": "django.contrib.sessions.backends.cache",
        "STORAGES": moto.storages(bucket_name=folder.name, location="attachments"),
    }
    with (
        running("gunicorn", folder, **settings) as one,
        another(one) as other,
    ):
        yield one, other


@pytest.fixture
def clients(machines):
    """Return a client of each machine, both in one new session."""
    one, other = map(Socket, machines)
    one.get(URL)
    other.cookies = one.cookies
    yield one, other
    one.request("DELETE", URL)


@needs_redis
@NEEDS["gunicorn"]
class TestMachines:
    def stored(self, s3, client):
        return s3.stored(client.server.folder.name)

    def test_visitor_is_served_by_both(self, s3, clients):
        one, other = clients

        one.post(URL, form(part(b"old"), part(b"egg", "egg.txt")), MULTIPART)
        assert [row["name"] for row in other.get(URL).json()] == ["egg.txt", "spam.txt"]
        assert other.get(SPAM).content == b"old"
        other.post(URL, form(part(b"new")), MULTIPART)
        assert one.get(SPAM).content == b"new"
        assert sorted(self.stored(s3, one).values()) == [b"egg", b"new"]
        assert one.request("DELETE", SPAM).json() == [True]
        assert other.get(SPAM).problem == (404, "not_found")
        assert other.request("DELETE", URL).json() == [[True]]
        assert one.get(URL).json() == []
        assert self.stored(s3, one) == {}

    def test_uploads_of_one_name_at_both_leave_one(self, s3, clients):
        sent = [bytes([number]) * (number * 10_000 + 1) for number in range(16)]

        def upload(client, content):
            return client.post(URL, form(part(content)), MULTIPART).status

        works = [partial(upload, *work) for work in zip(cycle(clients), sent)]
        assert at_once(*works) == [200] * 16

        one, other = clients
        (row,) = one.get(URL).json()
        content = other.get(SPAM).content
        assert content in sent
        assert row["size"] == len(content)
        assert list(self.stored(s3, one).values()) == [content]

    def test_command_runs_while_both_work(self, s3, clients):
        def work(client):
            for name in ("a", "b", "c"):
                files = form(part(b"x" * 1000, name), part(b"y"))
                assert client.post(URL, files, MULTIPART).status == 200
                assert client.get(f"{URL}{name}/").status in {200, 404}
            assert client.request("DELETE", f"{URL}a/").status == 200

        one, _ = clients
        # One that nobody replaces meanwhile.
        assert one.post("/attachments/bar/", form(part()), MULTIPART).status == 200
        with going_on(*[partial(work, client) for client in clients * 2]):
            printed = one.server.manage("remove_outdated_attachments", "--older-than=0")

        assert re.match("Removed [1-9]", printed)
        # Each row has its object, whole, and each object its row.
        stored = {key: len(text) for key, text in self.stored(s3, one).items()}
        rows = one.server.rows()
        assert stored == {f"attachments/{row['file']}": row["size"] for row in rows}


def refuse_copies(proxy, body):
    if "x-amz-copy-source" in proxy.headers:
        status(403)(proxy, body)
    else:
        proxy.pass_on(body)


class TestKeep:
    @pytest.fixture
    def keep(self, s3, settings):
        """Return a function that keeps an attachment in such a storage of S3."""

        def keep(attachment, **options):
            default = s3.storages(**options)["session_attachments"]
            settings.STORAGES = {**settings.STORAGES, "default": default}
            enclosure = Enclosure()
            s3.forget()
            attachment.keep(enclosure.file)
            return enclosure.file

        return keep

    @pytest.fixture
    def kept(self, moto):
        """Return another bucket."""
        moto.client.create_bucket(Bucket="kept")
        yield "kept"
        for key in moto.stored("kept"):
            moto.client.delete_object(Bucket="kept", Key=key)
        moto.client.delete_bucket(Bucket="kept")

    def test_server_copies(self, s3, spam, keep):
        file = keep(spam)

        assert file.name == "letters/spam.txt"
        # Opened; no such name; how large; copied.
        assert s3.asked == ["HEAD", "HEAD", "HEAD", "PUT"]
        assert s3.stored() == {spam.file.name: DIGITS, "letters/spam.txt": DIGITS}

    def test_server_copies_into_another_bucket_and_folder(self, s3, spam, keep, kept):
        keep(spam, bucket_name=kept, location="a/b", default_acl="public-read")

        assert not [asked for asked in s3.asked if asked.startswith("GET")]
        assert s3.stored(kept) == {"a/b/letters/spam.txt": DIGITS}
        acl = s3.client.get_object_acl(Bucket=kept, Key="a/b/letters/spam.txt")
        assert "READ" in [grant["Permission"] for grant in acl["Grants"]]

    def test_each_is_asked_with_its_own_key(self, s3, spam, keep):
        asked = []

        def note(proxy, body):
            asked.append("other" in proxy.headers["Authorization"])
            proxy.pass_on(body)

        s3.faults = dict.fromkeys(["HEAD", "PUT"], note)

        keep(spam, access_key="other")

        assert asked == [False, True, False, True]

    def test_storage_may_give_another_name(self, s3, spam, keep, monkeypatch):
        field = Enclosure._meta.get_field("file")
        monkeypatch.setattr(field, "upload_to", lambda instance, name: "same")

        files = [keep(spam, file_overwrite=False) for _ in range(2)]

        assert len({file.name for file in files}) == 2
        assert not [asked for asked in s3.asked if asked.startswith("GET")]

    def test_copy_is_what_an_upload_would_be(self, s3, spam, keep):
        keep(
            spam,
            object_parameters={"CacheControl": "max-age=60"},
            default_acl="private",
        )

        head = s3.client.head_object(Bucket=BUCKET, Key="letters/spam.txt")
        assert head["ContentType"] == "text/plain"
        assert head["CacheControl"] == "max-age=60"

    def test_server_copies_what_is_large_in_parts(self, s3, keep):
        large = attach("large.bin", LARGE * 5)

        keep(large)

        assert s3.asked == [
            "HEAD",
            "HEAD",
            "HEAD",
            "POST uploads",
            "PUT partNumber",
            "PUT partNumber",
            "POST uploadId",
        ]
        assert s3.read("letters/large.bin") == LARGE * 5

    def test_copy_that_is_refused_is_a_stream(self, s3, spam, keep):
        s3.faults["PUT"] = refuse_copies

        keep(spam)

        assert s3.asked[:5] == ["HEAD", "HEAD", "HEAD", "PUT", "GET"]
        assert s3.asked[-1] == "PUT"
        assert s3.read("letters/spam.txt") == DIGITS

    def test_another_server_is_sent_a_stream(self, s3, spam, keep):
        keep(spam, endpoint_url=url(s3.moto))

        # The other one is asked past the proxy.
        # For the size, for a checksum, and to be sent.
        assert s3.asked == ["HEAD", "GET", "GET", "GET"]
        assert s3.read("letters/spam.txt") == DIGITS

    @left_open
    def test_storage_that_compresses_is_sent_a_stream(self, s3, spam, keep):
        file = keep(spam, gzip=True)

        assert "GET" in s3.asked
        head = s3.client.head_object(Bucket=BUCKET, Key=file.name)
        assert head["ContentEncoding"] == "gzip"
        with file.open() as kept:
            assert kept.read() == DIGITS

    def test_storage_that_saves_in_its_own_way_does(self, s3, spam, keep, monkeypatch):
        target = storage(endpoint_url=url(s3.server_address), location="own")

        class Reversing(type(target)):
            def _save(self, name, content):
                return super()._save(name, ContentFile(content.read()[::-1]))

        monkeypatch.setattr(target, "__class__", Reversing)

        keep(spam, location="own")

        assert s3.read("own/letters/spam.txt") == DIGITS[::-1]

    @left_open
    def test_what_is_compressed_is_read(self, s3, client, settings, keep):
        settings.STORAGES = s3.storages(gzip=True)
        upload(client, {"spam.txt": DIGITS})
        spam = Attachment.objects.get()

        with spam.open() as file:
            assert (file.size, file.read()) == (len(DIGITS), DIGITS)
        keep(spam)

        assert s3.read("letters/spam.txt") == DIGITS

    def test_file_that_overwrites_would_take_another_name(self, s3, spam, keep):
        first = keep(spam)

        second = keep(spam)

        assert first.name != second.name
        assert len(s3.stored()) == 3

    def test_object_to_file(self, s3, settings):
        large = attach("large.bin", LARGE)
        s3.forget()
        enclosure = Enclosure()

        large.keep(enclosure.file)

        assert s3.asked == ["HEAD", "GET"]
        with enclosure.file.open() as file:
            assert file.read() == LARGE

    def test_file_to_object(self, s3, settings, keep):
        settings.STORAGES = {
            **live_settings.STORAGES,
            "session_attachments": live_settings.STORAGES["default"],
        }
        png = attach("png", DIGITS, mimetype="image/png")

        keep(png)

        assert s3.asked == ["HEAD", "PUT"]
        head = s3.client.head_object(Bucket=BUCKET, Key="letters/png")
        assert head["ContentType"] == "image/png"
        assert s3.read("letters/png") == DIGITS

    def test_failure_deletes_what_was_kept(self, s3, client, spam, keep):
        def fail():
            session = client.session
            with Bundle(session, "foo").take() as attachments:
                keep(attachments[0])
                assert len(s3.stored()) == 2
                raise ValueError("mine")

        with pytest.raises(ValueError, match="mine"):
            fail()

        assert s3.stored() == {spam.file.name: DIGITS}

    def test_object_that_is_gone(self, s3, spam, keep):
        s3.empty()

        with pytest.raises(AttachmentNotFound) as caught:
            keep(spam)

        assert caught.value.name == "spam.txt"
        assert s3.asked == ["HEAD"]

    def test_server_that_fails_is_not_taken_for_a_missing_object(self, s3, spam, keep):
        s3.faults["HEAD"] = status(500)

        with pytest.raises(Exception, match="500"):
            keep(spam)

    def test_open_reads_only_what_is_asked_for(self, s3, spam):
        with spam.open() as file:
            assert (file.name, file.size) == ("spam.txt", len(DIGITS))
            assert file.content_type == "text/plain"
            assert s3.asked == ["HEAD"]
            file.seek(-3, os.SEEK_END)
            assert file.read() == b"789"
            assert file.read() == b""
            file.seek(0)
            assert file.read() == DIGITS

        assert s3.asked == ["HEAD", "GET bytes=7-9", "GET"]

    def test_closing_hangs_up(self, s3):
        large = attach("large.bin", LARGE)
        s3.faults["GET"] = hang

        file = large.open()
        assert file.read(4) == LARGE[:4]
        eventually(lambda: s3.held)
        file.close()

        eventually(lambda: not s3.held)
        assert file.closed

    def test_open_of_nothing_asks_for_nothing(self, s3):
        empty = attach("empty", b"")
        s3.forget()

        with empty.open() as file:
            assert file.read() == b""

        assert s3.asked == ["HEAD"]


def test_storage_of_the_recipe(client, s3, settings):
    from recipes.s3 import STORAGES

    options = dict(STORAGES["session_attachments"]["OPTIONS"])
    settings.STORAGES = {
        **STORAGES,
        "session_attachments": {**STORAGES["session_attachments"], "OPTIONS": options},
    }
    own = {"access_key": "key", "secret_key": "secret"}
    s3.client.create_bucket(
        Bucket=options["bucket_name"],
        CreateBucketConfiguration={"LocationConstraint": options["region_name"]},
    )
    options.update(own, endpoint_url=url(s3.server_address))

    upload(client, {"spam.txt": b"spam"})

    assert shelf(client) == {"spam.txt": b"spam"}
    assert s3.asked == ["PUT", "HEAD", "GET"]
    assert list(s3.stored(options["bucket_name"])) == keys()
    assert client.delete(SPAM).json() == [True]
    assert s3.stored(options["bucket_name"]) == {}
    attachment_storage().connection.meta.client.close()
