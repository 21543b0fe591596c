import shutil

import pytest

from ser_keras.corpora.parsers import CorpusError
from ser_keras.corpora.parsers import load_corpus
from tests.corpora.parsers.conftest import touch

EVALUATION = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

{lines}
"""


TURN = """[{number}.2901 - {number}.9500]\t{name}\t{label}\t[2.5, 2.5, 2.5]
C-E2:\tNeutral; Anger;\t(really ang)
C-F1:\tNeutral;\t(curious)
A-E3:\tval 3; act 2; dom  2;\t()
"""


def dialogue(root, session, name, turns, wavs=True):
    folder = root / f"Session{session}"
    lines = []
    for number, (turn, label) in enumerate(turns):
        turn = f"{name}_{turn}"
        lines.append(TURN.format(number=number, name=turn, label=label))
        if wavs:
            touch(folder / "sentences/wav" / name / f"{turn}.wav")
    text = EVALUATION.format(lines="\n".join(lines))
    touch(folder / "dialog/EmoEvaluation" / f"{name}.txt", text)
    touch(folder / "dialog/EmoEvaluation" / f"._{name}.txt", "\x00\x05")
    touch(folder / "dialog/EmoEvaluation/Categorical" / f"{name}_e1.txt")


@pytest.fixture
def iemocap(tmp_path):
    dialogue(
        tmp_path,
        1,
        "Ses01F_impro01",
        [("F000", "neu"), ("M003", "exc"), ("F001", "xxx"), ("M001", "fru")],
    )
    dialogue(
        tmp_path,
        1,
        "Ses01M_script01_1b",
        [("F000", "hap"), ("MXX0", "sad"), ("M010", "oth")],
    )
    dialogue(tmp_path, 2, "Ses02M_impro05a", [("F002", "ang"), ("M000", "sur")])
    touch(
        tmp_path / "Session1/dialog/transcriptions/Ses01F_impro01.txt",
        "Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.\nF: (breathing)\n",
    )
    return tmp_path


def test_iemocap(iemocap):
    manifest = load_corpus("iemocap", iemocap)
    rows = {u.id: (u.label, u.speaker, u.session, u.sex) for u in manifest}
    assert rows == {
        "Ses01F_impro01_F000": ("neutral", "Ses01F", "Ses01", "female"),
        "Ses01F_impro01_M003": ("happiness", "Ses01M", "Ses01", "male"),
        "Ses01M_script01_1b_F000": ("happiness", "Ses01F", "Ses01", "female"),
        "Ses01M_script01_1b_MXX0": ("sadness", "Ses01M", "Ses01", "male"),
        "Ses02M_impro05a_F002": ("anger", "Ses02F", "Ses02", "female"),
    }
    assert list(rows) == sorted(rows)
    assert manifest.labels == ("neutral", "happiness", "sadness", "anger")
    assert manifest[0].text == "Excuse me."
    assert manifest[0].path.endswith(
        "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav"
    )


def test_what_iemocap_lacks_and_leaves_out(iemocap):
    reading = load_corpus("iemocap", iemocap, scripts="improvised").reading
    assert reading.left_out == {
        "no agreement of the raters (xxx)": 1,
        "dialogues that are not improvised": 3,
        "label frustration": 1,
        "label surprise": 1,
    }
    assert reading.missing == (
        "2 of 5 sessions (Ses01, Ses02)",
        "4 of 10 speakers (Ses01F, Ses01M, Ses02F, Ses02M)",
        "5 of 5531 utterances (neutral 1 of 1708, happiness 2 of 1636, "
        "sadness 1 of 1084, anger 1 of 1103)",
    )


def test_iemocap_a_level_too_high_or_too_deep(iemocap):
    nested = iemocap.parent / "nested"
    nested.mkdir()
    iemocap.rename(nested / "IEMOCAP_full_release")
    assert len(load_corpus("iemocap", nested)) == 5
    folder = (nested / "IEMOCAP_full_release").resolve()
    for deep in ("Session1", "Session1/dialog"):
        with pytest.raises(CorpusError, match=f"Give the folder {folder}$"):
            load_corpus("iemocap", folder / deep)
    shutil.copytree(folder, nested / "copy")
    with pytest.raises(CorpusError, match="2 folders of IEMOCAP. Give one"):
        load_corpus("iemocap", nested)


def test_iemocap_options(iemocap):
    def load(**options):
        return [u.id[5:] for u in load_corpus("iemocap", iemocap, **options)]

    assert load(scripts="scripted") == [
        "M_script01_1b_F000",
        "M_script01_1b_MXX0",
    ]
    improvised = ["F_impro01_F000", "F_impro01_M003", "M_impro05a_F002"]
    assert load(scripts="improvised") == improvised
    assert load(scripts="improvised", merge_excited=False) == [
        improvised[0],
        improvised[2],
    ]
    assert load(labels=("frustration", "other")) == [
        "F_impro01_M001",
        "M_script01_1b_M010",
    ]
    every = load_corpus("iemocap", iemocap, labels="all", merge_excited=False)
    assert len(every) == 8
    assert len(every.labels) == 10
    assert every.counts()["excitement"] == 1
    with pytest.raises(ValueError, match="`scripts` must be one of"):
        load(scripts="impro")


def test_iemocap_without_audio_counts_and_names(iemocap):
    dialogue(iemocap, 3, "Ses03F_impro01", [("F000", "ang")], wavs=False)
    with pytest.raises(CorpusError, match="1 of 6 .*Ses03F_impro01_F000.wav"):
        load_corpus("iemocap", iemocap)


@pytest.mark.parametrize("label", ["joy", "n-u", ""])
def test_iemocap_with_an_unknown_label(iemocap, label):
    dialogue(iemocap, 3, "Ses03F_impro01", [("F000", label)])
    with pytest.raises(
        CorpusError, match=f"impro01.txt, line 3: .*{label}.*neu, hap"
    ):
        load_corpus("iemocap", iemocap)


def test_iemocap_annotated_twice(iemocap):
    dialogue(iemocap, 3, "Ses02M_impro05a", [("F009", "xxx"), ("F002", "neu")])
    with pytest.raises(
        CorpusError,
        match="'Ses02M_impro05a_F002' occurs twice: .*Session2.*, line 3, "
        "and .*Session3.*impro05a.txt, line 8",
    ):
        load_corpus("iemocap", iemocap)
