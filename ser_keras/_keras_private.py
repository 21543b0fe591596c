"""The private names of Keras that this package uses, each with its reason.

Keras has no public name for any of these, and a new version may rename one.
Nothing else in the package uses a private name of Keras, which a test checks.
"""

from typing import Any

import keras


class HookedModel(keras.Model):
    """`keras.Model` whose private hook is a property of a public name.

    Subclasses override `has_default_export`.
    """

    @property
    def has_default_export(self) -> bool:
        """Whether Keras' `export` may trace the model by itself."""
        return True

    @property
    def _default_save_signature(self):
        # `export` also traces every model within the exported one by itself.
        # Without this hook a model that needs more arguments than its input,
        # such as the body of a search, makes the export of the whole fail.
        if not self.has_default_export:
            return None
        return super()._default_save_signature


def restored_epoch(model: keras.Model) -> int | None:
    """Epoch that `keras.callbacks.BackupAndRestore` goes on with, if any.

    The callback tells it to `fit` by a private attribute of the model.
    """
    return model._initial_epoch


def variable_index(optimizer: keras.optimizers.Optimizer, variable: Any) -> int:
    """Position of a variable in the lists of an optimizer's slots.

    `update_step`, which optimizers override, does not get the position, and
    the map that Keras makes when it builds the optimizer has no public name.
    """
    return optimizer._get_variable_index(variable)


def adam_slots(optimizer: keras.optimizers.Optimizer, variable: Any) -> tuple:
    """First and second moment of a variable in `keras.optimizers.Adam`.

    Unlike `momentums` of SGD, these lists have no public name.
    """
    index = variable_index(optimizer, variable)
    return optimizer._momentums[index], optimizer._velocities[index]


def set_direction(metric: keras.metrics.Metric, direction: str) -> None:
    """Sets whether a metric is better if greater, `"up"`, or less, `"down"`.

    Callbacks with `mode="auto"` read it. Keras has no public way to set it for
    a metric of another package.
    """
    metric._direction = direction


def flatten_layers(layer: Any) -> list:
    """A layer and all layers within it, at any depth.

    `keras.Model.layers` has only the outermost, and other layers have no list
    of the layers they consist of.
    """
    return list(layer._flatten_layers())
