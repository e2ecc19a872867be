"""What type files are that real programs have written.

``fixtures/types/heads.tar.xz`` holds the beginnings of the files, 8,192 bytes at most,
each called by the program that wrote it and the file's extension. Of these,
``fixtures/types/types.txt`` tells what they are: with libmagic, and without where that
is another type.

Written on Debian 12: abcmidi, arj, binutils, brotli, bzip2, cpio, DjVuLibre, dpkg,
FFmpeg 5.1, flac, FontForge, gcab, GCC 12, genisoimage, gettext, GnuPG, GPSBabel,
Graphviz, gzip, ImageMagick 6.9, jlha, lame, libjxl, LibreOffice 7.4, lzip, lzop,
mkvtoolnix, mktorrent, mpack, msitools, ncompress, OpenSSL, opus-tools, p7zip, pandoc
2.17, qpdf, raptor, rpmbuild, SoX, SQLite, tar, vorbis-tools, xz, zip and zstd. From
PyPI: EbookLib, ezdxf, fontTools, fpdf2, h5py, icalendar, NumPy, openpyxl, pillow-heif,
Pillow 13, py7zr, pyarrow, PyAV 18 (``av``), python-docx, python-pptx, trimesh, vobject,
XlsxWriter, xlwt and zstandard. With Python itself: csv, email (with the headers that
Gmail, Thunderbird and Outlook put first), json, lzma, mailbox, plistlib, sqlite3,
tarfile and zipfile.
"""

import mimetypes
import tarfile
from pathlib import Path

import pytest
from django.core.files.base import ContentFile

from session_attachments.files.content import HEAD, detect
from session_attachments.files.families import is_textual
from tests.clients import needs_libmagic

FOLDER = Path(__file__).parent / "fixtures" / "types"
OCTET_STREAM = "application/octet-stream"

with tarfile.open(FOLDER / "heads.tar.xz") as archive:
    HEADS = {member.name: archive.extractfile(member).read() for member in archive}

# File, type with libmagic, type without.
TYPES = [
    (*row, row[-1])[:3]
    for row in map(str.split, (FOLDER / "types.txt").read_text().splitlines())
]


@pytest.fixture(autouse=True, params=["nothing", "nonsense"])
def table(request, monkeypatch, tmp_path):
    """Let the machine's table of types know nothing, or something wrong of each."""
    file = tmp_path / "mime.types"
    extensions = {name.rpartition(".")[2].lower() for name in HEADS}
    nonsense = f"application/x-elsewhere {' '.join(sorted(extensions))}\n"
    file.write_text(nonsense if request.param == "nonsense" else "")
    with monkeypatch.context() as patch:
        patch.setattr(mimetypes, "knownfiles", [str(file)])
        mimetypes.init()
        yield
    mimetypes.init()


class TestFilesOfPrograms:
    def test_table_is_about_all_files(self):
        assert [name for name, *_ in TYPES] == list(HEADS)
        assert len({name.rpartition(".")[2] for name in HEADS}) >= 150
        assert max(map(len, HEADS.values())) == HEAD

    @needs_libmagic
    @pytest.mark.parametrize(("name", "expected", "_"), TYPES)
    def test_type_with_libmagic(self, name, expected, _):
        assert detect(ContentFile(HEADS[name]), name) == expected

    @pytest.mark.parametrize(("name", "_", "expected"), TYPES)
    @pytest.mark.usefixtures("no_libmagic")
    def test_type_without_libmagic(self, name, _, expected):
        assert detect(ContentFile(HEADS[name]), name) == expected


@needs_libmagic
class TestOtherNames:
    def test_binary_file_does_not_become_text(self):
        """What libmagic knows stays what it is under the name of a text."""
        found = {}
        for name, head in HEADS.items():
            known = detect(ContentFile(head), "a")
            if b"\0" in head and known != OCTET_STREAM and not is_textual(known):
                found[name] = known

        assert len(found) > 100
        assert found == {
            name: detect(ContentFile(HEADS[name]), "a.csv") for name in found
        }

    @pytest.mark.parametrize("name", ["openpyxl.xlsm", "xlsxwriter.xlsm"])
    def test_workbook_with_macros_has_them_under_another_name(self, name):
        content = ContentFile(HEADS[name])

        assert detect(content, "a.xlsx").endswith(".sheet.macroEnabled.12")

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("a.pub", "application/vnd.ms-publisher"),
            ("a.docx", "application/x-ole-storage"),
            ("a", "application/x-ole-storage"),
        ],
    )
    def test_container_of_a_class_that_libmagic_does_not_know(self, name, expected):
        # The class id of installers, as its first three numbers are written there.
        installer = bytes.fromhex("84100c0000000000c000000000000046")
        content = HEADS["msibuild.msi"].replace(installer, bytes(16))

        assert detect(ContentFile(content), name) == expected
