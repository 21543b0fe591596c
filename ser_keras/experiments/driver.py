"""The one driver: from a configuration to scores, networks and exports."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import statistics
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any

import keras
import numpy as np

from ser_keras._errors import counted
from ser_keras._files import read_json
from ser_keras._files import replace_file
from ser_keras._quiet import without_information
from ser_keras._registry import load_model
from ser_keras.audio.alterations import RandomAlteration
from ser_keras.audio.bandwidth import bandwidth
from ser_keras.audio.io import load_many
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.parsers import load_corpus
from ser_keras.corpora.reading import Reading
from ser_keras.evaluation.cross_validation import CrossValidation
from ser_keras.evaluation.cross_validation import begin_folds
from ser_keras.evaluation.cross_validation import cross_validate
from ser_keras.evaluation.cross_validation import cross_validate_fold
from ser_keras.experiments.ablation import run_ablation
from ser_keras.experiments.corpus import all_utterances
from ser_keras.experiments.corpus import chosen_folds
from ser_keras.experiments.corpus import make_folds
from ser_keras.experiments.corpus import read_corpus
from ser_keras.experiments.litert_files import write_final_litert_files
from ser_keras.experiments.litert_files import write_litert_files
from ser_keras.experiments.output import default_export_dir
from ser_keras.experiments.output import open_run
from ser_keras.experiments.pretraining import Teacher
from ser_keras.experiments.pretraining import pretrain
from ser_keras.experiments.pretraining import pretrained
from ser_keras.experiments.registry import system_class
from ser_keras.experiments.registry import system_of
from ser_keras.experiments.seeds import run_seeds
from ser_keras.export.card import ModelCard
from ser_keras.export.run import FINAL
from ser_keras.export.saved_model.export import export_saved_model
from ser_keras.features.preprocessor import PREPROCESSOR_FILE
from ser_keras.genotype import load_genotype
from ser_keras.protocols.leak_guard import FILE
from ser_keras.protocols.leak_guard import exposed_by_search
from ser_keras.protocols.leak_guard import guard_folds
from ser_keras.protocols.protocol import overstated
from ser_keras.protocols.splits import Fold
from ser_keras.protocols.splits import check_disjoint
from ser_keras.reports.report import summary
from ser_keras.reports.report import write_report
from ser_keras.training.engines.fan_out import run_tasks
from ser_keras.training.estimate import further_trainings
from ser_keras.training.feature_tasks import compute_in_tasks
from ser_keras.training.run_folder import RunFolder
from ser_keras.training.run_folder import fold_paths
from ser_keras.training.runtime import Runtime
from ser_keras.training.runtime import in_float32

if TYPE_CHECKING:
    from ser_keras.genotype import Genotype
    from ser_keras.genotype import TwoStreamGenotype

_CLIPS = 200  # Whose bandwidth says what the training's is.


def run_experiment(
    config: Any, folds: list[Fold] | None = None, other: Manifest | None = None
) -> dict:
    """Runs a system: corpus, features, folds, search, training, scores, export.

    Resumable throughout: a run that was stopped goes on where it was when it
    is started again with the same configuration.

    The steps are the same for every system, whose `Experiment` says what is
    computed in them:

    1. The corpus is read and divided into folds, unless `folds` are given.
    2. The `Preprocessor` computes the features of all utterances.
    3. All that can be checked is checked, and no test audio may be in a search
       or a training.
    4. In each fold: search (unless there is a genotype), network, training,
       predictions of the test speakers. A search or pre-training on another
       corpus comes before, once.
    5. The folds' predictions are pooled and scored.
    6. With all folds and `final`, one network is trained on all speakers.
    7. That network, or the last fold's, is exported with the preprocessor and
       the temperature that the folds' held-out speakers gave.
    8. `result.json`, pictures and LiteRT files are written.

    The run's folder then holds `config.json`, `preprocessor.json`, a folder
    for each fold (genotype, alphas and metrics of every epoch, network,
    predictions), `final`, `predictions.csv` of every test utterance,
    `result.json`, pictures and TensorBoard logs.

    Args:
        config: Configuration of a system, such as `EmoDARTSConfig`.
        folds: All folds of a corpus, of which `config.fold` picks one; by
            default those of the corpus and protocol that `config` names.
        other: Another corpus to search or to pre-train on; by default the one
            that `config` names, if any.

    Returns:
        What `result.json` holds; with `seeds`, what `seeds.json` does, and of
        an ablation, what `ablation.json` does.

    Raises:
        LeakError: A test utterance's audio is in a search or a training part,
            under whatever name.
        ValueError: The configuration, the corpus, the folds, the genotype or
            the output folder does not fit, or an audio file is bad; before any
            training.

    Example:
        ```python
        config = ser_keras.experiments.EmoDARTSConfig(
            corpus="emodb", data_dir="/corpora/emodb", fold=0
        )
        result = ser_keras.run_experiment(config)
        print(result["scores"]["uar"], result["uar_interval_95"])
        ```
    """
    run = _make_run(config, folds, other)
    config, folds = run.given, run.all_folds
    if config.seeds:
        return run_seeds(
            config, folds, run_experiment, run.other, run_folds=run_folds
        )
    if getattr(config, "ablate", False):
        return run_ablation(config, folds, run_experiment)
    return run.go()


def run_folds(
    runs: Mapping[str, tuple], folder: str | os.PathLike[str]
) -> None:
    """Runs the folds of several experiments as tasks of one engine.

    `run_experiment` of each then finds its folds finished. The runs are those
    of the seeds of an experiment, or of the systems that are compared.

    Args:
        runs: Dict from a name to the arguments of `run_experiment`: a
            configuration, folds and another corpus or None. `jobs` and `engine`
            are the same in all.
        folder: Folder that holds them all.

    Raises:
        RuntimeError: A fold failed, see `run_tasks`.
        LeakError, ValueError: See `run_experiment`; before any training.
    """
    calls, logs, finals, files = {}, {}, {}, {}
    for name, (config, folds, other) in runs.items():
        run = _make_run(config, folds, other)
        arguments = run.prepare()
        files |= dict.fromkeys(u.path for u in run.features.manifest)
        folders = begin_folds(**arguments)
        for fold, one in folders.items():
            final = one.path / "predictions.csv"
            if not final.exists():
                task = f"{name}, {fold}"
                calls[task] = (config, folds, other, fold)
                logs[task] = one.path / "log.txt"
                finals[task] = final
    if calls:
        run_tasks(
            _run_fold,
            calls,
            config.jobs,
            logs,
            engine=config.engine,
            folder=folder,
            finals=finals,
            files=files,
        )


def _run_fold(config, folds, other, name):
    """One fold of an experiment, in a worker which has locked its folder."""
    config = dataclasses.replace(config, engine="local")  # No tasks of tasks.
    cross_validate_fold(name, **_make_run(config, folds, other).prepare())


def _make_run(config, folds, other):
    name = system_of(config)
    if getattr(config, "jobs", 1) > 1:
        # Otherwise this process takes the memory of all GPUs, and the
        # processes of the jobs have none.
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    runtime = Runtime.of(config)
    runtime.start()
    config = runtime.for_this_worker(config)
    experiment = system_class(name)(config)
    if folds is None:
        folds = make_folds(config, read_corpus(config))
    other_name, folder = experiment.other_corpus()
    if other is None and other_name:
        other = load_corpus(other_name, folder)
    return _Run(name, experiment, config, folds, other)


class _Run:
    """One run of an experiment on its folds."""

    def __init__(self, name, experiment, config, folds, other):
        self.name = name
        self.given, self.all_folds = config, folds
        self.experiment = experiment
        self.config = experiment.config
        self.runtime = Runtime.of(self.config)
        self.other = other
        self.final = self.config.final and not self.config.fold

    @functools.cached_property
    def teacher(self):
        """What pre-training learns from, or None."""
        name = getattr(self.config, "teacher", "")
        return Teacher(name, self.config.teacher_layers) if name else None

    def go(self):
        config = self.config
        with further_trainings(int(self.final)):
            outcome = cross_validate(
                **self.prepare(), jobs=config.jobs, engine=config.engine
            )
        network = outcome.network
        if self.final:
            network = self._train_on_all()
        return self._finish(outcome, network)

    def prepare(self):
        """What comes before the folds; returns what `cross_validate` needs."""
        experiment, config = self.experiment, self.config
        self.folds = chosen_folds(self.all_folds, config.fold)
        experiment.check_folds(self.folds)
        genotype = experiment.genotype()
        if (pathlib.Path(config.output_dir) / "config.json").exists():
            open_run(config)  # Another's folder is told before audio is read.
        self.preprocessor = experiment.preprocessor()
        self.trained_on = experiment.training_preprocessor(self.preprocessor)
        self.features = self._compute(all_utterances(self.folds))
        _print_skipped(self.features.skipped)
        other_features = None
        if self.other is not None:
            for fold in self.folds:
                check_disjoint(self.other, fold.test)
            other_features = self._compute(self.other)
            self.other = other_features.manifest
        experiment.check(self.folds, self.features, self.other)
        self._check_runtime(genotype)
        # Whatever is wrong is found before the folder holds the configuration.
        exposed = exposed_by_search(getattr(config, "genotype", ""))
        if self.other is not None:  # And before hours of searching on it.
            stage = "search" if experiment.searches else "pretraining"
            exposed = exposed.add(stage, self.other)
            guard_folds(self.folds, self.features.manifest, exposed)
        self.augmented = self._augmented(self.features.manifest)
        self.run = open_run(config)
        self._keep(genotype, exposed)
        start = None
        if self.other is not None:
            if experiment.searches:
                genotype = self._search(other_features, self.run)
            start = self._pretrain(genotype, other_features)
        searches = experiment.searches and genotype is None
        build = functools.partial(
            _build_for_fold, experiment, self.features, genotype, start
        )
        self.found, self.start, self.exposed = genotype, start, exposed
        return {
            "build_network": build,
            "features": self.features,
            "folds": self.folds,
            "run": self.run,
            "search": functools.partial(
                _search_in_fold, experiment, self.features, self._frames
            )
            if searches
            else None,
            "augmented": self.augmented,
            "held_out_speakers": config.held_out_speakers,
            "hold_out": getattr(config, "hold_out", ()),
            "select": getattr(config, "select", "held-out"),
            "exposed": exposed,
            "runtime": self.runtime,
            "train": experiment.train,
            "whole": experiment.whole,
            **self._training(),
        }

    @property
    def _frames(self):
        return self.trained_on.duration_frames()

    def _compute(self, manifest, speed=None, alteration=None):
        """Features to train on, at another speed or altered."""
        config = self.config
        options = {"skip_bad_audio": config.skip_bad_audio}
        if alteration is not None:
            options["alteration"] = alteration
        preprocessor = _at_speed(self.trained_on, speed)
        # Processes of this machine gain nothing: threads use all its cores.
        if config.engine == "local" or config.jobs == 1:
            return preprocessor.compute(manifest, config.cache_dir, **options)
        return compute_in_tasks(
            preprocessor,
            manifest,
            config.cache_dir,
            config.jobs,
            make=functools.partial(_trained_on, self.experiment, speed),
            engine=config.engine,
            **options,
        )

    def _augmented(self, manifest):
        """Features of the same clips, altered, for training."""
        copies = getattr(self.config, "altered_copies", 0)
        return [
            self._compute(manifest, speed) for speed in self.experiment.speeds()
        ] + [
            self._compute(manifest, alteration=RandomAlteration(seed))
            for seed in range(copies)
        ]

    def _bandwidth(self):
        """Hz up to which 19 of 20 clips that were trained on have content."""
        known = (self.run.read_json("result.json") or {}).get("bandwidth")
        if known is not None:
            return known
        manifest = self.features.manifest
        some = list(manifest)[:: -(-len(manifest) // _CLIPS)]
        rate = getattr(self.preprocessor, "sample_rate", 16000)
        waveforms, _ = load_many(
            [u.path for u in some],
            rate,
            starts=[u.start for u in some],
            ends=[u.end for u in some],
            # Of features in a cache: no reason to fail after the training.
            on_error="skip",
        )
        found = []
        for clip, utterance in zip(waveforms, some, strict=True):
            if clip is None:
                continue
            found.append(bandwidth(clip, rate))
            for seed in range(getattr(self.config, "altered_copies", 0)):
                alter = RandomAlteration(seed).of_clip
                altered = alter(clip, rate, utterance.id)
                found.append(bandwidth(altered, rate))
        return float(np.quantile(found, 0.05)) if found else None

    def _training(self, schedule=None):
        """Arguments of `train_network`."""
        return {
            **(schedule or self.experiment.training()),
            "seed": self.config.seed,
            "duration_frames": self._frames,
            "augment": self.experiment.augmentation(self.features),
        }

    def _keep(self, genotype, exposed):
        """Writes what the run starts from into its folder."""
        self.run.write_json("skipped.json", self.features.skipped)
        self.preprocessor.save(
            self.run.path / PREPROCESSOR_FILE, kind=self.name
        )
        path = getattr(self.config, "genotype", "")
        known = self.other is not None
        if genotype is not None:
            _keep_genotype(self.run, genotype, path)
            # A record without what its search was exposed to would look
            # complete.
            known = not path or (pathlib.Path(path).parent / FILE).exists()
        if known:
            exposed.save(self.run.path)

    def _check_runtime(self, genotype):
        """Says what the run computes on, once it is known to fit."""
        searches = self.experiment.searches and genotype is None
        sizes = {"batch_size": self.experiment.training()["batch_size"]}
        if searches:
            sizes["search_batch_size"] = self.config.search_batch_size
        self.runtime.check(searches, **sizes)
        self.runtime.agree({"audio files": _facts(self.features)})
        on = self.runtime.describe()
        print(
            f"on {', '.join(on['devices'])} ({on['strategy']}, "
            f"{on['replicas']} replicas), {on['precision']}, XLA {on['xla']}",
            flush=True,
        )

    def _search(self, features, run):
        with self.runtime.scope():
            return _search(self.experiment, features, self._frames, run)

    def _pretrain(self, genotype, features):
        """File of the network that every fold starts from, or None."""
        schedule = self.experiment.pretraining()
        if schedule is None:
            return None
        targets = None
        if self.teacher is not None:
            targets = self.teacher.targets(
                features.manifest, cache_dir=self.config.cache_dir
            )
        with self.runtime.scope():
            return pretrain(
                functools.partial(self.experiment.build, genotype=genotype),
                features,
                self.run,
                targets=targets,
                augmented=self._augmented(features.manifest),
                **self._training(schedule),
            )

    def _train_on_all(self):
        """The network to deploy: the same recipe, on all speakers.

        No speaker is held out, so the epoch is the median of those that the
        folds chose on their held-out speakers.
        """
        genotype, start, exposed = self.found, self.start, self.exposed
        run = RunFolder(self.run.path / FINAL, self.run.config)
        file = run.path / "network.keras"
        if file.exists():
            return load_model(file, trust=True)
        print(
            f"final: all {len(self.features.manifest)} utterances of "
            f"{len(self.features.manifest.speakers)} speakers",
            flush=True,
        )
        exposed.add("train", self.features.manifest).save(run.path)
        keras.utils.set_random_seed(self.config.seed)
        if genotype is None and self.experiment.searches:
            genotype = self._search(self.features, run)
        elif genotype is not None:
            genotype.save(run.path / "genotype.json")
        training = self._training()
        training.pop("select_by", None)  # No speaker is held out.
        paths = fold_paths(self.run.path, (fold.name for fold in self.folds))
        chosen = [
            read_json(path / "chosen.json")["epoch"] for path in paths.values()
        ]
        with self.runtime.scope():
            network = pretrained(
                self.experiment.build(self.features, genotype), start
            )
            trained = self.experiment.train(
                network,
                self.features,
                augmented=self.augmented,
                run=run,
                stop_after=round(statistics.median(chosen)),
                **training,
            )
        network = trained.network
        if not self.runtime.is_plain:
            network = in_float32(network)
        network = self.experiment.whole(network)
        run.write_json("chosen.json", {"epoch": trained.epoch})
        replace_file(file, network.save)
        return network

    def _finish(self, outcome: CrossValidation, network: Any) -> dict:
        """LiteRT files, SavedModel, pictures and `result.json`."""
        config, run = self.config, self.run
        entries = {
            "kind": self.name,
            "features": self.preprocessor.describe(),
            "preprocessor": self.preprocessor.hash,
            "final": self.final,
            "temperature": pooled_temperature(outcome)
            if config.calibrate
            else None,
            "bandwidth": self._bandwidth(),
            **({"teacher": self.teacher.describe()} if self.teacher else {}),
            "parameters": network.count_params(),
            "runtime": self.runtime.describe(),
            "corpus": _corpus(self.features.manifest, self.folds),
        }
        if getattr(config, "litert", False):
            precisions = self.experiment.litert_precisions
            print(f"writing LiteRT files: {', '.join(precisions)}", flush=True)
            features = self.features
            if self.trained_on is not self.preprocessor:
                manifest = features.manifest
                features = self.preprocessor.compute(
                    manifest,
                    config.cache_dir,
                    skip_bad_audio=config.skip_bad_audio,
                )
            with without_information():
                entries["litert"] = write_litert_files(
                    run,
                    self.folds,
                    features,
                    self.preprocessor,
                    entries["temperature"] or 1.0,
                    self.experiment.litert_precisions,
                    entries["bandwidth"],
                )
                if self.final:
                    write_final_litert_files(
                        run.path / FINAL,
                        network,
                        features,
                        self.preprocessor,
                        entries["temperature"] or 1.0,
                        self.experiment.litert_precisions,
                        entries["bandwidth"],
                    )
        entries |= self.experiment.score_more(run, self.folds, self.features)
        exported = self._export(outcome, network, entries)
        result = write_report(run, outcome, saved_model=exported, **entries)
        facts = {
            name: result[name] for name in ("leaks_speakers", "selects_on_test")
        }
        if any(facts.values()):
            print(overstated(**facts))
        print(f"results in {run.path}, SavedModel in {exported}")
        return result

    def _export(self, outcome: Any, network: Any, entries: Any) -> str:
        """Exports once: a finished run that is run again keeps its version.

        Unless `final` or `calibrate` has changed since.
        """
        earlier = self.run.read_json("result.json") or {}
        exported = earlier.get("saved_model")
        same = all(
            earlier.get(name) == entries[name]
            for name in ("final", "temperature")
        )
        if same and exported and pathlib.Path(exported).exists():
            return exported
        return str(
            export_saved_model(
                network,
                self.config.export_dir or default_export_dir(self.config),
                outcome.predictions.label_names,
                self.preprocessor,
                temperature=entries["temperature"] or 1.0,
                bandwidth=entries["bandwidth"],
                card=ModelCard.from_result(
                    dataclasses.asdict(self.config),
                    {**summary(outcome), **entries},
                    outcome.predictions,
                ),
                predictions=outcome.predictions,
                overstates=any(
                    fold.leaks_speakers or fold.selects_on_test
                    for fold in self.folds
                ),
                # The built-in corpus is EMO-DB's.
                calibrated_on=(self.config.corpus or "emodb")
                if entries["temperature"]
                else None,
            )
        )


def _trained_on(experiment, speed):
    """The preprocessor of an experiment's training, in a worker."""
    preprocessor = experiment.preprocessor()
    return _at_speed(experiment.training_preprocessor(preprocessor), speed)


