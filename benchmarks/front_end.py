"""How many seconds of speech the front end takes in a second.

Every contender computes 40 MFCC from 1024/256-sample frames and 128 mel bands
of the same 3-s clips. They take turns in one process, so that what else the
machine does meets all of them; the median of the rounds is shown.

    python benchmarks/front_end.py --corpus ../shared/corpora/emodb
"""

import argparse
import functools
import os
import pathlib
import statistics
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import librosa  # noqa: E402
import numpy as np  # noqa: E402
import soundfile  # noqa: E402
import tensorflow as tf  # noqa: E402
from recording import add_record_argument  # noqa: E402
from recording import measurement  # noqa: E402
from recording import record  # noqa: E402

from ser_keras.audio.batches import compute_features  # noqa: E402
from ser_keras.audio.batches import features_from_files  # noqa: E402
from ser_keras.audio.io import fit_length  # noqa: E402
from ser_keras.audio.io import load_many  # noqa: E402
from ser_keras.audio.mfcc import MFCC  # noqa: E402
from ser_keras.memory import keep_memory  # noqa: E402

RATE, SECONDS = 16000, 3
FRAMES = {"frame_length": 1024, "frame_step": 256, "fft_length": 1024}


def librosa_mfcc(clips):
    """Clip by clip, as users of librosa do."""
    for clip in clips:
        librosa.feature.mfcc(
            y=clip, sr=RATE, n_mfcc=40, n_fft=1024, hop_length=256
        )


def published_pipeline(files):
    """Our own rendering of Light-SERNet's published pipeline.

    File by file in `tf.data`: decode, centre, scale by the 99.9th percentile,
    `tf.signal` with dense filters. The percentile is left out here, to the
    pipeline's advantage.
    """
    filters = tf.signal.linear_to_mel_weight_matrix(128, 513, RATE, 80.0, 7600)

    def features(waveform):
        spectrum = tf.abs(tf.signal.stft(waveform, 1024, 256, 1024))
        mel = tf.math.log(tf.tensordot(spectrum, filters, 1) + 1e-6)
        mfcc = tf.signal.mfccs_from_log_mel_spectrograms(mel)[..., :40]
        return tf.clip_by_value(mfcc, -10.0, 10.0)

    def load(path):
        waveform, _ = tf.audio.decode_wav(tf.io.read_file(path), 1)
        return features(waveform[:, 0])

    if isinstance(files, np.ndarray):
        dataset = tf.data.Dataset.from_tensor_slices(files)
        dataset = dataset.map(features, tf.data.AUTOTUNE)
    else:
        dataset = tf.data.Dataset.from_tensor_slices(files)
        dataset = dataset.map(load, tf.data.AUTOTUNE)
    return dataset.batch(32).prefetch(tf.data.AUTOTUNE)


def drain(dataset):
    """Reads a data set to its end."""
    for _ in dataset:
        pass


def alternate(contenders, rounds):
    """Median seconds of each contender; all run once in every round."""
    times = {name: [] for name in contenders}
    for round_ in range(rounds + 1):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            if round_:  # The first one traces and warms up.
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(t) for name, t in times.items()}


def measure(corpus, clips, rounds):
    """Seconds of each contender, and seconds of speech in a run."""
    paths = sorted(p for p in corpus.rglob("*.*") if p.suffix in _SUFFIXES)
    if not paths:
        raise SystemExit(f"{corpus}: no audio files ({', '.join(_SUFFIXES)})")
    paths = [paths[i % len(paths)] for i in range(clips)]
    waveforms = [
        fit_length(x, SECONDS * RATE) for x in load_many(paths, RATE)[0]
    ]
    stacked = np.stack(waveforms)
    librosa_like = MFCC.librosa(RATE, num_coefficients=40, **FRAMES)
    published_like = MFCC.light_sernet()
    with tempfile.TemporaryDirectory() as folder:
        files = [f"{folder}/{i}.wav" for i in range(clips)]
        for file, waveform in zip(files, waveforms, strict=True):
            soundfile.write(file, waveform, RATE, "PCM_16")
        published = published_pipeline(stacked)
        published_files = published_pipeline(files)
        ours_files = features_from_files(files, librosa_like)
        ours_published_files = features_from_files(files, published_like)
        compute = functools.partial(compute_features, waveforms)
        contenders = {
            "librosa, clip by clip": lambda: librosa_mfcc(waveforms),
            "ours, librosa's options": lambda: compute(librosa_like),
            "Light-SERNet's pipeline": lambda: drain(published),
            "ours, Light-SERNet's options": lambda: compute(published_like),
            "wav files, Light-SERNet's pipeline": lambda: drain(
                published_files
            ),
            "wav files, ours, its options": lambda: drain(ours_published_files),
            "wav files, ours, librosa's options": lambda: drain(ours_files),
        }
        return alternate(contenders, rounds), SECONDS * clips


_SUFFIXES = (".wav", ".flac")


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=pathlib.Path, required=True)
    parser.add_argument("--clips", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    add_record_argument(parser)
    arguments = parser.parse_args()
    keep_memory()  # As recipes and the command line do.
    seconds, speech = measure(
        arguments.corpus, arguments.clips, arguments.rounds
    )
    base = seconds["librosa, clip by clip"]
    print(f"{'':36s}{'x real time':>12s}{'x librosa':>11s}")
    for name, value in seconds.items():
        print(f"{name:36s}{speech / value:12.0f}{base / value:11.1f}")
    speed = "times real time"
    record(
        arguments,
        [
            measurement(name, "features of 3-s clips", speech / value, speed)
            for name, value in seconds.items()
        ],
    )


if __name__ == "__main__":
    main()
