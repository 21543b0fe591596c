"""The system of a frozen encoder: what is chosen, and what is kept."""

import numpy as np
import pytest
import scipy.special
from sklearn.base import clone
from sklearn.model_selection import GroupKFold
from sklearn.model_selection import cross_val_predict

from ser_keras._registry import load_model
from ser_keras.audio.encoder_frames import EncoderStatistics
from ser_keras.corpora import load_corpus
from ser_keras.encoders.encoder import SpeechEncoder
from ser_keras.evaluation.baselines import fit_classifier
from ser_keras.evaluation.predictions import Predictions
from ser_keras.experiments.driver import run_experiment
from ser_keras.experiments.encoder import EncoderConfig
from ser_keras.experiments.encoder import EncoderExperiment
from ser_keras.experiments.encoder import fit_statistics
from ser_keras.features.feature_set import FeatureSet
from ser_keras.features.preprocessor import Preprocessor
from ser_keras.models import AttentiveClassifier
from ser_keras.protocols.splits import leave_one_speaker_out
from tests.conftest import REPOSITORY
from tests.experiments.conftest import MANIFEST

WHISPER = str(REPOSITORY / "tests/encoders/data/whisper")


def informative(manifest, layer=1):
    """Statistics of three layers, of which one knows the class."""
    rng = np.random.default_rng(0)
    arrays = []
    for utterance in manifest:
        x = rng.normal(size=(3, 8)).astype("float32")
        x[layer] += 0.5 * manifest.labels.index(utterance.label)
        arrays.append(x)
    return FeatureSet(manifest, arrays)


def test_statistics_head_is_the_classifier_that_was_fitted():
    features = informative(MANIFEST)
    trained = fit_statistics(features)
    fitted = fit_classifier("layer_probe", features)
    assert trained.network.rows == fitted.layers and 1 in fitted.layers
    x = np.stack(features.arrays)
    probabilities = scipy.special.softmax(trained.network(x[..., None]), -1)
    np.testing.assert_allclose(
        probabilities, fitted.pipeline.predict_proba(x), atol=1e-5
    )
    # Each training speaker by a classifier of others.
    expected = cross_val_predict(
        clone(fitted.pipeline),
        x,
        MANIFEST.label_ids,
        groups=[u.speaker for u in MANIFEST],
        cv=GroupKFold(3),
        method="predict_proba",
    )
    ids = [u.id for u in MANIFEST]
    order = [ids.index(name) for name in trained.held_out.ids]
    assert sorted(order) == list(range(len(ids)))
    np.testing.assert_allclose(
        trained.held_out.probabilities, expected[order], atol=1e-5
    )
    assert np.abs(expected - probabilities).max() > 1e-5


def test_altered_copies_are_trained_on():
    features = informative(MANIFEST)
    moved = FeatureSet(MANIFEST, [x + 1 for x in features.arrays])
    trained = fit_statistics(features, [moved])
    alone = fit_statistics(features)
    assert len(trained.held_out.ids) == 2 * len(alone.held_out.ids)
    rows = list(trained.network.rows)
    x = np.stack(features.arrays)[:, rows].reshape(len(MANIFEST), -1)
    np.testing.assert_allclose(
        trained.network.mean, x.mean(axis=0) + 0.5, atol=1e-5
    )


@pytest.fixture(scope="module")
def folds(corpora_root):
    corpus = load_corpus("emodb", corpora_root / "emodb")
    corpus = corpus.select(
        speakers=corpus.speakers[:4], labels=("anger", "sadness", "neutral")
    )
    return leave_one_speaker_out(corpus)


