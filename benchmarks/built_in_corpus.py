"""What coding the built-in corpus loses: bytes, samples, recognition.

    python benchmarks/built_in_corpus.py --emodb ../shared/corpora/emodb

codes EMO-DB's recordings of four emotions as Opus and as Vorbis and compares
both with the originals: bytes, signal-to-noise ratio and log-mel distance of
each file (median and worst), and the UAR of SVMs on openSMILE's eGeMAPS
functionals, trained and tested on audio of the same coding. The Opus files are
those of the package. Needs the extra `ser_keras[features]`; takes about two
minutes on two cores.
"""

import argparse
import pathlib
import sys
import tempfile

import librosa
import numpy as np
import soundfile
from recording import add_record_argument
from recording import command

import ser_keras as ser
from ser_keras.corpora.built_in import LABELS
from ser_keras.corpora.built_in import built_in_corpus
from ser_keras.corpora.built_in.make import encode
from ser_keras.evaluation.baselines import cross_validate_classifier
from ser_keras.features.extraction import extract_features
from ser_keras.features.extractors.opensmile import OpenSmileExtractor
from ser_keras.reports.records import benchmark_record
from ser_keras.reports.records import measurement
from ser_keras.reports.records import write_record
from ser_keras.training.run_folder import RunFolder

RATE = 16000  # Hz
CLASSIFIERS = {"linear_svm": "linear SVM", "rbf_svm": "RBF SVM"}
PROTOCOLS = ("leave-one-speaker-out", "speaker-groups-5")
# Levels of libsndfile. Vorbis' setup header of 4 kB is in each of 339 files:
# even its lowest quality is beyond 4 MB.
OTHERS = {"Vorbis, level 1.0": ("VORBIS", 1.0)}


def log_mel(samples):
    """Log-mel spectrogram in dB, `(64, frames)`, down to 80 dB below peak."""
    power = librosa.feature.melspectrogram(
        y=samples, sr=RATE, n_fft=512, hop_length=160, n_mels=64
    )
    return librosa.power_to_db(power, top_db=80)


def delay(coded, original):
    """Samples by which a coded signal lags, at the peak of correlation."""
    size = 2 * len(original)
    spectra = np.fft.rfft(coded, size) * np.conj(np.fft.rfft(original, size))
    peak = int(np.fft.irfft(spectra, size).argmax())
    return peak - size if peak > size // 2 else peak


def distances(originals, coded):
    """Of each file: difference in length, delay, SNR and log-mel distance.

    Args:
        originals: `Manifest`.
        coded: `Manifest` of the same utterances.

    Returns:
        Array `(utterances, 4)`: samples, samples, dB, dB.
    """
    rows = []
    for a, b in zip(originals, coded, strict=True):
        x, rate_of_x = soundfile.read(a.path, dtype="float32")
        y, rate_of_y = soundfile.read(b.path, dtype="float32")
        if a.id != b.id or {rate_of_x, rate_of_y} != {RATE}:
            raise ValueError(f"{a.path} and {b.path} do not belong together")
        extra = len(y) - len(x)
        size = min(len(x), len(y))
        x, y = x[:size], y[:size]
        snr = 10 * np.log10(np.dot(x, x) / np.dot(x - y, x - y))
        mel = np.abs(log_mel(x) - log_mel(y)).mean()
        rows.append((extra, delay(y, x), snr, mel))
    return np.array(rows)


def recognition(manifest, folder):
    """Predictions of each classifier with each protocol, all folds pooled.

    Returns:
        Dict from a name of both to `Predictions`.
    """
    features = extract_features(
        manifest, OpenSmileExtractor(level="func"), folder / "features"
    )
    found = {}
    for classifier, title in CLASSIFIERS.items():
        for protocol in PROTOCOLS:
            folds = ser.get_protocol(protocol).folds(manifest)
            run = RunFolder(folder / classifier / protocol, {})
            found[f"{title}, {protocol}"] = cross_validate_classifier(
                classifier, features, folds, run=run
            ).predictions
    return found


def main():
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--emodb", default="../shared/corpora/emodb")
    add_record_argument(parser)
    arguments = parser.parse_args()
    originals = ser.load_corpus("emodb", arguments.emodb, labels=LABELS)
    codings = {
        "FLAC": originals,
        "Opus, level 0.91": ser.load_corpus("emodb", built_in_corpus()),
    }
    rows, notes, reference = [], [], None
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name, settings in OTHERS.items():
            encode(originals, folder / name, *settings)
            codings[name] = ser.load_corpus("emodb", folder / name)
        for name, manifest in codings.items():
            size = sum(pathlib.Path(u.path).stat().st_size for u in manifest)
            rows.append(measurement(name, "size", size, "bytes"))
            if manifest is not originals:
                extra, lag, snr, mel = distances(originals, manifest).T
                rows += [
                    measurement(name, quantity, value, "dB")
                    for quantity, value in (
                        ("SNR, median", np.median(snr)),
                        ("SNR, least", snr.min()),
                        ("log-mel distance, median", np.median(mel)),
                        ("log-mel distance, greatest", mel.max()),
                    )
                ]
                notes.append(
                    f"{name}: lengths differ by {abs(extra).max():.0f} samples "
                    f"at most, delay {abs(lag).max():.0f} samples at most."
                )
            found = recognition(manifest, folder / f"{name} run")
            reference = reference or found
            for what, predictions in found.items():
                uar = ser.score(predictions).uar
                rows.append(measurement(name, f"UAR, {what}", uar, ""))
                if manifest is not originals:
                    paired = ser.compare_predictions(
                        predictions, reference[what]
                    )
                    notes.append(
                        f"{name} minus FLAC, UAR, {what}: "
                        f"{paired.difference:+.3f} "
                        f"({paired.low:+.3f} to {paired.high:+.3f})."
                    )
    for row in rows:
        row["value"] = float(row["value"])
        print(f"{row['of']:18} {row['quantity']:44} {row['value']:.4f}")
    print(*notes, sep="\n")
    if arguments.record is not None:
        found = benchmark_record(arguments.record.stem, command(sys.argv), rows)
        found["notes"] = " ".join(notes)
        write_record(found, arguments.record, replace=True)


if __name__ == "__main__":
    main()
