import pytest

from ser_keras.corpora.parsers import CorpusError
from ser_keras.corpora.parsers import load_corpus
from tests.corpora.parsers.conftest import rows
from tests.corpora.parsers.conftest import tree

VOTES = """"","FileName","VoiceVote","VoiceLevel","FaceVote","FaceLevel",\
"MultiModalVote","MultiModalLevel"
"1","1001_DFA_ANG_XX","N","71.67","A","57","A","57.38"
"2","1002_IEO_HAP_LO","H","60.14","A:F","30.67:51.00","H","63.5"
"3","1091_WSI_SAD_XX","N:S","60:60","S","50","S","63.5"
"""


@pytest.fixture
def crema_d(tmp_path):
    names = ["1001_DFA_ANG_XX", "1002_IEO_HAP_LO", "1091_WSI_SAD_XX"]
    tree(tmp_path, [f"AudioWAV/{name}.wav" for name in names])
    (tmp_path / "VideoDemographics.csv").write_text(
        "ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,Caucasian,Not Hispanic\n"
        "1002,21,Female,Caucasian,Not Hispanic\n"
    )
    (tmp_path / "processedResults").mkdir()
    (tmp_path / "processedResults/summaryTable.csv").write_text(VOTES)
    return tmp_path


def test_crema_d_intended(crema_d):
    assert rows(load_corpus("crema_d", crema_d)) == {
        "1001_DFA_ANG_XX": ("anger", "1001", "male", "DFA"),
        "1002_IEO_HAP_LO": ("happiness", "1002", "female", "IEO"),
        "1091_WSI_SAD_XX": ("sadness", "1091", None, "WSI"),
    }
    alone = load_corpus("crema_d", crema_d / "AudioWAV")
    assert [u.sex for u in alone] == ["male", "female", None]


@pytest.mark.parametrize(
    ("votes", "labels"),
    [
        ("voice", ["neutral", "happiness"]),
        ("face", ["anger", "sadness"]),
        ("multimodal", ["anger", "happiness", "sadness"]),
    ],
)
def test_crema_d_voted(crema_d, votes, labels):
    manifest = load_corpus("crema_d", crema_d, votes=votes)
    assert [u.label for u in manifest] == labels


def test_crema_d_bad_tables(crema_d):
    with pytest.raises(ValueError, match="`votes` must be one of"):
        load_corpus("crema_d", crema_d, votes="heard")
    table = crema_d / "processedResults/summaryTable.csv"
    lines = VOTES.splitlines()
    table.write_text("\n".join(lines[:3]))
    with pytest.raises(CorpusError, match="1 of 3 clips, such as 1091_WSI"):
        load_corpus("crema_d", crema_d, votes="voice")
    table.write_text("\n".join([*lines[:2], lines[2].replace('"H"', '"J"')]))
    with pytest.raises(CorpusError, match="line 3: unknown votes .'J'"):
        load_corpus("crema_d", crema_d, votes="voice")
    table.write_text("FileName,Vote\n")
    with pytest.raises(CorpusError, match="Missing: .'VoiceVote'"):
        load_corpus("crema_d", crema_d, votes="voice")
    table.write_text(VOTES + lines[2].replace('"3"', '"9"') + "\n")
    with pytest.raises(
        CorpusError, match="'1002_IEO_HAP_LO' .*line 3, and .*csv, line 5"
    ):
        load_corpus("crema_d", crema_d, votes="voice")
    people = crema_d / "VideoDemographics.csv"
    people.write_text(people.read_text().replace("Female", "Child"))
    with pytest.raises(CorpusError, match="line 3: unknown sex 'Child'"):
        load_corpus("crema_d", crema_d)
    people.write_bytes("ActorID,Sex\n1001,M\xe4nnlich\n".encode("latin-1"))
    with pytest.raises(CorpusError, match="line 2: the byte 0xe4 is not UTF-8"):
        load_corpus("crema_d", crema_d)
    people.unlink()
    table.unlink()
    with pytest.raises(CorpusError, match="votes='intended'"):
        load_corpus("crema_d", crema_d, votes="voice")
