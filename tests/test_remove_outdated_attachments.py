"""The command: its standard output, its standard error and its exit code."""

import os
import pty
import subprocess
import sys
import termios
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone, translation

from session_attachments.models import Attachment
from tests.project.models import Contract
from tests.storages import attach, failing, store_in, unfinished

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).parent.parent
OLD = "session_attachments/2020-02-20"

MISSING = "The option --older-than=N is required."
IMPOSSIBLE = (
    "--older-than must be a number of days, 0 or more, that does not leave the "
    "calendar, not {}."
)
NOTHING = (
    "Removed 0 attachments, 0 unfinished uploads and "
    "0 files without an attachment, 0 bytes.\n"
)
PROTECTED = (
    "could not be removed: Cannot delete some instances of model 'Attachment' because "
    "they are referenced through protected foreign keys: 'Contract.attachment'.\n"
)

CREATED = datetime(2020, 11, 20, 12, tzinfo=UTC)

# No name of today's: 0.2 took them.
NASTY = "two\nlines\x1b[31m\u202e.txt"


@pytest.fixture
def command():
    """Return a function that calls the command: its stdout, stderr and error."""

    def call(*arguments, **options):
        stdout, stderr = StringIO(), StringIO()
        error = None
        try:
            call_command(
                "remove_outdated_attachments",
                *arguments,
                stdout=stdout,
                stderr=stderr,
                **options,
            )
        except CommandError as raised:
            error = (str(raised), raised.returncode)
        return stdout.getvalue(), stderr.getvalue(), error

    return call


@pytest.fixture
def process(tmp_path, media):
    """Return a function that runs the command in a process of its own."""
    (tmp_path / "process_settings.py").write_text(
        "from tests.settings import *\n"
        # Django 5.2 warns where it is not set.
        "DEFAULT_AUTO_FIELD = 'django.db.models.BigAutoField'\n"
        f"DATABASES['default']['NAME'] = {str(connection.settings_dict['NAME'])!r}\n"
        f"MEDIA_ROOT = {str(media)!r}\n"
    )

    def run(*arguments, stderr=subprocess.PIPE, **environment):
        return subprocess.run(
            [sys.executable, "-m", "django", "remove_outdated_attachments", *arguments],
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "process_settings",
                "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            encoding="utf-8",
            timeout=60,
        )

    return run


@pytest.fixture
def terminal():
    """Return a terminal to write to and a function that returns what was written."""
    reader, writer = pty.openpty()
    termios.tcsetwinsize(writer, (24, 80))

    def shown():
        os.write(writer, b"END")
        output = b""
        while not output.endswith(b"END"):
            output += os.read(reader, 1024)
        return output.removesuffix(b"END").decode()

    yield writer, shown
    os.close(writer)
    os.close(reader)


def put(media, name, content=b"12345"):
    path = media / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


