"""Features of a corpus as tasks of an engine: each computed once."""

import functools

import numpy as np
import pytest
import soundfile

from ser_keras.audio.io import AudioError
from ser_keras.audio.log_mel import LogMelSpectrogram
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.features.deep_features import DeepFeatures
from ser_keras.features.preprocessor import Preprocessor
from ser_keras.features.preprocessor import StreamPreprocessors
from ser_keras.training import compute_in_tasks
from ser_keras.training import feature_tasks
from tests.training.killed_shard import preprocessor_once_killed

try:  # Its import takes the streams that logs go to.
    import submitit
except ImportError:
    submitit = None

needs_submitit = pytest.mark.skipif(
    submitit is None, reason="needs the extra `slurm`"
)


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    """Seven clips, and shards of four."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(7):
        path = tmp_path / f"{i}.wav"
        soundfile.write(path, rng.uniform(-0.5, 0.5, 8000 + 400 * i), 16000)
        rows.append(Utterance(str(i), str(path), "anger", f"s{i}"))
    monkeypatch.setattr(feature_tasks, "SHARD", 4)
    return Manifest(rows, ("anger", "fear"))


def streams():
    bands = LogMelSpectrogram(sample_rate=16000, num_mel_bins=6)
    return StreamPreprocessors(
        {"handcrafted": Preprocessor(bands), "deep": DeepFeatures()}
    )


def check_equal(found, expected):
    assert found.manifest == expected.manifest
    for a, b in zip(found.arrays, expected.arrays, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def stored(cache):
    """How often the store has each utterance."""
    counts = {}
    for path in cache.glob("*/*.npz"):
        with np.load(path) as shard:
            for key in shard["keys"]:
                place = path.parent.name, key
                counts[place] = counts.get(place, 0) + 1
    return counts


@pytest.mark.parametrize(
    "engine", ["local", pytest.param("slurm", marks=needs_submitit)]
)
def test_tasks_compute_what_one_process_does(
    manifest, tmp_path, monkeypatch, capfd, engine
):
    monkeypatch.setenv("SER_KERAS_SLURM", "cluster=local")
    both, cache = streams(), tmp_path / "cache"
    found = compute_in_tasks(both, manifest, cache, 2, engine=engine)
    assert "features_00002: finished" in capfd.readouterr().out
    alone = both.compute(manifest, tmp_path / "alone")
    for name, stream in alone.streams.items():
        check_equal(found.streams[name], stream)
    # Each once in either store, in two shards; nothing else is left.
    assert list(stored(cache).values()) == [1] * 14
    assert len(list(cache.glob("*/*.npz"))) == 4
    assert not list(cache.glob("tasks_*"))
    # What is there is not computed again, whoever asks for it.
    monkeypatch.setattr(feature_tasks, "run_tasks", None)
    compute_in_tasks(both, manifest, cache, 2, engine=engine)
    assert both.missing(manifest, cache) == []


def test_a_lost_worker_costs_its_shard(manifest, tmp_path, capsys):
    make = functools.partial(preprocessor_once_killed, str(tmp_path))
    one = streams().streams["handcrafted"]
    cache = tmp_path / "cache"
    found = compute_in_tasks(one, manifest, cache, 2, make=make)
    assert "its task is begun again" in capsys.readouterr().out
    check_equal(found, one.compute(manifest))
    assert list(stored(cache).values()) == [1] * 7
    # Two tasks, and one of them again.
    assert len((tmp_path / "begun").read_text()) == 3


def test_a_killed_run_goes_on_from_the_cache(
    manifest, tmp_path, capsys, monkeypatch
):
    one, cache = streams().streams["handcrafted"], tmp_path / "cache"
    one.compute(manifest[:2], cache)
    assert list(one.missing(manifest, cache)) == list(manifest[2:])
    compute_in_tasks(one, manifest, cache, 1)
    out = capsys.readouterr().out
    assert "2 of 2" in out
    assert list(stored(cache).values()) == [1] * 7
    # Less than a shard is computed here.
    monkeypatch.setattr(feature_tasks, "run_tasks", None)
    compute_in_tasks(one, manifest[:2], tmp_path / "other", 1)


def test_bad_audio_is_told_by_the_submitter(manifest, tmp_path):
    one, cache = streams().streams["handcrafted"], tmp_path / "cache"
    for i in (4, 5, 6):  # A whole shard.
        (tmp_path / f"{i}.wav").write_text("no audio")
    with pytest.raises(AudioError, match=r"4\.wav"):
        compute_in_tasks(one, manifest, cache, 1)
    found = compute_in_tasks(one, manifest, cache, 1, skip_bad_audio=True)
    assert [x.id for x in found.skipped] == ["4", "5", "6"]
    assert len(found) == 4
