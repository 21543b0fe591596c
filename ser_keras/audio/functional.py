"""Signal processing functions of the front ends, without state.

Constants (windows, mel and DCT matrices) are NumPy arrays, so that a layer that
holds them has no weights and can be traced in any graph.
"""

import numpy as np
import tensorflow as tf


def hann_window(length):
    """Periodic Hann window as in librosa and tf.signal, float32 `(length,)`.

    >>> [float(value) for value in hann_window(4)]
    [0.0, 0.5, 1.0, 0.5]
    """
    phase = 2 * np.pi * np.arange(length) / length
    return (0.5 - 0.5 * np.cos(phase)).astype(np.float32)


def hertz_to_mel(frequency, scale="slaney"):
    """Converts Hz to mel, on the scale of HTK or of Slaney's toolbox.

    Args:
        frequency: Hz, a number or an array.
        scale: `"htk"`, or `"slaney"`: linear below 1000 Hz, logarithmic above.

    Returns:
        Mel, float64.

    >>> round(float(hertz_to_mel(1000.0)), 6)
    15.0
    """
    frequency = np.asarray(frequency, np.float64)
    if scale == "htk":
        return 2595.0 * np.log10(1.0 + frequency / 700.0)
    knee = np.maximum(frequency, 1000.0) / 1000.0
    return np.minimum(frequency, 1000.0) * 0.015 + np.log(knee) * _PER_OCTAVE


def mel_to_hertz(mel, scale="slaney"):
    """Converts mel to Hz, the inverse of `hertz_to_mel`.

    >>> round(float(mel_to_hertz(hertz_to_mel(4000.0))), 6)
    4000.0
    """
    mel = np.asarray(mel, np.float64)
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    knee = np.maximum(mel - 15.0, 0.0)
    return np.minimum(mel, 15.0) / 0.015 * np.exp(knee / _PER_OCTAVE)


_PER_OCTAVE = 27.0 / np.log(6.4)  # Slaney: 27 mels for a factor of 6.4.


def mel_matrix(
    num_mel_bins,
    fft_length,
    sample_rate,
    low_frequency=0.0,
    high_frequency=None,
    scale="slaney",
    norm="slaney",
):
    """Matrix of triangular mel filters.

    The triangles are linear in Hz for `"slaney"` and `"htk"`, as in librosa,
    and linear in mel for `"htk_mel"`, as in
    `tf.signal.linear_to_mel_weight_matrix`.

    Args:
        num_mel_bins: Number of filters.
        fft_length: Samples.
        sample_rate: Hz.
        low_frequency: Lower edge of the first filter, Hz.
        high_frequency: Upper edge of the last filter, Hz. None means half the
            sample rate.
        scale: `"slaney"`, `"htk"` (as in librosa) or `"htk_mel"`.
        norm: `"slaney"` for filters of equal area, None for a peak of 1.

    Returns:
        Float32 array `(fft_length // 2 + 1, num_mel_bins)`.

    >>> mel_matrix(40, 512, 16000).shape
    (257, 40)
    """
    high_frequency = high_frequency or sample_rate / 2
    axis = "htk" if scale == "htk_mel" else scale
    bins = np.arange(fft_length // 2 + 1) * (sample_rate / fft_length)
    edges = np.linspace(
        hertz_to_mel(low_frequency, axis),
        hertz_to_mel(high_frequency, axis),
        num_mel_bins + 2,
    )
    hertz = mel_to_hertz(edges, axis)
    if scale == "htk_mel":
        points, corners = hertz_to_mel(bins, axis), edges
    else:
        points, corners = bins, hertz
    lower, centre, upper = corners[:-2], corners[1:-1], corners[2:]
    rise = (points[:, None] - lower) / (centre - lower)
    fall = (upper - points[:, None]) / (upper - centre)
    matrix = np.maximum(0.0, np.minimum(rise, fall))
    if scale == "htk_mel":
        matrix[0] = 0.0  # tf.signal leaves out the constant component.
    if norm == "slaney":
        matrix *= 2.0 / (hertz[2:] - hertz[:-2])
    return matrix.astype(np.float32)


def dct_matrix(num_inputs, num_outputs, norm="ortho"):
    """Discrete cosine transform of type II, as a matrix.

    Args:
        num_inputs: Length of the vectors that are transformed.
        num_outputs: Number of coefficients kept, from index 0 on.
        norm: `"ortho"` or None as in `scipy.fft.dct`; `"htk"` scales all of
            the coefficients by `sqrt(2 / num_inputs)`, as HTK and `tf.signal`.

    Returns:
        Float32 array `(num_inputs, num_outputs)`.

    >>> dct_matrix(40, 13).shape
    (40, 13)
    """
    angle = np.outer(np.arange(num_inputs) + 0.5, np.arange(num_outputs))
    matrix = 2.0 * np.cos(np.pi / num_inputs * angle)
    if norm is not None:
        matrix *= np.sqrt(0.5 / num_inputs)
    if norm == "ortho":
        matrix[:, 0] *= np.sqrt(0.5)
    return matrix.astype(np.float32)


def frame(x, frame_length, frame_step):
    """Overlapping frames of the last axis; an incomplete last one is dropped.

    Args:
        x: Tensor `(..., samples)`.
        frame_length: Samples.
        frame_step: Samples.

    Returns:
        Tensor `(..., time, frame_length)`.

    >>> frame(tf.range(6), 4, 2).numpy().tolist()
    [[0, 1, 2, 3], [2, 3, 4, 5]]
    """
    return tf.signal.frame(x, frame_length, frame_step)


def power_spectrum(frames, fft_length):
    """Squared magnitude of the Fourier transform of real frames.

    Args:
        frames: Float32 tensor `(..., frame_length)`, windowed.
        fft_length: Samples; shorter frames are padded with zeros.

    Returns:
        Tensor `(..., fft_length // 2 + 1)`.

    >>> power_spectrum(tf.ones((1, 4)), 4).numpy().tolist()
    [[16.0, 0.0, 0.0]]
    """
    spectrum = tf.signal.rfft(frames, [fft_length])
    # Not tf.abs, whose guard against overflow costs more than the FFT.
    real, imaginary = tf.math.real(spectrum), tf.math.imag(spectrum)
    return tf.square(real) + tf.square(imaginary)


def banded_blocks(matrix, num_blocks=4):
    """Splits a banded matrix into column blocks without their zero rows.

    A mel filter covers a few per cent of the spectrum. Multiplying block by
    block skips most of the zeros, and takes about half the time of a product
    with the full matrix.

    Args:
        matrix: Array `(rows, columns)`.
        num_blocks: Number of column blocks.

    Returns:
        List of `(first_row, end_row, block)` for `banded_matmul`.

    >>> [block[:2] for block in banded_blocks(np.eye(4), 2)]
    [(0, 2), (2, 4)]
    """
    blocks = []
    for block in np.array_split(matrix, num_blocks, axis=1):
        if not block.shape[1]:
            continue
        rows = np.flatnonzero(block.any(axis=1))
        first, end = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 1)
        blocks.append((first, end, np.ascontiguousarray(block[first:end])))
    return blocks


