"""Corpora whose file names say everything, in tiny trees of their layouts."""

import pytest

from ser_keras.corpora.parsers import CorpusError
from ser_keras.corpora.parsers import corpus_names
from ser_keras.corpora.parsers import load_corpus

NO_FOLDER = {"manifest"}


def tree(root, files):
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def rows(manifest):
    return {u.id: (u.label, u.speaker, u.sex, u.text) for u in manifest}


@pytest.mark.parametrize("name", sorted(set(corpus_names()) - NO_FOLDER))
def test_wrong_folders_say_what_was_expected(tmp_path, name):
    with pytest.raises(CorpusError, match="does not exist. Expected"):
        load_corpus(name, tmp_path / "nothing")
    with pytest.raises(CorpusError, match="is empty. Expected"):
        load_corpus(name, tmp_path)
    tree(tmp_path, [f"holiday{number}.wav" for number in range(7)])
    with pytest.raises(CorpusError, match="Expected"):
        load_corpus(name, tmp_path)


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


def test_emovo(tmp_path):
    files = ["f1/gio-f1-b1.wav", "m3/pau-m3-n5.wav", "documenti/readme.txt"]
    manifest = load_corpus("emovo", tree(tmp_path, files))
    assert rows(manifest) == {
        "gio-f1-b1": ("happiness", "f1", "female", "b1"),
        "pau-m3-n5": ("fear", "m3", "male", "n5"),
    }


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


def test_two_files_with_one_id_are_named(tmp_path):
    tree(tmp_path, ["CaFE_48k/C/01-C-2-1.wav", "CaFE_192k/C/01-C-2-1.wav"])
    with pytest.raises(CorpusError, match="'01-C-2-1': .*192k.* and .*48k"):
        load_corpus("cafe", tmp_path)
    files = ["Actor_01/03-01-05-01-02-01-01.wav"]
    tree(tmp_path / "r", [*files, "Actor_02/03-01-05-01-02-01-01.wav"])
    with pytest.raises(CorpusError, match="Actor_01.* and .*Actor_02"):
        load_corpus("ravdess", tmp_path / "r")


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
