import hashlib
import json
import random

import pytest

from ser_keras.corpora.label_maps import combine_corpora
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.corpora.parsers import load_corpus
from ser_keras.evaluation.cross_validation import protocol_of
from ser_keras.protocols import protocol as protocol_module
from ser_keras.protocols.protocol import PROTOCOLS
from ser_keras.protocols.protocol import CrossCorpus
from ser_keras.protocols.protocol import LeaveOneSpeakerOut
from ser_keras.protocols.protocol import Protocol
from ser_keras.protocols.protocol import RandomFolds
from ser_keras.protocols.protocol import SpeakerGroups
from ser_keras.protocols.protocol import folds_hash
from ser_keras.protocols.protocol import get_protocol
from ser_keras.protocols.splits import check_classes
from ser_keras.protocols.splits import leave_one_speaker_out


@pytest.fixture(scope="module")
def emodb(corpora_root):
    return load_corpus("emodb", corpora_root / "emodb")


@pytest.fixture(scope="module")
def ravdess(corpora_root):
    return load_corpus("ravdess", corpora_root / "ravdess")


def test_facts_of_all_named_protocols():
    facts = {
        name: (protocol.leaks_speakers, protocol.selects_on_test)
        for name, protocol in PROTOCOLS.items()
        if protocol.leaks_speakers or protocol.selects_on_test
    }
    assert facts == {
        "emodarts-pairs-published": (False, True),
        "random-folds": (True, True),
    }
    assert "SPEAKER-DEPENDENT, SELECTS" in PROTOCOLS["random-folds"].describe()
    assert len({p.hash for p in PROTOCOLS.values()}) == len(PROTOCOLS)


def test_facts_are_those_of_the_folds(emodb):
    for protocol in (
        LeaveOneSpeakerOut(),
        get_protocol("emodb-pairs"),
        SpeakerGroups(5, selects_on_test=True),
        RandomFolds(number=3, selects_on_test=False),
    ):
        for fold in protocol.folds(emodb):
            assert fold.leaks_speakers == protocol.leaks_speakers
            assert fold.selects_on_test == protocol.selects_on_test


def test_folds_name_their_protocol(emodb):
    protocol = SpeakerGroups(5)
    folds = protocol.folds(emodb)
    assert protocol_of(folds) == protocol.record
    assert protocol.record == {
        "name": "speaker-groups-5",
        "leaks_speakers": False,
        "selects_on_test": False,
        "hash": protocol.hash,
    }
    other = LeaveOneSpeakerOut().folds(emodb)
    assert protocol_of([folds[0], other[0]]) is None
    assert protocol_of(leave_one_speaker_out(emodb)) is None
    # Otherwise they are what they were.
    assert other == leave_one_speaker_out(emodb)


def test_protocols_by_name():
    assert get_protocol("speaker-groups-4") == SpeakerGroups(4)
    assert get_protocol("random-folds", number=3, seed=2) == RandomFolds(3, 2)
    assert get_protocol(SpeakerGroups(3)) == SpeakerGroups(3)
    for name in ("speaker-groups", "speaker-groups-x", "nonsense", None):
        with pytest.raises(ValueError, match="speaker-groups-5"):
            get_protocol(name)


def test_emodb_and_ravdess_groups(emodb, ravdess):
    folds = get_protocol("emodb-pairs").folds(emodb)
    assert [f.name for f in folds] == [
        "03+08",
        "09+10",
        "11+13",
        "12+14",
        "15+16",
    ]
    assert folds_hash(folds) == folds_hash(SpeakerGroups(5).folds(emodb))
    folds = get_protocol("ravdess-groups").folds(ravdess)
    assert [len(f.test) for f in folds] == [240] * 6
    assert folds[1].name == "05+06+07+08"
    assert folds_hash(folds) == folds_hash(SpeakerGroups(6).folds(ravdess))
    with pytest.raises(ValueError, match="exactly once"):
        get_protocol("emodb-pairs").folds(ravdess)