def banded_matmul(x, blocks):
    """Product of `x` and a matrix that `banded_blocks` has split.

    Args:
        x: Tensor `(..., rows)`.
        blocks: From `banded_blocks`.

    Returns:
        Tensor `(..., columns)`.

    >>> banded_matmul(tf.ones((1, 2)), banded_blocks(np.eye(2, dtype="f")))
    <tf.Tensor: shape=(1, 2), dtype=float32, numpy=array([[1., 1.]], ...)>
    """
    parts = [tf.matmul(x[..., i:j], block) for i, j, block in blocks]
    return tf.concat(parts, axis=-1)


def deltas(features, order=1, width=9, lengths=None):
    """Deltas: derivatives over time of a polynomial fitted to `width` frames.

    Equal to `librosa.feature.delta` with `mode="interp"`: the degree of the
    polynomial is `order`, so its derivative of that order is a constant; frames
    near either end have the value of the first or last whole window. Clips
    shorter than a window are continued with their last frame.

    Args:
        features: Tensor `(batch, time, features)`.
        order: 1 (first derivative) or 2 (second derivative).
        width: Frames in a window, odd.
        lengths: Frames of each clip, `(batch,)`; None means all.

    Returns:
        Tensor `(batch, time, features)`, in units per frame.

    >>> ramp = tf.reshape(tf.range(9.0), (1, 9, 1))
    >>> [round(v, 4) for v in deltas(ramp).numpy().ravel().tolist()][:3]
    [1.0, 1.0, 1.0]
    """
    half = width // 2
    powers = np.vander(np.arange(-half, half + 1), order + 1, increasing=True)
    # The coefficient of t^order of the least-squares fit, times order!.
    weights = np.linalg.pinv(powers)[order] * order
    time = tf.shape(features)[1]
    ends = tf.fill([tf.shape(features)[0]], time)
    if lengths is not None:
        ends = tf.cast(lengths, time.dtype)
    centres = tf.minimum(tf.range(time)[None], ends[:, None] - 1 - half)
    centres = tf.maximum(centres, half)
    last = tf.maximum(ends, 1)[:, None] - 1
    total = 0.0
    for offset, weight in zip(range(-half, half + 1), weights, strict=True):
        index = tf.minimum(centres + offset, last)
        shifted = tf.gather(features, index, axis=1, batch_dims=1)
        total += np.float32(weight) * shifted
    return total


def valid_lengths(x):
    """Length of each clip, up to its last frame that is not zero.

    This is the padding convention of this library: frames after a clip's end
    are exactly 0 in all features, frames inside are not.

    Args:
        x: Tensor `(batch, time, ...)`.

    Returns:
        Int32 tensor `(batch,)`.

    >>> valid_lengths(tf.constant([[1.0, 0, 2, 0], [0, 0, 0, 0]])).numpy()
    array([3, 0], dtype=int32)
    """
    active = tf.not_equal(x, 0)
    if x.shape.rank > 2:
        active = tf.reduce_any(active, axis=list(range(2, x.shape.rank)))
    positions = tf.range(1, tf.shape(x)[1] + 1)
    return tf.reduce_max(tf.where(active, positions, 0), axis=1)
