"""The results: figures, as a table and as JSON."""

import os
import platform
import sqlite3
import statistics
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import django


@dataclass
class Figure:
    """One line of the table: what the app took in each round, beside its goal.

    ``values`` are ratios to the floor in the same round, or of a ``unit`` of their
    own. ``cpu`` is the ratio of the processor's time, which other work on the machine
    disturbs less; ``floor`` is what the floor took, ``peers`` are the medians of
    their values.
    """

    work: str
    goal: float | None
    values: list
    unit: str = ""
    cpu: float | None = None
    floor: str = ""
    peers: dict = field(default_factory=dict)
    raw: dict = field(default_factory=dict)
    key: str = ""

    @property
    def value(self):
        return statistics.median(self.values)

    @property
    def missed(self):
        return self.goal is not None and round(self.value, 2) > self.goal

    def cells(self):
        """Return the texts of the line."""
        low, high = min(self.values), max(self.values)
        spread = "" if low == high else f"{number(low)} - {number(high)}"
        return [
            self.work,
            f"{number(self.goal)} {self.unit}".strip() if self.goal is not None else "",
            f"{number(self.value)} {self.unit}".strip(),
            "MISSED" if self.missed else "",
            spread,
            "" if self.cpu is None else number(self.cpu),
            self.floor,
            ", ".join(f"{name} {number(value)}" for name, value in self.peers.items()),
        ]

    def data(self):
        """Return everything for JSON."""
        return {
            "key": self.key,
            "work": self.work,
            "unit": self.unit or "ratio to the floor",
            "goal": self.goal,
            "value": self.value,
            "missed": self.missed,
            "values": self.values,
            "cpu": self.cpu,
            "floor": self.floor,
            "peers": self.peers,
            "raw": self.raw,
        }


HEADS = ["Work", "Goal", "App", "", "Spread", "CPU", "Floor", "Peers"]


def number(value):
    """Return ``value`` as short as it can be read."""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def seconds(value):
    """Return a time in a readable unit."""
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.2f} ms"


def table(figures):
    """Return the lines of a table in reStructuredText."""
    rows = [HEADS, *(figure.cells() for figure in figures)]
    widths = [max(2, *map(len, column)) for column in zip(*rows, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    lines = [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return [rule, lines[0], rule, *lines[1:], rule]


def circumstances(options):
    """Return when, where and how the figures were taken."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "system": platform.platform(),
        "Python": platform.python_version(),
        "Django": django.__version__,
        "SQLite": sqlite3.sqlite_version,
        "options": options,
    }


def _processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(": ")[2]
    return platform.processor()
