"""Hostile names and types: what is kept, who reaches it, and that nothing runs."""

import asyncio
import os
import re
import shutil
import subprocess
import unicodedata
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.utils import collapse_rfc2231_value
from io import BytesIO
from urllib.parse import quote, unquote_to_bytes

import pytest
from django.core.files.uploadhandler import FileUploadHandler
from django.http.multipartparser import MultiPartParser, MultiPartParserError
from django.test import Client
from django.urls import reverse
from django.utils.http import parse_http_date
from hypothesis import assume, example, given
from hypothesis import strategies as st

from session_attachments.models import Attachment
from tests.browsers import browser, needs_chromium
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
from tests.tries import tries


@contextmanager
def visitor():
    """Yield a client with a session of its own, of which no attachment stays."""
    try:
        yield Client()
    finally:
        Attachment.objects.all().delete()


def nfc(text):
    return unicodedata.normalize("NFC", text)


def bundle_url(bundle):
    return f"/attachments/{quote(bundle, safe='')}/"


def file_url(name):
    return f"{URL}{quote(name, safe='')}/"


def told(response):
    """Return the names in a list, or what a refusal says."""
    return names(response) if response.status_code == 200 else problem(response)


def fetched(client, url):
    """Return the content of an attachment, or None if there is none."""
    response = client.get(url)
    body = b"".join(response)
    return body if response.status_code == 200 else None


# Ways in which clients write the parameter ``filename``:


def quoted(name):
    """Write it as curl does."""
    return 'filename="{}"'.format(name.replace("\\", r"\\").replace('"', r"\""))


def percented(name):
    """Write it as browsers do."""
    for char in '"\r\n':
        name = name.replace(char, quote(char))
    return raw(name)


def raw(name):
    return f'filename="{name}"'


def unquoted(name):
    return f"filename={name}"


def entities(name):
    return raw("".join(f"&#{ord(char)};" for char in name))


def extended(name):
    return f"filename*=utf-8''{quote(name, safe='')}"


def extended_utf_16(name):
    return f"filename*=utf-16-le''{quote(name.encode('utf-16-le'), safe='')}"


def extended_utf_7(name):
    return f"filename*=utf-7''{quote(name, safe='')}"


def extended_unknown(name):
    return f"filename*=spam''{quote(name, safe='')}"


def continued(name):
    return f'filename*0="{name[:2]}"; filename*1*={quote(name[2:], safe="")}'


def twice(name):
    return f"{raw(name[:2])}; {extended(name)}"


WAYS = [
    *(quoted, percented, raw, unquoted, entities, extended, extended_utf_16),
    *(extended_utf_7, extended_unknown, continued, twice),
]


def named(parameter, content=b"spam\n"):
    """Return a part whose file name is written as ``parameter``."""
    return part(content).replace(b'filename="spam.txt"', parameter.encode(), 1)


class Received(FileUploadHandler):
    """Remembers what a parser hands on, and nothing else."""

    def __init__(self):
        super().__init__()
        self.files = []

    def new_file(self, *args, **kwargs):
        super().new_file(*args, **kwargs)
        self.files.append((self.file_name, []))

    def receive_data_chunk(self, raw_data, start):
        self.files[-1][1].append(raw_data)

    def file_complete(self, file_size):
        """Make no file."""


class Parser(MultiPartParser):
    """Django's own; counts the names that it sees and refuses."""

    seen = refused = 0

    def sanitize_file_name(self, file_name):
        file_name = super().sanitize_file_name(file_name)
        self.seen += 1
        self.refused += file_name is None
        return file_name


def expected(body, charset="utf-8"):
    """Return how an upload must be refused, or None, and what it must store.

    That is what Django's own parser hands on, under the NFC of its name.
    """
    meta = {"CONTENT_TYPE": MULTIPART, "CONTENT_LENGTH": len(body)}
    received = Received()
    parser = Parser(meta, BytesIO(body), [received], charset)
    try:
        fields, _ = parser.parse()
    except MultiPartParserError:
        return (400, "incomplete_upload"), {}
    files = {nfc(name): b"".join(blocks) for name, blocks in received.files}
    if parser.refused or any(len(name) > 255 for name in files):
        return (400, "bad_name"), {}
    if body.count(b"--limit") - 1 > parser.seen + len(fields):
        return (400, "incomplete_upload"), {}
    if not files:
        return (400, "no_file"), {}
    return None, files


