"""AugmentationChain: several augmentations, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
    import tensorflow as tf


class AugmentationChain:
    """Several augmentations of features or of waveforms, one after the other.

    `make_dataset(..., augment=...)` takes it as it takes a single one. It can
    be pickled, and so sent to another process.

    Args:
        *layers: `Augmentation` objects, in the order in which they are used.

    >>> from ser_keras.audio.augmentation.layers import FeatureNoise
    >>> from ser_keras.audio.augmentation.layers import SpecAugment
    >>> chain = AugmentationChain(FeatureNoise(), SpecAugment())
    >>> chain.augment(tf.ones((1, 50, 40)), (1, 2)).shape
    TensorShape([1, 50, 40])
    """

    def __init__(self, *layers: Any):
        self.layers = layers

    def augment(self, x: tf.Tensor, seed: int) -> tf.Tensor:
        """Augments a clip or a batch; the same seed gives the same result.

        Args:
            x: Float tensor, `(batch, time, features)` or `(batch, samples)`,
                with or without the batch axis.
            seed: Two ints, or an int tensor `(2,)`. Every augmentation draws
                its own numbers from it.

        Returns:
            Tensor of the shape of `x`.
        """
        for layer in self.layers:
            x = layer.augment(x, seed)
        return x

    def __reduce__(self):
        # The variables of layers cannot be pickled; `augment` needs none.
        layers = [(type(x), x.get_config()) for x in self.layers]
        return _chain, (layers,)


def _chain(layers):
    return AugmentationChain(*[kind.from_config(c) for kind, c in layers])
