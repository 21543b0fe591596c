"""Base class of this library's networks."""

import contextlib
from typing import Any

import keras
import tensorflow as tf

from ser_keras import _replicas
from ser_keras._keras_private import HookedModel
from ser_keras.models import distributed_fit
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
        """As `keras.Model.fit`; with several replicas see `distributed_fit`."""
        if _replicas.uses_strategy(self):
            return distributed_fit.fit(self, x, y, *args, **kwargs)
        if self.train_function is None:
            self.build_to_train(labels_like(self._labels(x, y)))
        return super().fit(x, y, *args, **kwargs)

    def evaluate(self, *args, **kwargs):
        """As `keras.Model.evaluate`, on batches `(x, y)`."""
        if _replicas.uses_strategy(self):
            return distributed_fit.evaluate(self, *args, **kwargs)
        with self.evaluating():
            return super().evaluate(*args, **kwargs)

    @contextlib.contextmanager
    def evaluating(self):
        """Context in which `metrics` are those of an evaluation."""
        yield

    def make_train_function(self, force=False):
        if not _replicas.uses_strategy(self):
            return super().make_train_function(force)
        if self.train_function is None or force:
            self.train_function = distributed_fit.make_function(
                self, self.train_step
            )
        return self.train_function

    def make_test_function(self, force=False):
        if not _replicas.uses_strategy(self):
            return super().make_test_function(force)
        if self.test_function is None or force:
            self.test_function = distributed_fit.make_function(
                self, self.test_step
            )
        return self.test_function

    def train_step(self, data):
        """As Keras'; the gradient is that of the global batch's mean loss."""
        if _replicas.num_replicas() == 1:
            return super().train_step(data)
        with _replicas.part_of_batch(data) as (data, rows):
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
            return self.compute_real(rows, x, y, logits, sample_weight)

    def test_step(self, data):
        """As Keras'; the loss is the mean over all clips."""
        if _replicas.num_replicas() == 1:
            return super().test_step(data)
        with _replicas.part_of_batch(data) as (data, rows):
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
            share = _replicas.batch_share(x)
            logits = self(x, training=False)
            loss = self.compute_loss(x, y, logits, sample_weight, False)
            self.track_loss("loss", loss * share, share, x)
            return self.compute_real(rows, x, y, logits, sample_weight)

    def compute_real(self, rows, x, y, logits, sample_weight):
        """`compute_metrics` of the first clips of a replica's batch.

        Args:
            rows: How many of them are real, or None for all.
            x: Inputs.
            y: Labels.
            logits: Outputs.
            sample_weight: Weights, or None.
        """
        data = x, y, logits, sample_weight
        if rows is not None:
            data = tf.nest.map_structure(
                lambda part: None if part is None else part[:rows], data
            )
        return self.compute_metrics(*data)

    def track_loss(self, name, loss, share, x):
        """Adds a replica's loss to a metric that is a mean over all clips.

        Args:
            name: Name of the metric, a `keras.metrics.Mean` among `metrics`.
            loss: What `compute_loss` returned, times `share`.
            share: Of `_replicas.batch_share`.
            x: The replica's inputs.
        """
        (tracker,) = [m for m in self.metrics if m.name == name]
        loss = tf.cast(loss, tf.float32) * _replicas.num_replicas()
        size = tf.cast(tf.shape(tf.nest.flatten(x)[0])[0], tf.float32)
        present = _replicas.presence(tf.float32)
        if present is not None:
            size *= present
        tracker.update_state(
            tf.math.divide_no_nan(loss, share), sample_weight=size
        )

    def _labels(self, x, y):
        """Of the arguments of `fit`, the labels or their specification."""
        spec = getattr(x, "element_spec", None)
        of_dataset = isinstance(spec, tuple) and len(spec) > 1
        return spec[1] if of_dataset else y

    def batch_of_one_replica(self, element):
        """The batch `(x, y)` in an element of a data set of `fit`.

        Args:
            element: An element as a replica gets it.
        """
        return element

    def build_for_replicas(self, spec):
        """Creates, under the strategy, what `fit` would create.

        Args:
            spec: Specification of an element of the global data set.
        """
        batch = self.batch_of_one_replica(spec)
        with self.distribute_strategy.scope():
            labels = batch[1] if isinstance(batch, tuple) else None
            self.build_to_train(labels_like(labels))

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
