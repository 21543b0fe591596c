"""A whole run with two streams: search, training, scores, SavedModel."""

import dataclasses
import functools
import math
import pathlib
import typing

import keras

from ser_keras.audio.augmentation.layers import FrequencyWarp
from ser_keras.audio.augmentation.layers import SpecAugment
from ser_keras.audio.augmentation.layers import TimeStretch
from ser_keras.evaluation.cross_validation import CrossValidation
from ser_keras.evaluation.cross_validation import cross_validate
from ser_keras.experiments.ablation import run_ablation
from ser_keras.experiments.ablation import without
from ser_keras.experiments.cells import CellsConfig
from ser_keras.experiments.cells import front_end
from ser_keras.experiments.cells import keep_genotype
from ser_keras.experiments.common import OneAfterAnother
from ser_keras.experiments.common import all_utterances
from ser_keras.experiments.common import check_positive_integers
from ser_keras.experiments.common import chosen_folds
from ser_keras.experiments.common import default_export_dir
from ser_keras.experiments.common import duration_frames
from ser_keras.experiments.common import open_run
from ser_keras.experiments.common import read_features
from ser_keras.experiments.common import write_skipped
from ser_keras.experiments.deep_stream import deep_extractor
from ser_keras.experiments.deep_stream import deep_features
from ser_keras.experiments.emotionnas_network import build_network
from ser_keras.experiments.emotionnas_network import hand_made
from ser_keras.experiments.emotionnas_network import network_sizes
from ser_keras.experiments.emotionnas_network import search_space
from ser_keras.experiments.missing_streams import score_without_streams
from ser_keras.experiments.seeds import run_seeds
from ser_keras.export.card import ModelCard
from ser_keras.export.saved_model.two_streams import export_streams
from ser_keras.features.feature_set import FeatureSet
from ser_keras.features.streams import FeatureStreams
from ser_keras.genotype import Genotype
from ser_keras.genotype import TwoStreamGenotype
from ser_keras.genotype import load_genotype
from ser_keras.protocols.leak_guard import exposed_by_search
from ser_keras.protocols.protocol import overstated
from ser_keras.protocols.splits import Fold
from ser_keras.protocols.splits import halves
from ser_keras.reports.report import summary
from ser_keras.reports.report import write_report
from ser_keras.search.supernet import SuperNet
from ser_keras.training.fit import search_architecture
from ser_keras.training.run_folder import RunFolder


@dataclasses.dataclass(frozen=True)
class EmotionNASConfig(CellsConfig):
    """Search, train and score a network of two streams, and export it."""

    output_dir: str = "results/emotionnas"
    """Folder of this run. A run that was stopped goes on where it was."""
    ablate: bool = False
    """Run each stream alone, both with concatenation and both with the
    supplement on the same folds, and write one table of them."""
    controls: bool = False
    """In an ablation, also run both with the supplement whose architecture is
    drawn at random, and made by hand: what a search has to beat."""
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
    architecture: typing.Literal["search", "random", "hand_made"] = "search"
    """Search each fold's architecture on its training speakers; or draw one
    at random, or take one made by hand of about the same size: the controls
    of every search."""
    features: typing.Literal["log_mel", "mfcc", "mfcc_deltas"] = "log_mel"
    """Hand-crafted stream: log-mel bands, or cepstral coefficients, alone or
    with as many first and second derivatives over time."""
    sequence: typing.Literal["all", "lstm", "lstm_att", "rnn", "rnn_att"] = (
        "lstm_att"
    )
    """Sequential candidates of both streams."""
    search_epochs: int = 12
    search_warm_up_epochs: int = 2
    search_filters: int = 4
    """Channels of the first cell of the hand-crafted stream, in the search."""
    filters: int = 8
    """Channels of the first cell of the hand-crafted stream."""
    num_nodes: int = 3
    num_cells: int = 3
    """CNN cells of the hand-crafted stream."""
    recurrent_filters: int = 32
    """Channels of the hand-crafted stream's recurrent cell."""
    deep_filters: int = 32
    """Channels of the deep stream's recurrent cell."""
    fusion_units: int = 32
    """Width of gates and queries in the fusion."""
    train_epochs: int = 40
    stream_dropout: float = 0.1
    """Probability that a training clip loses one of its two streams."""

    def __post_init__(self):
        super().__post_init__()
        if self.ablate and self.seeds:
            raise ValueError(
                "An ablation has one seed: give `seed`, and run it again in "
                f"another folder. Received: ablate=True, seeds={self.seeds}"
            )
        check_positive_integers(self, "deep_layers")
        if self.controls and not self.ablate:
            raise ValueError(
                "`controls` are runs of an ablation: give `ablate` as well, or "
                "one `architecture`. Received: controls=True, ablate=False"
            )

    def resolved(self) -> "EmotionNASConfig":
        """This configuration with `smoke` spelled out."""
        if not self.smoke:
            return self
        return dataclasses.replace(
            self,
            sequence="rnn",
            search_epochs=1,
            search_warm_up_epochs=0,
            search_batch_size=4,
            search_filters=2,
            filters=2,
            num_nodes=1,
            num_cells=3,
            recurrent_filters=4,
            deep_filters=4,
            fusion_units=4,
            train_epochs=1,
            batch_size=8,
            duration=1.0,
            num_features=16,
        )


