"""What an audio file is by its first bytes, and what its header promises."""

from __future__ import annotations

import dataclasses
import json
import struct
from typing import BinaryIO

#: Bytes of a file's head that tell what it is.
HEAD = 4096
# Programs that write to a pipe put in one of many lengths near 2^31 or 2^32.
_UNKNOWN = 0x7F000000
_LITTLE = 0.05  # Seconds at the end that may be missing.

NO_LENGTH = (
    "its header does not say how long it is, as of a file that was written to "
    "a pipe: it was read to its end"
)
ENDS_EARLY = (
    "it ends a little earlier than its header says: it was read to its end"
)

_DOWNLOAD = "Download it again: a server sent this in place of the file"
_UNPACK = "Unpack it, and give the files in it"
_GIVE = "Give the recording itself"

# First bytes, what they are of, and what to do about it.
_NOT_AUDIO = (
    (b"%PDF", "a PDF document", _GIVE),
    (b"\x89PNG", "a PNG picture", _GIVE),
    (b"\xff\xd8\xff", "a JPEG picture", _GIVE),
    (b"GIF8", "a GIF picture", _GIVE),
    (b"PK\x03\x04", "a ZIP archive", _UNPACK),
    (b"\x1f\x8b", "a gzip archive", _UNPACK),
    (b"BZh", "a bzip2 archive", _UNPACK),
    (b"\xfd7zXZ", "an xz archive", _UNPACK),
    (b"7z\xbc\xaf", "a 7-Zip archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"\x93NUMPY", "a NumPy array", "Write it as a WAV file first"),
    (b"MThd", "a MIDI file, which has notes and no sound", _GIVE),
    (
        b"\x00\x05\x16\x07",
        "what macOS keeps beside a file, whose name begins with `._`",
        "Give the file without these two characters, and delete this one",
    ),
)

_POINTERS = (
    ("version https://git-lfs", "git-lfs", "git lfs pull"),
    ("version https://hawser", "git-lfs", "git lfs pull"),
    ("/annex/objects/", "git-annex", "git annex get"),
    ("annex/objects/", "git-annex", "git annex get"),
    ("outs:\n- md5:", "DVC", "dvc pull"),
    ("md5:", "DVC", "dvc pull"),
)

# First bytes, the name for a person, and ffmpeg's demuxer, which is named so
# that no file is taken for a playlist that has ffmpeg open others.
_BY_FFMPEG = (
    (0, b"\x1aE\xdf\xa3", "WebM or Matroska", "matroska"),
    (0, b"#!AMR", "AMR", "amr"),
    (0, b"0&\xb2u", "Windows Media", "asf"),
    (0, b"FLV", "Flash video", "flv"),
    (0, b".RMF", "RealMedia", "rm"),
    (0, b"MAC ", "Monkey's Audio", "ape"),
    (0, b"wvpk", "WavPack", "wv"),
    (0, b"TTA", "True Audio", "tta"),
    (8, b"AVI ", "AVI video", "avi"),
    (4, b"ftyp", "MPEG-4 (m4a, mp4, 3gp)", "mov"),
    (28, b"Speex", "Ogg Speex", "ogg"),
)
# What libsndfile reads, unless a codec or version of it is unknown to it.
_PERHAPS_BY_FFMPEG = (
    (0, b"RIFF", "WAV of a rare codec", "wav"),
    (0, b"caff", "Core Audio", "caf"),
    (0, b"FORM", "AIFF of a rare codec", "aiff"),
    (0, b".snd", "AU of a rare codec", "au"),
    (0, b"OggS", "Ogg of a rare codec", "ogg"),
    (0, b"fLaC", "FLAC", "flac"),
    (0, b"ID3", "MPEG audio", "mp3"),
)


@dataclasses.dataclass(frozen=True)
class NotAudio:
    """What a file is that is no audio.

    Args:
        what: With its article, such as `"an HTML page"`.
        advice: A sentence that says what to do; None for nothing in particular.
    """

    what: str
    advice: str | None = None


def not_audio(head: bytes, name: str = "FILE") -> NotAudio | None:
    r"""What a file is that is no audio, by its first bytes.

    Args:
        head: First `HEAD` bytes.
        name: Of the file, for the advice.

    Returns:
        `NotAudio`; None of what may be audio.

    >>> not_audio(b"<!DOCTYPE html><title>404</title>").what
    'an HTML page'
    >>> not_audio(b"RIFF\x00\x00\x00\x00WAVE")
    """
    for magic, what, advice in _NOT_AUDIO:
        if head.startswith(magic):
            return NotAudio(what, advice)
    if len(head) == HEAD and not any(head):
        return NotAudio(
            f"{HEAD} zeros and more, as of a download or a copy that was cut "
            "short",
            "Download or copy it again",
        )
    text = _text(head)
    if text is None:
        return None
    for begin, system, command in _POINTERS:
        if text.startswith(begin) or (system == "git-annex" and begin in text):
            return pointer(system, command, name)
    start = text.lstrip().lower()
    if start.startswith(("<!doctype html", "<html", "<head", "<body")):
        return NotAudio("an HTML page", _DOWNLOAD)
    if start.startswith("<"):
        return NotAudio("an XML document", _DOWNLOAD)
    if start.startswith("{"):
        return NotAudio("a JSON document", _DOWNLOAD)
    if start.startswith("#extm3u") or start.startswith("[playlist]"):
        return NotAudio("a playlist", "Give the recordings that it names")
    line = text.strip().split("\n")[0][:40]
    return NotAudio(f"a text file, which begins {json.dumps(line)}")


def pointer(system: str, command: str, name: str) -> NotAudio:
    """What a version-control system puts in the place of a large file."""
    return NotAudio(
        f"a pointer of {system}, which has not fetched the file itself",
        f"Fetch it: {command} {name}".rstrip(),
    )


def needs_ffmpeg(head: bytes, tried: bool = False) -> tuple[str, str] | None:
    """Name and ffmpeg's demuxer of a format that libsndfile does not read.

    Args:
        head: First bytes of the file.
        tried: Whether libsndfile has been tried, and does not read it.

    >>> needs_ffmpeg(b"#!AMR-WB")
    ('AMR', 'amr')
    """
    known = _BY_FFMPEG + (_PERHAPS_BY_FFMPEG if tried else ())
    for offset, magic, name, demuxer in known:
        if head[offset:].startswith(magic):
            return name, demuxer
    # The sync word of AAC, where MPEG's layers would be 1 to 3.
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "AAC", "aac"
    return None


@dataclasses.dataclass(frozen=True)
class Samples:
    """Where a header says how many bytes of samples there are.

    Args:
        promised: Bytes.
        present: Bytes from the first one to the end of the file.
        byte_rate: Bytes in a second, 0 if it is not said.
        length_at: Where `promised` is in the file.
        order: `"<"` or `">"`, in which byte order.
    """

    promised: int
    present: int
    byte_rate: float
    length_at: int = 0
    order: str = "<"

    @property
    def unknown(self) -> bool:
        """Whether the program that wrote the file did not know its length."""
        near = _UNKNOWN <= self.promised <= 0xFFFFFFFF
        return near and self.promised > self.present

    @property
    def missing(self) -> int:
        """Bytes that are promised and not there."""
        return 0 if self.unknown else max(self.promised - self.present, 0)

    @property
    def little(self) -> bool:
        """Whether hardly anything is missing."""
        return self.missing <= max(min(_LITTLE * self.byte_rate, 65536), 4)


def samples_of(file: BinaryIO, size: int) -> Samples | None:
    """What the header of a WAV, RF64, AIFF or AU file promises.

    libsndfile reads what is there, and does not say that it is less.

    Args:
        file: The file, at its start.
        size: Its bytes.

    Returns:
        `Samples`; None of other formats, and where there is no such header.
    """
    head = file.read(12)
    if head[:4] == b".snd" and len(head) == 12:
        return _au(head + file.read(12), size)
    kind = head[:4], head[8:]
    if kind in ((b"RIFF", b"WAVE"), (b"RF64", b"WAVE"), (b"RIFX", b"WAVE")):
        return _wav(file, size, ">" if head[:4] == b"RIFX" else "<")
    if kind in ((b"FORM", b"AIFF"), (b"FORM", b"AIFC")):
        return _aiff(file, size)
    return None


def _wav(file, size, order):
    byte_rate, long = 0.0, None
    while len(header := file.read(8)) == 8:
        name, length = struct.unpack(f"{order}4sI", header)
        if name == b"data":
            at = file.tell()
            if length == 0xFFFFFFFF and long is not None:
                length = long
            if length == 0 and _has_chunks(file, size, order):
                return None  # There are no samples.
            return Samples(length, size - at, byte_rate, at - 4, order)
        start = file.tell()
        body = file.read(min(length, 64))
        if name == b"fmt " and len(body) >= 14:
            byte_rate = struct.unpack_from(f"{order}I", body, 8)[0]
        if name == b"ds64" and len(body) >= 16:
            long = struct.unpack_from(f"{order}Q", body, 8)[0]
        file.seek(min(start + length + length % 2, size))
    return None


def _has_chunks(file, size, order):
    """Whether the rest of the file is chunks, or nothing."""
    while header := file.read(8):
        if len(header) < 8 or not header[:4].isalnum():
            return False
        length = struct.unpack(f"{order}4xI", header)[0]
        end = file.tell() + length
        if end > size:
            return False
        file.seek(min(end + length % 2, size))
    return True


def _aiff(file, size):
    byte_rate = 0.0
    while len(header := file.read(8)) == 8:
        name, length = struct.unpack(">4sI", header)
        start = file.tell()
        if name == b"SSND":
            # With two numbers before the samples.
            return Samples(length, size - start, byte_rate, start - 4, ">")
        body = file.read(min(length, 64))
        if name == b"COMM" and len(body) >= 18:
            channels, bits = struct.unpack(">h4xh", body[:8])
            exponent, mantissa = struct.unpack(">HQ", body[8:18])
            if 16383 <= exponent < 16383 + 32:  # The rate, in 80 bits.
                rate = mantissa * 2.0 ** (exponent - 16446)
                byte_rate = rate * channels * bits / 8
        file.seek(min(start + length + length % 2, size))
    return None


def _au(head, size):
    if len(head) < 24:
        return None
    start, length, encoding, rate, channels = struct.unpack(">5I", head[4:])
    width = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}.get(encoding, 1)
    byte_rate = float(rate * channels * width)
    return Samples(length, max(size - start, 0), byte_rate, 8, ">")


def _text(head):
    """The head as text, if it is printable."""
    head = head.removeprefix(b"\xef\xbb\xbf")
    if not head or b"\0" in head:
        return None
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # Not a character that was cut.
            return None
        text = head[: error.start].decode("utf-8")
    printable = sum(c.isprintable() or c.isspace() for c in text)
    return text if text and printable == len(text) else None
