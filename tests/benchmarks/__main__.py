"""How fast the app is, beside a floor and its peers.

    python -m tests.benchmarks [--only ROW,ROW] [--rounds N] [--quick] [--json PATH]
        [--database postgresql]

The floor is a bare Django project that does only the unavoidable. Floor, app and peers
run on the same server, with the same kind of database, on the same disk, and take turns
round by round. A figure is the median of the rounds' ratios to the floor: 1.00 is as
fast as the floor, lower is better. (The peers' uploads belong to no session, and load
none.) Needs Linux' /proc.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import replace
from pathlib import Path

from tests.benchmarks import hostile, machine  # noqa: F401 - hostile adds rows
from tests.benchmarks.projects import Projects
from tests.benchmarks.rows import ROWS, Bench
from tests.benchmarks.table import Figure, circumstances, seconds, table


def arguments():
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        epilog=f"Rows: {', '.join(ROWS)}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only",
        default="",
        help="rows to measure, separated by commas; the start of a name is enough",
    )
    parser.add_argument("--rounds", type=int, help="how often floor, app, peers, ...")
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the work, for a first look"
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all there is")
    parser.add_argument(
        "--synchronous",
        choices=["FULL", "NORMAL"],
        default="FULL",
        help="SQLite's setting; FULL, Django's default, waits for the disk",
    )
    parser.add_argument(
        "--database",
        choices=["sqlite", "postgresql"],
        default="sqlite",
        help="for all; where PostgreSQL is, say TEST_POSTGRES_HOST, ..., as for tests",
    )
    parser.add_argument("--folder", help="where to work, for another disk")
    return parser.parse_args()


def chosen(only):
    """Return the rows whose names begin as ``only`` says."""
    starts = tuple(only.split(","))
    rows = {name: row for name, row in ROWS.items() if name.startswith(starts)}
    if not rows:
        sys.exit(f"No row is called {only}. There are: {', '.join(ROWS)}")
    return rows


def measure(rows, options):
    """Measure ``rows``; return the figures and the machine's own limits."""
    figures = []
    with (
        tempfile.TemporaryDirectory(prefix="benchmarks-", dir=options.folder) as folder,
        Projects(folder, options.synchronous, options.database) as projects,
    ):
        rounds = options.rounds or (2 if options.quick else 5)
        bench = Bench(projects, rounds, options.quick)
        limits = machine.limits(projects, bench.megabytes)
        for name, row in rows.items():
            start = time.perf_counter()
            try:
                figures += [replace(figure, key=name) for figure in row(bench)]
            except Exception:
                # The other rows may work.
                traceback.print_exc()
                figures.append(Figure(f"{name} failed", goal=0, values=[1], key=name))
            print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    return figures, limits


def main():
    """Measure, write, print; exit with 1 if a row has failed."""
    options = arguments()
    # So that the servers are ended and the folder is removed then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Terminated."))
    said = {name: vars(options)[name] for name in ("quick", "synchronous", "database")}
    facts = circumstances(said)
    figures, limits = measure(chosen(options.only), options)
    if options.json:
        data = {**facts, "machine": limits, "figures": [f.data() for f in figures]}
        options.json.write_text(json.dumps(data, indent=2) + "\n")
    print(*table(figures), sep="\n")
    print(*(f"{name}: {seconds(value)}" for name, value in limits.items()), sep="\n")
    print(*(f"{name}: {value}" for name, value in facts.items()), sep="\n")
    if failed := [figure.work for figure in figures if figure.work.endswith(" failed")]:
        sys.exit(", ".join(failed))


if __name__ == "__main__":
    main()
