"""Run Python with these arguments; print what that costs, in seconds and bytes.

In a process of its own because the peak of a child's memory counts its parent's: see
getrusage(2). So this module is small.
"""

import json
import os
import subprocess
import sys
import time

if __name__ == "__main__":
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *sys.argv[1:]], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    cost = {
        "wall": wall,
        "cpu": usage.ru_utime + usage.ru_stime,
        "memory": usage.ru_maxrss * 1024,
    }
    print(json.dumps(cost))
    sys.exit(process.returncode)
