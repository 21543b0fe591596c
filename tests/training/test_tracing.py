"""One network after the other in one process, as in cross-validation."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

import ser_keras as ser
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.evaluation.predict import predict
from ser_keras.features.feature_set import FeatureSet
from ser_keras.training.resumable import fit_resumable


@pytest.fixture
def warnings():
    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    tf.get_logger().addHandler(handler)
    yield said
    tf.get_logger().removeHandler(handler)


def test_many_networks_are_not_warned_of(tmp_path, warnings):
    manifest = Manifest(
        [Utterance(str(i), f"{i}.wav", "ab"[i % 2], "s") for i in range(4)]
    )
    features = FeatureSet(manifest, [np.ones((3, 2), "float32")] * 4)

    def training(epoch):
        return ser.make_dataset(
            features, 4, duration_frames=3, shuffle=True, first_epoch=epoch
        )

    for number in range(6):
        network = keras.Sequential(
            [keras.Input((3, 2, 1)), keras.layers.Flatten()]
        )
        network.add(keras.layers.Dense(2))
        network.compile(
            "sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        )
        run = ser.training.RunFolder(tmp_path / str(number), {})
        fit_resumable(network, training, epochs=1, run=run, stage="train")
        predict(network, ser.make_dataset(features, 4), manifest)
    assert not [line for line in warnings if "retracing" in line]
    # What is not ours is still warned of.
    for number in range(6):
        tf.function(lambda x: x + 1)(number)
    assert [line for line in warnings if "retracing" in line]
