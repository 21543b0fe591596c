"""What coding the built-in corpus loses: bytes, samples, recognition.

    python benchmarks/built_in_corpus.py --emodb ../shared/corpora/emodb

codes EMO-DB's recordings of four emotions as Opus and as Vorbis and compares
both with the originals: bytes, signal-to-noise ratio and log-mel distance of
each file (median and worst), and the UAR of SVMs on openSMILE's eGeMAPS
functionals, trained and tested on audio of the same coding. Files already
coded, of the package, are measured as they are. Needs the extra
`ser_keras[features]`; takes about three minutes on two cores.
"""

import argparse
import pathlib
import tempfile

import librosa
import numpy as np
import soundfile

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
CLASSIFIERS = ("linear_svm", "rbf_svm")
PROTOCOLS = ("leave-one-speaker-out", "speaker-groups-5")
# Levels of libsndfile. Vorbis' setup header of 4 kB is in each of 339 files:
# even its lowest quality is beyond 4 MB.
CODINGS = {"Vorbis, level 1.0": ("VORBIS", 1.0)}


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
    """UAR of each classifier with each protocol, pooled and of fold 1.

    Returns:
        Dict from `(classifier, protocol)` to `(UAR, name of fold 1, its UAR,
        predictions)`.
    """
    features = extract_features(
        manifest, OpenSmileExtractor(level="func"), folder / "features"
    )
    found = {}
    for name in CLASSIFIERS:
        for protocol in PROTOCOLS:
            folds = ser.get_protocol(protocol).folds(manifest)
            run = RunFolder(folder / name / protocol, {"classifier": name})
            result = cross_validate_classifier(name, features, folds, run=run)
            first = folds[0].name
            found[name, protocol] = (
                result.scores.uar,
                first,
                result.fold_scores[first].uar,
                result.predictions,
            )
    return found


def main():
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--emodb", default="../shared/corpora/emodb")
    parser.add_argument("--record", default="", help="JSON file to write")
    arguments = parser.parse_args()
    originals = ser.load_corpus("emodb", arguments.emodb, labels=LABELS)
    rows, notes, reference = [], [], None
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        codings = {
            "FLAC": originals,
            "Opus, level 0.91": ser.load_corpus("emodb", built_in_corpus()),
        }
        for number, (name, settings) in enumerate(CODINGS.items()):
            encode(originals, folder / f"coded{number}", *settings)
            codings[name] = ser.load_corpus("emodb", folder / f"coded{number}")
        for number, (name, manifest) in enumerate(codings.items()):
            paths = [pathlib.Path(u.path) for u in manifest]
            size = sum(path.stat().st_size for path in paths)
            rows.append(measurement(name, "size", size, "bytes"))
            if manifest is not originals:
                extra, lag, snr, mel = distances(originals, manifest).T
                for quantity, value, unit in (
                    (
                        "length, greatest difference",
                        abs(extra).max(),
                        "samples",
                    ),
                    ("delay, greatest", abs(lag).max(), "samples"),
                    ("SNR, median", np.median(snr), "dB"),
                    ("SNR, least", snr.min(), "dB"),
                    ("log-mel distance, median", np.median(mel), "dB"),
                    ("log-mel distance, greatest", mel.max(), "dB"),
                ):
                    rows.append(measurement(name, quantity, float(value), unit))
            found = recognition(manifest, folder / f"run{number}")
            reference = reference or found
            for (classifier, protocol), values in found.items():
                uar, first, uar_of_first, predictions = values
                what = f"UAR, {classifier}, {protocol}"
                rows.append(measurement(name, what, uar, ""))
                rows.append(
                    measurement(name, f"{what}, {first}", uar_of_first, "")
                )
                if found is not reference:
                    *_, other = reference[classifier, protocol]
                    paired = ser.compare_predictions(predictions, other)
                    notes.append(
                        f"{what}, {name} minus FLAC: {paired.difference:+.3f} "
                        f"({paired.low:+.3f} to {paired.high:+.3f})."
                    )
    for row in rows:
        print(f"{row['of']:20} {row['quantity']:60} {row['value']:.4f}")
    print(*notes, sep="\n")
    if arguments.record:
        record = benchmark_record(
            "built_in_corpus",
            f"python benchmarks/built_in_corpus.py --emodb {arguments.emodb}",
            rows,
        )
        record["notes"] = " ".join(notes)
        write_record(record, arguments.record, replace=True)


if __name__ == "__main__":
    main()
