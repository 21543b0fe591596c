"""Two streams: independence of clips and padding, missing streams, saving."""

import json

import numpy as np
import pytest
import tensorflow as tf

from ser_keras.genotype import TwoStreamGenotype
from ser_keras.models.cell_network import CellNetwork
from ser_keras.models.two_stream import TwoStreamNet
from ser_keras.search_space import SearchSpace
from ser_keras.search_space import TwoStreamSearchSpace
from ser_keras.testing import check_model_saving

SPACE = TwoStreamSearchSpace(
    handcrafted=SearchSpace(
        cnn=("sep_conv_3x3", "max_pool_3x3", "skip_connect", "none"),
        recurrent=("lstm_1", "rnn_att_1", "none"),
        num_nodes=1,
    ),
    deep=SearchSpace(
        cnn=(), recurrent=("lstm_1", "lstm_att_1", "none"), num_nodes=1
    ),
)
SHAPES = {"handcrafted": (None, 9, 1), "deep": (None, 6, 1)}
SMALL = {
    "handcrafted": {
        "filters": 2,
        "num_cells": 3,
        "recurrent_filters": 4,
        "stem_strides": 2,
    },
    "deep": {"recurrent_filters": 5},
    "fusion_units": 4,
}
LENGTHS = {"handcrafted": (13, 9, 1), "deep": (4, 3, 1)}


def make(fusion="supplement", seed=5, **arguments):
    sample = SPACE.sample(seed)
    genotype = TwoStreamGenotype(sample.handcrafted, sample.deep, fusion)
    network = TwoStreamNet(
        genotype, SHAPES, num_classes=3, **{**SMALL, **arguments}
    )
    rng = np.random.default_rng(0)
    for variable in network.weights:
        # Statistics and biases as after training.
        if "float" in variable.dtype and len(variable.shape) == 1:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return network


def clips(lengths=LENGTHS, dtype="float32"):
    rng = np.random.default_rng(1)
    batch = {}
    for stream, (_, features, _) in SHAPES.items():
        frames = lengths[stream]
        x = rng.normal(size=(len(frames), max(frames), features, 1))
        for row, length in zip(x, frames, strict=True):
            row[length:] = 0
        batch[stream] = x.astype(dtype)
    return batch


def alone(x, i, extra):
    """Clip `i` in a batch of its own, padded by `extra` frames."""
    single = {}
    for stream, values in x.items():
        length = LENGTHS[stream][i]
        shape = (1, length + extra[stream], *values.shape[2:])
        single[stream] = np.zeros(shape, values.dtype)
        single[stream][0, :length] = values[i, :length]
    return single


# All fusions by themselves: tests/layers/test_fusion.py.
@pytest.mark.parametrize("fusion", ["cross_attention", "supplement"])
def test_prediction_depends_on_its_clip_only(fusion):
    """In float64 up to the logits, so that rounding is no excuse."""
    network, x = make(fusion, dtype="float64"), clips(dtype="float64")
    together = network(x).numpy()
    assert np.ptp(together, 0).max() > 1e-3
    for i, extra in (
        (0, {"handcrafted": 0, "deep": 0}),
        (1, {"handcrafted": 0, "deep": 0}),
        (1, {"handcrafted": 7, "deep": 2}),
    ):
        np.testing.assert_allclose(
            network(alone(x, i, extra))[0], together[i], atol=1e-5
        )


@pytest.mark.parametrize("fusion", ["late", "supplement"])
def test_missing_stream_has_no_influence(fusion):
    network, x = make(fusion), clips()
    both = network(x).numpy()
    nothing = {k: np.zeros_like(v) for k, v in x.items()}
    for stream in SHAPES:
        only = {**nothing, stream: x[stream]}
        answer = network(only).numpy()
        assert np.isfinite(answer).all()
        # It depends on the clip, and differs from that of both streams.
        assert np.ptp(answer, 0).max() > 1e-4
        assert np.abs(answer - both).max() > 1e-4
        # Beside clips that have both; and whatever the missing one's length.
        other = next(s for s in SHAPES if s != stream)
        mixed = {k: v.copy() for k, v in x.items()}
        zeros = np.zeros_like(x[other])
        mixed[other] = np.concatenate([x[other], zeros], axis=1)
        mixed[other][1] = 0
        got = network(mixed).numpy()
        np.testing.assert_allclose(got[1], answer[1], atol=1e-5)
        np.testing.assert_allclose(got[[0, 2]], both[[0, 2]], atol=1e-5)
    answer = network(nothing).numpy()
    assert np.isfinite(answer).all()
    np.testing.assert_allclose(answer[1:], answer[:1].repeat(2, 0), atol=1e-6)


