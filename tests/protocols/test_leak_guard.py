import json
import shutil

import keras
import numpy as np
import pytest
import soundfile

from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.evaluation.baselines import cross_validate_classifier
from ser_keras.evaluation.cross_validation import cross_validate
from ser_keras.features.feature_set import FeatureSet
from ser_keras.protocols.leak_guard import FILE
from ser_keras.protocols.leak_guard import ExposedAudio
from ser_keras.protocols.leak_guard import LeakError
from ser_keras.protocols.leak_guard import audio_hashes
from ser_keras.protocols.leak_guard import exposed_by_search
from ser_keras.protocols.leak_guard import guard_folds
from ser_keras.protocols.splits import leave_one_speaker_out
from ser_keras.protocols.splits import random_folds_shared_speakers
from ser_keras.training.run_folder import RunFolder


@pytest.fixture
def corpus(tmp_path):
    random = np.random.default_rng(0)
    rows = []
    for name in ("a1", "a2", "b1", "b2"):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, random.normal(0, 0.1, 4000), 16000)
        label = ("anger", "fear")[int(name[1]) - 1]
        rows.append(Utterance(name, str(path), label, name[0]))
    return Manifest(rows)


def test_a_copy_under_another_name_and_format_is_found(corpus, tmp_path):
    exposed = ExposedAudio().add("search", corpus.select(speakers="a"))
    exposed = exposed.add("train", corpus.select(speakers="a")[:1], jobs=2)
    exposed.check_unseen(corpus.select(speakers="b"))
    samples, rate = soundfile.read(tmp_path / "a1.wav")
    soundfile.write(tmp_path / "new.flac", samples, rate)
    other = Utterance("c9", str(tmp_path / "new.flac"), "anger", "c")
    test = Manifest([*corpus.select(speakers="b"), other])
    with pytest.raises(LeakError, match=r"1 of 3 .*c9 \(in search, train\)"):
        exposed.check_unseen(test)


def test_the_same_name_with_other_audio_is_no_leak(corpus, tmp_path):
    exposed = ExposedAudio().add("train", corpus[:1])
    shutil.copy(tmp_path / "b2.wav", tmp_path / "a1.wav")
    exposed.check_unseen(corpus[:1])


def test_record_travels_beside_a_genotype(corpus, tmp_path):
    search = ExposedAudio().add("search", corpus[:2])
    search.save(tmp_path / "run")
    loaded = ExposedAudio.load(tmp_path / "run")
    assert loaded == search
    run = ExposedAudio().add("train", corpus[2:3]).merge(loaded)
    assert run.describe() == "train: 1 recordings, search: 2 recordings"
    run.check_unseen(corpus[3:])
    for index, stage in ((0, "search"), (2, "train")):
        with pytest.raises(LeakError, match=rf"\(in {stage}\)"):
            run.check_unseen(corpus[index : index + 1])
    assert len(run.merge(search).stages["search"]) == 2
    # Hashes only: the file tells nobody whose voices they were.
    text = (tmp_path / "run" / FILE).read_text()
    assert "a1" not in json.loads(text)["stages"]["search"]


def test_bad_records_and_audio(corpus, tmp_path):
    with pytest.raises(ValueError, match=f"{FILE} is missing"):
        ExposedAudio.load(tmp_path)
    for text in ("{", "[]", '{"version": 9, "stages": {}}', '{"version": 1}'):
        (tmp_path / FILE).write_text(text)
        with pytest.raises(ValueError, match="not a record of exposed audio"):
            ExposedAudio.load(tmp_path)
    (tmp_path / "b1.wav").write_bytes(b"")
    with pytest.raises(ValueError, match="1 of 4 .*first b1: an empty file"):
        ExposedAudio().add("train", corpus)
    with pytest.raises(ValueError, match="1 of 4 .*first b1"):
        ExposedAudio().check_unseen(corpus)


