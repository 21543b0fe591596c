from ser_keras.corpora.parsers import load_corpus
from tests.corpora.parsers.conftest import rows
from tests.corpora.parsers.conftest import tree


def test_tess(tmp_path):
    files = [
        "OAF_angry/OAF_back_angry.wav",
        "OAF_Pleasant_surprise/OAF_bar_ps.wav",
        "YAF_neutral/YAF_base_neutral.wav",
        "OAF_neutral/OA_bite_neutral.wav",
        "readme.wav",
    ]
    manifest = load_corpus("tess", tree(tmp_path, files))
    assert rows(manifest) == {
        "OAF_back_angry": ("anger", "OAF", "female", "back"),
        "OAF_bar_ps": ("surprise", "OAF", "female", "bar"),
        "OA_bite_neutral": ("neutral", "OAF", "female", "bite"),
        "YAF_base_neutral": ("neutral", "YAF", "female", "base"),
    }
