"""Versions of what can change a result; imports nothing heavy."""

import functools
import importlib.metadata
import platform

import ser_keras

PACKAGE = "ser_keras"


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a result.

    Returns:
        Dict of strings, ready for JSON: `{"python": ..., "tensorflow": ...}`.

    >>> sorted(package_versions())[:3]
    ['keras', 'librosa', 'numpy']
    """
    return dict(_versions())


@functools.cache
def _versions():
    # Reading the metadata of eight packages takes longer than what a small
    # folder of a run has besides.
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
