"""What type a file is: its content decides, its name refines.

The contents are built here, as small as libmagic takes them for what they are.
"""

import gzip
import io
import mimetypes
import re
import struct
import sys
import zipfile

import pytest
from django.core.files.base import ContentFile, File

from session_attachments import content
from session_attachments.content import HEAD, detect
from tests.clients import needs_libmagic

OFFICE = "application/vnd.openxmlformats-officedocument."
DOCX = f"{OFFICE}wordprocessingml.document"
XLSX = f"{OFFICE}spreadsheetml.sheet"
PPTX = f"{OFFICE}presentationml.presentation"
OCTET_STREAM = "application/octet-stream"


def zipped(members):
    """Return a zip file of ``members``, a dict of names and texts."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return file.getvalue()


def office(part):
    """Return a document of Office Open XML."""
    return zipped({"[Content_Types].xml": "<a/>", "_rels/.rels": "<a/>", part: "<a/>"})


CONTENTS = {
    "png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0",
    "gif": b"GIF89a\1\0\1\0",
    "pdf": b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n",
    "gzip": gzip.compress(b"spam\n" * 10, mtime=0),
    "zip": zipped({"a.txt": "spam"}),
    "jar": zipped({"META-INF/MANIFEST.MF": "a: b\n"}),
    "docx": office("word/document.xml"),
    # The directory, which says what it is, comes after the head of the file.
    "ole": (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
        + bytes(16)
        + struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
        + struct.pack("<IIIIIIIIII", 0, 1, 100, 0, 4096, 2**32 - 2, 0, 2**32 - 2, 0, 9)
    ).ljust(512, b"\xff"),
    "xlsx": office("xl/workbook.xml"),
    "odt": zipped({"mimetype": "application/vnd.oasis.opendocument.text"}),
    "html": b"<!DOCTYPE html><html><script>alert(1)</script></html>\n",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>\n',
    "xml": b'<?xml version="1.0"?>\n<a/>\n',
    "prose": b"Dear Jane, I came, I saw, I won.\nYours, truly, ever, ever, Joe.\n" * 9,
    "csv": b"a,b,c\n1,2,3\n" * 9,
    "json": b'{"a": 1}\n',
    "markdown": b"# Title\n\nSpam.\n",
    "css": b"body { color: red }\n",
    "script": b"#!/bin/sh\necho spam\n",
    "javascript": b"function f() { return 1; }\nvar x = 1;\n",
    "utf-16": "спам\n".encode("utf-16"),
    "empty": b"",
    "zeros": bytes(100),
    "byte": b"\x80",
    "letter": b"x",
}


def type_of(content, name):
    return detect(ContentFile(CONTENTS[content]), name)


@pytest.fixture(
    autouse=True,
    params=["", "application/x-elsewhere docx md yaml gz log zst\n"],
    ids=["bare", "strange"],
)
def table(request, monkeypatch, tmp_path):
    """Replace the machine's table of types, which may be anything or nothing."""
    file = tmp_path / "mime.types"
    file.write_text(request.param)
    with monkeypatch.context() as patch:
        patch.setattr(mimetypes, "knownfiles", [str(file)])
        mimetypes.init()
        yield
    mimetypes.init()


@needs_libmagic
class TestContentDecides:
    @pytest.mark.parametrize(
        "name", ["a", "a.png", "a.txt", "a.zip", "a.html", "a.unknown", "a.pdf"]
    )
    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ("png", "image/png"),
            ("gif", "image/gif"),
            ("pdf", "application/pdf"),
            ("gzip", "application/gzip"),
        ],
    )
    def test_content_decides(self, content, expected, name):
        assert type_of(content, name) == expected

    @pytest.mark.parametrize("name", ["a.png", "a.pdf", "a.zip", "a.unknown", "html"])
    def test_html_stays_html_under_a_name_that_is_no_text(self, name):
        assert type_of("html", name) == "text/html"

    @pytest.mark.parametrize("name", ["a.png", "a.pdf", "a.exe", "a.docx", "a"])
    def test_text_does_not_become_binary(self, name):
        assert type_of("prose", name).startswith("text/")


