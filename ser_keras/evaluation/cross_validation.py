"""Cross-validation: every fold trained and scored, all test speakers pooled."""

import dataclasses
import functools
import pathlib
import warnings
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import keras
import numpy as np

from ser_keras._deprecated import renamed_arguments
from ser_keras._files import replace_file
from ser_keras._registry import load_model
from ser_keras.corpora.manifest import Manifest
from ser_keras.evaluation.calibration import calibrate
from ser_keras.evaluation.inner_folds import inner_parts
from ser_keras.evaluation.inner_folds import train_by_inner_folds
from ser_keras.evaluation.predict import predict
from ser_keras.evaluation.predictions import Predictions
from ser_keras.evaluation.scores import Scores
from ser_keras.evaluation.scores import score
from ser_keras.features.dataset import make_dataset
from ser_keras.features.feature_set import FeatureSet
from ser_keras.protocols.fold_parts import check_fold_parts
from ser_keras.protocols.fold_parts import fold_parts
from ser_keras.protocols.fold_parts import kept_folds
from ser_keras.protocols.held_out import rotate_held_out
from ser_keras.protocols.leak_guard import ExposedAudio
from ser_keras.protocols.leak_guard import guard_folds
from ser_keras.protocols.protocol import folds_hash
from ser_keras.protocols.protocol import overstated
from ser_keras.protocols.splits import Fold
from ser_keras.protocols.splits import check_classes
from ser_keras.protocols.splits import hold_out_speakers
from ser_keras.training.engines.fan_out import run_tasks
from ser_keras.training.estimate import further_trainings
from ser_keras.training.fit import train_network
from ser_keras.training.run_folder import RunFolder
from ser_keras.training.run_folder import fold_paths
from ser_keras.training.run_lock import RunLock
from ser_keras.training.runtime import Runtime
from ser_keras.training.runtime import in_float32

_FOLDS = "folds.json"
_HELD_OUT = "held_out_predictions.csv"
_NEAR_CHANCE = 0.1  # Of the way from chance to a perfect score.
#: No audio was used before the training.
NOTHING_EXPOSED = ExposedAudio()


class Trained(NamedTuple):
    """What a fold's training gave.

    Args:
        network: The network, from features to logits.
        epoch: Whose weights it has; 0 of a training without epochs.
        held_out: `Predictions` of training speakers by which the temperature
            is set, if the training has some; otherwise the network's, of the
            speakers who were held out.
    """

    network: keras.Model
    epoch: int
    held_out: Predictions | None = None


