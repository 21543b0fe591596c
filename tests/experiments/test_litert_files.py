"""LiteRT files of a run's folds."""

import json

import numpy as np

import ser_keras as ser
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.evaluation.predictions import Predictions
from ser_keras.experiments import litert_files
from ser_keras.features.feature_set import FeatureSet
from ser_keras.training.run_folder import RunFolder

LABELS = ("anger", "neutral")


def test_what_is_there_is_not_written_again(tmp_path, monkeypatch):
    rows = [
        Utterance(f"{speaker}{i}", "x.wav", LABELS[i % 2], speaker)
        for speaker in "ab"
        for i in range(6)
    ]
    arrays = [np.zeros((20, 8), "float32")] * len(rows)
    features = FeatureSet(Manifest(rows, LABELS), arrays)
    fold = ser.protocols.leave_one_speaker_out(features.manifest)[0]
    run = RunFolder(tmp_path / "run", {})
    written, scored = [], []

    def export(
        network, file, *, precision, temperature, features_path=None, **options
    ):
        files = {options.get("inputs", "waveform"): file}
        if features_path:
            files["features"] = features_path
        for inputs, file in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            metadata = {"inputs": inputs, "temperature": temperature}
            file.write_text(json.dumps(metadata))
            written.append(file.name)

    def predictions(file, manifest):
        scored.append(file.name)
        return Predictions.of(manifest, np.eye(2)[manifest.label_ids])

    monkeypatch.setattr(litert_files, "load_model", lambda path: None)
    monkeypatch.setattr(litert_files, "export_litert", export)
    monkeypatch.setattr(litert_files, "load_litert", lambda path: path)
    monkeypatch.setattr(litert_files, "read_metadata", json.loads)
    monkeypatch.setattr(litert_files, "_predict", predictions)

    class Preprocessor:
        duration = 3.0

    def write(temperature=1.0):
        written.clear()
        scored.clear()
        return litert_files.write_litert_files(
            run, [fold], features, Preprocessor(), temperature
        )

    result = write()
    names = [
        f"{form}{precision}.tflite"
        for precision in ("float32", "float16", "int8")
        for form in ("", "features_")
    ]
    assert written == names and scored == names[::2]
    folder = run.path / "folds" / fold.name
    for precision, entry in result.items():
        file = folder / f"{precision}.tflite"
        assert entry["file"] == str(file)
        assert entry["bytes"] == file.stat().st_size
        bare = folder / f"features_{precision}.tflite"
        assert entry["features_file"] == str(bare)
        assert entry["features_bytes"] == bare.stat().st_size
        assert entry["uar"] == 1
    assert write() == result
    assert not written and not scored
    for name in ("float16.tflite", "features_int8.tflite"):
        (folder / name).unlink()
    assert write() == result
    assert written == ["float16.tflite", "features_int8.tflite"]
    assert scored == ["float16.tflite"]
    # A run that is calibrated later has other files.
    write(temperature=2.0)
    assert written == names and scored == names[::2]
    write(temperature=2.0)
    assert not written