def suggested_name(response):
    """Return the name under which a download would be saved, as email reads it."""
    message = Message()
    message["Content-Disposition"] = response.headers["Content-Disposition"]
    parameters = message.get_params(header="Content-Disposition")
    # The encoded one, which comes last, goes before the plain one.
    (*_, name) = [value for key, value in parameters if key == "filename"]
    return collapse_rfc2231_value(name) if isinstance(name, tuple) else name


# Characters that one collation or another, or a normal form, takes for the same.
FAMILIES = [
    *("aAáÁäÅ\u212bａＡªａ\u0301", "eEёЁеЕ", "iIıİ\u0307", "kK\u212a", "sSſßẞ"),
    *("fiﬁﬀ", "ωΩ\u2126", "oOº0", "1¹①１١", "かがカガｶ\u3099\uff9e", "😀😁👩🚀"),
    *("a \t\u00a0\u3000", "a\u00ad\u034f\u200b\u200d\u2060\ufe0f", ".．…"),
]
# And what else is dropped, moved, or means something to somebody.
TRICKY = "".join(FAMILIES) + (
    "\"'\\/&#;%*=<>:|?$`{}[]~-\u037e；\u2044\u2215／＼"
    "\0\n\r\x1b\x7f\x85\u0958\u2028\u202e\u2066\ufeff\ufffd\uffff"
)
CHARACTERS = st.characters(codec="utf-8") | st.sampled_from(TRICKY)
# Not st.text(), which would mix both into one set, in which the few get lost.
TEXTS = st.lists(CHARACTERS, min_size=1, max_size=24).map("".join)
# A slash would make it another URL.
PATHS = TEXTS.map(lambda text: text.replace("/", "_"))
CHARSETS = ["utf-8", "latin-1", "cp1251", "shift_jis", "utf-7", "utf-16"]


def without_accents(text):
    decomposed = unicodedata.normalize("NFD", text)
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def wide(text):
    return text.translate({code: code + 0xFEE0 for code in range(0x21, 0x7F)})


def renormalized(form):
    def change(text):
        return unicodedata.normalize(form, text)

    return change


def followed_by(suffix):
    def change(text):
        return text + suffix

    return change


CHANGES = [
    *(str.lower, str.upper, str.casefold, str.swapcase, str.strip),
    *map(renormalized, ["NFC", "NFD", "NFKC", "NFKD"]),
    *(without_accents, wide),
    *map(followed_by, [" ", "  ", "\t", "\0", ".", "\u0301", "\u200d", "\ufe0f"]),
]
PAIRS = st.one_of(
    st.tuples(TEXTS, TEXTS),
    st.builds(
        lambda text, change: (text, change(text)), TEXTS, st.sampled_from(CHANGES)
    ),
    st.sampled_from(FAMILIES).flatmap(
        lambda family: st.tuples(*[st.text(family, min_size=1, max_size=3)] * 2)
    ),
)
ALIKE = [
    *(("Résumé.pdf", change("Résumé.pdf")) for change in CHANGES),
    *(("ﬁ", "fi"), ("ß", "ss"), ("Ａ", "A"), ("I", "ı"), ("😀", "😁"), ("が", "カ")),
]


def alike(test):
    """Try the pairs of ALIKE, too."""
    for pair in ALIKE:
        test = example(pair=pair)(test)
    return test


