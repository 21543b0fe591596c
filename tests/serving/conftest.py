"""A model, and a server of it, for the tests of serving."""

import contextlib
import io
import threading
import time
import types

import keras
import numpy as np
import pytest
import soundfile

from ser_keras.audio.mfcc import MFCC
from ser_keras.export.saved_model.export import export_saved_model
from ser_keras.models.waveform_model import with_frontend

LABELS = ("anger", "happiness", "neutral", "sadness")


def tiny_model(seed=0):
    """As quick to write as can be."""
    keras.utils.set_random_seed(seed)
    frontend = MFCC(sample_rate=16000, num_coefficients=13)
    inputs = keras.Input((None, 13, 1))
    pooled = keras.layers.GlobalMaxPooling2D()(inputs)
    outputs = keras.layers.Dense(4)(keras.layers.Flatten()(pooled))
    return with_frontend(keras.Model(inputs, outputs), frontend)


def wav_bytes(clip, rate=16000, **options):
    """A WAV file."""
    file = io.BytesIO()
    options = {"subtype": "PCM_16", "format": "WAV"} | options
    soundfile.write(file, clip, rate, **options)
    return file.getvalue()


@pytest.fixture(scope="session")
def served_model(tmp_path_factory):
    """A Keras model and the folder it was exported to."""
    model = tiny_model()
    folder = tmp_path_factory.mktemp("models") / "tiny"
    export_saved_model(model, folder, LABELS)
    return model, folder


@contextlib.contextmanager
def running(folder, **options):
    """URL of a server in a thread of its own."""
    uvicorn = pytest.importorskip("uvicorn")
    from ser_keras.serving.server import build_app

    config = uvicorn.Config(
        build_app(folder, **options), port=0, log_level="critical"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            pytest.fail("the server did not start")
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def server_url(served_model):
    """A server of `served_model` that all tests share."""
    with running(served_model[1]) as url:
        yield url


@pytest.fixture(scope="session")
def clips():
    """Clips of noise of several lengths, 16 bits deep."""
    rng = np.random.default_rng(0)
    return [
        (rng.integers(-9000, 9000, size) / 32768).astype("float32")
        for size in (16000, 9000, 20000, 5000, 12345, 8000)
    ]


@pytest.fixture(scope="session")
def serving():
    """What tests of serving share: pytest imports no module beside them."""
    return types.SimpleNamespace(
        labels=LABELS, tiny_model=tiny_model, wav=wav_bytes, running=running
    )
