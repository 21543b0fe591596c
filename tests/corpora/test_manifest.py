import dataclasses
import pickle

import pytest

from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.corpora.reading import Reading


def utterance(name, label="anger", speaker="03", **fields):
    return Utterance(name, f"{name}.wav", label, speaker, **fields)


@pytest.fixture
def manifest():
    return Manifest(
        [
            utterance("c", "sadness", "08", session="S2", sex="female"),
            utterance("a", "anger", "03", session="S1", sex="male"),
            utterance("b", "neutral", "08", session="S2", sex="female"),
        ],
        ("neutral", "sadness", "anger", "fear"),
    )


def test_order_of_utterances_and_labels_is_kept(manifest):
    assert [u.id for u in manifest] == ["c", "a", "b"]
    assert manifest.labels == ("neutral", "sadness", "anger", "fear")
    assert manifest.label_ids.tolist() == [1, 2, 0]
    assert manifest.label_ids.dtype == "int32"
    assert manifest.speakers == ("03", "08")
    assert manifest.counts() == {
        "neutral": 1,
        "sadness": 1,
        "anger": 1,
        "fear": 0,
    }
    assert [u.id for u in manifest[1:]] == ["a", "b"]
    assert manifest[0].id == "c"


def test_select(manifest):
    assert [u.id for u in manifest.select(speakers=["08"])] == ["c", "b"]
    assert [u.id for u in manifest.select(sessions="S1")] == ["a"]
    chosen = manifest.select(labels=["sadness", "neutral"])
    assert chosen.labels == ("sadness", "neutral")
    assert chosen.label_ids.tolist() == [0, 1]
    with pytest.raises(ValueError, match="joy.*known|unknown labels.*joy"):
        manifest.select(labels=["joy"])
    with pytest.raises(ValueError, match="'99'"):
        manifest.select(speakers=["03", "99"])
    with pytest.raises(ValueError, match="at least one utterance"):
        manifest.select(labels=["fear"])


def test_relabel_merges(manifest):
    merged = manifest.relabel({"sadness": "neutral"})
    assert merged.labels == ("neutral", "anger", "fear")
    assert merged.counts()["neutral"] == 2
    ordered = manifest.relabel(
        {"sadness": "neutral"}, ("fear", "anger", "neutral")
    )
    assert ordered.label_ids.tolist() == [2, 1, 2]
    with pytest.raises(ValueError, match="unknown labels.*sad'"):
        manifest.relabel({"sad": "sadness"})


def test_saved_manifest_reads_back(manifest, tmp_path):
    path = tmp_path / "new" / "manifest.jsonl"
    manifest.save(path)
    assert Manifest.load(path) == manifest
    assert [p.name for p in path.parent.iterdir()] == ["manifest.jsonl"]


def test_broken_manifest_file_names_file_and_line(manifest, tmp_path):
    path = tmp_path / "manifest.jsonl"
    manifest.save(path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], '{"id": "x"}']))
    with pytest.raises(ValueError, match=r"manifest.jsonl, line 3: .*path"):
        Manifest.load(path)
    path.write_text("\n".join([*lines, lines[1]]))
    with pytest.raises(ValueError, match=r"manifest.jsonl: .*'c' in lines 2 "):
        Manifest.load(path)


@pytest.mark.parametrize(
    "line, message",
    [
        (b'{"id": "\xff"}', "line 3: .*utf-8"),
        (b"[1]", "line 3: "),
        (b"3", "line 3: "),
        (b'{"id": 3, "path": "x", "label": "anger", "speaker": "s"}', "line 3"),
    ],
)
def test_line_that_is_no_utterance_is_named(manifest, tmp_path, line, message):
    path = tmp_path / "manifest.jsonl"
    manifest.save(path)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*lines[:2], line, *lines[2:]]))
    with pytest.raises(ValueError, match=message):
        Manifest.load(path)