@pytest.mark.database
@pytest.mark.soak
@pytest.mark.django_db(transaction=True)
class TestAnyName:
    @tries(100)
    @given(name=TEXTS, way=st.sampled_from(WAYS))
    @example(name="n" * 255, way=quoted)
    @example(name="n" * 256, way=quoted)
    @example(name="\u0958" * 127, way=quoted)  # twice as long in NFC
    @example(name="\u0958" * 128, way=quoted)
    @example(name="e\u0301" * 255, way=quoted)  # half as long
    @example(name="e\u0301" * 256, way=quoted)
    @example(name="😀" * 250, way=quoted)  # longer than a header may be
    @example(name="..", way=entities)
    @example(name=" &amp;amp;%2541 ", way=quoted)
    @example(name='a"; name="', way=quoted)
    @example(name='"quoted"', way=quoted)
    @example(name="a\r\nContent-Type: text/html\r\n\r\n<b>", way=raw)
    def test_name_comes_back_as_django_hands_it_on(self, stored, name, way):
        body = form(named(way(name)))
        refusal, files = expected(body)

        with visitor() as client:
            assert told(send(client, body)) == (refusal or sorted(files))
            assert shelf(client) == files
            assert len(stored()) == len(files)
            for kept in files:
                assert suggested_name(client.head(file_url(kept))) == kept
                assert client.delete(file_url(kept)).json() == [True]
            assert shelf(client) == {}
            assert stored() == []

    @tries(30)
    @given(name=TEXTS, charset=st.sampled_from(CHARSETS))
    @example(name="a+AC8-b", charset="utf-7")
    def test_name_comes_back_in_every_charset(self, name, charset):
        body = form(named(quoted(name)))
        refusal, files = expected(body, charset)

        with visitor() as client:
            response = send(client, body, f"{MULTIPART}; charset={charset}")

            assert told(response) == (refusal or sorted(files))
            assert shelf(client) == files

    @tries(40)
    @given(pair=PAIRS)
    @alike
    @example(pair=("a", ".."))
    @example(pair=("a", ""))
    def test_two_names_are_two_attachments(self, stored, pair):
        parts = [named(quoted(name), name.encode()) for name in pair]
        refusal, files = expected(form(*parts))

        with visitor() as client:
            assert told(send(client, form(*parts))) == (refusal or sorted(files))
            assert shelf(client) == files
            while files:
                gone, _ = files.popitem()
                assert client.delete(file_url(gone)).json() == [True]
                assert shelf(client) == files
            assert stored() == []

    @tries(25)
    @given(pair=PAIRS)
    @alike
    def test_name_replaces_itself_only(self, stored, pair):
        bodies = [form(named(quoted(name), name.encode())) for name in pair]
        files = expected(bodies[0])[1] | expected(bodies[1])[1]

        with visitor() as client:
            for body in bodies:
                send(client, body)

            assert shelf(client) == files
            assert len(stored()) == len(files)

    @tries(25)
    @given(pair=PAIRS)
    @alike
    def test_name_is_reached_by_itself_only(self, pair):
        name, other = pair
        body = form(named(quoted(name)))
        _, files = expected(body)
        assume(other and "/" not in other)
        reached = files.get(nfc(other))

        with visitor() as client:
            send(client, body)

            assert fetched(client, file_url(other)) == reached
            assert client.delete(file_url(other)).json() == [reached is not None]
            assert len(shelf(client)) == len(files) - (reached is not None)


@pytest.mark.database
@pytest.mark.soak
@pytest.mark.django_db(transaction=True)
class TestAnyBundle:
    @tries(50)
    @given(bundle=PATHS)
    @example(bundle="b" * 256)
    @example(bundle="b" * 257)
    @example(bundle="e\u0301" * 256)
    @example(bundle="e\u0301" * 257)
    @example(bundle="\u0958" * 128)
    @example(bundle="\u0958" * 129)
    @example(bundle="..")
    @example(bundle=" \u200d\u00ad\u202e\uffff ")
    def test_bundle_is_kept_under_its_nfc_or_refused(self, stored, bundle):
        controls = {c for c in nfc(bundle) if unicodedata.category(c) == "Cc"}
        good = len(nfc(bundle)) <= 256 and not controls and bundle not in {".", ".."}
        files = {"spam.txt": b"spam\n"} if good else {}

        with visitor() as client:
            response = send(client, form(part()), url=bundle_url(bundle))

            assert told(response) == (list(files) or (400, "bad_bundle"))
            for form_ in ("NFC", "NFD"):
                url = bundle_url(unicodedata.normalize(form_, bundle))
                assert shelf(client, url) == files
                assert fetched(client, f"{url}spam.txt/") == files.get("spam.txt")
            assert client.delete(f"{url}egg.txt/").json() == [False]
            assert client.delete(f"{url}spam.txt/").json() == [good]
            assert client.post(f"{url}delete/").json() == []
            assert stored() == []

    @tries(25)
    @given(pair=PAIRS)
    @alike
    def test_bundle_is_reached_by_itself_only(self, pair):
        bundle, other = (text.replace("/", "_") for text in pair)
        assume(other)
        files = {"spam.txt": b"spam\n"}

        with visitor() as client:
            response = send(client, form(part()), url=bundle_url(bundle))
            reached = response.status_code == 200 and nfc(bundle) == nfc(other)

            assert shelf(client, bundle_url(other)) == (files if reached else {})
            gone = client.post(f"{bundle_url(other)}delete/").json()
            assert gone == ([[True]] if reached else [])

    @tries(30)
    @given(
        bundle=st.binary(min_size=1, max_size=9), name=st.binary(min_size=1, max_size=9)
    )
    @example(bundle=b"\xed\xa0\x80", name=b"\xff\0")
    def test_any_bytes_are_answered(self, bundle, name):
        url = f"/attachments/{quote(bundle, safe='')}/"

        with visitor() as client:
            send(client, form(part()), url=url)
            for path in (url, f"{url}{quote(name, safe='')}/"):
                statuses = {
                    client.generic(method, path).status_code
                    for method in ("GET", "HEAD", "DELETE", "POST")
                }
                assert statuses <= {200, 400, 404, 405}