class TestTextual:
    @pytest.mark.parametrize(
        ("content", "name", "expected"),
        [
            ("html", "a.html", "text/html"),
            ("html", "a.txt", "text/plain"),
            ("html", "a.svg", "image/svg+xml"),
            ("svg", "a.svg", "image/svg+xml"),
            ("svg", "a.txt", "text/plain"),
            ("xml", "a.txt", "text/plain"),
            ("xml", "a.html", "text/html"),
            ("prose", "a.txt", "text/plain"),
            ("prose", "a.csv", "text/csv"),
            ("prose", "a.log", "text/plain"),
            ("csv", "a.csv", "text/csv"),
            ("csv", "a.txt", "text/plain"),
            ("json", "a.json", "application/json"),
            ("json", "a.txt", "text/plain"),
            ("prose", "a.json", "application/json"),
            ("markdown", "a.md", "text/markdown"),
            ("markdown", "README.MD", "text/markdown"),
            ("css", "a.css", "text/css"),
            ("css", "a.yaml", "application/yaml"),
            ("css", "a.yml", "application/yaml"),
            ("script", "a.txt", "text/plain"),
            ("javascript", "a.txt", "text/plain"),
            ("utf-16", "a.csv", "text/csv"),
        ],
    )
    def test_name_decides_between_textual_types(self, content, name, expected):
        assert type_of(content, name) == expected

    def test_javascript_is_textual(self):
        # Python's own table says one or the other, as its version goes.
        assert type_of("javascript", "a.js").endswith("/javascript")

    @needs_libmagic
    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ("html", "text/html"),
            ("json", "application/json"),
            ("markdown", "text/plain"),
            ("utf-16", "text/plain"),
        ],
    )
    def test_text_without_extension_is_what_its_content_says(self, content, expected):
        assert type_of(content, "README") == expected


@pytest.fixture
def asked(monkeypatch):
    """Return the list of what libmagic is asked about."""
    import magic

    asked = []

    def note(self, head):
        asked.append(head)
        return from_buffer(self, head)

    from_buffer = magic.Magic.from_buffer
    monkeypatch.setattr(magic.Magic, "from_buffer", note)
    return asked


@needs_libmagic
class TestPlainText:
    @pytest.mark.parametrize(
        ("content", "name", "expected"),
        [
            (b"Words.\r\n\tMore words.\f", "a.txt", "text/plain"),
            ("Слова".encode(), "a.md", "text/markdown"),
            (b'{"a": 1}', "a.json", "application/json"),
            # Its last character goes on behind the head.
            (b"x" + "я".encode() * HEAD, "a.txt", "text/plain"),
        ],
    )
    def test_libmagic_is_not_asked(self, asked, content, name, expected):
        assert detect(ContentFile(content), name) == expected
        assert asked == []

    @pytest.mark.parametrize(
        ("content", "name", "expected"),
        [
            (b"%PDF-1.4\n", "a.txt", "application/pdf"),
            (b"\n\n%PDF-1.4\n", "a.txt", "application/pdf"),
            (b"%!PS-Adobe-3.0\n", "a.txt", "application/postscript"),
            (b"{\\rtf1 words}", "a.txt", "text/plain"),
            (b"Words.", "a.bin", "text/plain"),
            (b"Caf\xe9", "a.txt", "text/plain"),
            (b"a\0b", "a.txt", "text/plain"),
        ],
    )
    def test_libmagic_is_asked(self, asked, content, name, expected):
        assert detect(ContentFile(content), name) == expected
        assert asked == [content]


def filled(space, start):
    """Return a head of that white space."""
    return (start + space * HEAD)[:HEAD]


