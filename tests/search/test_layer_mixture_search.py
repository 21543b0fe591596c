"""Layers of a frozen encoder, mixed in a search and in all that follows."""

import numpy as np
import pytest
import tensorflow as tf

import ser_keras as ser
from ser_keras.features import DeepFeatures
from ser_keras.features import Extractor
from ser_keras.features import StreamPreprocessors
from ser_keras.search_space import SearchSpace
from ser_keras.testing import check_model_saving

SPACE = ser.TwoStreamSearchSpace(
    SearchSpace(("skip_connect",), ("rnn_1",), num_nodes=1, edges_per_node=1),
    SearchSpace((), ("rnn_1", "skip_connect"), num_nodes=1),
    ("supplement",),
)
SHAPES = {"handcrafted": (None, 6, 1), "deep": (None, 6, 1)}


class SixFeatures(Extractor):
    """It is not run: the SavedModel takes features."""

    sample_rate, num_features, frame_rate = 16000, 6, 10.0

    def settings(self):
        return {"extractor": "six features"}


def clips(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "handcrafted": rng.normal(size=(4, 12, 6, 1)).astype("float32"),
        "deep": rng.normal(size=(4, 5, 6, 1)).astype("float32"),
    }


def test_search_derive_save_and_export(tmp_path):
    supernet = ser.SuperNet(
        SPACE,
        SHAPES,
        num_classes=3,
        handcrafted={"filters": 2, "num_cells": 3, "recurrent_filters": 4},
        deep={"recurrent_filters": 4, "layer_mixture": 3},
        fusion_units=4,
    )
    encoder = supernet.network.deep_encoder
    assert encoder.sequence_preprocess[0].weights[0].shape[0] == 2  # 6 / 3.
    supernet.compile(run_eagerly=True)
    half = tf.data.Dataset.from_tensors((clips(), [0, 1, 2, 0]))
    supernet.fit(ser.bilevel(half, half), verbose=0)
    mixture = encoder.mixture.mixture.numpy()
    assert np.ptp(mixture) > 0
    network = ser.search.derive_network(supernet)
    np.testing.assert_array_equal(network.deep_encoder.mixture.mixture, mixture)
    x = clips(1)
    copy = check_model_saving(network, x, tmp_path / "network.keras")
    np.testing.assert_array_equal(copy.deep_encoder.mixture.mixture, mixture)
    preprocessor = StreamPreprocessors(
        {
            "handcrafted": ser.Preprocessor(
                ser.MFCC(num_coefficients=6, delta_order=0)
            ),
            "deep": DeepFeatures(SixFeatures()),
        }
    )
    folder = ser.export_saved_model(
        network, tmp_path / "two", ("a", "b", "c"), preprocessor
    )
    served = tf.saved_model.load(str(folder)).signatures["serving_default"]
    outputs = served(**{name: value[..., 0] for name, value in x.items()})
    np.testing.assert_allclose(
        outputs["probabilities"], tf.nn.softmax(network(x)), atol=1e-6
    )


def test_mixture_of_a_whole_encoder_and_padding():
    """As if the layers had been mixed before, padding and all."""
    genotype = SPACE.sample(0).deep
    options = {"num_classes": 3, "num_cells": 0, "recurrent_filters": 4}
    shape = SHAPES["deep"]
    mixed = ser.CellNetwork(genotype, shape, layer_mixture=2, **options)
    plain = ser.CellNetwork(genotype, (None, 3, 1), **options)
    mixed.mixture.mixture.assign([0.0, np.log(3.0)])  # 1/4 and 3/4.
    for ours, other in zip(mixed.weights[1:], plain.weights, strict=True):
        other.assign(ours)
    x = clips()["deep"]
    x[1:, 3:] = 0
    before = x[:, :, :3] / 4 + x[:, :, 3:] * 3 / 4
    np.testing.assert_allclose(mixed(x), plain(before), atol=1e-5)


@pytest.mark.parametrize("layers", [0, 1.5, 4])
def test_layers_that_do_not_fit_are_refused(layers):
    message = "`layer_mixture` must be|a multiple of 4"
    with pytest.raises(ValueError, match=message):
        ser.CellNetwork(
            SPACE.sample(0).deep,
            SHAPES["deep"],
            num_classes=3,
            num_cells=0,
            layer_mixture=layers,
        )
