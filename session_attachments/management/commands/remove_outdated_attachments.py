"""Remove outdated attachments, and old files to which no attachment refers."""

from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.translation import override

from ...models import cutoff
from ...outdated import Gone, Outcome, Report, no_report, remove_outdated


class Command(BaseCommand):
    """Parse, call ``remove_outdated``, report."""

    help = "Remove attachments that were uploaded more than N days ago."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument(
            "--older-than",
            metavar="N",
            help="days, 0 or more, fractions allowed",
        )
        parser.add_argument(
            "--verbose", action="store_true", help="print all that goes"
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="only say what would go"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Remove; raise CommandError if something could not be removed."""
        if options["older_than"] is None:
            raise CommandError("The option --older-than=N is required.")
        try:
            older_than = _days(options["older_than"])
        except (ValueError, OverflowError) as error:
            raise CommandError(
                f"--older-than must be a number of days, 0 or more, that does "
                f"not leave the calendar, not {options['older_than']!r}.",
                returncode=2,
            ) from error
        verb = "would delete" if options["dry_run"] else "delete"
        with self._progress(verb if options["verbose"] else None) as report:
            outcome = remove_outdated(older_than, options["dry_run"], report)
        for failure in outcome.failures:
            self.stderr.write(self._printable(failure))
        self.stdout.write(_summary(outcome, options["dry_run"]))
        if outcome.failures:
            raise CommandError(f"Not removed: {len(outcome.failures)}.")

    @contextmanager
    def _progress(self, verb: str | None) -> Iterator[Report]:
        """Hand out what to call for all that goes: it prints, or moves a progress bar.

        A line begins with ``verb``.
        """
        if verb:
            yield lambda gone: self.stdout.write(
                self._printable(f"{verb} {gone.name} ({_details(gone)})")
            )
            return
        try:
            from tqdm import tqdm
        except ImportError:
            yield no_report
            return
        # disable=None: only on a terminal.
        with tqdm(unit=" files", disable=None, leave=False) as bar:
            yield lambda gone: bar.update()

    def _printable(self, text: str) -> str:
        """Return ``text`` as it can be printed on one line of any terminal or pipe."""
        line = "".join(
            char if char.isprintable() else ascii(char)[1:-1] for char in text
        )
        encoding = getattr(self.stdout, "encoding", None) or "utf-8"
        return line.encode(encoding, "backslashreplace").decode(encoding)


def _days(value: object) -> timedelta:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(value)
    days = timedelta(days=float(value))
    cutoff(days)
    return days


def _details(gone: Gone) -> str:
    """Return what tells ``gone`` from another one of its name."""
    size = _size(gone.size)
    if (created := gone.created) is None:
        kind = "an unfinished upload" if gone.bundle else "a file without an attachment"
        return f"{size}, {kind}"
    if timezone.is_aware(created):
        created = timezone.localtime(created)
    return f"{size}, uploaded {created.date()}, bundle {gone.bundle}"


def _size(size: int) -> str:
    # In English, as all that the command says, and in ASCII.
    with override(None):
        return filesizeformat(size).replace("\xa0", " ")


def _summary(outcome: Outcome, dry_run: bool) -> str:
    return (
        f"{'Would remove' if dry_run else 'Removed'} "
        f"{_count(outcome.attachments, 'attachment')}, "
        f"{_count(outcome.uploads, 'unfinished upload')} and "
        f"{_count(outcome.files, 'file')} without an attachment, "
        f"{_size(outcome.size)}."
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
