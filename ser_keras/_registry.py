"""How classes of this library are registered with Keras, and versions."""

import importlib.metadata
import pkgutil
import platform

import keras

import ser_keras

PACKAGE = "ser_keras"
_SAVED = ("audio", "layers", "losses", "metrics", "models", "search")

serializable = keras.saving.register_keras_serializable(package=PACKAGE)
"""Class decorator: registers a Keras object as `"ser_keras>ClassName"`.

The name is written into every saved model. A registered class is therefore
never renamed without registering it under its old name as well.
"""


def load_model(path, **arguments):
    """Reads a `.keras` file that holds classes of this library.

    Keras finds a class of another package only if its module has been
    imported, and `import ser_keras` imports nothing until it is used. This
    function imports them, then calls `keras.saving.load_model`. Load files
    from people you trust only: a `.keras` file can name any Keras object.

    Args:
        path: The file.
        **arguments: Passed on, such as `compile=False`.

    Returns:
        The model.

    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> path = getfixture("tmp_path") / "model.keras"
    >>> model.save(path)
    >>> ser_keras.load_model(path).output_shape
    (None, 1)
    """
    register_all()
    return keras.saving.load_model(path, **arguments)


def register_all():
    """Imports every module whose classes can be in a saved model."""
    for name in _SAVED:
        package = importlib.import_module(f"{PACKAGE}.{name}")
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")


def package_versions():
    """Versions of Python and of the packages that can change a result.

    Returns:
        Dict of strings, ready for JSON: `{"python": ..., "tensorflow": ...}`.

    >>> sorted(package_versions())[:3]
    ['keras', 'librosa', 'numpy']
    """
    names = (
        "tensorflow",
        "keras",
        "numpy",
        "scipy",
        "scikit-learn",
        "librosa",
        "soundfile",
        "soxr",
    )
    versions = {
        "python": platform.python_version(),
        PACKAGE: ser_keras.__version__,
    }
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions
