"""Baselines: scikit-learn classifiers of one feature vector an utterance."""

import dataclasses
import warnings
from typing import Any

import numpy as np
import scipy.special
from sklearn.base import BaseEstimator
from sklearn.base import TransformerMixin
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import make_scorer
from sklearn.metrics import recall_score
from sklearn.model_selection import GridSearchCV
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits

from ser_keras._deprecated import renamed_arguments
from ser_keras.corpora.manifest import Manifest
from ser_keras.evaluation.calibration import fit_temperature
from ser_keras.evaluation.cross_validation import NOTHING_EXPOSED
from ser_keras.evaluation.cross_validation import CrossValidation
from ser_keras.evaluation.cross_validation import fold_folders
from ser_keras.evaluation.cross_validation import part_of
from ser_keras.evaluation.cross_validation import protocol_of
from ser_keras.evaluation.cross_validation import save_tested
from ser_keras.evaluation.predictions import Predictions
from ser_keras.evaluation.scores import score
from ser_keras.features.feature_set import FeatureSet
from ser_keras.protocols.leak_guard import ExposedAudio
from ser_keras.protocols.protocol import folds_hash
from ser_keras.protocols.protocol import overstated
from ser_keras.protocols.splits import Fold
from ser_keras.protocols.splits import check_classes
from ser_keras.training.run_folder import RunFolder

#: Names of the classifiers, and the values of C that are tried for each.
CLASSIFIERS = {
    "majority": (),
    "linear_svm": (1e-5, 1e-4, 1e-3, 1e-2),
    "rbf_svm": (1.0, 10.0, 100.0),
    "logistic_regression": (1e-4, 1e-3, 1e-2, 1e-1),
    "layer_probe": (1e-4, 1e-3, 1e-2, 1e-1),
}


# Utterances on which hyperparameters are selected: of more, as many at random,
# or a corpus of 10 000 clips would take an hour a fold.
_SELECTION = 4000


@dataclasses.dataclass(frozen=True, eq=False)
class FittedClassifier:
    """Classifier fitted to the training speakers of a fold.

    Args:
        pipeline: Fitted scikit-learn estimator.
        classes: Number of classes.
        c: Selected C; None for a classifier without C.
        temperature: Temperature of the decision values; None for a classifier
            with probabilities of its own.
        layers: Selected layers, from 0 on; None for a classifier without
            layers.
        held_out: `Predictions` of the training utterances, each by a
            classifier of other speakers, before the temperature; None for a
            classifier without one.
    """

    pipeline: Pipeline | DummyClassifier
    classes: int
    c: float | None = None
    temperature: float | None = None
    layers: tuple[int, ...] | None = None
    held_out: Predictions | None = None

    def predict(self, vectors: np.ndarray) -> np.ndarray:
        """Probabilities of the classes.

        Those of an SVM are the softmax of its decision values, so that the
        most probable class is its decision.

        Args:
            vectors: Array `(utterances, features)`, of a layer probe
                `(utterances, layers, features)`.

        Returns:
            Array `(utterances, classes)`.
        """
        if self.temperature is None:
            return self.pipeline.predict_proba(vectors)
        decisions = _decisions(self.pipeline, vectors, self.classes)
        return scipy.special.softmax(decisions / self.temperature, axis=1)


@renamed_arguments(seen="exposed")
def cross_validate_classifier(
    name: str,
    features: FeatureSet,
    folds: list[Fold],
    *,
    run: RunFolder,
    seed: int = 0,
    exposed: ExposedAudio | None = NOTHING_EXPOSED,
) -> CrossValidation:
    """Trains and scores a classifier on each fold; resumable fold by fold.

    The run folder has the same files as one of `cross_validate`, so that
    reports can compare classifiers and networks.

    Args:
        name: One of `CLASSIFIERS`; see `fit_classifier`.
        features: `FeatureSet` of all utterances, see `vectors`.
        folds: Folds, as a `Protocol` makes them.
        run: `RunFolder`.
        seed: Seed of the classifier.
        exposed: Audio of earlier stages, see `cross_validate`.

    Returns:
        `CrossValidation` without a network.

    Raises:
        LeakError: The audio of a test utterance is in the training part, or in
            `exposed`.
        ValueError: There is no such classifier, a training part lacks a class,
            or the run was started with other folds.
    """
    for fold in folds:
        check_classes(fold)
    facts: dict[str, Any] = {
        "leaks_speakers": any(fold.leaks_speakers for fold in folds),
        "selects_on_test": False,  # A classifier has no epochs.
    }
    if any(facts.values()):
        warnings.warn(overstated(**facts), stacklevel=2)
    folders = fold_folders(folds, features, run, exposed)
    parts = {}
    for number, fold in enumerate(folds, start=1):
        folder = folders[fold.name]
        file = folder.path / "predictions.csv"
        if not file.exists():
            train = features.select(fold.train)
            fitted = fit_classifier(name, train, seed)
            chosen: dict[str, Any] = {
                "c": fitted.c,
                "temperature": fitted.temperature,
            }
            if fitted.layers is not None:
                chosen["layers"] = fitted.layers
            folder.write_json("chosen.json", chosen)
            test = features.select(fold.test)
            probabilities = fitted.predict(classifier_input(name, test))
            Predictions.of(test.manifest, probabilities).save_csv(file)
        parts[fold.name] = Predictions.load_csv(file)
        uar = score(parts[fold.name]).uar
        print(
            f"fold {number}/{len(folds)}: test {fold.name}  UAR {uar:.3f}",
            flush=True,
        )
    pooled = Predictions.concatenate(parts.values())
    pooled.save_csv(run.path / "predictions.csv")
    save_tested(folds, features, run)
    scores = {fold: score(part) for fold, part in parts.items()}
    return CrossValidation(
        pooled,
        score(pooled),
        scores,
        None,
        **facts,
        protocol=protocol_of(folds, **facts),
        folds_hash=folds_hash(folds),
        part=part_of(folds),
    )


