"""Decoding by the program ffmpeg, where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from typing import BinaryIO

_SECONDS = 600  # For one file.


class FFmpegError(ValueError):
    """A file that ffmpeg does not decode, or for which there is no ffmpeg.

    Args:
        found: What is wrong.
        advice: What to do about it.
    """

    def __init__(self, found: str, advice: str):
        super().__init__(f"{found}. {advice}")
        self.found, self.advice = found, advice


def decode_by_ffmpeg(
    path: str | os.PathLike[str], name: str, demuxer: str, shown: str = "FILE"
) -> BinaryIO:
    """Decodes the first audio stream of a file.

    Args:
        path: The file.
        name: Of its format, for messages.
        demuxer: ffmpeg's name of the format.
        shown: The file's name in advice.

    Returns:
        An open file without a name: AU with samples of float32, at the rate
        and with the channels of the stream.

    Raises:
        FFmpegError: It cannot.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise FFmpegError(
            f"{name}, which only the program ffmpeg decodes, and it is not "
            "installed",
            "Install ffmpeg, or convert the file where it is: "
            f"ffmpeg -i {shown} recording.wav",
        )
    # A file, as a pipe would have to fit into memory.
    decoded = tempfile.TemporaryFile()
    try:
        done = subprocess.run(
            [program, "-nostdin", "-v", "error", "-protocol_whitelist"]
            + ["file,pipe", "-f", demuxer, "-i", f"file:{os.fspath(path)}"]
            + ["-map", "0:a:0", "-c:a", "pcm_f32be", "-f", "au", "pipe:1"],
            stdout=decoded,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        decoded.close()
        raise FFmpegError(
            f"{name}, which ffmpeg did not decode within {_SECONDS} s",
            "Convert it to WAV first",
        ) from None
    if done.returncode or not os.fstat(decoded.fileno()).st_size:
        decoded.close()
        said = done.stderr.decode("utf-8", "replace").strip().split("\n")[-1]
        raise FFmpegError(
            f"{name}, which ffmpeg cannot decode ({said[:200]})",
            "It may be cut short: download or copy it again",
        )
    decoded.seek(0)
    return decoded
