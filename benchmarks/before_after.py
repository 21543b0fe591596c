"""Steps of this version beside those of an earlier one, in turns.

Both run the same step of `search_step.py` and `light_sernet.py`, each in a
process of its own, with the code of its checkout. They take turns, and the
first of a turn alternates, so that a busy machine slows both; the ratio is the
median of those of the turns, and below 1 where this version is faster.

    git worktree add /tmp/before 7f5e779
    python benchmarks/before_after.py --before /tmp/before
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORKS = ("search, first order", "search, second order", "Light-SERNet")


def step_of(work):
    """A function that does a step, with what is imported from a checkout."""
    import keras
    import numpy as np

    from ser_keras.memory import keep_memory

    keep_memory()  # As recipes and the command line do.
    if work != "Light-SERNet":
        import search_step

        order = 1 + WORKS.index(work)
        return search_step.build("cnn", 32, order)[1]
    import light_sernet

    import ser_keras
    from ser_keras.optimizers.fused import FusedAdamW

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 184, 40, 1)).astype("float32")
    y = rng.integers(7, size=32)
    network = ser_keras.LightSERNet(x.shape[1:], 7)
    return light_sernet.training_step(network, FusedAdamW(1e-4), x, y)


def serve(work, root):
    """A checkout's process: seconds of a step for each line that it reads."""
    sys.path[:1] = [str(root / "benchmarks"), str(root)]
    step = step_of(work)
    import ser_keras

    print(pathlib.Path(ser_keras.__file__).parent.parent, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        step()
        print(time.perf_counter() - start, flush=True)


class Process:
    """A checkout's process, which does a step when called."""

    def __init__(self, work, root):
        root = root.resolve()
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", work, "--before", str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        found = self.process.stdout.readline().strip()
        if found != str(root):
            raise SystemExit(f"The code must be of {root}. Received: {found}")

    def __call__(self):
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self):
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()


def compare(work, before, runs):
    """Seconds of the steps of both versions, in turns."""
    both = {"before": Process(work, before), "now": Process(work, ROOT)}
    times = {name: [] for name in both}
    for turn in range(-2, runs):
        for name in list(both)[:: 1 if turn % 2 else -1]:
            seconds = both[name]()
            if turn >= 0:  # The first two warm up.
                times[name].append(seconds)
    for process in both.values():
        process.close()
    return times


def main():
    """Compares all, prints JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--before", type=pathlib.Path, required=True, help="another checkout"
    )
    parser.add_argument("--runs", type=int, default=30, help="of each")
    parser.add_argument("--only", choices=WORKS, nargs="*", default=WORKS)
    parser.add_argument("--serve", choices=WORKS, help=argparse.SUPPRESS)
    # Not `add_record_argument`: the processes import their own `recording`.
    parser.add_argument(
        "--record", type=pathlib.Path, metavar="FILE", help="JSON to write"
    )
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.before)
        return
    from recording import measurement
    from recording import record

    rows = []
    for work in arguments.only:
        times = compare(work, arguments.before, arguments.runs)
        ratios = [
            now / before
            for before, now in zip(times["before"], times["now"], strict=True)
        ]
        columns = {name: (x, "s") for name, x in times.items()}
        columns["ratio"] = ratios, ""
        for name, (values, unit) in columns.items():
            spread = min(values), max(values)
            value = statistics.median(values)
            rows.append(measurement(work, name, value, unit, spread))
            print(json.dumps(rows[-1]), flush=True)
    record(arguments, rows)


if __name__ == "__main__":
    main()
