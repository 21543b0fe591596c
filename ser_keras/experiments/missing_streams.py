"""What a network of two streams is worth where one of them is missing."""

import tensorflow as tf

from ser_keras._registry import load_model
from ser_keras.evaluation.predict import predict
from ser_keras.evaluation.predictions import Predictions
from ser_keras.evaluation.scores import score
from ser_keras.features.dataset import make_dataset
from ser_keras.features.streams import FeatureStreams
from ser_keras.protocols.splits import Fold
from ser_keras.training.run_folder import RunFolder
from ser_keras.training.run_folder import fold_paths


def score_without_streams(
    run: RunFolder,
    folds: list[Fold],
    features: FeatureStreams,
    batch_size: int = 32,
) -> dict:
    """Scores the networks of a run with each stream left out in turn.

    Predictions are in the folds' folders, `without_<stream>.csv`.

    Args:
        run: A finished run of `cross_validate`.
        folds: Its folds.
        features: Features of all utterances.
        batch_size: Utterances in a batch.

    Returns:
        For each stream that was missing, `uar` and `wa` over the test
        utterances of all folds.
    """
    parts = {stream: [] for stream in features.streams}
    paths = fold_paths(run.path, (fold.name for fold in folds))
    for fold in folds:
        folder, network = paths[fold.name], None
        for stream, done in parts.items():
            file = folder / f"without_{stream}.csv"
            if not file.exists():
                if network is None:
                    network = load_model(folder / "network.keras")
                test = features.select(fold.test)
                dataset = make_dataset(test, batch_size).map(_without(stream))
                predict(network, dataset, test.manifest).save_csv(file)
            done.append(Predictions.load_csv(file))
    scores = {s: score(Predictions.concatenate(p)) for s, p in parts.items()}
    return {s: {"uar": x.uar, "wa": x.wa} for s, x in scores.items()}


def _without(stream):
    """Leaves a stream's frames out of a batch: all zero is missing."""
    return lambda x, y: ({**x, stream: tf.zeros_like(x[stream])}, y)
