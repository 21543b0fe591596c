"""A search by itself: its genotype, and the record of its audio."""

import json

import pytest

from ser_keras.corpora.synthetic import write_synthetic_corpus
from ser_keras.experiments.emodarts import EmoDARTSExperiment
from ser_keras.experiments.emodarts import EmoDARTSSearchConfig
from ser_keras.experiments.search import run_search
from ser_keras.features.preprocessor import load_preprocessor
from ser_keras.protocols.leak_guard import ExposedAudio


def test_whose_audio_a_search_uses_is_written_before_it(tmp_path, monkeypatch):
    """Or a kill leaves a genotype that no training can be checked against."""

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(EmoDARTSExperiment, "search", killed)
    corpus = write_synthetic_corpus(tmp_path / "corpus", 2, 1)
    config = EmoDARTSSearchConfig(
        corpus="iemocap",
        data_dir=str(corpus),
        output_dir=str(tmp_path / "run"),
        cache_dir=str(tmp_path / "cache"),
        smoke=True,
    )
    with pytest.raises(KeyboardInterrupt):
        run_search(config)
    # Four utterances of each of the two speakers who are not tested.
    assert len(ExposedAudio.load(tmp_path / "run").stages["search"]) == 8
    assert load_preprocessor(tmp_path / "run").num_features == 24
    record = json.loads((tmp_path / "run/preprocessor.json").read_text())
    assert record["kind"] == "emodarts"
    monkeypatch.setattr(
        EmoDARTSExperiment, "search", lambda *_: pytest.fail("searched")
    )
    other = EmoDARTSSearchConfig(**{**vars(config), "seed": 1})
    with pytest.raises(ValueError, match="seed: 0 there, 1 now"):
        run_search(other)
