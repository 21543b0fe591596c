"""Against transformers itself, run by `make test-transformers`.

In an environment without TensorFlow, which cannot share a process with torch:
Keras runs on torch there.
"""

import json
import os
import pathlib

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file

from ser_keras.encoders import WhisperEncoder
from tests.encoders.published import DATA
from tests.encoders.published import VARIANTS
from tests.encoders.published import arrays
from tests.encoders.published import golden
from tests.encoders.published import inputs

if keras.config.backend() != "torch":
    pytest.skip("run by `make test-transformers`", allow_module_level=True)
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = pathlib.Path(
    os.environ.get("SER_KERAS_MODELS", ROOT.parent / "shared/models")
)


@pytest.mark.parametrize("variant", sorted(set(VARIANTS) - {"whisper"}))
def test_what_is_committed_is_what_transformers_computes_now(variant):
    model = transformers.AutoModel.from_pretrained(DATA / variant).eval()
    for clip, x in enumerate(inputs(variant)):
        with torch.no_grad():
            found = model(torch.tensor(x)[None], output_hidden_states=True)
        expected = golden(variant)
        last = found.last_hidden_state[0].numpy()
        np.testing.assert_allclose(
            last, expected[f"clip{clip}_layerlast"], atol=1e-5
        )
        for layer, state in enumerate(found.hidden_states[:-1]):
            np.testing.assert_allclose(
                state[0].numpy(),
                expected[f"clip{clip}_layer{layer}"],
                atol=1e-5,
            )


def test_bucket_of_every_distance():
    """Of the published WavLM, in float32 as there."""
    from ser_keras.encoders.transformer import distance_buckets

    attention = transformers.models.wavlm.modeling_wavlm.WavLMAttention(
        12, 12, num_buckets=320, max_distance=800
    )
    expected = attention._relative_positions_bucket(torch.arange(-900, 901))
    found = distance_buckets(320, 800)
    np.testing.assert_array_equal(found, expected[100:-100])
    assert {*expected[:100].tolist()} == {found[0]}
    assert {*expected[-100:].tolist()} == {found[-1]}


def speech_features(**options):
    """Whisper's features of two recordings by transformers."""
    soundfile = pytest.importorskip("soundfile")
    paths = sorted((ROOT / "ser_keras/corpora/built_in/emodb").glob("*.ogg"))
    extractor = transformers.WhisperFeatureExtractor()
    clips = [soundfile.read(x, dtype="float32")[0] for x in paths[:2]]
    return [
        extractor(
            x, sampling_rate=16000, return_tensors="np", **options
        ).input_features[0]
        for x in clips
    ]


@pytest.mark.parametrize("name", ["whisper-tiny.en", "whisper-base"])
def test_published_whisper(name):
    folder = MODELS / name
    if not folder.is_dir():
        pytest.skip(f"no {name} in {MODELS}; set SER_KERAS_MODELS")
    config = transformers.WhisperConfig(
        **json.loads((folder / "config.json").read_text())
    )
    whisper = transformers.models.whisper.modeling_whisper
    published = whisper.WhisperEncoder(config).eval().float()
    published.load_state_dict(
        {
            name.removeprefix("model.encoder."): torch.tensor(x).float()
            for name, x in load_file(folder / "model.safetensors").items()
        }
    )
    encoder = WhisperEncoder.from_pretrained(folder)
    # As it was published: with silence up to 30 s.
    (x, _) = speech_features()
    check(encoder, published, x)
    # At its own length, for which transformers' check has to be told of.
    positions = published.embed_positions.weight
    for x in speech_features(padding="do_not_pad"):
        x = x[:, : x.shape[1] // 2 * 2]
        frames = x.shape[1] // 2
        config.max_source_positions = frames
        published.embed_positions = torch.nn.Embedding.from_pretrained(
            positions[:frames]
        )
        check(encoder, published, x)


def check(encoder, published, x):
    with torch.no_grad():
        expected = published(torch.tensor(x)[None], output_hidden_states=True)
        states = arrays(encoder(x.T[None]))
    assert len(states) == len(expected.hidden_states)
    for state, reference in zip(states, expected.hidden_states, strict=True):
        scale = float(reference.abs().max())
        np.testing.assert_allclose(state, reference, atol=1e-4 * scale)
