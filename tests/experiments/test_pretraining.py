"""Every fold starts from a network of another corpus."""

import dataclasses

import numpy as np
import pytest

import ser_keras as ser
from ser_keras.audio.encoder_frames import EncoderFrames
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.synthetic import write_synthetic_corpus
from ser_keras.experiments import driver
from ser_keras.experiments import pretraining
from ser_keras.experiments.driver import run_experiment
from ser_keras.experiments.light_sernet import LightSERNetConfig
from ser_keras.experiments.pretraining import Teacher
from ser_keras.features.preprocessor import Preprocessor
from ser_keras.protocols.leak_guard import LeakError

TEACHER = "tests/encoders/data/whisper"


class Started(Exception):
    """The folds would be trained now."""


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """Folds of four speakers and three classes; others with four classes."""
    root = write_synthetic_corpus(tmp_path_factory.mktemp("babble"), 3, 1)
    corpus = ser.load_corpus("iemocap", root)
    others = corpus.select(speakers=corpus.speakers[:2])
    tested = corpus.select(speakers=corpus.speakers[2:])
    labels = corpus.labels[:3]
    tested = Manifest([u for u in tested if u.label in labels], labels)
    return ser.protocols.leave_one_speaker_out(tested), others


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Instead of training the folds, the driver raises `Started`.

    With the first fold's network, and the audio of earlier stages.
    """

    def start(build_network, features, folds, *, run, exposed, **_):
        raise Started(build_network(folds[0], run), exposed)

    monkeypatch.setattr(driver, "cross_validate", start)
    return LightSERNetConfig(
        output_dir=str(tmp_path / "run"),
        cache_dir=str(tmp_path / "cache"),
        held_out_speakers=0,
        smoke=True,
    )


def test_folds_start_from_another_corpus(config, corpora, tmp_path):
    folds, others = corpora
    with pytest.raises(Started) as started:
        run_experiment(config, folds, others)
    network, exposed = started.value.args
    assert len(exposed.stages["pretraining"]) == len(others) == 8
    file = tmp_path / "run/pretrained.keras"
    source, written = ser.load_model(file), file.stat().st_mtime_ns
    assert (source.num_classes, network.num_classes) == (4, 3)
    compared = 0
    for old, new in zip(source.weights, network.weights, strict=True):
        if "classifier" not in new.path:
            np.testing.assert_array_equal(old, new)
            compared += int(np.any(old))
    assert compared > 20
    # Moving averages: it has learned something.
    moved = [w for w in network.weights if w.path.endswith("moving_mean")]
    assert all(np.any(w) for w in moved)
    with pytest.raises(Started):
        run_experiment(config, folds, others)
    assert file.stat().st_mtime_ns == written  # Learned once.


def test_a_teacher_judges_speakers_by_others(corpora, monkeypatch):
    _, others = corpora
    monkeypatch.setattr(pretraining, "_STRENGTHS", (10.0,))
    teacher = Teacher(TEACHER, (1,))
    targets = teacher.targets(others)
    frames = Preprocessor(EncoderFrames(teacher.encoder, (1,)))
    x = np.stack(
        [
            np.concatenate([x.mean(0), x.std(0)])
            for x in frames.compute(others).arrays
        ]
    ).astype("float64")
    speaker = np.array([u.speaker for u in others])
    expected = np.zeros((8, 4))
    for name in others.speakers:
        own = speaker == name
        mean, deviation = x[~own].mean(0), x[~own].std(0)
        a, b = ((x[k] - mean) / deviation for k in (~own, own))
        y = np.where(others.label_ids[~own, None] == np.arange(4), 1.0, -1.0)
        # Ridge regression; all classes have one weight, as all have two clips.
        centre = y.mean(0)
        kernel = a.T @ np.linalg.solve(a @ a.T + 10 * np.eye(4), y - centre)
        expected[own] = b @ kernel + centre
    expected = (expected - expected.mean(0)) / expected.std(0)
    np.testing.assert_allclose(targets, expected, atol=1e-3)


def test_folds_start_from_what_a_teacher_taught(config, corpora, tmp_path):
    folds, others = corpora
    learning = dataclasses.replace(config, teacher=TEACHER, altered_copies=1)
    with pytest.raises(Started) as started:
        run_experiment(learning, folds, others)
    network, exposed = started.value.args
    assert len(exposed.stages["pretraining"]) == 8
    source = ser.load_model(tmp_path / "run/pretrained.keras")
    assert (source.num_classes, network.num_classes) == (4, 3)
    assert source.classifier.get_weights()[0].any()
    np.testing.assert_array_equal(
        source.blocks[0].weights[0], network.blocks[0].weights[0]
    )


def test_a_teacher_needs_a_corpus(config, corpora):
    folds, _ = corpora
    with pytest.raises(ValueError, match="--pretrain-corpus.*data/whisper"):
        run_experiment(dataclasses.replace(config, teacher=TEACHER), folds)
    with pytest.raises(ValueError, match=r"teacher_layers=\(2,\)"):
        dataclasses.replace(config, teacher_layers=(2,))
    with pytest.raises(ValueError, match="`layers`.*9"):
        Teacher(TEACHER, (9,))


def test_another_corpus_must_not_have_the_test_speakers(
    config, corpora, tmp_path, monkeypatch
):
    folds, others = corpora
    monkeypatch.setattr(driver, "pretrain", None)
    all_of_them = [*folds[0].test, *others]
    mixed = Manifest(all_of_them, others.labels)
    with pytest.raises(ValueError, match="different speakers"):
        run_experiment(config, folds, mixed)
    batch = dataclasses.replace(config, smoke=False, batch_size=9)
    with pytest.raises(ValueError, match="most the 8 .*batch_size=9"):
        run_experiment(batch, folds, others)
    alone = dataclasses.replace(batch, batch_size=8, pretrain_epochs=3)
    with pytest.raises(ValueError, match="--pretrain-corpus.*_epochs=3"):
        run_experiment(alone, folds)
    # The same voices under other names.
    disguised = [
        dataclasses.replace(u, id=f"x{u.id}", speaker=f"x{u.speaker}")
        for u in all_of_them
    ]
    with pytest.raises(LeakError, match="in pretraining"):
        run_experiment(config, folds, Manifest(disguised, others.labels))
    assert not (tmp_path / "run").exists()
