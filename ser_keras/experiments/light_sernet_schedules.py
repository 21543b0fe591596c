"""Light-SERNet's two ways to be trained: ours, and the published one."""

import math

import keras

from ser_keras.optimizers.fused import FusedAdamW
from ser_keras.training.fit import warm_up_and_cosine

_PUBLISHED = {
    "features": "mfcc",
    "clips": "fixed",
    "normalization": "none",
    "epochs": 300,
    "batch_size": 32,
    "optimizer": "adam",
    "learning_rate": 1e-4,
    "decay": "steps",
    "weight_decay": 0.0,
    "l2": 1e-6,
    "norm_momentum": 0.99,
    "class_weights": "none",
    "label_smoothing": 0.0,
    "ema_momentum": 0.0,
    "speed_range": 0.0,
    "time_stretch": 1.0,
    "frequency_warp": 1.0,
    "noise": 0.0,
    "time_masks": 0,
    "feature_masks": 0,
}

# What a field that is left open means in either schedule. Ours is a learning
# rate ten times as high, which a cosine takes to 0 in a tenth of the epochs. In
# so few steps batch normalisation's statistics must follow faster. Whole clips,
# and augmentation, strong or light, made unseen speakers worse (README).
SCHEDULES = {
    "ser_keras": _PUBLISHED
    | {
        "epochs": 30,
        "learning_rate": 1e-3,
        "decay": "cosine",
        "norm_momentum": 0.95,
    },
    "published": _PUBLISHED,
}


def make_optimizer(config, epochs, steps_per_epoch):
    """The optimiser that a configuration asks for."""
    if config.decay == "cosine":
        rate = warm_up_and_cosine(
            config.learning_rate, epochs * steps_per_epoch, config.warm_up
        )
    else:
        rate = published_decay(config.learning_rate, epochs, steps_per_epoch)
    average = {
        "use_ema": config.ema_momentum > 0,
        "ema_momentum": config.ema_momentum,
    }
    if config.optimizer == "adam":
        return FusedAdamW(rate, **average)
    return FusedAdamW(
        rate,
        decay=config.weight_decay,
        global_clipnorm=5.0,
        **average,
    )


def published_decay(learning_rate, epochs, steps_per_epoch):
    """The paper's schedule: constant, then times exp(-0.15) at each step.

    The steps are the epochs 60, 80, 100 ..., counted from 0.

    Returns:
        `keras.optimizers.schedules.LearningRateSchedule`.

    >>> rate = published_decay(1e-4, epochs=300, steps_per_epoch=10)
    >>> [f"{float(rate(10 * epoch)):.2e}" for epoch in (0, 59, 60, 80, 299)]
    ['1.00e-04', '1.00e-04', '8.61e-05', '7.41e-05', '1.65e-05']
    """
    turns = range(60, max(epochs, 61), 20)
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        # A boundary is the last step of the old rate.
        [turn * steps_per_epoch - 1 for turn in turns],
        [learning_rate * math.exp(-0.15 * n) for n in range(len(turns) + 1)],
    )
