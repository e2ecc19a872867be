"""The rows of the table: what is measured, and how good it has to be."""

import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Barrier, Thread

from tests.benchmarks.client import MEGABYTE, PNG, TEXT, large, part
from tests.benchmarks.peers import (
    DOWNLOADING,
    OURS,
    PIECE,
    RESUMING,
    TUS_SERVER,
    UPLOADING,
    announce,
    chunks,
    patch,
)
from tests.benchmarks.table import Figure, seconds
from tests.servers import metered

ROWS = {}

CLIENTS = 8
COMMAND = ["-m", "django", "remove_outdated_attachments", "--older-than=1"]
LOOP = ["-m", "tests.benchmarks.floor"]
START = ["-c", "import django; django.setup()"]
# The floor has a form only, and file-form's pieces are as its script has them.
RESUMES = {"app", TUS_SERVER}


def row(function):
    """Let this be a row, under the function's name."""
    ROWS[function.__name__.replace("_", "-")] = function
    return function


@dataclass
class Race:
    """What each project took in each round: seconds, and seconds of its processor."""

    wall: dict = field(default_factory=lambda: defaultdict(list))
    cpu: dict = field(default_factory=lambda: defaultdict(list))

    def add(self, name, wall, cpu):
        self.wall[name].append(wall)
        self.cpu[name].append(cpu)


