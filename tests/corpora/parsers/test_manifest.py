import csv
import json

import pytest

from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.parsers import CorpusWarning
from ser_keras.corpora.parsers import load_corpus
from ser_keras.corpora.parsers.manifest import load

TABLE = "id,path,label,speaker,sex,start,end\n"


@pytest.fixture
def folder(tmp_path):
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).touch()
    return tmp_path


def write(folder, text, name="mine.csv"):
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_csv(folder):
    table = write(
        folder,
        TABLE + "x,a.wav,anger,anna,F,0.5,1.5\ny,b.wav,joy,bob,male,,\n",
    )
    manifest = load_corpus("manifest", table, corpus="mine")
    assert [(u.id, u.label, u.speaker, u.sex) for u in manifest] == [
        ("x", "anger", "anna", "female"),
        ("y", "joy", "bob", "male"),
    ]
    assert (manifest[0].start, manifest[0].end) == (0.5, 1.5)
    assert manifest[1].start is None and manifest[1].corpus == "mine"
    assert manifest[0].path == str(folder / "a.wav")
    assert load(table, labels="joy").labels == ("joy",)


def test_names_of_columns_and_ids_from_paths(folder):
    table = write(
        folder, "emotion\twho\tfile\nanger\tanna\ta.wav\n", "mine.tsv"
    )
    columns = {"label": "emotion", "speaker": "who", "path": "file"}
    manifest = load(table, columns=columns)
    assert manifest[0].id == "a.wav" and manifest[0].speaker == "anna"
    with pytest.raises(ValueError, match="unknown fields: .'emotion'"):
        load(table, columns={"emotion": "label"})


def test_json_lines_and_saved_manifests(folder):
    rows = [
        {"path": "a.wav", "label": "anger", "speaker": 3, "extra": [1]},
        {"path": "b.wav", "label": "joy", "speaker": 8},
    ]
    text = "\n".join(json.dumps(row) for row in rows)
    manifest = load(write(folder, text, "mine.jsonl"))
    assert manifest.speakers == ("3", "8")
    manifest.save(folder / "saved.jsonl")
    assert load(folder / "saved.jsonl") == manifest


def test_real_corpus_as_csv(corpora_root, tmp_path):
    with open(corpora_root / "emodb.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    with open(tmp_path / "all.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "path", "label", "speaker", "sex"])
        for row in rows:
            path = corpora_root / "emodb" / f"{row['stem']}.flac"
            writer.writerow(
                [row["stem"], path, row["emotion"], row["speaker"], row["sex"]]
            )
    ours = {
        (u.id, u.label, u.speaker, u.sex) for u in load(tmp_path / "all.csv")
    }
    parsed = load_corpus("emodb", corpora_root / "emodb")
    assert ours == {(u.id, u.label, u.speaker, u.sex) for u in parsed}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.wav,x\n", "Missing: .'speaker'.*`columns`"),
        (TABLE + "x,a.wav,,anna,,,\n", "no row has a label.*first line 2"),
        (TABLE + "x,a.wav\n", "line 2: no .* .'speaker'"),
        (TABLE + "x,a.wav,j,nan,,,\n", "line 2: no .* .'speaker'"),
        (
            TABLE + "x,a.wav,j,n,,a,\n",
            "line 2, column 'start': cannot read 'a' as a time",
        ),
        (TABLE + "x,a.wav,j,n,child,,\n", "line 2: `sex` must be"),
        (TABLE + "x,a.wav,j,n,,2,1\n", "line 2: An utterance must end"),
        (
            TABLE + "x,a.wav,j,n,,,\ny,b.wav,j,n,,,\nx,b.wav,j,n,,,\n",
            "unique. Received: 'x' in lines 2 and 4",
        ),
        (TABLE + "x,c.wav,j,n,,,\n", r"1 of 1 .*c.wav \(line 2\)"),
        (TABLE, "has no utterances"),
        (TABLE + 'x,"a.wav"b,j,n,,,\n', "line 2: .*expected after"),
        (TABLE + "x,a.wav,j,n,,-1,\n", "line 2: An utterance must .* start"),
        (TABLE + "x,a.wav,j,n,,,inf\n", "line 2: An utterance must end"),
        (TABLE + "x,a.wav,j,n,,,,1,2\n", "line 2: 7 columns, .*'1', '2'"),
        (
            TABLE + "x,a.wav,j,n,f,,\ny,b.wav,j,m,,,\nz,b.wav,j,n,m,,\n",
            "'n' is female in line 2 and male in line 4",
        ),
        ("path,label,label,speaker\n", "line 1: .*'label'. occur twice"),
        (
            "path,mood,who\na.wav,joy,n\n",
            "Missing: .'label', 'speaker'.*--columns label=NAME speaker=NAME"
            ".*--speakers unknown",
        ),
    ],
)
def test_bad_csv_names_file_and_line(folder, text, message):
    with pytest.raises(ValueError, match=f"mine.csv.*{message}"):
        load(write(folder, text))


