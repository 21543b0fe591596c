import json
import os
import signal
import subprocess
import sys
import threading
import zipfile

import numpy as np
import pytest
import soundfile

from ser_keras.audio.io import AudioError
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.features import extraction
from ser_keras.features.extraction import extract_features
from ser_keras.features.extraction import read_feature_store
from ser_keras.features.extractors.base import Extractor
from ser_keras.features.extractors.base import content_hash
from ser_keras.features.extractors.base import windows
from ser_keras.features.store import FeatureStore

RATE = 16000


def write(path, seconds=0.5, seed=0, rate=RATE):
    rng = np.random.default_rng(seed)
    samples = rng.uniform(-0.5, 0.5, int(seconds * rate)).astype("float32")
    soundfile.write(path, samples, rate, "FLOAT")
    return samples


def peaks(samples):
    parts = [samples[i : i + 1600] for i in range(0, len(samples), 1600)]
    return np.array([[part.max(), abs(part).max()] for part in parts])


def corpus(folder, size=8, seed=0):
    folder.mkdir(exist_ok=True)
    rows, samples = [], {}
    for i in range(size):
        path = folder / f"{i}.wav"
        samples[str(i)] = write(path, 0.45 + 0.1 * i, seed=seed + i)
        rows.append(Utterance(str(i), str(path), "anger", f"s{i}"))
    return Manifest(rows[::-1], ("anger", "fear")), samples


def equal(features, samples):
    for utterance, array in zip(
        features.manifest, features.arrays, strict=True
    ):
        np.testing.assert_array_equal(array, peaks(samples[utterance.id]))


class Peaks(Extractor):
    """Largest value and largest magnitude of windows of 0.1 s."""

    sample_rate, num_features, frame_rate = RATE, 2, 10.0

    def __init__(self, **settings):
        self.extra = settings
        self.clips = []  # Samples of each clip that was extracted.

    def extract(self, waveform):
        self.clips.append(len(waveform))
        x = windows(waveform, 1600, 1600)
        return np.stack([x.max(axis=1), abs(x).max(axis=1)], axis=1)

    def settings(self):
        return {"extractor": "peaks", **self.extra}


class Forbidden(Peaks):
    """Answers the check, then fails: features must be stored ones."""

    def extract(self, waveform):
        if len(waveform) != round(1.3 * RATE):
            raise AssertionError("extracted again")
        return super().extract(waveform)


@pytest.mark.parametrize("jobs", [1, 3, None])
def test_features_in_the_manifests_order(tmp_path, jobs, capsys):
    manifest, samples = corpus(tmp_path / "audio")
    features = extract_features(manifest, Peaks(), tmp_path / "c", jobs=jobs)
    assert features.manifest == manifest
    assert (features.num_features, features.frame_rate) == (2, 10.0)
    equal(features, samples)
    assert "features 8/8" in capsys.readouterr().out
    again = extract_features(manifest[2:5], Forbidden(), tmp_path / "c")
    assert len(again) == 3
    equal(again, samples)
    assert capsys.readouterr().out == ""


def test_jobs_run_at_the_same_time(tmp_path):
    manifest, _ = corpus(tmp_path / "audio", 6)
    barrier = threading.Barrier(2, timeout=30)

    class Together(Peaks):
        def extract(self, waveform):
            if len(waveform) != round(1.3 * RATE):
                barrier.wait()  # Broken, and an error, if nobody else comes.
            return super().extract(waveform)

    features = extract_features(manifest, Together(), tmp_path / "c", jobs=2)
    assert len(features) == 6


