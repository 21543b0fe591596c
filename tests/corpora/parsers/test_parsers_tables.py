"""Corpora with annotation files, in tiny trees of their layouts."""

import numpy as np
import pytest
import soundfile

from ser_keras.corpora.parsers import CorpusError
from ser_keras.corpora.parsers import load_corpus
from ser_keras.protocols.protocol import Partitions

EVALUATION = """\
UTD-IMPROV-S01A-F01-P-FM01.avi; N; A:2.600000; V:3.400000; D:2.600000 ; N:4.2;
WORKER00000037; Neutral; Neutral,; A:3.000; V:3.000; D:3.000 ; N:4.000;

UTD-IMPROV-S01A-M01-R-FF02.avi; A; A:2.600000; V:3.400000; D:NaN ; N:4.200000;
UTD-IMPROV-S06H-F06-T-FM03.avi; X; A:2.600000; V:3.400000; D:2.600000 ; N:4.2;
UTD-IMPROV-S06H-F06-S-FM04.avi; O; A:2.600000; V:3.400000; D:2.600000 ; N:4.2;
"""


@pytest.fixture(params=["Audio/", ""])
def msp_improv(tmp_path, request):
    for name in (
        "session1/S01A/P/MSP-IMPROV-S01A-F01-P-FM01.wav",
        "session1/S01A/R/MSP-IMPROV-S01A-M01-R-FF02.wav",
        "session6/S06H/T/MSP-IMPROV-S06H-F06-T-FM03.wav",
        "session6/S06H/S/MSP-IMPROV-S06H-F06-S-FM04.wav",
    ):
        path = tmp_path / f"{request.param}{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "Evalution.txt").write_text(EVALUATION)
    return tmp_path


def test_msp_improv(msp_improv):
    manifest = load_corpus("msp_improv", msp_improv)
    assert {u.id: (u.label, u.speaker, u.session, u.sex) for u in manifest} == {
        "S01A-F01-P-FM01": ("neutral", "F01", "01", "female"),
        "S01A-M01-R-FF02": ("anger", "M01", "01", "male"),
    }
    assert manifest[1].path.endswith("R/MSP-IMPROV-S01A-M01-R-FF02.wav")
    every = load_corpus("msp_improv", msp_improv, labels="all")
    assert every.counts()["other"] == 1
    read = load_corpus("msp_improv", msp_improv, scenarios="R")
    assert [u.speaker for u in read] == ["M01"]
    with pytest.raises(ValueError, match="`scenarios` must be letters"):
        load_corpus("msp_improv", msp_improv, scenarios="RX")


def test_msp_improv_bad_lines_are_named(msp_improv):
    table = msp_improv / "Evalution.txt"
    table.write_text(EVALUATION.replace("avi; A;", "avi; Z;"))
    with pytest.raises(CorpusError, match="Evalution.txt, line 4: .*Known"):
        load_corpus("msp_improv", msp_improv)
    table.write_text(EVALUATION.replace("FF02", "FF99"))
    with pytest.raises(CorpusError, match="1 of 3 .*S01A-M01-R-FF99"):
        load_corpus("msp_improv", msp_improv)
    again = "UTD-IMPROV-S01A-F01-P-FM01.avi; X; A:2.6\n"
    table.write_text(EVALUATION + again)
    with pytest.raises(
        CorpusError, match="'S01A-F01-P-FM01' .*line 1, and .*txt, line 7"
    ):
        load_corpus("msp_improv", msp_improv)


def test_msp_improv_one_clip_in_two_sessions(msp_improv):
    (first,) = msp_improv.rglob("*M01-R-FF02.wav")
    second = first.parents[3] / "session2/S01A/R" / first.name
    second.parent.mkdir(parents=True)
    second.touch()
    with pytest.raises(
        CorpusError, match="'S01A-M01-R-FF02': .*session1.* and .*session2"
    ):
        load_corpus("msp_improv", msp_improv)


LABELS = """\
FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set
MSP-PODCAST_0001_0008.wav,N,2.2,4.0,2.6,30,Male,Test1
MSP-PODCAST_0001_0009.wav,X,3.7,3.5,3.7,30,Male,Test1
MSP-PODCAST_0002_0039.wav,H,5.0,4.4,5.2,Unknown,Unknown,Train
MSP-PODCAST_0003_0001.wav,U,5.0,4.4,5.2,Unknown,Unknown,Test2
MSP-PODCAST_0004_0002.wav,C,5.0,4.4,5.2,41,Female,Validation
MSP-PODCAST_0005_0002.wav,N,5.0,4.4,5.2,42,Female,Train
"""


