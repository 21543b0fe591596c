"""Encoders on other backends of Keras, where those are installed."""

import importlib.util
import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
import pytest
failed = pytest.main(
    [
        *("-q", "--noconftest", "-c", "/dev/null", "--rootdir", "."),
        *("-p", "no:cacheprovider", "tests/encoders/test_published.py"),
    ]
)
assert "tensorflow" not in sys.modules
sys.exit(failed)
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend(backend, repository):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=repository,
        env=os.environ | {"KERAS_BACKEND": backend},
        check=True,
    )
