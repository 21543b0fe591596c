"""The two trainings of a run: the search, and the derived network's own."""

import typing
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from ser_keras._deprecated import renamed_arguments
from ser_keras.features.dataset import bilevel
from ser_keras.features.dataset import class_weights
from ser_keras.features.dataset import make_dataset
from ser_keras.features.feature_set import FeatureSet
from ser_keras.features.feature_set import join
from ser_keras.genotype import Genotype
from ser_keras.genotype import TwoStreamGenotype
from ser_keras.losses.focal import SparseCategoricalFocalCrossentropy
from ser_keras.metrics.recall import UnweightedAverageRecall
from ser_keras.optimizers.fused import FusedAdamW
from ser_keras.optimizers.fused import FusedSGD
from ser_keras.protocols.splits import check_disjoint
from ser_keras.search.callbacks import ArchitectureLogger
from ser_keras.search.schedules import DelayedStart
from ser_keras.search.supernet import SuperNet
from ser_keras.training.resumable import BestWeights
from ser_keras.training.resumable import fit_resumable
from ser_keras.training.run_folder import RunFolder
from ser_keras.training.runtime import current_runtime


def search_architecture(
    supernet: SuperNet,
    weights_half: FeatureSet,
    architecture_half: FeatureSet,
    *,
    run: RunFolder,
    epochs: int,
    batch_size: int = 16,
    duration_frames: int | None = None,
    order: int = 1,
    warm_up_epochs: int = 0,
    learning_rate: float = 0.025,
    architecture_learning_rate: float = 3e-4,
    augment: Any = None,
    seed: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    **compile_arguments: Any,
) -> Genotype | TwoStreamGenotype:
    """Searches an architecture on two speaker-disjoint halves; resumable.

    The genotype is the last epoch's. It is written to `genotype.json` in the
    run's folder, the alphas of every epoch to `architecture.jsonl`.

    Args:
        supernet: A `SuperNet`; compiled here.
        weights_half: Utterances that train the weights: a `FeatureSet`, or
            `FeatureStreams` for a supernet of two streams; as everywhere here.
        architecture_half: Utterances that train the architecture.
        run: The run's folder.
        epochs: Number of passes over `weights_half`.
        batch_size: Utterances in each of the two batches of a step.
        duration_frames: Frames to which clips are cropped or padded.
        order: Order of the architecture's gradient, 1 or 2.
        warm_up_epochs: Epochs in which the architecture stands still.
        learning_rate: Of the weights, by SGD; falls to a 25th by a cosine.
        architecture_learning_rate: Of the alphas, by Adam.
        augment: `(x, seed) -> x` for training batches (see `make_dataset`).
        seed: Of the order of utterances, crops and augmentation.
        callbacks: Further Keras callbacks.
        **compile_arguments: Other arguments of `SuperNet.compile`.

    Returns:
        The `Genotype`.

    Raises:
        SpeakerOverlapError: The halves share a speaker, and have more than
            that one.
        ValueError: A batch is larger than a half.
    """
    parts = weights_half.manifest, architecture_half.manifest
    # `halves` warns of a single training speaker.
    if len({speaker for part in parts for speaker in part.speakers}) > 1:
        check_disjoint(*parts)
    check_search_batch(batch_size, weights_half, architecture_half)
    options = {
        "batch_size": batch_size,
        "duration_frames": duration_frames,
        "shuffle": True,
        "drop_remainder": True,
        "augment": augment,
    }
    steps = len(weights_half) // batch_size

    def dataset_from(epoch):
        resume = {"first_epoch": epoch, "steps_per_epoch": steps}
        return bilevel(
            make_dataset(weights_half, seed=seed, **resume, **options),
            make_dataset(architecture_half, seed=seed + 1, **resume, **options),
        )

    supernet.compile(
        optimizer=FusedSGD(
            keras.optimizers.schedules.CosineDecay(
                learning_rate, epochs * steps, alpha=0.04
            ),
            momentum=0.9,
        ),
        architecture_optimizer=keras.optimizers.Adam(
            DelayedStart(architecture_learning_rate, warm_up_epochs * steps),
            beta_1=0.5,
            beta_2=0.999,
        ),
        order=order,
        metrics=[UnweightedAverageRecall(len(weights_half.manifest.labels))],
        **{**current_runtime().compile_arguments(), **compile_arguments},
    )
    fit_resumable(
        supernet,
        dataset_from,
        epochs=epochs,
        run=run,
        stage="search",
        callbacks=[
            ArchitectureLogger(run.path / "architecture.jsonl"),
            *callbacks,
        ],
    )
    genotype = supernet.derive()
    genotype.save(run.path / "genotype.json")
    return genotype


