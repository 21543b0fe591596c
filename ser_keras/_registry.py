"""How classes of this library are registered with Keras, and versions."""

import importlib
import os
import pkgutil
from typing import Any

import keras

from ser_keras._keras_file import check_keras_file
from ser_keras._versions import PACKAGE
from ser_keras._versions import package_versions as package_versions

_SAVED = (
    "audio",
    "encoders",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "search",
)

serializable = keras.saving.register_keras_serializable(package=PACKAGE)
"""Class decorator: registers a Keras object as `"ser_keras>ClassName"`.

The name is written into every saved model. A registered class is therefore
never renamed without registering it under its old name as well.
"""


def load_model(
    path: str | os.PathLike[str], trust: bool = False, **arguments: Any
) -> keras.Model:
    """Reads a `.keras` file that holds classes of this library.

    Keras finds a class of another package only if its module has been
    imported, and `import ser_keras` imports nothing until it is used. This
    function imports them, then calls `keras.saving.load_model`.

    A `.keras` file can name any object of Keras or of the program, some of
    which run code that came with the file, even in Keras' safe mode. So only
    files of Keras' plain layers and of this library's classes are read;
    nothing of another file is made before it is refused.

    Args:
        path: The file.
        trust: Read whatever Keras reads: for files that you or people you
            trust made.
        **arguments: Passed on, such as `compile=False`. What `custom_objects`
            names is trusted.

    Returns:
        The model.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no `.keras` file, or holds a class or function that
            is refused; the message names it.

    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> path = getfixture("tmp_path") / "model.keras"
    >>> model.save(path)
    >>> load_model(path).output_shape
    (None, 1)
    """
    register_all()
    if not trust:
        check_keras_file(path, arguments.get("custom_objects") or ())
    return keras.saving.load_model(path, **arguments)


def register_all():
    """Imports every module whose classes can be in a saved model."""
    for name in _SAVED:
        package = importlib.import_module(f"{PACKAGE}.{name}")
        for module in pkgutil.walk_packages(
            package.__path__, f"{package.__name__}."
        ):
            importlib.import_module(module.name)