def test_killed_extraction_goes_on_from_its_last_shard(tmp_path, repository):
    manifest, samples = corpus(tmp_path / "audio")
    manifest.save(tmp_path / "manifest.jsonl")
    process = subprocess.run(
        [
            sys.executable,
            str(repository / "tests/features/killed_extraction.py"),
            str(tmp_path / "manifest.jsonl"),
            str(tmp_path / "c"),
        ],
        env={**os.environ, "PYTHONPATH": str(repository)},
        capture_output=True,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    (folder,) = (tmp_path / "c").iterdir()
    with pytest.raises(ValueError, match="lacks 2 of 8 .*'1', '0'"):
        read_feature_store(manifest, folder)
    extractor = Peaks()
    features = extract_features(manifest, extractor, tmp_path / "c")
    # The check of the extractor, and the two that are missing.
    assert sorted(extractor.clips[1:]) == [7200, 8800]
    equal(features, samples)
    equal(read_feature_store(manifest, folder), samples)


def test_changed_setting_is_not_answered_from_the_store(tmp_path):
    manifest, samples = corpus(tmp_path / "audio")
    file = tmp_path / "network"
    file.write_bytes(b"1")
    cache = tmp_path / "c"
    extract_features(manifest, Peaks(file=content_hash(file)), cache)
    file.write_bytes(b"2")
    for extractor, options in (
        (Peaks(file=content_hash(file)), {}),
        (Peaks(hop=0.2), {}),
        (Peaks(hop=0.2), {"duration": 0.4}),
    ):
        extract_features(manifest, extractor, cache, **options)
        # The check beforehand, and every utterance.
        assert len(extractor.clips) == 1 + len(manifest)
    assert len(list(cache.iterdir())) == 4


def test_other_answers_with_the_same_settings_are_refused(tmp_path):
    manifest, _ = corpus(tmp_path / "audio")
    extract_features(manifest, Peaks(), tmp_path / "c")

    class Changed(Peaks):
        def extract(self, waveform):
            return 1.1 * super().extract(waveform)

    class Longer(Peaks):
        def extract(self, waveform):
            return super().extract(waveform).repeat(2, axis=0)

    class Noisy(Forbidden):
        def extract(self, waveform):
            return 1.0001 * super().extract(waveform)

    for other in (Changed(), Longer()):
        with pytest.raises(ValueError, match="same `settings..`, but of"):
            extract_features(manifest, other, tmp_path / "c")
    # Another device rounds otherwise.
    extract_features(manifest, Noisy(), tmp_path / "c")


def test_changed_audio_is_not_answered_from_the_store(tmp_path):
    manifest, samples = corpus(tmp_path / "audio")
    extract_features(manifest, Peaks(), tmp_path / "c")
    samples["3"] = write(manifest[4].path, 0.7, seed=99)
    extractor = Peaks()
    equal(extract_features(manifest, extractor, tmp_path / "c"), samples)
    assert extractor.clips[1:] == [11200]


def test_equal_audio_is_extracted_once(tmp_path):
    manifest, samples = corpus(tmp_path / "audio", 2)
    rows = [
        *manifest,
        Utterance("copy", manifest[0].path, "fear", "s9"),
        Utterance("part", manifest[0].path, "fear", "s9", end=0.4),
    ]
    extractor = Peaks()
    features = extract_features(Manifest(rows), extractor, tmp_path / "c")
    assert sorted(extractor.clips[1:]) == [6400, 7200, 8800]
    samples |= {"copy": samples["1"], "part": samples["1"][:6400]}
    equal(features, samples)


def test_duration_takes_the_middle_and_rates_are_resampled(tmp_path):
    path = tmp_path / "a.wav"
    samples = write(path, 2.0)
    manifest = Manifest([Utterance("a", str(path), "anger", "s")])
    features = extract_features(manifest, Peaks(), tmp_path, duration=0.4)
    equal(features, {"a": samples[12800:19200]})
    write(path, 2.0, rate=8000)
    features = extract_features(manifest, Peaks(), tmp_path)
    assert features.lengths.tolist() == [20]


def test_bad_audio_is_reported_at_once_or_skipped(tmp_path):
    manifest, samples = corpus(tmp_path / "audio")
    for number in (1, 5):
        with open(manifest[number].path, "w") as file:
            file.write("this is not audio")
    with pytest.raises(
        AudioError, match=r"2 of 8 (.|\n)*/6.wav: not(.|\n)*/2.wav: not"
    ):
        extract_features(manifest, Peaks(), tmp_path / "c")
    # What was good is kept.
    features = extract_features(
        manifest, Forbidden(), tmp_path / "c", skip_bad_audio=True
    )
    assert [skip.id for skip in features.skipped] == ["6", "2"]
    equal(features, samples)


def test_clips_too_short_for_a_frame_are_bad_audio(tmp_path):
    manifest, samples = corpus(tmp_path / "audio", 4)

    class Whole(Peaks):
        shortest = 8000  # Of 7200, 8800, 10400 and 12000.

        def extract(self, waveform):
            assert len(waveform) >= self.shortest
            return super().extract(waveform)

    short = "0.wav: 450 ms long; the model needs 500 ms"
    with pytest.raises(AudioError, match=f"1 of 4 (.|\n)*{short}"):
        extract_features(manifest, Whole(), tmp_path / "c")
    features = extract_features(
        manifest, Whole(), tmp_path / "c", skip_bad_audio=True
    )
    assert [skip.id for skip in features.skipped] == ["0"]
    equal(features, samples)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_features_are_refused_by_name_and_not_stored(tmp_path, value):
    manifest, samples = corpus(tmp_path / "audio")

    class Broken(Peaks):
        def extract(self, waveform):
            x = super().extract(waveform)
            if len(waveform) == len(samples["4"]):
                x[0, 0] = value
            return x

    with pytest.raises(ValueError, match="NaN or infinity for .*4.wav"):
        extract_features(manifest, Broken(), tmp_path / "c", jobs=1)
    # Repaired, it goes on from there.
    repaired = Peaks()
    equal(extract_features(manifest, repaired, tmp_path / "c"), samples)
    assert 7200 + 1600 * 4 in repaired.clips
    assert len(repaired.clips) < 8


def test_extractor_that_fails_is_named_with_its_utterance(tmp_path):
    manifest, samples = corpus(tmp_path / "audio")

    class Failing(Peaks):
        def extract(self, waveform):
            if len(waveform) == len(samples["4"]):
                raise KeyError("inside")
            return super().extract(waveform)

    named = "<Failing: 16000 Hz to 2 features> failed at .*4.wav.*'inside'"
    with pytest.raises(RuntimeError, match=named):
        extract_features(manifest, Failing(), tmp_path / "c")


def test_wrong_shapes_are_refused_before_anything_is_read(tmp_path):
    class Wide(Peaks):
        num_features = 3

    class Empty(Peaks):
        def extract(self, waveform):
            return super().extract(waveform)[:0]

    nowhere = Manifest([Utterance("a", "nowhere.wav", "anger", "s")])
    for extractor in (Wide(), Empty()):
        with pytest.raises(ValueError, match="must give .*time, .*noise"):
            extract_features(nowhere, extractor, tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_store_of_another_corpus_is_refused(tmp_path):
    first, _ = corpus(tmp_path / "first")
    second, _ = corpus(tmp_path / "second", seed=50)
    extract_features(first, Peaks(), tmp_path / "c")
    (folder,) = (tmp_path / "c").iterdir()
    with pytest.raises(ValueError, match="of another corpus.*none of the 8"):
        read_feature_store(second, folder)
    with pytest.raises(ValueError, match="is no store of `extract_features`"):
        read_feature_store(first, tmp_path / "c")


@pytest.mark.parametrize("text", ["", "{}", '{"answer": 3'])
def test_damaged_description_is_refused(tmp_path, text):
    manifest, _ = corpus(tmp_path / "audio", 2)
    extract_features(manifest, Peaks(), tmp_path / "c")
    (path,) = (tmp_path / "c").glob("*/extractor.json")
    assert json.loads(path.read_text())["settings"] == {"extractor": "peaks"}
    path.write_text(text)
    with pytest.raises(ValueError, match="extractor.json is damaged"):
        extract_features(manifest, Peaks(), tmp_path / "c")
    with pytest.raises(ValueError, match="extractor.json is damaged"):
        read_feature_store(manifest, path.parent)


def test_damaged_shard_is_extracted_again(tmp_path):
    manifest, samples = corpus(tmp_path / "audio")
    extract_features(manifest, Peaks(), tmp_path / "c")
    (shard,) = (tmp_path / "c").glob("*/*.npz")
    shard.write_bytes(shard.read_bytes()[:-50])
    equal(extract_features(manifest, Peaks(), tmp_path / "c"), samples)


def test_damaged_shard_is_set_aside_where_it_is_extracted_again(tmp_path):
    manifest, _ = corpus(tmp_path / "audio", 2)
    extract_features(manifest, Peaks(), tmp_path / "c")
    (shard,) = (tmp_path / "c").glob("*/*.npz")
    content = shard.read_bytes()[:-50]
    shard.write_bytes(content)
    with pytest.raises(ValueError, match="its shards are damaged"):
        read_feature_store(manifest, shard.parent)
    assert shard.read_bytes() == content
    extract_features(manifest, Peaks(), tmp_path / "c")
    assert shard.with_suffix(".damaged").read_bytes() == content


def test_what_is_not_damage_costs_no_features(tmp_path, monkeypatch):
    manifest, samples = corpus(tmp_path / "audio", 3)
    extract_features(manifest, Peaks(), tmp_path / "c")
    (folder,) = (tmp_path / "c").iterdir()
    np.savez(folder / "notes.npz", mine=np.ones(3))
    before = sorted(path.name for path in folder.iterdir())

    def too_many(*args, **kwargs):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(zipfile, "ZipFile", too_many)
        for read in (
            lambda: read_feature_store(manifest, folder),
            lambda: extract_features(manifest, Peaks(), tmp_path / "c"),
        ):
            with pytest.raises(OSError, match="Too many open files"):
                read()
    equal(extract_features(manifest, Forbidden(), tmp_path / "c"), samples)
    equal(read_feature_store(manifest, folder), samples)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_store_without_any_shard_is_of_no_other_corpus(tmp_path):
    manifest, _ = corpus(tmp_path / "audio", 2)
    extract_features(manifest, Peaks(), tmp_path / "c")
    (shard,) = (tmp_path / "c").glob("*/*.npz")
    shard.unlink()
    with pytest.raises(ValueError, match="interrupted before its first shard"):
        read_feature_store(manifest, shard.parent)


def test_foreign_features_in_a_store_are_refused(tmp_path):
    manifest, _ = corpus(tmp_path / "audio", 3)
    extract_features(manifest, Peaks(), tmp_path / "c")
    (folder,) = (tmp_path / "c").iterdir()
    keys = extraction.audio_keys(manifest)
    wrong = np.full((4, 2), np.nan, "float32")
    for shard in folder.glob("*.npz"):
        shard.unlink()
    FeatureStore(folder).write({key: wrong for key in keys.values()})
    for read in (
        lambda: read_feature_store(manifest, folder),
        lambda: extract_features(manifest, Peaks(), tmp_path / "c"),
    ):
        with pytest.raises(ValueError, match="NaN, infinite.*of 3 utterances"):
            read()


@pytest.mark.parametrize("options", [{"jobs": 0}, {"duration": 0}])
def test_arguments_are_checked(tmp_path, options):
    manifest, _ = corpus(tmp_path / "audio", 1)
    with pytest.raises(ValueError, match="`(jobs|duration)` must be"):
        extract_features(manifest, Peaks(), tmp_path, **options)
