"""Features of each speaker, standardised by that speaker's own clips."""

import dataclasses

import numpy as np
import pytest
import scipy.stats

from ser_keras.corpora.manifest import Manifest
from ser_keras.evaluation.speaker_adaptation import adapted_to_speakers
from ser_keras.evaluation.speaker_adaptation import standardize_by_speaker
from ser_keras.features.feature_set import FeatureSet
from ser_keras.protocols.protocol import get_protocol
from tests.experiments.conftest import MANIFEST


def features(manifest=MANIFEST):
    """Statistics of three layers; each speaker has a mean of its own."""
    rng = np.random.default_rng(0)
    place = {name: rng.normal(0, 5, (3, 4)) for name in manifest.speakers}
    return FeatureSet(
        manifest, [place[u.speaker] + rng.normal(size=(3, 4)) for u in manifest]
    )


def test_each_speaker_by_its_own_clips():
    given = features()
    adapted = standardize_by_speaker(given)
    assert adapted.manifest == MANIFEST
    speakers = np.array([u.speaker for u in MANIFEST])
    for name in MANIFEST.speakers:
        own = speakers == name
        np.testing.assert_allclose(
            np.stack(adapted.arrays)[own],
            scipy.stats.zscore(np.stack(given.arrays)[own]),
            atol=1e-4,
        )


def test_features_that_do_not_vary_become_zero():
    same = FeatureSet(MANIFEST, [np.full((1, 2), 7.0)] * len(MANIFEST))
    assert not np.any(standardize_by_speaker(same).arrays)


def test_what_cannot_be_adapted_is_told():
    with pytest.raises(ValueError, match="speaker 'f' with one"):
        standardize_by_speaker(features(Manifest(MANIFEST.utterances[:41])))
    frames = [np.ones((1 + n % 2, 2)) for n in range(len(MANIFEST))]
    with pytest.raises(ValueError, match="one vector of each clip"):
        standardize_by_speaker(FeatureSet(MANIFEST, frames))


def test_the_protocol_says_so():
    protocol = get_protocol("leave-one-speaker-out")
    folds = protocol.folds(MANIFEST)
    adapted = adapted_to_speakers(folds)
    assert adapted[0].protocol["name"].endswith("ADAPTED TO EACH SPEAKER")
    assert adapted[0].protocol["hash"] != protocol.hash
    plain = dataclasses.replace(adapted[0], protocol=folds[0].protocol)
    assert plain == folds[0]
