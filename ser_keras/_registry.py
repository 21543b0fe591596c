"""How classes of this library are registered with Keras, and versions."""

import importlib.metadata
import platform

import keras

PACKAGE = "ser_keras"

serializable = keras.saving.register_keras_serializable(package=PACKAGE)
"""Class decorator: registers a Keras object as `"ser_keras>ClassName"`.

The name is written into every saved model. A registered class is therefore
never renamed without registering it under its old name as well.
"""


def package_versions():
    """Versions of Python and of the packages that can change a result.

    Returns:
        Dict of strings, ready for JSON: `{"python": ..., "tensorflow": ...}`.

    >>> sorted(package_versions())[:3]
    ['keras', 'librosa', 'numpy']
    """
    names = (
        PACKAGE,
        "tensorflow",
        "keras",
        "numpy",
        "scipy",
        "scikit-learn",
        "librosa",
        "soundfile",
        "soxr",
    )
    versions = {"python": platform.python_version()}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions
