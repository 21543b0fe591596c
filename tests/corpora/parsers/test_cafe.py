import pytest

from ser_keras.corpora.parsers import load_corpus
from tests.corpora.parsers.conftest import rows
from tests.corpora.parsers.conftest import tree


@pytest.mark.parametrize("suffix", ["wav", "aiff"])
def test_cafe(tmp_path, suffix):
    files = [
        f"Colère/Fort/01-C-2-1.{suffix}",
        f"Neutre/12-N-1-6.{suffix}",
        "Readme.txt",
    ]
    manifest = load_corpus("cafe", tree(tmp_path, files))
    assert rows(manifest) == {
        "01-C-2-1": ("anger", "01", "male", "Un cheval fou dans mon jardin"),
        "12-N-1-6": ("neutral", "12", "female", "6"),
    }