def write_partitions(root, labels=LABELS):
    lines = [line.split(",") for line in labels.splitlines()[1:]]
    (root / "Partitions.txt").write_text(
        "".join(f"{line[-1]}; {line[0]}\n" for line in lines)
    )


@pytest.fixture
def msp_podcast(tmp_path):
    root = tmp_path / "MSP-PODCAST-Publish-1.11"
    (root / "Labels").mkdir(parents=True)
    (root / "Audios").mkdir()
    (root / "Labels/labels_consensus.csv").write_text(LABELS)
    for line in LABELS.splitlines()[1:]:
        (root / "Audios" / line.split(",")[0]).touch()
    return root


def test_msp_podcast(msp_podcast):
    write_partitions(msp_podcast)
    manifest = load_corpus("msp_podcast", msp_podcast, version="1.11")
    found = {u.id[12:]: (u.label, u.speaker, u.partition) for u in manifest}
    assert found == {
        "0001_0008": ("neutral", "30", "test1"),
        "0002_0039": ("happiness", "unknown-0002", "train"),
        "0003_0001": ("surprise", "unknown-0003", "test2"),
        "0004_0002": ("contempt", "41", "development"),
        "0005_0002": ("neutral", "42", "train"),
    }
    assert [u.sex for u in manifest[:2]] == ["male", None]
    (fold,) = Partitions().folds(manifest)
    assert fold.name == "test1" and not fold.overstates
    assert fold.train.speakers == ("42", "unknown-0002")
    both = Partitions(("train", "development"), ("test1", "test2"))
    assert [len(f.test) for f in both.folds(manifest)] == [1, 1]
    with pytest.raises(ValueError, match="Missing: .'test3'.*another release"):
        Partitions(test=("test3",)).folds(manifest)


def test_msp_podcast_of_another_release(msp_podcast):
    with pytest.raises(CorpusError, match="release 1.10. Its name .*: 1.11"):
        load_corpus("msp_podcast", msp_podcast, version="1.10")
    extra = LABELS + "MSP-PODCAST_0009_0001.wav,,,,,,,Train\n"
    shorter = "\n".join(LABELS.splitlines()[:-1])
    moved = LABELS.replace("42,Female,Train", "42,Female,Test2")
    for labels, message in (
        (extra, r"1 of 6 files are not in .*0009_0001.wav \(line 7\)"),
        (shorter, "1 of 6 files are in labels_consensus.csv only.*0005_0002"),
        (moved, r"another partition than .*0005_0002.wav \(line 6\)"),
    ):
        write_partitions(msp_podcast, labels)
        with pytest.raises(CorpusError, match=f"another release.*{message}"):
            load_corpus("msp_podcast", msp_podcast)
    write_partitions(msp_podcast, LABELS + LABELS.splitlines()[1])
    with pytest.raises(
        CorpusError, match="0001_0008.wav' .*txt, line 1, and .*txt, line 7"
    ):
        load_corpus("msp_podcast", msp_podcast)
    (msp_podcast / "Partitions.txt").write_text("Train MSP-PODCAST\n")
    with pytest.raises(CorpusError, match="Partitions.txt, line 1: cannot"):
        load_corpus("msp_podcast", msp_podcast)


def test_msp_podcast_keeps_the_labels_of_test3(msp_podcast):
    hidden = "MSP-PODCAST_test3_0001.wav,,,,,,,Test3\n"
    hidden += hidden.replace("0001", "0002")
    write_partitions(msp_podcast, LABELS + hidden)
    with pytest.warns(UserWarning, match="2 files of Test3 have no labels"):
        manifest = load_corpus("msp_podcast", msp_podcast)
    assert len(manifest) == 5
    # Of any other part, a file without labels is of another release.
    write_partitions(msp_podcast, LABELS + hidden.replace("Test3", "Test2"))
    with pytest.raises(CorpusError, match="2 of 6 files are not in .*test3_00"):
        load_corpus("msp_podcast", msp_podcast)


