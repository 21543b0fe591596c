"""`ser_keras predict --output`: a table that grows, and is gone on with."""

import csv
import json

import numpy as np
import pytest
import soundfile

from ser_keras.cli.answers import AnswerFile
from ser_keras.cli.answers import labels_in
from ser_keras.cli.main import main
from ser_keras.serving import recognition

LABELS = ("calm", "joy")


def row_of(name, **more):
    return {
        "file": name,
        "label": "joy",
        "probabilities": {"calm": 0.25, "joy": 0.75},
        **more,
    }


def test_answers_are_kept_and_errors_tried_again(tmp_path):
    path = tmp_path / "new" / "answers.csv"
    table = AnswerFile(path, LABELS)
    assert table.answered == {} and labels_in(path) == list(LABELS)
    odd = row_of('b, "odd".wav', note="no length", warning="narrow")
    table.add(row_of("a.wav"))
    table.add({"file": "bad.wav", "error": "no such file"})
    table.add(odd)
    again = AnswerFile(path, LABELS)
    assert again.answered == {"a.wav": row_of("a.wav"), odd["file"]: odd}
    with path.open() as file:
        assert [row["file"] for row in csv.DictReader(file)] == [
            "a.wav",
            odd["file"],
        ]


def test_a_row_that_was_cut_off_is_asked_again(tmp_path):
    path = tmp_path / "answers.csv"
    table = AnswerFile(path, LABELS)
    for name in ("a.wav", "b.wav"):
        table.add(row_of(name))
    content = path.read_bytes()
    for cut in range(1, 24):
        path.write_bytes(content[:-cut])
        found = AnswerFile(path, LABELS).answered
        assert found["a.wav"] == row_of("a.wav")
        assert found.get("b.wav", row_of("b.wav")) == row_of("b.wav")


def test_another_table_is_refused(tmp_path):
    path = tmp_path / "answers.csv"
    path.write_text("file,emotion\na.wav,joy\n")
    with pytest.raises(ValueError, match="another --output"):
        AnswerFile(path, LABELS)
    assert path.read_text() == "file,emotion\na.wav,joy\n"


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        file = tmp_path / "audio" / f"{number % 2}" / f"{number}.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        tone = np.sin(np.linspace(0, 2000 + 300 * number, 16000) ** 1.1)
        soundfile.write(file, 0.3 * tone, 16000)
    return tmp_path / "audio"


def answers(capfd, *argv):
    status = main(["predict", *map(str, argv), "--json"])
    return status, json.loads(capfd.readouterr().out)


def test_patterns_and_folders(folder, capfd):
    _, found = answers(capfd, folder)
    names = [row["file"] for row in found["files"]]
    assert len(names) == 3
    for pattern in ("**/*.wav", "*/*.wav"):
        _, same = answers(capfd, folder / pattern)
        assert same["files"] == found["files"]
    # Each once, however often it is named.
    _, same = answers(capfd, folder, folder / "*/*.wav")
    assert same["files"] == found["files"]
    _, error = answers(capfd, folder / "*.mp3")
    assert error["error"].startswith("No file is like ")


def test_a_table_is_gone_on_with(folder, tmp_path, capfd, monkeypatch):
    output = tmp_path / "answers.csv"
    _, alone = answers(capfd, folder)
    first = folder / "0" / "0.wav"
    assert answers(capfd, first, "--output", output)[1]["earlier"] == 0
    asked = []
    read = recognition.read_clip

    def counted(model, source):
        asked.append(source)
        return read(model, source)

    monkeypatch.setattr(recognition, "read_clip", counted)
    status, found = answers(capfd, folder, "--output", output)
    assert status == 0 and found["earlier"] == 1
    assert found["files"] == alone["files"]
    assert len(asked) == 2
    assert answers(capfd, folder, "--output", output)[1]["earlier"] == 3
    with output.open() as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    for row in alone["files"]:
        assert rows[row["file"]]["label"] == row["label"]


def test_a_threshold_makes_answers_unsure(folder, capfd):
    _, found = answers(capfd, folder, "--threshold", "1")
    assert {row["label"] for row in found["files"]} == {"unsure"}
    _, found = answers(capfd, folder, "--accuracy", "0.95")
    labels = {row["label"] for row in found["files"]}
    assert labels <= {*found["labels"], "unsure"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threshold", "2"], "`threshold` must be from 0 to 1"),
        (["--threshold", "0.5", "--accuracy", "0.9"], "one of the two"),
        (["--output", "x", "--over-time", "y"], "`output` must be left out"),
        (["--accuracy", "0.9", "--server", "http://a"], "left out with `serve"),
    ],
)
def test_options_that_do_not_fit(options, message, capfd):
    with pytest.raises(SystemExit):
        main(["predict", "a.wav", *options])
    assert message in capfd.readouterr().err