def run_emotionnas(config: EmotionNASConfig, folds: list[Fold]) -> dict:
    """Searches, derives, trains, scores and exports; resumable throughout.

    The run's folder holds what that of `run_emodarts` does. This is our design
    of EmotionNAS' idea; the paper's details are not public.

    Args:
        config: The configuration.
        folds: All folds of the corpus, of which `config.fold` picks one.

    Returns:
        What `result.json` holds; of an ablation, what `ablation.json` does;
        with `seeds`, what `seeds.json` holds.

    Raises:
        LeakError: The audio of a test utterance is in a training part, under
            whatever name.
        ValueError: The configuration, the corpus, the features or the output
            folder do not fit, or an audio file is bad; before any training.
    """
    if config.seeds:
        return run_seeds(config, folds, run_emotionnas)
    if config.ablate:
        # What one variant alone would stumble over, hours later.
        both = dataclasses.replace(config, streams="both").resolved()
        utterances = all_utterances(chosen_folds(folds, both.fold))
        streams = read_streams(both, utterances, deep_extractor(both))
        bad = {u.id for u in utterances} - {u.id for u in streams.manifest}
        folds = [without(fold, bad) for fold in folds]
        return run_ablation(config, folds, run_emotionnas)
    config = config.resolved()
    folds = chosen_folds(folds, config.fold)
    genotype = load_genotype(config.genotype) if config.genotype else None
    _check_genotype(config, genotype)
    extractor = None
    if config.streams != "handcrafted":
        extractor = deep_extractor(config)
    run, features = open_with_streams(config, all_utterances(folds), extractor)
    if genotype is not None:
        keep_genotype(run, genotype, config.genotype)
    outcome = cross_validate(
        functools.partial(_network_of_fold, config, genotype, features),
        features,
        folds,
        run=run,
        seed=config.seed,
        held_out_speakers=config.held_out_speakers,
        jobs=config.jobs,
        exposed=exposed_by_search(config.genotype),
        epochs=config.train_epochs,
        batch_size=config.batch_size,
        duration_frames=frames_of(config, features),
        learning_rate=config.learning_rate,
        augment=augmentation(config),
    )
    return _finish(config, run, outcome, folds, features, extractor)


def open_with_streams(
    config: EmotionNASConfig, manifest, extractor
) -> tuple[RunFolder, FeatureSet | FeatureStreams]:
    """The run's folder, and its features; see `read_streams`.

    Features that do not fit leave no folder behind, which would refuse the
    corrected configuration. A folder that is there already is looked at first:
    extraction may take hours.
    """
    if (pathlib.Path(config.output_dir) / "config.json").exists():
        open_run(config)
    features = read_streams(config, manifest, extractor)
    run = open_run(config)
    write_skipped(run, features)
    return run, features


def read_streams(
    config: EmotionNASConfig, manifest, extractor
) -> FeatureSet | FeatureStreams:
    """The features of the streams that a configuration asks for.

    Args:
        config: The configuration.
        manifest: `Manifest` of all utterances.
        extractor: What `deep_extractor` returned; None without a deep stream.

    Returns:
        Features whose `skipped` has what any of the streams had to skip.
    """
    if config.streams == "deep":
        return deep_features(config, manifest, extractor)
    mel = read_features(config, manifest, *front_end(config))
    if config.streams == "handcrafted":
        return mel
    deep = deep_features(config, mel.manifest, extractor)
    # What either of them had to skip, both do.
    skipped = (*mel.skipped, *deep.skipped)
    streams = {"handcrafted": mel.select(deep.manifest), "deep": deep}
    return FeatureStreams(
        {
            name: dataclasses.replace(stream, skipped=skipped)
            for name, stream in streams.items()
        }
    )


