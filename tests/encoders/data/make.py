"""Tiny models with random weights, and what transformers makes of noise.

    .venv-transformers/bin/python tests/encoders/data/make.py

writes a folder for each variant, in the layout of Hugging Face, with
`golden.npz`: the hidden states of each clip, alone and without padding. Of
Whisper, also the log-mel frames of a recording. `make test-transformers` sets
up the environment, and compares what is here with what transformers makes of
it now.
"""

import json
import os
import pathlib
import shutil
import sys

os.environ["KERAS_BACKEND"] = "torch"
sys.path.insert(0, str(pathlib.Path(__file__).parents[3]))

import numpy as np  # noqa: E402
import soundfile  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

from tests.encoders.published import clips  # noqa: E402
from tests.encoders.published import mel_clips  # noqa: E402

DATA = pathlib.Path(__file__).parent
ROOT = DATA.parents[2]
SPEECH = "ser_keras/corpora/built_in/emodb/03a01Wa.ogg"

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": (6,) * 7,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": 5,
}
POSITIONS = {"num_conv_pos_embeddings": 8}
# As in large models.
LARGE = {
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "conv_bias": True,
}
BUCKETS = {"num_buckets": 16, "max_bucket_distance": 10}

#: Folder: class of transformers, whose head is left out by us, and arguments.
VARIANTS = {
    "wav2vec2_base": ("Wav2Vec2ForCTC", POSITIONS),
    "wav2vec2_large": ("Wav2Vec2Model", POSITIONS | LARGE),
    "hubert_base": (
        "HubertModel",
        POSITIONS | {"feat_proj_layer_norm": False, "layer_norm_eps": 1e-3},
    ),
    "hubert_large": ("HubertForSequenceClassification", POSITIONS | LARGE),
    "wavlm_base": ("WavLMModel", POSITIONS | BUCKETS),
    "wavlm_large": ("WavLMForCTC", POSITIONS | BUCKETS | LARGE),
    "data2vec": (
        "Data2VecAudioModel",
        {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 5},
    ),
}
SHARDED = "wav2vec2_large"


def randomize(model):
    """Weights of which every one matters: also norms, biases and gates."""
    for name, value in model.named_parameters():
        noise = torch.randn(value.shape)
        if value.dim() == 1:
            value.data = 0.2 * noise + ("norm.weight" in name)
        elif "original0" in name or "gru_rel_pos_const" in name:
            value.data = 1 + 0.2 * noise
        elif "embed_positions" not in name:
            value.data = noise * (value[0].numel() ** -0.5)


def hidden_states(model, inputs):
    """Arrays by name: `0` to the last layer, and `last`, the model's answer.

    Where layers begin with their norm, `last` is after one more. Versions of
    transformers differ in whether the last of the hidden states is, too; in
    this one Whisper's is.
    """
    with torch.no_grad():
        found = model(inputs, output_hidden_states=True)
    states = {str(i): x[0].numpy() for i, x in enumerate(found.hidden_states)}
    return states | {"last": found.last_hidden_state[0].numpy()}


def make(name, kind, arguments):
    """Writes the folder of a variant of wav2vec 2.0."""
    torch.manual_seed(len(name))
    folder = DATA / name
    shutil.rmtree(folder, ignore_errors=True)
    model_class = getattr(transformers, kind)
    model = model_class(model_class.config_class(**SIZES | arguments)).eval()
    randomize(model)
    size = "16KB" if name == SHARDED else "1GB"
    model.save_pretrained(folder, max_shard_size=size)
    tidy(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"do_normalize": False, "sampling_rate": 16000}) + "\n"
    )
    found = golden(model, clips())
    if name == "wav2vec2_base":
        zeros = np.zeros(len(clips()[0]) - len(clips()[1]), "float32")
        padded = golden(model, [np.append(clips()[1], zeros)])
        found |= {k.replace("0", "1_padded", 1): x for k, x in padded.items()}
    np.savez_compressed(folder / "golden.npz", **found)


def tidy(folder):
    """Leaves the files that are needed, for everybody to read."""
    (folder / "generation_config.json").unlink(missing_ok=True)
    for path in folder.iterdir():
        path.chmod(0o644)


def golden(model, inputs):
    """Hidden states by clip and layer, `clip0_layer0`."""
    return {
        f"clip{i}_layer{name}": state
        for i, clip in enumerate(inputs)
        for name, state in hidden_states(
            model.base_model, torch.tensor(clip)[None]
        ).items()
    }


def whisper_model():
    """A Whisper, with its decoder."""
    config = transformers.WhisperConfig(
        d_model=16,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=8,
        num_mel_bins=8,
        max_source_positions=20,
        max_target_positions=4,
        vocab_size=10,
        **{f"{x}_token_id": 0 for x in ("pad", "bos", "eos")},
        decoder_start_token_id=0,
    )
    model = transformers.WhisperForConditionalGeneration(config).eval()
    randomize(model)
    return model


def whisper_golden(model, inputs):
    """The same of Whisper, of which transformers takes one length only."""
    encoder = model.get_encoder()
    positions, longest = encoder.embed_positions, encoder.max_source_positions
    found = {}
    for i, clip in enumerate(inputs):
        frames = len(clip) // 2
        encoder.config.max_source_positions = frames
        encoder.embed_positions = torch.nn.Embedding.from_pretrained(
            positions.weight[:frames]
        )
        states = hidden_states(encoder, torch.tensor(clip.T)[None])
        found |= {f"clip{i}_layer{name}": x for name, x in states.items()}
    encoder.embed_positions = positions
    encoder.config.max_source_positions = longest
    return found


def make_whisper():
    """Writes the folder of Whisper."""
    torch.manual_seed(0)
    folder = DATA / "whisper"
    shutil.rmtree(folder, ignore_errors=True)
    model = whisper_model()
    model.save_pretrained(folder)
    tidy(folder)
    np.savez_compressed(
        folder / "golden.npz", **whisper_golden(model, mel_clips())
    )
    extractor = transformers.WhisperFeatureExtractor(feature_size=80)
    # As integers, which a decoder of another version cannot change.
    speech, rate = soundfile.read(ROOT / SPEECH, 16000, dtype="int16")
    assert rate == 16000
    features = extractor(
        speech / np.float32(2**15),
        sampling_rate=rate,
        padding="do_not_pad",
        return_tensors="np",
    ).input_features[0]
    np.savez_compressed(
        DATA / "whisper_log_mel.npz", waveform=speech, features=features.T
    )


if __name__ == "__main__":
    make_whisper()
    for name, (kind, arguments) in VARIANTS.items():
        make(name, kind, arguments)
