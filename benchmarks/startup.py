"""Start-up times beside the bare interpreter: `import labkit` (< 0.15 s) and `labkit --help` (< 0.5 s).

Interleaved runs, medians, so that a busy machine slows all three alike. Run it: python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 15
COMMANDS = {
    "python -c pass": ([sys.executable, "-c", "pass"], None),
    "import labkit": ([sys.executable, "-c", "import labkit"], 0.15),
    "labkit --help": ([sys.executable, "-m", "labkit.cli", "--help"], 0.5),
}


def seconds(command: list[str]) -> float:
    """Wall time of one process."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> int:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS + 1):
        for name, (command, _limit) in COMMANDS.items():
            times[name].append(seconds(command))
    medians = {
        name: statistics.median(values[1:]) for name, values in times.items()
    }  # the first warms the disk
    bare = medians["python -c pass"]
    print(f"{'':16}{'median s':>10}{'beyond bare':>13}{'ratio':>8}{'limit':>8}")
    well = True
    for name, (_command, limit) in COMMANDS.items():
        extra = medians[name] - bare
        well &= limit is None or extra < limit
        print(f"{name:16}{medians[name]:10.3f}{extra:13.3f}{medians[name] / bare:8.1f}{limit or '':>8}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
