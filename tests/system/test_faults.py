"""The demonstrated faults of 0.2.2: the mark ``fault`` is on what proves them gone."""

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
FAULTS = {
    1: "a new client's first request cannot be an upload",
    2: "an anonymous client never gets a session",
    3: "an upload deletes what another session called so",
    4: "an upload under an expired session is lost",
    5: "a cookie reads the files of a session that is no more, or never was",
    6: "all who send an empty cookie share a session",
    7: "a login loses the attachments",
    8: "markup is shown as a page",
    9: "a name that is not ASCII is mangled in the header",
    10: "a name with a newline cannot be downloaded",
    11: "a name goes unquoted into the header",
    12: "a file called delete cannot be downloaded",
    13: "a bundle id that is not ASCII is an error",
    14: "a missing file breaks its bundle",
    15: "a missing file stops the command",
    16: "the installed package lacks the command",
    17: "--verbose cannot print a name that is not ASCII",
    18: "a negative age deletes everything, a nonsensical one is a traceback",
    19: "the limit counts whole MiB",
    20: "a refused file leaves others of its request stored",
    21: "the answer to an upload is in no order",
    22: "of two files of one field the first is dropped",
    23: "of two files of one name two are reported",
    24: "a race makes two rows of one name",
    25: "a file called .. is taken",
    26: "a name of 255 characters is an error",
    27: "any method is answered, and HEAD is not",
    28: "each request writes the session, and answers may be cached",
    29: "a deletion in the admin leaves the file",
    30: "under LC_ALL=C a name that is not ASCII is an error",
    31: "a full disk loses the old file, too",
    32: "a body that is cut off is answered as a whole one",
    33: "with time zones the command compares a naive time",
    34: "the README's set-up is refused",
    35: "the demo makes private files public, and its front page is missing",
    36: "the tests write into the system's folder, and pass in one folder only",
}
EXCUSED = {
    16: "package_check.py runs the command from the installed wheel.",
    35: "The example serves no folder of files; test_example_project.py opens it.",
    36: "The fixture `media` gives each test a folder, and tests/run works anywhere.",
}


def test_each_fault_is_marked_or_excused():
    marks = re.compile(r"^ *@pytest\.mark\.fault\(([\d, ]+)\)$", re.MULTILINE)
    marked = {
        int(number)
        for file in TESTS.rglob("test_*.py")
        for numbers in marks.findall(file.read_text("utf-8"))
        for number in numbers.split(",")
    }

    assert marked == FAULTS.keys() - EXCUSED.keys()
