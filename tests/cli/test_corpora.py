import json
import sys

import numpy as np
import pytest
import soundfile

from ser_keras.cli.main import main


def write(folder, name, seed, scale=0.1):
    noise = np.random.default_rng(seed).normal(0, scale, 16000)
    folder.mkdir(exist_ok=True)
    soundfile.write(folder / name, noise.clip(-1, 1), 16000)


@pytest.fixture
def emodb(tmp_path):
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
    assert "Not sound: unusable, silent or identical" in printed.out


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
    table.write_text("path,label,speaker\nwav/03a01Wa.wav,anger,anna\n")
    status, printed = check(capsys, table)
    assert status == 0 and printed.out.startswith("manifest: 1 utterances")
    table.write_text("path,label\n")
    status, printed = check(capsys, table)
    assert status == 1 and printed.err.startswith(f"error: {table} must have")
