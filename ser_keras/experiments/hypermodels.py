"""Hyper-parameters and size of networks, tuned by keras-tuner."""

import dataclasses
import json
import pathlib
import tempfile

import keras

from ser_keras.features.feature_set import FeatureSet
from ser_keras.features.streams import FeatureStreams
from ser_keras.genotype import FUSIONS
from ser_keras.genotype import Genotype
from ser_keras.genotype import TwoStreamGenotype
from ser_keras.models.cell_network import CellNetwork
from ser_keras.models.light_sernet import LightSERNet
from ser_keras.models.two_stream import TwoStreamNet
from ser_keras.protocols.splits import hold_out_speakers
from ser_keras.search_space import SearchSpace
from ser_keras.search_space import TwoStreamSearchSpace
from ser_keras.training.fit import train_network
from ser_keras.training.run_folder import RunFolder

try:
    import keras_tuner
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "Tuning needs the package keras-tuner: pip install 'ser_keras[tuner]'",
        name=error.name,
    ) from error

#: What is tuned for: UAR on training speakers that were held out.
OBJECTIVE = "val_uar"


class SpeakerHyperModel(keras_tuner.HyperModel):
    """Base of hypermodels that are judged by speakers held out of training.

    Nothing is known here but the training speakers of a fold. Some of them are
    held out; a trial trains on the others as `train_network` does, and its
    value is the best epoch's UAR on those held out. A subclass implements
    `network`. keras-tuner's tuners take it like any other hypermodel, with the
    objective `keras_tuner.Objective("val_uar", "max")`; `tune` does so.

    Args:
        features: `FeatureSet`, or `FeatureStreams`, of the training speakers,
            who include no test speaker.
        epochs: Epochs of a trial.
        duration_frames: Frames to which clips are cropped or padded.
        batch_size: Utterances in a batch.
        held_out_speakers: How many speakers judge.
        augment: `(x, seed) -> x` for training batches (see `make_dataset`).
        seed: Of the speakers held out, and of every trial.

    Raises:
        ValueError: There are not more speakers than are to be held out.
    """

    def __init__(
        self,
        features: FeatureSet | FeatureStreams,
        *,
        epochs: int,
        duration_frames: int | None = None,
        batch_size: int = 32,
        held_out_speakers: int = 1,
        augment=None,
        seed: int = 0,
    ):
        super().__init__()
        train, held_out = hold_out_speakers(
            features.manifest, count=held_out_speakers, seed=seed
        )
        self.train = features.select(train)
        self.held_out = features.select(held_out)
        self.num_features = _num_features(features)
        self.num_classes = len(features.manifest.labels)
        self.epochs = epochs
        self.duration_frames = duration_frames
        self.batch_size = batch_size
        self.augment = augment
        self.seed = seed

    def network(self, hp) -> keras.Model:
        """A new network, of hyper-parameters that `hp` gives."""
        raise NotImplementedError

    def training(self, hp) -> dict:
        """Arguments of `train_network` that are tuned."""
        return {
            "learning_rate": hp.Float(
                "learning_rate", 3e-4, 1e-2, sampling="log"
            ),
            "weight_decay": hp.Float("weight_decay", 1e-3, 0.1, sampling="log"),
            "label_smoothing": hp.Choice("label_smoothing", [0.0, 0.1, 0.2]),
            "focal_gamma": hp.Choice("focal_gamma", [0.0, 1.0, 2.0]),
        }

    def build(self, hp):
        keras.utils.set_random_seed(self.seed)
        self.training(hp)  # So that the tuner knows of them from the start.
        return self.network(hp)

    def fit(self, hp, model, callbacks=()):
        with tempfile.TemporaryDirectory() as folder:
            run = RunFolder(folder, {})
            train_network(
                model,
                self.train,
                held_out=self.held_out,
                run=run,
                epochs=self.epochs,
                batch_size=self.batch_size,
                duration_frames=self.duration_frames,
                augment=self.augment,
                seed=self.seed,
                callbacks=callbacks,
                **self.training(hp),
            )
            values = [row[OBJECTIVE] for row in run.rows("train")]
        return {OBJECTIVE: max(values)}

    def settings(self) -> dict:
        """What decides the values of trials, as JSON types."""
        return {
            "hypermodel": type(self).__name__,
            "train_speakers": self.train.manifest.speakers,
            "held_out_speakers": self.held_out.manifest.speakers,
            "labels": self.train.manifest.labels,
            "num_features": self.num_features,
            "epochs": self.epochs,
            "duration_frames": self.duration_frames,
            "batch_size": self.batch_size,
            "seed": self.seed,
        }


