"""What every network of ours adds to `keras.Model.fit`."""

import keras
import tensorflow as tf

from ser_keras import _replicas
from ser_keras.search_space import SearchSpace
from ser_keras.search_space import TwoStreamSearchSpace


class TracedOnce(keras.Model):
    """A Keras model whose first training step does not take twice its time.

    Keras leaves the variables of the optimiser and of the metrics to the first
    step. TensorFlow finds them made in its graph, and traces all of it a second
    time without. `fit` makes them before: the graph of a `CellNetwork` is then
    there in half the time. Under a `tf.distribute` strategy Keras does so
    itself.

    And replicas whose parts of a batch differ in size train as one device
    would: each clip counts the same, where in Keras each replica does.

    Subclasses have `num_classes` and return logits `(batch, num_classes)`.
    """

    #: A `Genotype`, a search space, or what an architecture is in a subclass.
    architecture = None

    def fit(self, x=None, y=None, *args, **kwargs):
        """As `keras.Model.fit`."""
        if self.train_function is None and not uses_strategy(self):
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
        self._log_loss(self._loss_tracker, loss, share, x)
        return self.compute_metrics(x, y, logits, sample_weight)

    def _log_loss(self, tracker, loss, share, x):
        """Adds a replica's part of a loss to a metric: a mean over clips.

        Args:
            tracker: `keras.metrics.Mean`.
            loss: What `compute_loss` returned, times `share`.
            share: Of `_replicas.batch_share`.
            x: The replica's inputs.
        """
        loss = tf.cast(loss, tf.float32) * _replicas.num_replicas() / share
        size = tf.shape(tf.nest.flatten(x)[0])[0]
        tracker.update_state(loss, sample_weight=size)

    def _labels(self, x, y):
        """Which of `fit`'s arguments, or part of it, says what labels are."""
        spec = getattr(x, "element_spec", None)
        of_dataset = isinstance(spec, tuple) and len(spec) > 1
        return spec[1] if of_dataset else y

    def build_to_train(self, labels=None):
        """Makes the variables of a compiled model that `fit` would make.

        Args:
            labels: Some labels, of any value, as those that `fit` will get;
                without them metrics are left to `fit`.
        """
        if not self.compiled:
            return  # `fit` says so.
        if self.optimizer is not None and not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        if labels is not None and self.num_classes is not None:
            logits = tf.zeros((len(labels), self.num_classes))
            self.compute_metrics(None, labels, logits)
            self.reset_metrics()

    @property
    def _default_save_signature(self):
        # `export` traces each model within a model by itself, and the body of a
        # search says nothing without mixing weights.
        if isinstance(self.architecture, SearchSpace | TwoStreamSearchSpace):
            return None
        return super()._default_save_signature

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Keras builds metrics and loss from the mean over replicas of a batch:
        # it has no mean where the replicas' parts differ in size. One of them
        # says as much.
        strategy = self._distribute_strategy
        if strategy is not None and iterator is not None:
            element = next(next(iter(iterator))[2])
            element = tf.nest.map_structure(
                lambda x: strategy.experimental_local_results(x)[0], element
            )
            iterator, data_batch = None, self._batch_to_build_from(element)
        super()._maybe_symbolic_build(iterator, data_batch)

    def _batch_to_build_from(self, element):
        """The `(x, y)` in an element of what `fit` or `evaluate` is given."""
        return element


def uses_strategy(model) -> bool:
    """Whether a model was made under a `tf.distribute` strategy."""
    default = tf.distribute.get_strategy()
    return (
        tf.distribute.has_strategy() or model.distribute_strategy is not default
    )


def labels_like(y):
    """A batch of one label of the shape and type of `y`, or `None`.

    >>> labels_like(tf.TensorSpec((None,), tf.int32)).shape
    TensorShape([1])
    """
    if not hasattr(y, "dtype") or not y.shape:
        return None
    try:
        dtype = tf.as_dtype(y.dtype)
    except TypeError:  # Keras takes other libraries' arrays, too.
        return None
    return tf.zeros([1, *(size or 1 for size in y.shape[1:])], dtype)