def _network_of_fold(config, genotype, features, fold, run):
    if genotype is None:
        genotype = find_genotype(config, features.select(fold.train), run)
    network = build_network(config, genotype, features)
    run.write_json("parameters.json", {"parameters": network.count_params()})
    return network


def find_genotype(
    config: EmotionNASConfig,
    features: FeatureSet | FeatureStreams,
    run: RunFolder,
) -> Genotype | TwoStreamGenotype:
    """Searches on two speaker-disjoint halves; or takes a control."""
    space = search_space(config)
    if config.architecture != "search":
        random = config.architecture == "random"
        genotype = space.sample(config.seed) if random else hand_made(config)
        genotype.save(run.path / "genotype.json")
        return genotype
    first, second = halves(features.manifest, seed=config.seed)
    keras.utils.set_random_seed(config.seed)
    supernet = SuperNet(
        space,
        seed=config.seed,
        **network_sizes(
            config, features, config.search_filters, shared_stacks=True
        ),
    )
    genotype = search_architecture(
        supernet,
        features.select(first),
        features.select(second),
        run=run,
        epochs=config.search_epochs,
        batch_size=config.search_batch_size,
        duration_frames=frames_of(config, features),
        order=config.search_order,
        warm_up_epochs=config.search_warm_up_epochs,
        architecture_learning_rate=config.architecture_learning_rate,
        augment=augmentation(config),
        seed=config.seed,
    )
    print(genotype.describe(), flush=True)
    return genotype


def augmentation(config: EmotionNASConfig):
    """Speed, vocal tract length, and masks of the hand-crafted stream.

    Embeddings are taken as they are.
    """
    if config.streams == "deep":
        return None
    if config.features != "log_mel":  # Their axis is none of frequencies.
        return OneAfterAnother(TimeStretch(), SpecAugment())
    return OneAfterAnother(TimeStretch(), FrequencyWarp(), SpecAugment())


def frames_of(config: EmotionNASConfig, features) -> int:
    """Frames of a training clip, of the first stream if there are two."""
    if config.streams != "deep":
        return duration_frames(config.duration, front_end(config)[0])
    rate = features.frame_rate
    return 1 if rate is None else math.ceil(config.duration * rate)


def _check_genotype(config, genotype):
    if genotype is None:
        return
    two = isinstance(genotype, TwoStreamGenotype)
    if two != (config.streams == "both"):
        raise ValueError(
            f"{config.genotype} must be a genotype of "
            f"{'two streams' if not two else 'one stream'}. Received: "
            f"streams={config.streams!r}"
        )


def _finish(
    config, run, outcome: CrossValidation, folds, features, extractor
) -> dict:
    """Exports the network, writes the report, says where everything is."""
    exported = (run.read_json("result.json") or {}).get("saved_model")
    if not exported or not pathlib.Path(exported).exists():
        layers = (None, None)
        if config.streams != "deep":
            layers = front_end(config)
        exported = str(
            export_streams(
                outcome.network,
                config.export_dir or default_export_dir(config),
                outcome.predictions.label_names,
                *layers,
                extractor,
                card=ModelCard.from_result(
                    dataclasses.asdict(config),
                    summary(outcome),
                    outcome.predictions,
                ),
            )
        )
    costs = {"parameters": [], "seconds": 0.0}
    for fold in folds:
        folder = RunFolder(run.path / "folds" / fold.name, run.config)
        costs["parameters"].append(
            folder.read_json("parameters.json")["parameters"]
        )
        costs["seconds"] += sum(
            row["seconds"]
            for stage in ("search", "train")
            for row in folder.rows(stage)
        )
    without = None
    if config.streams == "both":
        without = score_without_streams(run, folds, features, config.batch_size)
    result = write_report(
        run,
        outcome,
        without=without,
        saved_model=exported,
        streams=config.streams,
        fusion=config.fusion,
        deep_extractor=config.deep_extractor or "untrained",
        parameters=sum(costs["parameters"]) / len(folds),
        seconds=round(costs["seconds"], 1),
    )
    if result["leaks_speakers"] or result["selects_on_test"]:
        print(overstated(result["leaks_speakers"], result["selects_on_test"]))
    print(f"results in {run.path}, SavedModel in {exported}")
    return result
