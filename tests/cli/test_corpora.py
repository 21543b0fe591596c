import json
import sys

import numpy as np
import pytest
import soundfile

from ser_keras.cli.main import main
from ser_keras.corpora.parsers import emodb as emodb_parser
from ser_keras.corpora.parsers._release import Release


def write(folder, name, seed, scale=0.1):
    noise = np.random.default_rng(seed).normal(0, scale, 16000)
    folder.mkdir(exist_ok=True)
    soundfile.write(folder / name, noise.clip(-1, 1), 16000)


@pytest.fixture
def emodb(tmp_path, monkeypatch):
    """A folder of two labels and speakers, which is all of the release."""
    release = Release({"anger": 2, "neutral": 2}, speakers=2)
    monkeypatch.setattr(emodb_parser, "RELEASE", release)
    root = tmp_path / "emodb"
    root.mkdir()
    for seed, name in enumerate(("03a01Wa", "03a01Nc", "08a01Wa", "08a01Na")):
        write(root / "wav", f"{name}.wav", seed)
    return root


def check(capsys, *argv):
    status = main(["corpora", "check", *map(str, argv)])
    return status, capsys.readouterr()


def test_without_audformat(emodb, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "audformat", None)
    status, printed = check(capsys, emodb)
    assert status == 0 and printed.out.startswith("emodb: 4 utterances")
    for path in (emodb / "wav").iterdir():
        path.rename(path.with_name(f"x{path.name}"))
    (emodb / "db.yaml").touch()
    status, printed = check(capsys, emodb)
    assert status == 1 and "audformat: Reading" in printed.err
    assert len(printed.err) < 600  # Of one corpus, not of thirteen.
    assert "pip install 'ser_keras[audformat]'" in printed.err


@pytest.mark.parametrize("fault", ["unusable", "silent", "identical"])
def test_what_is_not_sound_fails(emodb, capsys, fault):
    write(emodb / "wav", "08b01Fa.wav", 9, scale=1)
    status, printed = check(capsys, emodb, "--json")
    result = json.loads(printed.out)
    assert status == 0 and not result["failed"]
    assert result["audit"]["clipped"]  # Only listed.
    if fault == "unusable":
        (emodb / "wav/08b01Fa.wav").write_bytes(b"RIFF")
    else:
        write(emodb / "wav", "08b01Fa.wav", 0, 0.1 * (fault == "identical"))
    status, printed = check(capsys, emodb)
    assert status == 1
    assert f"Not sound: {fault} files, see above" in printed.out


def test_a_corpus_of_its_own_goes_before_audformat(emodb, capsys):
    audformat = pytest.importorskip("audformat")
    database = audformat.Database("emodb")
    files = sorted(f"wav/{path.name}" for path in (emodb / "wav").iterdir())
    for table, values in (("files", "3388"), ("emotion", "nana")):
        column = {"files": "speaker"}.get(table, "emotion")
        database[table] = audformat.Table(audformat.filewise_index(files))
        database[table][column] = audformat.Column()
        database[table][column].set(list(values))
    database.save(emodb)
    status, printed = check(capsys, emodb, "--json")
    assert status == 0 and json.loads(printed.out)["corpus"] == "emodb"
    status, printed = check(capsys, emodb, "--corpus", "audformat", "--json")
    assert status == 0 and json.loads(printed.out)["labels"] == {"a": 2, "n": 2}


def test_tables_and_what_is_not_there(emodb, capsys):
    status, printed = check(capsys, emodb / "none")
    assert status == 1 and printed.err.endswith("none does not exist.\n")
    table = emodb / "mine.csv"
    rows = "wav/03a01Wa.wav,anger,anna\nwav/03a01Nc.wav,neutral,anna\n"
    table.write_text(f"path,label,speaker\n{rows}")
    status, printed = check(capsys, table)
    assert status == 0 and printed.out.startswith("manifest: 2 utterances")
    argv = "--labels", "anger", "--label-map", "neutral=calm", "--json"
    status, printed = check(capsys, table, *argv)
    assert status == 1
    assert json.loads(printed.out)["problems"] == ["a single class"]
    table.write_text(f"recording,mood,who\n{rows}")
    status, printed = check(capsys, table)
    assert status == 1
    option = "--columns path=NAME label=NAME speaker=NAME"
    assert option in printed.err
    argv = "--columns", "path=recording", "label=mood", "speaker=who"
    status, printed = check(capsys, table, *argv)
    assert status == 0 and "the label is the column 'mood'" in printed.out
    table.write_text("path,label\nwav/03a01Wa.wav,anger\nwav/03a01Nc.wav,joy\n")
    status, printed = check(capsys, table, "--speakers", "unknown")
    assert status == 0 and "SPEAKER-UNKNOWN" in printed.out
    table.write_text("path,label\n")
    status, printed = check(capsys, table)
    assert status == 1 and printed.err.startswith(f"error: {table} must have")


def test_what_is_missing_is_said_and_fails(emodb, capsys):
    (emodb / "wav/08a01Na.wav").unlink()
    write(emodb / "wav", "holiday.wav", 7)
    status, printed = check(capsys, emodb)
    assert status == 1
    assert "MISSING: 3 of 4 utterances (neutral 1 of 2)" in printed.out
    assert "audio files of other names (such as holiday.wav) 1" in printed.out
    assert printed.out.endswith("Not sound: incomplete, see above.\n")
    assert "Warning" not in printed.err  # Said once.


def test_the_likely_corpus_is_named_and_no_other(tmp_path, capsys):
    write(tmp_path / "songs", "03-02-01-01-01-01-01.wav", 0)
    status, printed = check(capsys, tmp_path / "songs")
    assert status == 1 and "ravdess: " in printed.err
    assert "Left out: songs 1" in printed.err
    assert "emodb" not in printed.err
    write(tmp_path / "other", "holiday.wav", 0)
    status, printed = check(capsys, tmp_path / "other")
    assert status == 1 and "no known corpus: 1 audio files" in printed.err
    assert "--corpus NAME" in printed.err and len(printed.err) < 600