class LightSERNetHyperModel(SpeakerHyperModel):
    """Light-SERNet: its width, kind of convolution, dropout and training.

    Args:
        features: See `SpeakerHyperModel`, also for all others.
    """

    def network(self, hp):
        return LightSERNet(
            (None, self.num_features, 1),
            self.num_classes,
            width=hp.Choice("width", [0.25, 0.5, 0.75, 1.0]),
            separable=hp.Boolean("separable"),
            dropout=hp.Float("dropout", 0.0, 0.5, step=0.1),
        )


class _ArchitectureHyperModel(SpeakerHyperModel):
    """What hypermodels of cells have in common."""

    def __init__(
        self,
        features,
        genotype: Genotype | TwoStreamGenotype | None = None,
        sequence: str = "lstm_att",
        **arguments,
    ):
        super().__init__(features, **arguments)
        self.genotype = genotype
        self.sequence = sequence

    def settings(self):
        genotype = self.genotype and self.genotype.to_dict()
        return {
            **super().settings(),
            "genotype": genotype,
            "sequence": self.sequence,
        }


class CellNetworkHyperModel(_ArchitectureHyperModel):
    """A network of cells: how many, how wide, of how many nodes, and training.

    Args:
        features: See `SpeakerHyperModel`.
        genotype: The `Genotype` whose network is tuned; its nodes are fixed
            then. None also tunes the number of nodes, and which of ten random
            architectures of that size is used.
        sequence: Sequential candidates of random architectures, see
            `SearchSpace.emodarts`.
        **arguments: Others of `SpeakerHyperModel`.
    """

    def network(self, hp):
        genotype = self.genotype
        if genotype is None:
            space = SearchSpace.emodarts(
                self.sequence, num_nodes=hp.Int("num_nodes", 1, 4)
            )
            genotype = space.sample(hp.Int("architecture", 0, 9))
        options = _cells(hp, genotype)
        if genotype.normal:
            options["drop_path_rate"] = hp.Choice("drop_path_rate", [0.0, 0.1])
        return CellNetwork(
            genotype,
            (None, self.num_features, 1),
            self.num_classes,
            pooling=hp.Choice("pooling", ["attention", "mean"]),
            dropout=hp.Float("dropout", 0.0, 0.5, step=0.1),
            **options,
        )


class TwoStreamHyperModel(_ArchitectureHyperModel):
    """Two streams: each one's cells, what joins them, and training.

    Args:
        features: `FeatureStreams` of `"handcrafted"` and `"deep"`.
        genotype: The `TwoStreamGenotype` whose network is tuned; its nodes and
            its fusion are fixed then. None also tunes the number of nodes, the
            fusion, and which of ten random architectures of that size is used.
        sequence: Sequential candidates of random architectures, see
            `SearchSpace.emodarts`.
        **arguments: Others of `SpeakerHyperModel`.
    """

    def network(self, hp):
        genotype = self.genotype
        if genotype is None:
            nodes = {"num_nodes": hp.Int("num_nodes", 1, 4)}
            space = TwoStreamSearchSpace(
                handcrafted=SearchSpace.emodarts(self.sequence, **nodes),
                deep=SearchSpace.emodarts(self.sequence, cnn=(), **nodes),
                fusions=(hp.Choice("fusion", list(FUSIONS)),),
            )
            genotype = space.sample(hp.Int("architecture", 0, 9))
        shapes = {s: (None, n, 1) for s, n in self.num_features.items()}
        return TwoStreamNet(
            genotype,
            shapes,
            self.num_classes,
            handcrafted=_cells(hp, genotype.handcrafted, "handcrafted_"),
            deep=_cells(hp, genotype.deep, "deep_"),
            fusion_units=hp.Choice("fusion_units", [16, 32, 64]),
            stream_dropout=hp.Choice("stream_dropout", [0.0, 0.1, 0.2]),
            dropout=hp.Float("dropout", 0.0, 0.5, step=0.1),
            drop_path_rate=hp.Choice("drop_path_rate", [0.0, 0.1]),
        )


