"""Fusions and the exchange between streams, against their equations."""

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from ser_keras.genotype import FUSIONS
from ser_keras.layers.fusion import ConcatenationFusion
from ser_keras.layers.fusion import CrossAttentionFusion
from ser_keras.layers.fusion import Fusion
from ser_keras.layers.fusion import GatedFusion
from ser_keras.layers.fusion import LateFusion
from ser_keras.layers.fusion import SupplementFusion
from ser_keras.layers.information_supplement import InformationSupplement
from ser_keras.layers.information_supplement import align_in_time
from ser_keras.layers.stream_dropout import StreamDropout

HEADS = {
    "concatenation": ConcatenationFusion,
    "gating": GatedFusion,
    "cross_attention": CrossAttentionFusion,
    "late": LateFusion,
    "supplement": SupplementFusion,
}
LENGTHS = ((6, 4, 1), (3, 2, 1))
CHANNELS = (4, 5)


def pair(seed=0, more=(0, 0)):
    """Two padded sequences, and their masks."""
    rng = np.random.default_rng(seed)
    sequences, masks = [], []
    for lengths, channels, extra in zip(LENGTHS, CHANNELS, more, strict=True):
        frames = max(lengths)
        x = rng.normal(size=(len(lengths), frames, channels))
        x = np.pad(x, [(0, 0), (0, extra), (0, 0)])
        mask = np.arange(frames + extra) < np.array(lengths)[:, None]
        sequences.append(np.float32(x * mask[..., None]))
        masks.append(mask)
    return tuple(sequences), tuple(masks)


def randomize(layer):
    rng = np.random.default_rng(7)
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape, scale=0.5))


def present(first=(1, 1, 1), second=(1, 1, 1)):
    return np.float32(first), np.float32(second)


def test_alignment_is_linear_interpolation_between_centres():
    (x, target), (mask, target_mask) = pair()
    for source, other, m, n, lengths in (
        (x, target, mask, target_mask, LENGTHS),
        (target, x, target_mask, mask, LENGTHS[::-1]),
    ):
        aligned = align_in_time(source, m, other, n).numpy()
        for i, (real, wanted) in enumerate(zip(*lengths, strict=True)):
            centres = (np.arange(real) + 0.5) / real
            times = (np.arange(wanted) + 0.5) / wanted
            for channel in range(source.shape[-1]):
                expected = np.interp(times, centres, source[i, :real, channel])
                np.testing.assert_allclose(
                    aligned[i, :wanted, channel], expected, atol=1e-6
                )


def test_a_sequence_aligned_with_itself_is_itself():
    (x, _), (mask, _) = pair()
    np.testing.assert_allclose(
        align_in_time(x, mask, x, mask) * mask[..., None], x, atol=1e-6
    )
    np.testing.assert_allclose(align_in_time(x, None, x, None), x, atol=1e-6)


def test_supplement_is_its_equations():
    sequences, masks = pair()
    there = present((1, 1, 0), (1, 0, 1))
    sequences = tuple(
        x * p[:, None, None] for x, p in zip(sequences, there, strict=True)
    )
    layer = InformationSupplement()
    layer(sequences)
    randomize(layer)
    outputs = layer(sequences, masks=masks, present=there)
    for own in (0, 1):
        other = 1 - own
        a, b = sequences[own], sequences[other]
        supply = getattr(layer, f"supply_{own}")
        gate = getattr(layer, f"gate_{own}")
        aligned = align_in_time(b, masks[other], a, masks[own]).numpy()
        s = aligned @ supply.kernel.numpy() + supply.bias.numpy()
        z = np.concatenate([a, s], -1) @ gate.kernel.numpy()
        g = scipy.special.expit(z + gate.bias.numpy())
        pi_a, pi_b = (there[k][:, None, None] for k in (own, other))
        expected = pi_a * (a + pi_b * g * np.tanh(s)) * masks[own][..., None]
        np.testing.assert_allclose(outputs[own], expected, atol=1e-5)
    # A clip with both streams is supplemented, one without the other is not.
    assert np.abs(outputs[0][0] - sequences[0][0]).max() > 0.1
    np.testing.assert_array_equal(outputs[0][1], sequences[0][1])
    assert not np.any(outputs[0][2])


def test_presence_of_streams():
    layer = StreamDropout(0.6, seed=3)
    ones, zeros = np.ones((4000, 2, 1), "float32"), np.zeros((4000, 3, 1))
    both = layer((ones, ones))
    assert np.min(both) == 1
    first, second = (x.numpy() for x in layer((ones, ones), training=True))
    assert ((first + second) >= 1).all()
    np.testing.assert_allclose(1 - first.mean(), 0.3, atol=0.03)
    np.testing.assert_allclose(1 - second.mean(), 0.3, atol=0.03)
    # The only stream of a clip is never dropped.
    first, second = layer((ones, zeros.astype("float32")), training=True)
    assert np.min(first) == 1
    assert np.max(second) == 0
    with pytest.raises(ValueError, match="`rate` must be"):
        StreamDropout(1.0)


def build(name, **arguments):
    layer = HEADS[name](3, units=4, **arguments)
    layer.build(tuple((None, None, channels) for channels in CHANNELS))
    randomize(layer)
    return layer


