"""How soon a page answers keys while it uploads many files.

    python -m tests.benchmarks.keys [number of files]

Of 100 presses the 99th slowest must be answered within 100 ms, that is, painted.
Needs Chromium, and the dependency group ``full``.
"""

import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.browsers import Browsers
from tests.fields import Field
from tests.project.served import letters

PRESSES = 100
# In milliseconds.
GOAL = 100
# From when the browser got the key until the next frame has been painted.
MEASURE = """() => {
    window.times = [];
    document.querySelector("[name=body]").addEventListener("keydown", event => {
        requestAnimationFrame(() => {
            const {port1, port2} = new MessageChannel();
            port1.onmessage = () => times.push(performance.now() - event.timeStamp);
            port2.postMessage(null);
        });
    });
}"""


def measure(tab, paths):
    """Choose files and press keys meanwhile; return the times, sorted."""
    field = Field(tab)
    tab.js(MEASURE)
    tab.click("[name=body]")
    field.choose(*paths)
    tab.press(*"a" * PRESSES)
    print("stored when the last key was pressed:", len(field.stored()))
    tab.wait(f"times.length == {PRESSES}")
    tab.wait("!document.querySelector('[busy]')")
    assert len(field.stored()) == len(paths)
    return sorted(tab.js("times"))


def main(number=100):
    """Print the figures; return whether the goal is missed."""
    with (
        TemporaryDirectory() as folder,
        closing(Browsers()) as browsers,
        letters(Path(folder)) as server,
    ):
        paths = [Path(folder, f"{n}.bin") for n in range(number)]
        for path in paths:
            path.write_bytes(bytes(100_000))
        tab = browsers.open("Chromium")
        tab.goto(f"{server.url}/write/")
        times = measure(tab, paths)
        tab.close()
    middle, slow = times[PRESSES // 2], times[PRESSES - 2]
    print(f"{number} files: median {middle:.0f} ms, 99th of 100 {slow:.0f} ms")
    return slow > GOAL


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
