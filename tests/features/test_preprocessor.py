import json

import keras
import numpy as np
import pytest
import soundfile

from ser_keras.audio.augmentation.speed import AtSpeed
from ser_keras.audio.fixed_duration import FixedDuration
from ser_keras.audio.front_end import FrontEnd
from ser_keras.audio.io import AudioError
from ser_keras.audio.log_mel import LogMelSpectrogram
from ser_keras.audio.mfcc import MFCC
from ser_keras.audio.normalization import UtteranceNormalization
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.features import preprocessor as preprocessor_module
from ser_keras.features.dataset import make_dataset
from ser_keras.features.preprocessor import Preprocessor
from ser_keras.features.preprocessor import StreamPreprocessors
from ser_keras.features.preprocessor import load_preprocessor

RATE = 16000


@keras.saving.register_keras_serializable(package="tests")
class Energies(FrontEnd):
    """Scaled mean absolute value of frames of 100 samples, twice."""

    frame_length = frame_step = 100
    num_features = 2

    def __init__(self, scale=1.0, sample_rate=RATE, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale
        self.sample_rate = sample_rate

    def num_frames(self, samples):
        return samples // 100

    def call(self, waveform, lengths=None):
        batch, samples = keras.ops.shape(waveform)
        frames = samples // 100
        x = keras.ops.reshape(waveform[:, : frames * 100], (batch, frames, 100))
        x = self.scale * keras.ops.mean(keras.ops.abs(x), axis=-1)
        return keras.ops.stack([x, -x], axis=-1)

    def get_config(self):
        return {
            **super().get_config(),
            "scale": self.scale,
            "sample_rate": self.sample_rate,
        }


class Relative(Energies):
    """Relative to the clip's peak; takes what follows a clip for zeros."""

    def call(self, waveform, lengths=None):
        peak = keras.ops.max(keras.ops.abs(waveform), axis=1, keepdims=True)
        return super().call(waveform / peak, lengths)


class Scaled(keras.layers.Layer):
    """A normalization that leaves all as it is, but for a factor.

    Unlike the library's, it is built when it is called.
    """

    def build(self, features_shape):
        self.built = True

    def call(self, features, lengths=None):
        return 3.0 * features


def energies(samples):
    frames = len(samples) // 100
    x = np.abs(samples[: frames * 100]).reshape(frames, 100).mean(axis=1)
    return np.stack([x, -x], axis=1)


def write(path, seconds=0.5, seed=0, rate=RATE):
    rng = np.random.default_rng(seed)
    samples = rng.uniform(-0.5, 0.5, int(seconds * rate)).astype("float32")
    soundfile.write(path, samples, rate, "FLOAT")
    return samples


def utterances(folder, clips):
    """Manifest of clips, which are written exactly."""
    rows = []
    for i, clip in enumerate(clips):
        path = folder / f"{i}.wav"
        soundfile.write(path, clip, RATE, "FLOAT")
        rows.append(Utterance(str(i), str(path), "anger", f"s{i}"))
    return Manifest(rows)


@pytest.fixture
def corpus(tmp_path):
    rows, samples = [], {}
    for i in range(5):
        path = tmp_path / f"{i}.wav"
        samples[str(i)] = write(path, 0.3 + 0.1 * i, seed=i)
        rows.append(Utterance(str(i), str(path), "anger", f"s{i}"))
    return Manifest(rows[::-1], ("anger", "fear")), samples


@pytest.fixture
def no_audio(monkeypatch):
    """Makes every decoding fail, so that features must be cached ones."""

    def switch_off():
        def fail(*args, **kwargs):
            raise AssertionError("audio was decoded again")

        monkeypatch.setattr(preprocessor_module, "load_many", fail)

    return switch_off


def equal(first, second):
    assert first.manifest == second.manifest
    for a, b in zip(first.arrays, second.arrays, strict=True):
        np.testing.assert_array_equal(a, b)


def test_features_in_the_manifests_order(corpus):
    manifest, samples = corpus
    features = Preprocessor(Energies()).compute(manifest)
    assert features.manifest == manifest
    assert features.num_features == 2
    assert features.frame_rate == 160
    assert features.max_length == 112
    for utterance, array in zip(manifest, features.arrays, strict=True):
        assert array.dtype == "float32"
        np.testing.assert_allclose(
            array, energies(samples[utterance.id]), atol=1e-5
        )


FORMS = {
    "mfcc": (MFCC(num_coefficients=13), UtteranceNormalization()),
    "log_mel": (
        LogMelSpectrogram(num_mel_bins=20),
        UtteranceNormalization(over="all"),
    ),
    "own_front_end": (Relative(), None),
    "fixed_duration": (FixedDuration(MFCC.light_sernet(), 2.0, 99.9), None),
}


@pytest.mark.parametrize("form", FORMS)
def test_graph_form_equals_compute(form, recordings, tmp_path):
    """On padded batches of real recordings, whatever the padding is."""
    preprocessor = Preprocessor(*FORMS[form])
    computed = preprocessor.compute(utterances(tmp_path, recordings))
    assert computed.frame_rate == preprocessor.frame_rate
    lengths = np.array([len(clip) for clip in recordings], "int32")
    batch = np.full((len(lengths), lengths.max() + 777), np.nan, "float32")
    for row, clip in zip(batch, recordings, strict=True):
        row[: len(clip)] = clip
    graph = preprocessor(batch, lengths).numpy()
    assert graph.shape == preprocessor.compute_output_shape(batch.shape)
    for row, array in zip(graph, computed.arrays, strict=True):
        scale = np.abs(array).max()
        np.testing.assert_allclose(row[: len(array)], array, atol=1e-5 * scale)
        assert not row[len(array) :].any()
    # All samples are the clip where no lengths are given.
    alone = preprocessor(recordings[0][None])[0]
    scale = np.abs(alone).max()
    np.testing.assert_allclose(alone, computed.arrays[0], atol=1e-5 * scale)


def test_cache_is_read_back(corpus, tmp_path, no_audio):
    manifest, _ = corpus
    cache = tmp_path / "cache"
    first = Preprocessor(Energies()).compute(manifest, cache)
    no_audio()
    equal(first, Preprocessor(Energies()).compute(manifest, cache))
    # The order and the choice of utterances do not matter, nor a layer's name.
    part = manifest[1:4]
    renamed = Preprocessor(Energies(name="another"), name="another")
    equal(first.select(part), renamed.compute(part, cache))


@pytest.mark.parametrize(
    "arguments",
    [
        [Energies(2.0)],
        [FixedDuration(Energies(), 0.2)],
        [Energies(sample_rate=8000)],
        [Energies(), Scaled()],
    ],
    ids=["option", "duration", "rate", "normalization"],
)
def test_changed_setting_is_not_answered_from_the_cache(
    corpus, tmp_path, arguments
):
    manifest, _ = corpus
    cache = tmp_path / "cache"
    before = Preprocessor(Energies()).compute(manifest, cache)
    changed = Preprocessor(*arguments)
    cached = changed.compute(manifest, cache)
    equal(cached, changed.compute(manifest))
    assert not np.array_equal(cached.arrays[0], before.arrays[0])
    assert len(list(cache.iterdir())) == 2


def test_changed_code_is_not_answered_from_the_cache(corpus, tmp_path):
    manifest, _ = corpus
    cache = tmp_path / "cache"
    Preprocessor(Energies()).compute(manifest, cache)

    class Changed(Energies):
        def call(self, waveform, lengths=None):
            return 1.5 * super().call(waveform, lengths)

    Changed.__name__ = "Energies"
    changed = Preprocessor(Changed()).compute(manifest, cache)
    equal(changed, Preprocessor(Changed()).compute(manifest))


def test_changed_audio_is_not_answered_from_the_cache(corpus, tmp_path):
    manifest, _ = corpus
    cache = tmp_path / "cache"
    Preprocessor(Energies()).compute(manifest, cache)
    samples = write(manifest[0].path, 0.7, seed=99)
    again = Preprocessor(Energies()).compute(manifest, cache)
    np.testing.assert_allclose(again.arrays[0], energies(samples), atol=1e-5)


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "garbage"])
def test_damaged_cache_is_computed_again(corpus, tmp_path, no_audio, damage):
    manifest, _ = corpus
    cache = tmp_path / "cache"
    first = Preprocessor(Energies()).compute(manifest, cache)
    (shard,) = cache.glob("*/*.npz")
    content = bytearray(shard.read_bytes())
    # In the middle are the frames, the largest array.
    content[len(content) // 2] ^= 0xFF
    shard.unlink()  # `first` is mapped from the former file.
    shard.write_bytes(
        {
            "flip": content,
            "truncate": content[: len(content) // 2],
            "empty": b"",
            "garbage": b"not a zip file" * 100,
        }[damage]
    )
    equal(first, Preprocessor(Energies()).compute(manifest, cache))
    no_audio()
    equal(first, Preprocessor(Energies()).compute(manifest, cache))


def test_cache_leaves_no_half_files(corpus, tmp_path):
    manifest, _ = corpus
    cache = tmp_path / "cache"
    Preprocessor(Energies()).compute(manifest, cache)
    assert {path.suffix for path in cache.rglob("*.*")} == {".npz"}


def test_killed_run_keeps_its_shards(corpus, tmp_path, monkeypatch):
    manifest, _ = corpus
    cache = tmp_path / "cache"
    monkeypatch.setattr(preprocessor_module, "_CHUNK", 2)
    load_many, loaded = preprocessor_module.load_many, []

    def killed(paths, *args, **options):
        if len(loaded) == 4:
            raise KeyboardInterrupt
        loaded.extend(paths)
        return load_many(paths, *args, **options)

    monkeypatch.setattr(preprocessor_module, "load_many", killed)
    with pytest.raises(KeyboardInterrupt):
        Preprocessor(Energies()).compute(manifest, cache)
    loaded.clear()
    features = Preprocessor(Energies()).compute(manifest, cache)
    assert loaded == [manifest[-1].path]
    equal(features, Preprocessor(Energies()).compute(manifest))


def test_parts_of_a_file(tmp_path):
    path = tmp_path / "long.wav"
    samples = write(path, 2.0)
    manifest = Manifest(
        [
            Utterance("a", str(path), "anger", "s", start=0.25, end=0.75),
            Utterance("b", str(path), "anger", "s", start=1.5),
        ]
    )
    features = Preprocessor(Energies()).compute(manifest, tmp_path / "cache")
    np.testing.assert_allclose(
        features.arrays[0], energies(samples[4000:12000]), atol=1e-5
    )
    np.testing.assert_allclose(
        features.arrays[1], energies(samples[24000:]), atol=1e-5
    )


def test_normalization_sees_no_padding(corpus):
    manifest, _ = corpus
    preprocessor = Preprocessor(Energies(), UtteranceNormalization())
    features = preprocessor.compute(manifest)
    for array in features.arrays:
        np.testing.assert_allclose(array.mean(axis=0), 0, atol=1e-4)
    ((x, _),) = make_dataset(features, 5)
    for length, clip in zip(features.lengths, x.numpy(), strict=True):
        assert not clip[length:].any()
        assert clip[:length].any(axis=(1, 2)).all()


def bad_files(tmp_path):
    good = tmp_path / "good.wav"
    write(good)
    content = good.read_bytes()
    (tmp_path / "text.wav").write_text("this is not audio")
    (tmp_path / "zero.wav").write_bytes(b"")
    (tmp_path / "header.wav").write_bytes(content[:20])
    soundfile.write(tmp_path / "none.wav", np.zeros(0), RATE)
    soundfile.write(tmp_path / "silent.wav", np.zeros(8000), RATE)
    nan = np.full(8000, np.nan, "float32")
    soundfile.write(tmp_path / "nan.wav", nan, RATE, "FLOAT")
    write(tmp_path / "short.wav", 0.005)
    names = "text zero header none silent nan short absent".split()
    rows = [
        Utterance(name, str(tmp_path / f"{name}.wav"), "anger", "s")
        for name in ["good", *names]
    ]
    return Manifest(rows), names


def test_all_bad_audio_is_reported_at_once(tmp_path):
    manifest, names = bad_files(tmp_path)
    with pytest.raises(AudioError, match="8 of 9 utterances") as error:
        Preprocessor(Energies()).compute(manifest)
    for name in names:
        assert f"{name}.wav" in str(error.value)
    assert "good.wav" not in str(error.value)


def test_bad_audio_is_skipped_counted_and_listed(tmp_path):
    manifest, names = bad_files(tmp_path)
    preprocessor = Preprocessor(Energies())
    for _ in range(2):
        features = preprocessor.compute(
            manifest, tmp_path / "cache", skip_bad_audio=True
        )
        assert [u.id for u in features.manifest] == ["good"]
        assert [skip.id for skip in features.skipped] == names
        assert all(skip.reason for skip in features.skipped)
    # A fold made of the whole manifest leaves them out as well.
    fold = features.select(manifest[:3])
    assert (len(fold), len(fold.skipped)) == (1, 2)
    with pytest.raises(AudioError, match="8 of 8"):
        preprocessor.compute(manifest[1:], skip_bad_audio=True)


def test_stereo_other_rates_and_depths_are_read(tmp_path):
    rng = np.random.default_rng(0)
    samples = rng.uniform(-0.5, 0.5, (24000, 2))
    rows = []
    for name, rate, kind in (
        ("stereo", 48000, "PCM_16"),
        ("bits", 8000, "PCM_U8"),
        ("deep", 44100, "PCM_24"),
    ):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, samples, rate, kind)
        rows.append(Utterance(name, str(path), "anger", "s"))
    features = Preprocessor(Energies()).compute(Manifest(rows))
    expected = [24000 * RATE // rate // 100 for rate in (48000, 8000, 44100)]
    assert np.abs(features.lengths - expected).max() <= 1


def test_duration():
    mfcc = MFCC(frame_step=160, center=True)
    assert Preprocessor(mfcc).duration_frames() is None
    free = Preprocessor(mfcc, duration=2)
    assert free.duration_frames() == mfcc.num_frames(2 * RATE)
    assert free.frame_rate == 100 and not free.fixes_duration
    fixed = Preprocessor(FixedDuration(mfcc, 3.0))
    assert fixed.duration == 3.0 and fixed.fixes_duration
    assert fixed.duration_frames() == mfcc.num_frames(3 * RATE)
    assert fixed.frame_rate is None


def test_speed_perturbation_keeps_the_rest(corpus):
    manifest, _ = corpus
    normalization = UtteranceNormalization()
    faster = Preprocessor(MFCC(), normalization, duration=2.0).at_speed(1.25)
    equal(
        faster.compute(manifest),
        Preprocessor(AtSpeed(MFCC(), 1.25), normalization).compute(manifest),
    )
    fixed = Preprocessor(FixedDuration(MFCC(), 0.5))
    arrays = fixed.at_speed(1.25).compute(manifest).arrays
    assert {len(x) for x in arrays} == {fixed.duration_frames()}


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([keras.layers.Dense(3)], "`frontend` must be a .*FrontEnd.*Dense"),
        ([FixedDuration(MFCC(), 3.0), None, 2.0], "own, 3.0 s.*duration=2.0"),
        ([MFCC(), None, 0], "`duration` must be positive.*duration=0"),
        ([MFCC(), None, float("inf")], "`duration` must be positive"),
        ([MFCC(), keras.layers.Rescaling(3)], "takes `lengths`.*Rescaling"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        Preprocessor(*arguments)


def test_saved_and_loaded(recordings, tmp_path):
    manifest = utterances(tmp_path, recordings[:2])
    preprocessor = Preprocessor(
        FixedDuration(MFCC.light_sernet(), 2.0, 99.9), UtteranceNormalization()
    )
    before = preprocessor.hash
    features = preprocessor.compute(manifest)
    preprocessor(recordings[0][None])
    # Its use is not part of what it is.
    assert preprocessor.hash == before
    preprocessor.save(tmp_path / "preprocessor.json", kind="light_sernet")
    record = json.loads((tmp_path / "preprocessor.json").read_text())
    assert record["kind"] == "light_sernet"
    for path in (tmp_path, tmp_path / "preprocessor.json"):
        loaded = load_preprocessor(path)
        assert loaded.hash == before
        assert loaded.get_config() == preprocessor.get_config()
    equal(loaded.compute(manifest), features)


def test_hash_is_of_what_decides_the_features():
    base = Preprocessor(MFCC(), UtteranceNormalization(), 3.0)
    same = Preprocessor(
        MFCC(name="a"), UtteranceNormalization(name="b"), 3.0, name="c"
    )
    assert same.hash == base.hash
    # A layer that has been built knows a shape, which is no setting of it.
    used = Preprocessor(MFCC(), Scaled())
    before = used.hash
    used(np.zeros((1, RATE), "float32"))
    assert used.normalization.get_build_config() is not None
    assert used.hash == before
    others = [
        Preprocessor(MFCC(frame_step=320), UtteranceNormalization(), 3.0),
        Preprocessor(MFCC(), UtteranceNormalization(over="all"), 3.0),
        Preprocessor(MFCC(), None, 3.0),
        Preprocessor(MFCC(), UtteranceNormalization(), 4.0),
        Preprocessor(FixedDuration(MFCC(), 3.0), UtteranceNormalization()),
        Preprocessor(LogMelSpectrogram(), UtteranceNormalization(), 3.0),
    ]
    hashes = {x.hash for x in [base, *others]}
    assert len(hashes) == 1 + len(others)


def saved_record(folder, frontend=None):
    """A `preprocessor.json` and what is in it."""
    path = folder / "preprocessor.json"
    Preprocessor(frontend or MFCC(), UtteranceNormalization()).save(path)
    return path, json.loads(path.read_text())


LAMBDA = {
    "module": "keras.layers",
    "class_name": "Lambda",
    "config": {"function": "len"},
    "registered_name": None,
}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"frame_step": 320}, "hash it names.* changed by hand"),
        ({"colour": 1}, r"no preprocessor .* passed to MFCC: .'colour': 1"),
        ({"dtype": LAMBDA}, "'Lambda' of 'keras.layers'"),
    ],
    ids=["option", "unknown", "lambda"],
)
def test_a_file_that_was_changed_is_refused(tmp_path, change, message):
    path, record = saved_record(tmp_path)
    frontend = record["preprocessor"]["config"]["frontend"]
    frontend["config"].update(change)
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=message) as error:
        load_preprocessor(tmp_path)
    assert str(path) in str(error.value)


