"""How each project is spoken to: the floor and the app alike, and four peers."""

from base64 import b64encode
from pathlib import Path

import tests
from tests.benchmarks.client import part
from tests.npm import NODE

# What django-file-form's script sends at once.
FILE_FORM_CHUNK = 5 * 512 * 1024
PIECE = 8 * 1024 * 1024
# The peer that is no Django project.
TUS_SERVER = "tus-node-server"
TUS_PACKAGE = Path(tests.__file__).with_name("node_modules") / "@tus" / "server"


class Attachments:
    """The app; and the floor, which has the same URLs."""

    @staticmethod
    def upload(connection, name, *content, bundle="foo"):
        """Upload one file, whose content is in blocks."""
        connection.post_form(f"/attachments/{bundle}/", part(name, *content))

    @staticmethod
    def put(connection, name, *content, bundle="foo"):
        """Upload one new file without a form; the floor has no such URL."""
        connection.request("PUT", f"/attachments/{bundle}/{name}", *content, status=201)

    @staticmethod
    def whole(connection, name, *content, bundle="foo"):
        """Upload one file by tus, announced and then sent at once."""
        url, metadata = f"/attachments/{bundle}/", {"filename": name}
        resume(connection, url, metadata, content, sum(map(len, content)))

    @staticmethod
    def pieces(connection, name, *content, bundle="foo"):
        """Upload one file by tus, in pieces as the README advises."""
        url, metadata = f"/attachments/{bundle}/", {"filename": name}
        resume(connection, url, metadata, content, PIECE)

    @staticmethod
    def download(connection, name, bundle="foo"):
        """Download one file."""
        return connection.request("GET", f"/attachments/{bundle}/{name}/")


class FilePond:
    """django-drf-filepond: temporary uploads, one a request."""

    @staticmethod
    def upload(connection, name, *content, bundle=""):
        """Upload one file; there are no bundles."""
        connection.post_form(
            "/filepond/process/", part(name, *content, field="filepond")
        )


class FileForm:
    """django-file-form: temporary uploads by tus, two requests or more a file."""

    @staticmethod
    def upload(connection, name, *content, bundle=""):
        """Announce one file, then send it in chunks; there are no bundles."""
        metadata = {"filename": name, "fieldName": "file", "formId": "form"}
        resume(connection, "/form/upload/", metadata, content, FILE_FORM_CHUNK)


class TusServer:
    """@tus/server with its store of files, in Node: uploads by tus, no database."""

    @staticmethod
    def whole(connection, name, *content, bundle=""):
        """Upload one file, announced and then sent at once; there are no bundles."""
        resume(
            connection, "/files", {"filename": name}, content, sum(map(len, content))
        )

    @staticmethod
    def pieces(connection, name, *content, bundle=""):
        """Upload one file in pieces; there are no bundles."""
        resume(connection, "/files", {"filename": name}, content, PIECE)


class PrivateStorage:
    """django-private-storage: downloads of what is stored already."""

    @staticmethod
    def download(connection, name, bundle=""):
        """Download one file; there are no bundles."""
        return connection.request("GET", f"/private/{name}")


def resume(connection, url, metadata, content, size):
    """Announce one file by tus, then send it in chunks of ``size`` bytes."""
    url = announce(connection, url, metadata, content)
    offset = 0
    for chunk in chunks(content, size):
        offset = patch(connection, url, offset, chunk)


def announce(connection, url, metadata, content):
    """Announce one file by tus; return the URL of its upload."""
    pairs = [f"{k} {b64encode(v.encode()).decode()}" for k, v in metadata.items()]
    announced = connection.request(
        "POST",
        url,
        b"",
        status=201,
        Tus_Resumable="1.0.0",
        Upload_Length=sum(map(len, content)),
        Upload_Metadata=",".join(pairs),
    )
    return announced.headers["location"]


def patch(connection, url, offset, chunk):
    """Send a chunk of a file by tus; return the offset of the next one."""
    connection.request(
        "PATCH",
        url,
        *chunk,
        status=204,
        Tus_Resumable="1.0.0",
        Upload_Offset=offset,
        Content_Type="application/offset+octet-stream",
    )
    return offset + sum(map(len, chunk))


def chunks(blocks, size):
    """Yield lists of ``blocks``, cut so that each has ``size`` bytes together."""
    chunk, room = [], size
    for block in map(memoryview, blocks):
        while block:
            head, block = block[:room], block[room:]
            chunk.append(head)
            room -= len(head)
            if not room:
                yield chunk
                chunk, room = [], size
    if chunk:
        yield chunk


DIALECTS = {
    "floor": Attachments,
    "app": Attachments,
    "drf-filepond": FilePond,
    "file-form": FileForm,
    TUS_SERVER: TusServer,
    "private-storage": PrivateStorage,
}
UPLOADING = ["floor", "app", "drf-filepond", "file-form"]
DOWNLOADING = ["floor", "app", "private-storage"]
OURS = ["floor", "app"]
RESUMING = [*OURS, TUS_SERVER] if NODE and TUS_PACKAGE.exists() else OURS
