"""The admin: who sees what, what never shows, deletion, download."""

import asyncio
import re
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.files.base import ContentFile
from django.db import OperationalError, connection
from django.db.models.signals import post_delete
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from session_attachments import admin
from session_attachments.admin import fingerprint
from session_attachments.files import storage
from session_attachments.models import Attachment, UnfinishedUpload
from tests.browsers import browser, needs_chromium
from tests.clients import URL, content, names, upload
from tests.project.models import Contract, Note, Scan
from tests.storages import Lost, unfinished

LIST = "/admin/session_attachments/attachment/"
PERMISSIONS = ["add", "change", "delete", "view"]


def page(attachment, name):
    """Return the URL of a page of one attachment."""
    return f"{LIST}{attachment.pk}/{name}/"


def listed(response):
    """Return the names in the list of the admin, in its order."""
    assert response.status_code == 200
    return [attachment.filename for attachment in response.context["cl"].result_list]


def staff(*permissions):
    """Return the client of a member of staff with these permissions."""
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(
            content_type__app_label="session_attachments",
            codename__in=[f"{permission}_attachment" for permission in permissions],
        )
    )
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def attachment(db):
    """Return an attachment of some visitor's."""
    visitor = Client()
    upload(visitor, {"spam.txt": b"spam\n"})
    return Attachment.objects.get()


@pytest.fixture
def rows(db):
    """Return a function that makes attachments without files."""

    def make(*names, days=0, **fields):
        return [
            Attachment.objects.create(
                filename=name,
                created=timezone.now() - timedelta(days=days),
                **{"session_id": "a" * 32, "bundle": "foo", **fields},
            )
            for name in names
        ]

    return make


UPLOADS = "/admin/session_attachments/unfinishedupload/"


@pytest.mark.database
@pytest.mark.django_db
class TestUploads:
    def test_list_shows_those_that_may_go_on(self, admin_client):
        unfinished(b"x" * 2048, size=5 * 1024, filename="spam.txt", bundle="mail")
        unfinished(age=timedelta(hours=25), filename="expired.txt")
        unfinished(offset=100, stored="x", filename="finished.txt")

        response = admin_client.get(UPLOADS)

        text = response.content.decode().replace("<wbr>", "")
        assert listed(response) == ["spam.txt"]
        for column in ("mail", "2.0\xa0KB", "5.0\xa0KB"):
            assert f">{column}<" in text
        for heading in ("Name", "Bundle", "Received", "Size", "Last byte"):
            assert re.search(rf">\s*{heading}\s*<", text), heading

    @pytest.mark.parametrize("column", [1, 2, 3, 4, 5, 6, -4, "x"])
    def test_any_column_may_be_asked_to_sort(self, admin_client, column):
        unfinished(b"xx", filename="a.txt", size=2)
        unfinished(b"x", filename="b.txt", size=3)

        assert len(listed(admin_client.get(UPLOADS, {"o": column}))) == 2

    def test_last_one_comes_first(self, admin_client):
        for hours in (3, 1, 2):
            unfinished(age=timedelta(hours=hours), filename=f"{hours}")

        assert listed(admin_client.get(UPLOADS)) == ["1", "2", "3"]

    def test_page_of_one(self, admin_client):
        upload = unfinished(b"x" * 2048, metadata="secret", session_id="k" * 32)

        text = admin_client.get(f"{UPLOADS}{upload.pk}/change/").content.decode()

        assert "2.0\xa0KB" in text
        for secret in ("secret", "k" * 32, upload.upload_id):
            assert secret not in text
        assert '<input type="submit"' not in text

    def test_no_key_is_found_out(self, admin_client):
        upload = unfinished(session_id="k" * 32)

        text = admin_client.get(UPLOADS).content.decode()
        assert "k" * 32 not in text
        assert upload.upload_id not in text
        for field in ("session_id", "upload_id", "metadata", "stored", "bundle"):
            response = admin_client.get(UPLOADS, {f"{field}__startswith": "k"})
            assert response.status_code == 400
        assert listed(admin_client.get(UPLOADS, {"q": "k"})) == ["spam.txt"]
        response = admin_client.get(UPLOADS, {"_to_field": "upload_id"})
        assert response.status_code == 400

    @pytest.mark.parametrize("path", ["add/", "{}/change/", "{}/delete/", ""])
    def test_nobody_changes_anything(self, admin_client, stored, path):
        upload = unfinished(b"spam\n")
        before = stored()

        response = admin_client.post(
            UPLOADS + path.format(upload.pk),
            {"post": "yes", "action": "delete_selected", "_selected_action": upload.pk},
        )

        assert response.status_code == (403 if path else 200)
        assert UnfinishedUpload.objects.get().offset == 5
        assert stored() == before

    def test_who_may_look(self):
        client = staff("view")
        assert client.get(UPLOADS).status_code == 403

        permission = Permission.objects.get(codename="view_unfinishedupload")
        User.objects.get().user_permissions.add(permission)

        assert client.get(UPLOADS).status_code == 200
        permissions = Permission.objects.filter(codename__contains="unfinished")
        assert [p.codename for p in permissions] == ["view_unfinishedupload"]
        assert not Permission.objects.filter(codename__contains="piece").exists()


