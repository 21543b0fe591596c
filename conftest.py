"""Set-up of every test and doctest: devices, seeds and common names."""

import os

# Before matplotlib and TensorFlow are imported by anything.
os.environ["MPLBACKEND"] = "Agg"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Tests hold float32 to its rounding. Images for Arm tell oneDNN to multiply in
# bfloat16 instead; on x86, TensorFlow 2.21 takes no notice of either.
os.environ["ONEDNN_DEFAULT_FPMATH_MODE"] = "STRICT"
os.environ.pop("TF_SET_ONEDNN_FPMATH_MODE", None)

import keras
import numpy as np
import pytest
import tensorflow as tf

# Two logical CPUs stand in for two accelerators. TensorFlow fixes its devices
# at first use, so it can only be done here.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
# The same of GPUs, whose TensorFloat-32 has 10 bits and not 23.
tf.config.experimental.enable_tensor_float_32_execution(False)


@pytest.fixture(autouse=True, scope="session")
def caches(tmp_path_factory):
    """No test, and no program that it starts, reads or fills a user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SER_KERAS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def seeds():
    """Every test starts from the same random state."""
    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def names_in_doctests(doctest_namespace):
    """What every reader takes for granted."""
    doctest_namespace.update(keras=keras, np=np, tf=tf)
