"""A small network, and batches of its data, for tests of replicas."""

import keras
import numpy as np
import tensorflow as tf

import ser_keras as ser
from ser_keras.layers.batch_norm import BatchNorm
from ser_keras.models.network import Network
from ser_keras.optimizers.fused import FusedSGD
from ser_keras.training.runtime import strategy

SPACE = ser.SearchSpace(
    cnn=(), recurrent=("rnn_1", "skip_connect"), num_nodes=1, edges_per_node=1
)


class Small(Network):
    """A batch norm between two layers: its statistics are of all clips."""

    num_classes = 3

    def __init__(self):
        super().__init__()
        self.hidden = keras.layers.Dense(6, activation="tanh")
        self.norm = BatchNorm(affine=True)
        self.out = keras.layers.Dense(3)
        self.feature_shape = (5, 4, 1)
        self.build(self.input_shape)

    def build(self, input_shape):
        self.hidden.build((None, 5, 4, 1))
        self.norm.build((None, 5, 4, 6))
        self.out.build((None, 6))

    def call(self, inputs, training=None):
        x = self.norm(self.hidden(inputs), training=training)
        return self.out(keras.ops.mean(keras.ops.tanh(x), (1, 2)))


def clips(count, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 5, 4, 1)).astype("float32")
    return x, rng.integers(0, 3, count), rng.uniform(0, 2, count)


def batches(count, size, weights=False, seed=0):
    x, y, w = clips(count, seed)
    data = (x, y, w.astype("float32")) if weights else (x, y)
    return tf.data.Dataset.from_tensor_slices(data).batch(size)


def arrays(count, **options):
    x, y, weights = clips(count)
    if options.pop("weights", False):
        options["sample_weight"] = weights
    return {"x": x, "y": y, "batch_size": 7, "shuffle": False, **options}


# 15 clips are batches of 7, 7 and 1: a replica gets none of the last one.
SITUATIONS = {
    "uneven": lambda: {"x": batches(19, 7)},
    "fewer clips than replicas": lambda: {
        "x": batches(15, 7),
        "validation_data": batches(8, 7, seed=1),
    },
    "static": lambda: {"x": batches(18, 6).take(3)},
    "sample weights": lambda: {
        "x": batches(15, 7, weights=True),
        "validation_data": batches(13, 6, weights=True, seed=1),
    },
    "class weights": lambda: {
        "x": batches(15, 7),
        "class_weight": {0: 0.5, 1: 2.0, 2: 1.0},
    },
    "arrays": lambda: arrays(15, validation_split=0.4),
    "weighted arrays": lambda: arrays(15, weights=True),
    "endless": lambda: {
        "x": batches(15, 7).repeat(),
        "steps_per_epoch": 4,
        "validation_data": clips(5, 1)[:2],
    },
}


def trained(devices, fit, steps_per_execution=1, **compile_arguments):
    """A network after two epochs, and its history; eagerly on one device."""
    compile_arguments.setdefault("run_eagerly", devices == "none")
    keras.utils.set_random_seed(0)
    with strategy(devices).scope():
        model = Small()
        model.compile(
            FusedSGD(0.1, momentum=0.9),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=[ser.UnweightedAverageRecall(3), "accuracy"],
            weighted_metrics=[
                keras.metrics.SparseCategoricalAccuracy(name="weighted")
            ],
            steps_per_execution=steps_per_execution,
            **compile_arguments,
        )
    before = model.get_weights()
    history = model.fit(epochs=2, verbose=0, **fit)
    moved = max(
        np.abs(a - b).max()
        for a, b in zip(before, model.get_weights(), strict=True)
    )
    assert moved > 1e-2
    return model, history.history
