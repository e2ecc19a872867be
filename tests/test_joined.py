"""Stored files, read one after the other as if they were one."""

import io
from os import SEEK_CUR, SEEK_END, SEEK_SET

import pytest
from django.core.files.base import ContentFile

from session_attachments.exceptions import AttachmentNotFound
from session_attachments.files import storage
from session_attachments.files.joined import join
from session_attachments.files.streams import BLOCK
from tests.storages import Calls, failing, store_in

CONTENTS = [b"spam\n", b"", b"e", b"bacon and egg\n"]
WHOLE = b"".join(CONTENTS)


@pytest.fixture
def sizes(media):
    """Store all contents but the last; return the sizes by stored name."""
    return {storage.save(ContentFile(c)): len(c) for c in CONTENTS[:-1]}


@pytest.fixture
def joined(sizes):
    """Return them all as one file."""
    with join(sizes, ContentFile(CONTENTS[-1])) as file:
        yield file


def test_it_is_read_as_one(joined):
    assert joined.size == len(WHOLE)
    assert joined.read() == WHOLE
    assert joined.read() == b""
    assert b"".join(joined.chunks(3)) == WHOLE
    assert list(joined) == [b"spam\n", b"ebacon and egg\n"]


def test_it_is_handed_on_in_large_blocks(media):
    content = bytes(range(256)) * 2 * (BLOCK // 256)
    sizes = {storage.save(ContentFile(content)): len(content) for _ in range(2)}

    with join(sizes, ContentFile(b"spam\n")) as file:
        blocks = [*file.chunks()]

    assert [len(block) for block in blocks] == [BLOCK] * 4 + [5]
    assert b"".join(blocks) == content * 2 + b"spam\n"


@pytest.mark.parametrize("start", range(len(WHOLE) + 2))
def test_it_is_read_from_anywhere(joined, start):
    for length in range(len(WHOLE) + 2):
        joined.seek(start)
        assert joined.read(length) == WHOLE[start : start + length]


def test_it_is_sought_in_as_any_file(joined):
    plain = io.BytesIO(WHOLE)
    steps = [
        (3, SEEK_SET),
        (2, SEEK_CUR),
        (-4, SEEK_END),
        (0, SEEK_END),
        (-1, SEEK_CUR),
    ]
    for offset, whence in steps:
        assert joined.seek(offset, whence) == plain.seek(offset, whence)
        assert joined.tell() == plain.tell()
        assert joined.read(2) == plain.read(2)
    assert joined.seekable()
    assert joined.readable()
    assert not joined.writable()


def test_nothing_before_the_last(media):
    with join({}, ContentFile(b"spam\n")) as file:
        assert file.read() == b"spam\n"


def test_one_is_open_at_a_time(settings, sizes):
    calls = Calls()
    store_in(settings, calls)
    opened = []
    last = ContentFile(CONTENTS[-1])
    with join(sizes, last) as file:
        assert calls == []
        file.read(1)
        opened.append(file.file.raw.file)
        file.read()
        opened.append(file.file.raw.file)
        assert [one.closed for one in opened] == [True, False]

    assert [one.closed for one in opened] == [True, True]
    assert not last.closed
    # The one that is empty has nothing to be read.
    spam, _, egg = sizes
    assert calls.names("open") == [spam, egg]


@pytest.mark.parametrize("at", [0, 2])
@pytest.mark.parametrize("lost", ["missing", "shorter"])
def test_file_that_is_lost_is_not_found(media, sizes, caplog, at, lost):
    path = media / [*sizes][at]
    path.unlink()
    if lost == "shorter":
        path.write_bytes(b"")

    with join(sizes, ContentFile(b"egg\n")) as file, pytest.raises(AttachmentNotFound):
        file.read()

    assert [*sizes][at] in caplog.text


def test_what_a_file_is_longer_now_is_left_out(media, sizes):
    with (media / next(iter(sizes))).open("ab") as file:
        file.write(b"more")

    with join(sizes, ContentFile(CONTENTS[-1])) as file:
        assert file.read() == WHOLE


def test_what_else_the_storage_raises_is_passed_on(settings, sizes):
    store_in(settings, failing("open", PermissionError("not for you")))

    with join(sizes, ContentFile(b"egg\n")) as file, pytest.raises(PermissionError):
        file.read()
