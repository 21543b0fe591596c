import numpy as np
import pytest
import soundfile

from ser_keras.corpora.parsers import CorpusError
from ser_keras.corpora.parsers import load_corpus
from ser_keras.protocols.protocol import Partitions


@pytest.fixture
def database(tmp_path):
    audformat = pytest.importorskip("audformat")
    db = audformat.Database("little")
    db.schemes["emotion"] = audformat.Scheme(labels=["anger", "neutral"])
    db.schemes["speaker"] = audformat.Scheme(
        labels={3: {"gender": "male"}, 8: {"gender": "female"}}, dtype="int"
    )
    files = ["wav/a.wav", "wav/b.wav", "wav/c.wav"]
    db["files"] = audformat.Table(audformat.filewise_index(files))
    db["files"]["speaker"] = audformat.Column(scheme_id="speaker")
    db["files"]["speaker"].set([3, 8, 8])
    for name, part, labels in (
        ("emotion.train", files[:1], ["anger"]),
        ("emotion.test", files[1:], ["neutral", None]),
    ):
        db[name] = audformat.Table(audformat.filewise_index(part))
        db[name]["emotion"] = audformat.Column(scheme_id="emotion")
        db[name]["emotion"].set(labels)
    db["turns"] = audformat.Table(
        audformat.segmented_index(
            ["wav/a.wav", "wav/a.wav"], ["0s", "0.25s"], ["0.25s", "0.5s"]
        )
    )
    db["turns"]["emotion"] = audformat.Column(scheme_id="emotion")
    db["turns"]["emotion"].set(["anger", "neutral"])
    db.save(tmp_path)
    (tmp_path / "wav").mkdir()
    for file in files:
        soundfile.write(tmp_path / file, np.ones(8000) / 2, 16000)
    return tmp_path


def test_audformat(database):
    tables = ["emotion.train", "emotion.test"]
    manifest = load_corpus("audformat", database, tables=tables)
    assert [
        (u.id, u.label, u.speaker, u.sex, u.partition, u.start, u.end)
        for u in manifest
    ] == [
        ("wav/a", "anger", "3", "male", "emotion.train", None, None),
        ("wav/b", "neutral", "8", "female", "emotion.test", None, None),
    ]
    assert manifest[0].corpus == "little"
    (fold,) = Partitions(("emotion.train",), ("emotion.test",)).folds(manifest)
    assert [u.id for u in fold.test] == ["wav/b"]
    turns = load_corpus("audformat", database, tables="turns")
    assert [(u.id, u.start, u.end) for u in turns] == [
        ("wav/a:0", None, 0.25),
        ("wav/a:0.25", 0.25, 0.5),
    ]


@pytest.mark.parametrize("text", ["", "a: 1", "[: no"])
def test_a_database_that_is_none(tmp_path, text):
    pytest.importorskip("audformat")
    (tmp_path / "db.yaml").write_text(text)
    with pytest.raises(CorpusError, match="db.yaml or .* cannot be read"):
        load_corpus("audformat", tmp_path)


def test_audformat_says_what_is_missing(database):
    with pytest.raises(CorpusError, match="table 'emotion'.*'emotion.test'"):
        load_corpus("audformat", database)
    with pytest.raises(CorpusError, match="column 'label'.*'emotion'"):
        load_corpus("audformat", database, tables="turns", emotion="label")
    (database / "wav/a.wav").unlink()
    with pytest.raises(CorpusError, match="2 of 2 utterances have no audio"):
        load_corpus("audformat", database, tables="turns")
