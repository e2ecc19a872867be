"""Names compare and sort by code point on every database."""

from urllib.parse import quote

import pytest
from django.core.files.base import ContentFile
from django.db import IntegrityError, connection, transaction
from django.db.utils import ConnectionHandler

from session_attachments.bundles import Bundle
from session_attachments.models import Attachment
from tests.clients import URL, content, names, upload

pytestmark = pytest.mark.database

# No two are the same to us; to one collation or another most of them are.
NAMES = sorted(
    [
        " a",
        "A",
        "B.txt",
        "RESUME.pdf",
        "_.txt",
        "a",
        "a ",
        "a  ",
        "a.txt",
        "a10.txt",
        "a2.txt",
        "a\u00ad",
        "b",
        "resume.pdf",
        "résumé.pdf",
        "straße.txt",
        "strasse.txt",
        "z",
        "Å.txt",
        "ß",
        "ı.txt",
        "Ω.txt",
        "Ё.txt",
        "е.txt",
        "ё.txt",
        "ﬀ.txt",
        "\uff41.txt",
        "😀.png",
        "😁.png",
    ]
)
COLUMNS = ["session_id", "bundle", "filename"]


@pytest.fixture
def bundle(client):
    """Return the bundle "foo" of a client's session."""
    client.get(URL)
    return Bundle(client.session, "foo")


@pytest.mark.django_db
class TestNames:
    def test_names_are_distinct_and_sorted_by_code_point(self, bundle):
        bundle.add(*(ContentFile(b"", name) for name in reversed(NAMES)))

        assert [attachment.filename for attachment in bundle] == NAMES

    def test_name_is_found_by_itself_only(self, bundle):
        bundle.add(*(ContentFile(name.encode(), name) for name in NAMES))

        for name in NAMES:
            with bundle.get(name).file.open() as file:
                assert file.read() == name.encode()

    @pytest.mark.parametrize("name", ["A", "a ", "á", "a\t", "\uff41", "a\0"])
    def test_similar_name_is_not_found(self, client, bundle, name):
        bundle.add(ContentFile(b"", "a"))

        url = f"{URL}{quote(name)}/"
        assert client.get(url).status_code == 404
        assert client.delete(url).json() == [False]
        assert not bundle.remove(name)
        assert len(bundle) == 1

    def test_similar_name_replaces_nothing(self, client):
        upload(client, {"resume.pdf": b"1"})
        upload(client, {"RESUME.pdf": b"2"})
        upload(client, {"Résumé.pdf": b"3"})

        assert names(client.get(URL)) == ["RESUME.pdf", "Résumé.pdf", "resume.pdf"]
        assert content(client.get(f"{URL}resume.pdf/")) == b"1"

    def test_bundle_ids_are_distinct(self, client):
        urls = [
            f"/attachments/{quote(bundle)}/"
            for bundle in ("foo", "FOO", "foo ", "fóo", "\uff46oo")
        ]
        for number, url in enumerate(urls):
            upload(client, {f"{number}.txt": b""}, url)

        for number, url in enumerate(urls):
            assert names(client.get(url)) == [f"{number}.txt"]

    def test_sessions_are_distinct(self, client, bundle):
        bundle.add(ContentFile(b"", "a"))
        row = Attachment.objects.get()

        for key in (row.session_id.upper(), f"{row.session_id} "):
            assert not Attachment.objects.in_session(key).exists()
            Attachment.objects.create(session_id=key, bundle="foo", filename="a")
        assert Attachment.objects.count() == 3

    def test_same_name_is_refused_by_the_database(self):
        row = {"session_id": "a", "bundle": "foo", "filename": "a"}
        Attachment.objects.create(**row)

        with pytest.raises(IntegrityError), transaction.atomic():
            Attachment.objects.create(**row)

    @pytest.mark.parametrize(
        ("column", "other"),
        [("session_id", "A"), ("bundle", "foo "), ("filename", "á")],
    )
    def test_similar_row_is_taken_by_the_database(self, column, other):
        row = {"session_id": "a", "bundle": "foo", "filename": "a"}
        Attachment.objects.create(**row)

        Attachment.objects.create(**{**row, column: other})

        assert Attachment.objects.filter(**row).count() == 1
        values = Attachment.objects.order_by(column).values_list(column, flat=True)
        assert list(values) == sorted(values)

    def test_longest_values_fit(self):
        row = {"session_id": "x" * 40, "bundle": "я" * 256, "filename": "😀" * 255}

        Attachment.objects.create(**row, file="f" * 1024)

        assert Attachment.objects.filter(**row).count() == 1


class TestCollation:
    """What the column is told, by the backends themselves, without a server."""

    @pytest.mark.parametrize("column", COLUMNS)
    def test_postgresql_gets_c(self, column):
        pytest.importorskip("psycopg")
        database = {"ENGINE": "django.db.backends.postgresql", "NAME": "none"}
        postgresql = ConnectionHandler({"default": database})["default"]

        assert collation(column, postgresql) == "C"

    @pytest.mark.parametrize("column", COLUMNS)
    @pytest.mark.parametrize(
        ("version", "expected"),
        [("10.11.6-MariaDB", "utf8mb4_nopad_bin"), ("8.4.3", "utf8mb4_0900_bin")],
    )
    def test_mysql_gets_binary_without_padding(self, column, version, expected):
        pytest.importorskip("pymysql").install_as_MySQLdb()
        database = {"ENGINE": "django.db.backends.mysql", "NAME": "none"}
        mysql = ConnectionHandler({"default": database})["default"]
        # Django would ask the server.
        mysql.mysql_server_data = {"version": version}

        assert collation(column, mysql) == expected

    @pytest.mark.parametrize("column", COLUMNS)
    def test_sqlite_keeps_its_default(self, column):
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
        sqlite = ConnectionHandler({"default": database})["default"]

        assert collation(column, sqlite) is None

    @pytest.mark.django_db
    @pytest.mark.parametrize("column", COLUMNS)
    def test_table_has_it(self, column):
        with connection.cursor() as cursor:
            table = connection.introspection.get_table_description(
                cursor, Attachment._meta.db_table
            )

        (found,) = (row.collation for row in table if row.name == column)
        assert found == collation(column, connection)


def collation(column, database):
    field = Attachment._meta.get_field(column)
    return field.db_parameters(database).get("collation")
