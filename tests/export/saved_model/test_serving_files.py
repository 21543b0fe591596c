import json

import numpy as np
import pytest

from ser_keras.evaluation.predictions import Predictions
from ser_keras.evaluation.scores import confidence_interval
from ser_keras.export.card import ModelCard
from ser_keras.export.saved_model.serving_files import BATCHING
from ser_keras.export.saved_model.serving_files import model_config
from ser_keras.export.saved_model.serving_files import write_model_config


def test_tensorflow_serving_reads_model_config():
    pb2 = pytest.importorskip(
        "tensorflow_serving.config.model_server_config_pb2"
    )
    text_format = pytest.importorskip("google.protobuf.text_format")
    for versions, served in (([1], [1]), ([2, 5, 9], [5, 9])):
        text = model_config("emodb", versions)
        parsed = text_format.Parse(text, pb2.ModelServerConfig())
        (config,) = parsed.model_config_list.config
        assert config.name == "emodb"
        assert config.base_path == "/models/emodb"
        policy = config.model_version_policy.specific
        assert list(policy.versions) == served
        assert dict(config.version_labels) == {
            "stable": served[0],
            "canary": served[-1],
        }


def test_batching_does_not_pad_waveforms():
    assert "pad_variable_length_inputs: false" in BATCHING
    fields = [line for line in BATCHING.splitlines() if line[0] != "#"]
    assert all(line.endswith(("}", "false")) for line in fields)


def test_a_users_own_files_stay(tmp_path):
    folder = tmp_path / "emodb"
    folder.mkdir()
    write_model_config(folder, [1])
    write_model_config(folder, [1, 2])
    text = (folder / "model.config").read_text()
    assert "versions: 1 versions: 2" in text
    edited = text.split("\n", 1)[1]  # Without the line that says it is ours.
    (folder / "model.config").write_text(edited)
    (folder / "batching.config").write_text("mine")
    write_model_config(folder, [1, 2, 3])
    assert (folder / "model.config").read_text() == edited
    assert (folder / "batching.config").read_text() == "mine"
    assert len(list(folder.iterdir())) == 2


def test_card_of_a_run(tmp_path):
    settings = {"data_dir": "/my/emodb", "protocol": "loso"}
    config = {"config": {"corpus": "emodb", **settings}}
    result = {
        "scores": {"uar": 0.715, "wa": 0.723, "n": 535},
        "uar_interval_95": [0.663, 0.765],
        "folds": {"03": {}, "08": {}},
        "leaks_speakers": True,
        "selects_on_test": False,
        "calibration": {"ece": 0.0712, "n_bins": 15},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(FileNotFoundError, match="has no result.json"):
        ModelCard.from_run(tmp_path)
    (tmp_path / "result.json").write_text(json.dumps(result))
    card = ModelCard.from_run(tmp_path, licence="CC0")
    page = card.markdown("emodb, version 1", labels="anger, joy")
    for words in (
        "# Model card: emodb, version 1",
        "emodb, https://audeering.github.io",
        "| UAR | 0.715 | 0.663 to 0.765 |",
        "| WA | 0.723 | not stated |",
        "| Calibration error (ECE) | 0.071 | not stated |",
        "loso; 535",
        "535 test utterances in 2 fold(s): 03, 08",
        "the weights are those of the last fold",
        "SPEAKERS OF THE TEST ARE IN THE TRAINING",
        "CC0",
        "- labels: anger, joy",
    ):
        assert words in page
    assert "CHOSEN ON THE TEST" not in page and "/my/emodb" not in page
    # Unless told otherwise, the licence is the corpus'.
    assert "CC0 1.0, https://" in ModelCard.from_run(tmp_path).licence
    for corpus, licence in (("mine", "Not stated."), ("tess", "CC BY-NC-ND")):
        settings["corpus"] = corpus
        card = ModelCard.from_result(settings, result)
        assert corpus in card.corpus and licence in card.licence
    card = ModelCard.from_result({"data_dir": ""}, result)
    assert card.corpus.startswith("built-in corpus (anger, happiness")
    assert "emodb" in card.corpus and "CC0 1.0" in card.licence
    card = ModelCard.from_result({}, result)
    assert card.corpus == card.licence == "Not stated."
    # WA has an interval from the predictions beside it.
    predictions = Predictions(
        ids=tuple("abcdefgh"),
        speakers=tuple("ppqqrrss"),
        sexes=(None,) * 8,
        labels=np.arange(8) % 2,
        probabilities=np.eye(2)[[0, 0, 0, 1, 1, 1, 0, 1]],
        label_names=("anger", "joy"),
    )
    predictions.save_csv(tmp_path / "predictions.csv")
    low, high = confidence_interval(predictions, "wa")
    assert ModelCard.from_run(tmp_path).scores["WA"] == (0.723, low, high)
    (tmp_path / "predictions.csv").unlink()
    # An older run has no calibration; a newer one names its protocol.
    del result["calibration"]
    result["protocol"] = {"name": "leave-one-speaker-out", "hash": "12ab"}
    (tmp_path / "result.json").write_text(json.dumps(result))
    page = ModelCard.from_run(tmp_path).markdown("emodb")
    assert "leave-one-speaker-out (12ab); 535" in page and "ECE" not in page


def test_a_card_without_scores_says_so():
    page = ModelCard().markdown("x")
    assert "None stated: how good it is, is not known." in page
    assert "Not for decisions about people" in page
