"""Tuning of a system's options on training speakers, by keras-tuner."""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import socket
import tempfile
import threading
from typing import Any

import keras

from ser_keras._errors import needs_extra
from ser_keras._files import read_json
from ser_keras._files import write_text
from ser_keras.audio.alterations import RandomAlteration
from ser_keras.experiments.corpus import all_utterances
from ser_keras.experiments.corpus import chosen_folds
from ser_keras.experiments.corpus import make_folds
from ser_keras.experiments.corpus import read_corpus
from ser_keras.experiments.driver import run_experiment
from ser_keras.experiments.experiment import Range
from ser_keras.experiments.options import RUNTIME
from ser_keras.experiments.output import drop_newer
from ser_keras.experiments.output import open_run
from ser_keras.experiments.registry import config_class
from ser_keras.experiments.registry import system_class
from ser_keras.experiments.registry import system_of
from ser_keras.experiments.tune_options import tune_config_class
from ser_keras.protocols.fold_parts import fold_parts
from ser_keras.protocols.held_out import rotate_held_out
from ser_keras.protocols.leak_guard import exposed_by_search
from ser_keras.protocols.leak_guard import guard_folds
from ser_keras.protocols.splits import Fold
from ser_keras.protocols.splits import hold_out_speakers
from ser_keras.training.engines.fan_out import run_tasks
from ser_keras.training.fit import train_network
from ser_keras.training.run_folder import RunFolder
from ser_keras.training.run_lock import RunLock
from ser_keras.training.runtime import Runtime

with needs_extra("Tuning", "tuner"):
    import keras_tuner

#: What is tuned for: UAR on training speakers that were held out.
OBJECTIVE = "val_uar"
#: The configuration that `ser_keras train SYSTEM --config` takes.
BEST_CONFIG = "best_config.json"
_VALUE = "value.json"


def run_tune(config: Any, folds: list[Fold] | None = None) -> dict | None:
    """Tunes on a fold's training speakers, then scores its test speakers.

    With several `jobs`, or another `engine`, as many workers share the trials:
    tasks of the engine, to which this process deals them out. A trial that is
    stopped goes on after its last epoch.

    Processes that are started by hand share them in keras-tuner's way: with the
    environment variables `KERASTUNER_ORACLE_IP` and `KERASTUNER_ORACLE_PORT`
    the same for all, `KERASTUNER_TUNER_ID` is `chief` in the process that
    deals them out, and any other name, each once, in those that run them. All
    but the chief return when there is no trial left.

    The run's folder then holds `tuning` (the trials), `best.json`,
    `best_config.json` and `best`, the run of the best configuration on the
    fold.

    Args:
        config: Of `tune_config_class`.
        folds: All folds of a corpus, of which `config.fold` picks one; by
            default those of the corpus and protocol that `config` names.

    Returns:
        What `result.json` of the best configuration's run holds, with the best
        `tuned` options and `tuned_uar_of_held_out_speakers`, which is the best
        of many and so too high; None in a worker.

    Raises:
        LeakError: The audio of a test utterance is in the training part, or
            was in the genotype's search, under whatever name.
        ValueError: The configuration, the corpus or the output folder does
            not fit, or an audio file is bad; before any training.
    """
    system = system_of(config)
    runtime = Runtime.of(config)
    runtime.start()
    experiment = system_class(system)(config)
    config = experiment.config
    if experiment.searches:
        raise ValueError(
            "A search for every trial would take days. Tune the network of a "
            "genotype (--genotype FILE) or of an architecture drawn at random "
            f"(--architecture random). Received: {system} with a search"
        )
    if folds is None:
        folds = make_folds(config, read_corpus(config))
    (fold,) = chosen_folds(folds, config.fold)
    if (pathlib.Path(config.output_dir) / "config.json").exists():
        open_run(config)
    hypermodel = SystemHyperModel(config, fold)
    guard_folds(
        [fold],
        hypermodel.all_features.manifest,
        exposed_by_search(getattr(config, "genotype", "")),
    )
    run = open_run(config)
    arguments = hypermodel, run.path / "tuning", config.trials, config.method
    started = "KERASTUNER_TUNER_ID" in os.environ
    with runtime.scope():
        if started or (config.jobs == 1 and config.engine == "local"):
            best = tune(*arguments)
        else:
            best = _tune_by_tasks(config, folds, arguments)
    if best is None:
        return None
    print(f"best of {best.trials} trials: held-out UAR {best.uar:.3f}")
    for name, value in best.values.items():
        print(f"  {name}: {value}")
    tuned = _tuned_config(system, config, best.values)
    text = json.dumps(dataclasses.asdict(tuned), indent=2)
    write_text(run.path / BEST_CONFIG, text + "\n")
    run.write_json("best.json", dataclasses.asdict(best))
    print(f"ser_keras train {system} --config {run.path / BEST_CONFIG}")
    result = run_experiment(
        dataclasses.replace(
            tuned,
            fold=config.fold,
            output_dir=str(run.path / "best"),
            export_dir=str(run.path / "saved_models"),
        ),
        folds,
    )
    result |= {
        "tuned": best.values,
        "tuned_uar_of_held_out_speakers": best.uar,
    }
    run.write_json("result.json", result)
    return result


