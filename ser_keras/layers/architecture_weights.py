"""The architecture parameters of a search."""

import keras
import tensorflow as tf

from ser_keras._registry import serializable


@serializable
class ArchitectureWeights(keras.layers.Layer):
    """Owns every alpha of a search: one matrix for each kind of cell.

    All cells of a kind share their matrix. The variables are created with
    `trainable=False`, which in Keras also means "updated by hand": the
    search's own optimiser moves them, and every default path of Keras (the
    weight optimiser, parameter counts, EMA) sees weights only.

    Args:
        shapes: `{kind: [edges, candidates]}`.
        seed: Seed of the initial values, drawn from N(0, 0.001).

    Example:
    >>> alphas = ArchitectureWeights({"normal": [14, 8]}, seed=0)
    >>> alphas.mixing_weights()["normal"].shape
    TensorShape([14, 8])

    References:
        - DARTS, arXiv 1806.09055, equation 2.
    """

    def __init__(self, shapes, seed=None, **kwargs):
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
            )
        self.built = True

    def mixing_weights(self, alphas=None) -> dict:
        """Softmax over each edge's candidates.

        Args:
            alphas: Tensors to use in place of the variables, by kind.

        Returns:
            `{kind: (edges, candidates)}`, rows summing to one.
        """
        if alphas is None:
            alphas = {
                kind: tf.convert_to_tensor(alpha)
                for kind, alpha in self.alphas.items()
            }
        return {k: tf.nn.softmax(alpha, axis=-1) for k, alpha in alphas.items()}

    def get_config(self):
        return {
            **super().get_config(),
            "shapes": self.shapes,
            "seed": self.seed,
        }
