import io
import struct

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from ser_keras.export.saved_model.wav_graph import MAX_CHUNKS
from ser_keras.export.saved_model.wav_graph import decode_wav


@pytest.fixture(scope="module")
def decode():
    function = tf.function(
        lambda audio: decode_wav(audio, 16000, 32000), autograph=False
    ).get_concrete_function(tf.TensorSpec((None,), tf.string))
    return lambda files: [x.numpy() for x in function(tf.constant(files))]


def wav(clip, rate=16000, **options):
    file = io.BytesIO()
    options = {"subtype": "PCM_16", "format": "WAV"} | options
    soundfile.write(file, clip, rate, **options)
    return file.getvalue()


def chunk(name, content):
    padding = b"\0" * (len(content) % 2)
    return name + struct.pack("<I", len(content)) + content + padding


def with_chunks(file, *before_data):
    """A canonical file with further chunks between format and samples."""
    return b"".join([file[:36], *before_data, file[36:]])


def noise(*shape):
    return np.random.default_rng(0).uniform(-1, 1, shape)


def test_equal_to_libsndfile(decode):
    files = [
        wav(noise(16000)),
        wav(noise(7001)),
        wav(noise(4000, 2)),
        wav(noise(3000), format="WAVEX"),
        with_chunks(
            wav(noise(500)), chunk(b"LIST", b"odd"), chunk(b"none", b"")
        ),
        wav(noise(300)) + b"after the samples",
    ]
    # What ffmpeg writes into a pipe: no length is known.
    piped = wav(noise(900))
    files.append(piped[:40] + b"\xff\xff\xff\xff" + piped[44:])
    waveform, lengths, fine, errors = decode(files)
    assert errors.tolist() == [b""] * len(files)
    assert fine.all()
    for file, row, length in zip(files[:-1], waveform, lengths, strict=False):
        expected, _ = soundfile.read(
            io.BytesIO(file), dtype="float32", always_2d=True
        )
        np.testing.assert_array_equal(row[:length], expected.mean(1))
        assert not row[length:].any()
    expected, _ = soundfile.read(io.BytesIO(piped), dtype="float32")
    np.testing.assert_array_equal(waveform[-1, :900], expected)
    assert lengths[-1] == 900


GOOD = wav(noise(1000))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (b"", "empty: 0 bytes"),
        (b"RIFF", "not a WAV file"),
        (b"fLaC" + b"\0" * 100, "not a WAV file"),
        (GOOD[:12], "no format or no data"),
        (GOOD[:30], "no format or no data"),
        (GOOD[:12] + GOOD[36:], "no format or no data"),
        (GOOD[:36], "no format or no data"),
        (
            with_chunks(GOOD, *[chunk(b"junk", b"")] * MAX_CHUNKS),
            "no format or no data",
        ),
        (GOOD[:44], "truncated: 2000 bytes of samples promised, 0 there"),
        (GOOD[:-2], "truncated: 2000 bytes of samples promised, 1998 there"),
        (wav(noise(9), 8000), "must have 16000 Hz; received 8000 Hz"),
        (wav(noise(9), subtype="PCM_24"), "received 24 bits of WAV coding 1"),
        (wav(noise(9), subtype="FLOAT"), "received 32 bits of WAV coding 3"),
        (wav(noise(9), subtype="PCM_U8"), "received 8 bits of WAV coding 1"),
        (wav(noise(9), subtype="ULAW"), "must be 16-bit PCM"),
        (wav(noise(9, 3)), "1 or 2 channels; received 3"),
        (wav(np.zeros(0)), "a header, but no samples"),
        (wav(np.zeros(32001)), "longer than 2 s"),
    ],
)
def test_a_bad_file_has_an_error_and_its_neighbours_none(decode, file, message):
    waveform, lengths, fine, errors = decode([GOOD, file, GOOD])
    assert message in errors[1].decode()
    assert lengths.tolist() == [1000, 0, 1000]
    assert fine.tolist() == [True, False, True]
    assert errors[0] == errors[2] == b""
    assert not waveform[1].any()
    np.testing.assert_array_equal(waveform[0], waveform[2])
    assert waveform[0].any()


def test_mutated_files_never_fail_and_never_differ_from_libsndfile(decode):
    rng = np.random.default_rng(0)
    original = np.frombuffer(with_chunks(GOOD, chunk(b"LIST", b"abc")), "u1")
    files = []
    for _ in range(2000):
        file = original.copy()
        where = rng.integers(0, 64, rng.integers(1, 4))
        file[where] = rng.choice([0, 1, 2, 16, 127, 128, 255], len(where))
        files.append(file[: rng.integers(0, len(file) + 1)].tobytes())
        files.append(file.tobytes())
    waveform, lengths, fine, errors = decode(files)
    assert np.isfinite(waveform).all()
    assert ((errors == b"") == fine).all()
    assert (fine == (lengths > 0)).all()
    assert 50 < fine.sum() < 3900
    compared = 0
    for i in np.flatnonzero(fine):
        try:
            theirs, rate = soundfile.read(
                io.BytesIO(files[i]), dtype="float32", always_2d=True
            )
        except (soundfile.LibsndfileError, TypeError):
            continue  # It checks fields that say nothing of the samples.
        assert rate == 16000
        # libsndfile shortens what does not agree with the file's length.
        length = min(len(theirs), lengths[i])
        np.testing.assert_array_equal(
            waveform[i, :length], theirs[:length].mean(1)
        )
        compared += 1
    assert compared > 50
