"""Reading published weights: layouts, errors, the hub."""

import json
import shutil
import sys

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants
from huggingface_hub import errors
from safetensors.numpy import load_file
from safetensors.numpy import save_file

from ser_keras.encoders import SpeechEncoder
from ser_keras.encoders import Wav2Vec2Encoder
from ser_keras.encoders import WhisperEncoder
from tests.encoders.published import DATA
from tests.encoders.published import arrays
from tests.encoders.published import check_states
from tests.encoders.published import golden
from tests.encoders.published import inputs

LAYER = "model.encoder.layers.1.fc1.weight"


@pytest.fixture
def copy(tmp_path):
    """`copy(variant)`: a copy of its folder, to be changed."""

    def make(variant="whisper"):
        return shutil.copytree(DATA / variant, tmp_path / variant)

    return make


def change_tensors(folder, change):
    """Rewrites the weights; `change` gets a dict of arrays."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def change_config(folder, file="config.json", **entries):
    path = folder / file
    config = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(config | entries))


def check_equal(folder, variant):
    encoder = SpeechEncoder.from_pretrained(folder)
    states = arrays(encoder(inputs(variant)[0][None]))
    check_states([x[0] for x in states], golden(variant), 0)


def test_former_names_of_weight_normalisation(copy):
    folder = copy("wav2vec2_base")

    def rename(tensors):
        name = "wav2vec2.encoder.pos_conv_embed.conv."
        for new, old in (("original0", "weight_g"), ("original1", "weight_v")):
            tensors[name + old] = tensors.pop(
                f"{name}parametrizations.weight.{new}"
            )

    change_tensors(folder, rename)
    check_equal(folder, "wav2vec2_base")


def test_half_precision_is_read_as_float32(copy):
    folder = copy()

    def half(tensors):
        for name, x in tensors.items():
            tensors[name] = x.astype("float16")

    change_tensors(folder, half)
    encoder = SpeechEncoder.from_pretrained(folder)
    assert {str(x.dtype) for x in encoder.weights} == {"float32"}
    states = arrays(encoder(inputs("whisper")[0][None]))
    expected = golden("whisper")["clip0_layerlast"]
    np.testing.assert_allclose(states[-1][0], expected, atol=0.03)


def test_shard_that_is_missing_and_index_that_leads_elsewhere(copy):
    folder = copy("wav2vec2_large")
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="model-00002-of.*is missing"):
        SpeechEncoder.from_pretrained(folder)
    index = {"weight_map": {"a": "../other.safetensors"}}
    change_config(folder, "model.safetensors.index.json", **index)
    with pytest.raises(ValueError, match="same folder.*other.safetensors"):
        SpeechEncoder.from_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda x: x.pop(LAYER),
            r"Missing: \['layers.1.fc1.weight'\]. Unknown: \[\]",
        ),
        (
            lambda x: x.update({"model.encoder.gate": x[LAYER]}),
            r"Missing: \[\]. Unknown: \['gate'\]",
        ),
        (
            lambda x: x.update({LAYER: x[LAYER][:, 1:].copy()}),
            r"layers.1.fc1.weight must have shape \(24, 16\).*\(24, 15\)",
        ),
        (
            lambda x: [x.pop(k) for k in list(x) if "model.encoder" in k],
            r"no encoder.*Found: \['model.decoder",
        ),
    ],
    ids=["missing", "unknown", "shape", "decoder only"],
)
def test_tensors_that_do_not_fit(copy, change, message):
    folder = copy()
    change_tensors(folder, change)
    with pytest.raises(ValueError, match=message):
        SpeechEncoder.from_pretrained(folder)


def test_tensors_of_layers_that_are_not_used_need_not_be_there(copy):
    folder = copy()
    change_tensors(folder, lambda x: x.pop(LAYER))
    encoder = SpeechEncoder.from_pretrained(folder, num_layers=1)
    states = arrays(encoder(inputs("whisper")[0][None]))
    check_states([x[0] for x in states], golden("whisper"), 0, last=1)


@pytest.mark.parametrize("kept", [0, 100, 5000])
def test_truncated_file(copy, kept):
    path = copy() / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="no whole safetensors file"):
        SpeechEncoder.from_pretrained(path.parent)


def test_pickle_is_not_read(copy):
    folder = copy()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="pytorch_model.bin.*can run code"):
        SpeechEncoder.from_pretrained(folder)


def test_folder_without_weights_or_configuration(copy):
    folder = copy()
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="must have model.safetensors"):
        SpeechEncoder.from_pretrained(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json is not valid JSON"):
        SpeechEncoder.from_pretrained(folder)
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match="config.json.*golden.npz"):
        SpeechEncoder.from_pretrained(folder)


@pytest.mark.parametrize(
    ("variant", "entries", "message"),
    [
        ("whisper", {"model_type": "bert"}, "wavlm, .*model_type='bert'"),
        ("whisper", {"d_model": None}, "`d_model`.*positive.*None"),
        (
            "whisper",
            {"activation_function": "relu"},
            "not supported: `activation_function`.*'gelu'.*'relu'",
        ),
        ("hubert_base", {"conv_pos_batch_norm": True}, "conv_pos_batch_norm"),
        ("wavlm_base", {"feat_extract_norm": "batch"}, "conv_norm='batch'"),
        ("wavlm_base", {"conv_stride": [5]}, r"same length.*s=\[5\]"),
    ],
)
def test_configuration_that_does_not_fit(copy, variant, entries, message):
    folder = copy(variant)
    change_config(folder, **entries)
    with pytest.raises(ValueError, match=message):
        SpeechEncoder.from_pretrained(folder)


def test_class_of_another_family():
    message = "whisper.*model_type='wavlm' .Wav2Vec2Encoder reads it"
    with pytest.raises(ValueError, match=message):
        WhisperEncoder.from_pretrained(DATA / "wavlm_base")
    found = Wav2Vec2Encoder.from_pretrained(DATA / "wavlm_base", num_layers=0)
    assert type(found) is Wav2Vec2Encoder


def test_features_of_another_front_end(copy):
    folder = copy()
    change_config(folder, "preprocessor_config.json", hop_length=80)
    with pytest.raises(ValueError, match="hop_length=160.*hop_length=80"):
        SpeechEncoder.from_pretrained(folder)


def test_what_the_input_must_be_is_read(copy):
    folder = copy("hubert_base")
    entries = {"do_normalize": True, "sampling_rate": 8000}
    change_config(folder, "preprocessor_config.json", **entries)
    found = SpeechEncoder.from_pretrained(folder, num_layers=0)
    assert (found.normalize_waveform, found.sample_rate) == (True, 8000)
    assert found.frame_rate == 25


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_layers": 3}, "from 0 to 2.*num_layers=3"),
        ({"num_layers": -1}, "from 0 to 2.*num_layers=-1"),
        ({"num_layers": 1, "final_norm": True}, "last layer, 2, of"),
    ],
)
def test_layers_that_are_not_there(options, message):
    with pytest.raises(ValueError, match=message):
        SpeechEncoder.from_pretrained(DATA / "whisper", **options)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The hub's cache, empty, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_copy_in_the_cache_is_used_without_a_network(hub):
    commit = "0123456789" * 4
    repository = hub / "models--owner--tiny"
    shutil.copytree(DATA / "whisper", repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(commit)
    for revision in (None, commit):
        found = SpeechEncoder.from_pretrained(
            "owner/tiny", num_layers=0, revision=revision
        )
        assert found.units == 16
    with pytest.raises(ConnectionError, match="owner/tiny is no folder"):
        SpeechEncoder.from_pretrained("owner/tiny", revision="a" * 40)


def test_no_network(hub):
    with pytest.raises(ConnectionError, match="hub cannot be reached.*folder"):
        SpeechEncoder.from_pretrained("owner/tiny")


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (errors.GatedRepoError, PermissionError, "is gated.*HF_TOKEN"),
        (errors.RepositoryNotFoundError, FileNotFoundError, "neither a folder"),
        (errors.RevisionNotFoundError, FileNotFoundError, "revision='1'"),
    ],
)
def test_answers_of_the_hub(monkeypatch, error, expected, message):
    def answer(name, *, revision, allow_patterns):
        assert not any("bin" in x for x in allow_patterns)
        # Their constructors want a response of a server.
        raise error.__new__(error)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", answer)
    with pytest.raises(expected, match=f"owner/tiny.*{message}"):
        SpeechEncoder.from_pretrained("owner/tiny", revision="1")


@pytest.mark.parametrize("name", ["/no/such/folder", "a/b/c", "a b"])
def test_names_that_are_not_asked_for(name):
    with pytest.raises(FileNotFoundError, match="neither a folder"):
        SpeechEncoder.from_pretrained(name)


def test_extra_that_is_not_installed(monkeypatch):
    for package in ("safetensors", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, package, None)
    for model in (DATA / "whisper", "owner/tiny"):
        with pytest.raises(ImportError, match=r"ser_keras\[encoders\]"):
            SpeechEncoder.from_pretrained(model)
