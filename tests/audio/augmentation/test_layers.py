import keras
import numpy as np
import pytest
import tensorflow as tf

from ser_keras.audio.augmentation import base
from ser_keras.audio.augmentation import layers as augment
from ser_keras.audio.augmentation.base import derive_seed
from ser_keras.audio.functional import valid_lengths

FEATURES = ["SpecAugment", "FrequencyWarp", "TimeStretch"]
WAVEFORMS = ["Gain", "GaussianNoise", "TimeShift"]
LENGTHS = [100, 60, 2, 0]


def batch_for(name):
    shape = (4, 100, 32) if name in FEATURES else (4, 100)
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    for clip, length in zip(x, LENGTHS, strict=True):
        clip[length:] = 0
    return x


@pytest.mark.parametrize("name", FEATURES + WAVEFORMS)
def test_contract_of_all(name):
    x, layer = batch_for(name), getattr(augment, name)(seed=3)
    np.testing.assert_array_equal(layer(x), x)
    first, second = layer(x, training=True), layer(x, training=True)
    assert first.shape == x.shape
    assert not np.array_equal(first, x)
    assert not np.array_equal(first, second)
    copy = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(layer)
    )
    assert copy.get_config() == layer.get_config()
    np.testing.assert_array_equal(copy(x, training=True), first)


@pytest.mark.parametrize("name", FEATURES + WAVEFORMS)
def test_stateless_form(name):
    x, layer = batch_for(name), getattr(augment, name)()
    seed = derive_seed(1, 2, 3)
    once = layer.augment(x, seed)
    np.testing.assert_array_equal(layer.augment(x, seed), once)
    assert not np.array_equal(layer.augment(x, derive_seed(1, 3, 3)), once)
    compiled = tf.function(layer.augment, jit_compile=True)
    np.testing.assert_allclose(compiled(x, seed), once, atol=1e-5)
    clips = tf.data.Dataset.from_tensor_slices(x).enumerate()
    mapped = list(clips.map(lambda i, c: layer.augment(c, (7, i))))
    for i, (clip, y) in enumerate(zip(x, mapped, strict=True)):
        np.testing.assert_allclose(layer.augment(clip, (7, i)), y, atol=1e-6)


@pytest.mark.parametrize("name", FEATURES + WAVEFORMS)
def test_padding_stays_zero_and_length_is_kept(name):
    x, layer = batch_for(name), getattr(augment, name)()
    for seed in range(20):
        y = layer.augment(x, (0, seed))
        lengths = valid_lengths(y).numpy()
        if name == "TimeStretch":
            assert (lengths >= np.round(0.8 * np.array(LENGTHS)) - 1).all()
            assert lengths[1] <= 75
            assert lengths[3] == 0
        else:
            np.testing.assert_array_equal(lengths, LENGTHS)


@pytest.mark.parametrize("seed", [(0, 0), (1, -2), (2**31 - 1, -(2**31))])
def test_random_numbers_are_those_of_tensorflow(seed):
    bits = tf.random.stateless_uniform(
        [5, 3], seed, None, None, tf.int32, alg="philox"
    )
    np.testing.assert_array_equal(base.random_bits([5, 3], seed), bits)
    folded = tf.random.fold_in(seed, -7, alg="philox")
    np.testing.assert_array_equal(base.fold_in(seed, -7), folded)
    both = tf.random.split(seed, 2, alg="philox")
    np.testing.assert_array_equal(base.split(seed), both)
    compiled = tf.function(base.random_bits, jit_compile=True)
    np.testing.assert_array_equal(compiled((5, 3), seed), bits)


def test_every_clip_has_its_own_draw():
    gains = augment.Gain().augment(np.ones((50, 1), "float32"), (0, 0))
    assert len(np.unique(gains)) == 50
    decibel = 20 * np.log10(gains)
    assert -6 <= decibel.min() < -4
    assert 4 < decibel.max() <= 6


def test_spec_augment_masks_what_it_says():
    layer = augment.SpecAugment(1, 20, 1.0, 0, 0)
    x = np.ones((200, 50, 4), "float32")
    masked = layer.augment(x, (0, 0)).numpy() == 0
    widths = masked.all(axis=2).sum(axis=1)
    assert set(widths) == set(range(21))
    assert (masked.all(axis=2) == masked.any(axis=2)).all()
    assert np.abs(np.diff(masked[..., 0].astype(int))).sum(1).max() <= 2
    assert masked[:, :-1, 0].any(axis=0).all()
    bands = augment.SpecAugment(0, 0, 0.0, 1, 3).augment(x, (0, 0)).numpy() == 0
    assert set(bands[:, 0].sum(axis=1)) == {0, 1, 2, 3}
    assert not bands[:, -1].any()


@pytest.mark.parametrize("snr", [0.0, 20.0])
def test_noise_has_the_ratio_asked_for(snr):
    x = np.sin(np.arange(40000, dtype="float32"))[None]
    noise = augment.GaussianNoise(snr, snr).augment(x, (0, 1)) - x
    ratio = 10 * np.log10(np.mean(x**2) / np.mean(noise**2))
    assert abs(ratio - snr) < 0.2


def test_time_shift_is_a_roll_of_the_clip():
    x = np.zeros((1, 12), "float32")
    x[0, :10] = np.arange(1, 11)
    layer = augment.TimeShift(3)
    rolls = {tuple(np.roll(x[0, :10], s)) for s in range(-3, 4)}
    found = set()
    for seed in range(60):
        y = layer.augment(x, (0, seed)).numpy()[0]
        assert (y[10:] == 0).all()
        found.add(tuple(y[:10]))
    assert found == rolls


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
def test_warp_and_stretch_interpolate(factor):
    x = np.random.default_rng(0).normal(size=(40, 32)).astype("float32")
    warped = augment.FrequencyWarp(factor, factor).augment(x, (0, 0))
    bins = np.arange(32)
    for y, frame in zip(warped, x, strict=True):
        expected = np.interp(bins * factor, bins, frame)
        np.testing.assert_allclose(y, expected, atol=1e-5)
    padded = np.pad(x, ((0, 20), (0, 0)))
    stretched = augment.TimeStretch(factor, factor).augment(padded, (0, 0))
    n = round(40 * factor)
    position = np.linspace(0, 39, n)
    for k in range(32):
        expected = np.interp(position, np.arange(40), x[:, k])
        np.testing.assert_allclose(stretched[:n, k], expected, atol=1e-5)
    assert (stretched[n:].numpy() == 0).all()


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("Gain", {"low": 3.0, "high": 1.0}),
        ("FrequencyWarp", {"low": 0.0}),
        ("SpecAugment", {"max_time_fraction": 2.0}),
        ("SpecAugment", {"num_time_masks": -1}),
        ("TimeShift", {"max_shift": -1}),
    ],
)
def test_wrong_arguments(name, config):
    with pytest.raises(ValueError, match="Received"):
        getattr(augment, name)(**config)


def test_wrong_rank():
    with pytest.raises(ValueError, match="batch axis"):
        augment.SpecAugment().augment(np.ones(3, "float32"), (0, 0))
