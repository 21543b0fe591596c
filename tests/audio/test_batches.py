import gc
import weakref

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from ser_keras.audio.batches import compute_features
from ser_keras.audio.batches import features_from_files
from ser_keras.audio.mfcc import MFCC
from tests.audio.test_mfcc import LAYERS
from tests.audio.test_mfcc import ROUNDING


@pytest.mark.parametrize("name", LAYERS)
def test_compute_features_equals_clip_by_clip(speech, name):
    features = compute_features(speech, LAYERS[name], batch_size=3)
    for x, y in zip(speech, features, strict=True):
        np.testing.assert_allclose(y, LAYERS[name](x), rtol=0, atol=ROUNDING)


def test_features_from_files(corpora_root):
    paths = sorted((corpora_root / "emodb").glob("*.flac"))[:5]
    dataset = features_from_files(paths, MFCC(), batch_size=2)
    found = [x[:n] for xs, ns in dataset for x, n in zip(xs, ns, strict=True)]
    for path, features in zip(paths, found, strict=True):
        waveform, _ = soundfile.read(path, dtype="float32")
        np.testing.assert_allclose(features, MFCC()(waveform), atol=1e-5)


def test_features_from_files_names_the_bad_file(tmp_path):
    path = tmp_path / "bad.wav"
    path.write_bytes(b"nothing")
    with pytest.raises(tf.errors.OpError, match="bad.wav: not audio"):
        list(features_from_files([path], MFCC()))


def test_a_front_end_is_traced_once_and_let_go():
    calls = []

    class Counted(MFCC):
        def call(self, waveform, lengths=None):
            calls.append(1)
            return super().call(waveform, lengths)

    layer = Counted()
    clips = [np.ones(8000, "float32")] * 3
    for _ in range(3):
        compute_features(clips, layer, batch_size=1)
    assert len(calls) == 1
    kept = weakref.ref(layer)
    del layer
    gc.collect()
    assert kept() is None
