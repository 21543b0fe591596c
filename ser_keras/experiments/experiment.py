"""Experiment: a system as hooks, which the one driver calls."""

from __future__ import annotations

import typing
from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
    import keras

    from ser_keras.audio.augmentation.chain import AugmentationChain
    from ser_keras.corpora.manifest import Manifest
    from ser_keras.evaluation.cross_validation import Trained
    from ser_keras.features.feature_set import FeatureSet
    from ser_keras.features.preprocessor import Preprocessor
    from ser_keras.features.preprocessor import StreamPreprocessors
    from ser_keras.features.streams import FeatureStreams
    from ser_keras.genotype import Genotype
    from ser_keras.genotype import TwoStreamGenotype
    from ser_keras.protocols.splits import Fold
    from ser_keras.training.run_folder import RunFolder


class Experiment:
    """Base of systems: what is computed of audio, searched, built and trained.

    A system is one file with a configuration, a dataclass of the groups in
    `experiments.options`, and a subclass with the hooks below, named in
    `experiments.registry.SYSTEMS`. `run_experiment` does all the rest. An
    experiment can be pickled: folds may be trained in other processes.

    Args:
        config: The configuration; `resolved()` of it is kept.

    Attributes:
        config: The configuration, with what stands for others spelled out.
        tunable: Of each option that `ser_keras tune` tries, its values: a
            tuple of choices, or `Range(low, high, step or "log")`.
        litert_precisions: Of the LiteRT files of a run.
    """

    tunable: typing.ClassVar[dict] = {}
    litert_precisions: tuple[str, ...] = ("float32", "float16", "int8")

    def __init__(self, config: Any):
        self.config = config.resolved()

    def tunable_options(self) -> dict:
        """Those of `tunable` that mean something to this configuration."""
        return self.tunable

    def preprocessor(self) -> Preprocessor | StreamPreprocessors:
        """From audio files to the network's input, see `Preprocessor`.

        Called once, before anything is trained.
        """
        raise NotImplementedError

    def training_preprocessor(
        self, preprocessor: Preprocessor | StreamPreprocessors
    ) -> Preprocessor | StreamPreprocessors:
        """From audio files to what a network is trained on.

        By default that is the network's input. It is another one where a part
        of the network is frozen: features are then what that part makes of
        the audio, computed once, and `whole` puts it before the rest.

        Args:
            preprocessor: From audio files to the network's input.
        """
        return preprocessor

    def whole(self, network: keras.Model) -> keras.Model:
        """The network that is kept and exported, of the one that was trained.

        Args:
            network: From features of `training_preprocessor` to logits.

        Returns:
            From features of `preprocessor` to logits.
        """
        return network

    def train(
        self, network: keras.Model, train: Any, **options: Any
    ) -> Trained:
        """Trains a network; by default by `train_network`.

        Args:
            network: Of `build`.
            train: Features of the utterances to train on.
            **options: Further arguments of `train_network`.
        """
        from ser_keras.evaluation.cross_validation import train_by_epochs

        return train_by_epochs(network, train, **options)

    def build(
        self,
        features: FeatureSet | FeatureStreams,
        genotype: Genotype | TwoStreamGenotype | None = None,
    ) -> keras.Model:
        """A new network for these features and their classes.

        Args:
            features: Of some utterances; sizes and labels are read off them.
            genotype: What `search` returned, or the one that the configuration
                names; None of a system without a search.
        """
        raise NotImplementedError

    def genotype(self) -> Genotype | TwoStreamGenotype | None:
        """The genotype that the configuration names, instead of a search."""
        return None

    @property
    def searches(self) -> bool:
        """Whether each fold's architecture is found on its training part."""
        return False

    def search(
        self,
        features: FeatureSet | FeatureStreams,
        run: RunFolder,
        duration_frames: int | None = None,
    ) -> Genotype | TwoStreamGenotype:
        """Finds an architecture on these training speakers; resumable.

        Args:
            features: Of the speakers to search on.
            run: Folder of the search, which gets `genotype.json`.
            duration_frames: Frames of a training clip.
        """
        raise NotImplementedError

    def augmentation(
        self, features: FeatureSet | FeatureStreams
    ) -> AugmentationChain | None:
        """Augmentation of training batches of features, or None."""
        return None

    def speeds(self) -> tuple[float, ...]:
        """Speeds of speed perturbation, beside 1, for the training."""
        return ()

    def training(self) -> dict:
        """Schedule: arguments of `train_network`, such as `epochs`."""
        raise NotImplementedError

    def other_corpus(self) -> tuple[str, str]:
        """Name and folder of another corpus to search or pre-train on."""
        return "", ""

    def pretraining(self) -> dict | None:
        """Arguments of `train_network` for pre-training on that corpus."""
        return None

    def check_folds(self, folds: list[Fold]) -> None:
        """Raises `ValueError` for folds that cannot be trained on or scored.

        Called before features are computed, which may take hours.

        Args:
            folds: Of the run.
        """
        self._check_parts(folds, None)

    def _check_parts(self, folds, features):
        from ser_keras.protocols.fold_parts import check_fold_parts

        inner = getattr(self.config, "select", "held-out") == "inner-cv"
        check_fold_parts(
            folds,
            features,
            0 if inner else self.config.held_out_speakers,
            self.config.seed,
            self.config.batch_size,
            getattr(self.config, "hold_out", ()),
        )

    def check(
        self,
        folds: list[Fold],
        features: FeatureSet | FeatureStreams,
        other: Manifest | None = None,
    ) -> None:
        """Raises `ValueError` for what would fail after hours of training.

        Args:
            folds: Of the run.
            features: Of all their utterances.
            other: Another corpus to search or to pre-train on.
        """
        self._check_parts(folds, features)

    def score_more(
        self,
        run: RunFolder,
        folds: list[Fold],
        features: FeatureSet | FeatureStreams,
    ) -> dict:
        """Further entries of `result.json`, once the folds are scored."""
        return {}


class Range(typing.NamedTuple):
    """Values from `low` to `high` that `ser_keras tune` tries.

    Args:
        low: Lowest value.
        high: Highest value.
        step: Distance of two values, or `"log"` for any on a log scale.
    """

    low: float
    high: float
    step: float | str
