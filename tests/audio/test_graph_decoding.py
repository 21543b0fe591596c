"""Runs twice: here for the message, and by `make test-tfio` for the rest."""

import io
import sys
import types
import warnings

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from ser_keras.audio import graph_decoding
from ser_keras.audio.io import load_audio

try:
    graph_decoding.tensorflow_io()
    LOADS = True
except graph_decoding.TensorFlowIOError:
    LOADS = False

needs_tfio = pytest.mark.skipif(
    not LOADS, reason="tensorflow-io does not load here: make test-tfio"
)
WRITTEN = {
    "wav": {"format": "WAV", "subtype": "PCM_16"},
    "flac": {"format": "FLAC", "subtype": "PCM_16"},
    "ogg": {"format": "OGG", "subtype": "VORBIS"},
    "mp3": {"format": "MP3", "subtype": "MPEG_LAYER_III"},
}


def tone(rate, channels):
    time = np.arange(rate) / rate
    waves = [0.3 * np.sin(2 * np.pi * (440 + 40 * c) * time) for c in range(2)]
    return np.stack(waves[:channels], axis=1)


@pytest.mark.skipif(LOADS, reason="tensorflow-io loads here")
def test_elsewhere_the_message_says_what_to_do():
    with pytest.raises(ImportError, match="load_audio.*tensorflow 2.16"):
        graph_decoding.decode_in_graph(tf.constant(b""), "flac", 16000)


def test_the_message_has_the_cause(monkeypatch):
    def resample(*arguments):
        warnings.warn("file system plugins are not loaded", stacklevel=1)
        raise NotImplementedError(
            "in user code:\n    File audio_ops.py\n\n    caused by: ['lib.so: "
            "undefined symbol: _ZN3tsl']\n"
        )

    fake = types.ModuleType("tensorflow_io")
    fake.audio = types.SimpleNamespace(resample=resample)
    monkeypatch.setitem(sys.modules, "tensorflow_io", fake)
    with pytest.raises(ImportError, match=r"beside TensorFlow \d.*_ZN3tsl"):
        graph_decoding.tensorflow_io.__wrapped__()


def test_formats():
    with pytest.raises(ValueError, match="format='aac'"):
        graph_decoding.decode_in_graph(tf.constant(b""), "aac", 16000)


@pytest.mark.parametrize("rate", [16000, 22050, 44100, 48000])
@pytest.mark.parametrize("format", ["flac", "ogg", "mp3"])
def test_rates_are_read_from_the_file(format, rate):
    find = getattr(graph_decoding, f"_{format}_rate")
    file = io.BytesIO()
    soundfile.write(file, tone(rate, 1), rate, **WRITTEN[format])
    assert int(tf.function(find)(tf.constant(file.getvalue()))) == rate
    if format == "mp3":
        tag = b"ID3\x04\x00\x00\x00\x00\x01\x05" + bytes(133)
        assert int(find(tf.constant(tag + file.getvalue()))) == rate


@needs_tfio
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("format", graph_decoding.FORMATS)
def test_what_load_audio_reads(format, rate, channels, tmp_path):
    path = tmp_path / f"tone.{format}"
    soundfile.write(path, tone(rate, channels), rate, **WRITTEN[format])
    expected = load_audio(path, 16000)

    @tf.function(input_signature=[tf.TensorSpec((), tf.string)])
    def decode(content):
        return graph_decoding.decode_in_graph(content, format, 16000)

    found = decode(tf.constant(path.read_bytes())).numpy()
    assert found.dtype == np.float32
    # Decoders of MP3 differ in how much silence they leave at the ends.
    delay = 0
    if format == "mp3":
        both = np.correlate(found, expected, "full")
        delay = int(both.argmax()) - (len(expected) - 1)
    found = found[max(delay, 0) :]
    expected = expected[max(-delay, 0) :]
    count = min(len(found), len(expected))
    assert count > 15000
    middle = slice(1000, count - 1000)
    error = np.abs(found[middle] - expected[middle]).max()
    # Ogg's and MP3's decoders differ in rounding, and MP3's in the delay.
    assert error < {"wav": 1e-3, "flac": 1e-3, "ogg": 5e-3, "mp3": 2e-2}[format]


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_resampling_has_no_delay(rate):
    time = np.arange(3 * rate // 2) / rate
    found = graph_decoding._resample(
        tf.constant(np.sin(2 * np.pi * 500 * time), tf.float32), rate, 16000
    ).numpy()
    assert len(found) == 24000
    expected = np.sin(2 * np.pi * 500 * np.arange(24000) / 16000)
    assert np.abs(found - expected)[2000:-2000].max() < 1e-3