SCRIPT = b"console.log('ran')"
HTML = b"<!doctype html><title>page</title><script>%s</script>" % SCRIPT
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>%s</script></svg>' % SCRIPT
EMPTY_ZIP = b"PK\5\6" + bytes(18)
KINDS = {
    "page.html": HTML,
    "page.xhtml": b'<html xmlns="http://www.w3.org/1999/xhtml">%s</html>' % SVG,
    "page.mhtml": b"MIME-Version: 1.0\nContent-Type: text/html\n\n" + HTML,
    "page.png": HTML,
    "page": HTML,
    "image.svg": SVG,
    "image.jpg": SVG,
    "style.xsl": b'<?xml version="1.0"?><?xml-stylesheet href="#"?>' + SVG,
    "utf-16.txt": HTML.decode().encode("utf-16"),
    "utf-7.txt": b"+ADw-script+AD4-%s+ADw-/script+AD4-" % SCRIPT,
    "script.gif": b"GIF89a=0;" + SCRIPT,
    "script.js": b"GIF89a=0;" + SCRIPT,
    "page.pdf": b"%PDF-1.4\n" + HTML,
    "applet.gif": b"GIF89a" + bytes(7) + EMPTY_ZIP,
    "applet.jar": EMPTY_ZIP,
    "movie.swf": b"FWS\x09" + bytes(20),
    "shell.php": b"<?php system($_GET['c']);",
    "shell.php.jpg": b"\xff\xd8\xff\xe0<?php system($_GET['c']);",
    "shell.phtml": b"GIF89a<?php system($_GET['c']);",
    "run.sh": b"#!/bin/sh\nid\n",
    "run": b"\x7fELF\2\1\1" + bytes(57),
    "run.exe": b"MZ" + bytes(62),
    "run.py": b"import os\n",
    "link.url": b"[InternetShortcut]\r\nURL=javascript:alert(1)\r\n",
    ".htaccess": b"AddType application/x-httpd-php .txt\n",
    "web.config": b"<configuration/>",
    "index.html": b"",
}
# Parameters, and the names that they are kept under.
NAMES = {
    raw("con"): "con",
    raw("nul.txt"): "nul.txt",
    raw("COM1:"): "COM1:",
    raw("C:x.txt:stream"): "C:x.txt:stream",
    raw("-rf"): "-rf",
    raw("~root"): "~root",
    raw("$(id)`id`|id;id"): "$(id)`id`|id;id",
    raw("../../x"): "x",
    raw("/etc/passwd"): "passwd",
    raw(r"..\..\x"): "x",
    raw("..%2f..%2fx"): "..%2f..%2fx",
    raw("%2e%2e%2fx"): "%2e%2e%2fx",
    raw("..&sol;..&#x2f;x"): "x",
    raw("..．．／x"): "..．．／x",
    raw("..\u2215..\u2044x"): "..\u2215..\u2044x",
    raw("..."): "...",
    raw("x/.x"): ".x",
    raw("2030-01-31"): "2030-01-31",
    raw(f"session_attachments/2030-01-31/{'0' * 32}"): "0" * 32,
    raw("session_attachments"): "session_attachments",
    raw("invoice\u202efdp.exe"): "invoicefdp.exe",
    raw("\u2066a\u2069\u200e.txt"): "a.txt",
    raw("a\0.txt"): "a.txt",
    raw("a&#0;.txt"): "a\ufffd.txt",
    raw("a%00.txt"): "a%00.txt",
    raw("a\nSet-Cookie: b=c.txt"): "aSet-Cookie: b=c.txt",
    raw("a\rSet-Cookie: b=c.txt"): "aSet-Cookie: b=c.txt",
    raw("a\r\nSet-Cookie: b=c.txt"): '"a',
    raw("a&#13;&#10;Set-Cookie: b=c.txt"): "aSet-Cookie: b=c.txt",
    percented("a\r\nSet-Cookie: b=c.txt"): "a%0D%0ASet-Cookie: b=c.txt",
    extended("a\r\nSet-Cookie: b=c.txt"): "aSet-Cookie: b=c.txt",
    extended("a\u2028b\x85c.txt"): "abc.txt",
    extended("嘍嘊Set-Cookie: b=c"): "嘍嘊Set-Cookie: b=c",  # U+560D, U+560A
    quoted('a"; filename="b.html'): 'a"; filename="b.html',
    quoted("a\"; filename*=utf-8''b.html"): "a\"; filename*=utf-8''b.html",
    raw("'\"><img src=x onerror=alert(1)>"): "'\"><img src=x onerror=alert(1)>",
    raw("{{ 7|add:7 }}{% url %}%s{0}"): "{{ 7|add:7 }}{% url %}%s{0}",
    raw("=cmd|'x'!A1.csv"): "=cmd|'x'!A1.csv",
    raw("\u0958.html"): "\u0915\u093c.html",
    raw("n" * 255): "n" * 255,
    raw("😀" * 200): "😀" * 200,
}
HOSTILE = [
    *((raw(name), name, data) for name, data in KINDS.items()),
    *((parameter, name, HTML) for parameter, name in NAMES.items()),
]
# All that an answer with an attachment says beside what is about the file.
HEADERS = {
    "Accept-Ranges": "bytes",
    "Cache-Control": "private, no-store",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Vary": "Cookie",
    "X-Content-Type-Options": "nosniff",
}
# Django says more of the kind in the admin, and when the answer expires: now.
NEVER = "private, no-store, max-age=0, no-cache, must-revalidate"


