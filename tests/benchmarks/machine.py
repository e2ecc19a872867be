"""The machine's own limits, without Django."""

import os
import socket
import sqlite3
import threading
import time

from tests.benchmarks.client import BLOCK, MEGABYTE, Connection
from tests.benchmarks.projects import started
from tests.servers import ROOT


def application(environ, start_response):
    """Answer two bytes, as a WSGI application that does nothing."""
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def limits(projects, megabytes):
    """Return what can be measured of the machine, by name: seconds each."""
    folder = projects.folder / "machine"
    folder.mkdir()
    synchronous = projects.synchronous
    return {
        f"write {megabytes} MB to a file": _write(folder / "file", megabytes),
        f"send {megabytes} MB through a socket": _send(megabytes),
        "commit one row in SQLite": _commit(folder / "database", synchronous),
        "answer two bytes, gunicorn without Django": _answer(folder),
    }


def _write(path, megabytes):
    start = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for _ in range(megabytes):
            for offset in range(0, MEGABYTE, 65536):
                file.write(BLOCK[offset : offset + 65536])
    seconds = time.perf_counter() - start
    path.unlink()
    return seconds


def _send(megabytes):
    receiving, sending = socket.socketpair()
    with receiving, sending:

        def send():
            for _ in range(megabytes):
                sending.sendall(BLOCK)

        thread = threading.Thread(target=send)
        buffer = bytearray(MEGABYTE)
        start = time.perf_counter()
        thread.start()
        left = megabytes * MEGABYTE
        while left:
            left -= receiving.recv_into(buffer)
        thread.join()
    return time.perf_counter() - start


def _commit(path, synchronous):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA synchronous={synchronous}")
    connection.execute("CREATE TABLE rows (text)")
    start = time.perf_counter()
    for _ in range(100):
        connection.execute("INSERT INTO rows VALUES ('text')")
    seconds = time.perf_counter() - start
    connection.close()
    return seconds / 100


def _answer(folder):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (
        started("without Django", folder, env) as server,
        Connection(server.port, "") as connection,
    ):
        connection.request("GET", "/")
        start = time.perf_counter()
        for _ in range(200):
            connection.request("GET", "/")
        return (time.perf_counter() - start) / 200