def test_bad_json_and_files(folder):
    with pytest.raises(ValueError, match="line 2: Expecting"):
        load(write(folder, '{"labels": ["a"]}\n{x\n', "bad.jsonl"))
    with pytest.raises(ValueError, match="line 1: expected an object"):
        load(write(folder, "[1]\n", "bad.jsonl"))
    rows = ['{"labels": ["joy"]}'] + [
        f'{{"path": "{x}.wav", "label": "rage", "speaker": "n"}}' for x in "ab"
    ]
    for text, message in (
        (
            "\n\n".join(rows),
            "bad.jsonl: .*'rage' in line 3 .a.wav.; 'rage' in line 5 .b.wav",
        ),
        ('{"labels": 3}\n', "bad.jsonl, line 1: .* list of names.* 3"),
        ('{"labels": "ab"}\n', "bad.jsonl, line 1: .* list of names.*'ab'"),
        (
            '{"labels": ["rage", "rage"]}\n' + rows[1],
            "bad.jsonl: `labels` must not repeat",
        ),
        (rows[1][:-1] + ', "start": [1]}', r"line 1: .'start'. must .*\[1\]"),
        (rows[1].replace('"rage"', "{}"), "line 1: .'label'. must be text"),
    ):
        with pytest.raises(ValueError, match=message):
            load(write(folder, text, "bad.jsonl"))
    with pytest.raises(ValueError, match="must end in .csv"):
        load(write(folder, "", "mine.xls"))
    with pytest.raises(ValueError, match="is not a file"):
        load(folder / "nothing.csv")
    table = write(folder, TABLE + "x,a.wav,anger,anna,,,\n")
    with pytest.raises(ValueError, match="unknown labels: .'joy'"):
        load(table, labels=["joy"])


@pytest.mark.parametrize("name", ["mine.csv", "mine.jsonl"])
def test_other_encodings_are_said(folder, name):
    path = folder / name
    path.write_bytes((TABLE + "x,a.wav,joy,J\xfcrgen,,,\n").encode("latin-1"))
    with pytest.raises(
        ValueError, match=f"{name}, line 2: .*0xfc is not UTF-8"
    ):
        load(path)


def test_a_column_called_labels_and_odd_line_separators(folder):
    row = {"path": "a.wav", "label": "joy", "speaker": "n", "text": "a\u2028b"}
    text = json.dumps(row | {"labels": ["x"]}, ensure_ascii=False)
    manifest = load(write(folder, text, "mine.jsonl"))
    assert manifest[0].text == "a\u2028b" and manifest.labels == ("joy",)
    manifest.save(folder / "saved.jsonl")
    assert Manifest.load(folder / "saved.jsonl") == manifest


NKULULEKO = "file,emotion,gender,speaker\na.wav,angry,female,n\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mine.csv", NKULULEKO),
        ("MINE.CSV", NKULULEKO),
        ("mine.csv", NKULULEKO.replace(",", ";")),
        ("mine.txt", NKULULEKO.replace(",", "\t")),
        ("mine.csv", NKULULEKO.replace(",", " , ")),
        ("mine.csv", NKULULEKO.replace("angry", ' "angry"')),
        ("mine.csv", "\ufeff" + NKULULEKO.replace("file", "File")),
        ("mine.csv", NKULULEKO.replace("a.wav", ".\\a.wav")),
        (
            "mine.json",
            '[\n {"file": "a.wav", "emotion": "angry",\n  "gender": "female", '
            '"speaker": "n"}\n]',
        ),
    ],
)
def test_tables_of_other_tools(folder, name, text):
    manifest = load(write(folder, text, name))
    (utterance,) = manifest
    assert (utterance.label, utterance.speaker) == ("angry", "n")
    assert (utterance.sex, utterance.id) == ("female", "a.wav")
    notes = " ".join(manifest.reading.notes).lower()
    assert "the path is the column 'file'" in notes


def test_segments_as_audformat_writes_them(folder):
    text = "file,start,end,emotion,speaker\n" + "".join(
        f"a.wav,{start},{end},joy,n\n"
        for start, end in (
            ("0 days 00:00:00", "0 days 00:00:01.250000"),
            ("0:00:01.25", "NaT"),
            ("00:02", ""),
            ("1 days 01:00:00", "nan"),
        )
    )
    manifest = load(write(folder, text))
    assert [(u.id, u.start, u.end) for u in manifest] == [
        ("a.wav:0", 0.0, 1.25),
        ("a.wav:1.25", 1.25, None),
        ("a.wav:2", 2.0, None),
        ("a.wav:90000", 90000.0, None),
    ]


def test_an_array_names_the_line_of_an_entry(folder):
    text = '[\n{"path": "a.wav",\n"label": "joy", "speaker": "n"},\n\n{"a": 1}]'
    with pytest.raises(ValueError, match="line 5: no value in .'path'"):
        load(write(folder, text, "mine.json"))
    with pytest.raises(ValueError, match="line 3: Expecting"):
        load(write(folder, "[\n\n{", "mine.json"))


def test_labels_of_other_spelling_are_one_class_and_said(folder):
    labels = ["Angry ", "angry", "ANGRY", "sad", "nan", "", "NaN"]
    rows = "".join(f"{i},a.wav,{x},n,,,\n" for i, x in enumerate(labels))
    manifest = load(write(folder, TABLE + rows))
    assert manifest.counts() == {"angry": 3, "sad": 1}
    reading = manifest.reading
    assert reading.left_out == {"rows without a label": 3}
    assert reading.missing == ("3 rows without a label, lines [6, 7, 8]",)
    assert reading.notes == (
        "labels of one meaning: 'Angry' as 'angry', 'ANGRY' as 'angry'",
    )
    chosen = load(folder / "mine.csv", labels=["sad"])
    assert chosen.reading.left_out["label angry"] == 3
    with pytest.warns(CorpusWarning, match="mine.csv: 3 rows without a label"):
        load_corpus("manifest", folder / "mine.csv")


def test_a_list_without_speakers_has_a_mode_of_its_own(folder):
    table = write(folder, "path,label\na.wav,joy\nb.wav,sad\n")
    manifest = load(table, speakers="unknown")
    assert manifest.speakers == ("SPEAKER-UNKNOWN",)
    with pytest.raises(ValueError, match="'unknown' or None"):
        load(table, speakers="anna")


def test_missing_files_name_the_whole_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    write(folder, TABLE + "x,c.wav,j,n,,,\n")
    with pytest.raises(ValueError, match=f"resolved from {folder.resolve()}$"):
        load("mine.csv")