def test_emodarts_pairs():
    rows = [
        Utterance(f"{s}{x}", "a.wav", "anger", f"Ses0{s}{x}", f"Ses0{s}")
        for s in range(1, 6)
        for x in "FM"
    ]
    folds = get_protocol("emodarts-pairs-published").folds(Manifest(rows))
    assert [f.test.speakers for f in folds] == [
        ("Ses01M", "Ses02F"),
        ("Ses02M", "Ses03F"),
        ("Ses03M", "Ses04F"),
        ("Ses04M", "Ses05F"),
        ("Ses01F", "Ses05M"),
    ]
    assert all(f.selects_on_test and not f.leaks_speakers for f in folds)


def test_hash_is_stable_and_knows_every_setting():
    # A result of yesterday must be comparable today: these never change.
    assert LeaveOneSpeakerOut().hash == "647fbe93e422"
    assert get_protocol("emodb-pairs").hash == "f76a342aabe4"
    hashes = {
        RandomFolds().hash,
        RandomFolds(seed=1).hash,
        RandomFolds(number=10).hash,
        RandomFolds(selects_on_test=False).hash,
        SpeakerGroups(5).hash,
        SpeakerGroups(5, "other").hash,
    }
    assert len(hashes) == 6
    for protocol in PROTOCOLS.values():
        row = json.loads(json.dumps(protocol.to_dict()))
        assert row["name"] == protocol.name
        assert set(row) >= {"leaks_speakers", "selects_on_test"}


def test_hash_of_folds_knows_people_and_labels_only(emodb):
    folds = LeaveOneSpeakerOut().folds(emodb)
    rows = list(emodb)
    random.Random(1).shuffle(rows)
    assert folds_hash(LeaveOneSpeakerOut().folds(Manifest(rows))) == folds_hash(
        folds
    )
    assert folds_hash(folds[:9]) != folds_hash(folds)
    merged = emodb.relabel({"boredom": "neutral"})
    assert folds_hash(LeaveOneSpeakerOut().folds(merged)) != folds_hash(folds)


def test_cross_corpus(emodb, ravdess):
    both = combine_corpora([emodb, ravdess])
    (fold,) = CrossCorpus(("ravdess",), ("emodb",), "6").folds(both)
    check_classes(fold, test=True)
    assert fold.name == "emodb" and not fold.overstates
    assert len(fold.test) == 535 - 81
    assert len(fold.train) == 1440 - 2 * 192
    assert {u.corpus for u in fold.train} == {"ravdess"}
    (fold,) = CrossCorpus(("ravdess",), ("emodb",), "7").folds(both)
    with pytest.raises(ValueError, match="test part. Missing: .'surprise'"):
        check_classes(fold, test=True)
    with pytest.raises(ValueError, match="emodb.*ravdess.*train=.'tess'"):
        CrossCorpus(("tess",), ("emodb",)).folds(both)
    with pytest.raises(ValueError, match="not both. Received: .'emodb'"):
        CrossCorpus(("emodb",), ("emodb",)).folds(both)


def test_names():
    assert get_protocol("random-folds") == RandomFolds()
    own = SpeakerGroups(3)
    assert get_protocol(own) is own and own.name == "speaker-groups-3"
    with pytest.raises(ValueError, match="'emodb-pairs'.*name='loso'"):
        get_protocol("loso")
    with pytest.raises(NotImplementedError):
        Protocol().folds(None)


@pytest.mark.parametrize("rows", [1, 3, 4096])
def test_hash_of_folds_is_that_of_their_json(monkeypatch, rows):
    """Of any length at a time: scores of earlier versions are compared."""
    monkeypatch.setattr(protocol_module, "_ROWS", rows)
    manifest = Manifest(
        [
            Utterance(f"ä{i}", f"{i}.wav", "anger", f"s{i % 5}")
            for i in range(20, 0, -1)
        ]
    )
    folds = get_protocol("leave-one-speaker-out").folds(manifest)
    for some in (folds, folds[:1], []):
        value = [
            [
                fold.name,
                fold.leaks_speakers,
                fold.selects_on_test,
                fold.test.labels,
                *[
                    sorted((u.id, u.speaker, u.label) for u in part)
                    for part in (fold.train, fold.test)
                ],
            ]
            for fold in some
        ]
        text = json.dumps(value, sort_keys=True).encode()
        expected = hashlib.blake2b(text, digest_size=6).hexdigest()
        assert folds_hash(some) == expected