class TestAge:
    def test_option_is_required(self, command, stored):
        attach(age=timedelta(days=1000))

        assert command() == ("", "", (MISSING, 1))
        assert command(older_than=None) == ("", "", (MISSING, 1))
        assert len(stored()) == 1

    @pytest.mark.django_db
    @pytest.mark.database
    @pytest.mark.fault(33)
    @pytest.mark.parametrize(
        ("days", "limit"),
        [
            ("3", timedelta(days=3)),
            ("0", timedelta(0)),
            ("-0", timedelta(0)),
            ("0.5", timedelta(hours=12)),
            (".5", timedelta(hours=12)),
            ("1e3", timedelta(days=1000)),
            (3, timedelta(days=3)),
            (0, timedelta(0)),
            (0.5, timedelta(hours=12)),
        ],
        ids=repr,
    )
    @pytest.mark.parametrize("use_tz", [True, False])
    def test_age_is_a_number_of_days(self, settings, command, days, limit, use_tz):
        settings.USE_TZ = use_tz
        attach("old", age=limit + timedelta(minutes=1))
        attach("young", age=limit - timedelta(minutes=1))

        assert command(older_than=days) == (
            "Removed 1 attachment, 0 unfinished uploads and "
            "0 files without an attachment, 5 bytes.\n",
            "",
            None,
        )
        assert Attachment.objects.get().filename == "young"

    @pytest.mark.django_db
    @pytest.mark.parametrize("days", ["3", "0.5", "1e3"])
    def test_age_is_an_option(self, command, days):
        attach("old", age=timedelta(days=1001))
        attach("young")

        stdout, stderr, error = command(f"--older-than={days}")

        assert stdout.startswith(
            "Removed 1 attachment, 0 unfinished uploads and 0 files"
        )
        assert (stderr, error) == ("", None)
        assert Attachment.objects.get().filename == "young"

    @pytest.mark.fault(18)
    @pytest.mark.parametrize(
        "value",
        [
            "-1",
            "-0.1",
            "nan",
            "inf",
            "-inf",
            "1e9",
            "1e6",
            "1e400",
            "",
            "abc",
            "3 days",
        ],
    )
    def test_impossible_age_removes_nothing(self, command, media, stored, value):
        attach(file=f"{OLD}/referred", age=timedelta(days=1000))
        put(media, f"{OLD}/unreferred")
        error = IMPOSSIBLE.format(repr(value))

        assert command(f"--older-than={value}") == ("", "", (error, 2))
        assert command(older_than=value) == ("", "", (error, 2))
        assert len(stored()) == 2
        assert Attachment.objects.exists()

    @pytest.mark.parametrize(
        "value",
        [
            -1,
            float("nan"),
            float("inf"),
            float("-inf"),
            1e9,
            10**400,
            True,
            False,
            b"3",
            [3],
            Decimal(3),
            timedelta(days=3),
        ],
        ids=repr,
    )
    def test_impossible_object_removes_nothing(self, command, stored, value):
        attach(age=timedelta(days=1000))

        error = IMPOSSIBLE.format(repr(value))
        assert command(older_than=value) == ("", "", (error, 2))
        assert len(stored()) == 1

    @pytest.mark.fault(18)
    def test_positional_argument_removes_nothing(self, command, stored):
        attach(age=timedelta(days=1000))

        stdout, stderr, (error, _) = command("3", older_than=3)

        assert (stdout, stderr, error) == ("", "", "Error: unrecognized arguments: 3")
        assert len(stored()) == 1

    def test_error_in_the_middle_is_no_usage_error(self):
        attach(age=timedelta(days=1))
        stdout = StringIO()
        stdout.close()

        with pytest.raises(ValueError, match="closed file"):
            call_command("remove_outdated_attachments", "--older-than=0", stdout=stdout)


