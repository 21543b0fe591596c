"""EmotionNAS: two streams, each with its own structure, and their fusion."""

import dataclasses
import typing

from ser_keras import audio
from ser_keras import models
from ser_keras.experiments.corpus import CorpusOptions
from ser_keras.experiments.emodarts import cell_training
from ser_keras.experiments.experiment import Experiment
from ser_keras.experiments.experiment import Range
from ser_keras.experiments.front_ends import mfcc_or_log_mel
from ser_keras.experiments.front_ends import utterance_normalization
from ser_keras.experiments.options import CellOptions
from ser_keras.experiments.options import ExportOptions
from ser_keras.experiments.options import FanOutOptions
from ser_keras.experiments.options import FeatureOptions
from ser_keras.experiments.options import OutputOptions
from ser_keras.experiments.options import RuntimeOptions
from ser_keras.experiments.options import SearchOptions
from ser_keras.experiments.options import TrainingOptions
from ser_keras.experiments.options import check_positive_integers
from ser_keras.genotype import FUSIONS
from ser_keras.genotype import Genotype
from ser_keras.genotype import TwoStreamGenotype
from ser_keras.genotype import load_genotype
from ser_keras.protocols.splits import halves
from ser_keras.search_space import SearchSpace
from ser_keras.search_space import TwoStreamSearchSpace
from ser_keras.training.run_folder import RunFolder
from ser_keras.training.run_folder import fold_paths

#: What `smoke` stands for.
_SMOKE = {
    "sequence": "rnn",
    "search_epochs": 1,
    "search_warm_up_epochs": 0,
    "search_batch_size": 4,
    "search_filters": 2,
    "filters": 2,
    "num_nodes": 1,
    "num_cells": 3,
    "recurrent_filters": 4,
    "deep_filters": 4,
    "fusion_units": 4,
    "train_epochs": 1,
    "batch_size": 8,
    "duration": 1.0,
    "num_features": 16,
}


@dataclasses.dataclass(frozen=True)
class EmotionNASSearchConfig(
    SearchOptions,
    FeatureOptions,
    CorpusOptions,
    RuntimeOptions,
    OutputOptions,
):
    """Search an architecture of two streams, and do no more.

    The run's folder then holds `genotype.json` for `ser_keras train emotionnas
    --genotype`, and the architecture of every epoch. `--fold` is the number of
    the fold on whose training speakers to search; 0 searches on all speakers,
    for training on another corpus.
    """

    output_dir: str = "results/search_emotionnas"
    """Folder of this run. A run that was stopped goes on where it was."""
    streams: typing.Literal["both", "handcrafted", "deep"] = "both"
    """Which streams the network has."""
    fusion: typing.Literal[
        "search",
        "concatenation",
        "gating",
        "cross_attention",
        "late",
        "supplement",
    ] = "supplement"
    """How both streams are joined; or let all ways compete in the search."""
    deep_extractor: str = ""
    """File of the deep stream's extractor: .tflite, .onnx or .keras; or a
    folder that `extract_features` filled. Without it the deep stream is an
    untrained network, which shows that everything works and nothing else."""
    deep_output: str = ""
    """Name of the extractor's tensor or layer that becomes the features;
    YAMNet's embedding is tower0/network/layer28/reduce_mean."""
    deep_hop: float = 0.48
    """Seconds from one deep frame to the next."""
    deep_sample_rate: int = 16000
    """Sample rate of the extractor, Hz."""
    deep_layers: int = 1
    """Layers of a frozen encoder whose features the store has one after the
    other (`TransformersExtractor(layers=[...])`); the network learns how to
    mix them."""
    features: typing.Literal["log_mel", "mfcc", "mfcc_deltas"] = "log_mel"
    """Hand-crafted stream: log-mel bands, or cepstral coefficients, alone or
    with as many first and second derivatives over time."""
    num_features: int = 64
    """Bands or coefficients of a frame."""
    search_epochs: int = 12
    search_warm_up_epochs: int = 2
    search_filters: int = 4
    """Channels of the first cell of the hand-crafted stream, in the search."""
    num_nodes: int = 3
    num_cells: int = 3
    """CNN cells of the hand-crafted stream."""
    recurrent_filters: int = 32
    """Channels of the hand-crafted stream's recurrent cell."""
    deep_filters: int = 32
    """Channels of the deep stream's recurrent cell."""
    fusion_units: int = 32
    """Width of gates and queries in the fusion."""

    def __post_init__(self):
        super().__post_init__()
        check_positive_integers(self, "deep_layers")

    def resolved(self):
        """This configuration with `smoke` spelled out."""
        if not self.smoke:
            return self
        names = {field.name for field in dataclasses.fields(self)}
        changes = {k: v for k, v in _SMOKE.items() if k in names}
        return dataclasses.replace(self, **changes)


