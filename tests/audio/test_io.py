import pickle
import struct

import numpy as np
import pytest
import scipy.signal
import soundfile

from ser_keras.audio.io import AudioError
from ser_keras.audio.io import fit_length
from ser_keras.audio.io import inspect_audio
from ser_keras.audio.io import load_audio
from ser_keras.audio.io import load_many
from ser_keras.audio.io import load_recording
from ser_keras.audio.io import stream_audio
from ser_keras.audio.io import too_short


def tone(rate, seconds=1.0, hertz=440.0):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(rate * seconds) / rate)


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [
        ("a.wav", "PCM_U8", 1e-2),
        ("a.wav", "PCM_16", 1e-4),
        ("a.wav", "PCM_24", 1e-6),
        ("a.wav", "PCM_32", 1e-6),
        ("a.wav", "FLOAT", 1e-6),
        ("a.flac", "PCM_16", 1e-4),
        ("a.ogg", "VORBIS", 5e-2),
        ("a.mp3", "MPEG_LAYER_III", 5e-2),
    ],
)
def test_formats(tmp_path, name, subtype, tolerance):
    x = tone(16000)
    soundfile.write(tmp_path / name, x, 16000, subtype)
    y = load_audio(tmp_path / name, 16000)
    assert y.dtype == np.float32
    assert y.ndim == 1
    middle = slice(2000, 14000)  # Lossy coders ring at the ends.
    np.testing.assert_allclose(y[: len(x)][middle], x[middle], atol=tolerance)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_stereo_at_other_rates(tmp_path, rate):
    x = tone(rate)
    soundfile.write(tmp_path / "a.wav", np.stack([x, 0.5 * x], 1), rate)
    y = load_audio(tmp_path / "a.wav", 16000)
    expected = 0.75 * tone(16000)
    assert len(y) == len(expected)
    np.testing.assert_allclose(y[500:-500], expected[500:-500], atol=1e-3)


def test_resampling_is_band_limited(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(48000, hertz=11000.0), 48000)
    y = load_audio(tmp_path / "a.wav", 16000)
    _, spectrum = scipy.signal.welch(y[500:-500], 16000)
    assert spectrum.max() < 1e-8  # Decimation would put it at 5 kHz.


def test_stretch(tmp_path):
    x = tone(16000)
    soundfile.write(tmp_path / "a.wav", x, 16000, "FLOAT")
    y = load_audio(tmp_path / "a.wav", 16000, start=0.25, end=0.5)
    np.testing.assert_allclose(y, x[4000:8000], atol=1e-6)
    late = load_audio(tmp_path / "a.wav", 16000, start=0.5, end=1.02)
    assert len(late) == 8000
    for start, end in ((0.5, 0.5), (-1.0, None), (2.0, None), (0.0, 1.5)):
        with pytest.raises(AudioError, match="lasts 1.000 s"):
            load_audio(tmp_path / "a.wav", 16000, start, end)


def write(path, samples, rate=16000, subtype="FLOAT"):
    soundfile.write(path, samples, rate, subtype)
    return path


def bad_file(kind, folder):
    path = folder / f"{kind}.wav"
    x = tone(16000)
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "zero_length":
        write(path, x[:0])
    elif kind == "silent":
        write(path, 0 * x)
    elif kind == "nan":
        write(path, np.where(np.arange(16000) == 7, np.nan, x))
    elif kind == "infinite":
        write(path, np.where(np.arange(16000) == 7, np.inf, x))
    elif kind == "text":
        path.write_bytes(b"this is not audio" * 100)
    elif kind == "folder":
        path.mkdir()
    elif kind == "truncated":
        write(path, x, subtype="PCM_16")
        path.write_bytes(path.read_bytes()[:20000])
    elif kind == "truncated_flac":
        path = path.with_suffix(".flac")
        noise = np.random.default_rng(0).normal(0, 0.1, 16000)
        write(path, noise, subtype="PCM_16")
        path.write_bytes(path.read_bytes()[:12000])
    return path


