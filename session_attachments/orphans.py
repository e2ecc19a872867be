"""Old files of no attachment or upload, which a kill or a failed deletion leaves."""

import re
from collections.abc import Callable, Container, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice

from .files import storage
from .models import AttachmentQuerySet, Piece
from .removal import BATCH

# 0.2 stored under session_attachments/<digest>/<digest>/<name>.
DIGEST = re.compile("[0-9a-f]{32}")

# What stands in a file's name for bytes that are not text (PEP 383).
UNDECODED = re.compile("[\ud800-\udfff]")


class Orphans:
    """The stored files to which none of ``rows`` refers, but for those in ``spared``.

    ``fail`` is called with a sentence on each that could not be looked at or removed.
    """

    def __init__(
        self,
        rows: AttachmentQuerySet,
        spared: Container[str],
        fail: Callable[[str], object],
    ) -> None:
        self.rows = rows
        self.spared = spared
        self.fail = fail
        self.storage = storage.attachment_storage()
        self.folders: list[str] = []

    def remove(self, limit: datetime, dry_run: bool) -> Iterator[tuple[str, int]]:
        """Remove those that lie there since before ``limit``; with ``dry_run`` none.

        Yield the stored name and the size, in bytes, of each that went or would go.
        """
        names = self._old_files(limit)
        while batch := list(islice(names, BATCH)):
            referred = self._referred(batch)
            orphans = [n for n in batch if n not in referred and n not in self.spared]
            yield from self._remove_batch(orphans, dry_run)
        if not dry_run:
            for folder in reversed(self.folders):
                self._remove_empty(folder)

    def _referred(self, names: list[str]) -> set[str]:
        pieces = Piece.objects.using(self.rows.db)
        return {
            str(name)
            for rows in (pieces, self.rows)
            for name in rows.filter(file__in=names).values_list("file", flat=True)
        }

    def _remove_batch(
        self, names: list[str], dry_run: bool
    ) -> Iterator[tuple[str, int]]:
        sizes = {name: size for name in names if (size := self._size(name)) is not None}
        failures = {} if dry_run else storage.delete_many([*sizes])
        for name, size in sizes.items():
            if name in failures:
                self.fail(f"The file {name!r} could not be deleted: {failures[name]}")
            else:
                yield name, size

    def _size(self, name: str) -> int | None:
        try:
            return self.storage.size(name)
        except FileNotFoundError:
            # Another run was faster.
            return None
        except Exception as error:
            self.fail(f"The file {name!r} could not be read: {error}")
            return None

    def _remove_empty(self, folder: str) -> None:
        try:
            if not any(self.storage.listdir(folder)):
                self.storage.delete(folder)
        except Exception:
            # In the meantime gone or in use, or a storage that does not remove folders.
            return

    def _old_files(self, limit: datetime) -> Iterator[str]:
        for folder in self._list(storage.FOLDER)[0]:
            path = f"{storage.FOLDER}/{folder}"
            if DIGEST.fullmatch(folder):
                yield from self._old_files_of_02(path, limit)
            elif (day := _day(folder)) and limit - day >= timedelta(days=1):
                yield from self._files(path)

    def _old_files_of_02(self, path: str, limit: datetime) -> Iterator[str]:
        self.folders.append(path)
        for folder in filter(DIGEST.fullmatch, self._list(path)[0]):
            for name in self._files(f"{path}/{folder}"):
                try:
                    modified = self.storage.get_modified_time(name)
                except FileNotFoundError:
                    continue
                except Exception as error:
                    self.fail(f"The file {name!r} could not be read: {error}")
                    continue
                if modified.astimezone(UTC) < limit:
                    yield name

    def _files(self, path: str) -> Iterator[str]:
        self.folders.append(path)
        for file in self._list(path)[1]:
            name = f"{path}/{file}"
            if UNDECODED.search(name):
                # No database can be asked for it. A wrong locale is one reason.
                self.fail(f"The name of the file {name!r} could not be decoded.")
            else:
                yield name

    def _list(self, path: str) -> tuple[list[str], list[str]]:
        try:
            return self.storage.listdir(path)
        except (FileNotFoundError, NotImplementedError):
            return [], []
        except Exception as error:
            self.fail(f"The folder {path!r} could not be read: {error}")
            return [], []


def _day(folder: str) -> datetime | None:
    """Return the beginning of the day that a folder of uploads is named for."""
    try:
        day = date.fromisoformat(folder)
    except ValueError:
        return None
    if day.isoformat() != folder:
        return None
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
