import json

import keras
import numpy as np
import pytest
import soundfile

from ser_keras.audio.io import AudioError
from ser_keras.audio.mfcc import MFCC
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.features.deep_features import DeepFeatures
from ser_keras.features.extraction import extract_features
from ser_keras.features.extractors.base import Extractor
from ser_keras.features.extractors.base import windows
from ser_keras.features.extractors.keras import KerasExtractor
from ser_keras.features.preprocessor import Preprocessor
from ser_keras.features.preprocessor import StreamPreprocessors
from ser_keras.features.preprocessor import load_preprocessor

RATE = 16000


class Peaks(Extractor):
    """Largest value and magnitude of windows of 0.1 s, times a factor."""

    sample_rate, num_features, frame_rate = RATE, 2, 10.0

    def __init__(self, factor=1.0):
        self.factor = factor

    def extract(self, waveform):
        x = self.factor * windows(waveform, 1600, 1600)
        return np.stack([x.max(axis=1), abs(x).max(axis=1)], axis=1)

    def settings(self):
        return {"extractor": "peaks", "factor": self.factor}


class Summary(Peaks):
    """One frame of each clip."""

    frame_rate = None

    def extract(self, waveform):
        return super().extract(waveform).max(0, keepdims=True)


@pytest.fixture
def corpus(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for i in range(3):
        path = tmp_path / f"{i}.wav"
        clip = rng.uniform(-0.5, 0.5, 8000 + 1000 * i)
        soundfile.write(path, clip, RATE, "FLOAT")
        rows.append(Utterance(str(i), str(path), "anger", f"s{i}"))
    return Manifest(rows)


def save_network(path, seed=0):
    initializer = keras.initializers.GlorotUniform(seed=seed)
    inputs = keras.Input((None,), name="waveform")
    x = keras.layers.Reshape((-1, 1), name="samples")(inputs)
    x = keras.layers.Conv1D(
        6, 400, 160, name="frames", kernel_initializer=initializer
    )(x)
    outputs = keras.layers.Activation("tanh", name="squashed")(x)
    keras.Model(inputs, outputs, name="network").save(path)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A `.keras` file, not to be changed."""
    path = tmp_path_factory.mktemp("extractor") / "network.keras"
    save_network(path)
    return path


def equal(first, second):
    assert first.manifest == second.manifest
    assert first.frame_rate == second.frame_rate
    for a, b in zip(first.arrays, second.arrays, strict=True):
        np.testing.assert_array_equal(a, b)


def saved(preprocessor, folder):
    """What is read of `preprocessor.json`."""
    preprocessor.save(folder / "preprocessor.json")
    return load_preprocessor(folder)


def test_without_a_file_the_network_is_untrained_and_always_the_same(
    corpus, tmp_path
):
    first, second = DeepFeatures(duration=2.0), DeepFeatures(duration=2.0)
    assert first.hash == second.hash
    assert first.in_graph and first.sample_rate == RATE
    assert first.duration_frames() == 16  # Of 0.128 s.
    assert DeepFeatures().duration_frames() is None
    features = first.compute(corpus)
    assert features.num_features == first.num_features == 32
    assert features.frame_rate == first.frame_rate == 1 / 0.128
    equal(features, second.compute(corpus))
    loaded = saved(first, tmp_path)
    assert (loaded.hash, loaded.duration) == (first.hash, 2.0)
    equal(features, loaded.compute(corpus, tmp_path / "cache"))


def test_file(network, corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(network.parent)
    deep = DeepFeatures("network.keras", output="frames", hop=0.01)
    extractor = KerasExtractor(network, hop=0.01, layer="frames")
    features = deep.compute(corpus, tmp_path / "cache")
    for utterance, array in zip(corpus, features.arrays, strict=True):
        clip, _ = soundfile.read(utterance.path, dtype="float32")
        np.testing.assert_allclose(array, extractor.extract(clip), atol=1e-6)
    assert np.abs(features.arrays[0]).max() > 0
    # The run may be read from another folder.
    monkeypatch.chdir(tmp_path)
    equal(features, saved(deep, tmp_path).compute(corpus))


def test_hash_is_of_the_files_content_and_not_of_its_place(network, tmp_path):
    copy, other = tmp_path / "copy.keras", tmp_path / "other.keras"
    copy.write_bytes(network.read_bytes())
    save_network(other, seed=1)
    base = DeepFeatures(network, hop=0.01).hash
    assert DeepFeatures(copy, hop=0.01).hash == base
    others = [
        DeepFeatures(other, hop=0.01),
        DeepFeatures(copy, "frames", hop=0.01),
        DeepFeatures(copy, hop=0.01, duration=3.0),
        DeepFeatures(copy, hop=0.01, layers=2),
    ]
    assert len({base, *(x.hash for x in others)}) == 5


def test_a_file_that_has_changed_since_is_refused(tmp_path):
    path = tmp_path / "network.keras"
    save_network(path)
    DeepFeatures(path, hop=0.01).save(tmp_path / "preprocessor.json")
    load_preprocessor(tmp_path)
    save_network(path, seed=1)
    with pytest.raises(ValueError, match="network.keras must be.*has changed"):
        load_preprocessor(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="network.keras"):
        load_preprocessor(tmp_path)


def test_store(corpus, tmp_path):
    def store(name, extractor, **options):
        extract_features(corpus, extractor, tmp_path / name, **options)
        (folder,) = (tmp_path / name).iterdir()
        return folder

    folder = store("first", Peaks())
    deep = DeepFeatures(folder)
    assert not deep.in_graph and deep.extractor is None
    assert deep.num_features == 2 and deep.sample_rate == RATE
    features = extract_features(corpus, Peaks(), tmp_path / "first")
    equal(deep.compute(corpus), features)
    loaded = saved(deep, tmp_path)
    assert loaded.hash == deep.hash
    equal(loaded.compute(corpus), features)
    # Another one in its place has other settings.
    for other in (
        store("second", Peaks(2.0)),
        store("third", Peaks(), duration=0.2),
    ):
        description = (other / "extractor.json").read_text()
        (folder / "extractor.json").write_text(description)
        with pytest.raises(ValueError, match="must be the extractor.*changed"):
            load_preprocessor(tmp_path)


def test_an_object_is_used_but_not_loaded_again(corpus, tmp_path):
    deep = DeepFeatures(Peaks())
    assert deep.describe() == "2 features of Peaks"
    equal(
        deep.compute(corpus),
        extract_features(corpus, Peaks(), tmp_path / "cache"),
    )
    assert DeepFeatures(Peaks(2.0)).hash != deep.hash
    deep.save(tmp_path / "preprocessor.json")
    with pytest.raises(ValueError, match="object of class Peaks: make `DeepF"):
        load_preprocessor(tmp_path)


def test_a_summary_has_one_frame():
    deep = DeepFeatures(Summary(), duration=3.0)
    assert deep.frame_rate is None and deep.duration_frames() == 1


def test_beside_a_front_end(network, corpus, tmp_path):
    (tmp_path / "1.wav").write_text("this is not audio")
    streams = StreamPreprocessors(
        {
            "handcrafted": Preprocessor(MFCC(), duration=2.0),
            "deep": DeepFeatures(network, hop=0.01),
        }
    )
    assert streams.num_features == {"handcrafted": 40, "deep": 6}
    assert streams.in_graph
    with pytest.raises(AudioError, match="1 of 3"):
        streams.compute(corpus)
    loaded = saved(streams, tmp_path)
    assert loaded.hash == streams.hash
    features = loaded.compute(corpus, skip_bad_audio=True)
    assert [u.id for u in features.manifest] == ["0", "2"]
    part = Manifest([corpus[0], corpus[2]])
    for name, stream in streams.streams.items():
        equal(features.streams[name].select(part), stream.compute(part))


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        (["nowhere.keras"], FileNotFoundError, "nowhere.keras"),
        ([__file__], ValueError, "must be a .tflite, .onnx or .keras"),
        ([Peaks(), "", 0.1, RATE, 3], ValueError, "are 2 .*layers=3"),
    ],
)
def test_arguments_are_checked(arguments, error, message):
    with pytest.raises(error, match=message):
        DeepFeatures(*arguments)


def test_a_folder_without_a_store(tmp_path):
    with pytest.raises(ValueError, match="is no store of `extract_features`"):
        DeepFeatures(tmp_path)


def test_the_description_is_json(network, tmp_path):
    deep = DeepFeatures(network, hop=0.01)
    deep.save(tmp_path / "preprocessor.json", kind="deep")
    record = json.loads((tmp_path / "preprocessor.json").read_text())
    config = record["preprocessor"]["config"]
    assert record["kind"] == "deep"
    assert config["extractor"] == str(network)
    assert config["content"]["extractor"] == "KerasExtractor"