def test_a_stream_that_is_not_given_is_missing():
    network, x = make(), clips()
    for stream in SHAPES:
        other = next(s for s in SHAPES if s != stream)
        zeros = {other: np.zeros_like(x[other])}
        expected = network({**x, **zeros})
        only = {stream: x[stream]}
        np.testing.assert_allclose(network(only), expected, atol=1e-6)
        got = network.predict(only, verbose=0)
        np.testing.assert_allclose(got, expected, atol=1e-5)
    for nothing in ({}, {"mel": x["deep"]}, x["deep"]):
        with pytest.raises(ValueError, match="must be a dict of .'handcrafted"):
            network(nothing)


@pytest.mark.parametrize("fusion", ["supplement", "late"])
def test_no_gradient_passes_from_a_missing_stream(fusion):
    network, x = make(fusion), clips()
    x["deep"][:] = 0
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(network(x, training=True) ** 2)
    weights = network.trainable_variables
    gradients = tape.gradient(loss, [w.value for w in weights])
    deep = {w.path for w in network.deep_encoder.trainable_variables}
    reached = set()
    for weight, gradient in zip(weights, gradients, strict=True):
        if gradient is not None:
            assert np.isfinite(np.asarray(gradient)).all(), weight.path
            if np.abs(gradient).max() > 0:
                reached.add(weight.path)
    assert not reached & deep
    assert reached & {
        w.path for w in network.handcrafted_encoder.trainable_variables
    }


def test_stream_dropout_is_of_training_alone():
    network, x = make(stream_dropout=0.9), clips()
    np.testing.assert_array_equal(network(x), network(x))
    *_, present = network.encode(x, training=True)
    present = np.array(present)
    assert present.sum() < 6
    assert (present.sum(0) >= 1).all()


def test_encoders_are_cell_networks():
    network, x = make(), clips()
    sequences, masks, present = network.encode(x, training=False)
    for encoder, stream, sequence, mask in zip(
        network.encoders, SHAPES, sequences, masks, strict=True
    ):
        assert isinstance(encoder, CellNetwork)
        np.testing.assert_allclose(encoder(x[stream]), sequence, atol=1e-6)
        assert sequence.shape[-1] == encoder.encoded_width
        assert mask.shape == sequence.shape[:2]
    # Two reductions in one, none in the other.
    assert [s.shape[1] for s in sequences] == [2, 4]
    assert [p.numpy().tolist() for p in present] == [[1.0] * 3] * 2


def test_saving(tmp_path):
    network = make(
        "cross_attention", dropout=0.1, drop_path_rate=0.1, stream_dropout=0.2
    )
    copy = check_model_saving(network, clips(), tmp_path / "network.keras")
    assert copy.architecture == network.architecture
    config = json.loads(json.dumps(network.get_config()))
    again = TwoStreamNet.from_config(config)
    assert again.get_config() == network.get_config()
    assert again.stream_dropout == 0.2


def test_learns_in_mixed_precision():
    exact, x = make(), clips()
    config = {**exact.get_config(), "dtype": "mixed_bfloat16"}
    half = TwoStreamNet.from_config(config)
    half.set_weights(exact.get_weights())
    with tf.GradientTape() as tape:
        outputs = half(x, training=True)
        loss = tf.reduce_sum(outputs**2)
    weights = [w.value for w in half.trainable_variables]
    gradients = tape.gradient(loss, weights, unconnected_gradients="zero")
    assert outputs.dtype == tf.float32
    assert np.isfinite(outputs).all()
    assert np.abs(outputs - exact(x, training=True)).mean() < 0.2
    assert all(np.isfinite(np.asarray(g)).all() for g in gradients)
    assert max(np.abs(g).max() for g in gradients) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"architecture": SPACE.sample(0).deep}, "`architecture` must be"),
        ({"input_shape": (20, 9, 1)}, "`input_shape` must be"),
        ({"input_shape": {"deep": (None, 6, 1)}}, "`input_shape` must be"),
        ({"num_classes": 0}, "`num_classes` must be"),
        ({"deep": {"pooling": "mean"}}, "`deep` must be a dict of"),
        ({"stream_dropout": 1.0}, "`rate` must be in"),
        ({"deep": {"num_cells": 3}}, "'normal' cell"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    config = {
        "architecture": SPACE.sample(0),
        "input_shape": SHAPES,
        "num_classes": 3,
        **SMALL,
        **arguments,
    }
    with pytest.raises(ValueError, match=message):
        TwoStreamNet(**config)
