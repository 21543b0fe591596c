import hashlib
import json

import numpy as np
import pytest
import soundfile

from ser_keras.corpora.parsers import load_corpus
from ser_keras.corpora.synthetic import MARKER
from ser_keras.corpora.synthetic import is_synthetic
from ser_keras.corpora.synthetic import write_synthetic_corpus
from ser_keras.protocols.splits import leave_one_session_out


def digests(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).digest()
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_synthetic_corpus(
        tmp_path_factory.mktemp("synthetic") / "corpus", 3, 4
    )


def test_parser_reads_it(corpus):
    manifest = load_corpus("iemocap", corpus)
    assert len(manifest) == 3 * 2 * 4 * 4
    assert set(manifest.counts().values()) == {24}
    assert manifest.sessions == ("Ses01", "Ses02", "Ses03")
    assert len(manifest.speakers) == 6
    parts = [
        len(load_corpus("iemocap", corpus, scripts=s))
        for s in ("improvised", "scripted")
    ]
    assert parts == [48, 48]


def test_sentences_do_not_tell_emotions_apart(corpus):
    manifest = load_corpus("iemocap", corpus)
    spoken = {
        label: sorted(u.text for u in manifest.select(labels=label))
        for label in manifest.labels
    }
    assert None not in spoken["neutral"]
    assert len(set(spoken["neutral"])) == 4
    assert all(texts == spoken["neutral"] for texts in spoken.values())


def test_audio(corpus):
    for utterance in load_corpus("iemocap", corpus)[::5]:
        info = soundfile.info(utterance.path)
        assert (info.samplerate, info.channels) == (16000, 1)
        assert info.subtype == "PCM_16"
        samples, _ = soundfile.read(utterance.path)
        assert 0.8 < len(samples) / 16000 < 4.0
        assert 0.01 < np.sqrt(np.mean(samples**2)) < 0.3


def features(manifest):
    """Level, brightness and slowness: nothing but numpy and soundfile."""
    rows = []
    for utterance in manifest:
        samples, _ = soundfile.read(utterance.path)
        power = np.abs(np.fft.rfft(samples)) ** 2
        edges = [
            int(len(power) * f / 8000) for f in (60, 300, 1000, 3000, 8000)
        ]
        bands = [
            power[a:b].sum() for a, b in zip(edges, edges[1:], strict=False)
        ]
        rows.append([*np.log(bands), len(samples) / 16000])
    return np.array(rows)


def test_emotions_can_be_told_apart_but_not_perfectly(corpus):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scores = []
    for fold in leave_one_session_out(load_corpus("iemocap", corpus)):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0))
        model.fit(features(fold.train), fold.train.label_ids)
        scores.append(model.score(features(fold.test), fold.test.label_ids))
    assert 0.45 < np.mean(scores) < 0.9


def test_same_settings_give_the_same_bytes(tmp_path):
    first = write_synthetic_corpus(tmp_path / "a", 1, 1)
    second = write_synthetic_corpus(tmp_path / "b", 1, 1)
    assert digests(first) == digests(second)
    third = write_synthetic_corpus(tmp_path / "c", 1, 1, seed=1)
    assert digests(first).keys() == digests(third).keys()
    changed = [k for k, v in digests(third).items() if digests(first)[k] != v]
    assert len([name for name in changed if name.endswith(".wav")]) == 8


def test_more_sessions_keep_the_first_ones(tmp_path, corpus):
    smaller = digests(write_synthetic_corpus(tmp_path / "a", 1, 4))
    larger = digests(corpus)
    wavs = [name for name in smaller if name.endswith(".wav")]
    assert all(smaller[name] == larger[name] for name in wavs)


def test_existing_corpus_is_reused(corpus):
    before = {p: p.stat().st_mtime_ns for p in corpus.rglob("*")}
    assert write_synthetic_corpus(corpus, 3, 4) == corpus
    assert {p: p.stat().st_mtime_ns for p in corpus.rglob("*")} == before
    assert is_synthetic(corpus)
    assert (
        "not recordings" in json.loads((corpus / MARKER).read_text())["notice"]
    )


def test_anything_else_is_left_alone(corpus, tmp_path):
    before = digests(corpus)
    with pytest.raises(FileExistsError, match="Nothing was changed"):
        write_synthetic_corpus(corpus, 3, 5)
    assert digests(corpus) == before
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="not a synthetic corpus"):
        write_synthetic_corpus(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    assert not is_synthetic(tmp_path)


def test_failed_run_leaves_nothing(tmp_path, monkeypatch):
    from ser_keras.corpora import voice

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(voice, "speak", fail)
    with pytest.raises(KeyboardInterrupt):
        write_synthetic_corpus(tmp_path / "corpus")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [0, -1, 1.5])
def test_settings_are_checked(tmp_path, wrong):
    with pytest.raises(ValueError, match="`num_sessions` must be a positive"):
        write_synthetic_corpus(tmp_path / "corpus", num_sessions=wrong)
