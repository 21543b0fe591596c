"""A training step of Light-SERNet against a plain Keras build of the paper.

Both have the same arithmetic, weights to train and optimiser (Adam 1e-4; ours
in TensorFlow's own kernel, as our recipes train), and see the same batch; they
alternate, so that a busy machine slows both.

    python benchmarks/light_sernet.py --runs 15

`MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=2147483648` in the environment saves
both a sixth of a step on a CPU, as memory is then kept between steps.
"""

import argparse
import json
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

from ser_keras import LightSERNet
from ser_keras.optimizers.fused import FusedAdamW


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


def main():
    """Builds both, alternates, prints JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--frames", type=int, default=184)
    parser.add_argument("--classes", type=int, default=7)
    parser.add_argument("--runs", type=int, default=9, help="of each")
    parser.add_argument("--masking", action="store_true", help="ours masks")
    arguments = parser.parse_args()
    shape = (arguments.frames, 40, 1)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(arguments.batch, *shape)).astype("float32")
    y = rng.integers(arguments.classes, size=arguments.batch)
    networks = {
        "reference": reference_network(shape, arguments.classes),
        "ours": LightSERNet(
            shape, arguments.classes, masking=arguments.masking
        ),
    }
    steps = {
        name: training_step(networks[name], optimizer, x, y)
        for name, optimizer in {
            "reference": keras.optimizers.Adam(1e-4),
            "ours": FusedAdamW(1e-4),
        }.items()
    }
    times = {name: [] for name in steps}
    for turn in range(arguments.runs + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if turn:  # The first of each warms up.
                times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(t) for name, t in times.items()}
    ratios = [
        round(theirs / ours, 2)
        for theirs, ours in zip(times["reference"], times["ours"], strict=True)
    ]
    print(
        json.dumps(
            {
                "parameters": {
                    name: network.count_params()
                    for name, network in networks.items()
                },
                "milliseconds": {
                    name: round(1000 * seconds)
                    for name, seconds in medians.items()
                },
                "ratio": round(medians["reference"] / medians["ours"], 2),
                "ratio_of_each_turn": ratios,
            }
        )
    )


if __name__ == "__main__":
    main()