def fit_classifier(
    name: str, train: FeatureSet, seed: int = 0
) -> FittedClassifier:
    """Fits a classifier and its hyperparameters to training speakers.

    `"majority"` predicts the class frequencies. `"linear_svm"`, `"rbf_svm"` and
    `"logistic_regression"` standardise each feature and weigh classes by
    inverse frequency. `"layer_probe"` is a logistic regression of one layer of
    a network or of three adjacent ones (see `EncoderStatistics`). C, and the
    layers with it, is selected by UAR in an inner speaker-independent
    cross-validation of three folds, on whose held-out parts the temperature of
    the probabilities is fitted. Of a large training part, 4000 utterances
    that are drawn at random take part in the selection.

    Args:
        name: One of `CLASSIFIERS`.
        train: `FeatureSet` of the training speakers.
        seed: Seed of the classifier.

    Returns:
        `FittedClassifier`.

    Raises:
        ValueError: There is no such classifier, or one speaker only.

    References:
        Guo et al., "On Calibration of Modern Neural Networks", ICML 2017,
        section 4.2 (the temperature).

    Example:
    >>> from ser_keras.corpora.manifest import Manifest, Utterance
    >>> manifest = Manifest([
    ...     Utterance(f"{s}{i}", "x", "AN"[i], s) for s in "xyz" for i in (0, 1)
    ... ])
    >>> clips = [[[i + 0.1 * n, n]] for n in range(3) for i in (0, 1)]
    >>> fitted = fit_classifier("linear_svm", FeatureSet(manifest, clips))
    >>> fitted.predict([[0, 1], [1, 1]]).argmax(axis=1).tolist()
    [0, 1]
    """
    if name not in CLASSIFIERS:
        raise ValueError(
            f"`name` must be one of {tuple(CLASSIFIERS)}. Received: "
            f"name={name!r}"
        )
    manifest = train.manifest
    x, y = classifier_input(name, train), manifest.label_ids
    classes = len(manifest.labels)
    if name == "majority":
        model = DummyClassifier(strategy="prior").fit(x, y)
        return FittedClassifier(model, classes)
    speakers = [utterance.speaker for utterance in manifest]
    if len(manifest.speakers) < 2:
        raise ValueError(
            "C is selected on held-out training speakers, so there must be at "
            f"least two. Received: speakers={manifest.speakers}"
        )
    logistic_regression = LogisticRegression(
        class_weight="balanced", max_iter=2000, random_state=seed
    )
    estimator = {
        "linear_svm": LinearSVC(
            class_weight="balanced", max_iter=20000, random_state=seed
        ),
        "rbf_svm": SVC(class_weight="balanced", break_ties=True),
        "logistic_regression": logistic_regression,
        "layer_probe": logistic_regression,
    }[name]
    steps = [("scale", StandardScaler()), ("classify", estimator)]
    grid = {"classify__C": CLASSIFIERS[name]}
    if name == "layer_probe":
        steps.insert(0, ("layers", _Layers()))
        grid = {"layers__indices": _groups(x.shape[1]), **grid}
    inner = GroupKFold(min(3, len(manifest.speakers)))
    search = GridSearchCV(
        Pipeline(steps),
        grid,
        cv=inner,
        scoring=make_scorer(_recall),
        refit=False,
    )
    some = np.arange(len(x))
    if len(some) > _SELECTION:
        random = np.random.default_rng(seed)
        some = np.sort(random.choice(some, _SELECTION, replace=False))
    # Threads of BLAS wait for each other longer than such products take.
    with threadpool_limits(1):
        search.fit(x[some], y[some], groups=[speakers[i] for i in some])
        best = Pipeline(steps).set_params(**search.best_params_).fit(x, y)
        temperature, held_out = _temperature(best, x, train, inner)
    c = float(search.best_params_["classify__C"])
    layers = search.best_params_.get("layers__indices")
    return FittedClassifier(best, classes, c, temperature, layers, held_out)


