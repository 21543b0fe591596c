"""What all front ends have in common."""

import keras
import numpy as np
import pytest

from ser_keras.audio.augmentation.speed import AtSpeed
from ser_keras.audio.fixed_duration import FixedDuration
from ser_keras.audio.log_mel import LogMelSpectrogram
from ser_keras.audio.mfcc import MFCC
from ser_keras.audio.spectrogram import Spectrogram
from ser_keras.audio.whisper_log_mel import WhisperLogMel

MFCC_OPTIONS = {"frame_length": 300, "frame_step": 160, "fft_length": 320}
FRONT_ENDS = {
    "spectrogram": Spectrogram(),
    "log_mel": LogMelSpectrogram(center=True, pad_mode="reflect"),
    "mfcc": MFCC(num_coefficients=20, num_mel_bins=20, **MFCC_OPTIONS),
    "fixed_duration": FixedDuration(MFCC.light_sernet(), 1.0),
    "whisper_log_mel": WhisperLogMel(),
    "at_speed": AtSpeed(MFCC(), 0.8),
}
# Sample rate, frame length, frame step, features, shortest clip, frame rate.
FACTS = {
    "spectrogram": (16000, 400, 160, 257, 512, 100.0),
    "log_mel": (16000, 400, 160, 64, 257, 100.0),
    "mfcc": (16000, 300, 160, 20, 320, 100.0),
    "fixed_duration": (16000, 1024, 256, 40, 1024, None),
    "whisper_log_mel": (16000, 400, 160, 80, 201, 100.0),
    "at_speed": (20000, 400, 160, 40, 512, 125.0),
}


@pytest.fixture(params=FRONT_ENDS)
def name(request):
    return request.param


def test_facts(name):
    layer = FRONT_ENDS[name]
    assert FACTS[name] == (
        layer.sample_rate,
        layer.frame_length,
        layer.frame_step,
        layer.num_features,
        layer.min_samples,
        layer.frame_rate,
    )
    assert layer.duration == (1.0 if name == "fixed_duration" else None)
    assert AtSpeed(FRONT_ENDS["fixed_duration"], 0.8).duration == 0.8


@pytest.mark.parametrize("samples", [1024, 5000, 20000])
def test_shape_is_known_before_a_call(name, samples):
    layer = FRONT_ENDS[name]
    x = np.random.default_rng(0).normal(size=(2, samples)).astype("float32")
    shape = layer(x).shape
    assert shape == layer.compute_output_shape((2, samples))
    assert shape == (2, layer.num_frames(samples), layer.num_features)


def test_halves_and_the_copy_without_fft_give_the_same(name):
    layer = FRONT_ENDS[name]
    x = np.random.default_rng(0).normal(size=(2, 16000)).astype("float32")
    expected = layer(x)
    if layer.splits_spectrum:
        both = layer.from_spectrum(layer.spectrum(x))
        np.testing.assert_array_equal(both, expected)
    else:
        assert name == "at_speed"
    np.testing.assert_allclose(
        layer.without_fft()(x), expected, rtol=0, atol=1e-2
    )


def test_config_round_trip_and_precision(name):
    layer = FRONT_ENDS[name]
    config = keras.saving.serialize_keras_object(layer)
    assert config["registered_name"] == f"ser_keras>{type(layer).__name__}"
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == layer.get_config()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        built_under_policy = type(layer).from_config(
            {k: v for k, v in layer.get_config().items() if k != "dtype"}
        )
    finally:
        keras.config.set_dtype_policy("float32")
    assert built_under_policy.dtype_policy.name == "float32"
    x = np.ones((1, 16000), "float32")
    np.testing.assert_array_equal(built_under_policy(x), layer(x))
