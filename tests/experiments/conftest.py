"""Experiments up to their first training, without audio."""

import numpy as np
import pytest

from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.experiments import driver
from ser_keras.experiments.emodarts import EmoDARTSExperiment
from ser_keras.features.deep_features import DeepFeatures
from ser_keras.features.feature_set import FeatureSet
from ser_keras.features.feature_set import SkippedUtterance
from ser_keras.features.preprocessor import Preprocessor
from ser_keras.protocols.splits import leave_one_speaker_out

LABELS = ("anger", "neutral")
MANIFEST = Manifest(
    [
        Utterance(f"{speaker}{i}", "x.wav", LABELS[i % 2], speaker)
        for speaker in "abcdef"
        for i in range(8)
    ],
    LABELS,
)
FOLDS = leave_one_speaker_out(MANIFEST)


class Begun(Exception):
    """All checks are over: a search or the folds' training begins."""


@pytest.fixture
def no_audio(monkeypatch):
    """Every utterance has features of ones; ids in this set have bad audio."""
    bad = set()

    def compute(self, manifest, cache_dir=None, *, skip_bad_audio=False):
        good = Manifest([u for u in manifest if u.id not in bad], LABELS)
        return FeatureSet(
            good,
            [np.ones((9, 4), "float32")] * len(good),
            [SkippedUtterance(u.id, "", "") for u in manifest if u.id in bad],
            frame_rate=self.frame_rate,
        )

    monkeypatch.setattr(Preprocessor, "compute", compute)
    monkeypatch.setattr(DeepFeatures, "compute", compute)
    return bad


@pytest.fixture
def begins(no_audio, monkeypatch):
    """`no_audio`; whatever would be searched or trained raises `Begun`."""

    def begin(*arguments, **options):
        raise Begun

    monkeypatch.setattr(driver, "cross_validate", begin)
    monkeypatch.setattr(driver, "pretrain", begin)
    monkeypatch.setattr(EmoDARTSExperiment, "search", begin)
    return no_audio