BAD = {
    "missing": "no such file",
    "empty": "empty file",
    "zero_length": "no samples",
    "silent": "silent",
    "nan": "1 of 16000 samples are NaN",
    "infinite": "1 of 16000 samples are NaN or infinite",
    "text": "not audio",
    "folder": "a folder, not a file",
    "truncated": "truncated: .* promises 1.000 s, only 0.62[0-9] s are there",
    "truncated_flac": "truncated|cannot be decoded",
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_have_one_clear_error(tmp_path, kind):
    path = bad_file(kind, tmp_path)
    with pytest.raises(AudioError, match=BAD[kind]) as raised:
        load_audio(path, 16000)
    assert str(path) in str(raised.value)
    assert raised.value.advice in str(raised.value)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


@pytest.mark.parametrize(
    "kind", ["missing", "empty", "zero_length", "text", "folder", "truncated"]
)
def test_inspection_finds_what_the_header_tells(tmp_path, kind):
    with pytest.raises(AudioError, match=BAD[kind]):
        inspect_audio(bad_file(kind, tmp_path))


def test_inspect(tmp_path):
    info = inspect_audio(write(tmp_path / "a.wav", tone(48000), 48000))
    assert (info.sample_rate, info.channels, info.frames) == (48000, 1, 48000)
    assert info.duration == 1.0


def with_length(path, length):
    """Overwrites what a WAV file's header says of its samples, in bytes."""
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", length % 2**32)
    path.write_bytes(bytes(content))
    return path


def both(path, **options):
    """A file read by its name, by its bytes and in blocks."""
    recording = load_recording(path, 16000, **options)
    of_bytes = load_recording(path.read_bytes(), 16000, **options)
    np.testing.assert_array_equal(recording.waveform, of_bytes.waveform)
    assert recording.info == of_bytes.info
    blocks = np.concatenate(list(stream_audio(path, 16000, 0.3)))
    np.testing.assert_array_equal(recording.waveform, blocks)
    assert inspect_audio(path) == recording.info
    assert recording.info.frames == len(blocks)
    return recording


@pytest.mark.parametrize(
    "length",
    [
        0,
        0xFFFFFFFF,
        0x7FFFF000,  # SoX.
        0x80000000,
        0x7FFFFFFF,
        0x7FFFFFFF - 36,
        0xFFFFFFFF - 36,
        -44,
    ],
)
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ULAW"])
def test_wav_of_unknown_length_is_read(tmp_path, length, subtype):
    path = write(tmp_path / "a.wav", tone(16000), subtype=subtype)
    expected = load_audio(path, 16000)
    before = with_length(path, length).read_bytes()
    recording = both(path)
    np.testing.assert_array_equal(recording.waveform, expected)
    assert "does not say how long it is" in recording.info.note
    assert path.read_bytes() == before


@pytest.mark.parametrize("surplus", [1, 2, 36, 44, 1000])
def test_wav_that_ends_a_little_early_is_read(tmp_path, surplus):
    path = write(tmp_path / "a.wav", tone(16000), subtype="PCM_16")
    expected = load_audio(path, 16000)
    with_length(path, 32000 + surplus)
    recording = both(path)
    np.testing.assert_array_equal(recording.waveform, expected)
    assert "a little earlier" in recording.info.note
    with pytest.raises(AudioError, match=r"promises 1\.1"):
        load_audio(with_length(path, 36000), 16000)


def test_one_byte_missing(tmp_path):
    path = write(tmp_path / "a.wav", tone(16000), subtype="PCM_16")
    path.write_bytes(path.read_bytes()[:-1])
    assert len(both(path).waveform) == 15999


def test_wav_without_samples_before_other_chunks(tmp_path):
    path = write(tmp_path / "a.wav", tone(16000)[:0], subtype="PCM_16")
    with open(path, "ab") as file:
        file.write(b"LIST\x04\0\0\0INFO")
    with pytest.raises(AudioError, match="no samples"):
        load_audio(path, 16000)


@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        ("a.wav", "GSM610"),
        ("a.wav", "G721_32"),
        ("a.wav", "NMS_ADPCM_16"),
        ("a.au", "G721_32"),
        ("a.wav", "IMA_ADPCM"),
    ],
)
def test_codecs_that_cannot_seek(tmp_path, name, subtype):
    soundfile.write(tmp_path / name, tone(16000), 16000, subtype)
    whole = both(tmp_path / name).waveform
    assert len(whole) >= 16000
    np.testing.assert_allclose(
        whole[1000:15000], tone(16000)[1000:15000], atol=0.1
    )
    part = load_audio(tmp_path / name, 16000, start=0.25, end=0.5)
    np.testing.assert_array_equal(part, whole[4000:8000])


def test_flac_of_unknown_length(tmp_path):
    path = write(tmp_path / "a.flac", tone(16000), subtype="PCM_16")
    expected = load_audio(path, 16000)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # The 36 bits of the number of samples.
    content[22:26] = bytes(4)
    path.write_bytes(bytes(content))
    recording = both(path)
    np.testing.assert_array_equal(recording.waveform, expected)
    assert "does not say how long it is" in recording.info.note
    part = load_audio(path, 16000, start=0.25, end=0.5)
    np.testing.assert_array_equal(part, expected[4000:8000])


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.au", "a.rf64"])
def test_what_is_cut_short_is_said_so(tmp_path, name):
    x = tone(16000)
    kind = "RF64" if name.endswith("64") else None
    soundfile.write(tmp_path / name, x, 16000, "PCM_16", format=kind)
    both(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[:20000])
    with pytest.raises(AudioError, match=r"promises 1\.00. s, only 0\.6"):
        inspect_audio(tmp_path / name)


@pytest.mark.parametrize("unknown", [0, 0xFFFFFFFF])
def test_au_of_unknown_length(tmp_path, unknown):
    path = write(tmp_path / "a.au", tone(16000), subtype="PCM_16")
    expected = load_audio(path, 16000)
    content = bytearray(path.read_bytes())
    content[8:12] = struct.pack(">I", unknown)
    path.write_bytes(bytes(content))
    np.testing.assert_array_equal(both(path).waveform, expected)


