from ser_keras.corpora.parsers import load_corpus
from tests.corpora.parsers.conftest import touch


def test_emodb_in_its_own_folder(tmp_path):
    for name in ("03a01Fa.wav", "16b10Td.wav", "16b10Td.flac", "._03a01Fa.wav"):
        touch(tmp_path / "wav" / name)
    touch(tmp_path / "erklaerung.txt")
    manifest = load_corpus("emodb", tmp_path, labels=("sadness", "happiness"))
    assert [u.id for u in manifest] == ["03a01Fa", "16b10Td"]
    assert manifest[1].path.endswith("wav/16b10Td.wav")
    assert manifest[1].text == "b10"
    assert manifest.label_ids.tolist() == [1, 0]
