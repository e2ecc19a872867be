"""The admin: who sees what, what never shows, deletion, download."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.base import ContentFile
from django.db.models.signals import post_delete
from django.test import Client
from django.utils import timezone

from session_attachments import storage
from session_attachments.models import Attachment
from tests.clients import URL, content, names, upload
from tests.host.models import Contract, Note, Scan

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


class TestList:
    def test_list_shows_what_there_is(self, admin_client, rows):
        rows("spam.txt", bundle="mail", mimetype="text/plain", size=5 * 1024)

        text = admin_client.get(LIST).content.decode()

        for column in ("spam.txt", "mail", "text/plain", "5.0\xa0KB"):
            assert f">{column}<" in text
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

    def test_list_is_a_few_queries(
        self, admin_client, rows, django_assert_max_num_queries
    ):
        rows(*(f"{number}.txt" for number in range(50)))

        with django_assert_max_num_queries(10):
            admin_client.get(LIST)


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
    "detail": lambda client, row: client.get(page(row, "change")),
    "confirmation": lambda client, row: client.get(page(row, "delete")),
    "history": lambda client, row: client.get(page(row, "history")),
    "index": lambda client, row: client.get("/admin/"),
    "bulk confirmation": lambda client, row: client.post(
        LIST, {"action": "delete_selected", "_selected_action": [row.pk]}
    ),
    "download": lambda client, row: client.get(page(row, "download")),
}


@pytest.fixture
def pointed_at(attachment):
    """Return an attachment that objects of the host's point at."""
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

        assert "protected" in response.content.decode()
        assert_no_secret(response, attachment)

    def test_answer_to_a_deletion_shows_neither(self, admin_client, attachment):
        response = admin_client.post(
            page(attachment, "delete"), {"post": "yes"}, follow=True
        )

        assert "was deleted successfully" in response.content.decode()
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
        r'<td class="field-fingerprint">(.*?)</td>', response.content.decode()
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

    @pytest.mark.parametrize("name", set(PAGES) - {"index"})
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


@pytest.mark.django_db(transaction=True)
class TestDeletion:
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
        self, admin_client, attachment, stored, host_refuses
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
        assert "protected related objects" in text
        assert str(contract) in text
        assert Attachment.objects.exists()
        assert len(stored()) == 1

    def test_one_protected_attachment_keeps_all_of_a_bulk(self, admin_client, stored):
        upload(Client(), {"spam.txt": b"spam\n", "egg.txt": b"egg\n"})
        rows = list(Attachment.objects.order_by("filename"))
        Contract.objects.create(attachment=rows[0])

        response = admin_client.post(
            LIST,
            {
                "action": "delete_selected",
                "_selected_action": [row.pk for row in rows],
                "post": "yes",
            },
        )

        assert response.status_code == 200
        assert "protected related objects" in response.content.decode()
        assert Attachment.objects.count() == 2
        assert len(stored()) == 2

    def test_attachment_without_its_file_is_deleted(self, admin_client, attachment):
        storage.delete(attachment.file.name)

        response = admin_client.post(page(attachment, "delete"), {"post": "yes"})

        assert response.status_code == 302
        assert not Attachment.objects.exists()


@pytest.fixture
def host_refuses():
    """Connect a receiver of the host's that fails in the transaction, after ours."""

    def refuse(**kwargs):
        raise OSError("The host's log is full.")

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

    @pytest.mark.parametrize("pk", ["0", "12345", "9" * 30, "9" * 5000])
    def test_unknown_number_is_not_found(self, admin_client, attachment, pk):
        response = admin_client.get(f"{LIST}{pk}/download/", follow=True)

        assert response.status_code in {200, 404}
        assert_no_download(response)

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