@pytest.mark.parametrize("name", FUSIONS)
def test_logits_depend_on_the_clip_only(name):
    layer = build(name)
    sequences, masks = pair()
    there = present((1, 1, 1), (1, 0, 1))
    together = layer(sequences, masks, there).numpy()
    assert np.ptp(together, 0).max() > 1e-2
    (longer, masks_of_longer) = pair(more=(3, 2))
    np.testing.assert_allclose(
        layer(longer, masks_of_longer, there), together, atol=1e-5
    )
    for i in range(3):
        alone = layer(
            [
                x[i : i + 1, : n[i]]
                for x, n in zip(sequences, LENGTHS, strict=True)
            ],
            (None, None),
            [p[i : i + 1] for p in there],
        )
        np.testing.assert_allclose(alone[0], together[i], atol=1e-5)
    # Clips without any stream have the same finite logits.
    nothing = [np.zeros_like(x) for x in sequences]
    logits = layer(nothing, masks, present((0, 0, 0), (0, 0, 0))).numpy()
    assert np.isfinite(logits).all()
    np.testing.assert_array_equal(logits[1:], logits[:1].repeat(2, 0))


def pooled(layer, sequences, masks):
    return [
        pool(x, mask=mask).numpy()
        for pool, x, mask in zip(
            (layer.pool_0, layer.pool_1), sequences, masks, strict=True
        )
    ]


def dense(layer, x):
    return x @ layer.kernel.numpy() + layer.bias.numpy()


def test_gating_is_its_equation():
    layer = build("gating")
    sequences, masks = pair()
    a, b = pooled(layer, sequences, masks)
    g = scipy.special.expit(dense(layer.gate, np.concatenate([a, b], -1)))
    z = g * np.tanh(dense(layer.hidden_0, a))
    z += (1 - g) * np.tanh(dense(layer.hidden_1, b))
    np.testing.assert_allclose(
        layer(sequences, masks, present()),
        dense(layer.classifier, z),
        atol=1e-4,
    )
    only = layer(sequences, masks, present(second=(0, 0, 0)))
    expected = dense(layer.classifier, np.tanh(dense(layer.hidden_0, a)))
    np.testing.assert_allclose(only, expected, atol=1e-4)


def test_late_fusion_is_the_mean_of_probabilities():
    layer = build("late")
    sequences, masks = pair()
    a, b = pooled(layer, sequences, masks)
    first = scipy.special.softmax(dense(layer.classifier_0, a), -1)
    second = scipy.special.softmax(dense(layer.classifier_1, b), -1)
    there = present((1, 1, 0), (1, 0, 0))
    logits = layer(sequences, masks, there).numpy()
    np.testing.assert_allclose(
        np.exp(logits[0]), (first[0] + second[0]) / 2, rtol=1e-3, atol=1e-7
    )
    np.testing.assert_allclose(
        np.exp(logits[1]), first[1], rtol=1e-3, atol=1e-7
    )
    np.testing.assert_array_equal(logits[2], 0)


def test_cross_attention_is_keras_own():
    """One head of Keras' layer, with the same weights and no biases."""
    layer = build("cross_attention")
    sequences, masks = pair()
    first, _ = layer.exchange(sequences, masks, present())
    theirs = keras.layers.MultiHeadAttention(
        1, 4, value_dim=4, output_shape=4, use_bias=False
    )
    theirs.build(sequences[0].shape, sequences[1].shape)
    kernels = [layer.query_0, layer.value_0, layer.key_0]
    theirs.query_dense.kernel.assign(kernels[0].kernel[:, None])
    theirs.value_dense.kernel.assign(kernels[1].kernel[:, None])
    theirs.key_dense.kernel.assign(kernels[2].kernel[:, None])
    theirs.output_dense.kernel.assign(np.eye(4)[None])
    attended = theirs(
        sequences[0],
        sequences[1],
        attention_mask=np.repeat(masks[1][:, None], 6, axis=1),
    )
    expected = (sequences[0] + attended) * masks[0][..., None]
    np.testing.assert_allclose(first, expected, atol=1e-5)


def test_mixture_is_the_weighted_sum_of_its_candidates():
    layer = Fusion(FUSIONS, num_classes=3, units=4)
    sequences, masks = pair()
    layer(sequences)
    randomize(layer)
    there = present((1, 0, 1))
    weights = tf.nn.softmax(np.float32([0.3, -0.2, 0.5, 1.0, -1.0]))
    mixed = layer(sequences, masks=masks, present=there, weights=weights)
    each = [layer.head(name)(sequences, masks, there) for name in FUSIONS]
    expected = sum(w * x for w, x in zip(weights.numpy(), each, strict=True))
    np.testing.assert_allclose(mixed, expected, atol=1e-5)
    alone = Fusion(["late"], num_classes=3, units=4)
    alone(sequences)
    alone.set_weights(layer.head("late").get_weights())
    np.testing.assert_allclose(
        alone(sequences, masks=masks, present=there), each[3], atol=1e-6
    )


def test_unknown_candidates_are_refused():
    with pytest.raises(ValueError, match="`fusion` must be one of"):
        Fusion(["sum"], 3)
    with pytest.raises(ValueError, match="one or more"):
        Fusion([], 3)
