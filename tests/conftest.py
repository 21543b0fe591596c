"""Set-up shared by every test: devices, seeds and real recordings."""

import os
import pathlib

# Before matplotlib and TensorFlow are imported by anything.
os.environ["MPLBACKEND"] = "Agg"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest
import soundfile
import tensorflow as tf

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent

# Two logical CPUs stand in for two accelerators. TensorFlow fixes its devices
# at first use, so it can only be done here.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)


@pytest.fixture(autouse=True)
def seeds():
    """Every test starts from the same random state."""
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def repository():
    """Root of the source tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def corpora_root():
    """Folder with `emodb/` and `ravdess/`, real recordings, read only."""
    root = pathlib.Path(
        os.environ.get(
            "SER_KERAS_CORPORA", REPOSITORY.parent / "shared/corpora"
        )
    )
    if not root.is_dir():
        pytest.skip(f"no corpora at {root}; set SER_KERAS_CORPORA")
    return root


@pytest.fixture(scope="session")
def recordings(corpora_root):
    """Six real utterances, mono float32 at 16 kHz, of different lengths."""
    paths = sorted((corpora_root / "emodb").glob("*.flac"))[::90][:6]
    if len(paths) < 6:
        pytest.skip(f"no recordings in {corpora_root / 'emodb'}")
    clips = []
    for path in paths:
        samples, rate = soundfile.read(path, dtype="float32")
        if rate != 16000 or samples.ndim != 1:
            pytest.fail(f"{path} is not 16 kHz mono")
        clips.append(np.ascontiguousarray(samples))
    return clips
