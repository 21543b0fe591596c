"""Light-SERNet: a small fully convolutional network with three paths."""

import dataclasses
import functools
import math
import typing

from ser_keras import audio
from ser_keras import models
from ser_keras import optimizers
from ser_keras.experiments.corpus import CorpusOptions
from ser_keras.experiments.corpus import check_together
from ser_keras.experiments.emodarts import check_speed_range
from ser_keras.experiments.emodarts import speeds
from ser_keras.experiments.experiment import Experiment
from ser_keras.experiments.experiment import Range
from ser_keras.experiments.front_ends import mfcc_or_log_mel
from ser_keras.experiments.options import AlterationOptions
from ser_keras.experiments.options import ExportOptions
from ser_keras.experiments.options import FanOutOptions
from ser_keras.experiments.options import FeatureOptions
from ser_keras.experiments.options import LiteRTOptions
from ser_keras.experiments.options import OutputOptions
from ser_keras.experiments.options import RuntimeOptions
from ser_keras.experiments.options import TeacherOptions
from ser_keras.experiments.options import TrainingOptions
from ser_keras.experiments.options import check_positive
from ser_keras.experiments.options import check_positive_integers

_PUBLISHED = {
    "features": "mfcc",
    "clips": "fixed",
    "normalization": "none",
    "epochs": 300,
    "batch_size": 32,
    "optimizer": "adam",
    "learning_rate": 1e-4,
    "decay": "steps",
    "weight_decay": 0.0,
    "l2": 1e-6,
    "norm_momentum": 0.99,
    "class_weights": "none",
    "label_smoothing": 0.0,
    "ema_momentum": 0.0,
    "speed_range": 0.0,
    "time_stretch": 1.0,
    "frequency_warp": 1.0,
    "noise": 0.0,
    "time_masks": 0,
    "feature_masks": 0,
}

# What a field that is left open means in either schedule. Ours is a learning
# rate ten times as high, which a cosine takes to 0 in a tenth of the epochs. In
# so few steps batch normalisation's statistics must follow faster. Whole clips,
# and augmentation, strong or light, made unseen speakers worse (docs, results).
SCHEDULES = {
    "ser_keras": _PUBLISHED
    | {
        "epochs": 30,
        "learning_rate": 1e-3,
        "decay": "cosine",
        "norm_momentum": 0.95,
    },
    "published": _PUBLISHED,
}