@pytest.fixture(scope="module")
def run(folds, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = EncoderConfig(
        encoder=WHISPER,
        fold=0,
        output_dir=str(folder / "run"),
        export_dir=str(folder / "saved"),
        cache_dir=str(folder / "cache"),
    )
    return folder / "run", run_experiment(config, folds)


def test_a_run_without_epochs(run, folds):
    path, result = run
    assert result["kind"] == "encoder" and result["final"]
    # Random weights hear how loud a voice is, and more.
    assert result["scores"]["uar"] > 0.45
    assert result["temperature"] > 0
    for fold in folds:
        folder = path / "folds" / fold.name
        held_out = Predictions.load_csv(folder / "held_out_predictions.csv")
        assert not set(held_out.speakers) & set(fold.test.speakers)
        assert set(held_out.speakers) == set(fold.train.speakers)
        network = load_model(folder / "network.keras")
        # No layer is kept beyond the last that is used.
        assert network.encoder.num_layers == max(network.layer_numbers)


@pytest.mark.parametrize("tune", ["full", "lora"])
def test_fine_tuning_changes_the_last_layers_only(tune, folds, tmp_path):
    config = EncoderConfig(
        encoder=WHISPER,
        tune=tune,
        num_layers=2,
        tuned_layers=1,
        epochs=2,
        learning_rate=1e-3,
        gradient_accumulation=2,
        fold=1,
        duration=4.0,
        batch_size=8,
        altered_copies=0,
        output_dir=str(tmp_path / "run"),
        export_dir=str(tmp_path / "saved"),
        cache_dir=str(tmp_path / "cache"),
    )
    result = run_experiment(config, folds)
    assert result["scores"]["uar"] > 0.4
    folder = tmp_path / "run/folds" / folds[0].name
    network = load_model(folder / "network.keras")
    assert network.first_layer is None and network.layer_numbers == (1, 2)
    before = SpeechEncoder.from_pretrained(WHISPER, 2)
    changed = {
        weight.path.partition("/")[2]
        for weight, old in zip(
            network.encoder.weights, before.weights, strict=True
        )
        if np.abs(np.subtract(weight, old)).max() > 1e-6
    }
    assert changed and all(path.startswith("layer_2/") for path in changed)
    kernels = {path for path in changed if path.endswith("kernel")}
    assert len(kernels) == 6 and (tune == "full") == (kernels < changed)
    # What is kept has the answers of what was trained.
    features = EncoderExperiment(config).preprocessor().compute(folds[0].test)
    kept = [
        scipy.special.softmax(network(x[None, ..., None]), -1)[0]
        for x in features.arrays
    ]
    saved = Predictions.load_csv(folder / "predictions.csv")
    np.testing.assert_allclose(kept, saved.probabilities, atol=1e-4)


def test_stress_hears_each_fold_on_its_own_speakers(run):
    from ser_keras.audio.alterations import BandLimit
    from ser_keras.evaluation.stress import UNALTERED
    from ser_keras.evaluation.stress import answers_of_run
    from ser_keras.evaluation.stress import stress_conditions

    path, result = run
    rows = stress_conditions(
        answers_of_run(path), {"bandwidth": {"1 kHz": BandLimit(2000)}}
    )
    assert [row["condition"] for row in rows] == [UNALTERED, "1 kHz"]
    assert rows[0]["uar"] == pytest.approx(result["scores"]["uar"])
    assert rows[0]["n"] == result["scores"]["n"]
    assert rows[0] != rows[1] | {"altered": "", "condition": UNALTERED}


def test_what_is_trained_on_with_either_head():
    statistics = EncoderExperiment(EncoderConfig(encoder=WHISPER))
    preprocessor = statistics.preprocessor()
    trained_on = statistics.training_preprocessor(preprocessor)
    assert isinstance(trained_on.frontend, EncoderStatistics)
    attentive = EncoderExperiment(
        EncoderConfig(encoder=WHISPER, head="attentive")
    )
    assert attentive.config.held_out_speakers == 1
    frames = attentive.training_preprocessor(preprocessor)
    assert isinstance(frames, Preprocessor) and frames.num_features == 48
    features = FeatureSet(MANIFEST, [np.ones((9, 48))] * len(MANIFEST))
    network = attentive.build(features)
    assert isinstance(network, AttentiveClassifier)
    whole = attentive.whole(network)
    assert whole.layer_numbers == (0, 1, 2)
    assert whole.feature_shape[1] == preprocessor.num_features


def test_without_an_encoder_it_says_so(capsys):
    first, second = (
        EncoderExperiment(EncoderConfig()).encoder.get_weights()
        for _ in range(2)
    )
    EncoderExperiment(EncoderConfig()).preprocessor()
    assert "UNTRAINED" in capsys.readouterr().out
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_layers": -1}, "num_layers=-1"),
        ({"held_out_speakers": 1}, "held_out_speakers=1"),
        ({"duration": 0}, "duration=0"),
        ({"altered_copies": -1}, "altered_copies=-1"),
        ({"head": "attentive", "epochs": 0}, "epochs=0"),
        ({"head": "attentive", "tune": "full"}, "tune='full'"),
        ({"tune": "lora", "lora_rank": 0}, "lora_rank=0"),
        ({"tune": "full", "layer_decay": 0.0}, "layer_decay=0.0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        EncoderConfig(**options)


def test_bad_encoders(tmp_path):
    experiment = EncoderExperiment(EncoderConfig(encoder=str(tmp_path / "no")))
    with pytest.raises(FileNotFoundError, match="no"):
        experiment.preprocessor()
    experiment = EncoderExperiment(EncoderConfig(encoder=WHISPER, num_layers=9))
    with pytest.raises(ValueError, match="num_layers=9"):
        experiment.preprocessor()
    with pytest.raises(ValueError, match="nothing to tune"):
        EncoderExperiment(EncoderConfig()).tunable_options()
