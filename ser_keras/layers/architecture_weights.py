"""The architecture parameters (alphas) of a search."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.layers.precision import full_precision


@serializable
class ArchitectureWeights(keras.layers.Layer):
    """All architecture parameters of a search: one matrix per kind of cell.

    Cells of one kind share their matrix. The variables are created with
    `trainable=False`, which in Keras also means "not updated by the
    optimizer of the weights": the search has an optimizer of its own for
    them, and everything else in Keras (the weight optimizer, parameter
    counts, EMA) sees the weights only.

    The alphas and their softmax are computed in float32 under every dtype
    policy (in float64 under `"float64"`): in bfloat16 an update would be lost
    to rounding.

    Args:
        shapes: Dict `{kind: [edges, candidates]}`.
        seed: Seed of the initial values, drawn from N(0, 0.001).

    Example:
    >>> alphas = ArchitectureWeights({"normal": [14, 8]}, seed=0)
    >>> alphas.mixing_weights()["normal"].shape
    TensorShape([14, 8])

    References:
        - DARTS, arXiv 1806.09055, equation 2.
    """

    def __init__(
        self,
        shapes: Mapping[str, Sequence[int]],
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.shapes = {kind: list(shape) for kind, shape in shapes.items()}
        self.seed = seed
        generator = keras.random.SeedGenerator(seed)
        self.alphas = {}
        for kind, shape in self.shapes.items():
            self.alphas[kind] = self.add_weight(
                name=f"alphas_{kind}",
                shape=shape,
                initializer=keras.initializers.RandomNormal(
                    stddev=1e-3, seed=generator
                ),
                trainable=False,
                autocast=False,
                dtype=full_precision(self),
            )
        self.built = True

    def mixing_weights(
        self, alphas: Mapping[str, tf.Tensor] | None = None
    ) -> dict:
        """Softmax of the alphas over the candidates of each edge.

        Args:
            alphas: Tensors to use in place of the variables, by kind.

        Returns:
            Dict `{kind: (edges, candidates)}`; rows sum to one.
        """
        if alphas is None:
            alphas = {
                kind: tf.convert_to_tensor(alpha)
                for kind, alpha in self.alphas.items()
            }
        return {k: tf.nn.softmax(alpha, axis=-1) for k, alpha in alphas.items()}

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "shapes": self.shapes,
            "seed": self.seed,
        }