def test_channels_that_cancel_each_other_out(tmp_path):
    x = tone(16000)
    soundfile.write(tmp_path / "a.wav", np.stack([x, -x], 1), 16000)
    with pytest.raises(AudioError, match="2 channels, which cancel") as error:
        load_audio(tmp_path / "a.wav", 16000)
    assert "are 0" not in str(error.value)


@pytest.mark.parametrize("rate", [1, 3_000_000_000])
def test_a_rate_that_no_recording_has(tmp_path, rate):
    path = write(tmp_path / "a.wav", tone(16000), subtype="PCM_16")
    content = bytearray(path.read_bytes())
    content[24:28] = struct.pack("<I", rate)
    path.write_bytes(bytes(content))
    with pytest.raises(AudioError):
        load_audio(path, 16000)


def test_files_of_version_control_that_are_not_there(tmp_path):
    (tmp_path / "a.wav").symlink_to("../.git/annex/objects/x/y/SHA256E-s1.wav")
    with pytest.raises(AudioError, match="git annex get .*a.wav"):
        load_audio(tmp_path / "a.wav", 16000)
    (tmp_path / "b.wav").symlink_to("gone.wav")
    with pytest.raises(AudioError, match="a link to gone.wav"):
        load_audio(tmp_path / "b.wav", 16000)
    (tmp_path / "c.wav.dvc").write_text("outs:\n- md5: 4d7a\n")
    with pytest.raises(AudioError, match="dvc pull .*c.wav"):
        load_audio(tmp_path / "c.wav", 16000)


def test_a_note_is_written_once(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("ser_keras.audio.io._SAID", set())
    for name in "ab":
        path = write(tmp_path / f"{name}.wav", tone(16000), subtype="PCM_16")
        load_audio(with_length(path, 0x7FFFF000), 16000)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "a.wav: its header does not say" in caplog.text


def test_too_short_a_clip_is_said_in_milliseconds():
    error = too_short("a.wav", 100, 16000, 1024)
    assert error.found == "6 ms long; the model needs 64 ms"


def test_load_many(tmp_path):
    good = write(tmp_path / "good.wav", tone(16000), subtype="PCM_16")
    paths = [good, bad_file("nan", tmp_path), good, tmp_path / "none.wav"]
    with pytest.raises(AudioError, match="nan.wav"):
        load_many(paths, 16000)
    waveforms, errors = load_many(paths, 8000, on_error="skip")
    assert [x is None for x in waveforms] == [False, True, False, True]
    assert list(errors) == [1, 3]
    assert "none.wav" in str(errors[3])
    np.testing.assert_array_equal(waveforms[0], load_audio(good, 8000))
    part, _ = load_many([good, good], 16000, [0.5, None], [0.75, None])
    assert [len(x) for x in part] == [4000, 16000]
    with pytest.raises(ValueError, match="on_error"):
        load_many(paths, 16000, on_error="ignore")


def test_fit_length():
    x = np.arange(1, 6)
    assert fit_length(x, 3).tolist() == [2, 3, 4]
    assert fit_length(x, 3, "start").tolist() == [1, 2, 3]
    assert fit_length(x, 8).tolist() == [0, 1, 2, 3, 4, 5, 0, 0]
    assert fit_length(x, 8, "start").tolist() == [1, 2, 3, 4, 5, 0, 0, 0]
    assert fit_length(x[:, None], 7).shape == (7, 1)
    assert fit_length(x, 5, "random").tolist() == x.tolist()
    cuts = {tuple(fit_length(x, 3, "random", s)) for s in range(50)}
    assert cuts == {(1, 2, 3), (2, 3, 4), (3, 4, 5)}
    with pytest.raises(ValueError, match="mode='end'"):
        fit_length(x, 3, "end")


@pytest.mark.parametrize("rate", [16000, 44100, 8000])
@pytest.mark.parametrize("seconds", [0.01, 0.3, 5.0])
def test_blocks_are_the_file(tmp_path, rate, seconds):
    x = tone(rate, 1.5)
    soundfile.write(tmp_path / "a.wav", np.stack([x, 0.5 * x], 1), rate)
    blocks = list(stream_audio(tmp_path / "a.wav", 16000, seconds))
    assert all(len(b) and b.dtype == np.float32 for b in blocks)
    assert max(map(len, blocks)) <= round(seconds * 16000) + 16000
    expected = load_audio(tmp_path / "a.wav", 16000)
    joined = np.concatenate(blocks)
    assert abs(len(joined) - len(expected)) <= 1
    size = min(len(joined), len(expected))
    np.testing.assert_allclose(joined[:size], expected[:size], atol=1e-4)
    # Away from the ends, both are the tone itself.
    middle = slice(500, size - 500)
    theirs = 0.75 * tone(16000, 1.5)[middle]
    np.testing.assert_allclose(joined[middle], theirs, atol=1e-3)


def test_blocks_of_bad_files(tmp_path):
    with pytest.raises(AudioError, match="no such file"):
        list(stream_audio(tmp_path / "a.wav", 16000))
    (tmp_path / "a.wav").write_text("hello")
    with pytest.raises(AudioError, match="not audio"):
        list(stream_audio(tmp_path / "a.wav", 16000))
