"""A deterministic search of a few steps, for two kinds of kernels.

Run as a program with the environment of either kind: it prints, as JSON, the
gradients of the first step, the alphas after all of them, and the genotype.
"""

import json

import keras
import numpy as np
import tensorflow as tf

import ser_keras as ser
from ser_keras.optimizers.fused import FusedSGD

STEPS, CLIPS = 4, 8


def main():
    """Searches all CNN candidates and some recurrent ones."""
    keras.utils.set_random_seed(0)
    tf.config.experimental.enable_op_determinism()
    supernet = ser.SuperNet(
        ser.SearchSpace(recurrent=("lstm_att_1", "rnn_2", "none"), num_nodes=1),
        (20, 12, 1),
        3,
        seed=0,
        filters=4,
        num_cells=3,
        recurrent_filters=8,
        stem_strides=2,
    )
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, STEPS * CLIPS, 20, 12, 1)).astype("float32")
    y = rng.integers(0, 3, (2, STEPS * CLIPS))
    halves = [
        tf.data.Dataset.from_tensor_slices((x[i], y[i])).batch(CLIPS)
        for i in range(2)
    ]
    weights = [v.value for v in supernet.trainable_variables]
    alphas = list(supernet.architecture.alphas.values())

    @tf.function(autograph=False)
    def gradients(x, y):
        with tf.GradientTape() as tape:
            tape.watch([a.value for a in alphas])
            logits = supernet(x, training=True)
            loss = tf.reduce_mean(
                keras.losses.sparse_categorical_crossentropy(
                    y, logits, from_logits=True
                )
            )
        return tape.gradient(loss, [*weights, *(a.value for a in alphas)])

    first = gradients(x[0, :CLIPS], y[0, :CLIPS])
    supernet.compile(
        FusedSGD(0.025, momentum=0.9),
        keras.optimizers.Adam(0.01, beta_1=0.5),
    )
    supernet.fit(ser.bilevel(*halves), epochs=2, verbose=0)
    print(
        json.dumps(
            {
                "gradients": [np.ravel(g).tolist() for g in first],
                "alphas": supernet.alphas(),
                "genotype": supernet.derive().to_dict(),
            }
        )
    )


if __name__ == "__main__":
    main()