def _num_features(features):
    if isinstance(features, FeatureStreams):
        return {k: x.num_features for k, x in features.streams.items()}
    return features.num_features


def _cells(hp, genotype, prefix=""):
    """How many cells a genotype's network has, and how wide they are."""
    options = {
        "num_cells": 0,
        "num_recurrent_cells": 0,
        "stem_strides": 2,
        "frequency_pooling": "projection",
    }
    if genotype.normal:
        options["num_cells"] = hp.Int(f"{prefix}num_cells", 3, 6)
        options["filters"] = hp.Choice(f"{prefix}filters", [4, 8, 16])
    if genotype.recurrent:
        name = f"{prefix}num_recurrent_cells"
        options["num_recurrent_cells"] = hp.Int(name, 1, 2)
    # Also the width to which the CNN's sequence is projected.
    name = f"{prefix}recurrent_filters"
    options["recurrent_filters"] = hp.Choice(name, [16, 32, 64])
    return options


@dataclasses.dataclass(frozen=True)
class Tuned:
    """What `tune` found.

    Args:
        values: The best hyper-parameters, by name.
        uar: UAR of that trial on the held-out training speakers. It is the
            best of many, and so too high; only test speakers can say more.
        trials: Number of trials that were finished.
    """

    values: dict
    uar: float
    trials: int

    @property
    def hyperparameters(self):
        """For a hypermodel's `network` and `training`."""
        hp = keras_tuner.HyperParameters()
        hp.values = dict(self.values)
        return hp


def tune(
    hypermodel: SpeakerHyperModel,
    directory,
    trials: int,
    method: str = "bayesian",
) -> Tuned | None:
    """Runs trials and returns the best hyper-parameters; resumable by trial.

    Several processes share the trials in keras-tuner's way: with the
    environment variables `KERASTUNER_ORACLE_IP` and `KERASTUNER_ORACLE_PORT`
    the same for all, `KERASTUNER_TUNER_ID` is `chief` in the process that
    deals them out, and any other name, each once, in those that run them.

    Args:
        hypermodel: `LightSERNetHyperModel`, or another.
        directory: Folder of the trials; all processes see the same.
        trials: Number of trials in all.
        method: `"bayesian"` or `"random"`.

    Returns:
        `Tuned`, also written to `best.json`; None in a worker, which does not
        know when the others are done.

    Raises:
        ValueError: An argument is invalid, or the folder has trials of other
            settings.

    Example: see `recipes/tune.py`.
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
    run = RunFolder(directory, settings)
    tuner = tuners[method](
        hypermodel,
        objective=keras_tuner.Objective(OBJECTIVE, "max"),
        max_trials=trials,
        seed=hypermodel.seed,
        directory=str(directory.parent),
        project_name=directory.name,
    )
    tuner.search()
    if not isinstance(tuner.oracle, keras_tuner.Oracle):
        return None  # A worker: its oracle is the chief's, by gRPC.
    finished = tuner.oracle.get_best_trials(trials)
    # Of equal ones the first: a tuner that resumes has them in another order.
    first = min(finished, key=lambda trial: (-trial.score, trial.trial_id))
    best = Tuned(first.hyperparameters.values, first.score, len(finished))
    run.write_json("best.json", dataclasses.asdict(best))
    return best


def read_best(directory) -> Tuned:
    """What `tune` wrote when it was finished.

    Raises:
        ValueError: It is not finished there.
    """
    file = pathlib.Path(directory) / "best.json"
    if not file.exists():
        raise ValueError(
            f"{file} must be there: the tuning is not finished, or was done "
            "elsewhere."
        )
    return Tuned(**json.loads(file.read_text(encoding="utf-8")))