@dataclasses.dataclass(frozen=True)
class LightSERNetConfig(
    TrainingOptions,
    TeacherOptions,
    AlterationOptions,
    FanOutOptions,
    LiteRTOptions,
    ExportOptions,
    FeatureOptions,
    CorpusOptions,
    RuntimeOptions,
    OutputOptions,
):
    """Train and score Light-SERNet, and export it.

    A field whose default is null has one value in each schedule.
    """

    output_dir: str = "results/light_sernet"
    """Folder of this run. A run that was stopped goes on where it was."""
    fold: int = 0
    """Number of the fold to run; 0 runs all folds."""
    protocol: str = "speaker-independent"
    """Name of the protocol; `ser_keras corpora list` has all.
    `speaker-independent` is what is usual for the corpus: sessions, speakers
    where there are up to twelve, or six groups. `published` is random folds
    with the epoch picked on the test part, which OVERSTATES by far."""
    random_folds: int = 5
    """Folds of `--protocol published`: 5 train on as much as was published."""
    litert: bool = True
    """Write LiteRT files of each fold's network in float32, float16 and int8,
    waveform in and features in, and score the former on its test part. A
    finished run is given them by the same command."""
    schedule: typing.Literal["ser_keras", "published"] = "ser_keras"
    """Settings of everything below that is left open: ours, or those of the
    paper's code."""
    pretrain_corpus: str = ""
    """Name of another corpus, on whose classes the network is trained first,
    or on what `--teacher` makes of it; each fold then starts from there, with
    a new last layer."""
    pretrain_dir: str = ""
    """Folder of `--pretrain-corpus`."""
    pretrain_epochs: int = 0
    """Epochs on `--pretrain-corpus`; 0 for as many as of the training."""
    features: typing.Literal["mfcc", "log_mel", "spectrogram"] | None = None
    """Cepstral coefficients of 128 bands, log-mel bands, or a linear
    spectrogram of 129 bins. (ser_keras and published: mfcc)"""
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
    """Speed perturbation: training uses each clip also faster and slower by
    this part, pitch and formants with it; 0 for none. (0; published: 0)"""
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
        check_together(self, "pretrain_corpus", "pretrain_dir")
        check_positive(self, "width")
        if self.epochs is not None:
            check_positive_integers(self, "epochs")
        for name, low, high in (
            ("pretrain_epochs", 0, math.inf),
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

    def resolved(self):
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


class LightSERNetExperiment(Experiment):
    """Light-SERNet, with our schedule or the published one.

    References:
        Aftab et al., "Light-SERNet: A lightweight fully convolutional neural
        network for speech emotion recognition", ICASSP 2022.
    """

    tunable: typing.ClassVar[dict] = {
        "width": (0.25, 0.5, 0.75, 1.0),
        "separable": (False, True),
        "dropout": Range(0.0, 0.5, 0.1),
        "learning_rate": Range(3e-4, 1e-2, "log"),
        "label_smoothing": (0.0, 0.1, 0.2),
        "loss": ("crossentropy", "focal"),
    }

    def preprocessor(self):
        from ser_keras.features.preprocessor import Preprocessor

        config = self.config
        normalization = {
            "none": None,
            "clip": audio.UtteranceNormalization(over="all"),
            "utterance": audio.UtteranceNormalization(),
            "relative": audio.UtteranceNormalization(scale="all"),
        }[config.normalization]
        if config.features == "mfcc" and normalization is None:
            layer = audio.MFCC.light_sernet(
                num_coefficients=config.num_features
            )
        else:
            layer = mfcc_or_log_mel(config.features, config.num_features)
        if config.clips == "fixed":
            layer = audio.FixedDuration(
                layer, config.duration, peak_percentile=99.9
            )
        return Preprocessor(layer, normalization, config.duration)

    def build(self, features, genotype=None):
        config = self.config
        return models.LightSERNet(
            (None, features.num_features, 1),
            len(features.manifest.labels),
            width=config.width,
            separable=config.separable,
            dropout=config.dropout,
            l2=config.l2,
            momentum=config.norm_momentum,
            masking=config.clips == "whole",
        )

    def augmentation(self, features):
        config, layers = self.config, []
        if config.time_stretch > 1:
            factor = config.time_stretch
            layers.append(audio.TimeStretch(1 / factor, factor))
        if config.frequency_warp > 1 and config.features != "mfcc":
            factor = config.frequency_warp
            layers.append(audio.FrequencyWarp(1 / factor, factor))
        if config.noise:
            layers.append(audio.FeatureNoise(high=config.noise))
        if config.time_masks or config.feature_masks:
            layers.append(
                audio.SpecAugment(
                    num_time_masks=config.time_masks,
                    num_feature_masks=config.feature_masks,
                    max_feature_width=max(features.num_features // 8, 1),
                )
            )
        return audio.AugmentationChain(*layers) if layers else None

    def speeds(self):
        return speeds(self.config.speed_range)

    def training(self):
        config = self.config
        published = config.protocol == "published"
        return {
            "epochs": config.epochs,
            "batch_size": config.batch_size,
            "optimizer": functools.partial(make_optimizer, config),
            "label_smoothing": config.label_smoothing,
            "focal_gamma": 2.0 if config.loss == "focal" else 0.0,
            "balance_classes": config.class_weights == "balanced",
            "select_by": "accuracy" if published else "uar",
        }

    def score_more(self, run, folds, features):
        return {"schedule": self.config.schedule}

    def other_corpus(self):
        return self.config.pretrain_corpus, self.config.pretrain_dir

    def pretraining(self):
        training = self.training()
        del training["select_by"]  # No speaker is held out.
        epochs = self.config.pretrain_epochs or self.config.epochs
        return {**training, "epochs": epochs}

    def check_folds(self, folds):
        _check_protocol(self.config, folds)
        super().check_folds(folds)

    def check(self, folds, features, other=None):
        from ser_keras.experiments.pretraining import check_pretraining

        super().check(folds, features, other)
        config = self.config
        if other is not None or config.pretrain_epochs or config.teacher:
            check_pretraining(config, other)


def make_optimizer(config, epochs, steps_per_epoch):
    """The optimiser that a configuration asks for."""
    from ser_keras.training.fit import warm_up_and_cosine

    if config.decay == "cosine":
        rate = warm_up_and_cosine(
            config.learning_rate, epochs * steps_per_epoch, config.warm_up
        )
    else:
        rate = published_decay(config.learning_rate, epochs, steps_per_epoch)
    average = {
        "use_ema": config.ema_momentum > 0,
        "ema_momentum": config.ema_momentum,
    }
    if config.optimizer == "adam":
        return optimizers.FusedAdamW(rate, **average)
    return optimizers.FusedAdamW(
        rate,
        decay=config.weight_decay,
        global_clipnorm=5.0,
        **average,
    )


def published_decay(learning_rate, epochs, steps_per_epoch):
    """The paper's schedule: constant, then times exp(-0.15) at each step.

    The steps are the epochs 60, 80, 100 ..., counted from 0.

    Returns:
        `keras.optimizers.schedules.LearningRateSchedule`.

    >>> rate = published_decay(1e-4, epochs=300, steps_per_epoch=10)
    >>> [f"{float(rate(10 * epoch)):.2e}" for epoch in (0, 59, 60, 80, 299)]
    ['1.00e-04', '1.00e-04', '8.61e-05', '7.41e-05', '1.65e-05']
    """
    import keras

    turns = range(60, max(epochs, 61), 20)
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        # A boundary is the last step of the old rate.
        [turn * steps_per_epoch - 1 for turn in turns],
        [learning_rate * math.exp(-0.15 * n) for n in range(len(turns) + 1)],
    )


def _check_protocol(config, folds):
    """The folds must be what the protocol's name and settings say.

    Those of another protocol than these two say in the result what they are,
    and cross-validation warns of them.
    """
    published = config.protocol == "published"
    must = "must" if published else "must not"
    ours = config.protocol in ("speaker-independent", "published")
    for fold in folds:
        unknown = config.speakers_unknown  # They say so themselves.
        if ours and not unknown and fold.overstates != published:
            raise ValueError(
                f"Folds of protocol {config.protocol!r} {must} say of "
                "themselves that their scores overstate. Received: fold "
                f"{fold.name!r}, leaks_speakers={fold.leaks_speakers}, "
                f"selects_on_test={fold.selects_on_test}"
            )
