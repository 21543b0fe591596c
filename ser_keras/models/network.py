"""Base class of this library's networks."""

from typing import Any

import keras
import tensorflow as tf

from ser_keras import _replicas
from ser_keras._keras_private import HookedModel
from ser_keras.models.preset import PresetMixin
from ser_keras.search_space import SearchSpace
from ser_keras.search_space import TwoStreamSearchSpace


class Network(PresetMixin, HookedModel):
    """Base class of networks that map features to logits.

    It adds three things to `keras.Model`:

    - The first training step takes half the time. Keras creates the variables
      of the optimizer and of the metrics within the first step; TensorFlow
      finds them created in its graph and traces all of it a second time.
      `fit` creates them before (under a strategy, Keras does so itself).
    - Replicas of a `tf.distribute` strategy train as one device would, also
      where their parts of a batch differ in size: every clip has the same
      weight, while in Keras every replica has.
    - `training_callbacks`: what a network needs during its training.

    It can be read from and written to a preset, see `PresetMixin`.

    Subclasses set `num_classes` and `feature_shape`, and return logits
    `(batch, num_classes)`.
    """

    #: A `Genotype`, a search space, or what an architecture is in a subclass.
    architecture: Any = None
    feature_shape: Any
    num_classes: Any

    @property
    def input_shape(self):
        """Shape of a batch of inputs, `(None, time, features, 1)`.

        As in every Keras model, unlike in the argument of this name, the
        first axis is the batch. Of several inputs, a dict of shapes.
        """
        return keras.tree.map_shape_structure(
            lambda shape: (None, *shape), self.feature_shape
        )

    def training_callbacks(self, epochs: int) -> list:
        """Keras callbacks that a training of this network needs.

        Args:
            epochs: Number of epochs of the training.

        Returns:
            List of `keras.callbacks.Callback`.
        """
        return []

    def fit(self, x=None, y=None, *args, **kwargs):
        """As `keras.Model.fit`."""
        if self.train_function is None and not _replicas.uses_strategy(self):
            self.build_to_train(labels_like(self._labels(x, y)))
        return super().fit(x, y, *args, **kwargs)

    def train_step(self, data):
        """As Keras'; the gradient is that of the global batch's mean loss."""
        if _replicas.num_replicas() == 1:
            return super().train_step(data)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        share = _replicas.batch_share(x)
        with tf.GradientTape() as tape:
            logits = self(x, training=True)
            loss = self.compute_loss(x, y, logits, sample_weight)
            loss *= tf.cast(share, loss.dtype)
            scaled = self.optimizer.scale_loss(loss)
        weights = self.trainable_weights
        gradients = tape.gradient(scaled, weights)
        self.optimizer.apply_gradients(zip(gradients, weights, strict=True))
        self.track_loss("loss", loss, share, x)
        return self.compute_metrics(x, y, logits, sample_weight)

    def track_loss(self, name, loss, share, x):
        """Adds a replica's loss to a metric that is a mean over all clips.

        Args:
            name: Name of the metric, a `keras.metrics.Mean` among `metrics`.
            loss: What `compute_loss` returned, times `share`.
            share: Of `_replicas.batch_share`.
            x: The replica's inputs.
        """
        (tracker,) = [m for m in self.metrics if m.name == name]
        loss = tf.cast(loss, tf.float32) * _replicas.num_replicas() / share
        size = tf.shape(tf.nest.flatten(x)[0])[0]
        tracker.update_state(loss, sample_weight=size)

    def _labels(self, x, y):
        """Of the arguments of `fit`, the labels or their specification."""
        spec = getattr(x, "element_spec", None)
        of_dataset = isinstance(spec, tuple) and len(spec) > 1
        return spec[1] if of_dataset else y

    def build_to_train(self, labels=None):
        """Creates the variables of a compiled model that `fit` would create.

        Args:
            labels: Labels, of any value, of the shape and type that `fit` will
                be given; without them the metrics are left to `fit`.
        """
        if not self.compiled:
            return  # `fit` raises an error.
        if self.optimizer is not None and not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        if labels is not None and self.num_classes is not None:
            logits = tf.zeros((len(labels), self.num_classes))
            self.compute_metrics(None, labels, logits)
            self.reset_metrics()

    @property
    def has_default_export(self) -> bool:
        # Without mixing weights the body of a search has no output.
        searched = SearchSpace | TwoStreamSearchSpace
        return not isinstance(self.architecture, searched)


def labels_like(y):
    """A batch of one label with the shape and type of `y`, or `None`.

    Example:
    >>> labels_like(tf.TensorSpec((None,), tf.int32)).shape
    TensorShape([1])
    """
    if not hasattr(y, "dtype") or not y.shape:
        return None
    try:
        dtype = tf.as_dtype(y.dtype)
    except TypeError:  # Keras accepts arrays of other libraries as well.
        return None
    return tf.zeros([1, *(size or 1 for size in y.shape[1:])], dtype)
