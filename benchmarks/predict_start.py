"""Seconds of whole programs: `ser_keras predict` with the bundled model.

The console script is started anew each time, in turn with `--version`. A first
run of each is not counted: it reads the files and compiles modules.

    python benchmarks/predict_start.py speech.wav --runs 5
"""

import argparse
import pathlib
import statistics
import subprocess
import sys
import time

from recording import add_record_argument
from recording import measurement
from recording import record


def main():
    """Prints medians, and the quickest and slowest run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", help="an audio file")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--program",
        default=str(pathlib.Path(sys.executable).with_name("ser_keras")),
        help="console script; default: the one of this environment",
    )
    add_record_argument(parser)
    options = parser.parse_args()
    commands = {
        "--version": ["--version"],
        "predict": ["predict", options.file],
    }
    times = {name: [] for name in commands}
    for _ in range(options.runs + 1):
        for name, argv in commands.items():
            start = time.perf_counter()
            subprocess.run(
                [options.program, *argv], check=True, capture_output=True
            )
            times[name].append(time.perf_counter() - start)
    found = []
    for name, (_, *row) in times.items():
        median, spread = statistics.median(row), (min(row), max(row))
        print(f"{name}: {median:.2f} s ({spread[0]:.2f} to {spread[1]:.2f})")
        found.append(
            measurement(
                f"ser_keras {name}",
                "median",
                round(median, 3),
                "s",
                spread=[round(x, 3) for x in spread],
            )
        )
    record(options, found)


if __name__ == "__main__":
    main()
