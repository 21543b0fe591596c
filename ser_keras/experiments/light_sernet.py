"""A whole Light-SERNet run: corpus, training, scores, SavedModel."""

import dataclasses
import functools
import math
import typing

from ser_keras.audio.augmentation.layers import FeatureNoise
from ser_keras.audio.augmentation.layers import FrequencyWarp
from ser_keras.audio.augmentation.layers import SpecAugment
from ser_keras.audio.augmentation.layers import TimeStretch
from ser_keras.audio.fixed_duration import FixedDuration
from ser_keras.audio.mfcc import MFCC
from ser_keras.audio.normalization import UtteranceNormalization
from ser_keras.corpora.manifest import Manifest
from ser_keras.evaluation.cross_validation import cross_validate
from ser_keras.experiments.common import OneAfterAnother
from ser_keras.experiments.common import SeedsConfig
from ser_keras.experiments.common import all_utterances
from ser_keras.experiments.common import check_positive_integers
from ser_keras.experiments.common import check_speed_range
from ser_keras.experiments.common import chosen_folds
from ser_keras.experiments.common import duration_frames
from ser_keras.experiments.common import finish
from ser_keras.experiments.common import open_run
from ser_keras.experiments.common import read_copies
from ser_keras.experiments.common import read_features
from ser_keras.experiments.common import speech_features
from ser_keras.experiments.light_sernet_schedules import SCHEDULES
from ser_keras.experiments.light_sernet_schedules import make_optimizer
from ser_keras.experiments.litert_files import write_litert_files
from ser_keras.experiments.pretraining import check_pretraining
from ser_keras.experiments.pretraining import pretrain
from ser_keras.experiments.pretraining import pretrained
from ser_keras.experiments.seeds import run_seeds
from ser_keras.features.feature_set import FeatureSet
from ser_keras.models.light_sernet import LightSERNet
from ser_keras.protocols.leak_guard import ExposedAudio
from ser_keras.protocols.leak_guard import guard_folds
from ser_keras.protocols.splits import Fold
from ser_keras.protocols.splits import check_disjoint


