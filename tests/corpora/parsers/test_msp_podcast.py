import dataclasses
import json
import pathlib

import pytest

from ser_keras.corpora.parsers import CorpusError
from ser_keras.corpora.parsers import load_corpus
from ser_keras.protocols.protocol import Partitions

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
    assert fold.train.reading.left_out == {
        **manifest.reading.left_out,
        "partition test2, in no fold": 1,
        "partition development, in no fold": 1,
    }
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
    manifest = load_corpus("msp_podcast", msp_podcast)
    assert len(manifest) == 5
    what = "files of Test3, whose labels are not published"
    assert manifest.reading.left_out[what] == 2
    # Of any other part, a file without labels is of another release.
    write_partitions(msp_podcast, LABELS + hidden.replace("Test3", "Test2"))
    with pytest.raises(CorpusError, match="2 of 6 files are not in .*test3_00"):
        load_corpus("msp_podcast", msp_podcast)


def test_msp_podcast_bad_tables(msp_podcast):
    table = msp_podcast / "Labels/labels_consensus.csv"
    for labels, message in (
        (LABELS.replace(",Split_Set", ",Set"), "Missing: .'Split_Set'"),
        (LABELS.replace(",U,", ",Q,"), "line 5: unknown label 'Q'"),
        (LABELS.replace(",C,", ",,"), "line 6: nothing in .'EmoClass'"),
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


def as_json(root):
    table = root / "Labels/labels_consensus.csv"
    header, *lines = (x.split(",") for x in LABELS.splitlines())
    entries = {x[0]: dict(zip(header[1:], x[1:], strict=True)) for x in lines}
    table.with_suffix(".json").write_text(json.dumps(entries))
    table.unlink()


def beside_the_audio(root):
    table = root / "Labels/labels_consensus.csv"
    table.rename(root / table.name)


def lower_case(root):
    (root / "Audios").rename(root / "audios")
    (root / "Labels").rename(root / "labels")


def in_folders(root):
    for file in sorted((root / "Audios").iterdir()):
        folder = root / "Audios" / file.name[:16]
        folder.mkdir(exist_ok=True)
        file.rename(folder / file.name)


@pytest.mark.parametrize(
    "change", [as_json, beside_the_audio, lower_case, in_folders]
)
def test_msp_podcast_as_it_is_on_a_disk(msp_podcast, change):
    first = load_corpus("msp_podcast", msp_podcast)
    change(msp_podcast)
    again = load_corpus("msp_podcast", msp_podcast.parent)  # A level higher.
    assert [dataclasses.replace(u, path="x") for u in again] == [
        dataclasses.replace(u, path="x") for u in first
    ]
    assert all(pathlib.Path(u.path).is_file() for u in again)


def test_msp_podcast_with_empty_cells(msp_podcast):
    """Rows of the release lack the speaker or the sex of some turns."""
    table = msp_podcast / "Labels/labels_consensus.csv"
    table.write_text(LABELS.replace(",41,Female,", ", ,,"))
    manifest = load_corpus("msp_podcast", msp_podcast)
    (turn,) = (u for u in manifest if u.id.endswith("0004_0002"))
    assert (turn.speaker, turn.sex) == ("unknown-0004", None)
    assert "without a speaker in labels_consensus.csv: 3;" in " ".join(
        manifest.reading.notes
    )
