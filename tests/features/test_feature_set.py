import keras
import numpy as np
import pytest
import soundfile

from ser_keras.audio.io import AudioError
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.features import feature_set as features_module
from ser_keras.features.dataset import make_dataset
from ser_keras.features.feature_set import FeatureSet
from ser_keras.features.feature_set import features_for

RATE = 16000


@keras.saving.register_keras_serializable(package="tests")
class Energies(keras.layers.Layer):
    """Scaled mean absolute value of frames of 100 samples, twice."""

    frame_length = 100

    def __init__(self, scale=1.0, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def num_frames(self, samples):
        return samples // 100

    def call(self, waveform, lengths=None):
        batch, samples = keras.ops.shape(waveform)
        frames = samples // 100
        x = keras.ops.reshape(waveform[:, : frames * 100], (batch, frames, 100))
        x = self.scale * keras.ops.mean(keras.ops.abs(x), axis=-1)
        return keras.ops.stack([x, -x], axis=-1)

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


def energies(samples):
    frames = len(samples) // 100
    x = np.abs(samples[: frames * 100]).reshape(frames, 100).mean(axis=1)
    return np.stack([x, -x], axis=1)


def write(path, seconds=0.5, seed=0, rate=RATE):
    rng = np.random.default_rng(seed)
    samples = rng.uniform(-0.5, 0.5, int(seconds * rate)).astype("float32")
    soundfile.write(path, samples, rate, "FLOAT")
    return samples


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

        monkeypatch.setattr(features_module, "load_many", fail)

    return switch_off


def equal(first, second):
    assert first.manifest == second.manifest
    for a, b in zip(first.arrays, second.arrays, strict=True):
        np.testing.assert_array_equal(a, b)


def test_features_in_the_manifests_order(corpus):
    manifest, samples = corpus
    features = features_for(manifest, Energies())
    assert features.manifest == manifest
    assert features.num_features == 2
    assert features.max_length == 112
    for utterance, array in zip(manifest, features.arrays, strict=True):
        assert array.dtype == "float32"
        np.testing.assert_allclose(
            array, energies(samples[utterance.id]), atol=1e-5
        )


def test_cache_is_read_back(corpus, tmp_path, no_audio):
    manifest, _ = corpus
    cache = tmp_path / "cache"
    first = features_for(manifest, Energies(), cache)
    no_audio()
    equal(first, features_for(manifest, Energies(), cache))
    # The order and the choice of utterances do not matter, nor a layer's name.
    part = manifest[1:4]
    equal(
        first.select(part),
        features_for(part, Energies(name="another"), cache),
    )


@pytest.mark.parametrize(
    "frontend, options",
    [
        (Energies(2.0), {}),
        (Energies(), {"duration": 0.2}),
        (Energies(), {"sample_rate": 8000}),
        (Energies(), {"normalization": keras.layers.Rescaling(3.0)}),
    ],
)
def test_changed_setting_is_not_answered_from_the_cache(
    corpus, tmp_path, frontend, options
):
    manifest, _ = corpus
    cache = tmp_path / "cache"
    features_for(manifest, Energies(), cache)
    cached = features_for(manifest, frontend, cache, **options)
    equal(cached, features_for(manifest, frontend, **options))
    assert len(list(cache.iterdir())) == 2


def test_changed_code_is_not_answered_from_the_cache(corpus, tmp_path):
    manifest, _ = corpus
    cache = tmp_path / "cache"
    features_for(manifest, Energies(), cache)

    class Changed(Energies):
        def call(self, waveform, lengths=None):
            return 1.5 * super().call(waveform, lengths)

    Changed.__name__ = "Energies"
    changed = features_for(manifest, Changed(), cache)
    equal(changed, features_for(manifest, Changed()))


def test_changed_audio_is_not_answered_from_the_cache(corpus, tmp_path):
    manifest, _ = corpus
    cache = tmp_path / "cache"
    features_for(manifest, Energies(), cache)
    samples = write(manifest[0].path, 0.7, seed=99)
    again = features_for(manifest, Energies(), cache)
    np.testing.assert_allclose(again.arrays[0], energies(samples), atol=1e-5)


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "garbage"])
def test_damaged_cache_is_computed_again(corpus, tmp_path, no_audio, damage):
    manifest, _ = corpus
    cache = tmp_path / "cache"
    first = features_for(manifest, Energies(), cache)
    (shard,) = cache.glob("*/*.npz")
    content = bytearray(shard.read_bytes())
    # In the middle are the frames, the largest array.
    content[len(content) // 2] ^= 0xFF
    shard.write_bytes(
        {
            "flip": content,
            "truncate": content[: len(content) // 2],
            "empty": b"",
            "garbage": b"not a zip file" * 100,
        }[damage]
    )
    equal(first, features_for(manifest, Energies(), cache))
    no_audio()
    equal(first, features_for(manifest, Energies(), cache))


def test_cache_leaves_no_half_files(corpus, tmp_path):
    manifest, _ = corpus
    cache = tmp_path / "cache"
    features_for(manifest, Energies(), cache)
    assert {path.suffix for path in cache.rglob("*.*")} == {".npz"}


def test_killed_run_keeps_its_shards(corpus, tmp_path, monkeypatch):
    manifest, _ = corpus
    cache = tmp_path / "cache"
    monkeypatch.setattr(features_module, "_CHUNK", 2)
    load_many, loaded = features_module.load_many, []

    def killed(paths, *args, **options):
        if len(loaded) == 4:
            raise KeyboardInterrupt
        loaded.extend(paths)
        return load_many(paths, *args, **options)

    monkeypatch.setattr(features_module, "load_many", killed)
    with pytest.raises(KeyboardInterrupt):
        features_for(manifest, Energies(), cache)
    loaded.clear()
    features = features_for(manifest, Energies(), cache)
    assert loaded == [manifest[-1].path]
    equal(features, features_for(manifest, Energies()))


def test_parts_of_a_file(tmp_path):
    path = tmp_path / "long.wav"
    samples = write(path, 2.0)
    manifest = Manifest(
        [
            Utterance("a", str(path), "anger", "s", start=0.25, end=0.75),
            Utterance("b", str(path), "anger", "s", start=1.5),
        ]
    )
    features = features_for(manifest, Energies(), tmp_path / "cache")
    np.testing.assert_allclose(
        features.arrays[0], energies(samples[4000:12000]), atol=1e-5
    )
    np.testing.assert_allclose(
        features.arrays[1], energies(samples[24000:]), atol=1e-5
    )


def test_duration_takes_the_middle(corpus):
    manifest, samples = corpus
    features = features_for(manifest, Energies(), duration=0.4)
    assert features.lengths.tolist() == [64, 64, 64, 64, 48]
    expected = energies(samples["4"][2400:8800])
    np.testing.assert_allclose(features.arrays[0], expected, atol=1e-5)


def test_normalization_sees_no_padding(corpus):
    from ser_keras.audio.normalization import UtteranceNormalization

    manifest, _ = corpus
    features = features_for(
        manifest, Energies(), normalization=UtteranceNormalization()
    )
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
        features_for(manifest, Energies())
    for name in names:
        assert f"{name}.wav" in str(error.value)
    assert "good.wav" not in str(error.value)


def test_bad_audio_is_skipped_counted_and_listed(tmp_path):
    manifest, names = bad_files(tmp_path)
    for _ in range(2):
        features = features_for(
            manifest, Energies(), tmp_path / "cache", skip_bad_audio=True
        )
        assert [u.id for u in features.manifest] == ["good"]
        assert [skip.id for skip in features.skipped] == names
        assert all(skip.reason for skip in features.skipped)
    # A fold made of the whole manifest leaves them out as well.
    fold = features.select(manifest[:3])
    assert (len(fold), len(fold.skipped)) == (1, 2)
    with pytest.raises(AudioError, match="8 of 8"):
        features_for(manifest[1:], Energies(), skip_bad_audio=True)


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
    features = features_for(Manifest(rows), Energies())
    expected = [24000 * RATE // rate // 100 for rate in (48000, 8000, 44100)]
    assert np.abs(features.lengths - expected).max() <= 1


def test_feature_set_checks(corpus):
    manifest, _ = corpus
    x = np.ones((3, 2))
    for arrays in ([x] * 4, [x] * 4 + [x[:, :1]], [x] * 4 + [x[:0]]):
        with pytest.raises(ValueError, match="`arrays` must be one"):
            FeatureSet(manifest, arrays)
    features = FeatureSet(manifest, [x] * 5)
    other = Manifest([Utterance("new", "new.wav", "anger", "s")])
    with pytest.raises(ValueError, match="1 others, first .'new'"):
        features.select(other)


def test_sample_rate_must_be_the_frontends(corpus):
    frontend = Energies()
    frontend.sample_rate = 8000
    with pytest.raises(ValueError, match="frontend.sample_rate=8000"):
        features_for(corpus[0], frontend, sample_rate=16000)
    with pytest.raises(ValueError, match="`duration` must be a positive"):
        features_for(corpus[0], Energies(), duration=0)


def test_library_front_end_in_padded_batches(corpus):
    from ser_keras.audio.mfcc import MFCC

    manifest, samples = corpus
    frontend = MFCC(num_coefficients=13)
    features = features_for(manifest, frontend)
    for utterance, array in zip(manifest, features.arrays, strict=True):
        alone = frontend(samples[utterance.id][None])[0]
        np.testing.assert_allclose(array, alone, atol=1e-3)


def test_manifest_and_frontend_make_a_dataset(corpus, tmp_path):
    manifest, _ = corpus
    dataset = make_dataset(
        manifest,
        2,
        frontend=Energies(),
        cache_dir=tmp_path / "cache",
        duration=0.4,
    )
    assert [x.shape.as_list() for x, _ in dataset] == [
        [2, 64, 2, 1],
        [2, 64, 2, 1],
        [1, 64, 2, 1],
    ]
