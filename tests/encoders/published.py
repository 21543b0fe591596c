"""The tiny published models of `data/`, and their inputs."""

import functools
import pathlib

import numpy as np
from keras import ops

from ser_keras.encoders import SpeechEncoder

DATA = pathlib.Path(__file__).parent / "data"
VARIANTS = sorted(x.name for x in DATA.iterdir() if (x / "golden.npz").exists())


def clips():
    """Three waveforms of different lengths; 6 to 15 frames."""
    rng = np.random.default_rng(0)
    return [
        rng.normal(0, 0.1, samples).astype("float32")
        for samples in (5000, 3001, 2100)
    ]


def mel_clips():
    """Three inputs of Whisper, `(time, 8)`."""
    rng = np.random.default_rng(1)
    return [
        rng.normal(0, 0.5, (frames, 8)).astype("float32")
        for frames in (40, 24, 8)
    ]


def inputs(variant):
    """Three inputs of a variant."""
    return mel_clips() if variant == "whisper" else clips()


def padded(inputs):
    """A batch of inputs, what follows a clip being NaN, and their lengths."""
    lengths = np.array([len(x) for x in inputs], "int32")
    shape = (len(inputs), max(lengths), *inputs[0].shape[1:])
    batch = np.full(shape, np.nan, "float32")
    for row, x in zip(batch, inputs, strict=True):
        row[: len(x)] = x
    return batch, lengths


@functools.cache
def encoder(variant):
    """Our encoder, which no test changes."""
    return SpeechEncoder.from_pretrained(DATA / variant)


@functools.cache
def golden(variant):
    """What transformers computed: hidden states by `clip0_layer0`."""
    return dict(np.load(DATA / variant / "golden.npz"))


def arrays(states):
    """Hidden states as arrays."""
    return [ops.convert_to_numpy(x) for x in states]


def check_states(states, found, clip, last="last"):
    """Compares hidden states of one clip to 1e-4 of each layer's scale."""
    names = [*range(len(states) - 1), last]
    for state, name in zip(states, names, strict=True):
        expected = found[f"clip{clip}_layer{name}"]
        scale = np.abs(expected).max()
        np.testing.assert_allclose(state, expected, atol=1e-4 * scale)
