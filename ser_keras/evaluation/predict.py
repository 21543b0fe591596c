"""Predictions of a model for a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from ser_keras._graphs import graph_of
from ser_keras.evaluation.predictions import Predictions
from ser_keras.training.tracing import new_graphs

if TYPE_CHECKING:
    import keras

    from ser_keras.corpora.manifest import Manifest


def predict(
    model: keras.Model,
    dataset: tf.data.Dataset,
    manifest: Manifest,
    from_logits: bool = True,
) -> Predictions:
    """Computes the predictions of a model for the utterances of a manifest.

    Args:
        model: Keras model with outputs `(batch, classes)`.
        dataset: `tf.data.Dataset` of batches `(x, y)` or `x`, in the order of
            the manifest: not shuffled or repeated, and with the last batch.
            Class numbers `y`, if there are any, are compared with the manifest.
        manifest: `Manifest` of the same utterances.
        from_logits: Whether outputs are logits; otherwise probabilities.

    Returns:
        `Predictions`.

    Raises:
        ValueError: Dataset, manifest and model do not match, or outputs are
            not finite.

    >>> from ser_keras.corpora.manifest import Manifest, Utterance
    >>> manifest = Manifest(
    ...     [Utterance(x, f"{x}.wav", x, "03") for x in ("anger", "fear")])
    >>> x = tf.constant([[2.0, 0.0], [0.0, 2.0]])
    >>> dataset = tf.data.Dataset.from_tensors((x, [0, 1]))
    >>> predict(keras.Sequential([keras.layers.Identity()]), dataset,
    ...         manifest).probabilities.round(2).tolist()
    [[0.8..., 0.1...], [0.1..., 0.8...]]
    """
    labels, outputs = [], []
    with new_graphs():
        for batch in dataset:
            # Labels of the same pass: another one would compute all features
            # again, and would not detect a dataset that is shuffled.
            if isinstance(batch, tuple):
                if len(batch) > 1:
                    labels.append(np.reshape(batch[1], -1))
                batch = batch[0]
            outputs.append(np.asarray(_outputs(model, batch), np.float64))
    outputs = np.concatenate(outputs) if outputs else np.zeros((0, 0))
    expected = (len(manifest), len(manifest.labels))
    if outputs.shape != expected:
        raise ValueError(
            "The model's outputs must have one row for each utterance of the "
            f"manifest and one column for each label, {expected}. Received: "
            f"shape {outputs.shape}"
        )
    if labels and not np.array_equal(
        np.concatenate(labels), manifest.label_ids
    ):
        raise ValueError(
            "`dataset` must have the utterances of `manifest` in the same "
            "order, but its labels differ from the manifest's. Make it with "
            "shuffle=False."
        )
    finite = np.isfinite(outputs).all(axis=1)
    if not finite.all():
        rows = np.flatnonzero(~finite)
        raise ValueError(
            f"The model's outputs are not finite for {len(rows)} of "
            f"{len(manifest)} utterances, such as {manifest[int(rows[0])].id}."
            " See the loss, which may have diverged in training."
        )
    if from_logits:
        outputs = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        outputs /= outputs.sum(axis=1, keepdims=True)
    return Predictions.of(manifest, outputs)


def _outputs(model, batch):
    """The model's outputs, by a graph for any batch size.

    It is kept for further datasets. `model.predict` traces one for each of
    them, and another one for a last batch that is shorter.
    """
    graph = graph_of(model, _infer, reduce_retracing=True)
    # The shape of the batch: the dataset's element spec may not have it.
    spec = tf.nest.map_structure(
        lambda x: tf.TensorSpec((None, *x.shape[1:]), x.dtype), batch
    )
    return graph.get_concrete_function(spec)(batch)


def _infer(model, batch):
    return model(batch, training=False)