def test_folds_are_recorded_and_checked(corpus, tmp_path):
    folds = leave_one_speaker_out(corpus)
    records = guard_folds(folds, corpus, ExposedAudio())
    hashes = audio_hashes(corpus)
    assert records["a"].stages == {
        "train": sorted([hashes["b1"], hashes["b2"]])
    }
    earlier = ExposedAudio({"search": [hashes["a2"]]})
    with pytest.raises(LeakError, match=r"Fold 'a': .*a2 \(in search\)"):
        guard_folds(folds, corpus, earlier)
    shutil.copy(tmp_path / "a1.wav", tmp_path / "b1.wav")
    with pytest.raises(LeakError, match=r"Fold 'a': .*1 of 2.*a1 \(in train\)"):
        guard_folds(folds, corpus, ExposedAudio())
    # Whose folds say that they leak wants to see what that brings.
    leaky = random_folds_shared_speakers(corpus, folds=2)
    assert set(guard_folds(leaky, corpus, earlier)) == {"random1", "random2"}
    # Utterances with bad audio were left out before: they count nowhere.
    kept = Manifest([u for u in corpus if u.id != "b1"])
    assert len(guard_folds(folds, kept, ExposedAudio())) == 2


def test_former_file_name_is_read(corpus, tmp_path):
    ExposedAudio({"search": ["x"]}).save(tmp_path)
    (tmp_path / FILE).rename(tmp_path / "seen_audio.json")
    for record in (
        ExposedAudio.load(tmp_path),
        exposed_by_search(tmp_path / "genotype.json"),
    ):
        assert record.stages == {"search": ["x"]}
    ExposedAudio({"search": ["y"]}).save(tmp_path)
    assert ExposedAudio.load(tmp_path).stages == {"search": ["y"]}


def test_audio_of_an_earlier_search(corpus, tmp_path, capsys):
    assert exposed_by_search("").stages == {}
    genotype = tmp_path / "run" / "genotype.json"
    assert exposed_by_search(genotype, corpus[:1]).describe() == (
        "search corpus: 1 recordings"
    )
    assert "cannot be checked" in capsys.readouterr().out
    ExposedAudio({"search": ["x", "y"]}).save(genotype.parent)
    assert exposed_by_search(genotype).stages == {"search": ["x", "y"]}


def build_network(fold, run):
    return keras.Sequential(
        [
            keras.Input((None, 4, 1)),
            keras.layers.Reshape((-1, 4)),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(2),
        ]
    )


def test_a_run_stops_before_training(corpus, tmp_path):
    arrays = [np.ones((8, 4), "float32")] * 4
    features = FeatureSet(corpus, arrays)
    folds = leave_one_speaker_out(corpus)
    run = RunFolder(tmp_path / "run", {})
    options = {"run": run, "held_out_speakers": 0, "epochs": 1}
    options |= {"batch_size": 2, "duration_frames": 8}
    hashes = audio_hashes(corpus)
    with pytest.raises(LeakError, match="a1"):
        cross_validate(
            build_network,
            features,
            folds,
            exposed=ExposedAudio({"search": [hashes["a1"]]}),
            **options,
        )
    assert not (run.path / "folds").exists()
    # Who says nothing of what came before is guarded as well.
    cross_validate(build_network, features, folds, **options)
    record = ExposedAudio.load(run.path / "folds" / "b")
    assert record.stages["train"] == sorted([hashes["a1"], hashes["a2"]])
    record.check_unseen(folds[1].test)
    with pytest.raises(LeakError):
        record.check_unseen(folds[0].test)


def test_a_copied_recording_stops_classifiers_too(corpus, tmp_path):
    features = FeatureSet(corpus, [np.ones((1, 4), "float32")] * 4)
    folds = leave_one_speaker_out(corpus)
    run = RunFolder(tmp_path / "run", {})
    shutil.copy(tmp_path / "a1.wav", tmp_path / "b1.wav")
    with pytest.raises(LeakError, match=r"a1 \(in train\)"):
        cross_validate_classifier("majority", features, folds, run=run)
    assert not (run.path / "folds").exists()


def test_bad_audio_is_left_out_where_it_may_be(corpus, tmp_path):
    folds = leave_one_speaker_out(corpus)
    for name in ("a1", "b1"):  # Alike, but nothing that could be learned.
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(400), 16000)
    (tmp_path / "b2.wav").write_bytes(b"")
    with pytest.raises(ValueError, match="first b2.*--skip-bad-audio"):
        guard_folds(folds, corpus, ExposedAudio())
    records = guard_folds(folds, corpus, ExposedAudio(), skip_bad_audio=True)
    assert records["a"].stages["train"] == []
    assert len(records["b"].stages["train"]) == 1