@pytest.mark.database
class TestList:
    def test_list_shows_what_there_is(self, admin_client, rows):
        rows("spam.txt", bundle="mail", mimetype="text/plain", size=5 * 1024)

        text = admin_client.get(LIST).content.decode().replace("<wbr>", "")

        for column in ("spam.txt", "mail", "text/plain", "5.0\xa0KB"):
            assert f">{column}<" in text
        assert "Download" not in text
        for heading in ("Name", "Bundle", "Type", "Size", "Uploaded", "Session"):
            assert re.search(rf">\s*{heading}\s*<", text), heading

    def test_newest_comes_first(self, admin_client, rows):
        rows("old.txt", days=3)
        rows("new.txt")
        rows("middle.txt", days=1)

        assert listed(admin_client.get(LIST)) == ["new.txt", "middle.txt", "old.txt"]

    @pytest.mark.parametrize("column", [0, 1, 2, 3, 4, 5, 6, 7, 99, -4, -99, "x"])
    def test_any_column_may_be_asked_to_sort(self, admin_client, rows, column):
        rows("a.txt", size=2)
        rows("b.txt", size=1)

        assert len(listed(admin_client.get(LIST, {"o": column}))) == 2

    def test_size_sorts_by_bytes(self, admin_client, rows):
        rows("kilo.txt", size=9 * 1024)
        rows("mega.txt", size=2 * 1024 * 1024)

        assert listed(admin_client.get(LIST, {"o": "4"})) == ["kilo.txt", "mega.txt"]

    @pytest.mark.parametrize(
        ("mimetype", "shown"),
        [
            ("application/octet-stream", "application/octet-stream"),
            ("application/vnd.ms-excel", "application/vnd.ms-excel"),
            ("application/x-ole-storage", "x-ole-storage"),
            ("application/vnd.ms-outlook", "vnd.ms-outlook"),
            ("application/x-iso9660-image", "x-iso9660-image"),
            ("application/vnd.oasis.opendocument.text", "opendocument.text"),
            (
                "application/vnd.openxmlformats-officedocument.wordprocessingml."
                "document",
                "wordprocessingml.document",
            ),
            ("application/" + "<" * 30, "&lt;" * 30),
            ("no/slash/or/" + "." * 30, "."),
        ],
    )
    def test_long_type_is_shortened(self, admin_client, rows, mimetype, shown):
        (row,) = rows("spam.bin", mimetype=mimetype)

        listed = admin_client.get(LIST).content.decode().replace("<wbr>", "")
        detail = admin_client.get(page(row, "change")).content.decode()

        assert f">{shown}<" in listed
        assert escape(mimetype) in listed
        assert f">{escape(mimetype)}<" in detail

    def test_type_breaks_where_it_is_read(self, admin_client, rows):
        rows("spam.odt", mimetype="application/vnd.oasis.opendocument.text")
        rows("spam.png", mimetype="image/png")

        text = admin_client.get(LIST).content.decode()

        assert ">opendocument.<wbr>text<wbr></span>" in text
        assert ">image/<wbr>png<wbr></span>" in text

    def test_upload_leads_to_the_detail(self, admin_client, rows):
        (row,) = rows("spam.txt")

        text = admin_client.get(LIST).content.decode()

        assert f'<a href="{page(row, "change")}">' in text

    def test_name_of_02_that_is_empty_links_too(self, admin_client, rows):
        (row,) = rows("")

        text = admin_client.get(LIST).content.decode()

        assert f'<a href="{page(row, "download")}">-</a>' in text

    @pytest.mark.parametrize(
        ("query", "total"),
        [
            ({}, "4 attachments, 1.0\xa0MB"),
            ({"q": "egg"}, "1 attachment, 7\xa0bytes"),
            ({"older_than": 3}, "2 attachments, 1.0\xa0MB"),
            ({"mimetype": "x/y"}, "0 attachments, 0\xa0bytes"),
        ],
    )
    def test_total_is_that_of_what_is_listed(self, admin_client, rows, query, total):
        rows("a.txt", "b.txt", size=512 * 1024, days=7)
        rows("egg.txt", size=7)
        rows("empty.txt")

        response = admin_client.get(LIST, query)

        assert f"<h2>{total}</h2>" in response.content.decode()

    def test_total_is_not_only_that_of_the_page(self, admin_client, rows):
        rows(*(f"{number}.txt" for number in range(150)), size=1)

        for number in (1, 2):
            response = admin_client.get(LIST, {"p": number})

            assert "<h2>150 attachments, 150\xa0bytes</h2>" in (
                response.content.decode()
            )

    @pytest.mark.parametrize("query", [{}, {"q": "0123abcd"}, {"session": "0" * 16}])
    def test_list_is_a_few_queries(self, admin_client, rows, query):
        def queries(number):
            for name in range(number):
                rows(f"{number}/{name}", session_id=f"session{name}", size=number)
            with CaptureQueriesContext(connection) as captured:
                admin_client.get(LIST, query)
            return len(captured)

        queries(1)

        assert queries(3) == queries(60) < 12

    def test_there_is_no_link_to_a_site_where_staff_reaches_nothing(
        self, admin_client, attachment
    ):
        model = ContentType.objects.get_for_model(Attachment)
        on_site = reverse("admin:view_on_site", args=[model.pk, attachment.pk])

        text = admin_client.get(page(attachment, "change")).content.decode()

        assert on_site not in text
        assert attachment.get_absolute_url() not in text


@pytest.mark.database
class TestSearch:
    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ("spam", ["spam.txt"]),
            ("pam.t", ["spam.txt"]),
            ("mail", ["egg.txt"]),
            ("egg mail", ["egg.txt"]),
            ("egg foo", []),
            ("nothing", []),
            ("", ["egg.txt", "spam.txt"]),
        ],
    )
    def test_search_is_by_name_and_bundle(self, admin_client, rows, words, expected):
        rows("spam.txt")
        rows("egg.txt", bundle="mail")

        assert listed(admin_client.get(LIST, {"q": words})) == expected

    def test_search_does_not_find_sessions_and_files(self, admin_client, attachment):
        for secret in (attachment.session_id, attachment.file.name, "text/plain"):
            assert listed(admin_client.get(LIST, {"q": secret[:10]})) == []


