import pytest

from ser_keras.corpora.parsers import load_corpus
from tests.corpora.parsers.conftest import rows
from tests.corpora.parsers.conftest import tree


@pytest.mark.parametrize(
    "files",
    [
        ["AudioData/DC/sa07.wav", "AudioData/JE/a01.wav"],
        ["DC/sa07.wav", "JE/a01.wav", "Info.txt"],
        ["DC_sa07.wav", "JE_a01.wav", "DC_sa07.txt"],
    ],
)
def test_savee(tmp_path, files):
    manifest = load_corpus("savee", tree(tmp_path, [*files, "AnnoData/a.txt"]))
    assert rows(manifest) == {
        "DC_sa07": ("sadness", "DC", "male", "sa07"),
        "JE_a01": ("anger", "JE", "male", "a01"),
    }


def test_savee_one_number_of_two_emotions_and_speakers(tmp_path):
    names = ["n01", "h01", "su01", "d01", "f01"]
    files = [f"AudioData/{who}/{n}.wav" for who in ("JK", "KL") for n in names]
    manifest = load_corpus("savee", tree(tmp_path, files))
    assert len(manifest) == 10 and manifest.speakers == ("JK", "KL")
    assert manifest.counts()["surprise"] == 2
