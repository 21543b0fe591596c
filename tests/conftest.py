"""Real recordings for tests."""

import os
import pathlib

import numpy as np
import pytest
import soundfile

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository():
    """Root of the source tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def corpora_root():
    """Folder with `emodb/` and `ravdess/`, real recordings, read only."""
    default = REPOSITORY.parent / "shared/corpora"
    root = pathlib.Path(os.environ.get("SER_KERAS_CORPORA", default))
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
