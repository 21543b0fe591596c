import pytest

from ser_keras.corpora.label_maps import LABEL_MAPS
from ser_keras.corpora.label_maps import combine_corpora
from ser_keras.corpora.label_maps import map_labels
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.corpora.parsers import load_corpus


def corpus(name, labels):
    return Manifest(
        [
            Utterance(f"u{i}", "u.wav", label, f"0{i % 2}", "S1", corpus=name)
            for i, label in enumerate(labels)
        ]
    )


def test_sizes_and_nesting():
    sizes = {name: len(label_map) for name, label_map in LABEL_MAPS.items()}
    assert sizes == {"4": 4, "6": 6, "7": 7, "8": 8, "8-contempt": 8}
    for name in LABEL_MAPS:
        assert list(LABEL_MAPS[name])[:4] == list(LABEL_MAPS["4"])


def test_merges_drops_and_orders():
    manifest = corpus(
        "iemocap", ["excitement", "happiness", "calm", "anger", "frustration"]
    )
    mapped = map_labels(manifest, "4")
    assert mapped.labels == ("neutral", "happiness", "sadness", "anger")
    assert [u.label for u in mapped] == ["happiness", "happiness", "anger"]
    own = map_labels(manifest, {"low": ["calm"], "high": ["anger", "joy"]})
    assert own.counts() == {"low": 1, "high": 1}


def test_what_a_map_drops_is_counted_and_other_words_are_understood():
    manifest = corpus("mine", ["Angry", "happy", "bored", "bored", "neutral"])
    mapped = map_labels(manifest, "4")
    assert mapped.counts() == {
        "neutral": 1,
        "happiness": 1,
        "sadness": 0,
        "anger": 1,
    }
    assert mapped.reading.left_out == {"label bored, not in the label map": 2}
    assert mapped.reading.notes == (
        "label 'Angry' is read as 'anger'",
        "label 'happy' is read as 'happiness'",
    )
    both = combine_corpora([mapped, corpus("other", ["anger"])])
    assert list(both.reading.left_out) == [
        "mine: label bored, not in the label map"
    ]


def test_real_corpora(corpora_root):
    emodb = load_corpus("emodb", corpora_root / "emodb")
    ravdess = load_corpus("ravdess", corpora_root / "ravdess")
    assert map_labels(ravdess, "8").counts()["calm"] == 192
    assert len(map_labels(ravdess, "8")) == 1440
    assert len(map_labels(ravdess, "7")) == 1440 - 192
    # Without boredom; and EMO-DB has no surprise.
    assert len(map_labels(emodb, "7")) == 535 - 81
    assert map_labels(emodb, "7").counts()["surprise"] == 0
    both = combine_corpora([emodb, ravdess])
    assert len(both) == 1975 and len(both.speakers) == 34
    assert both[0].speaker == "emodb-03" and both[0].session is None


def test_what_cannot_be_mapped():
    manifest = corpus("emodb", ["boredom"])
    with pytest.raises(ValueError, match="manifest's labels, .'boredom'"):
        map_labels(manifest, "4")
    with pytest.raises(ValueError, match="must be one of .'4', '6', '7', '8'"):
        map_labels(manifest, "5")
    with pytest.raises(ValueError, match="twice: .'calm'"):
        map_labels(manifest, {"a": ["calm"], "b": ["calm"]})


def test_combining():
    one, other = corpus("x", ["anger"] * 2), corpus("y", ["joy", "anger"])
    both = combine_corpora([one, other])
    assert [u.id for u in both] == ["x-u0", "x-u1", "y-u0", "y-u1"]
    assert both.speakers == ("x-00", "x-01", "y-00", "y-01")
    assert both.sessions == ("x-S1", "y-S1")
    assert both.labels == ("anger", "joy")
    with pytest.raises(ValueError, match="x-u0.*rows 0 and 2"):
        combine_corpora([one, one])
    with pytest.raises(ValueError, match="1 without: .'u0'"):
        combine_corpora([corpus(None, ["anger"])])