@needs_libmagic
class TestSpace:
    """libmagic takes quadratic time for it; the benchmarks measure that."""

    @pytest.mark.parametrize(
        "space",
        ["\n", "\r\n", " \n", "\t\f\v", "a" + "\n" * 99],
        ids=["LF", "CRLF", "space", "feed", "lines"],
    )
    @pytest.mark.parametrize(
        "charset", ["ascii", "utf-16-le", "utf-16-be", "utf-32-le"]
    )
    @pytest.mark.parametrize("start", [b"", b"BM"])
    def test_libmagic_sees_little_of_it(self, asked, space, charset, start):
        head = filled(space.encode(charset), start)

        detect(ContentFile(head), "a.bin")

        (seen,) = asked
        assert seen.startswith(head[:64])
        assert max(map(len, re.findall(rb"[\0\s]+", seen))) <= 70

    @pytest.mark.parametrize("name", ["a", "a.bin"])
    def test_text_is_found_behind_it(self, asked, name):
        content = filled(b"\n", b"")[:4000] + CONTENTS["html"]

        assert detect(ContentFile(content), name) == "text/html"
        assert asked == [b"\n" * 64 + CONTENTS["html"]]

    def test_content_with_little_of_it_is_seen_as_it_is(self, asked):
        content = CONTENTS["prose"].replace(b" ", b"\r\n" * 32)

        detect(ContentFile(content), "a.bin")

        assert asked == [content[:HEAD]]


@needs_libmagic
class TestZip:
    @pytest.mark.parametrize(
        ("content", "name", "expected"),
        [
            ("zip", "a.zip", "application/zip"),
            ("zip", "a", "application/zip"),
            ("zip", "a.docx", DOCX),
            ("zip", "a.xlsx", XLSX),
            ("zip", "a.pptx", PPTX),
            ("zip", "a.odt", "application/vnd.oasis.opendocument.text"),
            ("zip", "a.epub", "application/epub+zip"),
            ("jar", "a.jar", "application/java-archive"),
            ("zip", "a.txt", "application/zip"),
            ("zip", "a.png", "application/zip"),
            ("zip", "a.gz", "application/zip"),
            ("zip", "a.unknown", "application/zip"),
            ("docx", "a.docx", DOCX),
            ("docx", "a.txt", DOCX),
            ("docx", "a", DOCX),
            ("xlsx", "a.xlsx", XLSX),
            ("odt", "a.odt", "application/vnd.oasis.opendocument.text"),
        ],
    )
    def test_name_refines_to_what_is_zip_inside(self, content, name, expected):
        assert type_of(content, name) == expected


@needs_libmagic
class TestOLE:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("a.doc", "application/msword"),
            ("a.xls", "application/vnd.ms-excel"),
            ("a.txt", "application/x-ole-storage"),
            ("a.docx", "application/x-ole-storage"),
            ("a", "application/x-ole-storage"),
        ],
    )
    def test_name_refines_to_what_is_ole_inside(self, name, expected):
        assert type_of("ole", name) == expected