@pytest.mark.database
class TestSession:
    def links(self, response):
        """Return the links to sessions, in the order of the rows."""
        return re.findall(
            r'<td class="field-session"><a href="([^"]+)">', response.content.decode()
        )

    def test_link_lists_what_belongs_to_the_session(self, admin_client, rows):
        rows("spam.txt", "egg.txt")
        rows("other.txt", session_id="b" * 32)

        other, egg, spam = self.links(admin_client.get(LIST))
        response = admin_client.get(egg)

        assert egg == spam
        assert re.fullmatch(rf"{LIST}\?session=[0-9a-f]{{16}}", egg)
        assert listed(response) == ["egg.txt", "spam.txt"]
        assert listed(admin_client.get(other)) == ["other.txt"]
        assert "<h3>" in response.content.decode()
        assert self.links(response) == [egg, egg]

    def test_session_that_is_listed_is_named_and_can_be_left(self, admin_client, rows):
        rows("spam.txt")
        (link,) = self.links(admin_client.get(LIST))
        (shown,) = fingerprints(admin_client.get(LIST))

        before = admin_client.get(LIST).content.decode()
        text = admin_client.get(link).content.decode()

        assert "By session" not in before
        assert "By session" in text
        assert re.search(rf'<a href="\?session=\w+"[^>]*>\s*{shown}\s*</a>', text)
        assert '<a href="?">' in text

    def test_session_goes_with_other_filters(self, admin_client, rows):
        rows("spam.txt", "egg.txt")
        rows("spam.txt", bundle="bar", session_id="b" * 32)
        link = self.links(admin_client.get(LIST))[-1]

        assert listed(admin_client.get(f"{link}&q=spam&mimetype__exact=x/y")) == []
        assert listed(admin_client.get(f"{link}&q=spam")) == ["spam.txt"]

    @pytest.mark.usefixtures("attachment")
    @pytest.mark.parametrize(
        "value",
        [
            *("", "0", "0123456789abcdef", "f" * 64, "x", "é", "\0", "1' OR 1=1 --"),
            *("0123abcd", "ABCDEF0123456789", " " * 16, "1" * 5000),
        ],
    )
    def test_session_that_is_gone_or_none_has_nothing(self, admin_client, value):
        response = admin_client.get(LIST, {"session": value})

        assert listed(response) == []

    @pytest.mark.usefixtures("attachment")
    @pytest.mark.parametrize("length", [1, 8, 15])
    def test_filter_takes_no_beginning_for_a_session(self, admin_client, length):
        (link,) = self.links(admin_client.get(LIST))
        digits = link.partition("=")[2][:length]

        assert listed(admin_client.get(LIST, {"session": digits})) == []

    def test_session_whose_last_attachment_went_does_not_list_others(
        self, admin_client, rows
    ):
        rows("other.txt", session_id="b" * 32)
        (mine,) = rows("mine.txt")
        link = self.links(admin_client.get(LIST))[0]

        response = admin_client.post(
            link,
            {
                "action": "delete_selected",
                "_selected_action": [mine.pk],
                "post": "yes",
            },
            follow=True,
        )

        assert listed(response) == []
        assert Attachment.objects.get().filename == "other.txt"

    @pytest.mark.parametrize("length", [8, 12, 16])
    def test_search_finds_a_session_by_its_fingerprint(
        self, admin_client, rows, length
    ):
        rows("spam.txt", "egg.txt")
        rows("other.txt", session_id="b" * 32)
        link = self.links(admin_client.get(LIST))[-1]
        digits = link.partition("=")[2][:length]

        response = admin_client.get(LIST, {"q": f" {digits} "})

        assert listed(response) == ["egg.txt", "spam.txt"]

    def test_beginning_that_no_table_shows_finds_no_session(self, admin_client, rows):
        rows("spam.txt")
        (link,) = self.links(admin_client.get(LIST))
        digits = link.partition("=")[2]
        assert not digits[:8].isdecimal()

        for query in (digits[:7], digits + "0", digits[:8].upper()):
            assert listed(admin_client.get(LIST, {"q": query})) == []

    def test_search_by_a_fingerprint_still_finds_names(self, admin_client, rows):
        rows("0123abcd.pdf", "spam.txt")

        assert listed(admin_client.get(LIST, {"q": "0123abcd"})) == ["0123abcd.pdf"]

    def test_facets_count_it(self, admin_client, rows):
        rows("spam.txt", "egg.txt")
        link = self.links(admin_client.get(LIST))[0]
        (shown, _) = fingerprints(admin_client.get(link))

        text = admin_client.get(f"{link}&_facets=True").content.decode()

        assert f"{shown} (2)" in text


