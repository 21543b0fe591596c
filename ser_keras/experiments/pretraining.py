"""Pre-training on another corpus, from which every fold starts.

The network learns that corpus' classes, or what a classifier of a pre-trained
speech encoder makes of its clips (distillation).
"""

import os
import pathlib
from typing import Any

import keras
import numpy as np
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import recall_score
from sklearn.model_selection import GroupKFold
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ser_keras._files import replace_file
from ser_keras._registry import load_model
from ser_keras.audio.encoder_frames import EncoderStatistics
from ser_keras.corpora.manifest import Manifest
from ser_keras.encoders.encoder import SpeechEncoder
from ser_keras.encoders.known import known_encoder
from ser_keras.features.dataset import class_weights
from ser_keras.features.feature_set import FeatureSet
from ser_keras.features.preprocessor import Preprocessor
from ser_keras.models.transfer import transfer_weights
from ser_keras.models.transfer import with_outputs
from ser_keras.training.fit import train_network
from ser_keras.training.run_folder import RunFolder

_STRENGTHS = (100.0, 1000.0, 10000.0)  # Of the regularisation.


def check_pretraining(config: Any, other: Manifest | None) -> None:
    """Raises `ValueError` if there is no corpus to pre-train on, or too small.

    Args:
        config: With `batch_size`, `pretrain_epochs` and `teacher`.
        other: All utterances of that corpus.
    """
    if other is None:
        raise ValueError(
            "`pretrain_epochs` and `teacher` need a corpus of their own to "
            "train on (--search-corpus of emoDARTS, --pretrain-corpus of "
            "Light-SERNet). Received: "
            f"pretrain_epochs={config.pretrain_epochs}, "
            f"teacher={config.teacher!r}"
        )
    class_weights(other)  # Each class must be there.
    if config.corpus in known_encoder(config.teacher).heard:
        print(
            f"WARNING: the encoder {config.teacher} was trained on "
            f"{config.corpus}: scores on it OVERSTATE what a network that "
            "learned from it does with new speech",
            flush=True,
        )
    if len(other) < config.batch_size:
        raise ValueError(
            f"`batch_size` must be at most the {len(other)} utterances of "
            "the corpus to pretrain on. Received: "
            f"batch_size={config.batch_size}"
        )


def pretrain(
    build_network: Any,
    features: FeatureSet,
    run: RunFolder,
    *,
    seed: int,
    targets: np.ndarray | None = None,
    **training: Any,
) -> pathlib.Path:
    """Trains a network on another corpus, once; resumable.

    Args:
        build_network: `build_network(features)`, a new network for these
            features and their classes.
        features: Of all utterances of that corpus.
        run: The run's folder.
        seed: Of everything random.
        targets: What the network learns in place of classes, `(utterances,
            values)`, see `Teacher.targets`.
        **training: Arguments of `train_network`.

    Returns:
        The network's file, `pretrained.keras` in the run's folder.
    """
    file = run.path / "pretrained.keras"
    if not file.exists():
        print(f"pre-training: {features.manifest.describe()}", flush=True)
        keras.utils.set_random_seed(seed)
        network = build_network(features)
        if targets is not None:
            network = with_outputs(network, targets.shape[1])
        train_network(
            network,
            features,
            run=run,
            stage="pretrain",
            seed=seed,
            targets=targets,
            **training,
        )
        replace_file(file, network.save)
    return file


def pretrained(
    network: keras.Model, file: str | os.PathLike[str] | None
) -> keras.Model:
    """The network, with the weights of `pretrain`'s file if there is one."""
    if file is not None:
        transfer_weights(load_model(file), network)
    return network


class Teacher:
    """A classifier of a pre-trained encoder from which a small network learns.

    The classifier is linear, of the mean and deviation over time of some of
    the encoder's layers. A network learns its decision values for each clip of
    a corpus, which say more than a label: how near the other classes are. They
    are those of a classifier that was fitted to other speakers, and of the
    clip itself also where the network gets an altered copy of it.

    Args:
        encoder: Folder in the layout of Hugging Face, or a model's name on its
            hub.
        layers: Numbers of the layers. None: the three in the middle, which
            carry emotion best.

    Raises:
        ValueError: The encoder has no such layer.

    References:
        - Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv
          1503.02531.
        - Ba and Caruana, "Do Deep Nets Really Need to be Deep?", arXiv
          1312.6184, equation 1 (logits, by squared error).
    """

    def __init__(self, encoder: str, layers: tuple[int, ...] | None = None):
        self.name = encoder
        self.encoder = SpeechEncoder.from_pretrained(encoder)
        if not layers:
            middle = (self.encoder.num_layers + 1) // 2
            layers = tuple(
                layer
                for layer in (middle - 1, middle, middle + 1)
                if 0 <= layer <= self.encoder.num_layers
            )
        # Layers after the last one need not be computed.
        self.statistics = EncoderStatistics(self.encoder, layers)

    def targets(self, manifest: Manifest, **options: Any) -> np.ndarray:
        """What a network is to make of each clip.

        Args:
            manifest: `Manifest` of a corpus.
            **options: Arguments of `Preprocessor.compute`.

        Returns:
            Float32 array `(utterances, classes)`; each column has mean 0 and
            deviation 1.

        Raises:
            ValueError: The corpus has one speaker only.
        """
        speakers = [utterance.speaker for utterance in manifest]
        if len(manifest.speakers) < 2:
            raise ValueError(
                "`teacher` needs a corpus of at least two speakers, as it "
                "judges each by what it learned of others. Received: speakers="
                f"{manifest.speakers}"
            )
        features = Preprocessor(self.statistics).compute(manifest, **options)
        rows = np.stack([array.ravel() for array in features.arrays])
        folds = GroupKFold(min(3, len(manifest.speakers)))
        truth, best = manifest.label_ids, None
        for strength in _STRENGTHS:
            classifier = make_pipeline(
                StandardScaler(),
                # Closed form: of 10 000 clips in seconds.
                RidgeClassifier(strength, class_weight="balanced"),
            )
            decisions = cross_val_predict(
                classifier,
                rows,
                truth,
                groups=speakers,
                cv=folds,
                method="decision_function",
            )
            if decisions.ndim == 1:
                decisions = np.stack([-decisions, decisions], axis=1)
            uar = recall_score(truth, decisions.argmax(1), average="macro")
            if best is None or uar > best[0]:
                best = uar, decisions
        uar, decisions = best
        print(f"teacher: UAR {uar:.3f} on speakers of the corpus", flush=True)
        return StandardScaler().fit_transform(decisions).astype("float32")

    def describe(self) -> dict[str, Any]:
        """Facts for `result.json` and the card."""
        return {
            "name": pathlib.Path(self.name).name,
            "source": self.name,
            "class": type(self.encoder).__name__,
            "layers": list(self.statistics.layers),
            "licence": known_encoder(self.name).licence,
        }
