import pytest

from ser_keras.corpora.parsers import CorpusError
from ser_keras.corpora.parsers import load_corpus

# As in the release, whose data.tsv pads the speakers with blanks.
NEMO = """file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage
SJB_anger_5.wav\tanger\tTak jest.\ttak jest\tSJB \tfemale\t27
EB0_surprised_9.wav\tsurprised\t"Nie", mówi.\tnie mówi\t EB0  \tmale\t30
"""


def test_nemo(tmp_path):
    (tmp_path / "samples").mkdir()
    (tmp_path / "data.tsv").write_text(NEMO, encoding="utf-8")
    for name in ("SJB_anger_5", "EB0_surprised_9"):
        (tmp_path / "samples" / f"{name}.wav").touch()
    manifest = load_corpus("nemo", tmp_path)
    assert [(u.id, u.label, u.speaker, u.sex) for u in manifest] == [
        ("EB0_surprised_9", "surprise", "EB0", "male"),
        ("SJB_anger_5", "anger", "SJB", "female"),
    ]
    assert manifest[1].text == "Tak jest."
    assert manifest.reading.missing[0] == "2 of 9 speakers (EB0, SJB)"
    (tmp_path / "data.tsv").write_text(NEMO.replace("\tanger", "\tjoy"))
    with pytest.raises(CorpusError, match="line 2: unknown emotion 'joy'"):
        load_corpus("nemo", tmp_path)
    (tmp_path / "data.tsv").write_text(NEMO + NEMO.splitlines()[1])
    with pytest.raises(CorpusError, match="line 2, and .*data.tsv, line 4"):
        load_corpus("nemo", tmp_path)
    (tmp_path / "data.tsv").write_text(NEMO)
    (tmp_path / "samples/SJB_anger_5.wav").unlink()
    with pytest.raises(CorpusError, match="1 of 2 .*SJB_anger_5.wav"):
        load_corpus("nemo", tmp_path)
