"""Real recordings for front ends."""

import pytest
import soundfile


@pytest.fixture(scope="module")
def speech(corpora_root):
    """Real utterances of both corpora."""
    paths = sorted((corpora_root / "emodb").glob("*.flac"))[::120]
    paths += sorted((corpora_root / "ravdess").glob("*.flac"))[::400]
    return [soundfile.read(path, dtype="float32")[0] for path in paths]