class TestBlank:
    @pytest.mark.parametrize("content", ["empty", "zeros", "byte"])
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("a.txt", "text/plain"),
            ("a.png", "image/png"),
            ("a.pdf", "application/pdf"),
            ("a.docx", DOCX),
            ("a.tar.gz", "application/gzip"),
            ("A.TAR.GZ", "application/gzip"),
            ("a.tgz", "application/gzip"),
            ("a.zst", "application/zstd"),
            ("a.webp", "image/webp"),
            ("a.unknown", OCTET_STREAM),
            ("a", OCTET_STREAM),
            ("a.", OCTET_STREAM),
            ("", OCTET_STREAM),
            ("..", OCTET_STREAM),
            (".png", OCTET_STREAM),
            ("a.png ", OCTET_STREAM),
            ("Отчёт.PDF", "application/pdf"),
        ],
    )
    def test_name_stands_in_for_any_type(self, content, name, expected):
        assert type_of(content, name) == expected

    def test_single_letter_is_text_by_its_name(self):
        assert type_of("letter", "a.txt") == "text/plain"

    @pytest.mark.parametrize(
        "name",
        [
            *("http://example.com/a.png?b", "data:image/png,a", "a.png;b=c"),
            *("a.\r\nSet-Cookie: a", "a.\0png", "a./../png", "a." + "x" * 10_000),
            *("a.p\u0301ng", "a.\ud83d", "a.<script>", "a.%s%n"),
        ],
    )
    def test_hostile_extension_is_no_type(self, name):
        assert type_of("zeros", name) == OCTET_STREAM

    @needs_libmagic
    def test_image_with_an_encoding_is_what_its_content_says(self):
        # For mimetypes "a.svgz" is an image.
        assert type_of("gzip", "a.svgz") == "application/gzip"


class Counted(io.BytesIO):
    """A file that counts what is read."""

    count = 0

    def read(self, size=-1):
        data = super().read(size)
        self.count += len(data)
        return data


@needs_libmagic
class TestFile:
    @pytest.mark.parametrize("position", [0, 3, 10**6])
    def test_file_is_left_at_its_beginning(self, position):
        file = ContentFile(CONTENTS["pdf"])
        file.seek(position)

        assert detect(file, "a.txt") == "application/pdf"
        assert file.tell() == 0

    def test_head_is_bounded(self):
        raw = Counted(CONTENTS["png"] + bytes(10**6))

        assert detect(File(raw), "a") == "image/png"
        assert raw.count <= HEAD == 8192

    def test_head_is_long_enough_for_html_after_padding(self):
        content = b"\n" * 4000 + CONTENTS["html"]

        assert detect(ContentFile(content), "a") == "text/html"

    def test_file_on_disk_is_detected(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_bytes(CONTENTS["png"])

        with path.open("rb") as raw:
            assert detect(File(raw), path.name) == "image/png"


@pytest.fixture
def new_libmagic():
    """Let the test load libmagic anew, and the next one again."""
    content._libmagic.cache_clear()
    yield
    content._libmagic.cache_clear()


@pytest.mark.usefixtures("new_libmagic")
class TestPatterns:
    """They take quadratic time; the benchmarks measure it."""

    def test_patterns_look_at_few_bytes(self):
        import magic

        detect(ContentFile(CONTENTS["png"]), "a")

        limit = content._libmagic().getparam(magic.MAGIC_PARAM_REGEX_MAX)
        assert limit == content.PATTERN == 1024

    @pytest.mark.parametrize(
        ("attribute", "value"),
        [("_has_param", False), ("MAGIC_PARAM_REGEX_MAX", 99)],
        ids=["no limits", "not this limit"],
    )
    def test_old_libmagic_has_no_limit(self, monkeypatch, attribute, value):
        import magic

        monkeypatch.setattr(magic, attribute, value)

        assert detect(ContentFile(CONTENTS["png"]), "a") == "image/png"


@pytest.fixture
def no_libmagic(monkeypatch, new_libmagic):
    # Python's import system raises ImportError for it, as python-magic does where the
    # C library is missing.
    monkeypatch.setitem(sys.modules, "magic", None)


@pytest.mark.usefixtures("no_libmagic")
class TestWithoutLibmagic:
    @pytest.mark.parametrize(
        ("content", "name", "expected"),
        [
            ("png", "a.png", "image/png"),
            ("png", "a.txt", "text/plain"),
            ("html", "a.png", "image/png"),
            ("prose", "a.md", "text/markdown"),
            ("docx", "a.docx", DOCX),
            ("png", "a", OCTET_STREAM),
            ("prose", "a.unknown", OCTET_STREAM),
        ],
    )
    def test_name_alone_decides(self, content, name, expected):
        assert type_of(content, name) == expected