@pytest.mark.database
class TestAge:
    @pytest.mark.parametrize(
        ("days", "expected"),
        [(1, ["2", "5", "10", "40"]), (3, ["5", "10", "40"]), (7, ["10", "40"])],
    )
    def test_age_is_that_of_the_command(self, admin_client, rows, days, expected):
        for age in (0, 2, 5, 10, 40):
            rows(str(age), days=age)

        assert listed(admin_client.get(LIST, {"older_than": days})) == expected

    def test_ages_are_offered(self, admin_client, rows):
        rows("spam.txt")

        text = admin_client.get(LIST).content.decode()

        assert "older than 1 day<" in text
        for days in (3, 7, 30):
            assert f"older than {days} days<" in text

    @pytest.mark.parametrize(
        "value",
        [
            *("", "0", "2", "-1", "1.5", "nan", "inf", "1e9", "x", " 1", "1 ", "+1"),
            *("99999999999999999999", "\0", "1\0", "١", "1' OR 1=1 --", "1" * 5000),
        ],
    )
    def test_any_other_age_filters_not(self, admin_client, rows, value):
        rows("spam.txt")
        rows("old.txt", days=100)

        response = admin_client.get(LIST, {"older_than": value})

        assert listed(response) == ["spam.txt", "old.txt"]

    def test_age_goes_with_type_and_search(self, admin_client, rows):
        rows("spam.txt", "egg.txt", days=9, mimetype="text/plain")
        rows("spam.pdf", days=9, mimetype="application/pdf")
        rows("spam new.txt", mimetype="text/plain")

        response = admin_client.get(
            LIST, {"older_than": 7, "mimetype": "text/plain", "q": "spam"}
        )

        assert listed(response) == ["spam.txt"]


@pytest.mark.database
class TestType:
    def test_types_are_offered_and_filter(self, admin_client, rows):
        rows("spam.txt", mimetype="text/plain")
        rows("spam.pdf", mimetype="application/pdf")

        text = admin_client.get(LIST).content.decode()
        response = admin_client.get(LIST, {"mimetype__exact": "application/pdf"})

        assert "?mimetype=application%2Fpdf" in text
        assert listed(response) == ["spam.pdf"]

    def test_type_that_nothing_has_filters_all(self, admin_client, rows):
        rows("spam.txt", mimetype="text/plain")

        assert listed(admin_client.get(LIST, {"mimetype": "'\"<script>"})) == []


PAGES = {
    "list": lambda client, row: client.get(LIST),
    "list, sorted": lambda client, row: client.get(LIST, {"o": "6.1"}),
    "search": lambda client, row: client.get(LIST, {"q": "0123abcd"}),
    "session": lambda client, row: client.get(
        LIST, {"session": fingerprint(row.session_id)}
    ),
    "detail": lambda client, row: client.get(page(row, "change")),
    "confirmation": lambda client, row: client.get(page(row, "delete")),
    "history": lambda client, row: client.get(page(row, "history")),
    "index": lambda client, row: client.get("/admin/"),
    "bulk confirmation": lambda client, row: client.post(
        LIST, {"action": "delete_selected", "_selected_action": [row.pk]}
    ),
    "confirmation for all pages": lambda client, row: client.post(
        LIST,
        {
            "action": "delete_selected",
            "_selected_action": [row.pk],
            "select_across": "1",
        },
    ),
    "download": lambda client, row: client.get(page(row, "download")),
}


@pytest.fixture
def pointed_at(attachment):
    """Return an attachment that objects of the project's point at."""
    Note.objects.create(attachment=attachment)
    Scan.objects.create(attachment=attachment)
    return attachment


class TestSecrets:
    @pytest.mark.parametrize("name", PAGES)
    def test_page_shows_neither_session_nor_file(self, admin_client, pointed_at, name):
        response = PAGES[name](admin_client, pointed_at)

        assert response.status_code == 200
        assert_no_secret(response, pointed_at)

    def test_protected_page_shows_neither(self, admin_client, attachment):
        Contract.objects.create(attachment=attachment)

        response = admin_client.post(page(attachment, "delete"), {"post": "yes"})

        assert len(response.context["protected"]) == 1
        assert_no_secret(response, attachment)

    def test_answer_to_a_deletion_shows_neither(self, admin_client, attachment):
        response = admin_client.post(
            page(attachment, "delete"), {"post": "yes"}, follow=True
        )

        (message,) = response.context["messages"]
        assert message.level_tag == "success"
        assert escape(message) in response.content.decode()
        assert_no_secret(response, attachment)
        assert_no_secret(admin_client.get("/admin/"), attachment)

    def test_fingerprint_tells_sessions_apart(self, admin_client, attachment):
        upload(Client(), {"egg.txt": b"egg\n"})

        cells = fingerprints(admin_client.get(LIST))

        assert len(cells) == len(set(cells)) == 2
        assert all(re.fullmatch("[0-9a-f]{8}", cell) for cell in cells)

    def test_fingerprint_is_the_sessions(self, admin_client, rows):
        rows("spam.txt", "egg.txt")
        rows("other.txt", session_id="b" * 32)

        other, *same = fingerprints(admin_client.get(LIST))

        assert len(set(same)) == 1
        assert other not in same

    def test_fingerprint_cannot_be_computed_without_the_sites_key(
        self, admin_client, rows, settings
    ):
        rows("spam.txt")
        before = fingerprints(admin_client.get(LIST))
        admin_client.logout()
        settings.SECRET_KEY = "another site's"
        admin_client.force_login(User.objects.get())

        assert fingerprints(admin_client.get(LIST)) != before


def assert_no_secret(response, attachment):
    seen = b"".join(response) + str(response.headers).encode()
    for secret in (attachment.session_id, attachment.file.name.split("/")[-1]):
        # Not even the beginning or the end, which would shorten the search.
        assert secret[:8].encode() not in seen
        assert secret[-8:].encode() not in seen


def fingerprints(response):
    assert response.status_code == 200
    return re.findall(
        r'<td class="field-session"><a [^>]*>(.*?)</a></td>', response.content.decode()
    )