def admin_url(attachment):
    name = "admin:session_attachments_attachment_download"
    return reverse(name, args=[attachment.pk])


def headers_beside(response, attachment, data):
    """Check the body and the headers about the file; return the others."""
    assert content(response) == data
    lines = response.serialize_headers().splitlines()
    assert len(lines) == len(response.headers)
    assert not response.cookies
    headers = dict(response.headers)
    assert headers.pop("Content-Type") == attachment.mimetype
    assert headers.pop("Content-Length") == str(len(data))
    assert headers.pop("Content-Disposition").startswith("attachment; filename")
    assert suggested_name(response) == attachment.filename
    assert re.fullmatch('"[0-9a-f]{32}"', headers.pop("ETag"))
    assert parse_http_date(headers.pop("Last-Modified"))
    return headers


def below(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def assert_in_place(folder, attachment):
    """Nothing lies below ``folder`` but the attachment's file, in today's folder."""
    file = str(attachment.file)
    day = file.split("/")[1]
    # A minute ago it may have been yesterday.
    now = datetime.now(UTC)
    assert day in {f"{now:%Y-%m-%d}", f"{now - timedelta(minutes=1):%Y-%m-%d}"}
    assert re.fullmatch(f"session_attachments/{day}/[0-9a-f]{{32}}", file)
    folders = {"media", "media/session_attachments", f"media/session_attachments/{day}"}
    assert below(folder) == {"temporary", *folders, f"media/{file}"}
    assert not (folder / "media" / file).stat().st_mode & 0o111


@pytest.fixture
def place(monkeypatch, temporary, tmp_path):
    """Return the folder in which storage, temporary files and this process are."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.django_db
class TestHostileFile:
    @pytest.mark.parametrize(
        ("parameter", "name", "data"), HOSTILE, ids=[name for _, name, _ in HOSTILE]
    )
    def test_file_is_a_download_and_in_its_place(
        self, client, admin_client, place, parameter, name, data
    ):
        response = send(client, form(named(parameter, data)))
        attachment = Attachment.objects.get()

        assert names(response) == names(client.get(URL)) == [name]
        assert client.get(URL).content.isascii()
        assert_in_place(place, attachment)
        assert headers_beside(client.get(file_url(name)), attachment, data) == HEADERS
        in_admin = headers_beside(
            admin_client.get(admin_url(attachment)), attachment, data
        )
        assert parse_http_date(in_admin.pop("Expires"))
        assert in_admin == HEADERS | {"Cache-Control": NEVER}
        assert_in_place(place, attachment)


REFUSED = ["..", ".", "/", "a/", "../..", "..\\", "&#46;.", "&sol;", "\u200d", "\0"]


@pytest.mark.django_db
class TestRefusedName:
    @pytest.mark.fault(25)
    @pytest.mark.parametrize("name", [*REFUSED, "n" * 256, "\u0958" * 128])
    def test_nothing_is_stored_beside_it(self, client, place, name):
        for parts in ([part(), named(raw(name))], [named(raw(name)), part()]):
            response = send(client, form(*parts))

            assert problem(response) == (400, "bad_name")
            assert below(place) == {"temporary"}
        assert not Attachment.objects.exists()

    @pytest.mark.parametrize("name", REFUSED)
    def test_name_is_refused_without_another(self, client, place, name):
        response = send(client, form(named(raw(name))))

        assert problem(response) == (400, "bad_name")
        assert below(place) == {"temporary"}

    def test_input_without_a_file_has_no_name(self, client, place):
        response = send(client, form(named(raw(""))))

        assert problem(response) == (400, "no_file")
        assert below(place) == {"temporary"}


@pytest.mark.database
@pytest.mark.django_db
class TestLongName:
    """A temporary file takes the extension of the upload, and file systems a limit."""

    @pytest.mark.fault(26)
    @pytest.mark.parametrize("name", ["a." + "x" * 253, "ж." + "ж" * 253])
    def test_extension_may_be_as_long_as_the_name(self, client, temporary, name):
        assert names(upload(client, {name: b"spam\n"})) == [name]

        assert shelf(client) == {name: b"spam\n"}
        assert list(temporary.iterdir()) == []


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
class TestStoredName:
    def test_stored_name_is_a_name_like_any_other(self, client, stored):
        upload(client, {"spam.txt": b"spam\n"})
        (file,) = stored()
        _, day, token = file.split("/")

        for path in (token, day, file, quote(file, safe="")):
            assert client.get(f"{URL}{path}/").status_code == 404
        upload(client, {token: b"egg\n", day: b"bacon\n"})

        assert shelf(client) == {
            "spam.txt": b"spam\n",
            token: b"egg\n",
            day: b"bacon\n",
        }
        for name in (token, day):
            assert client.delete(f"{URL}{name}/").json() == [True]
        assert shelf(client) == {"spam.txt": b"spam\n"}
        assert stored() == [file]

    @pytest.mark.parametrize(
        "path",
        [
            *("../x.txt", "..%2fx.txt", "%2e%2e%2fx.txt", "%252e%252e%252fx.txt"),
            *("..%5cx.txt", "..;/x.txt", "..%00/x.txt", "%c0%ae%c0%ae%c0%afx.txt"),
            *("x.txt", "{media}/x.txt", "%2f{media}%2fx.txt", "file:{media}/x.txt"),
        ],
    )
    def test_path_in_the_url_reaches_nothing(self, client, media, stored, path):
        upload(client, {"spam.txt": b"spam\n"})
        (media / "x.txt").write_text("secret")
        (media / "session_attachments" / "x.txt").write_text("secret")
        before = stored()
        url = f"{URL}{path.format(media=media)}/"

        for method in ("GET", "HEAD", "POST", "DELETE"):
            assert b"secret" not in b"".join(client.generic(method, url))
            assert b"secret" not in b"".join(client.generic(method, f"{url}delete/"))

        assert stored() == before


async def what_scripts_say(context, url, without):
    """Open ``url`` as if it came without these headers; return what is logged."""
    said = []
    page = await context.new_page()
    page.on("console", lambda message: said.append(message.text))

    async def answer(route):
        response = await route.fetch()
        headers = {n: t for n, t in response.headers.items() if n not in without}
        await route.fulfill(response=response, headers=headers)

    await page.route(url, answer)
    await page.goto(url)
    assert page.url == url
    return said


async def download(context, url):
    """Open ``url``, which is not shown but downloaded; return the content."""
    said = []
    page = await context.new_page()
    page.on("console", lambda message: said.append(message.text))
    async with page.expect_download() as downloading:
        with pytest.raises(Exception, match="Download is starting"):
            await page.goto(url)
    path = await (await downloading.value).path()
    assert page.url == "about:blank"
    assert said == []
    return path.read_bytes()


@pytest.mark.server
@pytest.mark.slow
@needs_chromium
@pytest.mark.django_db(transaction=True)
def test_markup_is_downloaded_and_its_script_does_not_run(client, live_server):
    files = {"image.svg": SVG, "page.html": HTML}
    upload(client, files)
    cookie = {"name": "sessionid", "value": client.cookies["sessionid"].value}

    async def use_browser():
        async with browser() as chromium:
            context = await chromium.new_context()
            await context.add_cookies([{**cookie, "url": live_server.url}])
            for name, data in files.items():
                url = f"{live_server.url}{URL}{name}/"
                assert await download(context, url) == data
                # Each of the two headers is enough; without both this test would fail.
                hidden = ["content-disposition"]
                assert "ran" not in await what_scripts_say(context, url, hidden)
                hidden = ["content-disposition", "content-security-policy"]
                assert "ran" in await what_scripts_say(context, url, hidden)

    asyncio.run(use_browser())


# Names, and as what a client saves them that does not know encoded names.
SAVED = {
    "30%de remise.pdf": "30_de remise.pdf",
    "50%20off.txt": "50_20off.txt",
    "50%25.txt": "50_25.txt",
    "100%.txt": "100_.txt",
    "Résumé.pdf": "Resume.pdf",
    "a;b 'c'.txt": "a;b 'c'.txt",
}


@pytest.fixture
def saved_names(client, live_server, tmp_path):
    """Store files; return their URLs, the session, and a folder to save them in."""
    upload(client, dict.fromkeys(SAVED, b"spam\n"))
    urls = [f"{live_server.url}{file_url(name)}" for name in SAVED]
    folder = tmp_path / "saved"
    folder.mkdir()
    return urls, client.cookies["sessionid"].value, folder


@pytest.mark.server
@pytest.mark.django_db(transaction=True)
class TestSaving:
    """As what clients save a download."""

    @needs_chromium
    def test_browser_saves_it_under_its_name(self, saved_names, live_server):
        urls, session, _ = saved_names
        cookie = {"name": "sessionid", "value": session, "url": live_server.url}

        async def save():
            async with browser() as chromium:
                context = await chromium.new_context()
                await context.add_cookies([cookie])
                return [await saved_as(context, url) for url in urls]

        assert asyncio.run(save()) == [*SAVED]

    @pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
    def test_curl_saves_every_file(self, saved_names):
        urls, session, folder = saved_names
        curl = ["curl", "-sSfOJ", "--noproxy", "*", "--cookie", f"sessionid={session}"]
        for url in urls:
            subprocess.run([*curl, url], cwd=folder, check=True)

        assert {path.name for path in folder.iterdir()} == {*SAVED.values()}

    @pytest.mark.skipif(not shutil.which("wget"), reason="needs wget")
    def test_wget_saves_every_file(self, saved_names):
        urls, session, folder = saved_names
        subprocess.run(
            [
                *("wget", "-q", "--no-proxy", "--content-disposition", "--no-cookies"),
                *(f"--header=Cookie: sessionid={session}", *urls),
            ],
            cwd=folder,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            check=True,
        )

        saved = {os.fsencode(path.name) for path in folder.iterdir()}
        # It decodes every name once more.
        assert saved == {unquote_to_bytes(name) for name in SAVED}


async def saved_as(context, url):
    """Open ``url``, which is downloaded; return the name that the browser gives it."""
    page = await context.new_page()
    async with page.expect_download() as downloading:
        with pytest.raises(Exception, match="Download is starting"):
            await page.goto(url)
    return (await downloading.value).suggested_filename
