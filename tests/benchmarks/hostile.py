"""The rows of what is sent to keep a server busy: its processor's time, beside plain.

A ratio is that to a plain upload of the same size, to the same app, and the worst is
shown. What is refused counts as well.
"""

import statistics
from base64 import b64encode

from tests.benchmarks.client import BLOCK, BOUNDARY, MEGABYTE, MULTIPART, PROSE, part
from tests.benchmarks.rows import row
from tests.benchmarks.table import Figure, seconds

GOAL = 20
HEAD = 8192
START = b"--%b\r\nContent-Disposition: form-data" % BOUNDARY
END = b"--%b--\r\n" % BOUNDARY


def _headers(start, rest):
    """Return a part with headers as long as Django takes them."""
    headers = START + (start + rest * 1000)[:960]
    return headers + b"\r\n\r\n\r\n"


def _file(content, headers=b""):
    """Return a form of one file."""
    start, end = b"".join(part("a.bin", b"MARK")).split(b"MARK")
    return start[:-2] + headers + b"\r\n" + content[: MEGABYTE - 300] + end + END


def _full(parts, end=END):
    """Return a form of a megabyte that repeats ``parts``."""
    return parts * ((MEGABYTE - len(end)) // len(parts)) + end


UNNAMED = START + b";filename=b\r\n\r\n\r\n"
FIELD = START + b";name=a\r\n\r\n"
BASE64 = b"Content-Transfer-Encoding: base64\r\n"
BODIES = {
    "files in no field": _full(UNNAMED),
    "files in no field, after the end": END + _full(UNNAMED),
    "files without a name": _full(START + b";name=a;filename=..\r\n\r\n\r\n"),
    "fields": _full(FIELD + b"\r\n"),
    "boundaries": _full(b"--" + BOUNDARY),
    "parameters": _full(_headers(b"", b";")),
    "parameters of files": _full(_headers(b";name=a;filename=a", b";")),
    "lines of headers": _full(_headers(b"", b"\r\n:;")),
    "names in punycode": _full(_headers(b";name*=punycode''-", b"a")),
    "form within": _full(UNNAMED.replace(BOUNDARY, b"in"), FIELD + END),
    "base64": _file(b64encode(BLOCK)[: MEGABYTE // 2], BASE64),
    "base64, spaced": _file(b"a " * (MEGABYTE // 2), BASE64),
    "line breaks": _file(b"\r\n" * (MEGABYTE // 2)),
    "no end of headers": START + b"a" * MEGABYTE,
    "field of what is no letter": FIELD + b"\x81" * MEGABYTE + b"\r\n" + END,
}
TYPES = {
    "field of what is no letter": f"{MULTIPART}; charset=cp1252",
    "urlencoded": "application/x-www-form-urlencoded",
}
BODIES["urlencoded"] = b"a=" + b"%ff" * (MEGABYTE // 3)

SPACES = [b"\n", b"\r\n", b" \n", b"\t", b"\f\n", b"\n\0", b"\0\n", b"\n" * 62 + b"a("]
STARTS = [b"", b"-----BEGIN ", b"From ", b"BM", b"ID3", b"{", b"\xff\xfe", b"\xfe\xff"]
HEADS = {
    **{
        f"{start!r}, {space[-3:]!r}": (start + space * HEAD)[:HEAD]
        for start in STARTS
        for space in SPACES
    },
    "prose": (PROSE.encode() * 9)[:HEAD],
    "dots": b"." * HEAD,
    "parentheses": b"(;" * (HEAD // 2),
}


def _cost(bench, project, body, type_=MULTIPART):
    """Return how many seconds of its processor an app needs for ``body``."""
    bench.turn += 1
    url = f"/attachments/hostile{bench.turn}/"
    with project.connect() as connection:
        before = project.cpu()
        connection.request("POST", url, body, status=None, Content_Type=type_)
        return project.cpu() - before


def _worst(bench, work, plain, bodies):
    """Return the figure of the worst of ``bodies``, beside ``plain``."""
    (project,) = bench.make(["app"])
    _cost(bench, project, plain)
    costs = {"plain": []} | {name: [] for name in bodies}
    for _ in range(bench.rounds):
        costs["plain"].append(_cost(bench, project, plain))
        for name, body in bodies.items():
            type_ = TYPES.get(name, MULTIPART)
            costs[name].append(_cost(bench, project, body, type_))
    base = statistics.median(costs["plain"])
    worst = max(bodies, key=lambda name: statistics.median(costs[name]))
    return Figure(
        f"{work}: {worst}",
        GOAL,
        [cost / base for cost in costs[worst]],
        floor=seconds(base),
        raw=costs,
    )


def _hundred(head):
    """Return a form of 100 files that are ``head``."""
    blocks = (block for n in range(100) for block in part(f"{n}.bin", head))
    return b"".join(blocks) + END


@row
def hostile_body(bench):
    yield _worst(bench, "processor for the worst MB", _file(BLOCK), BODIES)


@row
def hostile_head(bench):
    forms = {name: _hundred(head) for name, head in HEADS.items()}
    work = "processor for the worst 100 files of 8 KB"
    yield _worst(bench, work, _hundred(BLOCK[:HEAD]), forms)
