"""Every fold trained and scored; all test speakers pooled."""

import dataclasses
import functools
import pathlib
import warnings

import keras

from ser_keras._registry import load_model
from ser_keras.data.features import FeatureSet
from ser_keras.data.manifest import Manifest
from ser_keras.data.pipeline import make_dataset
from ser_keras.data.splits import Fold
from ser_keras.data.splits import check_classes
from ser_keras.data.splits import hold_out_speakers
from ser_keras.evaluation.leak_guard import SeenAudio
from ser_keras.evaluation.leak_guard import guard_folds
from ser_keras.evaluation.predict import predict
from ser_keras.evaluation.predictions import Predictions
from ser_keras.evaluation.processes import run_in_processes
from ser_keras.evaluation.run_folder import RunFolder
from ser_keras.evaluation.scores import Scores
from ser_keras.evaluation.scores import score
from ser_keras.evaluation.training import train_network


@dataclasses.dataclass(frozen=True)
class CrossValidation:
    """What `cross_validate` found.

    Args:
        predictions: Of the test utterances of all folds, pooled.
        scores: Of the pooled predictions.
        fold_scores: `Scores` of each fold, by name.
        network: The last fold's network.
        leaks_speakers: Whether a fold trained on its test speakers.
        selects_on_test: Whether a fold picked its epoch on its test part.
        protocol: Name, facts and hash of the named protocol that made all
            folds; None of folds that say nothing of it.
    """

    predictions: Predictions
    scores: Scores
    fold_scores: dict
    network: keras.Model
    leaks_speakers: bool = False
    selects_on_test: bool = False
    protocol: dict | None = None


def cross_validate(
    build_network,
    features: FeatureSet,
    folds: list[Fold],
    *,
    run: RunFolder,
    copies=(),
    seed: int = 0,
    held_out_speakers: int = 1,
    jobs: int = 1,
    seen: SeenAudio | None = None,
    **training,
) -> CrossValidation:
    """Trains and scores a network on each fold; resumable fold by fold.

    In each fold some *training* speakers are held out to choose the epoch;
    the test speakers are looked at once, when training is over. (A fold that
    says otherwise of itself is warned of, and the result has it.) Each fold has
    a folder of its own in the run's `folds`; one that is finished is not
    trained again.

    Args:
        build_network: `build_network(fold, run)`, a new network for a fold,
            given the `Fold` and the fold's `RunFolder`. A search belongs in
            here, unless its speakers are in none of the folds.
        features: Features of all utterances.
        folds: Folds, as the functions of `ser_keras.data.splits` make them.
        run: The run's folder.
        copies: Further `FeatureSet`s of the same utterances, altered, such as
            at other speeds. Training takes any of them for an utterance;
            nobody is scored or chosen on them.
        seed: Seed of every fold.
        held_out_speakers: Training speakers held out in each fold, or 0 to
            train on all of them and keep the last epoch.
        jobs: Folds that train at the same time, each in a process of its own
            which prints to `log.txt` in the fold's folder. A step of a small
            network leaves cores idle that another fold can use. Everything
            that is passed here must then be picklable: no lambdas and no
            functions within functions.
        seen: What came before has heard, such as a search on another corpus;
            `SeenAudio()` if there was nothing. Then all audio is compared by
            its content before any training, and each fold's folder keeps a
            record of what its network has heard. None compares nothing.
        **training: Arguments of `train_network`.

    Returns:
        `CrossValidation`.

    Raises:
        LeakError: The audio of a test utterance was or would be heard by a
            search or a training, under whatever name.
        ValueError: A fold lacks a class in training, an utterance is tested
            twice, or `jobs` is not positive.

    Example: see `recipes/emodb_emodarts.py`.
    """
    for fold in folds:
        check_classes(fold)
    facts = {
        "leaks_speakers": any(fold.leaks_speakers for fold in folds),
        "selects_on_test": any(fold.selects_on_test for fold in folds),
    }
    if any(facts.values()):
        warnings.warn(overstated(**facts), stacklevel=2)
    run_fold = functools.partial(
        _run_fold,
        build_network=build_network,
        features=features,
        copies=copies,
        seed=seed,
        held_out_speakers=held_out_speakers,
        training=training,
    )
    records = {}
    if seen is not None:
        records = guard_folds(folds, features.manifest, seen)
    folders = {
        fold.name: RunFolder(run.path / "folds" / fold.name, run.config)
        for fold in folds
    }
    for name, record in records.items():
        record.save(folders[name].path)
    calls = {
        fold.name: (fold, folders[fold.name])
        for fold in folds
        if not _predictions(folders[fold.name]).exists()
    }
    if jobs != 1:
        logs = {name: folders[name].path / "log.txt" for name in calls}
        run_in_processes(run_fold, calls, jobs, logs)
    parts, fold_scores = [], {}
    for number, fold in enumerate(folds, start=1):
        folder = folders[fold.name]
        file = _predictions(folder)
        if not file.exists():
            print(f"fold {number}/{len(folds)}: test {fold.name}", flush=True)
            run_fold(fold, folder)
        parts.append(Predictions.load_csv(file))
        fold_scores[fold.name] = score(parts[-1])
        print(
            f"fold {number}/{len(folds)}: test {fold.name}  "
            f"UAR {fold_scores[fold.name].uar:.3f}",
            flush=True,
        )
    pooled = Predictions.concatenate(parts)
    pooled.save_csv(run.path / "predictions.csv")
    save_tested(folds, features, run)
    # Saved by this run itself, of whatever classes its caller has.
    network = load_model(folder.path / "network.keras", trust=True)
    return CrossValidation(
        pooled,
        score(pooled),
        fold_scores,
        network,
        **facts,
        protocol=protocol_of(folds),
    )


