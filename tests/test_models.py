"""The model and its verbs."""

import re
from datetime import UTC, datetime, timedelta
from types import ModuleType

import pytest
from django.core.files.base import ContentFile
from django.db import NotSupportedError, transaction
from django.db.models import Count, ProtectedError, signals
from django.test import Client
from django.test.utils import override_script_prefix
from django.urls import include, path, reverse
from django.utils import timezone
from django_cleanup import cache

from session_attachments.models import Attachment
from session_attachments.removal import BATCH, remove
from session_attachments.signals import attachment_removed
from session_attachments.transactions import in_transaction
from tests.clients import URL, content, upload
from tests.project.models import Contract, Enclosure, Letter, Note, Scan
from tests.storages import (
    Calls,
    attach,
    failing,
    store_in,
)

pytestmark = [pytest.mark.database, pytest.mark.django_db]
committed = pytest.mark.django_db(transaction=True)

# All ways that a row can go, but for the admin's, which is the first.
WAYS = {
    "queryset": lambda rows: rows.delete(),
    "instance": lambda rows: rows.get().delete(),
    "deferred": lambda rows: rows.only("pk").delete(),
    "remove": lambda rows: in_transaction(rows.db, lambda: remove(rows)),
}
each_way = pytest.mark.parametrize("delete", WAYS.values(), ids=WAYS)


