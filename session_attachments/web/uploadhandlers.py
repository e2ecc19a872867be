"""The handlers that read a form, and what they know of its files.

UploadReader stands before the project's own upload handlers. It parses the form itself,
from a stream that is counted, with UploadLimits as the first handler.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, SkipFile, StopUpload
from django.http import HttpRequest, QueryDict
from django.http.multipartparser import MultiPartParser
from django.utils.datastructures import MultiValueDict

from ..exceptions import AttachmentError, BadName, IncompleteUpload
from ..limits import MAX_NAME, check_name, check_size, check_totals
from .bodies import Body, discard
from .parsers import check_charset, parser_class
from .pieces import refuse_piece

Files = list["UploadedFile[bytes]"]
FilesByField = MultiValueDict[str, "UploadedFile[bytes]"]


@dataclass
class Reading:
    """What is known of the files of a form while it is being read.

    The parser notes ``full_name``, the last name before Django cuts it, how many names
    it has ``seen``, and which of them it has ``dropped``. ``name`` is the last one as
    it is kept, ``sizes`` are those of all, in bytes. ``received`` are the fields and
    names of the files that the handlers made; ``under_way`` is whether there is one of
    which they have neither made a file nor skipped it. ``error`` refused the upload.
    """

    full_name: str = ""
    seen: int = 0
    dropped: list[str] = field(default_factory=list)
    name: str = ""
    sizes: dict[str, int] = field(default_factory=dict)
    received: list[tuple[str, str]] = field(default_factory=list)
    under_way: bool = False
    error: AttachmentError | None = None

    def complete(self, field_name: str, size: int) -> None:
        """Note that the last file has come whole."""
        self.under_way = False
        self.sizes[self.name] = size
        self.received.append((field_name, self.name))

    def forget(self) -> None:
        """Forget the last file, of which no handler has made one."""
        self.sizes.pop(self.name, None)
        self.received.pop()

    def is_stopped(self, files: FilesByField) -> bool:
        """Whether a handler of the project's has stopped the upload before its end.

        Django hands on what came until then, some of it closed.
        """
        made = sum(len(field) for _, field in files.lists())
        return self.under_way or made < len(self.received)

    def in_order(self, files: FilesByField) -> Iterator[UploadedFile[bytes]]:
        """Yield ``files``, which are grouped by field, as they were received."""
        fields = {field: iter(uploaded) for field, uploaded in files.lists()}
        for field_name, name in self.received:
            file = next(fields[field_name])
            file.name = name
            yield file


class UploadReader(FileUploadHandler):
    """Parses the form for all ``handlers``, and knows whether it came whole.

    ``files`` are the uploaded files in the order of the body, ``error`` is why there
    are none.
    """

    def __init__(
        self, request: HttpRequest, handlers: Iterable[FileUploadHandler]
    ) -> None:
        super().__init__(request)
        self.reading = Reading()
        # Since Django 6.1 a project may choose its own.
        self.parser_class = parser_class(
            getattr(request, "multipart_parser_class", MultiPartParser)
        )
        self.handlers = [
            UploadLimits(self.reading),
            *handlers,
            Unclaimed(self.reading),
        ]
        self.files: Files = []
        self.error: BaseException | None = None

    def handle_raw_input(
        self,
        input_data: Any,
        META: dict[str, Any],  # noqa: N803 - Django's name
        content_length: int,
        boundary: bytes,  # type: ignore[override]
        encoding: str | None = None,
    ) -> tuple[QueryDict, FilesByField]:
        """Return fields and files; raises what refuses them, with nothing left open."""
        body = Body(input_data, boundary)
        parser = self.parser_class(
            META,
            body,  # type: ignore[arg-type]
            self.handlers,
            encoding,
        )
        parser.names = self.reading
        files: FilesByField = MultiValueDict()
        try:
            check_charset(encoding)
            fields, files = parser.parse()
            if self.reading.error is not None:
                raise self.reading.error
            if self.reading.is_stopped(files) or not body.is_complete(content_length):
                raise IncompleteUpload
            self._refuse_skipped(body, fields)
            refuse_piece(fields)
        except BaseException as error:
            self.error = error
            self._close(files)
            raise
        self.files = list(self.reading.in_order(files))
        return fields, files

    def _refuse_skipped(self, body: Body, fields: QueryDict) -> None:
        """Raise if Django has skipped a part: beside others it would go unnoticed."""
        if self.reading.dropped:
            raise BadName(name=self.reading.dropped[0][:MAX_NAME])
        # It also skips what has a header that it does not understand.
        if body.parts > self.reading.seen + sum(len(v) for _, v in fields.lists()):
            raise body.skipped

    def _close(self, files: FilesByField) -> None:
        """Close, and so delete, what was received, the file under way included."""
        received = [file for _, field in files.lists() for file in field]
        received += [h.file for h in self.handlers if hasattr(h, "file")]
        for file in received:
            discard(file)


class UploadLimits(FileUploadHandler):
    """Refuses names and sizes as soon as they are known; keeps no data itself."""

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        self.reading = reading

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Check the name, before Django cuts it, and the number of files."""
        super().new_file(*args, **kwargs)
        self.reading.under_way = True
        if not self.field_name:
            # Django would drop the file without a word.
            self._refuse(IncompleteUpload())
        try:
            self.reading.name = check_name(self.reading.full_name)
        except AttachmentError as error:
            self._refuse(error)
        self._grow_to(0)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        """Check the sizes, and hand the data on."""
        self._grow_to(start + len(raw_data))
        return raw_data

    def file_complete(self, file_size: int) -> None:
        """Remember the order; the next handlers make the file."""
        self.reading.complete(str(self.field_name), file_size)

    def upload_interrupted(self) -> None:
        """Note that the last file was skipped."""
        self.reading.under_way = False

    def _grow_to(self, size: int) -> None:
        sizes, name = self.reading.sizes, self.reading.name
        # A file replaces an earlier one of its name.
        files = len(sizes) + (name not in sizes)
        total = sum(sizes.values()) - sizes.get(name, 0) + size
        try:
            check_size(size, name)
            check_totals(files, total, total)
        except AttachmentError as error:
            self._refuse(error)

    def _refuse(self, error: AttachmentError) -> NoReturn:
        self.reading.error = error
        raise StopUpload(connection_reset=True)


class Unclaimed(FileUploadHandler):
    """Comes last: hears of files that a handler of the project's keeps to itself."""

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        self.reading = reading

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Discard the data: the handlers before this one kept it."""

    def file_complete(self, file_size: int) -> None:
        """Note that no handler has made a file."""
        self.reading.forget()


class FieldReader(FileUploadHandler):
    """Parses the form for its fields, and skips its files."""

    def handle_raw_input(
        self,
        input_data: Any,
        META: dict[str, Any],  # noqa: N803 - Django's name
        content_length: int,
        boundary: bytes,  # type: ignore[override]
        encoding: str | None = None,
    ) -> tuple[QueryDict, FilesByField]:
        """Return the fields, and no files; raises what refuses them."""
        check_charset(encoding)
        body: Any = Body(input_data, boundary)
        skip = [SkipFiles(self.request)]
        return MultiPartParser(META, body, skip, encoding).parse()


class SkipFiles(FileUploadHandler):
    """Skips every file: nothing of it is kept."""

    def new_file(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Skip it."""
        raise SkipFile

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Never called, but required."""

    def file_complete(self, file_size: int) -> None:
        """Never called, but required."""