def protocol_of(folds) -> dict | None:
    """What all folds say of the protocol that made them, or None."""
    first = folds[0].protocol
    return first if all(fold.protocol == first for fold in folds) else None


def save_tested(folds, features, run) -> None:
    """Writes the test utterances of all folds, with absolute paths.

    `utterances.jsonl` lets a report play them, and check that predictions
    cover them.
    """
    utterances = [
        dataclasses.replace(u, path=str(pathlib.Path(u.path).resolve()))
        for fold in folds
        for u in features.select(fold.test).manifest
    ]
    manifest = Manifest(utterances, folds[0].test.labels)
    manifest.save(run.path / "utterances.jsonl")


def _predictions(run):
    return run.path / "predictions.csv"


def overstated(leaks_speakers, selects_on_test) -> str:
    """What must be said wherever such a score is shown."""
    reasons = [
        reason
        for applies, reason in (
            (leaks_speakers, "the test speakers are trained on as well"),
            (selects_on_test, "the epoch is picked on the test part"),
        )
        if applies
    ]
    return (
        f"THIS SCORE OVERSTATES: {' and '.join(reasons)}. It says nothing "
        "about new speakers; do not compare it with speaker-independent ones."
    )


def _run_fold(
    fold,
    run,
    *,
    build_network,
    features,
    copies,
    seed,
    held_out_speakers,
    training,
):
    keras.utils.set_random_seed(seed)
    network = build_network(fold, run)
    train, held_out = fold.train, None
    if fold.selects_on_test:
        held_out = features.select(fold.test)
    elif held_out_speakers:
        train, held_out = hold_out_speakers(
            fold.train, count=held_out_speakers, seed=seed
        )
        held_out = features.select(held_out)
    epoch = train_network(
        network,
        features.select(train),
        copies=[copy.select(train) for copy in copies],
        held_out=held_out,
        shared_speakers=fold.leaks_speakers,
        run=run,
        seed=seed,
        **training,
    )
    network.save(run.path / "network.keras")
    run.write_json("chosen.json", {"epoch": epoch})
    test = features.select(fold.test)
    dataset = make_dataset(test, training.get("batch_size", 32))
    # Last, and in one step: its presence says that the fold is finished.
    part = predict(network, dataset, test.manifest)
    part.save_csv(_predictions(run))
