"""What django-storages' S3 storage can do beyond Django's Storage API.

Where it is not in use, nothing of it is imported. The requests are the Amazon S3 API's:
GetObject with its Range, CopyObject, DeleteObjects.
"""

import posixpath
import sys
from collections.abc import Iterator
from http import HTTPStatus
from io import SEEK_SET, RawIOBase
from typing import Any

# As many as DeleteObjects takes.
BATCH = 1000

# What reading takes of a project's object parameters, which are those of uploads.
READ_PARAMETERS = {
    "ExpectedBucketOwner",
    "RequestPayer",
    "SSECustomerAlgorithm",
    "SSECustomerKey",
    "SSECustomerKeyMD5",
}


def is_object(file: Any) -> bool:
    """Whether ``file`` is an object of S3."""
    return isinstance(file, _class("S3File"))


def is_compressed(file: Any) -> bool:
    """Whether ``file`` is an object that the storage compresses and decompresses."""
    return is_object(file) and file.obj.content_encoding is not None


def is_missing(error: Exception) -> bool:
    """Whether S3 says by ``error`` that there is no such object."""
    return _status(error) == HTTPStatus.NOT_FOUND


def is_refused(error: Exception) -> bool:
    """Whether a server like S3 says by ``error`` that it knows no such request.

    DeleteObjects is what such servers lack, or its newest checksums.
    """
    return _status(error) in {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.NOT_IMPLEMENTED,
    }


def open_part(file: Any, storage: Any, part: range, size: int) -> Any:
    """Ask S3 for this part of an object; return what reads it from the connection.

    boto3 forgets the ``size`` of the whole with each request.
    """
    parameters = {
        name: value
        for name, value in storage.get_object_parameters(file.name).items()
        if name in READ_PARAMETERS
    }
    if len(part) < size:
        parameters["Range"] = f"bytes={part.start}-{part.stop - 1}"
    return file.obj.get(**parameters)["Body"]


class Reader(RawIOBase):
    """An object, read from the connection; S3File would take it into memory whole."""

    def __init__(self, file: Any, storage: Any) -> None:
        self._file, self._storage = file, storage
        self._size = file.size
        self._body: Any = None
        self._position = 0

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def seekable(self) -> bool:
        """Return that any part can be asked for."""
        return True

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Go there, and ask S3 from there on when it is read."""
        position = (0, self._position, self._size)[whence] + offset
        if position != self._position:
            self._hang_up()
            self._position = position
        return position

    def readinto(self, buffer: Any) -> int:
        """Read what fits into ``buffer``; return how many bytes."""
        left = range(self._position, self._size)
        if self._body is None and left:
            self._body = open_part(self._file, self._storage, left, self._size)
        block = self._body.read(len(buffer)) if left else b""
        buffer[: len(block)] = block
        self._position += len(block)
        return len(block)

    def close(self) -> None:
        """Close the object and its connection."""
        self._hang_up()
        self._file.close()
        super().close()

    def _hang_up(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None


def storage_class() -> Any:
    """Return django-storages' class, or what nothing is an instance of."""
    return _class("S3Storage")


def can_copy(file: Any, source: Any, target: Any) -> bool:
    """Whether S3 is the same, and the object as it is fits into ``target``."""
    return (
        source.endpoint_url == target.endpoint_url
        and not is_compressed(file)
        and not target.gzip
    )


def copy(stored: Any, target: Any, name: str, mimetype: str) -> None:
    """Let S3 copy an open object to this name in ``target``.

    No byte of it comes here, however large it is. Whatever S3 raises is passed on.
    """
    parameters = {"ContentType": mimetype, **target.get_object_parameters(name)}
    if target.default_acl:
        parameters.setdefault("ACL", target.default_acl)
    target.bucket.Object(posixpath.join(target.location, name)).copy(
        {"Bucket": stored.file.obj.bucket_name, "Key": stored.file.obj.key},
        ExtraArgs={"MetadataDirective": "REPLACE", **parameters},
        SourceClient=stored.storage.connection.meta.client,
        Config=target.transfer_config,
    )


def can_delete_many(storage: Any) -> bool:
    """Whether delete_many() works for ``storage``."""
    return isinstance(storage, storage_class())


def delete_many(storage: Any, names: list[str]) -> Iterator[tuple[str, Exception]]:
    """Delete up to BATCH stored files in one request; yield those that stay, and why.

    ``names`` are of plain words and slashes: they are not looked at.
    """
    keys = {posixpath.join(storage.location, name): name for name in names}
    objects = [{"Key": key} for key in keys]
    answer = storage.bucket.delete_objects(Delete={"Objects": objects, "Quiet": True})
    for error in answer.get("Errors", []):
        yield keys[error["Key"]], OSError(f"{error['Code']}: {error['Message']}")


def _class(name: str) -> Any:
    """Return django-storages' class, or what nothing is an instance of."""
    return getattr(sys.modules.get("storages.backends.s3"), name, ())


def _status(error: Exception) -> int | None:
    """Return the status of the answer that boto3 has raised as ``error``."""
    response = getattr(error, "response", None)
    metadata = response.get("ResponseMetadata") if isinstance(response, dict) else None
    return metadata.get("HTTPStatusCode") if isinstance(metadata, dict) else None
