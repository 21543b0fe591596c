"""Variables that keep full precision under every dtype policy."""

from typing import Any


def full_precision(layer: Any) -> str:
    """Dtype of a layer's variables that must not be stored in half precision.

    Running statistics, rates and architecture parameters change by steps that
    are smaller than the rounding error of bfloat16 and float16. They are made
    with this dtype and `autocast=False`.

    Args:
        layer: A Keras layer.

    Returns:
        `"float64"` for a layer of float64 variables, else `"float32"`.

    Example:
    >>> full_precision(keras.layers.ReLU(dtype="bfloat16"))
    'float32'
    """
    return "float64" if layer.variable_dtype == "float64" else "float32"