def test_a_foreign_class_is_refused_unless_it_is_trusted(tmp_path):
    path, _ = saved_record(tmp_path, Energies(3.0))
    with pytest.raises(ValueError, match="'Energies' of .*trust=True") as error:
        load_preprocessor(tmp_path)
    assert str(path) in str(error.value)
    assert load_preprocessor(tmp_path, trust=True).frontend.scale == 3


def test_a_file_of_something_else_is_refused(tmp_path):
    path, record = saved_record(tmp_path)
    config = record["preprocessor"]["config"]
    without = {**record["preprocessor"], "config": {}}
    for content, message in (
        ({"preprocessor": config["frontend"]}, "a preprocessor.*: MFCC"),
        ({"preprocessor": 3}, "a preprocessor.*: int"),
        ({"preprocessor": without}, "no preprocessor.*'frontend'"),
        ({"hash": "12"}, "was not written by ser_keras"),
        ([1], "was not written by ser_keras"),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=message) as error:
            load_preprocessor(path)
        assert str(path) in str(error.value)


def test_no_file_and_broken_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="before 0.2.0.*command again"):
        load_preprocessor(tmp_path)
    path = tmp_path / "preprocessor.json"
    path.write_text('{"preprocessor":')
    with pytest.raises(ValueError, match="preprocessor.json is not valid JSON"):
        load_preprocessor(path)


