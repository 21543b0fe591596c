import collections
import csv
import importlib

import pytest

from ser_keras.corpora.built_in import built_in_corpus
from ser_keras.corpora.parsers import CorpusError
from ser_keras.corpora.parsers import CorpusWarning
from ser_keras.corpora.parsers import corpus_names
from ser_keras.corpora.parsers import load_corpus
from tests.corpora.parsers.conftest import touch
from tests.corpora.parsers.conftest import tree

SEX = {"f": "female", "m": "male"}


def oracle(corpora_root, name):
    with open(corpora_root / f"{name}.csv", newline="") as file:
        return {row["stem"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("name, size", [("emodb", 535), ("ravdess", 1440)])
def test_every_row_equals_the_table(corpora_root, name, size):
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


def test_unknown_names(tmp_path):
    with pytest.raises(ValueError, match="'emodb', 'emovo', 'iemocap'"):
        load_corpus("emo-db", tmp_path)
    touch(tmp_path / "03a01Fa.wav")
    with pytest.raises(ValueError, match="unknown labels: .'joy'"):
        load_corpus("emodb", tmp_path, labels=("joy",))


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


NO_FOLDER = {"manifest"}


@pytest.mark.parametrize("name", sorted(set(corpus_names()) - NO_FOLDER))
def test_wrong_folders(tmp_path, name):
    with pytest.raises(CorpusError, match="does not exist. Expected"):
        load_corpus(name, tmp_path / "nothing")
    with pytest.raises(CorpusError, match="is empty. Expected"):
        load_corpus(name, tmp_path)
    tree(tmp_path, [f"holiday{number}.wav" for number in range(7)])
    with pytest.raises(CorpusError, match="Expected"):
        load_corpus(name, tmp_path)
    with pytest.raises(CorpusError, match="is not a folder. Expected"):
        load_corpus(name, tmp_path / "holiday0.wav")


@pytest.mark.parametrize("name", ["emodb", "iemocap", "ravdess"])
def test_wrong_layouts_name_files(tmp_path, name):
    tree(tmp_path, [f"holiday{number}.wav" for number in range(7)])
    with pytest.raises(CorpusError, match="holiday0.wav.*and 2 more"):
        load_corpus(name, tmp_path)


def test_two_files_with_one_id_are_named(tmp_path):
    for rate in ("48k", "192k"):
        touch(tmp_path / f"CaFE_{rate}/C/01-C-2-1.wav", rate)
        touch(tmp_path / f"CaFE_{rate}/noise.wav", rate)
    with pytest.raises(CorpusError, match="'01-C-2-1': .*192k.* and .*48k"):
        load_corpus("cafe", tmp_path)
    for actor in ("Actor_01", "Actor_02"):
        touch(tmp_path / "r" / actor / "03-01-05-01-02-01-01.wav", actor)
    with pytest.raises(CorpusError, match="Actor_01.* and .*Actor_02"):
        load_corpus("ravdess", tmp_path / "r")


#: Of each corpus that is read from names: a file, and how archives have it.
AS_ARCHIVED = {
    "ravdess": (
        "03-01-05-01-02-01-01",
        ["Audio_Speech_Actors_01-24/Actor_01", "Actor_01", "a/b/c/d"],
    ),
    "tess": ("OAF_back_angry", ["TESS Toronto set/TESS/OAF_angry", "."]),
    "savee": ("DC_sa07", ["ALL", "AudioData", "savee/ALL"]),
    "crema_d": ("1001_DFA_ANG_XX", ["AudioWAV", "CREMA-D-master/AudioWAV"]),
    "emodb": ("03a01Wa", ["WAV", "EmoDB/wav", "download"]),
    "emovo": ("gio-f1-b1", ["EMOVO/f1", "f1"]),
    "cafe": ("01-C-2-1", ["CaFE_48k/Colère/Fort", "."]),
}


@pytest.mark.parametrize("suffix", [".wav", ".WAV", ".mp3", ".ogg"])
@pytest.mark.parametrize("name", sorted(AS_ARCHIVED))
def test_corpora_as_archives_have_them(tmp_path, name, suffix):
    stem, folders = AS_ARCHIVED[name]
    for number, folder in enumerate(folders):
        root = tmp_path / str(number)
        touch(root / folder / f"{stem}{suffix}")
        touch(root / folder / f"._{stem}{suffix}")
        touch(root / "__MACOSX" / folder / f"{stem}{suffix}", "resource")
        touch(root / "Thumbs.db")
        (utterance,) = load_corpus(name, root)
        assert utterance.id == stem
        assert utterance.path == str(root / folder / f"{stem}{suffix}")


@pytest.mark.parametrize("name", sorted(AS_ARCHIVED))
def test_copies_are_counted_and_the_best_one_is_taken(tmp_path, name):
    stem, _ = AS_ARCHIVED[name]
    for file in ("mp3/x.mp3", "x.wav", "copy/x.wav", "ogg/x.ogg"):
        touch(tmp_path / file.replace("x", stem), file[-3:])
    touch(tmp_path / f"{stem} (1).wav")
    manifest = load_corpus(name, tmp_path)
    assert [u.path for u in manifest] == [str(tmp_path / f"{stem}.wav")]
    assert manifest.reading.left_out == {
        "copies of an audio file": 1,
        "copies in another format (mp3)": 1,
        "copies in another format (ogg)": 1,
        f"audio files of other names (such as {stem} (1).wav)": 1,
    }


def test_a_folder_too_deep_is_told_the_one_above(tmp_path):
    for actor in ("01", "02"):
        file = f"Actor_{actor}/03-01-05-01-02-01-{actor}.wav"
        touch(tmp_path / file)
    manifest = load_corpus("ravdess", tmp_path / "Actor_01")
    assert manifest.reading.missing[0] == (
        f"1 more files of RAVDESS are in the folder above; give {tmp_path}"
    )


def test_links_to_nothing_are_counted(tmp_path):
    touch(tmp_path / "03a01Wa.wav")
    (tmp_path / "03a01Na.wav").symlink_to(tmp_path / "annex/gone.wav")
    reading = load_corpus("emodb", tmp_path).reading
    assert reading.left_out == {"links to audio that is not there": 1}


#: Utterances, speakers and sessions of the publications.
PUBLISHED = {
    "cafe": (936, 12, None),
    "crema_d": (7442, 91, None),
    "emodb": (535, 10, None),
    "emovo": (588, 6, None),
    "iemocap": (7532, 10, 5),
    "msp_improv": (7798, 12, 6),
    "nemo": (4481, 9, None),
    "ravdess": (1440, 24, None),
    "savee": (480, 4, None),
    "tess": (2800, 2, None),
}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_releases_have_the_numbers_of_their_publications(name):
    parser = importlib.import_module(f"ser_keras.corpora.parsers.{name}")
    release = parser.RELEASE
    found = sum(release.labels.values()), release.speakers, release.sessions
    assert found == PUBLISHED[name]
    known = parser._LABEL_OF.values()
    assert set(release.labels) <= set(known)


@pytest.mark.parametrize("name", ["emodb", "ravdess"])
def test_a_whole_corpus_lacks_nothing(corpora_root, name):
    assert load_corpus(name, corpora_root / name).reading.missing == ()


def test_what_is_missing_is_warned_of(tmp_path):
    touch(tmp_path / "03a01Wa.wav")
    with pytest.warns(CorpusWarning, match="1 of 10 speakers .03.; 1 of 127"):
        load_corpus("emodb", tmp_path, labels="anger")


def test_the_built_in_corpus_is_a_part_on_purpose():
    assert load_corpus("emodb", built_in_corpus()).reading.missing == ()
