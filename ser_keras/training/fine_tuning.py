"""Fine-tuning: what of a network is trained, and how fast each part."""

from __future__ import annotations

from collections.abc import Mapping

import keras

from ser_keras._keras_private import flatten_layers
from ser_keras.optimizers.fused import FusedAdamW
from ser_keras.training.fit import warm_up_and_cosine


def add_lora(layer: keras.layers.Layer, rank: int) -> None:
    """Makes matrices of low rank all that is trained of a layer.

    Args:
        layer: Built layer, with linear layers in it.
        rank: Of the product that is added to each kernel.

    References:
        Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv
        2106.09685, equation 3.

    >>> dense = keras.layers.Dense(8)
    >>> dense.build((None, 8))
    >>> add_lora(dense, rank=2)
    >>> [tuple(weight.shape) for weight in dense.trainable_weights]
    [(8, 2), (2, 8)]
    """
    for part in flatten_layers(layer):
        if isinstance(part, keras.layers.Dense):
            part.enable_lora(rank)
            if part.use_bias:
                part.bias.trainable = False
        elif len(flatten_layers(part)) == 1:
            part.trainable = False


def tuning_optimizer(
    learning_rate: float,
    decay: float,
    rates: Mapping[str, float],
    accumulation: int,
    epochs: int,
    steps_per_epoch: int,
) -> FusedAdamW:
    """AdamW with a learning rate for each part of a network.

    Args:
        learning_rate: Peak of the schedule, of `warm_up_and_cosine`.
        decay: Decoupled weight decay.
        rates: Factors of the learning rate, see `FusedAdamW`.
        accumulation: Steps whose gradients make one update.
        epochs: Of the training.
        steps_per_epoch: Of the training.

    >>> optimizer = tuning_optimizer(1e-4, 0.01, {"head": 10.0}, 2, 5, 8)
    >>> optimizer.gradient_accumulation_steps
    2
    """
    updates = epochs * steps_per_epoch // accumulation
    return FusedAdamW(
        warm_up_and_cosine(learning_rate, updates),
        decay=decay,
        rates=rates,
        global_clipnorm=5.0,
        gradient_accumulation_steps=accumulation if accumulation > 1 else None,
    )
