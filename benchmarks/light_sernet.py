"""A training step of Light-SERNet against a plain Keras build of the paper.

Both have the same arithmetic, weights to train and optimiser (Adam 1e-4; ours
in TensorFlow's own kernel, as our recipes train), and see the same batch. The
plain build runs twice, in processes of its own: as TensorFlow and Keras come,
and with what `import ser_keras` and `keep_memory` set for ours (oneDNN,
memory). All take turns, so that a busy machine slows them alike.

    python benchmarks/light_sernet.py --runs 15
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

OURS = {
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
}
if __name__ == "__main__":
    wanted = {} if "--defaults" in sys.argv else OURS
    if {name: os.environ.get(name) for name in OURS} != {
        name: wanted.get(name) for name in OURS
    }:
        # Both are read when the process or TensorFlow starts.
        others = {k: v for k, v in os.environ.items() if k not in OURS}
        os.execve(sys.executable, [sys.executable, *sys.argv], others | wanted)

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402


def reference_network(input_shape, num_classes, dropout=0.3):
    """Light-SERNet as its paper and Keras' defaults have it; logits out.

    Returns:
        `keras.Model`, whose weights are in the order of `LightSERNet`'s
        layers: paths, blocks, classifier.
    """
    inputs = keras.Input(input_shape)

    def norm_pool(x, pool):
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.ReLU()(x)
        if pool is None:
            return x
        return keras.layers.AveragePooling2D(pool, padding="same")(x)

    paths = [
        norm_pool(
            keras.layers.Conv2D(32, kernel, padding="same")(inputs), (2, 2)
        )
        for kernel in ((11, 1), (1, 9), (3, 3))
    ]
    x = keras.layers.Concatenate()(paths)
    for filters, kernel, pool in (
        (64, 3, (2, 2)),
        (96, 3, (2, 2)),
        (128, 3, (2, 1)),
        (160, 3, (2, 1)),
        (320, 1, None),
    ):
        x = keras.layers.Conv2D(
            filters,
            kernel,
            padding="same",
            use_bias=False,
            kernel_regularizer=keras.regularizers.L2(1e-6),
        )(x)
        x = norm_pool(x, pool)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(dropout)(x)
    return keras.Model(inputs, keras.layers.Dense(num_classes)(x))


def training_step(network, optimizer, x, y):
    """A compiled step of `fit` on one batch."""
    network.compile(
        optimizer,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    data = tf.data.Dataset.from_tensors((x, y)).repeat()
    network.fit(data, steps_per_epoch=1, verbose=0)
    batches = iter(data)
    return lambda: network.train_function(batches)


class Process:
    """This script in another process, which does a step when told to."""

    def __init__(self, *options):
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--reference", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.parameters = self.answer()

    def answer(self):
        """The next number that it prints."""
        return float(self.process.stdout.readline())

    def __call__(self):
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return self.answer()


def seconds(step):
    """How long a step takes."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def serve(step, parameters):
    """The other process: a step for each line, until there are no more."""
    print(parameters, flush=True)
    for _ in sys.stdin:
        print(seconds(step), flush=True)


def main():
    """Builds all, alternates, prints JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--frames", type=int, default=184)
    parser.add_argument("--classes", type=int, default=7)
    parser.add_argument("--runs", type=int, default=9, help="of each")
    parser.add_argument("--masking", action="store_true", help="ours masks")
    parser.add_argument(
        "--reference", action="store_true", help="be one of the others"
    )
    parser.add_argument(
        "--defaults", action="store_true", help="of TensorFlow, for that"
    )
    # Not `add_record_argument`: the other processes import nothing of ours.
    parser.add_argument(
        "--record", type=pathlib.Path, metavar="FILE", help="JSON to write"
    )
    arguments = parser.parse_args()
    shape = (arguments.frames, 40, 1)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(arguments.batch, *shape)).astype("float32")
    y = rng.integers(arguments.classes, size=arguments.batch)
    if arguments.reference:
        network = reference_network(shape, arguments.classes)
        step = training_step(network, keras.optimizers.Adam(1e-4), x, y)
        serve(step, network.count_params())
        return
    from recording import measurement
    from recording import record

    from ser_keras import LightSERNet
    from ser_keras.optimizers.fused import FusedAdamW

    network = LightSERNet(shape, arguments.classes, masking=arguments.masking)
    step = training_step(network, FusedAdamW(1e-4), x, y)
    sizes = [
        f"--{name}={getattr(arguments, name)}"
        for name in ("batch", "frames", "classes")
    ]
    contenders = {
        "reference": Process(*sizes, "--defaults"),
        "reference, our settings": Process(*sizes),
        "ours": lambda: seconds(step),
    }
    times = {name: [] for name in contenders}
    for turn in range(arguments.runs + 1):
        for name, run in contenders.items():
            taken = run()
            if turn:  # The first of each warms up.
                times[name].append(taken)
    medians = {name: statistics.median(t) for name, t in times.items()}
    rows = []
    for name, values in times.items():
        median, spread = medians[name], (min(values), max(values))
        rows.append(measurement(name, "step", median, "s", spread))
        row = {"milliseconds": round(1000 * medians[name])}
        if name != "ours":
            pairs = zip(values, times["ours"], strict=True)
            row["parameters"] = int(contenders[name].parameters)
            row["ratio"] = round(medians[name] / medians["ours"], 2)
            ratios = [a / b for a, b in pairs]
            row["ratio_of_each_turn"] = [round(ratio, 2) for ratio in ratios]
            ratio, spread = median / medians["ours"], (min(ratios), max(ratios))
            rows.append(measurement(name, "ratio", ratio, "", spread))
        print(json.dumps({name: row}))
    record(arguments, rows)


if __name__ == "__main__":
    main()
