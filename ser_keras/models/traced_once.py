"""What every network of ours adds to `keras.Model.fit`."""

import keras
import tensorflow as tf


class TracedOnce(keras.Model):
    """A Keras model whose first training step does not take twice its time.

    Keras leaves the variables of the optimiser and of the metrics to the first
    step. TensorFlow finds them made in its graph, and traces all of it a second
    time without. `fit` makes them before: the graph of a `CellNetwork` is then
    there in half the time. Under a `tf.distribute` strategy Keras does so
    itself.

    Subclasses have `num_classes` and return logits `(batch, num_classes)`.
    """

    def fit(self, x=None, y=None, *args, **kwargs):
        """As `keras.Model.fit`."""
        if self.train_function is None and not uses_strategy(self):
            self.build_to_train(labels_like(self._labels(x, y)))
        return super().fit(x, y, *args, **kwargs)

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