@dataclasses.dataclass(frozen=True)
class EmotionNASConfig(
    CellOptions,
    TrainingOptions,
    FanOutOptions,
    ExportOptions,
    EmotionNASSearchConfig,
):
    """Search, train and score a network of two streams, and export it."""

    output_dir: str = "results/emotionnas"
    """Folder of this run. A run that was stopped goes on where it was."""
    ablate: bool = False
    """Run each stream alone, both with concatenation and both with the
    supplement on the same folds, and write one table of them."""
    controls: bool = False
    """In an ablation, also run both with the supplement whose architecture is
    drawn at random, and made by hand: what a search has to beat."""
    genotype: str = ""
    """Genotype file to train, instead of searching."""
    architecture: typing.Literal["search", "random", "hand_made"] = "search"
    """Search each fold's architecture on its training speakers; or draw one
    at random, or take one made by hand of about the same size: the controls
    of every search."""
    filters: int = 8
    """Channels of the first cell of the hand-crafted stream."""
    train_epochs: int = dataclasses.field(
        default=40, metadata={"also": ("--epochs",)}
    )
    stream_dropout: float = 0.1
    """Probability that a training clip loses one of its two streams."""

    def __post_init__(self):
        super().__post_init__()
        if self.ablate and self.seeds:
            raise ValueError(
                "An ablation has one seed: give `seed`, and run it again in "
                f"another folder. Received: ablate=True, seeds={self.seeds}"
            )
        if self.controls and not self.ablate:
            raise ValueError(
                "`controls` are runs of an ablation: give `ablate` as well, or "
                "one `architecture`. Received: controls=True, ablate=False"
            )


