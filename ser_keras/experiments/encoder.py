"""A pre-trained speech encoder, and a classifier of its layers."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import typing
from collections.abc import Sequence

import numpy as np

from ser_keras import audio
from ser_keras import encoders
from ser_keras import models
from ser_keras.encoders.known import known_encoder
from ser_keras.experiments.corpus import CorpusOptions
from ser_keras.experiments.experiment import Experiment
from ser_keras.experiments.experiment import Range
from ser_keras.experiments.options import AlterationOptions
from ser_keras.experiments.options import ExportOptions
from ser_keras.experiments.options import FanOutOptions
from ser_keras.experiments.options import LiteRTOptions
from ser_keras.experiments.options import OutputOptions
from ser_keras.experiments.options import RuntimeOptions
from ser_keras.experiments.options import TrainingOptions
from ser_keras.experiments.options import check_positive
from ser_keras.experiments.options import check_positive_integers

if typing.TYPE_CHECKING:
    from ser_keras.evaluation.cross_validation import Trained
    from ser_keras.features.feature_set import FeatureSet


@dataclasses.dataclass(frozen=True)
class EncoderConfig(
    TrainingOptions,
    AlterationOptions,
    FanOutOptions,
    LiteRTOptions,
    ExportOptions,
    CorpusOptions,
    RuntimeOptions,
    OutputOptions,
):
    """Train and score a classifier on a pre-trained encoder, and export both.

    Unless it is fine-tuned, the encoder is frozen, and what its layers make of
    the corpus is computed once. A field whose default is null depends on `tune`
    and `head`.
    """

    output_dir: str = "results/encoder"
    """Folder of this run. A run that was stopped goes on where it was."""
    encoder: str = ""
    """Pre-trained speech encoder: a folder in the layout of Hugging Face, or a
    model's name on its hub. Without one, a small untrained encoder is used,
    which shows that everything works and nothing else."""
    revision: str = ""
    """Commit, branch or tag of a model on the hub; a commit pins the
    weights."""
    fold: int = 0
    """Number of the fold to run; 0 runs all folds."""
    num_layers: int | None = None
    """Layers of the encoder that are computed; default all, or two thirds of
    them for fine-tuning. The exported network has only those up to the last one
    that it uses."""
    head: typing.Literal["statistics", "attentive"] = "statistics"
    """`statistics`: mean and deviation over time of one layer or of three
    adjacent ones, and a logistic regression; layers and regularisation are
    chosen by an inner cross-validation over training speakers. `attentive`: a
    learned mixture of all layers, attentive statistics pooling and a linear
    layer, trained by AdamW."""
    tune: typing.Literal["none", "full", "lora"] = "none"
    """`none`: the encoder is frozen. `full`: its last layers and the head are
    fine-tuned together, from the logistic regression on the frozen layers.
    `lora`: so are matrices of low rank that are added to these layers'
    kernels. Layers before them stay frozen and are computed once."""
    tuned_layers: int = 2
    """Layers that are fine-tuned. The head gets them and the one before."""
    lora_rank: int = 8
    """Rank of the matrices of `--tune lora`."""
    head_rate: float = 1.0
    """Learning rate of the head, as a factor of that of the last layer."""
    layer_decay: float = 0.9
    """Learning rate of a fine-tuned layer, as a factor of that of the layer
    after it."""
    gradient_accumulation: int = 1
    """Steps of a fine-tuning whose gradients are summed up to one update."""
    epochs: int | None = None
    """Epochs of the training. Default: 30 of an attentive head, 5 of a
    fine-tuning."""
    units: int = 256
    """Width of an attentive head."""
    weight_decay: float | None = None
    """Decoupled weight decay. Default: 0.05 of an attentive head, 0.01 of a
    fine-tuning."""
    learning_rate: float | None = None
    """Peak learning rate, by AdamW. Default: 1e-3 of an attentive head, 2e-5 of
    a fine-tuning, 5e-4 of LoRA."""
    duration: float = 6.0
    """Seconds of a clip where it must have a fixed length: in training batches
    of an attentive head, and in LiteRT files."""
    altered_copies: int = 1
    held_out_speakers: int | None = None
    """Training speakers of each fold who choose its epoch and the temperature
    of its probabilities. Default: none of a `statistics` head on a frozen
    encoder, whose temperature comes from the inner cross-validation, otherwise
    1."""

    def __post_init__(self):
        super().__post_init__()
        check_positive(self, "duration", "head_rate", "layer_decay")
        check_positive_integers(
            self, "units", "tuned_layers", "lora_rank", "gradient_accumulation"
        )
        if self.epochs is not None:
            check_positive_integers(self, "epochs")
        if self.tune != "none" and self.head != "statistics":
            raise ValueError(
                "`head` must be 'statistics' for fine-tuning, which starts "
                f"from its solution. Received: head={self.head!r}, "
                f"tune={self.tune!r}"
            )
        if self.num_layers is not None and self.num_layers < 0:
            raise ValueError(
                "`num_layers` must be 0 or more. Received: "
                f"num_layers={self.num_layers}"
            )
        if not self.has_epochs and self.select != "held-out":
            raise ValueError(
                "`select` must be left out with a statistics head on a frozen "
                "encoder, whose selection is an inner cross-validation anyway. "
                f"Received: select={self.select!r}"
            )
        if not self.has_epochs and self.held_out_speakers:
            raise ValueError(
                "`held_out_speakers` must be left out with a statistics head "
                "on a frozen encoder: it is fitted to all training speakers, "
                "and an inner cross-validation over them sets its temperature. "
                f"Received: held_out_speakers={self.held_out_speakers}"
            )

    @property
    def has_epochs(self) -> bool:
        """Whether anything is trained by gradient steps."""
        return self.head != "statistics" or self.tune != "none"

    def resolved(self):
        """This configuration with `smoke` and defaults spelled out."""
        defaults = {
            "held_out_speakers": int(self.has_epochs),
            "epochs": 30,
            "learning_rate": 1e-3,
            "weight_decay": 0.05,
        }
        if self.tune != "none":
            rate = 5e-4 if self.tune == "lora" else 2e-5
            defaults |= {
                "epochs": 5,
                "learning_rate": rate,
                "weight_decay": 0.01,
            }
        changes: dict = {
            name: value
            for name, value in defaults.items()
            if getattr(self, name) is None
        }
        if self.smoke:
            changes |= {"epochs": 1, "batch_size": 8, "units": 16}
            changes["fold"] = self.fold or 1
            if self.encoder and self.num_layers is None:
                changes["num_layers"] = 1
            changes["tuned_layers"] = 1
        return dataclasses.replace(self, **changes)


class EncoderExperiment(Experiment):
    """A speech encoder, frozen or fine-tuned, with a classifier of its layers.

    References:
        - Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models",
          arXiv 2106.09685, equation 3.
        - Clark et al., "ELECTRA", arXiv 2003.10555, table 7 (learning rates
          that decay from layer to layer).
        - Yang et al., "SUPERB: Speech processing Universal PERformance
          Benchmark", Interspeech 2021.
    """

    tunable: typing.ClassVar[dict] = {
        "units": (64, 128, 256),
        "dropout": Range(0.0, 0.6, 0.1),
        "learning_rate": Range(1e-4, 3e-3, "log"),
        "weight_decay": Range(1e-3, 0.3, "log"),
    }

    litert_precisions = ("float32", "float16", "int8_weights")

    def tunable_options(self):
        if not self.config.has_epochs:
            raise ValueError(
                "A statistics head has nothing to tune: an inner "
                "cross-validation chooses its layers and its regularisation. "
                "--head attentive has. Received: head='statistics'"
            )
        if self.config.tune != "none":
            return {
                "learning_rate": Range(3e-6, 1e-4, "log"),
                "layer_decay": Range(0.6, 1.0, 0.1),
                "weight_decay": Range(1e-3, 0.3, "log"),
            }
        return self.tunable

    @property
    def encoder(self) -> encoders.SpeechEncoder:
        """The encoder, read once in a process."""
        config = self.config
        if not config.encoder:
            return _untrained()
        layers = config.num_layers
        if layers is None and config.tune != "none":
            layers = "two thirds"
        return _pretrained(config.encoder, config.revision, layers)

    @property
    def _first_layer(self):
        """The last layer that stays frozen, whose hidden states are kept."""
        return max(self.encoder.num_layers - self.config.tuned_layers, 0)

    def preprocessor(self):
        from ser_keras.audio.encoder_frames import front_end_of
        from ser_keras.features.preprocessor import Preprocessor

        if not self.config.encoder:
            print(
                "NO --encoder: it is an UNTRAINED encoder. It shows that "
                "everything works, and nothing about pre-trained ones."
            )
        return Preprocessor(
            front_end_of(self.encoder), duration=self.config.duration
        )

    def training_preprocessor(self, preprocessor):
        from ser_keras.features.preprocessor import Preprocessor

        frontend = preprocessor.frontend
        if self.config.tune != "none":
            return Preprocessor(
                audio.EncoderFrames(
                    self.encoder, (self._first_layer,), frontend
                ),
                duration=self.config.duration,
            )
        if self.config.head == "statistics":
            return Preprocessor(
                audio.EncoderStatistics(self.encoder, frontend=frontend)
            )
        return Preprocessor(
            audio.EncoderFrames(self.encoder, frontend=frontend),
            duration=self.config.duration,
        )

    def build(self, features, genotype=None):
        config, classes = self.config, len(features.manifest.labels)
        layers = self.encoder.num_layers + 1
        if config.tune != "none":
            return self._tunable_network(classes)
        if config.head == "statistics":
            return models.StatisticsClassifier(
                (layers, features.num_features, 1), classes
            )
        return models.AttentiveClassifier(
            (None, features.num_features, 1),
            classes,
            num_layers=layers,
            units=config.units,
            dropout=config.dropout,
        )

    def _tunable_network(self, classes):
        """The last layers, on the hidden states of the layer before them."""
        from ser_keras.training.fine_tuning import add_lora

        config, first = self.config, self._first_layer
        # A copy: other folds start from the encoder as it was.
        encoder = self.encoder.truncated(self.encoder.num_layers)
        frozen = [
            layer
            for layer in encoder.layers
            if layer not in encoder.transformer_layers
        ] + encoder.transformer_layers[:first]
        for layer in frozen:
            layer.trainable = False
        if config.tune == "lora":
            for layer in encoder.transformer_layers[first:]:
                add_lora(layer, config.lora_rank)
        rows = encoder.num_layers + 1 - first
        head = models.StatisticsClassifier(
            (rows, 2 * encoder.units, 1), classes, dropout=config.dropout
        )
        return models.EncoderClassifier(encoder, head, first_layer=first)

    def training(self):
        config = self.config
        schedule = {
            "epochs": config.epochs,
            "batch_size": config.batch_size,
            "learning_rate": config.learning_rate,
            "weight_decay": config.weight_decay,
        }
        if config.tune != "none":
            from ser_keras.training.fine_tuning import tuning_optimizer

            last = self.encoder.num_layers
            rates = {"statistics_classifier": config.head_rate} | {
                f"layer_{number}/": config.layer_decay ** (last - number)
                for number in range(self._first_layer + 1, last + 1)
            }
            schedule["optimizer"] = functools.partial(
                tuning_optimizer,
                config.learning_rate,
                config.weight_decay,
                rates,
                config.gradient_accumulation,
            )
        return schedule

    def train(self, network, train, **options):
        if not self.config.has_epochs:
            copies = options.get("augmented", ())
            return fit_statistics(train, copies, options["seed"])
        if self.config.tune == "none":
            return super().train(network, train, **options)
        sets = [train, *options.get("augmented", ())]
        statistics, *copies = (_in_one_row(network.statistics(x)) for x in sets)
        start = fit_statistics(statistics, copies, options["seed"]).network
        network.head.set_weights(start.get_weights())
        trained = super().train(network, train, **options)
        # Without what LoRA has added beside the kernels.
        network = models.EncoderClassifier(
            network.encoder.truncated(network.encoder.num_layers),
            network.head,
            first_layer=network.first_layer,
        )
        return trained._replace(network=network)

    def check(self, folds, features, other=None):
        super().check(folds, features, other)
        if heard := self._heard:
            print(f"WARNING: {heard}", flush=True)

    @property
    def _heard(self):
        """A sentence, if the encoder is known to have heard the corpus."""
        corpus = self.config.corpus
        if corpus not in known_encoder(self.config.encoder).heard:
            return None
        return (
            f"the encoder {self.config.encoder} was trained on {corpus}: "
            "scores on it OVERSTATE what it does with new speech"
        )

    def score_more(self, run, folds, features):
        from ser_keras._registry import load_model
        from ser_keras.features.store import digest
        from ser_keras.training.run_folder import fold_paths

        config = self.config
        paths = fold_paths(run.path, (fold.name for fold in folds))
        files = [path / "network.keras" for path in paths.values()]
        return {
            "encoder": {
                "name": pathlib.Path(config.encoder).name or "untrained",
                "source": config.encoder,
                "revision": config.revision,
                "class": type(self.encoder).__name__,
                "weights": digest(self.encoder.weights),
                "layers": [list(load_model(x).layer_numbers) for x in files],
                "licence": known_encoder(config.encoder).licence,
                "warning": self._heard,
            }
        }

    def whole(self, network):
        if isinstance(network, models.EncoderClassifier):
            return models.EncoderClassifier(
                network.encoder, network.head, network.layer_numbers
            )
        layers = tuple(range(self.encoder.num_layers + 1))
        if isinstance(network, models.StatisticsClassifier):
            layers = network.rows
            shape = (len(layers), *network.feature_shape[1:])
            head = models.StatisticsClassifier(shape, network.num_classes)
            head.set_weights(network.get_weights())
            network = head
        encoder = self.encoder.truncated(max(layers))
        return models.EncoderClassifier(encoder, network, layers)


def fit_statistics(
    train: FeatureSet, augmented: Sequence[FeatureSet] = (), seed: int = 0
) -> Trained:
    """A `StatisticsClassifier` by logistic regression, see `fit_classifier`.

    Layers and C are chosen on training speakers, who also give the predictions
    that set the temperature: those of a speaker come from a classifier of
    others.

    Args:
        train: `FeatureSet` of `EncoderStatistics`.
        augmented: Further ones, of the same utterances, altered.
        seed: Of the classifier.
    """
    from ser_keras.evaluation.baselines import fit_classifier
    from ser_keras.evaluation.cross_validation import Trained
    from ser_keras.features.feature_set import join

    fitted = fit_classifier("layer_probe", join([train, *augmented]), seed)
    scale, classifier = (
        fitted.pipeline.named_steps[name] for name in ("scale", "classify")
    )
    shape = (*train.arrays[0].shape, 1)
    network = models.StatisticsClassifier(
        shape, len(train.manifest.labels), rows=fitted.layers
    )
    network.set_standardization(scale.mean_, scale.scale_)
    kernel, bias = classifier.coef_.T, classifier.intercept_
    if kernel.shape[1] == 1:  # Two classes.
        kernel = np.hstack([-kernel, kernel]) / 2
        bias = np.array([-bias[0], bias[0]]) / 2
    network.classifier.set_weights([kernel, bias])
    print(f"layers {fitted.layers}, C {fitted.c:g}", flush=True)
    return Trained(network, 0, fitted.held_out)


def _in_one_row(statistics):
    """Statistics of all layers as if they were of one."""
    from ser_keras.features.feature_set import FeatureSet

    rows = [array.reshape(1, -1) for array in statistics.arrays]
    return FeatureSet(statistics.manifest, rows)


@functools.lru_cache(maxsize=1)
def _pretrained(model, revision, num_layers):
    read = encoders.SpeechEncoder.from_pretrained
    if num_layers == "two thirds":
        encoder = read(model, None, revision or None)
        return encoder.truncated(round(encoder.num_layers * 2 / 3))
    return read(model, num_layers, revision or None)


@functools.lru_cache(maxsize=1)
def _untrained():
    """A small encoder of random weights, the same in every process."""
    encoder = encoders.WhisperEncoder(2, 32, 2, 64)
    rng = np.random.default_rng(0)
    for weight in encoder.trainable_weights:
        if len(weight.shape) > 1:
            size = np.prod(weight.shape[:-1]) ** -0.5
            weight.assign(rng.normal(0, size, weight.shape))
    return encoder
