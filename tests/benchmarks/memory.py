"""What one large file costs a server's worker: memory, and bytes written.

    python -m tests.benchmarks.memory [megabytes of the file]

Both are read from Linux' /proc.
"""

import hashlib
import sys
import tempfile
from contextlib import contextmanager, redirect_stdout
from http.client import HTTPResponse
from pathlib import Path

from session_attachments.conf import MEGABYTE
from tests.clients import MULTIPART, URL, form, part
from tests.servers import Answer, Client, metered, running

# What a worker may take: how much more memory, and how many bytes it may write per
# byte uploaded. Under ASGI Django writes the body to a file, before any view reads it.
MEMORY = 16 * MEGABYTE
WRITTEN = {"gunicorn": 1.02, "uvicorn": 2.04}
SETTINGS = {"SESSION_ATTACHMENTS_MAX_FILE_SIZE": None}


def blocks(start, stop):
    """Yield these megabytes of a large file, each unlike the others."""
    for number in range(start, stop):
        yield number.to_bytes(8) * (MEGABYTE // 8)


def digest(start, stop):
    """Return the digest of these megabytes of a large file."""
    sum_ = hashlib.sha256()
    for block in blocks(start, stop):
        sum_.update(block)
    return sum_.hexdigest()


def upload(client, megabytes, name="large.bin"):
    """Upload a large file, which is never whole in memory."""
    start, end = form(part(b"\0", name)).split(b"\0")
    length = len(start) + megabytes * MEGABYTE + len(end)
    headers = {"Content_Type": MULTIPART, "Content_Length": length}
    with client.connect() as connection:
        client.send(connection, "POST", URL, start, **headers)
        for block in blocks(0, megabytes):
            connection.sendall(block)
        connection.sendall(end)
        answer = Answer.read(connection, "POST")
    assert answer.status == 200, answer


def put(client, megabytes, name="put.bin"):
    """PUT a large file, which is never whole in memory."""
    headers = {"Content_Type": "text/plain", "Content_Length": megabytes * MEGABYTE}
    with client.connect() as connection:
        client.send(connection, "PUT", f"{URL}{name}", **headers)
        for block in blocks(0, megabytes):
            connection.sendall(block)
        answer = Answer.read(connection, "PUT")
    assert answer.status in {200, 201}, answer


@contextmanager
def downloading(client, name="large.bin", **headers):
    """GET a file; yield the answer, of which nothing but the head has been read."""
    with client.connect() as connection:
        client.send(connection, "GET", f"{URL}{name}/", **headers)
        with HTTPResponse(connection) as response:
            response.begin()
            assert response.status in {200, 206}, response.status
            yield response


def download(client, start, stop, **headers):
    """Download these megabytes of a large file, which are never whole in memory."""
    with downloading(client, **headers) as response:
        received = hashlib.file_digest(response, "sha256").hexdigest()
    assert received == digest(start, stop)


def transfers(client, megabytes):
    """Yield names of transfers of a large file, and functions that do them."""
    first, last = megabytes // 4, megabytes * 3 // 4
    wanted = f"bytes={first * MEGABYTE}-{last * MEGABYTE - 1}"
    yield "upload", lambda: upload(client, megabytes)
    yield "put", lambda: put(client, megabytes)
    yield "download", lambda: download(client, 0, megabytes)
    yield "range", lambda: download(client, first, last, Range=wanted)


def warm_up(client):
    """Let the worker do everything once."""
    client.get(URL)
    for _, transfer in transfers(client, 4):
        transfer()


def measure(client, megabytes):
    """Yield the transfers' names, and what each takes of the worker."""
    for name, transfer in transfers(client, megabytes):
        with metered(client.server) as usage:
            transfer()
        yield name, usage


def report(kind, megabytes):
    """Print what a server takes; return whether that is too much."""
    size = megabytes * MEGABYTE
    with (
        tempfile.TemporaryDirectory() as folder,
        running(kind, Path(folder), **SETTINGS) as server,
        redirect_stdout(None),
    ):
        client = Client(server)
        warm_up(client)
        before = server.figure("io", "write_bytes")
        usages = dict(measure(client, megabytes))
        to_disk = (server.figure("io", "write_bytes") - before) / size
    for name, usage in usages.items():
        print(f"{kind:10}{name:10}{usage.memory / MEGABYTE:5.1f} MB more memory")
    written = {name: usages[name].written / size for name in ("upload", "put")}
    for name, figure in written.items():
        print(f"{kind:10}{name:10}{figure:.3f} bytes written per byte")
    print(f"{kind:10}{to_disk:.3f} bytes to disk per byte, of both")
    return any(figure > WRITTEN[kind] for figure in written.values()) or any(
        usage.memory >= MEMORY for usage in usages.values()
    )


def main(megabytes="1024"):
    """Measure each server; exit with 1 if one takes too much."""
    print(f"Two uploads, one download and half of one, of {megabytes} MB:")
    if missed := [kind for kind in WRITTEN if report(kind, int(megabytes))]:
        sys.exit(f"Too much: {' '.join(missed)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
