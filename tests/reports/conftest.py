"""Folders of finished runs, shared by the tests of reports."""

import matplotlib
import numpy as np
import pytest
import soundfile
from matplotlib.image import imread

import ser_keras as ser
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.evaluation.cross_validation import CrossValidation
from ser_keras.evaluation.cross_validation import protocol_of
from ser_keras.evaluation.cross_validation import save_tested
from ser_keras.evaluation.predictions import Predictions
from ser_keras.evaluation.scores import score
from ser_keras.features.feature_set import FeatureSet
from ser_keras.reports.report import write_report

LABELS = ("anger", "calm", "fear")


@pytest.fixture(scope="package")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    utterances = []
    for speaker in "abcd":
        for i in range(6):
            path = folder / f"{speaker}{i}.wav"
            tone = 0.1 * np.sin(np.arange(8000) * (0.05 + 0.01 * i))
            soundfile.write(path, tone, 16000)
            sex = "female" if speaker in "ab" else "male"
            utterances.append(
                Utterance(path.stem, str(path), LABELS[i % 3], speaker, sex=sex)
            )
    return Manifest(utterances, LABELS)


def make_run(folder, corpus, skill=1.0, seed=0, genotype=None, **facts):
    """The folder of a run whose network is a random number generator."""
    run = ser.training.RunFolder(folder, {"data_dir": "/corpus", "seed": seed})
    folds = ser.get_protocol("leave-one-speaker-out").folds(corpus)
    random = np.random.default_rng(seed)
    parts = {}
    for fold in folds:
        truth = np.eye(len(corpus.labels))[fold.test.label_ids]
        logits = skill * truth + random.gumbel(size=truth.shape)
        outputs = np.exp(logits)
        parts[fold.name] = Predictions.of(
            fold.test, outputs / outputs.sum(axis=1, keepdims=True)
        )
        folder = ser.training.RunFolder(
            run.path / "folds" / fold.name, run.config
        )
        parts[fold.name].save_csv(folder.path / "predictions.csv")
    if genotype is not None:
        genotype.save(run.path / "genotype.json")
    pooled = Predictions.concatenate(parts.values())
    pooled.save_csv(run.path / "predictions.csv")
    features = FeatureSet(corpus, [np.zeros((1, 1))] * len(corpus))
    save_tested(folds, features, run)
    scores = {name: score(part) for name, part in parts.items()}
    facts.setdefault("protocol", protocol_of(folds))
    outcome = CrossValidation(pooled, score(pooled), scores, None, **facts)
    write_report(run, outcome)
    return run.path


@pytest.fixture(scope="package")
def runs(tmp_path_factory, corpus):
    folder = tmp_path_factory.mktemp("runs")
    genotype = ser.SearchSpace.emodarts("lstm", num_nodes=2).sample(0)
    return [
        make_run(folder / "good", corpus, 4.0),
        make_run(folder / "poor", corpus, 0.5, 1, genotype),
        make_run(folder / "told", corpus, 9.0, 2, leaks_speakers=True),
    ]


def check_image(path):
    """Checks that a drawing fills its image but for a white border."""
    pixels = imread(path)[..., :3]
    assert (pixels[[0, -1]] > 0.99).all() and (pixels[:, [0, -1]] > 0.99).all()
    drawn = (pixels < 0.9).any(axis=2)
    for axis in (0, 1):
        extent = np.ptp(np.flatnonzero(drawn.any(axis=axis)))
        assert extent > 0.8 * drawn.shape[1 - axis]


@pytest.fixture(autouse=True)
def no_global_state():
    """Figures do not change Matplotlib's global settings."""
    before = matplotlib.rcParams.copy()
    yield
    assert matplotlib.rcParams == before
