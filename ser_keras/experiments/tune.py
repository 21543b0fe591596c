"""A network tuned on the training speakers of a fold, then scored once."""

import dataclasses
import functools
import typing

from ser_keras.audio.normalization import UtteranceNormalization
from ser_keras.evaluation.cross_validation import cross_validate
from ser_keras.experiments.common import RunConfig
from ser_keras.experiments.common import all_utterances
from ser_keras.experiments.common import check_positive_integers
from ser_keras.experiments.common import chosen_folds
from ser_keras.experiments.common import duration_frames
from ser_keras.experiments.common import open_run
from ser_keras.experiments.common import read_features
from ser_keras.experiments.common import speech_features
from ser_keras.experiments.deep_stream import deep_extractor
from ser_keras.experiments.deep_stream import deep_features
from ser_keras.features.streams import FeatureStreams
from ser_keras.genotype import TwoStreamGenotype
from ser_keras.genotype import load_genotype
from ser_keras.protocols.leak_guard import exposed_by_search
from ser_keras.protocols.leak_guard import guard_folds
from ser_keras.protocols.splits import Fold
from ser_keras.reports.report import write_report


@dataclasses.dataclass(frozen=True)
class TuneConfig(RunConfig):
    """Tune a network's hyper-parameters and size, then score a fold once.

    The test speakers of the fold take no part in the tuning.
    """

    output_dir: str = "results/tune"
    """Folder of this run. A run that was stopped goes on where it was."""
    model: typing.Literal["light_sernet", "cell_network", "two_stream"] = (
        "light_sernet"
    )
    """What is tuned."""
    genotype: str = ""
    """Genotype file of a network of cells, or of two streams; without it, the
    number of nodes and a random architecture are tuned as well."""
    deep_extractor: str = ""
    """File of the extractor of two streams' deep one: .tflite, .onnx or
    .keras; or a folder that `extract_features` filled. Without it an untrained
    network, which shows that everything works and nothing else."""
    deep_output: str = ""
    """Name of the extractor's tensor or layer that becomes the features."""
    deep_hop: float = 0.48
    """Seconds from one deep frame to the next."""
    deep_sample_rate: int = 16000
    """Sample rate of the extractor, Hz."""
    trials: int = 20
    """Networks to train while tuning."""
    method: typing.Literal["bayesian", "random"] = "bayesian"
    """How keras-tuner chooses the next trial."""
    trial_epochs: int = 15
    """Epochs of a trial."""
    epochs: int = 40
    """Epochs of the network that is scored."""
    held_out_speakers: int = 1
    """Training speakers who judge the trials, and choose the epoch of the
    network that is scored."""
    num_features: int = 64
    """Log-mel bands."""
    duration: float = 3.0
    """Length of a training clip in seconds."""
    batch_size: int = 32
    """Utterances in a training step."""

    def __post_init__(self):
        check_positive_integers(
            self, "fold", "trials", "trial_epochs", "epochs", "batch_size"
        )
        check_positive_integers(self, "held_out_speakers")

    def resolved(self) -> "TuneConfig":
        """This configuration with `smoke` spelled out."""
        if not self.smoke:
            return self
        return dataclasses.replace(
            self,
            trials=2,
            trial_epochs=1,
            epochs=1,
            num_features=16,
            duration=1.0,
            batch_size=8,
        )


def run_tune(config: TuneConfig, folds: list[Fold]) -> dict | None:
    """Tunes on a fold's training speakers, then scores its test speakers.

    Trials can be shared by several processes, see
    `ser_keras.experiments.hypermodels.tune`; all but the chief return when
    there is no trial left.

    Args:
        config: The configuration.
        folds: All folds of the corpus, of which `config.fold` picks one.

    Returns:
        What `result.json` holds; None in a worker.

    Raises:
        LeakError: The audio of a test utterance is in the training part, or
            was heard by the genotype's search, under whatever name.
        ValueError: The configuration, the corpus or the output folder does
            not fit, or an audio file is bad; before any training.
        ModuleNotFoundError: The extra `tuner` is not installed.
    """
    from ser_keras.experiments import hypermodels as tuning

    config = config.resolved()
    (fold,) = chosen_folds(folds, config.fold)
    genotype = load_genotype(config.genotype) if config.genotype else None
    two = config.model == "two_stream"
    if genotype and isinstance(genotype, TwoStreamGenotype) != two:
        raise ValueError(
            f"{config.genotype} must be a genotype of "
            f"{'two streams' if two else 'one stream'}. Received: "
            f"model={config.model!r}"
        )
    extractor = deep_extractor(config) if two else None
    run = open_run(config)
    frontend = speech_features("log_mel", config.num_features)
    features = read_features(
        config,
        all_utterances([fold]),
        frontend,
        UtteranceNormalization(over="all"),
        run,
    )
    if two:
        deep = deep_features(config, features.manifest, extractor)
        # What either of them had to skip, both do.
        features = FeatureStreams(
            {"handcrafted": features.select(deep.manifest), "deep": deep}
        )
    exposed = exposed_by_search(config.genotype)
    guard_folds([fold], features.manifest, exposed)
    common = {
        "batch_size": config.batch_size,
        "duration_frames": duration_frames(config.duration, frontend),
        "seed": config.seed,
        "held_out_speakers": config.held_out_speakers,
    }
    train = features.select(fold.train)
    options = {**common, "epochs": config.trial_epochs}
    if config.model == "light_sernet":
        hypermodel = tuning.LightSERNetHyperModel(train, **options)
    elif two:
        hypermodel = tuning.TwoStreamHyperModel(train, genotype, **options)
    else:
        hypermodel = tuning.CellNetworkHyperModel(train, genotype, **options)
    best = tuning.tune(
        hypermodel, run.path / "tuning", config.trials, config.method
    )
    if best is None:
        return None
    print(f"best of {best.trials} trials: held-out UAR {best.uar:.3f}")
    for name, value in best.values.items():
        print(f"  {name}: {value}")
    hp = best.hyperparameters
    outcome = cross_validate(
        functools.partial(_network_of_fold, hypermodel, hp),
        features,
        [fold],
        run=run,
        exposed=exposed,
        epochs=config.epochs,
        **common,
        **hypermodel.training(hp),
    )
    return write_report(
        run,
        outcome,
        tuned=best.values,
        tuned_uar_of_held_out_speakers=best.uar,
        parameters=outcome.network.count_params(),
    )


def _network_of_fold(hypermodel, hp, fold, run):
    return hypermodel.network(hp)