class TestOracle:
    """Who may filter by a prefix of a secret finds it out letter by letter."""

    @pytest.mark.parametrize(
        "lookup",
        [
            *("session_id", "session_id__exact", "session_id__startswith"),
            *("session_id__in", "session_id__gt", "session_id__regex"),
            *("session_id__isnull", "session_id__range", "session_id__nonsense"),
            *("file", "file__startswith", "file__in", "file__gt"),
            *("note__attachment__session_id__startswith", "note__attachment__file"),
            *("scan__attachment__session_id", "contract__attachment__session_id"),
        ],
    )
    @pytest.mark.parametrize("value", ["a", "zz", ""])
    def test_lookup_is_refused(self, admin_client, rows, lookup, value):
        rows("spam.txt")

        assert admin_client.get(LIST, {lookup: value}).status_code == 400

    @pytest.mark.parametrize("lookup", ["session_id__startswith", "file__startswith"])
    def test_action_on_a_filtered_list_is_refused(
        self, admin_client, attachment, lookup
    ):
        response = admin_client.post(
            f"{LIST}?{lookup}=a",
            {"action": "delete_selected", "select_across": "1", "post": "yes"},
        )

        assert response.status_code == 400
        assert Attachment.objects.exists()

    @pytest.mark.parametrize("name", ["session_id", "file", "attachment__session_id"])
    def test_object_is_not_addressed_by_a_secret(self, admin_client, attachment, name):
        for url in (LIST, f"{LIST}{attachment.session_id}/change/"):
            response = admin_client.get(url, {"_to_field": name, "_popup": 1})

            assert response.status_code == 400

    @pytest.mark.parametrize("order", ["session_id", "-session_id", "file", "6", "-6"])
    def test_order_does_not_tell(self, admin_client, rows, order):
        (old,) = rows("b.txt", session_id="a" * 32, file="a", days=1)
        (new,) = rows("a.txt", session_id="b" * 32, file="b")

        response = admin_client.get(LIST, {"o": order})

        assert listed(response) == [new.filename, old.filename]


class TestUsers:
    @pytest.mark.parametrize("name", PAGES)
    @pytest.mark.parametrize("kind", ["anonymous", "visitor"])
    def test_who_is_no_staff_is_asked_to_log_in(self, attachment, name, kind):
        client = Client()
        if kind == "visitor":
            user = User.objects.create_user("visitor", is_superuser=True)
            client.force_login(user)

        response = PAGES[name](client, attachment)

        assert response.status_code == 302
        assert response.url.startswith("/admin/login/?next=")

    @pytest.mark.parametrize("name", sorted(set(PAGES) - {"index"}))
    def test_staff_without_permission_is_refused(self, attachment, name):
        response = PAGES[name](staff(), attachment)

        assert response.status_code == 403

    @pytest.mark.parametrize(
        ("name", "status"),
        [
            *(("list", 200), ("detail", 200), ("history", 200), ("download", 200)),
            *(("confirmation", 403), ("index", 200)),
        ],
    )
    def test_staff_who_may_view(self, attachment, name, status):
        response = PAGES[name](staff("view"), attachment)

        assert response.status_code == status
        assert_no_secret(response, attachment)

    def test_staff_who_may_view_deletes_nothing(self, attachment):
        client = staff("view")

        response = client.post(page(attachment, "delete"), {"post": "yes"})
        client.post(
            LIST,
            {
                "action": "delete_selected",
                "_selected_action": [attachment.pk],
                "post": "yes",
            },
        )

        assert response.status_code == 403
        assert Attachment.objects.exists()

    @pytest.mark.parametrize(
        ("name", "status"),
        [
            *(("list", 403), ("detail", 403), ("history", 403), ("download", 403)),
            *(("confirmation", 200), ("index", 200)),
        ],
    )
    def test_staff_who_may_delete(self, attachment, name, status):
        response = PAGES[name](staff("delete"), attachment)

        assert response.status_code == status
        assert_no_secret(response, attachment)

    def test_staff_who_may_delete_deletes(self, attachment):
        staff("delete").post(page(attachment, "delete"), {"post": "yes"})

        assert not Attachment.objects.exists()

    def test_download_of_nothing_does_not_tell_staff_without_permission(self, db):
        assert staff().get(f"{LIST}12345/download/").status_code == 403


