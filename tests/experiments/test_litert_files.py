"""LiteRT files of a run's folds."""

import numpy as np

import ser_keras as ser
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.evaluation.predictions import Predictions
from ser_keras.experiments import litert_files
from ser_keras.features.feature_set import FeatureSet
from ser_keras.training.run_folder import RunFolder

LABELS = ("anger", "neutral")


def test_litert_files_that_are_gone_are_written_again(tmp_path, monkeypatch):
    rows = [
        Utterance(f"{speaker}{i}", "x.wav", LABELS[i % 2], speaker)
        for speaker in "ab"
        for i in range(6)
    ]
    arrays = [np.zeros((20, 8), "float32")] * len(rows)
    features = FeatureSet(Manifest(rows, LABELS), arrays)
    fold = ser.protocols.leave_one_speaker_out(features.manifest)[0]
    run = RunFolder(tmp_path / "run", {})
    written = []

    def export(network, file, *, precision, features_path=None, **options):
        files = {options.get("inputs", "waveform"): file}
        if features_path:
            files["features"] = features_path
        for inputs, file in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{inputs} {precision}")
            written.append(file.name)

    def predictions(file, manifest):
        rows = np.eye(2)[manifest.label_ids]
        return Predictions(
            tuple(u.id for u in manifest),
            tuple(u.speaker for u in manifest),
            (None,) * len(manifest),
            manifest.label_ids,
            rows,
            manifest.labels,
        )

    monkeypatch.setattr(litert_files, "load_model", lambda path: None)
    monkeypatch.setattr(litert_files, "export_litert", export)
    monkeypatch.setattr(litert_files, "load_litert", lambda path: path)
    monkeypatch.setattr(litert_files, "_predict", predictions)

    def write():
        written.clear()
        arguments = (run, [fold], features, None, None, 3.0)
        return litert_files.write_litert_files(*arguments)

    result = write()
    names = [
        f"{form}{precision}.tflite"
        for precision in litert_files.PRECISIONS
        for form in ("", "features_")
    ]
    assert written == names
    folder = run.path / "folds" / fold.name
    for precision, entry in result.items():
        assert entry["file"] == str(folder / f"{precision}.tflite")
        assert entry["bytes"] == len(f"waveform {precision}")
        bare = folder / f"features_{precision}.tflite"
        assert entry["features_file"] == str(bare)
        assert entry["features_bytes"] == len(f"features {precision}")
        assert entry["uar"] == 1
    write()
    assert not written
    for name in ("float16.tflite", "features_int8.tflite"):
        (folder / name).unlink()
    assert write() == result
    assert written == ["float16.tflite", "features_int8.tflite"]