def _tune_by_tasks(config, folds, arguments):
    """`tune`, with workers that are tasks; this process deals out trials."""
    address = "127.0.0.1"
    if config.engine != "local":
        address = socket.gethostbyname(socket.gethostname())
    with socket.socket() as free:
        free.bind((address, 0))
        port = free.getsockname()[1]
    shared = {
        "KERASTUNER_ORACLE_IP": address,
        "KERASTUNER_ORACLE_PORT": str(port),
    }
    # keras-tuner's server polls its state for as long as a worker is missing:
    # if they fail, its thread must not keep this process.
    best: concurrent.futures.Future = concurrent.futures.Future()

    def deal_out():
        try:
            best.set_result(tune(*arguments))
        except BaseException as error:
            best.set_exception(error)

    os.environ.update(shared, KERASTUNER_TUNER_ID="chief")
    try:
        threading.Thread(target=deal_out, daemon=True).start()
        folder = pathlib.Path(config.output_dir)
        alone = dataclasses.replace(config, jobs=1, engine="local")
        # The class of the configuration, made by a function, has no name.
        given = system_of(config), dataclasses.asdict(alone), folds
        names = [f"worker_{i}" for i in range(1, config.jobs + 1)]
        run_tasks(
            _work_on_trials,
            {
                name: (*given, {**shared, "KERASTUNER_TUNER_ID": name})
                for name in names
            },
            config.jobs,
            {name: folder / "workers" / f"{name}.txt" for name in names},
            engine=config.engine,
            folder=folder,
            files=[u.path for fold in folds for u in fold.train],
        )
        return best.result()
    finally:
        for name in (*shared, "KERASTUNER_TUNER_ID"):
            os.environ.pop(name, None)


def _work_on_trials(system, fields, folds, environment):
    """A worker of `_tune_by_tasks`."""
    os.environ.update(environment)
    try:
        run_tune(tune_config_class(system)(**fields), folds)
    finally:
        for name in environment:
            os.environ.pop(name, None)


def _tuned_config(system, config, values):
    """The system's own configuration, with the best values."""
    kind = config_class(system)
    fields = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(kind)
    }
    defaults = kind()
    own = {name: getattr(defaults, name) for name in ("output_dir", "fold")}
    return kind(**{**fields, **own, **values})


