import numpy as np
import pytest

from ser_keras.audio.fixed_duration import FixedDuration
from ser_keras.audio.mfcc import MFCC
from ser_keras.audio.spectrogram import Spectrogram
from ser_keras.export.litert.export import export_litert
from ser_keras.export.litert.model import load_litert
from ser_keras.models.light_sernet import LightSERNet
from ser_keras.models.waveform_model import with_frontend

LABELS = ("anger", "happiness", "neutral", "sadness")


def light_sernet(**arguments):
    """Small, and its batch normalisation is not the identity."""
    network = LightSERNet(num_classes=4, width=0.25, **arguments)
    rng = np.random.default_rng(0)
    for variable in network.variables:
        name = variable.path.rpartition("/")[2]
        if name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif name in ("beta", "moving_mean"):
            variable.assign(rng.normal(0, 0.3, variable.shape))
    return network


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("percentile", [99.9, None])
def test_published_front_end(recordings, tmp_path, precision, percentile):
    frontend = FixedDuration(MFCC.light_sernet(), 3.0, percentile)
    network = light_sernet(input_shape=(184, 40, 1), masking=False)
    model = with_frontend(network, frontend)
    path = export_litert(
        model, tmp_path / "m", LABELS, precision=precision,
        representative=recordings,
    )  # fmt: skip
    read = load_litert(path)
    assert read.metadata["padding"] == "waveform"
    outputs = read(recordings)["probabilities"]
    for clip, answer in zip(recordings, outputs, strict=True):
        expected = model(clip[None])["probabilities"][0]
        atol = 1e-4 if precision == "float32" else 0.05
        np.testing.assert_allclose(answer, expected, atol=atol)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_masking(recordings, tmp_path, precision):
    # It reads clips of any length; 3 s are 184 frames.
    network = light_sernet(input_shape=(100, 40, 1))
    model = with_frontend(network, MFCC.light_sernet())
    path = export_litert(
        model, tmp_path / "m", LABELS, precision=precision,
        representative=recordings,
    )  # fmt: skip
    clips = [clip[:47000] for clip in recordings]
    outputs = load_litert(path)(clips)["probabilities"]
    for clip, answer in zip(clips, outputs, strict=True):
        expected = model(clip[None])["probabilities"][0]
        atol = 1e-4 if precision == "float32" else 0.05
        np.testing.assert_allclose(answer, expected, atol=atol)


def test_spectrogram(recordings, tmp_path):
    frontend = Spectrogram(log="natural")
    network = light_sernet(input_shape=(298, 257, 1), masking=False)
    model = with_frontend(network, frontend)
    path = export_litert(model, tmp_path / "m", LABELS)
    clip = max(recordings, key=len)[:48000]
    np.testing.assert_allclose(
        load_litert(path)(clip)["probabilities"],
        model(clip[None])["probabilities"],
        atol=1e-4,
    )