class TestReadOnly:
    @pytest.mark.parametrize("method", ["get", "post"])
    def test_nobody_adds(self, admin_client, method):
        response = getattr(admin_client, method)(f"{LIST}add/")

        assert response.status_code == 403
        assert not Attachment.objects.exists()

    def test_nobody_changes(self, admin_client, attachment):
        response = admin_client.post(
            page(attachment, "change"),
            {"filename": "egg.txt", "bundle": "bar", "session_id": "mine"},
        )

        assert response.status_code == 403
        changed = Attachment.objects.get()
        assert (changed.filename, changed.bundle) == ("spam.txt", "foo")
        assert changed.session_id == attachment.session_id

    def test_all_permissions_change_nothing_about_it(self, attachment):
        client = staff(*PERMISSIONS)

        assert client.get(f"{LIST}add/").status_code == 403
        assert client.post(page(attachment, "change")).status_code == 403
        assert client.get(page(attachment, "change")).status_code == 200

    def test_detail_has_nothing_to_fill_in(self, admin_client, attachment):
        text = admin_client.get(page(attachment, "change")).content.decode()

        assert 'type="text"' not in text
        assert 'type="file"' not in text
        assert 'name="_save"' not in text
        for value in ("spam.txt", "foo", "text/plain", "5\xa0bytes"):
            assert f"{value}<" in text


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
class TestDeletion:
    @pytest.mark.fault(29)
    def test_deletion_removes_row_and_file(self, admin_client, attachment, stored):
        response = admin_client.post(page(attachment, "delete"), {"post": "yes"})

        assert response.status_code == 302
        assert not Attachment.objects.exists()
        assert stored() == []

    def test_bulk_deletion_removes_rows_and_files(self, admin_client, stored):
        client = Client()
        upload(client, {"spam.txt": b"spam\n", "egg.txt": b"egg\n", "stays": b""})
        gone = Attachment.objects.exclude(filename="stays")

        response = admin_client.post(
            LIST,
            {
                "action": "delete_selected",
                "_selected_action": [attachment.pk for attachment in gone],
                "post": "yes",
            },
            follow=True,
        )

        assert "Successfully deleted 2 attachments" in response.content.decode()
        assert names(client.get(URL)) == ["stays"]
        assert len(stored()) == 1

    def test_files_stay_if_the_deletion_fails_at_last(
        self, admin_client, attachment, stored, project_refuses
    ):
        before = stored()
        admin_client.raise_request_exception = False
        bulk = {
            "action": "delete_selected",
            "_selected_action": [attachment.pk],
            "post": "yes",
        }

        response = admin_client.post(page(attachment, "delete"), {"post": "yes"})
        bulk_response = admin_client.post(LIST, bulk)

        assert response.status_code == bulk_response.status_code == 500
        assert Attachment.objects.exists()
        assert stored() == before

    def test_deletion_takes_along_what_goes_with_it(self, admin_client, attachment):
        Note.objects.create(attachment=attachment)
        scan = Scan.objects.create(attachment=attachment)

        admin_client.post(page(attachment, "delete"), {"post": "yes"})

        assert not Note.objects.exists()
        scan.refresh_from_db()
        assert scan.attachment_id is None

    def test_protected_attachment_is_explained(self, admin_client, attachment, stored):
        contract = Contract.objects.create(attachment=attachment)

        response = admin_client.post(page(attachment, "delete"), {"post": "yes"})

        text = response.content.decode()
        assert response.status_code == 200
        assert str(contract) in text
        assert 'name="post"' not in text
        assert Attachment.objects.exists()
        assert len(stored()) == 1

    def test_one_protected_attachment_keeps_all_of_a_bulk(self, admin_client, stored):
        upload(Client(), {"spam.txt": b"spam\n", "egg.txt": b"egg\n"})
        rows = list(Attachment.objects.order_by("filename"))
        contract = Contract.objects.create(attachment=rows[0])

        response = admin_client.post(
            LIST,
            {
                "action": "delete_selected",
                "_selected_action": [row.pk for row in rows],
                "post": "yes",
            },
        )

        assert response.status_code == 200
        assert str(contract) in response.content.decode()
        assert Attachment.objects.count() == 2
        assert len(stored()) == 2

    def test_attachment_without_its_file_is_deleted(self, admin_client, attachment):
        storage.delete(attachment.file.name)

        response = admin_client.post(page(attachment, "delete"), {"post": "yes"})

        assert response.status_code == 302
        assert not Attachment.objects.exists()


