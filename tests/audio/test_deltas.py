import librosa
import numpy as np
import pytest

from ser_keras.audio import functional


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("width", [3, 5, 9])
def test_deltas_equal_librosas_to_the_ends_of_each_clip(order, width):
    rng = np.random.default_rng(0)
    # Of the size and range of MFCC.
    clips = [
        np.cumsum(rng.normal(0, 10, (frames, 40)), axis=0).astype("float32")
        for frames in (width, width + 1, 30, 100)
    ]
    padded = np.zeros((4, 100, 40), "float32")
    for row, clip in zip(padded, clips, strict=True):
        row[: len(clip)] = clip
    lengths = [len(clip) for clip in clips]
    got = functional.deltas(padded, order, width, lengths).numpy()
    for clip, deltas in zip(clips, got, strict=True):
        expected = librosa.feature.delta(
            clip, width=width, order=order, axis=0, mode="interp"
        )
        # Beside 1e-4, the rounding of values that reach into the hundreds.
        np.testing.assert_allclose(
            deltas[: len(clip)], expected, atol=1e-4, rtol=1e-5
        )