def _groups(count):
    """Each layer, and all of three adjacent ones."""
    single = [(i,) for i in range(count)]
    return single + [(i, i + 1, i + 2) for i in range(count - 2)]


class _Layers(TransformerMixin, BaseEstimator):
    """Some layers of `(utterances, layers, features)`, one after the other."""

    def __init__(self, indices=(0,)):
        self.indices = indices

    def fit(self, x, y=None):
        return self

    def transform(self, x):
        return x[:, list(self.indices)].reshape(len(x), -1)

    def __sklearn_is_fitted__(self):
        return True


def classifier_input(name: str, features: FeatureSet) -> np.ndarray:
    """What a classifier gets of each utterance.

    Args:
        name: One of `CLASSIFIERS`.
        features: `FeatureSet`; of a layer probe, each utterance has one vector
            a layer, as `EncoderStatistics` makes them.

    Returns:
        Float32 array `(utterances, features)`, see `vectors`; of a layer probe
        `(utterances, layers, features)`.

    Raises:
        ValueError: Utterances have different numbers of layers.

    >>> from ser_keras.corpora.manifest import Manifest, Utterance
    >>> manifest = Manifest([Utterance("a", "a.wav", "anger", "03")])
    >>> layers = FeatureSet(manifest, [[[1.0, 5.0], [3.0, 5.0]]])
    >>> classifier_input("layer_probe", layers).shape
    (1, 2, 2)
    """
    if name != "layer_probe":
        return vectors(features)
    counts = sorted({len(x) for x in features.arrays})
    if len(counts) > 1:
        raise ValueError(
            "A layer probe needs as many layers of each utterance, one row "
            f"each, as EncoderStatistics makes them. Received: {counts} rows"
        )
    return np.stack(features.arrays)


def vectors(features: FeatureSet) -> np.ndarray:
    """One vector for each utterance.

    Features of one frame, such as functionals, are used unchanged; of several
    frames, the means over time are followed by the standard deviations.

    Args:
        features: `FeatureSet`.

    Returns:
        Float32 array `(utterances, features)`.

    >>> from ser_keras.corpora.manifest import Manifest, Utterance
    >>> manifest = Manifest([Utterance("a", "a.wav", "anger", "03")])
    >>> vectors(FeatureSet(manifest, [[[1.0, 5.0], [3.0, 5.0]]])).tolist()
    [[2.0, 5.0, 1.0, 0.0]]
    """
    if features.max_length == 1:
        return np.concatenate(features.arrays)
    return np.stack(
        [
            np.concatenate([x.mean(axis=0), x.std(axis=0)])
            for x in features.arrays
        ]
    )


def _recall(truth, predicted):
    """UAR, without a warning if an inner fold lacks a class."""
    labels = np.unique(truth)
    return recall_score(truth, predicted, labels=labels, average="macro")


def _decisions(model, x, classes):
    """Decision values `(utterances, classes)`, -inf of an unknown class."""
    values = model.decision_function(x)
    if values.ndim == 1:  # Two classes: logits of a softmax.
        values = np.stack([-values, values], axis=1) / 2
    decisions = np.full((len(values), classes), -np.inf)
    decisions[:, model.classes_] = values
    return decisions


def _temperature(model, x, train, inner):
    """Temperature of the decisions on held-out training speakers, and these."""
    manifest, rows, decisions = train.manifest, [], []
    y, classes = manifest.label_ids, len(manifest.labels)
    speakers = [utterance.speaker for utterance in manifest]
    for others, held_out in inner.split(x, y, speakers):
        fitted = clone(model).fit(x[others], y[others])
        known = held_out[np.isin(y[held_out], fitted.classes_)]
        rows.append(known)
        decisions.append(_decisions(fitted, x[known], classes))
    rows, decisions = np.concatenate(rows), np.concatenate(decisions)
    # Scaled to about 1, where `fit_temperature` searches: a small C makes
    # decision values small.
    size = decisions[np.isfinite(decisions)].std() or 1.0
    some = Manifest([manifest[row] for row in rows], manifest.labels)
    scaled = scipy.special.softmax(decisions / size, axis=1)
    temperature = size * fit_temperature(Predictions.of(some, scaled))
    return temperature, Predictions.of(
        some, scipy.special.softmax(decisions, axis=1)
    )