def test_text_with_line_ends_of_unicode_reads_back(tmp_path):
    rows = [
        utterance(str(i), text=text)
        for i, text in enumerate(["a\u2028b", "c\nd", "e\rf", "ä\x85"])
    ]
    path = tmp_path / "manifest.jsonl"
    Manifest(rows).save(path)
    assert Manifest.load(path) == Manifest(rows)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n\r\n"))
    assert Manifest.load(path) == Manifest(rows)


def test_equal_names_are_kept_once(tmp_path):
    path = tmp_path / "manifest.jsonl"
    Manifest([utterance(str(i), session="S1") for i in range(3)]).save(path)
    loaded = Manifest.load(path)
    for name in ("label", "speaker", "session"):
        assert len({id(getattr(u, name)) for u in loaded}) == 1


def test_manifest_is_sent_to_another_process(manifest):
    assert pickle.loads(pickle.dumps(manifest)) == manifest


def test_bad_rows_are_named():
    with pytest.raises(ValueError, match="at least one utterance"):
        Manifest([])
    with pytest.raises(ValueError, match="'a' in rows 0 and 2"):
        Manifest([utterance("a"), utterance("b"), utterance("a")])
    with pytest.raises(
        ValueError, match=r"known \['anger'\].*'joy' in row 1 \(b\)"
    ):
        Manifest([utterance("a"), utterance("b", "joy")], ("anger",))
    with pytest.raises(ValueError, match="`labels` must not repeat"):
        Manifest([utterance("a")], ("anger", "anger"))
    with pytest.raises(ValueError, match="`sex`"):
        utterance("a", sex="f")
    with pytest.raises(ValueError, match="end after it starts"):
        utterance("a", start=2.0, end=1.0)
    with pytest.raises(ValueError, match="`speaker`"):
        utterance("a", speaker="")


def test_many_bad_rows_are_counted():
    rows = [utterance(str(i), "joy") for i in range(50)]
    with pytest.raises(ValueError, match="and 45 more"):
        Manifest(rows, ("anger",))


def test_describe(manifest):
    text = manifest.describe()
    assert "3 utterances: neutral 1, sadness 1, anger 1, fear 0" in text
    assert "2 speakers (1 female, 1 male): 03, 08" in text
    assert "2 sessions: S1, S2" in text


@pytest.mark.parametrize(
    "field", ["id", "label", "speaker", "session", "corpus", "partition"]
)
@pytest.mark.parametrize("value", ["a ", " a", "a\n", "\u00a0a"])
def test_a_name_with_blanks_at_an_end_is_refused(field, value):
    names = {"id": "1", "path": "1.wav", "label": "joy", "speaker": "n"}
    with pytest.raises(ValueError, match=f"`{field}` .*no blanks at an end"):
        Utterance(**names | {field: value})


def test_parts_keep_what_reading_found(manifest):
    reading = Reading({"songs": 2}, ("1 of 2 speakers",))
    read = dataclasses.replace(manifest, reading=reading)
    assert read == manifest  # The same utterances.
    for part in (
        read[:1],
        read.select(speakers=read.speakers[:1]),
        read.subset(read.utterances[1:]),
        read.relabel({}),
    ):
        assert part.reading == reading
    assert read.describe().endswith(
        "left out: songs 2\nMISSING: 1 of 2 speakers"
    )
    more = reading.add({"songs": 1, "videos": 0}, notes=("x",))
    assert more.to_dict() == {
        "left_out": {"songs": 3},
        "missing": ["1 of 2 speakers"],
        "notes": ["x"],
    }


def test_padded_speakers_of_an_older_version_are_read(tmp_path):
    """Its run of nEMO can still be reported."""
    row = '{"id": "a", "path": "a.wav", "label": "joy", "speaker": "SJB "}\n'
    (tmp_path / "old.jsonl").write_text('{"labels": ["joy"]}\n' + row)
    (utterance,) = Manifest.load(tmp_path / "old.jsonl")
    assert utterance.speaker == "SJB"
