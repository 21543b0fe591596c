"""`ser_keras predict FOLDER`: shards of recordings as tasks."""

import csv
import json

import numpy as np
import pytest
import soundfile

from ser_keras.cli import bulk
from ser_keras.cli import parse
from ser_keras.cli.main import main
from ser_keras.cli.predict import PredictConfig

try:  # Its import takes the streams that logs go to.
    import submitit
except ImportError:
    submitit = None


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Five tones in folders, one file that is none, and shards of two."""
    for number in range(5):
        file = tmp_path / "audio" / f"speaker_{number % 2}" / f"{number}.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        tone = np.sin(np.linspace(0, 2000 + 300 * number, 16000) ** 1.1)
        soundfile.write(file, 0.3 * tone, 16000)
    (tmp_path / "audio" / "z.wav").write_text("no audio")
    (tmp_path / "audio" / "notes.txt").write_text("left out")
    monkeypatch.setattr(bulk, "SHARD", 2)
    return tmp_path / "audio"


def answers(capfd, *argv):
    status = main(["predict", *map(str, argv), "--json"])
    return status, json.loads(capfd.readouterr().out)


def test_shards_answer_as_files_do(folder, tmp_path, capfd):
    status, alone = answers(capfd, folder)
    assert status == 1  # Of the file that is none.
    assert len(alone["files"]) == 6 and alone["failed"] == 1
    out = tmp_path / "out"
    options = [folder, "--output-dir", out, "--jobs", "2"]
    status, found = answers(capfd, *options)
    assert status == 1
    assert found["files"] == alone["files"]
    assert len(list(out.glob("shards/*/answers.json"))) == 3
    with (out / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row, answer in zip(rows, alone["files"], strict=True):
        assert row["file"] == answer["file"]
        assert row["label"] == answer.get("label", "")
        assert row["error"] == answer.get("error", "")
        if row["label"]:
            assert float(row["anger"]) == answer["probabilities"]["anger"]
    # A shard that is missing is all that is done again.
    (out / "shards/shard_00002/answers.json").unlink()
    assert answers(capfd, *options)[1]["files"] == alone["files"]
    logs = [x.read_text() for x in sorted(out.glob("shards/*/log.txt"))]
    assert logs == [
        "2 files, 0 failed\n",
        "2 files, 0 failed\n" * 2,
        "2 files, 1 failed\n",
    ]
    # Other files are another prediction.
    (folder / "speaker_0" / "0.wav").unlink()
    status, refused = answers(capfd, *options)
    assert status == 1 and "another configuration" in refused["error"]


@pytest.mark.skipif(submitit is None, reason="needs the extra `slurm`")
def test_slurm_has_the_same_answers(folder, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("SER_KERAS_SLURM", "cluster=local")
    _, alone = answers(capfd, folder)
    _, found = answers(
        capfd, folder, "--output-dir", tmp_path / "out", "--engine", "slurm"
    )
    assert found["files"] == alone["files"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--jobs", "2"], "`output_dir` must be given"),
        (["--engine", "ray"], "`output_dir` must be given"),
        (["--jobs", "0"], "`jobs` must be a positive"),
        (["--output-dir", "x", "--over-time", "y"], "must be left out"),
    ],
)
def test_options_that_do_not_fit(options, message, capfd):
    with pytest.raises(SystemExit):
        parse(PredictConfig, ["a.wav", *options])
    assert message in capfd.readouterr().err


def test_a_folder_without_audio(tmp_path, capfd):
    assert main(["predict", str(tmp_path)]) == 1
    assert "has no audio files" in capfd.readouterr().err