class Form(HTMLParser):
    """What a browser would send of the page's form that deletes."""

    def __init__(self, response):
        super().__init__()
        self.fields = {}
        self.feed(response.content.decode().partition('<form method="post">')[2])

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "input" and "name" in attrs:
            self.fields.setdefault(attrs["name"], []).append(attrs["value"])


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
class TestDeletionAcrossPages:
    def ask(self, client, url=LIST):
        """Select all on all pages, ask to delete them; return the confirmation."""
        response = client.post(
            url,
            {
                "action": "delete_selected",
                "_selected_action": list(
                    Attachment.objects.values_list("pk", flat=True)[:100]
                ),
                "select_across": "1",
                "index": "0",
            },
        )
        assert response.status_code == 200
        return response

    def test_more_than_a_form_has_fields_go(self, admin_client, rows, stored):
        rows(*(f"{number}.txt" for number in range(1645)), size=2)
        kept = Attachment.objects.get(filename="0.txt")
        Attachment.objects.filter(pk=kept.pk).update(bundle="kept")
        client = Client()
        upload(client, {"spam.txt": b"spam\n"})

        confirmation = self.ask(admin_client, f"{LIST}?q=foo")
        form = Form(confirmation).fields

        text = confirmation.content.decode()
        assert "<h2>1645 attachments, 3.2\xa0KB</h2>" in text
        assert "<li>Attachments: 1645</li>" in text
        assert sum(map(len, form.values())) < 10
        assert len(confirmation.content) < 20_000

        response = admin_client.post(f"{LIST}?q=foo", form, follow=True)

        assert response.redirect_chain == [(f"{LIST}?q=foo", 302)]
        assert "Successfully deleted 1645 attachments" in response.content.decode()
        assert Attachment.objects.get() == kept
        assert stored() == []
        assert LogEntry.objects.filter(action_flag=DELETION).count() == 1645

    def test_what_came_after_the_question_stays(self, admin_client, stored):
        client = Client()
        upload(client, {"old.txt": b"old\n", "replaced.txt": b"old\n"})
        form = Form(self.ask(admin_client)).fields
        upload(client, {"new.txt": b"new\n", "replaced.txt": b"new\n"})

        admin_client.post(LIST, form)

        assert names(client.get(URL)) == ["new.txt", "replaced.txt"]
        assert len(stored()) == 2

    def test_only_what_is_filtered_goes(self, admin_client, rows):
        rows("old.txt", days=9)
        rows("new.txt")
        url = f"{LIST}?older_than=7"

        admin_client.post(url, Form(self.ask(admin_client, url)).fields)

        assert Attachment.objects.get().filename == "new.txt"

    def test_more_than_there_is_time_for_are_not_begun(
        self, admin_client, rows, monkeypatch
    ):
        monkeypatch.setattr(admin, "MOST", 2)
        rows("a.txt", "b.txt")
        form = Form(self.ask(admin_client)).fields
        rows("c.txt", bundle="bar")
        del form["newest"]

        response = admin_client.post(f"{LIST}?o=1", form, follow=True)

        assert response.redirect_chain == [(f"{LIST}?o=1", 302)]
        text = response.content.decode()
        assert "No more than 2 attachments can be deleted at once." in text
        assert "remove_outdated_attachments" in text
        assert Attachment.objects.count() == 3

        admin_client.post(f"{LIST}?q=foo", form)
        assert Attachment.objects.get().filename == "c.txt"

    @pytest.mark.parametrize(
        "newest", ["", "x", "-1", "1.5", "٣", "\0", "9" * 19, "1" * 5000]
    )
    def test_nonsense_for_the_newest_deletes_nothing(
        self, admin_client, attachment, newest
    ):
        form = Form(self.ask(admin_client)).fields

        response = admin_client.post(LIST, form | {"newest": newest})

        assert response.status_code == 302
        assert Attachment.objects.get() == attachment

    def test_nothing_that_is_selected_is_nothing_to_confirm(self, admin_client, rows):
        rows("spam.txt")

        response = self.ask(admin_client, f"{LIST}?q=nothing")

        assert Form(response).fields.get("newest") is None

    def test_selection_of_one_page_lists_it_as_ever(self, admin_client, rows):
        keys = [row.pk for row in rows("spam.txt", "egg.txt")]

        response = admin_client.post(
            LIST, {"action": "delete_selected", "_selected_action": keys}
        )

        form = Form(response).fields
        assert sorted(form["_selected_action"]) == sorted(map(str, keys))
        assert not {"select_across", "newest"} & form.keys()

    def test_related_objects_are_counted_and_go(self, admin_client, attachment):
        Note.objects.create(attachment=attachment)

        confirmation = self.ask(admin_client)

        assert "<li>Notes: 1</li>" in confirmation.content.decode()
        admin_client.post(LIST, Form(confirmation).fields)
        assert not Note.objects.exists()

    def test_protected_objects_are_named_and_nothing_goes(self, admin_client, stored):
        upload(Client(), {"spam.txt": b"spam\n", "egg.txt": b"egg\n"})
        form = Form(self.ask(admin_client)).fields
        contract = Contract.objects.create(attachment=Attachment.objects.first())

        for response in (admin_client.post(LIST, form), self.ask(admin_client)):
            text = response.content.decode()
            assert str(contract) in text
            assert not Form(response).fields
        assert Attachment.objects.count() == len(stored()) == 2

    def test_staff_who_may_view_deletes_nothing(self, attachment):
        client = staff("view")
        ask = {
            "action": "delete_selected",
            "_selected_action": ["1"],
            "select_across": "1",
        }

        for fields in (ask, ask | {"post": "yes", "newest": str(attachment.pk)}):
            assert b"newest" not in client.post(LIST, fields, follow=True).content
        assert Attachment.objects.exists()

    def test_token_is_asked_for(self, admin_client, attachment):
        client = Client(enforce_csrf_checks=True)
        client.force_login(User.objects.get())
        token = {"X-CSRFToken": client.get(LIST).cookies["csrftoken"].value}
        ask = {
            "action": "delete_selected",
            "_selected_action": ["1"],
            "select_across": "1",
        }
        form = Form(client.post(LIST, ask, headers=token)).fields
        bare = {name: form[name] for name in form.keys() - {"csrfmiddlewaretoken"}}

        assert client.post(LIST, bare).status_code == 403
        assert Attachment.objects.exists()
        assert client.post(LIST, form).status_code == 302
        assert not Attachment.objects.exists()

    def test_all_stay_if_one_cannot_go(
        self, admin_client, attachment, stored, project_refuses
    ):
        form = Form(self.ask(admin_client)).fields
        admin_client.raise_request_exception = False

        response = admin_client.post(LIST, form)

        assert response.status_code == 500
        assert Attachment.objects.exists()
        assert len(stored()) == 1

    def test_deletion_that_loses_is_tried_again(self, admin_client, attachment, stored):
        conflicts = [Lost()]

        def lose(**kwargs):
            if conflicts:
                raise OperationalError from conflicts.pop()

        form = Form(self.ask(admin_client)).fields
        post_delete.connect(lose, sender=Attachment)
        response = admin_client.post(LIST, form)
        post_delete.disconnect(lose, sender=Attachment)

        assert response.status_code == 302
        assert conflicts == stored() == []


@pytest.fixture
def project_refuses():
    """Connect a receiver of the project's that fails in the transaction, after ours."""

    def refuse(**kwargs):
        raise OSError("The project's log is full.")

    post_delete.connect(refuse, sender=Attachment)
    yield
    post_delete.disconnect(refuse, sender=Attachment)