def check_search_batch(
    batch_size: int, weights_half: Any, architecture_half: Any
) -> None:
    """Raises `ValueError` if a half of a search cannot fill a batch.

    Args:
        batch_size: Of the search.
        weights_half: Features or manifest.
        architecture_half: The same of the other half.
    """
    size = min(len(weights_half), len(architecture_half))
    if not 1 <= batch_size <= size:
        raise ValueError(
            "`batch_size` of a search (recipes: --search-batch-size) must be "
            f"from 1 to the {size} utterances of the smaller half. Received: "
            f"batch_size={batch_size}"
        )


@renamed_arguments(copies="augmented")
def train_network(
    network: keras.Model,
    train: FeatureSet,
    *,
    run: RunFolder,
    epochs: int,
    held_out: FeatureSet | None = None,
    augmented: Sequence[FeatureSet] = (),
    targets: np.ndarray | None = None,
    stop_after: int | None = None,
    stage: str = "train",
    batch_size: int = 32,
    duration_frames: int | None = None,
    learning_rate: float = 2e-3,
    weight_decay: float = 0.02,
    label_smoothing: float = 0.1,
    focal_gamma: float = 0.0,
    balance_classes: bool = True,
    optimizer: keras.optimizers.Optimizer | None = None,
    select_by: typing.Literal["uar", "accuracy"] = "uar",
    shared_speakers: bool = False,
    augment: Any = None,
    seed: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> int:
    """Trains a network by AdamW, with warm-up and cosine decay; resumable.

    Another optimiser can take its place. If it keeps moving averages of the
    weights (`use_ema`), these are what is scored, chosen and kept.

    Args:
        network: A model from `(batch, time, features, 1)`, or a dict of them,
            to logits; compiled here.
        train: Utterances to train on.
        run: The run's folder.
        epochs: Number of epochs.
        held_out: Utterances of *training* speakers that `train` lacks. If
            given, the weights of the epoch with the best UAR on them are kept;
            otherwise those of the last epoch.
        augmented: Further `FeatureSet`s of the utterances to train on,
            altered. An epoch has as many steps as without them, each on some
            of all.
        targets: What the outputs for `train` and for each of `augmented` are
            to be, `(utterances, values)`: the network learns them by mean
            squared error, and no class. Not with `held_out`.
        stop_after: Number of the epoch after which to stop, on the schedule of
            `epochs`: where other trainings have chosen the epoch.
        stage: Name of this training within the run.
        batch_size: Utterances in a batch.
        duration_frames: Frames to which clips are cropped or padded.
        learning_rate: The peak, after a tenth of all steps.
        weight_decay: Decoupled weight decay.
        label_smoothing: Share of the target spread over all classes.
        focal_gamma: Exponent of the focal loss; 0 is cross-entropy.
        balance_classes: Whether each class has the same weight in the loss.
        optimizer: `optimizer(epochs, steps_per_epoch)` makes the optimiser in
            place of AdamW; `learning_rate` and `weight_decay` are not used.
        select_by: What the best epoch is best in on `held_out`: the first one
            of the best UAR; or, as often published, the last one of the best
            accuracy.
        shared_speakers: Whether `held_out` may have speakers of `train`; only
            to repeat what was published (see `Fold`).
        augment: `(x, seed) -> x` for training batches (see `make_dataset`).
        seed: Of the order of utterances, crops and augmentation.
        callbacks: Further Keras callbacks.

    Returns:
        The epoch whose weights the network has (1 for the first).

    Raises:
        SpeakerOverlapError: `train` and `held_out` share a speaker.
        ValueError: A batch is larger than `train`.
    """
    steps = len(train) // batch_size
    if not steps:
        raise ValueError(
            f"`batch_size` must be at most the {len(train)} utterances to "
            f"train on. Received: batch_size={batch_size}"
        )
    if optimizer is None:
        schedule = warm_up_and_cosine(learning_rate, epochs * steps)
        optimizer = FusedAdamW(
            schedule, decay=weight_decay, global_clipnorm=5.0
        )
    else:
        optimizer = optimizer(epochs, steps)
    metrics: list[keras.metrics.Metric] = []
    loss: keras.losses.Loss = keras.losses.MeanSquaredError()
    if targets is None:
        metrics.append(UnweightedAverageRecall(len(train.manifest.labels)))
        loss = SparseCategoricalFocalCrossentropy(
            gamma=focal_gamma,
            from_logits=True,
            label_smoothing=label_smoothing,
            class_weights=class_weights(train.manifest).tolist()
            if balance_classes
            else None,
        )
    else:
        targets = np.tile(targets, (1 + len(augmented), 1))
    if select_by == "accuracy":
        metrics.append(keras.metrics.SparseCategoricalAccuracy(name="accuracy"))
    network.compile(
        optimizer=optimizer,
        loss=loss,
        metrics=metrics,
        **current_runtime().compile_arguments(),
    )
    network.optimizer.build(network.trainable_variables)

    everything = join([train, *augmented])

    def dataset_from(epoch):
        return make_dataset(
            everything,
            batch_size,
            steps_per_epoch=steps,
            duration_frames=duration_frames,
            shuffle=True,
            drop_remainder=True,
            augment=augment,
            seed=seed,
            first_epoch=epoch,
            targets=targets,
        )

    callbacks, best, validation = list(callbacks), None, None
    # Networks of this library may follow the epochs, as drop-path does.
    if hasattr(network, "training_callbacks"):
        callbacks += network.training_callbacks(epochs)
    if stop_after is not None:
        callbacks.append(_StopAfter(stop_after))
    averaged = None
    if optimizer.use_ema:
        averaged = keras.callbacks.SwapEMAWeights()
        callbacks.append(averaged)
    if held_out is not None:
        if not shared_speakers:
            check_disjoint(train.manifest, held_out.manifest)
        validation = make_dataset(
            held_out, batch_size, duration_frames=duration_frames
        )
        best = BestWeights(
            run,
            stage,
            monitor=f"val_{select_by}",
            latest=select_by == "accuracy",
            averaged=averaged,
        )
        callbacks.append(best)
    epochs = fit_resumable(
        network,
        dataset_from,
        epochs=epochs,
        run=run,
        stage=stage,
        validation_data=validation,
        callbacks=callbacks,
    )
    if best is not None:
        return best.restore(network)
    # Of a training that was finished before, `fit` has not done so.
    optimizer.finalize_variable_values(network.trainable_variables)
    return epochs


class _StopAfter(keras.callbacks.Callback):
    """Ends a training after an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self._epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 >= self._epoch:
            self.model.stop_training = True


def warm_up_and_cosine(peak, steps, warm_up=0.1):
    """Learning rate: linear from a 100th of `peak` to it, by a cosine to 0.

    Args:
        peak: The highest rate.
        steps: Of the whole training.
        warm_up: Part of the steps in which it rises.

    Returns:
        `keras.optimizers.schedules.LearningRateSchedule`.

    >>> rate = warm_up_and_cosine(1.0, steps=100)
    >>> [round(float(rate(step)), 2) for step in (0, 10, 55, 100)]
    [0.01, 1.0, 0.5, 0.0]
    """
    rising = int(warm_up * steps)
    return keras.optimizers.schedules.CosineDecay(
        peak / 100,
        steps - rising,
        warmup_target=peak,
        warmup_steps=rising,
    )
