import dataclasses
import json

import numpy as np
import pytest
import soundfile

from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.corpora.parsers import load_corpus
from ser_keras.protocols.audit import audit_corpus

RATE = 16000


def noise(seed, seconds=1.0, scale=0.1):
    random = np.random.default_rng(seed)
    return random.normal(0, scale, round(seconds * RATE)).clip(-0.9, 0.9)


@pytest.fixture
def corpus(tmp_path):
    rows = []
    for number in range(12):
        name = f"u{number:02d}"
        # u06 is u00 again; u07 is silent, u08 short, u09 clipped.
        clip = noise(0 if number == 6 else number)
        if number == 7:
            clip = clip * 0
        if number == 8:
            clip = clip[: RATE // 4]
        if number == 9:
            clip[:50] = 1.0
        soundfile.write(tmp_path / f"{name}.wav", clip, RATE)
        rows.append(
            Utterance(
                name,
                str(tmp_path / f"{name}.wav"),
                ("anger", "fear")[number % 2 or number == 6],
                f"s{number // 2}",
                session=f"S{number // 4}",
                sex="male",
            )
        )
    (tmp_path / "u11.wav").write_bytes(b"RIFF")
    return Manifest(rows)


def test_audit_finds_what_is_wrong(corpus):
    audit = audit_corpus(corpus, jobs=2)
    assert audit.utterances == 12 and not audit.usable
    # u08 is a quarter of a second, u11 nothing.
    assert audit.hours == pytest.approx(10.25 / 3600)
    assert audit.classes == {"anger": 5, "fear": 7}
    assert audit.duplicates == (("u00", "u06"),)
    assert audit.conflicting == (("u00", "u06"),)
    assert audit.silent == ("u07",)
    assert audit.clipped == {"u09": 50}
    assert audit.short == {"u08": 0.25}
    assert list(audit.unusable) == ["u11"]
    assert audit.speakers["s3"]["lacks"] == ["anger"]
    assert audit.speakers["s0"]["minutes"] == pytest.approx(2 / 60, abs=0.01)
    assert json.loads(json.dumps(audit.to_dict()))["sessions"] == [
        "S0",
        "S1",
        "S2",
    ]


def test_protocols(corpus):
    protocols = {row.protocol: row for row in audit_corpus(corpus).protocols}
    assert set(protocols) == {
        "leave-one-speaker-out",
        "leave-one-session-out",
        "speaker-groups-5",
        "random-folds",
    }
    speakers = protocols["leave-one-speaker-out"]
    assert (speakers.folds, speakers.smallest, speakers.largest) == (6, 2, 2)
    assert speakers.lacking == ("s3",) and speakers.shared_speakers == 0
    # The duplicates are of speakers s0 and s3: each is tested once.
    assert speakers.duplicates == 2
    assert protocols["random-folds"].shared_speakers >= 1
    assert protocols["leave-one-session-out"].folds == 3


def test_protocols_that_are_not_possible(corpus):
    alone = corpus.select(speakers="s0")
    speakers, sessions = audit_corpus(alone).protocols
    assert speakers.folds == sessions.folds == 0
    assert "at least two speakers" in speakers.problem
    assert "at least two sessions" in sessions.problem
    rare = Manifest(
        [u for u in corpus if u.label == "fear" or u.speaker == "s0"],
        corpus.labels,
    )
    protocol = audit_corpus(rare).protocols[0]
    assert "'s0' must have every class" in protocol.problem


def test_describe(corpus):
    text = audit_corpus(corpus).describe()
    for part in (
        "12 utterances, 0.003 hours",
        "6 speakers (6 male)",
        "sessions: S0, S1, S2",
        "groups of identical audio: 1: u00 = u06",
        "silent files: 1: u07",
        "clipped files (samples): 1: u09 (50)",
        "files shorter than 0.5 s: 1: u08 (0.25)",
        "unusable files: 1: u11 (not audio",
        "2 test utterances are in training under another name",
        "SPEAKER-DEPENDENT",
    ):
        assert part in text
    one = audit_corpus(corpus.select(speakers=["s1"])).describe()
    assert "not possible: Folds need at least two speakers" in one
    assert "silent files: none" in one


def test_partitions_and_many_speakers(corpus):
    rows = [
        dataclasses.replace(
            corpus[i % 12],
            id=f"x{i}",
            speaker=f"s{i:03d}",
            session=None,
            partition=("train", "test1")[i > 80],
        )
        for i in range(101)
    ]
    audit = audit_corpus(Manifest(rows))
    assert audit.partitions == {"test1": 20, "train": 81}
    assert "partitions: test1 20, train 81" in audit.describe()
    assert "speakers in several partitions: none" in audit.describe()
    names = [row.protocol for row in audit.protocols]
    assert names == [
        "partitions",
        "speaker-groups-5",
        "speaker-groups-6",
        "random-folds",
    ]
    first = audit.protocols[0]
    assert (first.folds, first.largest, first.problem) == (1, 20, None)


def test_partitions_that_share_speakers(corpus):
    parts = ("train", "train", "test1", "development", "test1", "test2")
    rows = [
        dataclasses.replace(u, partition=parts[i % 6])
        for i, u in enumerate(corpus)
    ]
    audit = audit_corpus(Manifest(rows))
    assert audit.divided["s2"] == ["test1", "test2"]
    text = audit.describe()
    assert "in several partitions: 4: s1 (development, test1)" in text
    rows[1] = dataclasses.replace(rows[1], partition="test1")
    text = audit_corpus(Manifest(rows)).describe()
    assert "partitions: not possible: " in text
    assert "shared speakers: ['s0']" in text
    rows = [dataclasses.replace(u, partition="fold1") for u in corpus]
    text = audit_corpus(Manifest(rows)).describe()
    assert "partitions: not possible: The manifest must have" in text


def test_the_known_pair_of_ravdess(corpora_root):
    # Published: actor 07 says one clip twice.
    manifest = load_corpus("ravdess", corpora_root / "ravdess")
    audit = audit_corpus(manifest.select(speakers=["07", "08"]))
    pair = ("03-01-03-01-02-01-07", "03-01-03-01-02-02-07")
    assert audit.duplicates == (pair,) and audit.conflicting == ()
    assert audit.usable and audit.utterances == 120
