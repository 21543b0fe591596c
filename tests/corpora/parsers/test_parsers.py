import collections
import csv

import pytest

from ser_keras.corpora.parsers import CorpusError
from ser_keras.corpora.parsers import load_corpus
from ser_keras.protocols.splits import speaker_groups

SEX = {"f": "female", "m": "male"}


def oracle(corpora_root, name):
    with open(corpora_root / f"{name}.csv", newline="") as file:
        return {row["stem"]: row for row in csv.DictReader(file)}


def touch(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("name, size", [("emodb", 535), ("ravdess", 1440)])
def test_every_row_agrees_with_the_oracle(corpora_root, name, size):
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


def test_groups_of_ravdess_are_consecutive_actors(corpora_root):
    manifest = load_corpus("ravdess", corpora_root / "ravdess")
    names = [fold.name for fold in speaker_groups(manifest, 6)]
    assert names[0] == "01+02+03+04"
    assert names[-1] == "21+22+23+24"


def test_emodb_in_its_own_folder(tmp_path):
    for name in ("03a01Fa.wav", "16b10Td.wav", "16b10Td.flac", "._03a01Fa.wav"):
        touch(tmp_path / "wav" / name)
    touch(tmp_path / "erklaerung.txt")
    manifest = load_corpus("emodb", tmp_path, labels=("sadness", "happiness"))
    assert [u.id for u in manifest] == ["03a01Fa", "16b10Td"]
    assert manifest[1].path.endswith("wav/16b10Td.wav")
    assert manifest[1].text == "b10"
    assert manifest.label_ids.tolist() == [1, 0]


def test_ravdess_in_actor_folders(tmp_path):
    names = [
        "03-01-06-01-02-01-12.wav",
        "03-02-06-01-02-01-12.wav",  # A song.
        "01-01-06-01-02-01-12.mp4",  # A video.
        "02-01-06-01-02-01-12.wav",  # Not audio only.
    ]
    for name in names:
        touch(tmp_path / "Actor_12" / name)
    manifest = load_corpus("ravdess", tmp_path)
    assert [u.id for u in manifest] == ["03-01-06-01-02-01-12"]
    assert manifest[0].label == "fear"
    assert manifest[0].speaker == "12"
    assert manifest[0].sex == "female"
    assert manifest[0].text == "Dogs are sitting by the door"


@pytest.mark.parametrize("name", ["emodb", "iemocap", "ravdess"])
def test_wrong_folders(tmp_path, name):
    with pytest.raises(CorpusError, match="does not exist. Expected"):
        load_corpus(name, tmp_path / "nothing")
    with pytest.raises(CorpusError, match="is empty. Expected"):
        load_corpus(name, tmp_path)
    for number in range(7):
        touch(tmp_path / f"holiday{number}.wav")
    with pytest.raises(CorpusError, match="holiday0.wav.*and 2 more"):
        load_corpus(name, tmp_path)
    with pytest.raises(CorpusError, match="is not a folder"):
        load_corpus(name, tmp_path / "holiday0.wav")


def test_unknown_names(tmp_path):
    with pytest.raises(ValueError, match="'emodb', 'emovo', 'iemocap'"):
        load_corpus("emo-db", tmp_path)
    touch(tmp_path / "03a01Fa.wav")
    with pytest.raises(ValueError, match="unknown labels: .'joy'"):
        load_corpus("emodb", tmp_path, labels=("joy",))


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


def test_iemocap_annotated_twice(iemocap):
    dialogue(iemocap, 3, "Ses02M_impro05a", [("F009", "xxx"), ("F002", "neu")])
    with pytest.raises(
        CorpusError,
        match="'Ses02M_impro05a_F002' occurs twice: .*Session2.*, line 3, "
        "and .*Session3.*impro05a.txt, line 8",
    ):
        load_corpus("iemocap", iemocap)
