import collections
import csv

import pytest

from ser_keras.corpora.parsers import CorpusError
from ser_keras.corpora.parsers import corpus_names
from ser_keras.corpora.parsers import load_corpus
from tests.corpora.parsers.conftest import touch
from tests.corpora.parsers.conftest import tree

SEX = {"f": "female", "m": "male"}


def oracle(corpora_root, name):
    with open(corpora_root / f"{name}.csv", newline="") as file:
        return {row["stem"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("name, size", [("emodb", 535), ("ravdess", 1440)])
def test_every_row_equals_the_table(corpora_root, name, size):
    rows = oracle(corpora_root, name)
    manifest = load_corpus(name, corpora_root / name)
    assert len(manifest) == size
    assert [u.id for u in manifest] == sorted(rows)
    for utterance in manifest:
        row = rows[utterance.id]
        assert utterance.label == row["emotion"]
        assert utterance.speaker == row["speaker"]
        assert utterance.sex == SEX[row["sex"]]
        assert utterance.corpus == name
    counts = collections.Counter(row["emotion"] for row in rows.values())
    assert manifest.counts() == dict(counts)


def test_unknown_names(tmp_path):
    with pytest.raises(ValueError, match="'emodb', 'emovo', 'iemocap'"):
        load_corpus("emo-db", tmp_path)
    touch(tmp_path / "03a01Fa.wav")
    with pytest.raises(ValueError, match="unknown labels: .'joy'"):
        load_corpus("emodb", tmp_path, labels=("joy",))


@pytest.mark.parametrize(
    ("name", "good", "bad", "message"),
    [
        ("emodb", "03a01Fa", "03a01Xa", "'X' in the name. Known are W .anger"),
        (
            "ravdess",
            "03-01-08-01-01-01-01",
            "03-01-09-01-01-01-01",
            "'09' in the name. Known are 01 .neutral.*08 .surprise",
        ),
    ],
)
def test_an_unknown_emotion_in_a_name(tmp_path, name, good, bad, message):
    touch(tmp_path / f"{good}.wav")
    touch(tmp_path / "holiday.wav")
    assert [u.id for u in load_corpus(name, tmp_path)] == [good]
    touch(tmp_path / f"{bad}.wav")
    with pytest.raises(CorpusError, match=f"{bad}.wav: .*{message}"):
        load_corpus(name, tmp_path)


NO_FOLDER = {"manifest"}


@pytest.mark.parametrize("name", sorted(set(corpus_names()) - NO_FOLDER))
def test_wrong_folders(tmp_path, name):
    with pytest.raises(CorpusError, match="does not exist. Expected"):
        load_corpus(name, tmp_path / "nothing")
    with pytest.raises(CorpusError, match="is empty. Expected"):
        load_corpus(name, tmp_path)
    tree(tmp_path, [f"holiday{number}.wav" for number in range(7)])
    with pytest.raises(CorpusError, match="Expected"):
        load_corpus(name, tmp_path)
    with pytest.raises(CorpusError, match="is not a folder. Expected"):
        load_corpus(name, tmp_path / "holiday0.wav")


@pytest.mark.parametrize("name", ["emodb", "iemocap", "ravdess"])
def test_wrong_layouts_name_files(tmp_path, name):
    tree(tmp_path, [f"holiday{number}.wav" for number in range(7)])
    with pytest.raises(CorpusError, match="holiday0.wav.*and 2 more"):
        load_corpus(name, tmp_path)


def test_two_files_with_one_id_are_named(tmp_path):
    tree(tmp_path, ["CaFE_48k/C/01-C-2-1.wav", "CaFE_192k/C/01-C-2-1.wav"])
    with pytest.raises(CorpusError, match="'01-C-2-1': .*192k.* and .*48k"):
        load_corpus("cafe", tmp_path)
    files = ["Actor_01/03-01-05-01-02-01-01.wav"]
    tree(tmp_path / "r", [*files, "Actor_02/03-01-05-01-02-01-01.wav"])
    with pytest.raises(CorpusError, match="Actor_01.* and .*Actor_02"):
        load_corpus("ravdess", tmp_path / "r")
