"""Seconds of the same short trainings by each engine of fan-out.

Eight trainings of a small network on made-up features, two at a time, each in
a run folder of its own: what `--jobs 2 --engine ...` does. A measurement has
all of it: the engine's start, its processes, the import of TensorFlow, and
the engine's end. SLURM is submitit's `local` executor, a new process for each
training. One engine after the other in each round, so that other work on the
machine meets all of them; medians, and the quickest and slowest round.

    python benchmarks/fan_out.py
"""

import argparse
import os
import pathlib
import statistics
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from recording import add_record_argument  # noqa: E402
from recording import measurement  # noqa: E402
from recording import record  # noqa: E402

from ser_keras.training.engines import ENGINES  # noqa: E402
from ser_keras.training.engines import run_tasks  # noqa: E402

FINAL = "trained.json"


def train(folder, epochs):
    """One training; what it imports is part of the measurement."""
    import keras
    import numpy as np

    from ser_keras.corpora.manifest import Manifest
    from ser_keras.corpora.manifest import Utterance
    from ser_keras.features.feature_set import FeatureSet
    from ser_keras.training.fit import train_network
    from ser_keras.training.run_folder import RunFolder

    keras.utils.set_random_seed(0)
    labels = ("anger", "neutral", "sadness")
    rows = [
        Utterance(str(i), "x.wav", labels[i % 3], "abcd"[i % 4])
        for i in range(240)
    ]
    random = np.random.default_rng(0)
    arrays = [random.normal(size=(150, 40)).astype("float32") for _ in rows]
    network = keras.Sequential(
        [
            keras.Input((None, 40, 1)),
            *(keras.layers.Conv2D(16, 3, activation="relu") for _ in range(3)),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(len(labels)),
        ]
    )
    run = RunFolder(folder, {})
    train_network(
        network,
        FeatureSet(Manifest(rows, labels), arrays),
        run=run,
        epochs=epochs,
    )
    run.write_json(FINAL, {"epochs": epochs})


def seconds(engine, epochs, options):
    """All trainings by an engine."""
    with tempfile.TemporaryDirectory() as root:
        folders = {
            f"{number}": pathlib.Path(root, f"training_{number}")
            for number in range(options.trainings)
        }
        start = time.perf_counter()
        run_tasks(
            train,
            {name: (path, epochs) for name, path in folders.items()},
            options.jobs,
            {name: path.with_suffix(".txt") for name, path in folders.items()},
            engine=engine,
            finals={name: path / FINAL for name, path in folders.items()},
        )
        return time.perf_counter() - start


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trainings", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--epochs", type=int, nargs="+", default=[12, 120])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", nargs="+", default=list(ENGINES))
    add_record_argument(parser)
    options = parser.parse_args()
    os.environ.setdefault("SER_KERAS_SLURM", "cluster=local")
    cases = [(e, n) for n in options.epochs for e in options.engines]
    times = {case: [] for case in cases}
    for _ in range(options.rounds):
        for case, found in times.items():
            found.append(seconds(*case, options))
    rows = []
    for (engine, epochs), found in times.items():
        median = statistics.median(found)
        first = statistics.median(times[options.engines[0], epochs])
        spread = min(found), max(found)
        what = f"{options.trainings} trainings of {epochs} epochs"
        rows.append(measurement(engine, what, median, "s", spread))
        against = f"{what}, against {options.engines[0]}"
        rows.append(measurement(engine, against, median / first, "x"))
        print(
            f"{engine:>6} {epochs:4} epochs {median:.1f} s ({min(found):.1f} "
            f"to {max(found):.1f}), {median / first:.2f} x"
        )
    record(options, rows)


if __name__ == "__main__":
    main()
