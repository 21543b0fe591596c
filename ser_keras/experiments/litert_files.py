"""LiteRT files of a run's networks, and what each precision costs."""

import functools
import os
from collections.abc import Sequence
from typing import Any

from ser_keras._registry import load_model
from ser_keras.audio.io import load_many
from ser_keras.evaluation.predictions import Predictions
from ser_keras.evaluation.scores import score
from ser_keras.export.litert.export import export_litert
from ser_keras.export.litert.file_format import read_metadata
from ser_keras.export.litert.model import load_litert
from ser_keras.features.feature_set import FeatureSet
from ser_keras.features.preprocessor import Preprocessor
from ser_keras.protocols.splits import Fold
from ser_keras.training.run_folder import RunFolder
from ser_keras.training.run_folder import fold_paths

_REPRESENTATIVE = 200  # Clips that give int8 its ranges.


def write_litert_files(
    run: RunFolder,
    folds: list[Fold],
    features: FeatureSet,
    preprocessor: Preprocessor,
    temperature: float = 1.0,
    precisions: Sequence[str] = ("float32", "float16", "int8"),
    bandwidth: float | None = None,
) -> dict:
    """Writes the files of each fold's network and scores them.

    They are in the fold's folder: `float32.tflite` and so on, waveform in, and
    `features_float32.tflite` and so on, features in. A file takes
    `preprocessor.duration` seconds of an utterance, and not all of it where
    the run's own scores do; so compare its scores with those of the other
    files. Those with features in have the same network and no scores of their
    own. The ranges of int8 are those of training clips. What is there with this
    temperature is not written again.

    Args:
        run: A finished run of `cross_validate`.
        folds: Its folds.
        features: Features of all utterances.
        preprocessor: That computed them.
        temperature: By which logits are divided.
        precisions: Which files to write, see `export_litert`.
        bandwidth: Of the training's recordings, Hz; likewise.

    Returns:
        For each precision `bytes` and `file` of the last fold's file, waveform
        in, `features_bytes` and `features_file` of the one with features in,
        and `uar` and `wa` over the test utterances of all folds.
    """
    parts = {precision: [] for precision in precisions}
    paths = fold_paths(run.path, (fold.name for fold in folds))
    for fold in folds:
        folder = paths[fold.name]
        test = features.select(fold.test).manifest
        training = features.select(fold.train).arrays
        network = functools.cache(
            functools.partial(load_model, folder / "network.keras")
        )
        for precision, done in parts.items():
            table = folder / f"{precision}.csv"
            file = _file(folder, precision, "waveform")
            if not _is_there(file, temperature):
                table.unlink(missing_ok=True)  # It is of another file.
            _write(
                folder,
                network,
                precision,
                test.labels,
                training,
                preprocessor,
                temperature,
                bandwidth,
            )
            if not table.exists():
                _predict(load_litert(file), test).save_csv(table)
            done.append(Predictions.load_csv(table))
    files = {}
    for precision, done in parts.items():
        file = _file(folder, precision, "waveform")
        bare = _file(folder, precision, "features")
        scores = score(Predictions.concatenate(done))
        files[precision] = {
            "file": str(file),
            "bytes": file.stat().st_size,
            "features_file": str(bare),
            "features_bytes": bare.stat().st_size,
            "uar": scores.uar,
            "wa": scores.wa,
        }
        print(
            f"{file}: {file.stat().st_size / 1e6:.2f} MB, UAR {scores.uar:.3f} "
            f"on {preprocessor.duration:g} s of each test utterance"
        )
    return files


def write_final_litert_files(
    folder: str | os.PathLike[str],
    network: Any,
    features: Any,
    preprocessor: Preprocessor,
    temperature: float,
    precisions: Sequence[str],
    bandwidth: float | None = None,
) -> None:
    """Writes the files of the network that was trained on all speakers.

    No speaker is left to score them on.

    Args:
        folder: Where they go, with names as in `write_litert_files`.
        network: The network.
        features: Features of all utterances.
        preprocessor: That computed them.
        temperature: By which logits are divided.
        precisions: As there.
        bandwidth: As there.
    """
    for precision in precisions:
        _write(
            folder,
            lambda: network,
            precision,
            features.manifest.labels,
            features.arrays,
            preprocessor,
            temperature,
            bandwidth,
        )


def _write(
    folder,
    network,
    precision,
    labels,
    training,
    preprocessor,
    temperature,
    bandwidth,
):
    """Writes both files of a precision, where they are not there yet."""
    # Of all speakers: a manifest is in their order.
    step = -(-len(training) // _REPRESENTATIVE)
    export = functools.partial(
        export_litert,
        labels=labels,
        preprocessor=preprocessor,
        precision=precision,
        duration=preprocessor.duration,
        representative=training[::step],
        temperature=temperature,
        bandwidth=bandwidth,
    )
    file = _file(folder, precision, "waveform")
    bare = _file(folder, precision, "features")
    with_features = _is_there(bare, temperature)
    if not _is_there(file, temperature):
        both = None if with_features else bare
        export(network(), file, features_path=both)
    elif not with_features:
        export(network(), bare, inputs="features")


def _is_there(file, temperature):
    """Whether there is such a file, and it has this temperature."""
    if not file.exists():
        return False
    metadata = read_metadata(file.read_bytes()) or {}
    return metadata.get("temperature", 1.0) == temperature


def _file(folder, precision, inputs):
    prefix = "features_" if inputs == "features" else ""
    return folder / f"{prefix}{precision}.tflite"


def _predict(model, manifest):
    waveforms, _ = load_many(
        [u.path for u in manifest],
        model.sample_rate,
        starts=[u.start for u in manifest],
        ends=[u.end for u in manifest],
    )
    return Predictions.of(manifest, model(waveforms)["probabilities"])
