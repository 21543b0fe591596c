"""Saves tiny encoders with random weights, and what they make of noise.

python tiny_encoders.py FOLDER. In a process of its own: torch and TensorFlow
cannot share one.
"""

import pathlib
import sys

import numpy as np
import torch
import transformers

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}


def noise(samples):
    rng = np.random.default_rng(0)
    return rng.normal(0, 0.1, samples).astype("float32")


def saved(name, folder, seed=0, rate=16000):
    torch.manual_seed(seed)
    config = getattr(transformers, f"{name}Config")(**SIZES)
    model = getattr(transformers, f"{name}Model")(config)
    model.save_pretrained(folder)
    prepare = transformers.Wav2Vec2FeatureExtractor(sampling_rate=rate)
    prepare.save_pretrained(folder)
    return model.eval()


def encoder(name, folder):
    model = saved(name, folder)
    x = noise(16000)
    x = (x - x.mean()) / np.sqrt(x.var() + 1e-7)
    with torch.no_grad():
        states = model(torch.tensor(x)[None], output_hidden_states=True)
    states = torch.cat(states.hidden_states, dim=-1)[0]
    np.save(folder / "expected.npy", states.numpy())


def whisper(folder):
    torch.manual_seed(0)
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
    model = transformers.WhisperModel(config).eval()
    model.save_pretrained(folder)
    prepare = transformers.WhisperFeatureExtractor()
    prepare.save_pretrained(folder)
    x = noise(31 * 16000)
    parts = prepare(
        [x[: 30 * 16000], x[30 * 16000 :]],
        sampling_rate=16000,
        return_tensors="pt",
    ).input_features
    with torch.no_grad():
        states = model.encoder(parts, output_hidden_states=True).hidden_states
    both = torch.cat(states[1:], dim=-1).numpy()
    np.save(folder / "expected.npy", np.concatenate([both[0], both[1, :50]]))


def main(folder):
    folder = pathlib.Path(folder)
    for name in ("Wav2Vec2", "Hubert", "WavLM"):
        encoder(name, folder / name)
    whisper(folder / "Whisper")
    saved("Wav2Vec2", folder / "copy")
    saved("Wav2Vec2", folder / "other", seed=1)
    saved("Wav2Vec2", folder / "slow", rate=8000)
    saved("Wav2Vec2", folder / "text")
    config = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2
    )
    transformers.BertModel(config).save_pretrained(folder / "text")


if __name__ == "__main__":
    main(*sys.argv[1:])
