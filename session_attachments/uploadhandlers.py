"""Limits that hold while the body of an upload is being read.

``install()`` puts UploadReader before the host's own upload handlers. It parses the
form itself, from a stream that is counted, with UploadLimits as the first handler.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, NoReturn

from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, SkipFile, StopUpload
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, QueryDict
from django.http.multipartparser import MultiPartParser
from django.utils.datastructures import MultiValueDict

from .bodies import Body, drain
from .exceptions import AttachmentError, BadName, IncompleteUpload, LengthRequired
from .limits import MAX_NAME, check_name, check_size, check_totals
from .parsers import check_charset, parser_class
from .pieces import refuse_partial, refuse_piece

Files = list["UploadedFile[bytes]"]
FilesByField = MultiValueDict[str, "UploadedFile[bytes]"]


def install(request: HttpRequest) -> None:
    """Let the limits hold for the form in ``request``, which is not yet read.

    Raises LengthRequired for a body that Django would not read, ChunkedUpload for a
    part of one. Where a middleware of the host's has read the form already, the limits
    hold after that only.
    """
    refuse_partial(request)
    if not request.META.get("CONTENT_LENGTH"):
        stream = request._stream
        if isinstance(request, WSGIRequest):
            if "HTTP_TRANSFER_ENCODING" in request.META:
                # Else nobody knows where the body ends, and reading it may block.
                if request.META.get("wsgi.input_terminated"):
                    drain(request.META["wsgi.input"])
                raise LengthRequired
        elif stream.seekable():
            # Under ASGI the whole body is here, but Django takes it for empty.
            request.META["CONTENT_LENGTH"] = str(stream.seek(0, os.SEEK_END))
            stream.seek(0)
    with suppress(AttributeError):
        request.upload_handlers = [UploadReader(request, request.upload_handlers)]


def skip_files(request: HttpRequest) -> None:
    """Let no file of the form in ``request``, which is not yet read, be kept.

    For what looks into a form for its CSRF token only.
    """
    with suppress(AttributeError):
        request.upload_handlers = [FieldReader(request)]


def uploaded_files(request: HttpRequest) -> Files:
    """Return the files of the form, in the order of the body, whatever their fields.

    Raises the AttachmentError that says what is refused, or what Django raises of a
    form that it does not take.
    """
    files = request.FILES
    for handler in request.upload_handlers:
        if isinstance(handler, UploadReader):
            if handler.error is not None:
                # CsrfViewMiddleware keeps to itself that the client went away.
                raise handler.error
            return handler.files
    refuse_piece(request.POST)
    return [file for _, field in files.lists() for file in field]


class UploadReader(FileUploadHandler):
    """Parses the form for all ``handlers``, and knows whether it came whole.

    ``files`` are the uploaded files in the order of the body, ``error`` is why there
    are none.
    """

    def __init__(
        self, request: HttpRequest, handlers: Iterable[FileUploadHandler]
    ) -> None:
        super().__init__(request)
        self.limits = UploadLimits(request)
        # Since Django 6.1 a host may choose its own.
        self.parser_class = parser_class(
            getattr(request, "multipart_parser_class", MultiPartParser)
        )
        self.handlers = [self.limits, *handlers, Unclaimed(self.limits)]
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
        parser.names = self.limits
        files: FilesByField = MultiValueDict()
        try:
            check_charset(encoding)
            fields, files = parser.parse()
            if self.limits.error is not None:
                raise self.limits.error
            if self.limits.stopped(files) or not body.is_complete(content_length):
                raise IncompleteUpload
            self._refuse_skipped(body, fields)
            refuse_piece(fields)
        except BaseException as error:
            self.error = error
            self._close(files)
            raise
        self.files = list(self.limits.in_order(files))
        return fields, files

    def _refuse_skipped(self, body: Body, fields: QueryDict) -> None:
        """Raise if Django has skipped a part: beside others it would go unnoticed."""
        if self.limits.dropped:
            raise BadName(name=self.limits.dropped[0][:MAX_NAME])
        # It also skips what has a header that it does not understand.
        if body.parts > self.limits.seen + sum(len(v) for _, v in fields.lists()):
            raise body.skipped

    def _close(self, files: FilesByField) -> None:
        """Close, and so delete, what was received, the file under way included."""
        received = [file for _, field in files.lists() for file in field]
        received += [h.file for h in self.handlers if hasattr(h, "file")]
        for file in received:
            # Closing writes what is still in memory, perhaps to a disk that is full.
            with suppress(OSError):
                file.close()


class UploadLimits(FileUploadHandler):
    """Refuses names and sizes as soon as they are known; keeps no data itself.

    ``error`` is what refused the upload, ``received`` are the fields and names of the
    files that the next handlers made, ``under_way`` is whether there is one of which
    they have neither made a file nor skipped it. The parser tells ``full_name``, the
    last name, how many it has ``seen``, and which of them it has ``dropped``.
    """

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request)
        self.error: AttachmentError | None = None
        self.full_name = self.name = ""
        self.seen = 0
        self.dropped: list[str] = []
        self.sizes: dict[str, int] = {}
        self.received: list[tuple[str, str]] = []
        self.under_way = False

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Check the name, before Django cuts it, and the number of files."""
        super().new_file(*args, **kwargs)
        self.under_way = True
        if not self.field_name:
            # Django would drop the file without a word.
            self._refuse(IncompleteUpload())
        try:
            self.name = check_name(self.full_name)
        except AttachmentError as error:
            self._refuse(error)
        self._grow_to(0)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        """Check the sizes, and hand the data on."""
        self._grow_to(start + len(raw_data))
        return raw_data

    def file_complete(self, file_size: int) -> None:
        """Remember the order; the next handlers make the file."""
        self.under_way = False
        self.sizes[self.name] = file_size
        self.received.append((str(self.field_name), self.name))

    def unclaimed(self) -> None:
        """Forget the last file, of which no handler has made one."""
        self.sizes.pop(self.name, None)
        self.received.pop()

    def upload_interrupted(self) -> None:
        """Note that the last file was skipped."""
        self.under_way = False

    def stopped(self, files: FilesByField) -> bool:
        """Whether a handler of the host's has stopped the upload before its end.

        Django hands on what came until then, some of it closed.
        """
        made = sum(len(field) for _, field in files.lists())
        return self.under_way or made < len(self.received)

    def in_order(self, files: FilesByField) -> Iterator[UploadedFile[bytes]]:
        """Yield ``files``, which are grouped by field, as they were received."""
        fields = {field: iter(uploaded) for field, uploaded in files.lists()}
        for field, name in self.received:
            file = next(fields[field])
            file.name = name
            yield file

    def _grow_to(self, size: int) -> None:
        # A file replaces an earlier one of its name.
        files = len(self.sizes) + (self.name not in self.sizes)
        total = sum(self.sizes.values()) - self.sizes.get(self.name, 0) + size
        try:
            check_size(size, self.name)
            check_totals(files, total, total)
        except AttachmentError as error:
            self._refuse(error)

    def _refuse(self, error: AttachmentError) -> NoReturn:
        self.error = error
        raise StopUpload(connection_reset=True)


class Unclaimed(FileUploadHandler):
    """Comes last: hears of the files that a handler of the host's keeps to itself."""

    def __init__(self, limits: UploadLimits) -> None:
        super().__init__(limits.request)
        self.limits = limits

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Let it go."""

    def file_complete(self, file_size: int) -> None:
        """Note that no handler has made a file."""
        self.limits.unclaimed()


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