class Bench:
    """What the rows need: the projects, how often, how much."""

    def __init__(self, projects, rounds, quick):
        self.projects = projects
        self.rounds = rounds
        self.scale = 10 if quick else 1
        self.megabytes = 200 // self.scale
        self.turn = 0

    def few(self, number):
        """Return how often to do what is done ``number`` times at normal size."""
        return max(5, number // self.scale)

    def make(self, names, kind="gthread"):
        """Return the projects of these names, served."""
        kinds = {TUS_SERVER: "node"}
        return [self.projects.make(name, kinds.get(name, kind)) for name in names]

    def race(self, projects, work, prepare=lambda project: None):
        """Let ``projects`` do ``work`` in turns; return what it took."""
        race = Race()
        for _ in range(self.rounds):
            for project in projects:
                self.turn += 1
                prepare(project)
                cpu = project.cpu()
                wall = work(project)
                race.add(project.name, wall, project.cpu() - cpu)
        return race

    def name(self, number, suffix):
        """Return a file name that was not used before."""
        return f"file-{self.turn}-{number}.{suffix}"


def ratios(results, name="app"):
    """Return what a project took as ratios to the floor, round by round."""
    return [a / b for a, b in zip(results[name], results["floor"], strict=True)]


def compared(work, goal, race):
    """Return the figure of a race."""
    return Figure(
        work,
        goal,
        ratios(race.wall),
        cpu=statistics.median(ratios(race.cpu)),
        floor=seconds(statistics.median(race.wall["floor"])),
        peers={
            name: statistics.median(ratios(race.wall, name))
            for name in race.wall
            if name not in OURS
        },
        raw={"wall": race.wall, "cpu": race.cpu},
    )


def beside(work, goal, took):
    """Return the figure of what app and floor took, round by round: seconds."""
    return Figure(
        work,
        goal,
        ratios(took),
        floor=seconds(statistics.median(took["floor"])),
        raw=took,
    )


def timed(act, *arguments):
    """Return how many seconds ``act`` took."""
    start = time.perf_counter()
    act(*arguments)
    return time.perf_counter() - start


def usual(act, number):
    """Do it so many times; return the median of the seconds."""
    act(-1)
    return statistics.median(timed(act, n) for n in range(number))


def upload(project):
    """Return what uploads a file by a form."""
    return project.dialect.upload


def put(project):
    """Return what uploads a file: to the app without a form."""
    return project.dialect.put if project.name == "app" else project.dialect.upload


def whole(project):
    """Return what uploads a file: by tus, in one PATCH, where that is spoken."""
    dialect = project.dialect
    return dialect.whole if project.name in RESUMES else dialect.upload


def pieces(project):
    """Return what uploads a file: by tus, in pieces, where that is spoken."""
    dialect = project.dialect
    return dialect.pieces if project.name in RESUMES else dialect.upload


def _small_uploads(bench, suffix, content, names=UPLOADING, way=upload):
    def work(project):
        with project.connect() as connection:
            return usual(
                lambda n: way(project)(
                    connection, bench.name(n, suffix), content, bundle=f"b{bench.turn}"
                ),
                bench.few(200),
            )

    return bench.race(bench.make(names), work)


@row
def upload_png(bench):
    yield compared("upload 1 KB PNG", 1.2, _small_uploads(bench, "png", PNG))


@row
def upload_text(bench):
    yield compared("upload 1 KB text", 1.25, _small_uploads(bench, "txt", TEXT))


@row
def upload_unnamed_text(bench):
    race = _small_uploads(bench, "bin", TEXT, OURS)
    yield compared("upload 1 KB text, not called one", 1.25, race)


@row
def upload_png_eight(bench):
    each = bench.few(400) // CLIENTS

    def work(project):
        barrier = Barrier(CLIENTS + 1, timeout=120)

        def client(number):
            with project.connect(number) as connection:

                def upload(n):
                    name = bench.name(f"{number}-{n}", "png")
                    project.dialect.upload(connection, name, PNG, bundle="eight")

                upload(-1)
                barrier.wait()
                for n in range(each):
                    upload(n)
                barrier.wait()

        threads = [Thread(target=client, args=[n]) for n in range(CLIENTS)]
        for thread in threads:
            thread.start()
        barrier.wait()
        took = timed(barrier.wait)
        for thread in threads:
            thread.join()
        return took / each / CLIENTS

    race = bench.race(bench.make(UPLOADING), work)
    yield compared("upload 1 KB PNG, 8 clients", 1.4, race)


def _large_uploads(bench, names=UPLOADING, way=upload):
    """Return the race, and what each project wrote per byte, and took of memory."""
    written, memory = defaultdict(list), defaultdict(list)

    def work(project):
        project.forget_large()
        content = large(bench.megabytes)
        with (
            project.connect() as connection,
            redirect_stdout(None),
            metered(project.server) as usage,
        ):
            took = timed(way(project), connection, bench.name(0, "bin"), *content)
        project.forget_large()
        written[project.name].append(usage.written / bench.megabytes / MEGABYTE)
        memory[project.name].append(usage.memory / MEGABYTE)
        return took

    return bench.race(bench.make(names), work), written, memory


def _figure(work, goal, values, unit):
    return Figure(
        work,
        goal,
        values["app"],
        unit,
        floor=f"{values['floor'][0]:.2f} {unit}",
        peers={n: statistics.median(v) for n, v in values.items() if n not in OURS},
        raw=values,
    )


@row
def upload_large(bench):
    race, written, _ = _large_uploads(bench)
    yield compared(f"upload {bench.megabytes} MB", 0.7, race)
    yield _figure("... bytes written per byte", 1.0, written, "B")


@row
def put_large(bench):
    race, written, memory = _large_uploads(bench, OURS, put)
    yield compared(f"PUT {bench.megabytes} MB, beside a form", 0.5, race)
    yield _figure("... bytes written per byte", 1.0, written, "B")
    yield _figure("... memory at its peak", 10.0, memory, "MB")


@row
def put_png(bench):
    race = _small_uploads(bench, "png", PNG, OURS, put)
    yield compared("PUT 1 KB PNG, beside a form", 1.05, race)


def _resuming():
    """Return the names of floor, app and the peer, as far as it is installed."""
    if TUS_SERVER not in RESUMING:
        print(
            f"{TUS_SERVER} is left out: it needs Node, and npm --prefix tests ci",
            file=sys.stderr,
        )
    return RESUMING


@row
def resume_large(bench):
    megabytes, names = bench.megabytes, _resuming()
    race, written, memory = _large_uploads(bench, names, whole)
    yield compared(f"{megabytes} MB by tus in one piece, beside a form", 0.5, race)
    yield _figure("... bytes written per byte", 1.0, written, "B")
    yield _figure("... memory at its peak", 10.0, memory, "MB")
    race, written, memory = _large_uploads(bench, names, pieces)
    yield compared(f"{megabytes} MB by tus in pieces, beside a form", 0.75, race)
    yield _figure("... bytes written per byte", 2.0, written, "B")
    yield _figure("... memory at its peak", 10.0, memory, "MB")


@row
def resume_png(bench):
    # Two requests and two commits: file-form needs as many.
    race = _small_uploads(bench, "png", PNG, [*_resuming(), "file-form"], whole)
    yield compared("1 KB PNG by tus (POST and PATCH), beside a form", 2.6, race)


@row
def finish(bench):
    # Only the last PATCH: its 8 MB come, all pieces become one file, and go.
    (project,) = bench.make(["app"])
    content = large(max(16, 1024 // bench.scale // 8 * 8))
    *before, last = chunks(content, PIECE)
    took = defaultdict(list)
    copy = project.folder / "copy"
    for _ in range(bench.rounds):
        bench.turn += 1
        with project.connect() as connection:
            metadata = {"filename": bench.name(0, "bin")}
            url = announce(connection, "/attachments/foo/", metadata, content)
            offset = 0
            for chunk in before:
                offset = patch(connection, url, offset, chunk)
            _make_room(copy, content)
            took["app"].append(timed(patch, connection, url, offset, last))
        (stored,) = (f for f in project.files() if f.stat().st_size > PIECE)
        _make_room(copy, content)
        copying = partial(subprocess.run, ["cp", stored, copy], check=True)
        took["floor"].append(timed(copying))
        copy.unlink()
        project.forget_large()
    work = f"last PATCH of {len(before) + 1}, {len(content)} MB by tus, beside cp"
    yield beside(work, 1.5, took)


def _make_room(path, content):
    """Let nothing wait for the disk, and memory be there for as much as ``content``.

    A virtual machine takes long over memory that it touches for the first time.
    """
    with path.open("wb") as file:
        file.writelines(content)
    path.unlink()
    os.sync()


def _upload_hundred(bench, connection, suffix, content, bundle):
    connection.post_form(
        f"/attachments/{bundle}/",
        *(part(bench.name(n, suffix), content) for n in range(100)),
    )


def _hundred(bench, suffix, content):
    def work(project):
        with project.connect() as connection:
            return usual(
                lambda n: _upload_hundred(
                    bench, connection, suffix, content, f"h{bench.turn}-{n}"
                ),
                bench.few(10),
            )

    return bench.race(bench.make(OURS), work)


@row
def upload_100_png(bench):
    yield compared("upload 100 PNGs at once", 1.2, _hundred(bench, "png", PNG))


@row
def upload_100_text(bench):
    yield compared("upload 100 texts at once", 1.3, _hundred(bench, "txt", TEXT))


@row
def upload_100_unnamed_text(bench):
    race = _hundred(bench, "bin", TEXT)
    yield compared("upload 100 texts at once, not called so", 1.3, race)


def _fill_bundle(bench, project, bundle, number):
    with project.connect() as connection:
        for first in range(0, number, 100):
            names = [f"file-{n}.png" for n in range(first, min(first + 100, number))]
            connection.post_form(
                f"/attachments/{bundle}/", *(part(name, PNG) for name in names)
            )


@row
def lists(bench):
    projects = bench.make(OURS)
    for number, goal in {1: 1.05, 100: 0.9, 1000: 0.75}.items():
        url = f"/attachments/list-{number}/"
        for project in projects:
            _fill_bundle(bench, project, f"list-{number}", number)

        def work(project, url=url, number=number):
            with project.connect() as connection:
                times = bench.few(20 if number == 1000 else 200)
                return usual(lambda _: connection.request("GET", url), times)

        yield compared(f"list {number:,}", goal, bench.race(projects, work))


@row
def counts(bench):
    costs = bench.projects.make("app").inside("count")
    for name in ("100 a.png", "100 a.txt"):
        cost = costs[f"upload of {name}"]
        yield Figure(f"statements of an upload of {name}", 8, [cost["statements"]])
    for number in (1, 100):
        cost = costs[f"list of {number}"]
        for what, goal in {
            "statements": 2,
            "storage calls": 0,
            "session saves": 0,
        }.items():
            yield Figure(f"{what} of a list of {number}", goal, [cost[what]])
    single = costs["upload of 1 a.png"]["statements"]
    yield Figure("statements of an upload of 1 a.png", None, [single], raw=costs)


def _store(bench, projects, suffix, *content):
    """Put a file where each project will download it from; return its name."""
    bench.turn += 1
    name = bench.name("stored", suffix)
    for project in projects:
        if hasattr(project.dialect, "upload"):
            with project.connect() as connection:
                project.dialect.upload(connection, name, *content)
        else:
            with (project.folder / "media" / name).open("wb") as file:
                file.writelines(content)
    return name


def _download(bench, projects, name, number):
    def work(project):
        with project.connect() as connection:
            return usual(lambda _: project.dialect.download(connection, name), number)

    return bench.race(projects, work)


@row
def download(bench):
    projects = bench.make(DOWNLOADING)
    name = _store(bench, projects, "png", PNG)
    race = _download(bench, projects, name, bench.few(300))
    yield compared("download 1 KB", 1.05, race)


@row
def download_large(bench):
    projects = bench.make(DOWNLOADING)
    name = _store(bench, projects, "bin", *large(bench.megabytes))
    race = _download(bench, projects, name, 3)
    yield compared(f"download {bench.megabytes} MB", 1.0, race)
    yield _download_memory(projects, name, "gthread", 24.0)
    yield _download_memory(projects, name, "asgi", 10.0)
    for project in projects:
        project.forget_large()


def _download_memory(projects, name, kind, goal):
    memory = {}
    for project in projects:
        with (
            project.fresh(kind) as server,
            project.connect(server=server) as connection,
            redirect_stdout(None),
            metered(server) as usage,
        ):
            project.dialect.download(connection, name)
        memory[project.name] = usage.memory / MEGABYTE
    return Figure(
        f"... {kind}: memory over a fresh worker",
        goal,
        [memory["app"]],
        "MB",
        floor=f"{memory['floor']:.2f} MB",
        peers={name: value for name, value in memory.items() if name not in OURS},
        raw=memory,
    )


@row
def replace(bench):
    def work(project):
        with project.connect() as connection:
            return usual(
                lambda _: project.dialect.upload(
                    connection, "same.png", PNG, bundle="replaced"
                ),
                bench.few(200),
            )

    yield compared("replace one name", 1.1, bench.race(bench.make(OURS), work))


@row
def delete(bench):
    number = 1000 // bench.scale

    def prepare(project):
        _fill_bundle(bench, project, f"delete-{bench.turn}", number)

    def work(project):
        url = f"/attachments/delete-{bench.turn}/delete/"
        with project.connect() as connection:
            return timed(connection.request, "POST", url, b"")

    race = bench.race(bench.make(OURS), work, prepare)
    yield compared(f"delete a bundle of {number:,}", 1.1, race)


@row
def keep(bench):
    number = 100 // bench.scale
    took = {
        project.name: [project.inside("keep", str(number)) for _ in range(bench.rounds)]
        for project in bench.make(OURS, kind=None)
    }
    work = f"take and keep {number} files of 1 MB, beside FileField.save()"
    yield beside(work, 4.0, took)


def _removals(projects, number, rounds=3):
    """Return costs by project: of removing so many attachments, and then of none."""
    costs = {project.name: [] for project in projects}
    for _ in range(rounds):
        for project in projects:
            before = project.files()
            project.inside("fill", str(number))
            command = LOOP if project.name == "floor" else COMMAND
            costs[project.name].append((project.run(*command), project.run(*command)))
            assert project.files() == before
    return costs


def _less_start_up(costs, kind):
    """Return how many seconds of that kind each removal took, without the start-up."""
    start_up = statistics.median(getattr(none, kind) for _, none in costs)
    return [getattr(removal, kind) - start_up for removal, _ in costs]


@row
def command(bench):
    number = 20_000 // min(bench.scale, 4)
    costs = _removals(bench.make(OURS, kind=None), number)
    race = Race(
        *(
            {name: _less_start_up(of_one, kind) for name, of_one in costs.items()}
            for kind in ("wall", "cpu")
        )
    )
    yield compared(f"command, {number:,} attachments, less start-up", 2.0, race)


@row
def command_growth(bench):
    few, many = 10_000 // bench.scale, 100_000 // bench.scale
    projects = bench.make(["app"], kind=None)
    less, more = _removals(projects, few)["app"], _removals(projects, many, 1)["app"]

    def growth(kind):
        (took,) = _less_start_up(more, kind)
        return [took / base for base in _less_start_up(less, kind)]

    work = f"command, {few:,} to {many:,}"
    yield Figure(
        f"{work}: time", 11.0, growth("wall"), "x", statistics.median(growth("cpu"))
    )
    memory = more[0][0].memory
    growths = [memory / removal.memory for removal, _ in less]
    yield Figure(f"{work}: memory", 1.1, growths, "x")
    yield Figure("... memory", None, [memory / MEGABYTE], "MB")


@row
def start_up(bench):
    def start(project):
        # The best of some: what disturbs a start only makes it slower.
        return min(project.run(*START).cpu for _ in range(3))

    projects = bench.make(["usual", "usual with app"], kind=None)
    for project in projects:
        # This compiles the modules.
        project.run(*START)
    starts = [[start(project) for project in projects] for _ in range(bench.few(10))]
    without, with_app = zip(*starts, strict=True)
    yield Figure(
        "start-up of a project with the app",
        1.03,
        ratios({"floor": without, "app": with_app}),
        floor=seconds(statistics.median(without)),
        raw={"without": without, "with": with_app},
    )


@row
def libmagic(bench):
    def is_loaded(server):
        return "libmagic" in Path(f"/proc/{server.worker}/maps").read_text()

    project = bench.projects.make("app")
    with (
        project.fresh("gthread") as server,
        project.connect(server=server) as connection,
    ):
        connection.request("GET", "/attachments/foo/")
        before = is_loaded(server)
        project.dialect.upload(connection, "picture.png", PNG)
        after = is_loaded(server)
    assert after, "libmagic is not installed, or goes by another name"
    yield Figure("libmagic loaded before the first upload", 0, [int(before)])
