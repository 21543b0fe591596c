import io

import pytest

from ser_keras.audio.containers import HEAD
from ser_keras.audio.containers import needs_ffmpeg
from ser_keras.audio.containers import not_audio
from ser_keras.audio.containers import samples_of

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n"


@pytest.mark.parametrize(
    ("content", "what", "advice"),
    [
        (b"\n<!DOCTYPE HTML><p>Sign in", "an HTML page", "Download it again"),
        (b"\xef\xbb\xbf<html>", "an HTML page", "Download it again"),
        (b"<?xml version='1.0'?><Error>", "an XML document", "again"),
        (b'{"error": "quota"}', "a JSON document", "Download it again"),
        (LFS, "a pointer of git-lfs", "git lfs pull a.wav"),
        (
            b"/annex/objects/SHA256E-s9--4d.wav\n",
            "git-annex",
            "annex get a.wav",
        ),
        (b"../.git/annex/objects/a/b/c.wav", "git-annex", "annex get a.wav"),
        (b"outs:\n- md5: 4d7a\n  path: a.wav\n", "DVC", "dvc pull a.wav"),
        (b"PK\x03\x04\x14\x00", "a ZIP archive", "Unpack"),
        (b"\x00\x05\x16\x07\x00\x02", "macOS", "Give the file without"),
        (b"%PDF-1.7", "a PDF document", "recording"),
        (bytes(HEAD), "zeros", "Download or copy it again"),
        ("Grüße".encode(), "a text file, which begins", None),
        (b"#EXTM3U\nfile:///etc/passwd", "a playlist", "names"),
    ],
)
def test_what_is_no_audio_is_called_what_it_is(content, what, advice):
    found = not_audio(content, "a.wav")
    assert what in found.what
    assert advice is None if found.advice is None else advice in found.advice


@pytest.mark.parametrize(
    "content",
    [
        b"RIFF\x00\x00\x00\x00WAVE",
        b"fLaC\x00\x00\x00\x22",
        b"\xff\xfb\x90\x64" * 8,
        bytes(100),  # Raw samples of silence, perhaps.
        b"NIST_1A\n   1024\n" + bytes(50),
    ],
)
def test_what_may_be_audio(content):
    assert not_audio(content) is None


@pytest.mark.parametrize(
    ("head", "demuxer"),
    [
        (b"\x00\x00\x00 ftypM4A ", "mov"),
        (b"\x1aE\xdf\xa3\x9fB", "matroska"),
        (b"#!AMR\n\x3c", "amr"),
        (b"\xff\xf1\x50\x80", "aac"),
        (b"0&\xb2u\x8ef", "asf"),
        (b"OggS" + bytes(24) + b"Speex   1.2", "ogg"),
    ],
)
def test_formats_that_only_ffmpeg_reads(head, demuxer):
    assert needs_ffmpeg(head)[1] == demuxer


def test_formats_that_libsndfile_is_asked_first():
    for head in (b"RIFF", b"OggS", b"\xff\xfb\x90\x64"):
        assert needs_ffmpeg(head) is None
    assert needs_ffmpeg(b"RIFF", tried=True)[1] == "wav"
    assert needs_ffmpeg(b"\xff\xfb\x90\x64", tried=True) is None


@pytest.mark.parametrize("size", range(60))
def test_a_header_that_ends_anywhere(size):
    wav = b"RIFF\x10\0\0\0WAVEfmt \x10\0\0\0" + bytes(16) + b"data\x08\0\0\0"
    for content in (wav, b".snd" + bytes(40), b"FORM\0\0\0\x10AIFF" + wav):
        part = content[:size]
        found = samples_of(io.BytesIO(part), len(part))
        assert found is None or found.present >= 0