@pytest.fixture
def django_cleanup(settings):
    """Install django-cleanup, for this test only."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django_cleanup"]
    yield
    for model in cache.cleanup_models():
        for name in ("post_init", "pre_save", "post_save", "post_delete"):
            getattr(signals, name).disconnect(
                sender=model,
                dispatch_uid=f"{name}_django_cleanup_{cache.get_model_name(model)}",
            )


class TestStr:
    def test_attachment_is_its_name(self):
        assert str(Attachment(filename="spam.txt")) == "spam.txt"


class TestUrl:
    @pytest.mark.parametrize(
        "name",
        [
            *("spam.txt", "delete", "resume", "...", ".htaccess", "-", "+", "a b"),
            *("50%", "50%25 off", "%2e%2e", "what?.txt", "#1;a=b&c", "C:\\a", "\"q'"),
            *("Отчёт за год.pdf", "\N{SNOWMAN}", "\N{GRINNING FACE}.png", "x" * 255),
            # Of 0.2 only.
            *("a\nb", "\n", "a\x7fb"),
        ],
    )
    def test_url_is_the_downloads(self, name):
        visitor = Client()
        visitor.get(URL)
        key = visitor.session["_session_attachments_key"]
        attachment = attach(name, b"right\n", session_id=key)
        attach("other.txt", b"wrong\n", session_id=key)

        url = attachment.get_absolute_url()

        assert re.fullmatch(r"/attachments/foo/[!-.0-~]+/", url)
        assert not {"?", "#", "\\"} & {*url}
        assert content(visitor.get(url)) == b"right\n"
        assert attachment.file.url == url

    @pytest.mark.parametrize("bundle", ["draft 7", "50%", "?", "черновик", "delete"])
    def test_bundle_is_part_of_it(self, bundle):
        visitor = Client()
        url = reverse("bundle-attachments", kwargs={"bundle_id": bundle})
        upload(visitor, {"spam.txt": b"spam\n"}, url)

        attachment = Attachment.objects.get()

        assert attachment.get_absolute_url() == f"{url}spam.txt/"
        assert content(visitor.get(attachment.file.url)) == b"spam\n"

    @pytest.mark.parametrize("field", ["filename", "bundle"])
    @pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "../etc"])
    def test_name_of_02_that_no_url_holds_has_none(self, field, name):
        attachment = attach(**{field: name})

        assert attachment.get_absolute_url() == ""
        assert attachment.file.url == ""

    def test_attachment_that_lost_its_files_name_has_its_url(self):
        attachment = Attachment(filename="spam.txt", bundle="foo")

        assert attachment.file.url == "/attachments/foo/spam.txt/"

    def test_project_may_include_the_urls_elsewhere(self, settings):
        settings.ROOT_URLCONF = ModuleType("urlconf")
        settings.ROOT_URLCONF.urlpatterns = [
            path("", include("session_attachments.urls"))
        ]
        attachment = attach()

        with override_script_prefix("/site/"):
            assert attachment.get_absolute_url() == "/site/foo/spam.txt/"

    def test_project_without_the_urls_has_none(self, settings):
        settings.ROOT_URLCONF = ModuleType("urlconf")
        settings.ROOT_URLCONF.urlpatterns = []

        assert attach().get_absolute_url() == attach("egg.txt").file.url == ""


class TestOutdated:
    @pytest.mark.parametrize("use_tz", [True, False])
    def test_outdated_is_what_was_uploaded_longer_ago(self, settings, use_tz):
        settings.USE_TZ = use_tz
        attach("old", age=timedelta(days=3, minutes=1))
        attach("young", age=timedelta(days=3, minutes=-1))

        outdated = Attachment.objects.outdated(timedelta(days=3))

        assert [attachment.filename for attachment in outdated] == ["old"]

    @pytest.mark.parametrize("use_tz", [True, False])
    def test_outdated_leaves_out_the_very_moment(self, settings, use_tz, monkeypatch):
        settings.USE_TZ = use_tz
        now = timezone.now()
        monkeypatch.setattr(timezone, "now", lambda: now)
        attach("exactly", age=timedelta(hours=36))
        attach("longer", age=timedelta(hours=36, microseconds=1))

        outdated = Attachment.objects.outdated(timedelta(hours=36))

        assert [attachment.filename for attachment in outdated] == ["longer"]

    def test_outdated_filters_what_is_filtered(self):
        attach("mine", age=timedelta(days=1))
        attach("theirs", age=timedelta(days=1), session_id="other")

        outdated = Attachment.objects.in_session("key").outdated(timedelta(0))

        assert [attachment.filename for attachment in outdated] == ["mine"]

    @pytest.mark.parametrize(
        "older_than",
        [timedelta(microseconds=-1), timedelta(days=-1), timedelta.min],
        ids=str,
    )
    def test_negative_age_is_refused(self, older_than):
        with pytest.raises(ValueError, match="must not be negative"):
            Attachment.objects.outdated(older_than)

    @pytest.mark.parametrize("use_tz", [True, False])
    @pytest.mark.parametrize(
        "older_than", [timedelta(days=1_000_000), timedelta.max], ids=str
    )
    def test_age_that_leaves_the_calendar_is_refused(
        self, settings, use_tz, older_than
    ):
        settings.USE_TZ = use_tz

        with pytest.raises(ValueError, match="leaves the calendar"):
            Attachment.objects.outdated(older_than)

    @pytest.mark.parametrize("use_tz", [True, False])
    def test_age_back_to_the_first_year_is_a_query(self, settings, use_tz):
        settings.USE_TZ = use_tz
        attach()
        calendar = datetime.now(UTC) - datetime.min.replace(tzinfo=UTC)

        outdated = Attachment.objects.outdated(calendar - timedelta(days=2))

        assert not outdated.exists()
        # A database may convert to a time zone whose calendar begins later.
        with pytest.raises(ValueError, match="leaves the calendar"):
            Attachment.objects.outdated(calendar - timedelta(hours=12))


@committed
class TestDelete:
    @each_way
    def test_file_goes_with_its_row(self, delete, stored):
        attach("old.txt")
        kept = attach("kept.txt")

        delete(Attachment.objects.filter(filename="old.txt"))

        assert list(Attachment.objects.all()) == [kept]
        assert stored() == [kept.file.name]

    @each_way
    def test_file_goes_after_commit(self, delete, stored):
        attach()

        with transaction.atomic():
            delete(Attachment.objects.all())

            assert not Attachment.objects.exists()
            assert len(stored()) == 1

        assert stored() == []

    @each_way
    def test_nothing_goes_when_the_transaction_rolls_back(
        self, delete, stored, removed
    ):
        attach()

        with transaction.atomic():
            delete(Attachment.objects.all())
            transaction.set_rollback(True)

        assert Attachment.objects.count() == len(stored()) == 1
        assert removed == []

    def test_savepoint_that_rolls_back_keeps_its_files(self, stored):
        kept = attach("kept.txt")
        old = attach("old.txt")

        with transaction.atomic():
            old.delete()
            with transaction.atomic():
                kept.delete()
                transaction.set_rollback(True)

        assert stored() == [Attachment.objects.get().file.name]

    @each_way
    def test_project_is_told_after_commit(self, delete, removed):
        attachment = attach()

        with transaction.atomic():
            delete(Attachment.objects.all())
            assert removed == []

        assert removed == [(attachment.pk, "spam.txt")]

    @each_way
    def test_project_objects_go_as_they_say(self, delete, stored):
        attachment = attach()
        Note.objects.create(attachment=attachment)
        scan = Scan.objects.create(attachment=attachment)

        delete(Attachment.objects.all())

        scan.refresh_from_db()
        assert scan.attachment is None
        assert not Note.objects.exists()
        assert stored() == []

    @each_way
    def test_protected_attachment_stays_with_its_file(self, delete, stored, removed):
        Contract.objects.create(attachment=attach())

        with pytest.raises(ProtectedError):
            delete(Attachment.objects.all())

        assert Attachment.objects.count() == len(stored()) == 1
        assert removed == []

    def test_attachment_outlives_what_points_at_it(self, stored):
        note = Note.objects.create(attachment=attach())

        note.delete()

        assert Attachment.objects.count() == len(stored()) == 1

    def test_row_that_is_gone_can_be_deleted_again(self, stored):
        attach()
        whole, deferred = Attachment.objects.get(), Attachment.objects.only("pk").get()
        Attachment.objects.all().delete()

        whole.delete()
        deferred.delete()

        assert stored() == []

    @each_way
    def test_missing_file_is_no_failure(self, delete, media, caplog):
        attachment = attach()
        (media / attachment.file.name).unlink()

        delete(Attachment.objects.all())

        assert not Attachment.objects.exists()
        assert caplog.records == []

    @each_way
    def test_file_that_cannot_be_deleted_is_logged(
        self, delete, settings, stored, caplog
    ):
        attachment = attach()
        store_in(settings, failing("delete", PermissionError("read only")))

        delete(Attachment.objects.all())

        assert not Attachment.objects.exists()
        assert stored() == [attachment.file.name]
        [record] = caplog.records
        assert (record.name, record.levelname, record.getMessage()) == (
            "session_attachments.files.storage",
            "ERROR",
            f"The stored file {attachment.file.name!r} could not be deleted.",
        )

    def test_receiver_that_fails_is_logged(self, stored, caplog):
        def fail(**kwargs):
            raise RuntimeError("index is down")

        attach("a")
        attach("b")
        attachment_removed.connect(fail)

        Attachment.objects.all().delete()

        attachment_removed.disconnect(fail)
        assert stored() == []
        assert [record.name for record in caplog.records] == ["django.dispatch"] * 2

    @each_way
    def test_with_django_cleanup_nothing_is_deleted_twice(
        self, delete, settings, django_cleanup
    ):
        calls = Calls()
        store_in(settings, calls)
        attachment = attach()

        delete(Attachment.objects.all())

        assert calls.names("delete") == [attachment.file.name]

    def test_django_cleanup_is_at_work_meanwhile(self, django_cleanup, stored):
        enclosure = Enclosure.objects.create(
            letter=Letter.objects.create(), file=ContentFile(b"spam\n", "spam.txt")
        )

        enclosure.delete()

        assert stored() == []


@committed
class TestDeleteAsDjangoDoes:
    """What Django's own delete() promises beside."""

    def test_queryset_returns_the_rows_of_each_model(self):
        attachment = attach()
        attach("egg.txt")
        Note.objects.create(attachment=attachment)

        deleted = Attachment.objects.all().delete()

        assert deleted == (
            3,
            {"session_attachments.Attachment": 2, "project.Note": 1},
        )

    def test_queryset_of_nothing_deletes_nothing(self):
        assert Attachment.objects.all().delete() == (0, {})
        assert Attachment.objects.none().delete() == (0, {})

    def test_instance_returns_the_rows_and_loses_its_key(self):
        attachment = attach()
        Note.objects.create(attachment=attachment)

        deleted = attachment.delete()

        assert deleted == (
            2,
            {"session_attachments.Attachment": 1, "project.Note": 1},
        )
        assert attachment.pk is None
        assert attachment.filename == "spam.txt"
        with pytest.raises(ValueError, match="can't be deleted"):
            attachment.delete()

    @pytest.mark.parametrize(
        ("rows", "error"),
        [
            (lambda: Attachment.objects.all()[:1], TypeError),
            (lambda: Attachment.objects.values("pk"), TypeError),
            (lambda: Attachment.objects.values_list("pk"), TypeError),
            (lambda: Attachment.objects.distinct("bundle"), TypeError),
            (
                lambda: Attachment.objects.all().union(Attachment.objects.all()),
                NotSupportedError,
            ),
        ],
        ids=["slice", "values", "values_list", "distinct", "union"],
    )
    def test_what_django_refuses_to_delete_is_refused(self, rows, error, stored):
        attach()

        with pytest.raises(error, match="delete"):
            rows().delete()

        assert Attachment.objects.count() == len(stored()) == 1

    @pytest.mark.parametrize(
        "rows",
        [
            lambda: Attachment.objects.distinct(),
            lambda: Attachment.objects.annotate(Count("note")).filter(note__count=1),
            lambda: Attachment.objects.filter(note__isnull=False).order_by("-created"),
            lambda: Attachment.objects.only("filename"),
            lambda: Attachment.objects.defer("file", "mimetype"),
            lambda: Attachment.objects.reverse(),
        ],
        ids=["distinct", "grouped", "joined", "only", "defer", "reverse"],
    )
    def test_rows_of_any_query_go_with_their_files(self, rows, stored, removed):
        Note.objects.create(attachment=attach())

        rows().delete()

        assert not Attachment.objects.exists()
        assert stored() == []
        assert [name for _, name in removed] == ["spam.txt"]

    def test_queryset_that_is_used_again_reads_anew(self):
        attach()
        rows = Attachment.objects.filter(bundle="foo")
        assert len(rows) == 1

        rows.delete()

        assert list(rows) == []

    @pytest.mark.parametrize("number", [BATCH - 1, BATCH, BATCH + 1])
    def test_all_go_or_none(self, number, stored, removed):
        Attachment.objects.bulk_create(
            Attachment(session_id="key", bundle="foo", filename=f"{n}", file=f"a/{n}")
            for n in range(number)
        )
        last = attach("last.txt")
        contract = Contract.objects.create(attachment=last)

        with pytest.raises(ProtectedError):
            Attachment.objects.all().delete()
        assert Attachment.objects.count() == number + 1
        assert (removed, stored()) == ([], [last.file.name])

        contract.delete()
        assert Attachment.objects.all().delete()[0] == number + 1
        assert not Attachment.objects.exists()
        assert (len(removed), stored()) == (number + 1, [])

    def test_template_and_manager_do_not_delete(self):
        assert Attachment.objects.all().delete.alters_data
        assert not hasattr(Attachment.objects, "delete")


class TestTotals:
    def test_totals_tell_the_session_from_its_bundle(self):
        attach("a", b"x")
        attach("b", b"xx")
        attach("a", b"xxxx", bundle="bar")
        attach("a", b"xxxxxxxx", session_id="other")

        rows = Attachment.objects.in_session("key")

        assert rows.total_size() == 7
        assert rows.totals("foo") == {
            "session_size": 7,
            "bundle_size": 3,
            "files": 2,
        }

    def test_nothing_has_totals(self):
        rows = Attachment.objects.in_session("key")

        assert rows.total_size() == 0
        assert rows.totals("foo") == {"session_size": 0, "bundle_size": 0, "files": 0}
