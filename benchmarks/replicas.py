"""Two replicas against one device: how far their trainings differ.

Every network, and the search in both orders, is trained on one device and on
two logical CPUs, in float32 without dropout, on the same batches: of 8 clips;
or of 7, 7 and 1 (parts of 3 and 4 clips, and of none), with sample weights,
two steps a call and validation data. The greatest difference of any weight,
statistic and alpha, and of any logged metric, is printed. ReLU is replaced by
softplus: rounding would push a unit over its kink.

    python benchmarks/replicas.py
"""

import argparse
import json

import keras
import numpy as np
import tensorflow as tf
from recording import add_record_argument
from recording import measurement
from recording import record

import ser_keras as ser
from ser_keras.optimizers import FusedSGD
from ser_keras.training import Runtime

CLASSES = 3
SHAPE = (16, 8, 1)
SPACE = ser.SearchSpace(
    ("sep_conv_3x3", "dil_conv_3x3", "avg_pool_3x3", "skip_connect"),
    ("lstm_1", "rnn_1", "lstm_att_1", "skip_connect"),
    num_nodes=1,
    edges_per_node=1,
)
RECURRENT = ser.SearchSpace(
    (), ("lstm_1", "lstm_att_1"), num_nodes=1, edges_per_node=1
)
SIZE = {"filters": 4, "num_cells": 3, "recurrent_filters": 4}


def light_sernet():
    """The network of three parallel paths."""
    return ser.LightSERNet(SHAPE, CLASSES, width=0.25, dropout=0.0)


def cell_network():
    """A derived network of CNN and recurrent cells."""
    return ser.CellNetwork(SPACE.sample(0), SHAPE, CLASSES, **SIZE)


def two_streams():
    """A network of two streams."""
    return ser.TwoStreamNet(
        ser.TwoStreamSearchSpace(RECURRENT, RECURRENT).sample(seed=0),
        {"handcrafted": SHAPE, "deep": SHAPE},
        CLASSES,
        handcrafted={"recurrent_filters": 4, "num_cells": 0},
        deep={"recurrent_filters": 4},
    )


def supernet():
    """A search of CNN and recurrent cells."""
    return ser.SuperNet(SPACE, SHAPE, CLASSES, seed=0, dropout=0.0, **SIZE)


def two_stream_supernet():
    """A search of both streams."""
    return ser.SuperNet(
        ser.TwoStreamSearchSpace(RECURRENT, RECURRENT),
        {"handcrafted": SHAPE, "deep": SHAPE},
        CLASSES,
        seed=0,
        handcrafted={"recurrent_filters": 4, "num_cells": 0},
        deep={"recurrent_filters": 4},
    )


MODELS = {
    "Light-SERNet": (light_sernet, 0),
    "cells": (cell_network, 0),
    "two streams": (two_streams, 0),
    "search, first order": (supernet, 1),
    "search, second order": (supernet, 2),
    "search of two streams": (two_stream_supernet, 1),
}
SITUATIONS = {
    "batches of 8": {"sizes": (24, 8), "weights": False, "steps": 1},
    "batches of 7, 7 and 1, weighted, validated": {
        "sizes": (15, 7),
        "weights": True,
        "steps": 2,
    },
}


def batches(count, size, weights, streams, seed):
    """Noise with labels, and sample weights."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, *SHAPE)).astype("float32")
    x[::3, 11:] = 0
    y = rng.integers(0, CLASSES, count)
    if streams:
        x = {"handcrafted": x, "deep": x[:, ::-1]}
    data = (x, y)
    if weights:
        data += (rng.uniform(0, 2, count).astype("float32"),)
    return tf.data.Dataset.from_tensor_slices(data).batch(size)


def trained(build, order, situation, name):
    """A model after an epoch on the devices of a strategy, and its log."""
    keras.utils.set_random_seed(0)
    runtime = Runtime(name, steps_per_execution=situation["steps"])
    with runtime.scope():
        model = build()
        options = {
            "metrics": [ser.UnweightedAverageRecall(CLASSES), "accuracy"],
            **runtime.compile_arguments(),
        }
        if order:
            model.compile(
                FusedSGD(0.02, momentum=0.9),
                keras.optimizers.SGD(0.1),
                order=order,
                **options,
            )
        else:
            model.compile(
                FusedSGD(0.02, momentum=0.9),
                ser.SparseCategoricalFocalCrossentropy(gamma=0.0),
                **options,
            )
    streams = isinstance(model.input_shape, dict)

    def data(seed):
        return batches(*situation["sizes"], situation["weights"], streams, seed)

    validation = {"validation_data": data(2)} if situation["weights"] else {}
    x = ser.bilevel(data(0), data(1)) if order else data(0)
    history = model.fit(x, verbose=0, **validation).history
    return model, history


def difference(build, order, situation):
    """The greatest difference of weights, and of logged metrics."""
    (one, first), (two, second) = (
        trained(build, order, situation, name) for name in ("none", "mirrored")
    )
    weights = max(
        np.abs(np.array(a.value) - np.array(b.value)).max()
        for a, b in zip(one.weights, two.weights, strict=True)
        if "seed_generator" not in a.path and a.shape != (0,)
    )
    if set(first) != set(second):
        raise AssertionError(f"{sorted(first)}, {sorted(second)}")
    metrics = max(
        np.abs(np.subtract(second[key], first[key])).max() for key in first
    )
    return float(weights), float(metrics)


def main():
    """Trains, compares, prints JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    add_record_argument(parser)
    arguments = parser.parse_args()
    Runtime("none", devices=2).start()
    tf.nn.relu = tf.nn.softplus
    rows = []
    for name in arguments.models:
        for situation, options in SITUATIONS.items():
            weights, metrics = difference(*MODELS[name], options)
            print(
                json.dumps(
                    {
                        "model": name,
                        "situation": situation,
                        "weights": weights,
                        "metrics": metrics,
                    }
                ),
                flush=True,
            )
            rows.append(measurement(name, f"weights, {situation}", weights, ""))
            rows.append(measurement(name, f"metrics, {situation}", metrics, ""))
    record(arguments, rows)


if __name__ == "__main__":
    main()
