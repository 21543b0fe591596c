"""Hidden states against those of transformers, on any backend of Keras."""

import numpy as np
import pytest

from ser_keras.encoders import SpeechEncoder
from tests.encoders.published import DATA
from tests.encoders.published import VARIANTS
from tests.encoders.published import arrays
from tests.encoders.published import check_states
from tests.encoders.published import encoder
from tests.encoders.published import golden
from tests.encoders.published import inputs
from tests.encoders.published import padded

variants = pytest.mark.parametrize("variant", VARIANTS)
LARGE = [x for x in VARIANTS if x.endswith("large")]


@variants
def test_clip_alone(variant):
    states = arrays(encoder(variant)(inputs(variant)[0][None]))
    check_states([x[0] for x in states], golden(variant), 0)


@variants
def test_clips_of_a_batch_are_as_alone(variant):
    batch, lengths = padded(inputs(variant))
    states = arrays(encoder(variant)(batch, lengths=lengths))
    frames = encoder(variant).num_frames(lengths)
    for clip, count in enumerate(frames):
        own = [x[clip, :count] for x in states]
        check_states(own, golden(variant), clip)
        assert not any(x[clip, count:].any() for x in states)


@pytest.mark.parametrize("variant", LARGE)
def test_last_layer_before_the_final_norm(variant):
    plain = SpeechEncoder.from_pretrained(DATA / variant, final_norm=False)
    states = arrays(plain(inputs(variant)[0][None]))
    check_states([x[0] for x in states], golden(variant), 0, last="2")


@pytest.mark.parametrize("variant", ["whisper", "wavlm_base", "hubert_large"])
@pytest.mark.parametrize("layers", [0, 1])
def test_first_layers_alone(variant, layers):
    short = SpeechEncoder.from_pretrained(DATA / variant, num_layers=layers)
    assert short.count_params() < encoder(variant).count_params()
    states = arrays(short(inputs(variant)[0][None]))
    assert len(states) == layers + 1
    check_states([x[0] for x in states], golden(variant), 0, last=layers)


def test_base_model_without_lengths_takes_padding_as_it_was_published():
    """Zeros are part of the statistics of its group normalisation."""
    batch, _ = padded(inputs("wav2vec2_base"))
    states = arrays(encoder("wav2vec2_base")(np.nan_to_num(batch[1:2])))
    found = golden("wav2vec2_base")
    check_states([x[0] for x in states], found, "1_padded")
    assert np.abs(found["clip1_layer1"] - states[1][0, :9]).max() > 0.01


def test_odd_length_of_whisper():
    x = inputs("whisper")[0][:23]
    batch, lengths = padded([x, inputs("whisper")[0]])
    alone = arrays(encoder("whisper")(x[None]))
    states = arrays(encoder("whisper")(batch, lengths=lengths))
    for one, state in zip(alone, states, strict=True):
        assert one.shape == (1, 12, 16)
        np.testing.assert_allclose(one[0], state[0, :12], atol=1e-5)


def test_waveform_is_normalized_over_its_own_samples():
    normal = SpeechEncoder.from_pretrained(
        DATA / "wav2vec2_base", normalize_waveform=True
    )
    clips = inputs("wav2vec2_base")
    batch, lengths = padded([3 * x + 0.5 for x in clips])
    states = arrays(normal(batch, lengths=lengths))
    for clip, x in enumerate(clips):
        x = (x - x.mean()) / np.sqrt(x.var() + 1e-7)
        expected = arrays(encoder("wav2vec2_base")(x[None].astype("float32")))
        own = states[-1][clip, : expected[-1].shape[1]]
        np.testing.assert_allclose(own, expected[-1][0], atol=1e-3)
