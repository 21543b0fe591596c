"""MatmulSpectrum: power spectra by matrix products, for LiteRT.

LiteRT's FFT works in float64 and takes powers of two only, while matrix
products are its fastest operations.
"""

import numpy as np
import tensorflow as tf


class MatmulSpectrum:
    """Power spectrum by two short Fourier transforms, each a matrix product.

    With `fft_length = P Q`, sample `n = Q a + b` and frequency `k = c + P d`,

        X[c + P d] = sum_b exp(-2i pi b d / Q) exp(-2i pi b c / (P Q))
                     sum_a exp(-2i pi a c / P) x[Q a + b].

    For real samples `|X[k]| = |X[fft_length - k]|`, so that `c` up to `P / 2`
    is enough. One matrix for the whole transform would have 4 MB for 1024
    samples; these have 13 kB. Frequencies are in the order of `bins`, not
    sorted, which would cost time: permute the rows of the mel matrix instead
    (`permute_rows`).

    Args:
        fft_length: Samples, even. Fastest where it is a square.

    Attributes:
        bins: Int array `(outputs,)`: the FFT bin of each output, in chunks of
            about `P / 2` that are alternately rising and falling. A few bins
            occur twice.
        order: Int array `(fft_length // 2 + 1,)`: the outputs by frequency.

    References:
        Cooley and Tukey, "An algorithm for the machine calculation of complex
        Fourier series", Mathematics of Computation 19 (1965), equations 6-8.

    >>> spectrum = MatmulSpectrum(4)
    >>> spectrum.bins.tolist()
    [0, 1, 2, 1]
    >>> spectrum(tf.ones((1, 1, 4))).numpy().round(3).tolist()
    [[[16.0, 0.0, 0.0, 0.0]]]
    """

    def __init__(self, fft_length):
        self.fft_length = fft_length
        self.first, self.second = first, second = _factors(fft_length)
        a, b = np.arange(first), np.arange(second)
        c = np.arange(first // 2 + 1)
        # d = 0, Q-1, 1, Q-2, ... keeps neighbouring frequencies together.
        d = np.stack([b, b[::-1]], axis=1).ravel()[:second]
        bins = (c + first * d[:, None]).ravel()
        self.bins = np.minimum(bins, fft_length - bins)
        self.order = np.unique(self.bins, return_index=True)[1]
        inner, outer = _roots(a, c, first), _roots(b, d, second)
        self._inner = _float32(np.hstack([inner.real, inner.imag]))
        self._twiddle = _roots(c, b, fft_length)
        self._outer = _float32(np.hstack([outer.real, outer.imag]))

    def __call__(self, frames):
        """Computes the spectra of frames.

        Args:
            frames: Float32 tensor `(batch, time, frame_length)`, windowed.

        Returns:
            Tensor `(batch, time, outputs)`: powers of the frequencies `bins`.
        """
        missing = self.fft_length - frames.shape[-1]
        x = tf.pad(frames, [[0, 0], [0, 0], [0, missing]])
        rows = len(self._twiddle)
        x = tf.reshape(x, (-1, self.first, self.second))
        x = tf.matmul(tf.transpose(x, (0, 2, 1)), self._inner)
        x = tf.transpose(x, (0, 2, 1))
        real, imaginary = x[:, :rows], x[:, rows:]
        cos, sin = _float32(self._twiddle.real), _float32(self._twiddle.imag)
        x = tf.concat(
            [real * cos - imaginary * sin, real * sin + imaginary * cos], 1
        )
        x = tf.matmul(x, self._outer)
        q = self.second
        real = x[:, :rows, :q] - x[:, rows:, q:]
        imaginary = x[:, :rows, q:] + x[:, rows:, :q]
        x = tf.square(real) + tf.square(imaginary)
        x = tf.transpose(x, (0, 2, 1))
        shape = tf.concat([tf.shape(frames)[:2], [len(self.bins)]], 0)
        return tf.reshape(x, shape)

    def permute_rows(self, matrix):
        """Rows of a matrix over FFT bins, permuted to the order of `bins`.

        Args:
            matrix: Array `(fft_length // 2 + 1, columns)`.

        Returns:
            Array `(outputs, columns)`. Where a bin occurs twice, its second
            row is zero, so that a product with a spectrum does not change.
        """
        rows = np.zeros((len(self.bins), matrix.shape[1]), matrix.dtype)
        rows[self.order] = matrix
        return rows


def _factors(length):
    """The two factors that are closest to each other, the larger one first."""
    small = max(f for f in range(1, int(length**0.5) + 1) if length % f == 0)
    return length // small, small


def _roots(a, b, length):
    return np.exp(-2j * np.pi / length * np.outer(a, b))


def _float32(x):
    return np.ascontiguousarray(x, np.float32)
