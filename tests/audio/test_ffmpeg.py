import shutil
import stat
import sys

import numpy as np
import pytest
import soundfile

from ser_keras.audio.io import AudioError
from ser_keras.audio.io import load_recording
from ser_keras.audio.io import stream_audio

M4A = b"\0\0\0 ftypM4A \0\0\0\0M4A mp42isom\0\0\0\0"
WEBM = b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01webm"

# A second of a tone for whatever is asked, as the real program writes it.
PROGRAM = """#!{python}
import struct, sys
import numpy as np
assert "-f" in sys.argv and sys.argv[sys.argv.index("-i") + 1][:5] == "file:"
x = 0.5 * np.sin(np.arange(48000) / 40)
head = struct.pack(">4s5I", b".snd", 24, 0xFFFFFFFF, 6, 48000, 1)
sys.stdout.buffer.write(head + x.astype(">f4").tobytes())
"""
FAILS = """#!{python}
import sys
sys.exit("[mov] moov atom not found")
"""


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    """Puts a program in the place of ffmpeg; None for a machine without."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def install(text):
        program = folder / "ffmpeg"
        program.write_text(text.format(python=sys.executable))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    return install


@pytest.mark.parametrize(
    "content", [M4A, WEBM, b"#!AMR\n\x3c", b"\xff\xf1\x50"]
)
def test_other_formats_are_decoded_by_ffmpeg(tmp_path, ffmpeg, content):
    ffmpeg(PROGRAM)
    path = tmp_path / "voice.wav"  # Whatever it is called.
    path.write_bytes(content)
    recording = load_recording(path, 16000)
    assert recording.waveform.shape == (16000,)
    of_bytes = load_recording(content, 16000)
    np.testing.assert_array_equal(recording.waveform, of_bytes.waveform)
    assert sum(map(len, stream_audio(path, 16000))) == 16000


@pytest.mark.parametrize("content", [M4A, WEBM])
def test_without_ffmpeg_the_command_is_named(tmp_path, ffmpeg, content):
    path = tmp_path / "voice.m4a"
    path.write_bytes(content)
    with pytest.raises(AudioError) as error:
        load_recording(path, 16000)
    assert f"ffmpeg -i {path} recording.wav" in error.value.advice
    assert "not installed" in error.value.found
    with pytest.raises(AudioError, match="ffmpeg -i FILE"):
        load_recording(content, 16000)


def test_what_ffmpeg_says_is_in_the_error(tmp_path, ffmpeg):
    ffmpeg(FAILS)
    path = tmp_path / "voice.m4a"
    path.write_bytes(M4A)
    with pytest.raises(AudioError, match="moov atom not found"):
        load_recording(path, 16000)


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg here")
def test_the_real_one(tmp_path):
    import subprocess

    tone = 0.5 * np.sin(np.arange(48000) / 40)
    soundfile.write(tmp_path / "a.wav", tone, 48000)
    for name in ("a.m4a", "a.webm", "a.wma"):
        subprocess.run(
            [
                "ffmpeg",
                "-v",
                "error",
                "-i",
                tmp_path / "a.wav",
                tmp_path / name,
            ],
            check=True,
        )
        found = load_recording(tmp_path / name, 48000).waveform
        assert abs(len(found) - 48000) < 5000
        assert 0.3 < found.std() < 0.4
