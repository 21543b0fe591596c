from ser_keras.corpora.parsers import load_corpus
from tests.corpora.parsers.conftest import rows
from tests.corpora.parsers.conftest import tree


def test_emovo(tmp_path):
    files = ["f1/gio-f1-b1.wav", "m3/pau-m3-n5.wav", "documenti/readme.txt"]
    manifest = load_corpus("emovo", tree(tmp_path, files))
    assert rows(manifest) == {
        "gio-f1-b1": ("happiness", "f1", "female", "b1"),
        "pau-m3-n5": ("fear", "m3", "male", "n5"),
    }