def _at_speed(preprocessor, speed):
    return preprocessor if speed is None else preprocessor.at_speed(speed)


def _facts(features):
    """What workers must have in common of their features, and some of each."""
    streams = getattr(features, "streams", {"": features})
    return [
        [
            [u.id, u.label, u.speaker, len(array), float(array.sum())]
            for u, array in zip(features.manifest, stream.arrays, strict=True)
        ]
        for stream in streams.values()
    ]


def _search_in_fold(experiment, features, duration_frames, fold, run):
    training = features.select(fold.train)
    return _search(experiment, training, duration_frames, run)


def _search(experiment, features, duration_frames, run):
    genotype = experiment.search(features, run, duration_frames)
    print(genotype.describe(), flush=True)
    return genotype


def _build_for_fold(
    experiment, features, genotype, start, fold, run, found=None
):
    network = experiment.build(features, found or genotype)
    run.write_json("parameters.json", {"parameters": network.count_params()})
    return pretrained(network, start)


def pooled_temperature(outcome: CrossValidation) -> float | None:
    """Geometric mean of the folds' temperatures.

    None without held-out speakers. A temperature divides logits, so the mean
    is that of their logarithms.
    """
    if not outcome.temperatures:
        return None
    logs = np.log(list(outcome.temperatures.values()))
    return float(np.exp(np.mean(logs)))


def _corpus(manifest, folds):
    """What there was of the corpus, and what of it was not used."""
    reading = folds[0].train.reading or Reading()
    return {
        "utterances": len(manifest),
        "speakers": len(manifest.speakers),
        "sessions": len(manifest.sessions),
        **reading.to_dict(),
    }


def _print_skipped(skipped):
    if skipped:
        print(f"skipped {counted(len(skipped), 'file')} with bad audio:")
        for utterance in skipped:
            print(f"  {utterance.path}: {utterance.reason}")


def _keep_genotype(
    run: RunFolder,
    genotype: Genotype | TwoStreamGenotype,
    path: str | os.PathLike[str],
) -> None:
    """Saves a given genotype in the run's folder: all folds must have it.

    Raises:
        ValueError: The run was begun with another genotype.
    """
    file = run.path / "genotype.json"
    if file.exists() and load_genotype(file) != genotype:
        raise ValueError(
            f"{path} must hold the genotype that the run in {run.path} was "
            f"begun with, which is kept in {file}. Received another one, "
            f"\n{genotype.describe()}\nChoose another output folder for it."
        )
    genotype.save(file)