@dataclasses.dataclass(frozen=True)
class LightSERNetConfig(SeedsConfig):
    """Train and score Light-SERNet, and export it.

    A field whose default is null has one value in each schedule.
    """

    output_dir: str = "results/light_sernet"
    """Folder of this run. A run that was stopped goes on where it was."""
    fold: int = 0
    """Number of the fold to run; 0 runs all folds."""
    protocol: typing.Literal["speaker-independent", "published"] = (
        "speaker-independent"
    )
    """Folds without a common speaker, the epoch chosen on held-out training
    speakers; or, as published, random folds with the epoch picked on the test
    part, which OVERSTATES by far."""
    random_folds: int = 5
    """Folds of `--protocol published`: 5 train on as much as was published."""
    held_out_speakers: int = 1
    """Training speakers of each fold who choose its epoch; 0 trains on all
    and keeps the last epoch. Not of `--protocol published`."""
    litert: bool = True
    """Write LiteRT files of each fold's network in float32, float16 and int8,
    waveform in and features in, and score the former on its test part. A
    finished run is given them by the same command."""
    schedule: typing.Literal["ser_keras", "published"] = "ser_keras"
    """Settings of everything below that is left open: ours, or those of the
    paper's code."""
    pretrain_epochs: int = 0
    """Epochs on another corpus, if there is one to learn first; 0 for as many
    as of the training. Each fold then starts from that network, with a new
    last layer."""
    features: typing.Literal["mfcc", "log_mel", "spectrogram"] | None = None
    """Cepstral coefficients of 128 bands, log-mel bands, or a linear
    spectrogram of 129 bins. (ser_keras and published: mfcc)"""
    num_features: int = 40
    """Coefficients or bands of a frame; not of a spectrogram."""
    duration: float = 3.0
    """Length of a training clip in seconds; published: 3 and 7."""
    clips: typing.Literal["whole", "fixed"] | None = None
    """`whole`: training crops longer clips at random and masks the padding of
    shorter ones, scoring sees whole utterances. `fixed`: training and scoring
    see the middle, or the clip between silence, at one peak level.
    (ser_keras and published: fixed)"""
    normalization: (
        typing.Literal["clip", "utterance", "relative", "none"] | None
    ) = None
    """`clip`: all features of a clip together to mean 0 and variance 1, for
    log-mel and spectrogram; `utterance`: each by itself; `relative`: each to
    mean 0, all of them by one deviation; or `none`.
    (ser_keras and published: none)"""
    loss: typing.Literal["crossentropy", "focal"] = "crossentropy"
    """Cross-entropy, or focal loss with exponent 2; both are published."""
    width: float = 1.0
    """Factor of all channels."""
    separable: bool = False
    """Depthwise-separable convolutions in the blocks."""
    dropout: float = 0.3
    """Dropout before the last layer."""
    epochs: int | None = None
    """Epochs of the training. (30; published: 300)"""
    batch_size: int | None = None
    """Utterances in a training step. (32; published: 32)"""
    optimizer: typing.Literal["adamw", "adam"] | None = None
    """AdamW with clipped gradients, or plain Adam. (adam; published: adam)"""
    learning_rate: float | None = None
    """Highest learning rate. (1e-3; published: 1e-4)"""
    decay: typing.Literal["cosine", "steps"] | None = None
    """`cosine`: linear warm-up, then a cosine to 0. `steps`: constant for 50
    epochs, then times exp(-0.15) after every 20th from the 60th on.
    (cosine; published: steps)"""
    warm_up: float = 0.1
    """Part of the training in which the rate rises, with `cosine`."""
    weight_decay: float | None = None
    """Decoupled weight decay of AdamW. (0; published: 0)"""
    l2: float | None = None
    """Factor of the squared weights of the blocks' kernels in the loss.
    (1e-6; published: 1e-6)"""
    norm_momentum: float | None = None
    """Momentum of batch normalisation's statistics. (0.95; published: 0.99)"""
    class_weights: typing.Literal["balanced", "none"] | None = None
    """Whether each class has the same weight in the loss.
    (none; published: none)"""
    label_smoothing: float | None = None
    """Share of the target spread over all classes. (0; published: 0)"""
    ema_momentum: float | None = None
    """Momentum, per step, of the moving average of the weights, which then is
    what is scored and kept; 0 for none. (0; published: 0)"""
    speed_range: float | None = None
    """Training hears each clip also faster and slower by this part, pitch
    and formants with it; 0 for none. (0; published: 0)"""
    time_stretch: float | None = None
    """Highest factor of a clip's length; its inverse is the lowest. 1 for
    none. (1; published: 1)"""
    frequency_warp: float | None = None
    """Highest factor of the frequency axis, of log-mel and spectrogram only;
    its inverse is the lowest. 1 for none. (1; published: 1)"""
    noise: float | None = None
    """Highest deviation of Gaussian noise on the features. (0; published: 0)"""
    time_masks: int | None = None
    """Stretches of up to 20 frames masked in a clip. (0; published: 0)"""
    feature_masks: int | None = None
    """Bands of up to an eighth of the features masked. (0; published: 0)"""

    def __post_init__(self):
        super().__post_init__()
        check_positive_integers(self, "num_features", "jobs")
        for name in ("epochs", "batch_size"):
            if getattr(self, name) is not None:
                check_positive_integers(self, name)
        for name in ("duration", "width", "learning_rate"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(
                    f"`{name}` must be positive and finite. Received: "
                    f"{name}={value}"
                )
        for name, low, high in (
            ("held_out_speakers", 0, math.inf),
            ("pretrain_epochs", 0, math.inf),
            ("dropout", 0, 1),
            ("l2", 0, math.inf),
            ("weight_decay", 0, math.inf),
            ("time_masks", 0, math.inf),
            ("feature_masks", 0, math.inf),
            ("ema_momentum", 0, 1),
            ("label_smoothing", 0, 1),
            ("norm_momentum", 0, 1),
            ("warm_up", 0, 1),
            ("time_stretch", 1, math.inf),
            ("frequency_warp", 1, math.inf),
            ("noise", 0, math.inf),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value < high:
                raise ValueError(
                    f"`{name}` must be at least {low} and below {high}. "
                    f"Received: {name}={value}"
                )
        if self.speed_range is not None:
            check_speed_range(self.speed_range)
        optimizer = self.optimizer or SCHEDULES[self.schedule]["optimizer"]
        if self.weight_decay and optimizer == "adam":
            raise ValueError(
                "`weight_decay` must be left out with Adam, which has none; "
                "--optimizer adamw has. Received: "
                f"weight_decay={self.weight_decay}, optimizer={optimizer!r}"
            )

    def resolved(self) -> "LightSERNetConfig":
        """This configuration with `schedule` and `smoke` spelled out."""
        changes = {
            name: value
            for name, value in SCHEDULES[self.schedule].items()
            if getattr(self, name) is None
        }
        if self.smoke:
            changes |= {
                "epochs": 1,
                "pretrain_epochs": 0,
                "batch_size": 8,
                "duration": 1.0,
                "width": 0.25,
                "num_features": 24,
                "fold": self.fold or 1,
            }
        return dataclasses.replace(self, **changes)


def run_light_sernet(
    config: LightSERNetConfig,
    folds: list[Fold],
    pretrain_corpus: Manifest | None = None,
) -> dict:
    """Trains, scores and exports Light-SERNet; resumable throughout.

    The run's folder then holds `config.json`, metrics of every epoch,
    predictions of every test utterance, `result.json`, pictures and
    TensorBoard logs.

    Args:
        config: The configuration.
        folds: All folds of the corpus, of which `config.fold` picks one.
        pretrain_corpus: Another corpus, whose classes a network learns once;
            every fold then starts from it. By default each starts afresh.

    Returns:
        What `result.json` holds; `leaks_speakers` and `selects_on_test` say
        what kind of score it is. With `seeds`, what `seeds.json` holds.

    Raises:
        LeakError: A test utterance's audio is in the other corpus or in a
            training part, under whatever name.
        ValueError: The configuration, a corpus, the folds or the output
            folder do not fit, or an audio file is bad; before any training.
    """
    if config.pretrain_epochs and pretrain_corpus is None:
        raise ValueError(
            "`pretrain_epochs` needs a corpus of its own to train on (recipes: "
            "--pretrain-corpus). Received: "
            f"pretrain_epochs={config.pretrain_epochs}"
        )
    if config.seeds:
        return run_seeds(config, folds, run_light_sernet, pretrain_corpus)
    config = config.resolved()
    folds = chosen_folds(folds, config.fold)
    _check_protocol(config, folds)
    # Whatever is wrong is found before the folder holds the configuration.
    frontend, normalization = front_end(config)
    if pretrain_corpus is not None:
        check_pretraining(config, pretrain_corpus)
        for fold in folds:
            check_disjoint(pretrain_corpus, fold.test)
    run = open_run(config)
    manifest = all_utterances(folds)
    features = read_features(config, manifest, frontend, normalization, run)
    training = {
        "seed": config.seed,
        "batch_size": config.batch_size,
        "duration_frames": duration_frames(config.duration, frontend),
        "optimizer": functools.partial(make_optimizer, config),
        "label_smoothing": config.label_smoothing,
        "focal_gamma": 2.0 if config.loss == "focal" else 0.0,
        "balance_classes": config.class_weights == "balanced",
        "augment": augmentation(config, features.num_features),
    }
    start, exposed = None, ExposedAudio()
    if pretrain_corpus is not None:
        others = read_features(config, pretrain_corpus, frontend, normalization)
        exposed = exposed.add("pretraining", others.manifest)
        guard_folds(folds, features.manifest, exposed)  # Before it is learned.
        start = pretrain(
            functools.partial(build_network, config),
            others,
            run,
            copies=read_copies(
                config, others.manifest, frontend, normalization
            ),
            epochs=config.pretrain_epochs or config.epochs,
            **training,
        )
    outcome = cross_validate(
        functools.partial(_network_of_fold, config, features, start),
        features,
        folds,
        run=run,
        copies=read_copies(config, manifest, frontend, normalization),
        held_out_speakers=config.held_out_speakers,
        jobs=config.jobs,
        exposed=exposed,
        epochs=config.epochs,
        select_by="accuracy" if config.protocol == "published" else "uar",
        **training,
    )
    files = {}
    if config.litert:
        files = write_litert_files(
            run, folds, features, frontend, normalization, config.duration
        )
    return finish(
        config,
        run,
        outcome,
        frontend,
        normalization,
        litert=files,
        schedule=config.schedule,
        parameters=outcome.network.count_params(),
    )


def _network_of_fold(config, features, start, fold, run):
    return pretrained(build_network(config, features), start)


def build_network(
    config: LightSERNetConfig, features: FeatureSet
) -> LightSERNet:
    """The network that a configuration asks for."""
    return LightSERNet(
        (None, features.num_features, 1),
        len(features.manifest.labels),
        width=config.width,
        separable=config.separable,
        dropout=config.dropout,
        l2=config.l2,
        momentum=config.norm_momentum,
        masking=config.clips == "whole",
    )


def front_end(config: LightSERNetConfig):
    """Features and their normalisation, or `None`."""
    normalization = {
        "none": None,
        "clip": UtteranceNormalization(over="all"),
        "utterance": UtteranceNormalization(),
        "relative": UtteranceNormalization(scale="all"),
    }[config.normalization]
    if config.features == "mfcc" and normalization is None:
        layer = MFCC.light_sernet(num_coefficients=config.num_features)
    else:
        layer = speech_features(config.features, config.num_features)
    if config.clips == "fixed":
        layer = FixedDuration(layer, config.duration, peak_percentile=99.9)
    return layer, normalization


def augmentation(config: LightSERNetConfig, num_features):
    """Augmentation of batches of features, or `None`."""
    layers = []
    if config.time_stretch > 1:
        layers.append(TimeStretch(1 / config.time_stretch, config.time_stretch))
    if config.frequency_warp > 1 and config.features != "mfcc":
        layers.append(
            FrequencyWarp(1 / config.frequency_warp, config.frequency_warp)
        )
    if config.noise:
        layers.append(FeatureNoise(high=config.noise))
    if config.time_masks or config.feature_masks:
        layers.append(
            SpecAugment(
                num_time_masks=config.time_masks,
                num_feature_masks=config.feature_masks,
                max_feature_width=max(num_features // 8, 1),
            )
        )
    return OneAfterAnother(*layers) if layers else None


def _check_protocol(config, folds):
    """The folds must be what the protocol's name and settings say.

    Those of another protocol than these two say in the result what they are,
    and cross-validation warns of them.
    """
    published = config.protocol == "published"
    must = "must" if published else "must not"
    ours = config.protocol in ("speaker-independent", "published")
    for fold in folds:
        if ours and fold.overstates != published:
            raise ValueError(
                f"Folds of protocol {config.protocol!r} {must} say of "
                "themselves that their scores overstate. Received: fold "
                f"{fold.name!r}, leaks_speakers={fold.leaks_speakers}, "
                f"selects_on_test={fold.selects_on_test}"
            )
        speakers = len(fold.train.speakers)
        if not fold.selects_on_test and config.held_out_speakers >= speakers:
            raise ValueError(
                "`held_out_speakers` must leave somebody to train on. "
                f"Received: held_out_speakers={config.held_out_speakers} of "
                f"the {speakers} training speakers of fold {fold.name!r}"
            )
