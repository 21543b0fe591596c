"""Tiny encoders with random weights; published ones are not fetched here."""

import importlib.util
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from ser_keras.features.extractors.transformers import TransformersExtractor

# Found, not imported: torch and TensorFlow cannot share a process.
pytestmark = pytest.mark.skipif(
    None in map(importlib.util.find_spec, ("torch", "transformers")),
    reason="torch and transformers are not installed (extra: transformers)",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders")
    script = pathlib.Path(__file__).with_name("tiny_encoders.py")
    subprocess.run([sys.executable, str(script), str(folder)], check=True)
    return folder


def noise(samples):
    rng = np.random.default_rng(0)
    return rng.normal(0, 0.1, samples).astype("float32")


@pytest.mark.parametrize("name", ["Wav2Vec2", "Hubert", "WavLM"])
def test_hidden_states_of_the_layers_that_are_asked_for(folder, name):
    extractor = TransformersExtractor(folder / name, layers=[0, -1, 1])
    assert (extractor.num_features, extractor.frame_rate) == (48, 50.0)
    assert extractor.sample_rate == 16000
    states = np.load(folder / name / "expected.npy")
    zero, one, two = np.split(states, 3, axis=1)
    expected = np.concatenate([zero, two, one], axis=1)
    got = extractor.extract(noise(16000))
    np.testing.assert_allclose(got, expected, atol=1e-4)
    assert len(got) == 49
    # One sample is enough.
    assert extractor.extract(noise(1)).shape == (1, 48)


def test_float32_is_float32_on_a_gpu_as_well():
    """Torch's own default for convolutions there is TensorFloat-32."""
    program = (
        "from ser_keras.features.extractors.transformers import _import; "
        "_import(); "
        "import torch; print(torch.backends.cudnn.allow_tf32, "
        "torch.get_float32_matmul_precision())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True
    )
    assert done.stdout.split() == [b"False", b"highest"]


def test_whisper_in_pieces_without_its_padding(folder):
    extractor = TransformersExtractor(folder / "Whisper", layers=[1, 2])
    assert (extractor.num_features, extractor.frame_rate) == (32, 50.0)
    expected = np.load(folder / "Whisper/expected.npy")
    got = extractor.extract(noise(31 * 16000))
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_settings_are_of_weights_and_layers_and_not_of_the_folder(folder):
    settings = [
        TransformersExtractor(folder / name, layers).settings()
        for name, layers in (
            ("Wav2Vec2", -1),
            ("copy", 2),
            ("other", -1),
            ("Wav2Vec2", 1),
        )
    ]
    assert settings[0] == settings[1]
    assert settings[0] != settings[2]
    assert settings[0] != settings[3]


@pytest.mark.parametrize(
    "name, options, error, message",
    [
        ("slow", {"sample_rate": 16000}, ValueError, "8000 Hz.*e=16000"),
        ("slow", {"layers": 3}, ValueError, r"among the 3 .*layers=\[3\]"),
        ("absent", {}, FileNotFoundError, "absent: neither a folder"),
        ("text", {}, ValueError, "model_type='bert'"),
    ],
)
def test_models_that_do_not_fit_are_refused(
    folder, name, options, error, message
):
    with pytest.raises(error, match=message):
        TransformersExtractor(folder / name, **options)