class TestDownload:
    def test_download_sends_the_file_as_a_download(self, admin_client, attachment):
        response = admin_client.get(page(attachment, "download"))

        assert content(response) == b"spam\n"
        assert response.headers["Content-Type"] == "text/plain"
        assert response.headers["Content-Disposition"] == (
            'attachment; filename="spam.txt"'
        )
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Content-Security-Policy"] == (
            "sandbox; default-src 'none'"
        )
        cache = {part.strip() for part in response.headers["Cache-Control"].split(",")}
        assert {"private", "no-store"} <= cache
        assert "Cookie" in response.headers["Vary"]

    def test_slash_in_a_name_of_02_is_encoded(self, admin_client, attachment):
        Attachment.objects.update(filename="a/é.txt")

        response = admin_client.get(page(attachment, "download"))

        # (RFC 8187, 3.2.1)
        assert content(response) == b"spam\n"
        assert response.headers["Content-Disposition"] == (
            "attachment; filename=\"a/e.txt\"; filename*=utf-8''a%2F%C3%A9.txt"
        )

    def test_pages_link_to_it(self, admin_client, attachment):
        link = f'href="{page(attachment, "download")}"'

        for url in (LIST, page(attachment, "change")):
            assert link in admin_client.get(url).content.decode()

    def test_name_cannot_leave_the_header_or_the_page(self, admin_client, rows):
        (row,) = rows('<script>"\r\nSet-Cookie: a=b;.txt')
        row.file = storage.save(ContentFile(b"spam"))
        row.save()

        response = admin_client.get(page(row, "download"))

        assert "Set-Cookie" not in response.headers
        assert content(response) == b"spam"
        for url in (LIST, page(row, "change"), page(row, "delete")):
            assert b'<script>"' not in admin_client.get(url).content

    def test_missing_file_is_not_found(self, admin_client, attachment, stored):
        storage.delete(attachment.file.name)

        assert admin_client.get(page(attachment, "download")).status_code == 404
        assert admin_client.get(page(attachment, "change")).status_code == 200
        assert listed(admin_client.get(LIST)) == ["spam.txt"]

    def test_row_of_02_whose_name_leaves_the_storage_is_not_found(
        self, admin_client, rows
    ):
        (row,) = rows("spam.txt", file="../../outside")

        assert admin_client.get(page(row, "download")).status_code == 404

    @pytest.mark.database
    @pytest.mark.parametrize("pk", ["0", "12345", "9" * 30, "9" * 5000])
    def test_unknown_number_is_not_found(self, admin_client, attachment, pk):
        response = admin_client.get(f"{LIST}{pk}/download/", follow=True)

        assert response.status_code in {200, 404}
        assert_no_download(response)

    @pytest.mark.database
    @pytest.mark.parametrize("pk", ["x", "-1", "1.5", "_3A", "%00", "None", "é", "1/2"])
    @pytest.mark.parametrize("name", ["download", "change", "delete", "history"])
    def test_nonsense_is_not_found(self, admin_client, attachment, pk, name):
        response = admin_client.get(f"{LIST}{pk}/{name}/", follow=True)

        assert response.status_code in {200, 404}
        assert_no_download(response)

    def test_range_is_sent(self, admin_client, attachment):
        response = admin_client.get(
            page(attachment, "download"), headers={"Range": "bytes=1-2"}
        )

        assert response.status_code == 206
        assert content(response) == b"pa"


def assert_no_download(response):
    assert "Content-Disposition" not in response.headers
    assert b"spam" not in response.content


async def boxes(page):
    """Return how much wider than their boxes the page and its table are, in px."""
    return await page.evaluate(
        """() => ["html", ".results"].map(selector => {
            const box = document.querySelector(selector);
            return box.scrollWidth - box.clientWidth;
        })"""
    )


@pytest.mark.server
@pytest.mark.slow
@needs_chromium
@pytest.mark.django_db(transaction=True)
class TestBrowser:
    @pytest.fixture
    def many(self):
        """Make 2,000 attachments with every kind of name, bundle and type."""
        office = "application/vnd.openxmlformats-officedocument.wordprocessingml."
        Attachment.objects.bulk_create(
            Attachment(
                filename=f"{word} {number}.docx",
                bundle=["draft-7", "e" * 256, "письмо"][number % 3],
                mimetype=[f"{office}document", "image/png"][number % 2],
                size=number * 123_456,
                session_id=f"{number % 50:032}",
            )
            for word in ("report", "Отчёт за год", "x" * 240, "scan_of_a-long_contract")
            for number in range(500)
        )

    def look(self, live_server, width, look):
        """Log in as a member of staff in a window of that width; call ``look``."""
        User.objects.create_superuser("admin", password="admin")

        async def use_browser():
            async with browser() as chromium:
                size = {"width": width, "height": 900}
                page = await chromium.new_page(viewport=size)
                await page.goto(live_server.url + LIST)
                await page.fill("#id_username", "admin")
                await page.fill("#id_password", "admin")
                await page.click("input[type=submit]")
                await page.wait_for_selector("#result_list")
                return await look(page)

        return asyncio.run(use_browser())

    @pytest.mark.usefixtures("many")
    def test_nothing_is_out_of_sight_at_1280(self, live_server):
        assert self.look(live_server, 1280, boxes) == [0, 0]

    @pytest.mark.usefixtures("many")
    def test_phone_scrolls_the_table_and_not_the_page(self, live_server):
        page, _table = self.look(live_server, 390, boxes)

        assert page == 0

    @pytest.mark.usefixtures("many")
    def test_all_pages_are_deleted_by_clicks(self, live_server):
        async def delete(page):
            await page.check("#action-toggle")
            await page.click("text=Select all 2000 attachments")
            await page.select_option("select[name=action]", "delete_selected")
            await page.click("button[name=index]")
            await page.click("input[type=submit]")
            return await page.inner_text(".messagelist")

        message = self.look(live_server, 1280, delete)

        assert message == "Successfully deleted 2000 attachments."
        assert not Attachment.objects.exists()