class SystemHyperModel(keras_tuner.HyperModel):
    """A system whose `tunable` options are hyper-parameters.

    Only the training speakers of a fold are used. Some of them are held out; a
    trial trains on the others as `train_network` does, and its value is the
    best epoch's UAR on those held out.

    Args:
        config: Configuration of the system; `trial_epochs` is the length of a
            trial.
        fold: The `Fold` on whose training part to tune.

    Attributes:
        trainings: Folder in which stopped trials are resumed, set by `tune`.
    """

    def __init__(self, config, fold):
        super().__init__()
        self.trainings: pathlib.Path | None = None
        self.system = system_of(config)
        self.config = config
        experiment = system_class(self.system)(config)
        self.tunable = experiment.tunable_options()
        self.genotype = experiment.genotype()
        preprocessor = experiment.training_preprocessor(
            experiment.preprocessor()
        )
        self.duration_frames = preprocessor.duration_frames()
        options = {"skip_bad_audio": config.skip_bad_audio}
        self.all_features = preprocessor.compute(
            all_utterances([fold]), config.cache_dir, **options
        )
        experiment.check([fold], self.all_features)
        names: Any = (
            config.hold_out
            and rotate_held_out(
                [fold], config.held_out_speakers, config.seed, config.hold_out
            )[fold.name]
        )
        if names:
            train, held_out, _ = fold_parts(fold, self.all_features, names)
        else:
            train, held_out = hold_out_speakers(
                self.all_features.select(fold.train).manifest,
                count=config.held_out_speakers,
                seed=config.seed,
            )
        self.train = self.all_features.select(train)
        self.held_out = self.all_features.select(held_out)
        self.augmented = [
            preprocessor.at_speed(speed).compute(
                train, config.cache_dir, **options
            )
            for speed in experiment.speeds()
        ] + [
            preprocessor.compute(
                train,
                config.cache_dir,
                alteration=RandomAlteration(seed),
                **options,
            )
            for seed in range(getattr(config, "altered_copies", 0))
        ]

    def experiment(self, hp):
        """The system with the values of a trial."""
        values = {
            name: _hyperparameter(hp, name, values)
            for name, values in self.tunable.items()
        }
        config = dataclasses.replace(self.config, smoke=False, **values)
        return system_class(self.system)(config)

    def build(self, hp):
        keras.utils.set_random_seed(self.config.seed)
        return self.experiment(hp).build(self.train, self.genotype)

    def fit(self, hp, model, callbacks=()):
        experiment = self.experiment(hp)
        training = {
            **experiment.training(),
            "epochs": self.config.trial_epochs,
            "select_by": "uar",
        }
        with contextlib.ExitStack() as stack:
            folder = self._training_folder(hp)
            if folder is None:
                folder = stack.enter_context(tempfile.TemporaryDirectory())
            stack.enter_context(RunLock(folder))
            run = RunFolder(folder, {})
            if (found := run.read_json(_VALUE)) is not None:
                return found
            train_network(
                model,
                self.train,
                held_out=self.held_out,
                augmented=self.augmented,
                run=run,
                duration_frames=self.duration_frames,
                augment=experiment.augmentation(self.train),
                seed=self.config.seed,
                callbacks=callbacks,
                **training,
            )
            values = [row[OBJECTIVE] for row in run.rows("train")]
            found = {OBJECTIVE: max(values)}
            run.write_json(_VALUE, found)
            shutil.rmtree(run.path / "checkpoints")
            for file in run.path.glob("*.weights.h5"):
                file.unlink()
        return found

    def _training_folder(self, hp):
        """Of the trial of these values, so that it can be resumed; or None.

        It is not named by the trial: a worker that is lost may get its values
        again as another.
        """
        if self.trainings is None:
            return None
        values = json.dumps(hp.values, sort_keys=True, default=str)
        name = hashlib.sha256(values.encode()).hexdigest()[:16]
        return self.trainings / name

    def settings(self) -> dict:
        """What decides the values of trials, as JSON types."""
        config = dataclasses.asdict(self.config)
        places = "output_dir", "export_dir", "cache_dir"
        for name in (*places, *RUNTIME, "trials"):
            config.pop(name, None)
        return {
            **config,
            "system": self.system,
            "train_speakers": self.train.manifest.speakers,
            "held_out": self.held_out.manifest.speakers,
        }


def _hyperparameter(hp, name, values):
    if not isinstance(values, Range):
        if set(values) == {False, True}:
            return hp.Boolean(name)
        return hp.Choice(name, list(values))
    if values.step == "log":
        return hp.Float(name, values.low, values.high, sampling="log")
    kind = hp.Int if isinstance(values.step, int) else hp.Float
    return kind(name, values.low, values.high, step=values.step)


@dataclasses.dataclass(frozen=True)
class Tuned:
    """What `tune` found.

    Args:
        values: The best options, by name.
        uar: UAR of that trial on the held-out training speakers. It is the
            best of many, and so too high; only test speakers can say more.
        trials: Number of trials that were finished.
    """

    values: dict
    uar: float
    trials: int


def tune(
    hypermodel: SystemHyperModel,
    directory: str | os.PathLike[str],
    trials: int,
    method: str = "bayesian",
) -> Tuned | None:
    """Runs trials and returns the best options; resumable by trial.

    Args:
        hypermodel: A `SystemHyperModel`.
        directory: Folder of the trials; all processes see the same.
        trials: Number of trials in all.
        method: `"bayesian"` or `"random"`.

    Returns:
        `Tuned`; None in a worker, which does not know when the others are
        done.

    Raises:
        ValueError: An argument is invalid, or the folder has trials of other
            settings.
    """
    tuners = {
        "bayesian": keras_tuner.BayesianOptimization,
        "random": keras_tuner.RandomSearch,
    }
    if method not in tuners or trials < 1:
        raise ValueError(
            f"`method` must be one of {tuple(tuners)} and `trials` positive. "
            f"Received: method={method!r}, trials={trials}"
        )
    directory = pathlib.Path(directory)
    settings = {**hypermodel.settings(), "method": method}
    record = read_json(directory / "config.json")
    if record is not None:
        drop_newer(settings, hypermodel.config, record.get("config", {}))
    RunFolder(directory, settings)
    hypermodel.trainings = directory / "trainings"
    tuner = tuners[method](
        hypermodel,
        objective=keras_tuner.Objective(OBJECTIVE, "max"),
        max_trials=trials,
        seed=hypermodel.config.seed,
        directory=str(directory.parent),
        project_name=directory.name,
    )
    tuner.search()
    if not isinstance(tuner.oracle, keras_tuner.Oracle):
        return None  # A worker: its oracle is the chief's, by gRPC.
    finished = tuner.oracle.get_best_trials(trials)
    # Of equal ones the first: a tuner that resumes has them in another order.
    first = min(finished, key=lambda trial: (-trial.score, trial.trial_id))
    return Tuned(first.hyperparameters.values, first.score, len(finished))