def test_msp_podcast_bad_tables(msp_podcast):
    table = msp_podcast / "Labels/labels_consensus.csv"
    for labels, message in (
        (LABELS.replace(",Split_Set", ",Set"), "Missing: .'Split_Set'"),
        (LABELS.replace(",U,", ",Q,"), "line 5: unknown label 'Q'"),
        (LABELS.replace(",41,", ",,"), "line 6: nothing in .'SpkrID'"),
        (
            LABELS + LABELS.splitlines()[1],
            "'MSP-PODCAST_0001_0008' .*csv, line 2, and .*csv, line 8",
        ),
    ):
        table.write_text(labels)
        with pytest.raises(CorpusError, match=message):
            load_corpus("msp_podcast", msp_podcast)
    table.write_text(LABELS.replace("MSP-PODCAST_0002_0039", "turn"))
    with pytest.raises(CorpusError, match="line 4: .* podcast from 'turn'"):
        load_corpus("msp_podcast", msp_podcast)
    table.write_text(LABELS)
    with pytest.raises(CorpusError, match="labels .'fear'.*5 utterances"):
        load_corpus("msp_podcast", msp_podcast, labels=["fear"])
    (msp_podcast / "Audios/MSP-PODCAST_0003_0001.wav").unlink()
    with pytest.raises(CorpusError, match="1 of 5 .*no audio.*0003_0001"):
        load_corpus("msp_podcast", msp_podcast)


NEMO = """file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage
SJB_anger_5.wav\tanger\tTak jest.\ttak jest\tSJB\tfemale\t27
EB0_surprised_9.wav\tsurprised\t"Nie", mówi.\tnie mówi\tEB0\tmale\t30
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


@pytest.fixture
def database(tmp_path):
    audformat = pytest.importorskip("audformat")
    db = audformat.Database("little")
    db.schemes["emotion"] = audformat.Scheme(labels=["anger", "neutral"])
    db.schemes["speaker"] = audformat.Scheme(
        labels={3: {"gender": "male"}, 8: {"gender": "female"}}, dtype="int"
    )
    files = ["wav/a.wav", "wav/b.wav", "wav/c.wav"]
    db["files"] = audformat.Table(audformat.filewise_index(files))
    db["files"]["speaker"] = audformat.Column(scheme_id="speaker")
    db["files"]["speaker"].set([3, 8, 8])
    for name, part, labels in (
        ("emotion.train", files[:1], ["anger"]),
        ("emotion.test", files[1:], ["neutral", None]),
    ):
        db[name] = audformat.Table(audformat.filewise_index(part))
        db[name]["emotion"] = audformat.Column(scheme_id="emotion")
        db[name]["emotion"].set(labels)
    db["turns"] = audformat.Table(
        audformat.segmented_index(
            ["wav/a.wav", "wav/a.wav"], ["0s", "0.25s"], ["0.25s", "0.5s"]
        )
    )
    db["turns"]["emotion"] = audformat.Column(scheme_id="emotion")
    db["turns"]["emotion"].set(["anger", "neutral"])
    db.save(tmp_path)
    (tmp_path / "wav").mkdir()
    for file in files:
        soundfile.write(tmp_path / file, np.ones(8000) / 2, 16000)
    return tmp_path


def test_audformat(database):
    tables = ["emotion.train", "emotion.test"]
    manifest = load_corpus("audformat", database, tables=tables)
    assert [
        (u.id, u.label, u.speaker, u.sex, u.partition, u.start, u.end)
        for u in manifest
    ] == [
        ("wav/a", "anger", "3", "male", "emotion.train", None, None),
        ("wav/b", "neutral", "8", "female", "emotion.test", None, None),
    ]
    assert manifest[0].corpus == "little"
    (fold,) = Partitions(("emotion.train",), ("emotion.test",)).folds(manifest)
    assert [u.id for u in fold.test] == ["wav/b"]
    turns = load_corpus("audformat", database, tables="turns")
    assert [(u.id, u.start, u.end) for u in turns] == [
        ("wav/a:0", None, 0.25),
        ("wav/a:0.25", 0.25, 0.5),
    ]


@pytest.mark.parametrize("text", ["", "a: 1", "[: no"])
def test_a_database_that_is_none(tmp_path, text):
    pytest.importorskip("audformat")
    (tmp_path / "db.yaml").write_text(text)
    with pytest.raises(CorpusError, match="db.yaml or .* cannot be read"):
        load_corpus("audformat", tmp_path)


def test_audformat_says_what_is_missing(database):
    with pytest.raises(CorpusError, match="table 'emotion'.*'emotion.test'"):
        load_corpus("audformat", database)
    with pytest.raises(CorpusError, match="column 'label'.*'emotion'"):
        load_corpus("audformat", database, tables="turns", emotion="label")
    (database / "wav/a.wav").unlink()
    with pytest.raises(CorpusError, match="2 of 2 utterances have no audio"):
        load_corpus("audformat", database, tables="turns")
