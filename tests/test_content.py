"""What type a file is: its content decides, its name refines.

The contents are built here, as small as libmagic takes them for what they are.
"""

import gzip
import io
import mimetypes
import os
import re
import struct
import sys
import tracemalloc
import zipfile

import pytest
from django.core.files.base import ContentFile, File

from session_attachments.files import content
from session_attachments.files.content import HEAD, detect, libmagic_fault
from tests.clients import needs_libmagic

OFFICE = "application/vnd.openxmlformats-officedocument."
DOCX = f"{OFFICE}wordprocessingml.document"
XLSX = f"{OFFICE}spreadsheetml.sheet"
PPTX = f"{OFFICE}presentationml.presentation"
PE = "application/vnd.microsoft.portable-executable"
VISIO = "application/vnd.ms-visio"
OCTET_STREAM = "application/octet-stream"


def zipped(members, compression=zipfile.ZIP_STORED):
    """Return a zip file of ``members``, a dict of names and texts."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
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
    "macros": office("word/vbaProject.bin"),
    # The directory, which says what it is, comes after the head of the file.
    "ole": (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
        + bytes(16)
        + struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
        + struct.pack("<IIIIIIIIII", 0, 1, 100, 0, 4096, 2**32 - 2, 0, 2**32 - 2, 0, 9)
    ).ljust(512, b"\xff"),
    "xlsx": office("xl/workbook.xml"),
    "pptx": office("ppt/presentation.xml"),
    "vsdx": office("visio/document.xml"),
    "odt": zipped({"mimetype": "application/vnd.oasis.opendocument.text"}),
    # As much as tells: the old header, where the new one is, and of which kind it is.
    "pe": b"MZ".ljust(60, b"\0")
    + struct.pack("<I4sHHIIIHHH", 64, b"PE", 0x8664, 1, 0, 0, 0, 240, 0x22, 0x20B)
    + bytes(300),
    "rar": b"Rar!\x1a\7\1\0" + bytes(30),
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
            ("rar", "application/vnd.rar"),
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
            ("javascript", "a.js", "text/javascript"),
            ("utf-16", "a.csv", "text/csv"),
        ],
    )
    def test_name_decides_between_textual_types(self, content, name, expected):
        assert type_of(content, name) == expected

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

    # Asked once in each process.
    libmagic_fault()
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
            (b"Caf\xe9", "a.txt", "text/plain"),
            (b"%% \xd6l\n", "a.tex", "text/x-tex"),
            (b"\x1b[31mred\x1b[0m\n", "a.log", "text/plain"),
            ("\ufeffСлова".encode("utf-16-be"), "a.csv", "text/csv"),
            # Its last character goes on behind the head.
            (b"x" + "я".encode() * HEAD, "a.txt", "text/plain"),
            # Prose, under whatever name; a table for libmagic, because of its commas.
            (CONTENTS["prose"], "a.bin", "text/plain"),
            (CONTENTS["prose"], "a.pdf", "text/plain"),
            ("Это — слова, и больше ничего.".encode(), "README", "text/plain"),
            ("Это просто слова и всё.".encode("cp1251"), "README", "text/plain"),
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
            (b"%FDF-1.2\n%\xe2\xe3\xcf\xd3\n", "a.txt", "application/vnd.fdf"),
            (b"{\\rtf1 words}", "a.txt", "text/plain"),
            (b"Words.", "a.bin", "text/plain"),
            (b"From joe Fri Nov 13 2026\n", "a.bin", "text/plain"),
            (b"begin 644 a.txt\n", "a.bin", "text/plain"),
            (b"Let there be <html><body>light.", "a.bin", "text/html"),
            (b"import os as it\n\nx = [1]\n", "a.bin", "text/plain"),
            (b"class A extends B {\n", "a.bin", "text/plain"),
            (b"Dear old friend of \\LaTeX\n", "a.bin", "text/plain"),
            (b"a\0b", "a.txt", "text/plain"),
            (b"\xff\xfea\0\0\0", "a.txt", "text/plain"),
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


# What programs write whose users have never heard of UTF-8, and its first letters are
# those of programs, sound and other things, as it happens.
ENCODED = {
    "shift_jis": "名,金額\r\n品名,数量\r\nテスト,3\r\n",
    "euc_jp": "品名,数量\r\nテスト,3\r\n",
    "iso2022_jp": "品名,数量\r\nテスト,3\r\n",
    "euc_kr": "이름,수량\r\n사과,3\r\n",
    "cp949": "이름,수량\r\n똠방,3\r\n",
    "big5": "名稱,數量\r\n蘋果,3\r\n",
    "gbk": "名称,数量\r\n苹果,3\r\n",
    "gb18030": "名称,数量\r\n苹果,3\r\n",
    "cp437": "Größe,1\r\n",
    "cp850": "Größe,1\r\n",
    "cp866": "Имя,Число\r\nЯблоко,3\r\n",
    "cp874": "ชื่อ,จำนวน\r\nแอปเปิล,3\r\n",
    "cp1250": "Žluťoučký kůň,Počet\r\n",
    "cp1251": "Имя,Число\r\nЯблоко,3\r\n",
    "cp1252": "From: Zoë\r\nGröße;€\r\n",
    "cp1253": "Όνομα,Αριθμός\r\nΜήλο,3\r\n",
    "cp1254": "İsim,Sayı\r\nŞeker,3\r\n",
    "cp1255": "שם,מספר\r\nתפוח,3\r\n",
    "cp1256": "اسم,عدد\r\nتفاح,3\r\n",
    "cp1257": "Vārds,Skaits\r\nĀbols,3\r\n",
    "cp1258": "Tên,Sô\r\nĐào,3\r\n",
    "koi8-r": "Имя,Число\r\nЯблоко,3\r\n",
    "mac-roman": "Größe,1\r",
    "utf-16": "Имя\tЧисло\r\nЯблоко\t3\r\n",
}
TEXTS = {
    "csv": "text/csv",
    "eml": "message/rfc822",
    "html": "text/html",
    "ics": "text/calendar",
    "ini": "text/plain",
    "json": "application/json",
    "log": "text/plain",
    "mbox": "application/mbox",
    "md": "text/markdown",
    "mht": "message/rfc822",
    "sql": "application/sql",
    "srt": "application/x-subrip",
    "svg": "image/svg+xml",
    "tsv": "text/tab-separated-values",
    "txt": "text/plain",
    "vcf": "text/vcard",
    "xml": "application/xml",
}
HEADERS = b"Subject: x\r\nFrom: a@example.org\r\n\r\n"


class TestEncodings:
    @pytest.mark.parametrize("extension", TEXTS)
    @pytest.mark.parametrize("encoding", ENCODED)
    def test_text_in_any_encoding_is_what_its_name_says(self, encoding, extension):
        content = ENCODED[encoding].encode(encoding)
        # Whole, cut off after one line or two, longer than the head.
        for part in (content, content[:8], content[:4], content * 1000):
            found = detect(ContentFile(part), f"a.{extension}")
            assert (part[:8], found) == (part[:8], TEXTS[extension])

    @pytest.mark.parametrize(
        "content",
        [
            b"\x8c\x8f\x96\xbc,\x8b\xe0\x8az\r\n",
            # Those that libmagic takes for programs, sound, bytecode.
            *(
                bytes([first, second]) + b",1\r\n"
                for first in (0xF0, 0xFF, 0x8C)
                for second in (0x85, 0xF0, 0xFB)
            ),
        ],
    )
    def test_letters_are_no_magic_number(self, content):
        assert detect(ContentFile(content), "a.csv") == "text/csv"

    @needs_libmagic
    @pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.eml"])
    def test_program_stays_a_program(self, name):
        with open(sys.executable, "rb") as raw:
            found = detect(File(raw), name)

        assert found.startswith("application/x-")

    @needs_libmagic
    def test_program_of_windows_stays_a_program(self):
        # Versions of libmagic call it so or so.
        programs = {PE, "application/x-dosexec"}

        assert type_of("pe", "a.exe") == PE
        assert {type_of("pe", "a.csv"), type_of("pe", "a.pdf")} <= programs

    @needs_libmagic
    @pytest.mark.parametrize(
        "content", [b"\xff\xfe\0\xd8\0\xd8" * 9, b"\xff\xfe\1\0" * 9]
    )
    def test_byte_order_mark_alone_makes_no_text(self, asked, content):
        detect(ContentFile(content), "a.txt")

        assert asked == [content]


class TestMessages:
    @pytest.mark.parametrize(
        ("content", "name", "expected"),
        [
            (HEADERS + b"hi\r\n", "a.eml", "message/rfc822"),
            (HEADERS + "Grüße".encode("cp1252"), "a.eml", "message/rfc822"),
            (HEADERS + b"\0\1\2", "a.eml", "message/rfc822"),
            (b"Received: from a by b\r\n" + HEADERS, "a.eml", "message/rfc822"),
            (
                b"From a@example.org Thu Nov 26\n" + HEADERS,
                "a.mbox",
                "application/mbox",
            ),
            (HEADERS, "a.txt", "text/plain"),
            ("From: Zoë\r\nGrüße\r\n".encode("cp1252"), "a.txt", "text/plain"),
            ("Received: ja\r\nGrüße\r\n".encode("cp1252"), "a.txt", "text/plain"),
        ],
    )
    def test_name_decides_what_is_a_message(self, content, name, expected):
        assert detect(ContentFile(content), name) == expected


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
            ("jar", "a.apk", "application/vnd.android.package-archive"),
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


def content_types(mimetype, compression=zipfile.ZIP_DEFLATED, *, last=False, size=0):
    """Return an Office document that says in [Content_Types].xml that it is this."""
    members = {
        "[Content_Types].xml": f'<Override ContentType="{mimetype}.main+xml"/>',
        "word/document.xml": os.urandom(size).hex(),
    }
    names = sorted(members, reverse=last)
    return zipped({name: members[name] for name in names}, compression)


WORD, EXCEL, POWERPOINT = (
    f"application/vnd.ms-{program}" for program in ("word", "excel", "powerpoint")
)


@needs_libmagic
class TestOffice:
    """Who allows documents of Office must not get macros with them."""

    @pytest.mark.parametrize(
        ("content", "extension", "expected"),
        [
            ("docx", "docm", f"{WORD}.document.macroEnabled.12"),
            ("docx", "dotm", f"{WORD}.template.macroEnabled.12"),
            ("docx", "dotx", f"{OFFICE}wordprocessingml.template"),
            ("docx", "docx", DOCX),
            ("docx", "xlsm", DOCX),
            ("docx", "zip", DOCX),
            ("docx", "txt", DOCX),
            ("xlsx", "xlsm", f"{EXCEL}.sheet.macroEnabled.12"),
            ("xlsx", "xlsb", f"{EXCEL}.sheet.binary.macroEnabled.12"),
            ("xlsx", "xltx", f"{OFFICE}spreadsheetml.template"),
            ("xlsx", "xltm", f"{EXCEL}.template.macroEnabled.12"),
            ("xlsx", "xlam", f"{EXCEL}.addin.macroEnabled.12"),
            ("xlsx", "xls", XLSX),
            ("xlsx", "docm", XLSX),
            ("pptx", "pptm", f"{POWERPOINT}.presentation.macroEnabled.12"),
            ("pptx", "potx", f"{OFFICE}presentationml.template"),
            ("pptx", "potm", f"{POWERPOINT}.template.macroEnabled.12"),
            ("pptx", "ppsx", f"{OFFICE}presentationml.slideshow"),
            ("pptx", "ppsm", f"{POWERPOINT}.slideshow.macroEnabled.12"),
            ("pptx", "ppam", f"{POWERPOINT}.addin.macroEnabled.12"),
            ("pptx", "sldx", f"{OFFICE}presentationml.slide"),
            ("pptx", "sldm", f"{POWERPOINT}.slide.macroEnabled.12"),
            ("vsdx", "vsdx", f"{VISIO}.drawing.main+xml"),
            ("vsdx", "vsdm", f"{VISIO}.drawing.macroEnabled.main+xml"),
            ("vsdx", "vstx", f"{VISIO}.template.main+xml"),
            ("vsdx", "vstm", f"{VISIO}.template.macroEnabled.main+xml"),
            ("vsdx", "vssx", f"{VISIO}.stencil.main+xml"),
            ("vsdx", "vssm", f"{VISIO}.stencil.macroEnabled.main+xml"),
            # It is no text, whatever libmagic's name for it ends with.
            ("vsdx", "txt", f"{VISIO}.drawing.main+xml"),
            # What neither libmagic nor the head can tell.
            ("zip", "docm", f"{WORD}.document.macroEnabled.12"),
            ("zip", "vsdm", f"{VISIO}.drawing.macroEnabled.main+xml"),
        ],
    )
    def test_name_says_that_there_are_macros(self, content, extension, expected):
        assert type_of(content, f"a.{extension}") == expected

    @pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    @pytest.mark.parametrize(
        ("mimetype", "end"),
        [
            (f"{WORD}.document.macroEnabled", ".12"),
            (f"{WORD}.template.macroEnabled", ".12"),
            (f"{EXCEL}.sheet.binary.macroEnabled", ".12"),
            (f"{POWERPOINT}.addin.macroEnabled", ".12"),
            (f"{VISIO}.drawing.macroEnabled", ".main+xml"),
        ],
    )
    def test_content_says_it_under_an_innocent_name(self, mimetype, end, compression):
        content = ContentFile(content_types(mimetype, compression))

        assert detect(content, "a.docx") == mimetype + end

    @pytest.mark.parametrize(
        ("members", "expected"),
        [
            ("[Content_Types].xml _rels/.rels docProps/a b word/document.xml", DOCX),
            ("[Content_Types].xml a b c word/document.xml", DOCX),
            ("_rels/.rels a b c ppt/presentation.xml", PPTX),
            ("docProps/a a b xl/workbook.xml", XLSX),
            ("docProps/a a b c visio/document.xml", f"{VISIO}.drawing.main+xml"),
            ("_rels/.rels a b c", "application/zip"),
            ("a b c word/a", "application/zip"),
        ],
    )
    def test_order_of_its_members_does_not_matter(self, members, expected):
        # Each version of libmagic fails to see some of these.
        content = ContentFile(zipped(dict.fromkeys(members.split(), "")))

        assert detect(content, "a.txt") == expected

    @pytest.mark.parametrize(
        ("part", "name", "expected"),
        [
            ("word/vbaProject.bin", "a.docx", f"{WORD}.document.macroEnabled.12"),
            ("xl/vbaProject.bin", "a.xlsx", f"{EXCEL}.sheet.macroEnabled.12"),
            (
                "ppt/vbaProject.bin",
                "a.pptx",
                f"{POWERPOINT}.presentation.macroEnabled.12",
            ),
            (
                "visio/vbaProject.bin",
                "a.vsdx",
                f"{VISIO}.drawing.macroEnabled.main+xml",
            ),
            # An archive of such files is none.
            ("word/vbaProject.bin", "a.zip", "application/zip"),
        ],
    )
    def test_project_within_the_head_says_it(self, part, name, expected):
        assert detect(ContentFile(zipped({"a": "", part: "a"})), name) == expected

    def test_what_lies_behind_the_head_is_not_seen(self):
        # So the module says.
        content = content_types(
            f"{WORD}.document.macroEnabled", last=True, size=2 * HEAD
        )

        assert detect(ContentFile(content), "a.docx") == DOCX

    @pytest.mark.parametrize(
        "damage",
        [
            lambda content: content[:49],
            lambda content: content[:60],
            lambda content: content[:26] + b"\xff\xff\xff\xff" + content[30:],
            lambda content: content[:49] + b"\xff" * 100,
        ],
    )
    def test_damaged_document_is_what_its_name_says(self, damage):
        content = damage(content_types(f"{WORD}.document.macroEnabled"))

        assert detect(ContentFile(content), "a.docx") == DOCX

    def test_content_types_without_end_are_read_in_part(self):
        content = zipped({"[Content_Types].xml": " " * 10**7}, zipfile.ZIP_DEFLATED)
        tracemalloc.start()
        try:
            assert detect(ContentFile(content), "a.docx") == DOCX
            assert tracemalloc.get_traced_memory()[1] < 10**6
        finally:
            tracemalloc.stop()


@needs_libmagic
class TestOLE:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("a.doc", "application/msword"),
            ("a.dot", "application/msword"),
            ("a.hwp", "application/x-hwp"),
            ("a.mpp", "application/vnd.ms-project"),
            ("a.msg", "application/vnd.ms-outlook"),
            ("a.msi", "application/x-msi"),
            ("a.pot", "application/vnd.ms-powerpoint"),
            ("a.pps", "application/vnd.ms-powerpoint"),
            ("a.ppt", "application/vnd.ms-powerpoint"),
            ("a.pub", "application/vnd.ms-publisher"),
            ("a.vsd", "application/vnd.visio"),
            ("a.xla", "application/vnd.ms-excel"),
            ("a.xls", "application/vnd.ms-excel"),
            ("a.xlt", "application/vnd.ms-excel"),
            ("a.xlsm", "application/x-ole-storage"),
            ("a.pdf", "application/x-ole-storage"),
            ("a.txt", "application/x-ole-storage"),
            ("a.docx", "application/x-ole-storage"),
            ("a", "application/x-ole-storage"),
        ],
    )
    def test_name_refines_to_what_is_ole_inside(self, name, expected):
        assert type_of("ole", name) == expected


def mp4(brand):
    """Return the beginning of a file of that brand in the container of ISO 14496-12."""
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0isommp42" + bytes(300)


def ebml(kind):
    """Return the beginning of a Matroska file, of which WebM is a kind (RFC 8794)."""
    return b"\x1a\x45\xdf\xa3\x8b\x42\x82" + bytes([0x80 + len(kind)]) + kind


@needs_libmagic
class TestSoundAndFilm:
    @pytest.mark.parametrize(
        ("content", "name", "expected"),
        [
            *(
                (mp4(brand), "a.m4a", "audio/mp4")
                for brand in (b"mp42", b"isom", b"3gp4")
            ),
            *((mp4(brand), "a.m4b", "audio/mp4") for brand in (b"M4A ", b"M4B ")),
            (mp4(b"mp42"), "a.mp4", "video/mp4"),
            (mp4(b"mp42"), "a.txt", "video/mp4"),
            (mp4(b"mp42"), "a.mp3", "video/mp4"),
            (mp4(b"3gp4"), "a.3gp", "video/3gpp"),
            (mp4(b"3gp4"), "a.3ga", "audio/3gpp"),
            (mp4(b"qt  "), "a.mov", "video/quicktime"),
            (mp4(b"heic"), "a.m4a", "image/heic"),
            (mp4(b"mif1"), "a.heic", "image/heic"),
            (ebml(b"webm"), "a.weba", "audio/webm"),
            (ebml(b"webm"), "a.webm", "video/webm"),
            (ebml(b"webm"), "a.mka", "video/webm"),
            (ebml(b"matroska"), "a.mka", "audio/x-matroska"),
            (ebml(b"matroska"), "a.mkv", "video/x-matroska"),
        ],
    )
    def test_name_tells_sound_from_film(self, content, name, expected):
        assert detect(ContentFile(content), name) == expected


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


@needs_libmagic
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
            ("zip", "a.png", "image/png"),
            ("macros", "a.docx", DOCX),
        ],
    )
    def test_name_alone_decides(self, content, name, expected):
        assert type_of(content, name) == expected