class EmotionNASExperiment(Experiment):
    """Two streams: search, derived network, training.

    This is our design of EmotionNAS' idea; the paper's details are not public.

    References:
        Sun et al., "EmotionNAS: Two-stream neural architecture search for
        speech emotion recognition", Interspeech 2023.
    """

    tunable: typing.ClassVar[dict] = {
        "filters": (4, 8, 16),
        "num_cells": Range(3, 6, 1),
        "recurrent_filters": (16, 32, 64),
        "deep_filters": (16, 32, 64),
        "fusion_units": (16, 32, 64),
        "stream_dropout": (0.0, 0.1, 0.2),
        "dropout": Range(0.0, 0.5, 0.1),
        "learning_rate": Range(3e-4, 1e-2, "log"),
    }

    def tunable_options(self):
        options, streams = dict(self.tunable), self.config.streams
        unused = {
            "both": (),
            "handcrafted": ("deep_filters", "fusion_units", "stream_dropout"),
            "deep": (
                "filters",
                "num_cells",
                "recurrent_filters",
                "fusion_units",
                "stream_dropout",
            ),
        }[streams]
        return {k: v for k, v in options.items() if k not in unused}

    def preprocessor(self):
        from ser_keras.features.deep_features import DeepFeatures
        from ser_keras.features.preprocessor import Preprocessor
        from ser_keras.features.preprocessor import StreamPreprocessors

        config, streams = self.config, {}
        if config.streams != "deep":
            streams["handcrafted"] = Preprocessor(
                mfcc_or_log_mel(config.features, config.num_features),
                utterance_normalization(config.features),
                config.duration,
            )
        if config.streams != "handcrafted":
            if not config.deep_extractor:
                print(
                    "NO --deep-extractor: the deep stream is an UNTRAINED "
                    "network. It shows that everything works, and nothing "
                    "about deep features."
                )
            streams["deep"] = DeepFeatures(
                config.deep_extractor,
                output=config.deep_output,
                hop=config.deep_hop,
                sample_rate=config.deep_sample_rate,
                layers=config.deep_layers,
                duration=config.duration,
            )
        if config.streams == "both":
            return StreamPreprocessors(streams)
        return streams[config.streams]

    @property
    def searches(self):
        return not self.config.genotype and self.config.architecture == "search"

    def genotype(self):
        config = self.config
        if config.genotype:
            genotype = load_genotype(config.genotype)
            two = isinstance(genotype, TwoStreamGenotype)
            if two != (config.streams == "both"):
                raise ValueError(
                    f"{config.genotype} must be a genotype of "
                    f"{'two streams' if not two else 'one stream'}. Received: "
                    f"streams={config.streams!r}"
                )
            return genotype
        if config.architecture == "random":
            return self.space().sample(config.seed)
        if config.architecture == "hand_made":
            return self._hand_made()
        return None

    def space(self) -> SearchSpace | TwoStreamSearchSpace:
        """The search space that the configuration asks for."""
        config = self.config
        nodes = {"num_nodes": config.num_nodes}
        spaces = {
            "handcrafted": SearchSpace.emodarts(config.sequence, **nodes),
            "deep": SearchSpace.emodarts(config.sequence, cnn=(), **nodes),
        }
        if config.streams != "both":
            return spaces[config.streams]
        searched = config.fusion == "search"
        fusions = FUSIONS if searched else (config.fusion,)
        return TwoStreamSearchSpace(**spaces, fusions=fusions)

    def _hand_made(self) -> Genotype | TwoStreamGenotype:
        """Cells made by hand, with as many nodes as searched ones.

        Joined as the configuration says; by concatenation where that is
        searched as well.
        """
        config = self.config
        parts = {
            "handcrafted": models.hand_made_chain(config.num_nodes),
            "deep": models.hand_made_chain(config.num_nodes, cnn=False),
        }
        if config.streams != "both":
            return parts[config.streams]
        searched = config.fusion == "search"
        fusion = "concatenation" if searched else config.fusion
        return TwoStreamGenotype(**parts, fusion=fusion)

    def search(self, features, run, duration_frames=None):
        import keras

        from ser_keras.search.supernet import SuperNet
        from ser_keras.training.fit import search_architecture

        config = self.config
        first, second = halves(features.manifest, seed=config.seed)
        keras.utils.set_random_seed(config.seed)
        sizes = self._sizes(features, config.search_filters, shared_stacks=True)
        supernet = SuperNet(self.space(), seed=config.seed, **sizes)
        return search_architecture(
            supernet,
            features.select(first),
            features.select(second),
            run=run,
            epochs=config.search_epochs,
            batch_size=config.search_batch_size,
            duration_frames=duration_frames,
            order=config.search_order,
            warm_up_epochs=config.search_warm_up_epochs,
            architecture_learning_rate=config.architecture_learning_rate,
            augment=self.augmentation(features),
            seed=config.seed,
        )

    def build(self, features, genotype=None):
        config = self.config
        options = {
            "dropout": config.dropout,
            "drop_path_rate": config.drop_path_rate,
            **self._sizes(features, config.filters),
        }
        if config.streams == "both":
            options["stream_dropout"] = config.stream_dropout
            return models.TwoStreamNet(genotype, **options)
        return models.CellNetwork(genotype, **options)

    def _sizes(self, features, filters, shared_stacks=False):
        """Arguments of a network, or of the supernet over such networks."""
        config = self.config
        encoders = {
            "handcrafted": {
                "filters": filters,
                "num_cells": config.num_cells,
                "recurrent_filters": config.recurrent_filters,
                "stem_strides": 2,
                "frequency_pooling": "projection",
                "shared_stacks": shared_stacks,
            },
            "deep": {
                "num_cells": 0,
                "recurrent_filters": config.deep_filters,
                "shared_stacks": shared_stacks,
                "layer_mixture": config.deep_layers,
            },
        }
        labels = {"num_classes": len(features.manifest.labels)}
        if config.streams != "both":
            shape = (None, features.num_features, 1)
            return {"input_shape": shape, **labels, **encoders[config.streams]}
        shapes = {
            name: (None, stream.num_features, 1)
            for name, stream in features.streams.items()
        }
        units = {"fusion_units": config.fusion_units}
        return {"input_shape": shapes, **labels, **encoders, **units}

    def augmentation(self, features):
        """Speed, vocal tract length, and masks of the hand-crafted stream.

        Embeddings are taken as they are.
        """
        if self.config.streams == "deep":
            return None
        if self.config.features != "log_mel":  # Their axis is no frequency.
            return audio.AugmentationChain(
                audio.TimeStretch(), audio.SpecAugment()
            )
        return audio.AugmentationChain(
            audio.TimeStretch(), audio.FrequencyWarp(), audio.SpecAugment()
        )

    def training(self):
        return cell_training(self.config)

    def score_more(self, run, folds, features):
        from ser_keras.experiments.missing_streams import score_without_streams

        config, parameters, seconds = self.config, [], 0.0
        paths = fold_paths(run.path, (fold.name for fold in folds))
        for path in paths.values():
            folder = RunFolder(path, run.config)
            count = folder.read_json("parameters.json")["parameters"]
            parameters.append(count)
            seconds += sum(
                row["seconds"]
                for stage in ("search", "train")
                for row in folder.rows(stage)
            )
        without = None
        if config.streams == "both":
            without = score_without_streams(
                run, folds, features, config.batch_size
            )
        return {
            "without": without,
            "streams": config.streams,
            "fusion": config.fusion,
            "deep_extractor": config.deep_extractor or "untrained",
            "parameters": sum(parameters) / len(folds),
            "seconds": round(seconds, 1),
        }
