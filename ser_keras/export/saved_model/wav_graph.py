"""WAV files decoded in the graph, each with an error of its own.

`tf.audio.decode_wav` takes one file at a time, and one that it cannot read
fails the whole batch: on a server that gathers requests, everybody's.
"""

import tensorflow as tf

# A file may name as many chunks as it has bytes; reading on would keep a
# server busy. Real ones have their samples in one of the first few.
MAX_CHUNKS = 64
# Programs that write into a pipe promise about as much as can be said.
_UNKNOWN_LENGTH = 0x7FFFFF00
_PCM, _EXTENSIBLE = 1, 0xFFFE


def decode_wav(audio, sample_rate, max_samples):
    """Decodes 16-bit PCM WAV files of a batch; never fails.

    Two channels are averaged. There is no resampling.

    Args:
        audio: Strings, `(batch,)`: whole files.
        sample_rate: Hz that a file must have.
        max_samples: Samples that it may have at most.

    Returns:
        `(waveform, lengths, fine, error)`: float32 `(batch, samples)` in
        [-1, 1), zero beyond a clip's end; int32 `(batch,)`, samples of each
        clip, 0 of a bad one; booleans and strings `(batch,)`: whether a file
        is good, and what is wrong with it, empty if nothing is.

    >>> decode_wav(tf.constant([b"RIFF", b""]), 16000, 16000)[3].numpy()
    array([b'not a WAV file', b'empty: 0 bytes'], dtype=object)
    """
    size = tf.strings.length(audio)
    riff = tf.equal(_bytes(audio, size, 0, 4), "RIFF")
    riff &= tf.equal(_bytes(audio, size, 8, 4), "WAVE")
    layout, data, promised = _find_chunks(audio, size)
    fields = _numbers(audio, size, layout + 8, 26, tf.uint16)
    coding, channels, low, high = (fields[:, i] for i in range(4))
    coding = tf.where(coding == _EXTENSIBLE, fields[:, 12], coding)
    # Below 2^31 whatever a header says.
    rate = low + 65536 * tf.minimum(high, 0x7FFF)
    bits = fields[:, 7]
    present = tf.maximum(size - (data + 8), 0)
    unknown = (promised < 0) | (promised >= _UNKNOWN_LENGTH)
    used = tf.where(unknown, present, tf.minimum(promised, present))
    frame = 2 * tf.maximum(channels, 1)
    length = used // frame
    number = tf.strings.as_string
    checks = (
        (size == 0, "empty: 0 bytes"),
        (~riff, "not a WAV file"),
        (
            (layout < 0) | (data < 0),
            f"no format or no data in its first {MAX_CHUNKS} chunks",
        ),
        (
            (coding != _PCM) | (bits != 16),
            [
                "must be 16-bit PCM; received ",
                number(bits),
                " bits of WAV coding ",
                number(coding),
            ],
        ),
        (
            rate != sample_rate,
            [f"must have {sample_rate} Hz; received ", number(rate), " Hz"],
        ),
        (
            (channels != 1) & (channels != 2),
            ["must have 1 or 2 channels; received ", number(channels)],
        ),
        (
            ~unknown & ((promised > present) | (promised % frame != 0)),
            [
                "truncated: ",
                number(promised),
                " bytes of samples promised, ",
                number(present),
                " there",
            ],
        ),
        (length == 0, "a header, but no samples"),
        (length > max_samples, too_long(max_samples, sample_rate)),
    )
    fine, error = verdict(checks)
    length = tf.where(fine, length, 0)
    stereo = channels == 2
    samples = _samples(audio, tf.where(fine, data + 8, 0), length, stereo)
    return samples, length, fine, error


def verdict(checks):
    """Which clips pass all checks, and the first message of each other one.

    Args:
        checks: Pairs of booleans `(batch,)`, true for what is wrong, and a
            message: a string, or a list of strings and of tensors `(batch,)`
            to be joined.

    Returns:
        `(fine, error)`: booleans and strings, both `(batch,)`. The former do
        not need the latter: a runtime without strings can leave them out.
    """
    fine = ~tf.reduce_any(tf.stack([wrong for wrong, _ in checks]), axis=0)
    error = tf.fill(tf.shape(fine), "")
    for wrong, message in reversed(checks):
        if isinstance(message, list):
            message = tf.strings.join(message)
        error = tf.where(wrong, message, error)
    return fine, error


def too_long(max_samples, sample_rate):
    """What is said of a clip of more samples."""
    return f"longer than {max_samples / sample_rate:g} s"


def _find_chunks(audio, size):
    """Where each file's format and data are, -1 if not found; data's length."""
    nowhere = tf.fill(tf.shape(size), -1)
    # The twelve bytes before are "RIFF", the file's length and "WAVE".
    start = tf.minimum(size, 12)

    def going_on(number, position, layout, data, promised):
        searching = (data < 0) & (position + 8 <= size)
        return (number < MAX_CHUNKS) & tf.reduce_any(searching)

    def next_chunk(number, position, layout, data, promised):
        head = _numbers(audio, size, position, 8, tf.int32)
        name, length = head[:, 0], head[:, 1]
        searching = (data < 0) & (position + 8 <= size)
        # The first of each kind: what follows the data may be anything.
        is_layout = searching & (layout < 0) & (name == _little_endian("fmt "))
        is_data = searching & (name == _little_endian("data"))
        layout = tf.where(is_layout, position, layout)
        data = tf.where(is_data, position, data)
        promised = tf.where(is_data, length, promised)
        rest = tf.maximum(size - position - 8, 0)
        # Lengths from 2^31 on are negative here, and beyond the end anyway.
        length = tf.where((length < 0) | (length > rest), rest, length)
        position = tf.minimum(position + 8 + length + length % 2, size)
        return number + 1, position, layout, data, promised

    _, _, layout, data, promised = tf.while_loop(
        going_on,
        next_chunk,
        (tf.constant(0), start, nowhere, nowhere, tf.zeros_like(size)),
    )
    return layout, data, promised


def _samples(audio, start, length, stereo):
    """Float32 `(batch, samples)` of 16-bit samples; see `decode_wav`."""
    count = tf.where(stereo, 2 * length, length)
    width = tf.maximum(tf.reduce_max(count), 2)
    width += width % 2
    samples = tf.strings.substr(audio, start, 2 * count)
    samples = tf.io.decode_raw(samples, tf.int16, fixed_length=2 * width)
    samples = tf.cast(samples, tf.float32) / 32768.0

    def averaged():
        mean = (samples[:, ::2] + samples[:, 1::2]) / 2.0
        mean = tf.pad(mean, [[0, 0], [0, width // 2]])
        return tf.where(stereo[:, None], mean, samples)

    samples = tf.cond(tf.reduce_any(stereo), averaged, lambda: samples)
    return samples[:, : tf.maximum(tf.reduce_max(length), 1)]


def _bytes(audio, size, position, count):
    """A stretch of each file, shorter where the file ends."""
    # Both must have a number for each file.
    position = tf.minimum(tf.zeros_like(size) + position, size)
    return tf.strings.substr(audio, position, tf.fill(tf.shape(size), count))


def _numbers(audio, size, position, count, dtype):
    """The same as little-endian integers, 0 where the file has ended."""
    position = tf.maximum(position, 0)
    piece = _bytes(audio, size, position, count)
    numbers = tf.io.decode_raw(piece, dtype, fixed_length=count)
    return tf.cast(numbers, tf.int32)


def _little_endian(name):
    return int.from_bytes(name.encode("ascii"), "little")