class Loud(Energies):
    """Has no frame of clips below half a second."""

    @property
    def min_samples(self):
        return RATE // 2


def test_streams_are_computed_of_the_same_utterances(corpus, tmp_path):
    manifest, samples = corpus
    with open(manifest[1].path, "w") as file:
        file.write("this is not audio")
    streams = StreamPreprocessors(
        {
            "fine": Preprocessor(Energies(), duration=0.2),
            "coarse": Preprocessor(Loud(2.0)),
        }
    )
    assert streams.num_features == {"fine": 2, "coarse": 2}
    assert streams.duration == 0.2 and streams.duration_frames() == 32
    assert streams.in_graph
    with pytest.raises(AudioError, match="1 of 5"):
        streams.compute(manifest)
    features = streams.compute(manifest, skip_bad_audio=True)
    # One is no audio, and two are too short for the second stream alone.
    assert [u.id for u in features.manifest] == ["4", "2"]
    for stream in features.streams.values():
        assert [u.id for u in stream.manifest] == ["4", "2"]
        assert {skip.id for skip in stream.skipped} == {"0", "1", "3"}
    for name, scale in (("fine", 1), ("coarse", 2)):
        for key, array in zip("42", features.streams[name].arrays, strict=True):
            expected = scale * energies(samples[key])
            np.testing.assert_allclose(array, expected, atol=1e-5)
    # A fold made of the whole manifest leaves them out as well.
    assert len(features.select(manifest)) == 2


def test_streams_saved_and_loaded(tmp_path):
    def streams(**options):
        return StreamPreprocessors(
            {
                "handcrafted": Preprocessor(MFCC(**options), duration=3.0),
                "slow": Preprocessor(LogMelSpectrogram(frame_step=640)),
            }
        )

    streams().save(tmp_path / "preprocessor.json", kind="two")
    loaded = load_preprocessor(tmp_path)
    assert isinstance(loaded, StreamPreprocessors)
    assert list(loaded.streams) == ["handcrafted", "slow"]
    assert loaded.hash == streams().hash != streams(frame_step=80).hash
    renamed = {"other": loaded.streams["slow"], "slow": loaded.streams["slow"]}
    assert StreamPreprocessors(renamed).hash != loaded.hash
    clip = np.ones((1, RATE), "float32")
    for name, stream in streams().streams.items():
        np.testing.assert_array_equal(loaded.streams[name](clip), stream(clip))
    with pytest.raises(ValueError, match="at least one stream"):
        StreamPreprocessors({})
