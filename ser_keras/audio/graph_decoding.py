"""Decoding compressed audio inside a TensorFlow graph, with tensorflow-io.

The last binary of tensorflow-io, of July 2024, works with TensorFlow 2.16 and
not with the later TensorFlow that this package installs. The package itself
uses `load_audio`, which reads the same files without tensorflow-io. This module
is for environments with TensorFlow 2.16 where `tf.data` or a SavedModel is to
decode FLAC, Ogg or MP3 files.
"""

import functools
import warnings

import tensorflow as tf

#: Formats that `decode_in_graph` reads.
FORMATS = ("wav", "flac", "ogg", "mp3")

# Hz, by the two bits of the header; MPEG 2 has half of it, 2.5 a quarter.
_MP3_RATES = (44100, 48000, 32000, 0)


class TensorFlowIOError(ImportError):
    """tensorflow-io is not installed, or not for this TensorFlow."""


@functools.lru_cache(maxsize=1)
def tensorflow_io():
    """Imports tensorflow-io and checks that its native library loads.

    Returns:
        The module `tensorflow_io`.

    Raises:
        TensorFlowIOError: It is not installed, or was built for another
            TensorFlow. The message says what to use instead.
    """
    advice = (
        "Use ser_keras.audio.io.load_audio, which reads the same files and "
        "needs no tensorflow-io; or an environment with tensorflow 2.16 and "
        "tensorflow-io 0.37.1 (make test-tfio sets one up; installing either "
        "beside a later TensorFlow does not help)."
    )
    try:
        with warnings.catch_warnings():
            # Warnings about what does not load; the error below has the cause.
            warnings.simplefilter("ignore")
            import tensorflow_io

            # Any call loads the native library.
            tensorflow_io.audio.resample(tf.zeros((8, 1)), 8, 4)
    except ImportError as error:
        raise TensorFlowIOError(
            f"tensorflow-io is not installed ({error}). {advice}"
        ) from error
    except (AttributeError, NotImplementedError, tf.errors.OpError) as error:
        # The last line has the cause, the first ones the traceback.
        cause = str(error).strip().splitlines()[-1].strip()
        raise TensorFlowIOError(
            "tensorflow-io's native library does not load beside TensorFlow "
            f"{tf.__version__}: {cause}. {advice}"
        ) from error
    return tensorflow_io


def decode_in_graph(content, format, sample_rate):
    """Decodes the bytes of a file as mono float32, in a `tf.function` too.

    Equal to `load_audio` up to rounding, and to frequencies close to half the
    lower sample rate, where the resamplers differ. For 16-bit WAV and FLAC, Ogg
    Vorbis and MP3.

    Args:
        content: Bytes of the file, a scalar string tensor.
        format: One of `FORMATS`.
        sample_rate: Of the result, Hz.

    Returns:
        Float32 tensor `(samples,)` in [-1, 1].

    Raises:
        ValueError: There is no such format.
        TensorFlowIOError: See `tensorflow_io`.
    """
    if format not in FORMATS:
        raise ValueError(
            f"`format` must be one of {FORMATS}. Received: format={format!r}"
        )
    audio = tensorflow_io().audio
    if format == "wav":
        samples, rate = tf.audio.decode_wav(content)
    elif format == "flac":
        rate = _flac_rate(content)
        samples = audio.decode_flac(content, dtype=tf.int16)
        samples = tf.cast(samples, tf.float32) / 32768
    elif format == "ogg":
        rate = _ogg_rate(content)
        samples = audio.decode_vorbis(content)
    else:
        rate = _mp3_rate(content)
        samples = audio.decode_mp3(content)
    return _resample(tf.reduce_mean(samples, axis=1), rate, sample_rate)


def _resample(waveform, rate, wanted):
    # By the spectrum of the whole clip, without delay; tensorflow-io's
    # resampler delays by several samples.
    length = tf.shape(waveform)[0]
    ratio = tf.cast(wanted, tf.float64) / tf.cast(rate, tf.float64)
    count = tf.cast(tf.round(tf.cast(length, tf.float64) * ratio), tf.int32)
    spectrum = tf.signal.rfft(waveform)[: count // 2 + 1]
    # `irfft` pads missing bins with zeros.
    resampled = tf.signal.irfft(spectrum, count[None])
    scale = tf.cast(count, tf.float32) / tf.cast(length, tf.float32)
    return resampled * scale


def _bytes(content, first, count):
    part = tf.strings.substr(content, first, count)
    return tf.cast(tf.io.decode_raw(part, tf.uint8), tf.int32)


def _flac_rate(content):
    # The 20 bits after the frame sizes of the STREAMINFO block.
    high, middle, low = tf.unstack(_bytes(content, 18, 3), num=3)
    return high * 4096 + middle * 16 + low // 16


def _ogg_rate(content):
    # Little-endian, after the page header, "\x01vorbis", version and channels.
    a, b, c, d = tf.unstack(_bytes(content, 40, 4), num=4)
    return a + 256 * (b + 256 * (c + 256 * d))


def _mp3_rate(content):
    # The first frame follows an ID3 tag, whose size has 4 times 7 bits.
    tag = _bytes(content, 0, 10)
    sizes = tf.constant([2**21, 2**14, 2**7, 1])
    is_tag = tf.reduce_all(tag[:3] == [ord(x) for x in "ID3"])
    start = tf.where(is_tag, 10 + tf.reduce_sum(tag[6:] * sizes), 0)
    window = tf.minimum(4096, tf.strings.length(content) - start)
    head = _bytes(content, start, window)
    sync = (head[:-2] == 255) & (head[1:-1] >= 224)
    at = tf.cast(tf.argmax(sync), tf.int32)
    version, index = head[at + 1] // 8 % 4, head[at + 2] // 4 % 4
    divisor = tf.gather([4, 1, 2, 1], version)
    return tf.gather(_MP3_RATES, index) // divisor