@pytest.mark.database
class TestOutput:
    @pytest.mark.parametrize(
        ("attachments", "uploads", "files", "line"),
        [
            (0, 0, 0, "0 attachments, 0 unfinished uploads and 0 files{}, 0 bytes"),
            (1, 0, 0, "1 attachment, 0 unfinished uploads and 0 files{}, 1 byte"),
            (0, 1, 0, "0 attachments, 1 unfinished upload and 0 files{}, 1 byte"),
            (0, 0, 1, "0 attachments, 0 unfinished uploads and 1 file{}, 1 byte"),
            (2, 3, 4, "2 attachments, 3 unfinished uploads and 4 files{}, 9 bytes"),
        ],
    )
    def test_last_line_counts(self, command, media, attachments, uploads, files, line):
        line = line.format(" without an attachment")
        for number in range(attachments):
            attach(f"{number}", b"x", age=timedelta(days=1))
        for _ in range(uploads):
            unfinished(b"x", age=timedelta(days=2))
        for number in range(files):
            put(media, f"{OLD}/{number}", b"x")

        foreseen = command("--older-than=0", "--dry-run")
        assert foreseen == (f"Would remove {line}.\n", "", None)
        assert command("--older-than=0") == (f"Removed {line}.\n", "", None)
        assert command("--older-than=0") == (NOTHING, "", None)

    @pytest.mark.django_db
    @pytest.mark.parametrize("language", ["en", "ru", "de"])
    @pytest.mark.parametrize(
        ("size", "text"),
        [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1.0 KB"),
            (16328998, "15.6 MB"),
            (5 * 1024**4, "5.0 TB"),
        ],
    )
    def test_sizes_are_for_people(self, command, settings, language, size, text):
        settings.LANGUAGE_CODE = language
        settings.USE_THOUSAND_SEPARATOR = True
        attach(size=size)

        with translation.override(language):
            stdout, _, _ = command("--older-than=0", "--verbose")
            assert translation.get_language() == language

        first, last = stdout.splitlines()
        assert first.startswith(f"delete spam.txt ({text}, uploaded ")
        assert last == (
            "Removed 1 attachment, 0 unfinished uploads and "
            f"0 files without an attachment, {text}."
        )

    def test_verbose_tells_all_that_goes(self, command, media):
        attach("Отчёт за год.pdf", created=CREATED, bundle="письмо 7")
        put(media, f"{OLD}/token")

        assert command("--older-than=0", "--verbose") == (
            "delete Отчёт за год.pdf (5 bytes, uploaded 2020-11-20, bundle письмо 7)\n"
            f"delete {OLD}/token (5 bytes, a file without an attachment)\n"
            "Removed 1 attachment, 0 unfinished uploads and "
            "1 file without an attachment, 10 bytes.\n",
            "",
            None,
        )

    @pytest.mark.parametrize("use_tz", [True, False])
    def test_day_is_that_of_the_sites_time_zone(self, settings, command, use_tz):
        settings.USE_TZ = use_tz
        # Five hours behind UTC.
        settings.TIME_ZONE = "America/Chicago"
        naive = datetime(2026, 3, 9, 23, 30)
        attach(created=timezone.make_aware(naive) if use_tz else naive)

        stdout, _, _ = command("--older-than=0", "--verbose", "--dry-run")

        assert stdout.startswith("would delete spam.txt (5 bytes, uploaded 2026-03-09,")

    def test_verbose_prints_one_line_an_attachment(self, command):
        attach(NASTY, created=CREATED, bundle=f"b\r{NASTY}")

        stdout, _, _ = command("--older-than=0", "--verbose")

        nasty = "two\\nlines\\x1b[31m\\u202e.txt"
        assert stdout == (
            f"delete {nasty} (5 bytes, uploaded 2020-11-20, bundle b\\r{nasty})\n"
            "Removed 1 attachment, 0 unfinished uploads and "
            "0 files without an attachment, 5 bytes.\n"
        )

    def test_dry_run_removes_nothing(self, command, media, stored):
        attach(created=CREATED)
        put(media, f"{OLD}/token")
        (media / "session_attachments/2020-01-01").mkdir()

        assert command(older_than=0, dry_run=True, verbose=True) == (
            "would delete spam.txt (5 bytes, uploaded 2020-11-20, bundle foo)\n"
            f"would delete {OLD}/token (5 bytes, a file without an attachment)\n"
            "Would remove 1 attachment, 0 unfinished uploads and "
            "1 file without an attachment, 10 bytes.\n",
            "",
            None,
        )
        assert Attachment.objects.exists()
        assert len(stored()) == 2
        assert (media / "session_attachments/2020-01-01").is_dir()

    def test_dry_run_says_what_is_protected(self, command):
        Contract.objects.create(attachment=attach("kept.txt", created=CREATED))
        attach("goes.txt", created=CREATED)

        assert command("--older-than=0", "--dry-run", "--verbose") == (
            "would delete goes.txt (5 bytes, uploaded 2020-11-20, bundle foo)\n"
            "Would remove 1 attachment, 0 unfinished uploads and "
            "0 files without an attachment, 5 bytes.\n",
            f"'kept.txt' {PROTECTED}",
            ("Not removed: 1.", 1),
        )

    def test_failures_are_reported_and_the_rest_goes(self, command, settings, media):
        Contract.objects.create(attachment=attach(NASTY, age=timedelta(days=1)))
        attach("gone.txt", age=timedelta(days=1))
        put(media, f"{OLD}/bad")
        put(media, f"{OLD}/good")
        store_in(settings, failing("delete", PermissionError("read only"), "/bad"))

        assert command("--older-than=0") == (
            "Removed 1 attachment, 0 unfinished uploads and "
            "1 file without an attachment, 10 bytes.\n",
            f"'two\\nlines\\x1b[31m\\u202e.txt' {PROTECTED}"
            f"The file '{OLD}/bad' could not be deleted: read only\n",
            ("Not removed: 2.", 1),
        )

    def test_failure_is_one_line(self, command, settings, media):
        put(media, f"{OLD}/bad")
        store_in(settings, failing("delete", OSError("first\nsecond"), "/bad"))

        _, stderr, _ = command("--older-than=0")

        assert stderr == (
            f"The file '{OLD}/bad' could not be deleted: first\\nsecond\n"
        )

    def test_without_tqdm_the_output_is_the_same(self, command, monkeypatch):
        monkeypatch.setitem(sys.modules, "tqdm", None)
        attach(age=timedelta(days=1))

        assert command("--older-than=0") == (
            "Removed 1 attachment, 0 unfinished uploads and "
            "0 files without an attachment, 5 bytes.\n",
            "",
            None,
        )


