"""Tiny encoders with random weights; published ones are not fetched here."""

import numpy as np
import pytest

REASON = "torch and transformers are not installed (extra: transformers)"
torch = pytest.importorskip("torch", reason=REASON)
transformers = pytest.importorskip("transformers", reason=REASON)

from ser_keras.data.transformers_extractor import TransformersExtractor  # noqa: E402

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}


def saved(name, folder, seed=0, rate=16000):
    torch.manual_seed(seed)
    if name == "Whisper":
        config = transformers.WhisperConfig(
            d_model=16,
            encoder_layers=2,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
            vocab_size=100,
            **{f"{x}_token_id": 0 for x in ("pad", "bos", "eos")},
            decoder_start_token_id=0,
        )
        prepare = transformers.WhisperFeatureExtractor()
    else:
        config = getattr(transformers, f"{name}Config")(**SIZES)
        prepare = transformers.Wav2Vec2FeatureExtractor(sampling_rate=rate)
    model = getattr(transformers, f"{name}Model")(config)
    model.save_pretrained(folder)
    prepare.save_pretrained(folder)
    return model.eval()


def noise(samples):
    rng = np.random.default_rng(0)
    return rng.normal(0, 0.1, samples).astype("float32")


@pytest.mark.parametrize("name", ["Wav2Vec2", "Hubert", "WavLM"])
def test_hidden_states_of_the_layers_that_are_asked_for(tmp_path, name):
    model = saved(name, tmp_path)
    extractor = TransformersExtractor(tmp_path, layers=[0, 1, -1])
    assert (extractor.num_features, extractor.frame_rate) == (48, 50.0)
    x = noise(16000)
    normal = (x - x.mean()) / np.sqrt(x.var() + 1e-7)
    with torch.no_grad():
        states = model(
            torch.tensor(normal)[None], output_hidden_states=True
        ).hidden_states
    expected = np.concatenate([state[0].numpy() for state in states], axis=1)
    np.testing.assert_allclose(extractor.extract(x), expected, atol=1e-4)
    last = TransformersExtractor(tmp_path).extract(x)
    np.testing.assert_allclose(last, expected[:, 32:], atol=1e-4)
    # One sample is enough; a second of it gives 49 frames.
    assert extractor.extract(x[:1]).shape == (1, 48)
    assert len(last) == 49


def test_whisper_in_pieces_without_its_padding(tmp_path):
    model = saved("Whisper", tmp_path)
    extractor = TransformersExtractor(tmp_path, layers=[1, 2])
    assert (extractor.num_features, extractor.frame_rate) == (32, 50.0)
    x = noise(31 * 16000)
    prepare = transformers.WhisperFeatureExtractor()
    parts = prepare(
        [x[: 30 * 16000], x[30 * 16000 :]],
        sampling_rate=16000,
        return_tensors="pt",
    ).input_features
    with torch.no_grad():
        states = model.encoder(parts, output_hidden_states=True).hidden_states
    both = torch.cat(states[1:], dim=-1).numpy()
    expected = np.concatenate([both[0], both[1, :50]])
    np.testing.assert_allclose(extractor.extract(x), expected, atol=1e-4)


def test_settings_are_of_weights_and_layers_and_not_of_the_folder(tmp_path):
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        saved("Wav2Vec2", tmp_path / folder, seed)
    settings = [
        TransformersExtractor(tmp_path / folder, layers).settings()
        for folder, layers in (("a", -1), ("b", 2), ("c", -1), ("a", 1))
    ]
    assert settings[0] == settings[1]
    assert settings[0] != settings[2]
    assert settings[0] != settings[3]


def test_models_that_do_not_fit_are_refused(tmp_path):
    saved("Wav2Vec2", tmp_path, rate=8000)
    with pytest.raises(ValueError, match="8000 Hz.*sample_rate=16000"):
        TransformersExtractor(tmp_path, sample_rate=16000)
    with pytest.raises(ValueError, match=r"among the 3 .*layers=\[3\]"):
        TransformersExtractor(tmp_path, layers=3)
    with pytest.raises(FileNotFoundError, match="absent: neither a folder"):
        TransformersExtractor(tmp_path / "absent")
    transformers.BertModel(
        transformers.BertConfig(
            hidden_size=8, num_hidden_layers=1, num_attention_heads=2
        )
    ).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="model_type='bert'"):
        TransformersExtractor(tmp_path)