def train_by_epochs(
    network: keras.Model, train: Any, **options: Any
) -> Trained:
    """`train_network`, as `cross_validate` calls it."""
    return Trained(network, train_network(network, train, **options))


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
        folds_hash: Of who is in which part, see `folds_hash`.
        scaled: The same predictions, with the temperatures applied; None if no
            training speakers were held out.
        temperatures: Of each fold, by name, fitted on the training speakers
            that were held out in it.
        held_out: Names of these speakers, and what the network scored on them,
            by the fold's name.
        part: `folds`, the numbers of those that were run, and `of`, how many
            there are; None of all folds, or if that is not known.
    """

    predictions: Predictions
    scores: Scores
    fold_scores: dict
    network: keras.Model
    leaks_speakers: bool = False
    selects_on_test: bool = False
    protocol: dict | None = None
    folds_hash: str | None = None
    scaled: Predictions | None = None
    temperatures: dict | None = None
    held_out: dict | None = None
    part: dict | None = None


@renamed_arguments(copies="augmented", seen="exposed")
def cross_validate(
    build_network: Callable[..., keras.Model],
    features: FeatureSet,
    folds: list[Fold],
    *,
    run: RunFolder,
    search: Callable[[Fold, RunFolder], Any] | None = None,
    augmented: Sequence[FeatureSet] = (),
    seed: int = 0,
    held_out_speakers: int = 1,
    hold_out: Sequence[str] = (),
    select: str = "held-out",
    jobs: int = 1,
    engine: str = "local",
    exposed: ExposedAudio | None = NOTHING_EXPOSED,
    runtime: Runtime | None = None,
    train: Callable[..., Trained] = train_by_epochs,
    whole: Callable[[keras.Model], keras.Model] | None = None,
    **training: Any,
) -> CrossValidation:
    """Trains and scores a network on each fold; resumable fold by fold.

    In each fold some *training* speakers are held out to choose the epoch;
    the test speakers are looked at once, when training is over. (A fold that
    says otherwise of itself is warned of, and the result has it.) Each fold has
    a folder of its own in the run's `folds`; one that is finished is not
    trained again.

    Args:
        build_network: `build_network(fold, run)`, a new network for a fold,
            given the `Fold` and the fold's `RunFolder`; with `search`,
            `build_network(fold, run, found)`.
        features: Features of all utterances.
        folds: Folds, as a `Protocol` makes them.
        run: The run's folder.
        search: `search(fold, run)`, what is found on a fold's training part,
            such as a genotype, before its network is built.
        augmented: Further `FeatureSet`s of the same utterances, altered, such
            as by speed perturbation. Training takes any of them for an
            utterance; they are never used for scores or for validation.
        seed: Seed of every fold.
        held_out_speakers: Training speakers held out in each fold, or 0 to
            train on all of them and keep the last epoch. What the network says
            of them is kept as well, and sets the temperature of its
            probabilities. Who they are, `rotate_held_out` says once; a run
            that goes on keeps them.
        hold_out: Names of speakers to hold out in place of others.
        select: `"inner-cv"`: in place of held-out speakers, an inner
            cross-validation of all training speakers chooses the epoch and
            sets the temperature, see `train_by_inner_folds`.
        jobs: Folds that train at the same time, each in a process of its own
            which prints to `log.txt` in the fold's folder. A step of a small
            network leaves cores idle that another fold can use. Everything
            that is passed here must then be picklable: no lambdas and no
            functions within functions.
        engine: What runs them: `"local"`, processes of this machine; `"ray"`
            or `"slurm"`, see `run_tasks`.
        exposed: Audio of earlier stages, such as a search on another corpus;
            by default nothing. All audio is compared by its content before
            any training, and each fold's folder keeps a record of what its
            network has heard. None compares nothing, which is for features
            whose audio is not there.
        runtime: How searches and trainings are computed; by default on one
            device, in float32. Networks are scored and kept in float32.
        train: `train(network, train, **options)` trains a fold's network, with
            the arguments of `train_network`; by default it is that.
        whole: `whole(network)`, the network that is kept, where what is
            trained is only its last part, and `features` are what the part
            before, which is frozen, makes of them.
        **training: Arguments of `train_network`.

    Returns:
        `CrossValidation`.

    Raises:
        LeakError: The audio of a test utterance was or would be used in a
            search or a training, under whatever name.
        ValueError: A fold lacks a class in training or has nothing to test,
            too few speakers or utterances are left to train on, an utterance
            is tested twice, `jobs` is not positive, or the run was begun on
            other folds. Bad audio that was skipped does not count.

    Example: see `recipes/emodb_emodarts.py`.
    """
    run_fold, folders = _begin(
        build_network,
        features,
        folds,
        run=run,
        search=search,
        augmented=augmented,
        seed=seed,
        held_out_speakers=held_out_speakers,
        hold_out=hold_out,
        select=select,
        exposed=exposed,
        runtime=runtime,
        train=train,
        whole=whole,
        **training,
    )
    facts = {
        "leaks_speakers": any(fold.leaks_speakers for fold in folds),
        "selects_on_test": any(fold.selects_on_test for fold in folds),
    }
    if any(facts.values()):
        warnings.warn(overstated(**facts), stacklevel=2)
    calls = {
        fold.name: (fold, folders[fold.name])
        for fold in folds
        if not _predictions(folders[fold.name]).exists()
    }
    if jobs != 1 or engine != "local":
        run_tasks(
            run_fold,
            calls,
            jobs,
            {name: folders[name].path / "log.txt" for name in calls},
            engine=engine,
            folder=run.path,
            finals={name: _predictions(folders[name]) for name in calls},
        )
    parts, fold_scores = [], {}
    for number, fold in enumerate(folds, start=1):
        folder = folders[fold.name]
        file = _predictions(folder)
        if not file.exists():
            print(f"fold {number}/{len(folds)}: test {fold.name}", flush=True)
            missing = [x for x in folders.values() if not _is_done(x)]
            with RunLock(folder.path), further_trainings(len(missing) - 1):
                # Another process may have finished it meanwhile.
                if not file.exists():
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
    scaled, temperatures = _calibrate(folders, parts)
    return CrossValidation(
        pooled,
        score(pooled),
        fold_scores,
        network,
        **facts,
        protocol=protocol_of(folds),
        folds_hash=folds_hash(folds),
        scaled=scaled,
        temperatures=temperatures,
        held_out=_held_out_scores(folders),
        part=part_of(folds),
    )


def _is_done(folder):
    return _predictions(folder).exists()


def cross_validate_fold(name: str, **arguments: Any) -> None:
    """Runs one fold of a cross-validation, for a worker that has its lock.

    `cross_validate` with the same arguments then finds it finished.

    Args:
        name: Of the fold.
        **arguments: Of `cross_validate`, without `jobs` and `engine`.
    """
    run_fold, folders = _begin(**arguments)
    (fold,) = (x for x in arguments["folds"] if x.name == name)
    run_fold(fold, folders[name])


def begin_folds(**arguments: Any) -> dict[str, RunFolder]:
    """Folders of the folds of a cross-validation, by the folds' names.

    Everything is checked, and who is held out is decided; nothing is trained.

    Args:
        **arguments: Of `cross_validate`, without `jobs` and `engine`.

    Raises:
        LeakError, ValueError: See `cross_validate`.
    """
    return _begin(**arguments)[1]


def _begin(
    build_network,
    features,
    folds,
    *,
    run,
    search=None,
    augmented=(),
    seed=0,
    held_out_speakers=1,
    hold_out=(),
    select="held-out",
    exposed=NOTHING_EXPOSED,
    runtime=None,
    train=train_by_epochs,
    whole=None,
    **training,
):
    """What runs a fold in its folder, and the folders, after all checks."""
    for fold in folds:
        check_classes(fold)
        if select == "inner-cv":
            inner_parts(fold.train)
            held_out_speakers, hold_out = 0, ()
    held_out = _held_out(
        run, kept_folds(folds, features), held_out_speakers, seed, hold_out
    )
    check_fold_parts(
        folds, features, held_out, seed, training.get("batch_size", 32)
    )
    run_fold = functools.partial(
        _run_fold,
        search=search,
        build_network=build_network,
        features=features,
        augmented=augmented,
        seed=seed,
        held_out=held_out,
        select=select,
        runtime=runtime or Runtime("none"),
        train_fold=train,
        whole=whole,
        training=training,
    )
    return run_fold, fold_folders(folds, features, run, exposed, held_out)


def _held_out(run, folds, count, seed, names):
    """Names of the held-out speakers of each fold; those that the run has."""
    record = run.read_json(_FOLDS) or {}
    if "held_out" in record and {x.name for x in folds} <= {
        *record["held_out"]
    }:
        return record["held_out"]
    if not (run.path / "folds").exists():
        return rotate_held_out(folds, count, seed, names)
    # Begun by a version in which each fold held out the first of one order.
    return {
        fold.name: hold_out_speakers(fold.train, count, seed=seed)[1].speakers
        if count and not fold.selects_on_test and len(fold.train.speakers) > 1
        else ()
        for fold in folds
    }


def _held_out_scores(folders):
    """Names of the held-out speakers of each fold, and their UAR."""
    found = {}
    for name, folder in folders.items():
        file = folder.path / _HELD_OUT
        if file.exists():
            predictions = Predictions.load_csv(file)
            found[name] = {
                "speakers": sorted(set(predictions.speakers)),
                "uar": score(predictions).uar,
            }
    return found or None


def _calibrate(folders, parts):
    """Scaled predictions of all folds, and their temperatures; or nothing.

    A fold of an older version, and one that leaks speakers, has kept no
    predictions of held-out speakers.
    """
    scaled, temperatures = [], {}
    for (name, folder), part in zip(folders.items(), parts, strict=True):
        file = folder.path / _HELD_OUT
        if not file.exists():
            return None, None
        held_out = Predictions.load_csv(file)
        part, temperatures[name] = calibrate(held_out, part)
        scaled.append(part)
    return Predictions.concatenate(scaled), temperatures


def fold_folders(
    folds: Sequence[Fold],
    features: Any,
    run: RunFolder,
    exposed: Any,
    held_out: Any = None,
) -> dict:
    """The `RunFolder` of each fold by its name, after the guard has looked.

    Args:
        folds: List of `Fold`.
        features: Of all utterances.
        run: The run's folder.
        exposed: See `cross_validate`.
        held_out: Names of the held-out speakers of each fold, to be kept.

    Raises:
        LeakError: See `guard_folds`; then no folder was made.
        ValueError: The run was begun on other folds, see `check_folds`.
    """
    check_folds(run, folds)
    records = {}
    if exposed is not None:
        records = guard_folds(folds, features.manifest, exposed)
    paths = fold_paths(run.path, (fold.name for fold in folds))
    # Where a fold is, for a person: its name may be no name of a folder.
    places = {name: path.name for name, path in paths.items()}
    facts = {"hash": folds_hash(folds), "folders": places}
    if held_out is not None:
        facts["held_out"] = held_out
    # Before any folder: a run with folders and without this is an older one.
    run.write_json(_FOLDS, facts)
    folders = {
        name: RunFolder(path, run.config) for name, path in paths.items()
    }
    for name, record in records.items():
        record.save(folders[name].path)
    return folders


def check_folds(run: RunFolder, folds: Sequence[Fold]) -> None:
    """Raises `ValueError` if a run was begun on other folds than these.

    Other folds are also those of a corpus that has lost, gained or relabelled
    files since. A run of an older version, which did not record its folds, is
    judged by what it has predicted.

    Args:
        run: The run's folder.
        folds: List of `Fold`.
    """
    known, now = run.read_json(_FOLDS), folds_hash(folds)
    if known is not None:
        if known["hash"] == now:
            return
        found = f"Hash of the folds there: {known['hash']}, now: {now}."
    else:
        found = _other_predictions(run, folds)
    if found:
        raise ValueError(
            f"{run.path} was run on other folds, or on another state of the "
            "corpus. Choose another output folder, or go back to that corpus "
            f"and protocol. {found}"
        )


def _other_predictions(run, folds):
    """How the predictions of finished folds differ from these, or None."""
    result = run.read_json("result.json")
    names = {fold.name for fold in folds}
    if result is not None and names != set(result["folds"]):
        return f"Folds there: {sorted(result['folds'])}, now: {sorted(names)}."
    paths = fold_paths(run.path, (fold.name for fold in folds))
    for fold in folds:
        file = paths[fold.name] / "predictions.csv"
        if not file.exists():
            continue
        predictions, test = Predictions.load_csv(file), fold.test
        if run.config.get("skip_bad_audio"):  # Some may be left out.
            scored = set(predictions.ids)
            test = Manifest([u for u in test if u.id in scored], test.labels)
        try:
            predictions.check_covers(test)
        except ValueError as error:
            return f"Fold {fold.name!r}: {error}"
    return None


def protocol_of(folds: Sequence[Fold], **facts: Any) -> dict | None:
    """What all folds say of the protocol that made them, or None.

    Args:
        folds: List of `Fold`.
        **facts: `leaks_speakers` and `selects_on_test`, as they are of a run
            in place of what the protocol allows.
    """
    first = folds[0].protocol
    if first is None or any(fold.protocol != first for fold in folds):
        return None
    return {**first, **facts}


def part_of(folds: Sequence[Fold]) -> dict | None:
    """Which folds of a protocol these are, unless they are all.

    Args:
        folds: List of `Fold`.

    Returns:
        Dict of `folds`, their numbers, and `of`, the number of all; or None.
    """
    places = [fold.place for fold in folds if fold.place is not None]
    if not places or len(places) == places[0][1]:
        return None
    return {"folds": [number for number, _ in places], "of": places[0][1]}


def save_tested(folds: Sequence[Fold], features: Any, run: RunFolder) -> None:
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


def _run_fold(
    fold,
    run,
    *,
    search,
    build_network,
    features,
    augmented,
    seed,
    held_out,
    select,
    runtime,
    train_fold,
    whole,
    training,
):
    names = held_out[fold.name]
    train, held_out, test = fold_parts(fold, features, names)
    inner = select == "inner-cv" and not fold.selects_on_test
    if names:
        print(
            f"fold {fold.name}: held-out speakers {', '.join(names)} choose "
            "the epoch and the temperature",
            flush=True,
        )
    if held_out is not None:
        held_out = features.select(held_out)
    with runtime.scope():
        keras.utils.set_random_seed(seed)
        found = () if search is None else (search(fold, run),)
        build = functools.partial(build_network, fold, run, *found)
        training = {
            **training,
            "shared_speakers": fold.leaks_speakers,
            "seed": seed,
        }
        if not inner:
            trained = train_fold(
                build(),
                features.select(train),
                augmented=[altered.select(train) for altered in augmented],
                held_out=held_out,
                run=run,
                **training,
            )
    if inner:
        trained = train_by_inner_folds(
            build,
            train_fold,
            train,
            features,
            augmented,
            run,
            runtime,
            **training,
        )
    network = trained.network
    if not runtime.is_plain:
        network = in_float32(network)
    kept = network if whole is None else whole(network)
    replace_file(run.path / "network.keras", kept.save)
    run.write_json("chosen.json", {"epoch": trained.epoch})
    batch_size = training.get("batch_size", 32)

    def answers(part):
        return predict(network, make_dataset(part, batch_size), part.manifest)

    if trained.held_out is not None:
        trained.held_out.save_csv(run.path / _HELD_OUT)
    elif held_out is not None and not fold.overstates:
        found = answers(held_out)
        _warn_of_chance(fold, names, found)
        found.save_csv(run.path / _HELD_OUT)
    # Last, and in one step: its presence says that the fold is finished.
    answers(features.select(test)).save_csv(_predictions(run))


def _warn_of_chance(fold, names, predictions):
    """Prints that held-out speakers could not choose an epoch."""
    uar = score(predictions).uar
    chance = 1 / len(np.unique(predictions.labels))
    if uar <= chance + _NEAR_CHANCE * (1 - chance):
        print(
            f"fold {fold.name}: UAR {uar:.3f} OF HELD-OUT SPEAKERS "
            f"{', '.join(names)} IS NEAR CHANCE ({chance:.3f}): the epoch that "
            "they chose and the temperature mean little. Hold out several "
            "(--held-out-speakers 2) or others (--hold-out NAME).",
            flush=True,
        )
