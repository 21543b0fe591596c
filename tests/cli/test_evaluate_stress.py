"""`ser_keras evaluate --stress` of a model on a corpus."""

import json

from ser_keras.audio.alterations import Noise
from ser_keras.cli.evaluate import EvaluateConfig
from ser_keras.cli.evaluate import evaluate
from ser_keras.cli.evaluate import show
from ser_keras.evaluation import stress
from ser_keras.serving.predictor import BUNDLED
from ser_keras.serving.predictor import DEFAULT


def test_of_a_litert_file(corpora_root, tmp_path, monkeypatch, capsys):
    conditions = {"noise": {"SNR -10 dB": Noise(snr=-10)}}
    monkeypatch.setattr(stress, "CONDITIONS", conditions)
    result = evaluate(
        EvaluateConfig(
            str(BUNDLED / DEFAULT / "model.tflite"),
            corpus="emodb",
            data_dir=str(corpora_root / "emodb"),
            speakers=("03",),
            stress=True,
            stress_dir=str(tmp_path),
        )
    )
    plain, noisy = result["stress"]
    assert plain["uar"] == result["scores"]["uar"]
    assert plain["n"] == noisy["n"] == result["scores"]["n"]
    # The model has heard this speaker, but not below such noise.
    assert noisy["uar"] < plain["uar"] - 0.1
    written = json.loads((tmp_path / "stress.json").read_text())
    assert written == result["stress"]
    assert (tmp_path / "stress.png").read_bytes()[:4] == b"\x89PNG"
    show(result)
    assert "noise      SNR -10 dB" in capsys.readouterr().out
