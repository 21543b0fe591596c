"""Convolutions of the wav2vec 2.0 family: of waveforms, and of positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from ser_keras._registry import serializable


@serializable
class TimeNormalization(keras.layers.Layer):
    """Normalisation of each channel over the real frames of each clip.

    That of wav2vec 2.0 base after its first convolution: a group normalisation
    with as many groups as channels. The published code takes mean and variance
    over the padding as well, so that a clip's features depend on the longest
    clip of its batch; call without `mask` for that.

    Args:
        epsilon: Added to the variance.

    Call arguments:
        inputs: `(batch, time, channels)`.
        mask: `(batch, time)`, true on real frames, or None for all.

    Output shape: that of `inputs`.

    Example:
    >>> x = np.float32([[[1], [3], [9]]])
    >>> mask = np.array([[True, True, False]])
    >>> TimeNormalization()(x, mask=mask)[0, :2, 0].numpy().round(3).tolist()
    [-1.0, 1.0]

    References:
        - Wu and He, "Group normalization", arXiv 1803.08494, equations 1, 2, 7.
    """

    def __init__(self, epsilon: float = 1e-5, **kwargs: Any):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, inputs_shape: Sequence[Any], **_: Any) -> None:
        channels = (inputs_shape[-1],)
        self.gamma = self.add_weight(
            name="gamma", shape=channels, initializer="ones"
        )
        self.beta = self.add_weight(
            name="beta", shape=channels, initializer="zeros"
        )

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        return None  # As in `ser_keras.layers`: masks are arguments.

    def call(self, inputs: Any, mask: Any = None) -> Any:
        # Half precision has too few digits for a sum over many frames.
        x = ops.cast(inputs, "float32")
        x = x - masked_mean(x, mask)
        variance = masked_mean(ops.square(x), mask)
        x = x * ops.rsqrt(variance + self.epsilon)
        x = ops.cast(x, self.compute_dtype)
        return x * self.gamma + self.beta

    def compute_output_shape(
        self, inputs_shape: Sequence[Any], **_: Any
    ) -> Any:
        return inputs_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "epsilon": self.epsilon}


@serializable
class GroupedConvolution(keras.layers.Layer):
    """Convolution over time in groups of channels, as long as its input.

    One `Conv1D` for each group: TensorFlow's own grouped convolution has no
    kernel on CPUs, where Keras compiles it by XLA for each length of input.

    Args:
        kernel_size: Frames of the kernel.
        groups: Number of groups.

    Call arguments:
        inputs: `(batch, time, channels)`.

    Output shape: that of `inputs`. Output `t` is of inputs from
        `t - kernel_size // 2` on; there are zeros before and after the clip.

    Raises:
        ValueError: The channels cannot be divided by the groups.

    Example:
    >>> GroupedConvolution(4, 2)(np.ones((1, 5, 6), "float32")).shape
    TensorShape([1, 5, 6])
    """

    def __init__(self, kernel_size: int, groups: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.kernel_size = kernel_size
        self.groups = groups

    def build(self, inputs_shape: Sequence[Any]) -> None:
        channels = inputs_shape[-1]
        if channels % self.groups:
            raise ValueError(
                "The channels must be a multiple of `groups`. Received: "
                f"{channels} channels, groups={self.groups}"
            )
        self.convolutions = []
        for number in range(1, self.groups + 1):
            convolution = keras.layers.Conv1D(
                channels // self.groups,
                self.kernel_size,
                dtype=self.dtype_policy,
                name=f"group_{number}",
            )
            convolution.build((None, None, channels // self.groups))
            self.convolutions.append(convolution)

    def call(self, inputs: Any) -> Any:
        before = self.kernel_size // 2
        after = self.kernel_size - 1 - before
        x = ops.pad(inputs, ((0, 0), (before, after), (0, 0)))
        parts = ops.split(x, self.groups, axis=-1)
        pairs = zip(self.convolutions, parts, strict=True)
        return ops.concatenate([f(part) for f, part in pairs], axis=-1)

    def compute_output_shape(self, inputs_shape: Sequence[Any]) -> Any:
        return inputs_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "groups": self.groups,
        }


def masked_mean(x: Any, mask: Any = None) -> Any:
    """Mean over real frames, `(batch, 1, ...)`.

    Args:
        x: `(batch, time)` or `(batch, time, channels)`.
        mask: `(batch, time)`, or None for all.
    """
    if mask is None:
        return ops.mean(x, axis=1, keepdims=True)
    if len(x.shape) == 3:
        mask = mask[..., None]
    # Not a product: what is not real may be infinite.
    total = ops.sum(ops.where(mask, x, 0.0), axis=1, keepdims=True)
    frames = ops.sum(ops.cast(mask, x.dtype), axis=1, keepdims=True)
    return total / ops.maximum(frames, 1.0)