@pytest.mark.database
class TestProcess:
    def test_success_exits_0(self, process, media, stored):
        attach("old.txt", created=CREATED)
        young = attach("young.txt", age=timedelta(days=2))
        put(media, f"{OLD}/token")

        done = process("--older-than=3", "--verbose")

        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == (
            "delete old.txt (5 bytes, uploaded 2020-11-20, bundle foo)\n"
            f"delete {OLD}/token (5 bytes, a file without an attachment)\n"
            "Removed 1 attachment, 0 unfinished uploads and "
            "1 file without an attachment, 10 bytes.\n"
        )
        assert stored() == [young.file.name]

    def test_missing_option_exits_1(self, process, stored):
        attach(age=timedelta(days=4))

        done = process()

        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"CommandError: {MISSING}\n"
        assert len(stored()) == 1

    def test_failure_exits_1(self, process, stored):
        kept = attach("kept.txt", age=timedelta(days=4))
        attach("gone.txt", age=timedelta(days=4))
        Contract.objects.create(attachment=kept)

        done = process("--older-than=3")

        assert (done.returncode, done.stdout, done.stderr) == (
            1,
            "Removed 1 attachment, 0 unfinished uploads and "
            "0 files without an attachment, 5 bytes.\n",
            f"'kept.txt' {PROTECTED}CommandError: Not removed: 1.\n",
        )
        assert stored() == [kept.file.name]

    @pytest.mark.parametrize("arguments", [["--older-than=-1"], ["--older-than", "-1"]])
    def test_impossible_age_exits_2(self, process, stored, arguments):
        attach(age=timedelta(days=4))

        done = process(*arguments)

        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"CommandError: {IMPOSSIBLE.format(repr('-1'))}\n"
        assert len(stored()) == 1

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["3"], "unrecognized arguments: 3"),
            (["--older-than=3", "4"], "unrecognized arguments: 4"),
            (["--older-than"], "argument --older-than: expected one argument"),
        ],
        ids=str,
    )
    def test_arguments_it_does_not_know_exit_2(
        self, process, stored, arguments, message
    ):
        attach(age=timedelta(days=4))

        done = process(*arguments)

        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.endswith(f" remove_outdated_attachments: error: {message}\n")
        assert len(stored()) == 1

    @pytest.mark.fault(17)
    def test_any_name_goes_into_an_ascii_pipe(self, process, stored):
        attach("Отчёт\n\x1b[31m.pdf", created=CREATED, bundle="Ё")
        Contract.objects.create(attachment=attach("Счёт", age=timedelta(days=4)))

        done = process(
            "--older-than=3", "--verbose", PYTHONIOENCODING="ascii", LC_ALL="C"
        )

        assert (done.returncode, done.stdout, done.stderr) == (
            1,
            "delete \\u041e\\u0442\\u0447\\u0451\\u0442\\n\\x1b[31m.pdf "
            "(5 bytes, uploaded 2020-11-20, bundle \\u0401)\n"
            "Removed 1 attachment, 0 unfinished uploads and "
            "0 files without an attachment, 5 bytes.\n",
            f"'\\u0421\\u0447\\u0451\\u0442' {PROTECTED}"
            "CommandError: Not removed: 1.\n",
        )
        assert len(stored()) == 1


def has_terminals():
    """Whether this machine, or container, lets one be opened."""
    command = [sys.executable, "-c", "import os; os.openpty()"]
    return not subprocess.run(command, capture_output=True).returncode


@pytest.mark.skipif("not has_terminals()", reason="needs a pseudo-terminal")
class TestProgress:
    def test_progress_is_shown_on_a_terminal(self, process, terminal):
        pytest.importorskip("tqdm", reason="needs tqdm")
        writer, shown = terminal
        attach(age=timedelta(days=4))

        done = process("--older-than=3", stderr=writer)

        assert done.returncode == 0
        assert done.stdout.startswith("Removed 1 attachment, ")
        assert "0 files [00:00" in shown()

    def test_names_are_shown_instead_of_progress(self, process, terminal):
        writer, shown = terminal
        attach(age=timedelta(days=4))

        done = process("--older-than=3", "--verbose", stderr=writer)

        assert done.stdout.startswith("delete spam.txt (5 bytes, ")
        assert shown() == ""
