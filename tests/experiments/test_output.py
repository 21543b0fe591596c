"""The folder of a run: with what it may be resumed, and with what not."""

import dataclasses
import json
import pathlib

import pytest

from ser_keras.experiments.emodarts import EmoDARTSConfig
from ser_keras.experiments.emotionnas import EmotionNASConfig
from ser_keras.experiments.light_sernet import LightSERNetConfig
from ser_keras.experiments.output import default_export_dir
from ser_keras.experiments.output import drop_newer
from ser_keras.experiments.output import open_run
from tests.experiments.toy_system import ToyConfig


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (LightSERNetConfig, {"litert": False}),
        (EmoDARTSConfig, {"final": False, "calibrate": False}),
        (EmoDARTSConfig, {"export_dir": "other", "cache_dir": "elsewhere"}),
        (EmoDARTSConfig, {"jobs": 2, "deterministic": True}),
        (EmotionNASConfig, {"controls": True, "ablate": True}),
    ],
)
def test_what_may_change(tmp_path, monkeypatch, kind, changes):
    """How it computes, which files it has, and what is added to it."""
    monkeypatch.chdir(tmp_path)
    config = kind(ablate=True) if "ablate" in changes else kind()
    config = dataclasses.replace(config, output_dir="run")
    first = open_run(config)
    again = open_run(dataclasses.replace(config, **changes))
    assert again.resumed
    # So that it repeats the run that was made, folds' folders included.
    assert again.config == first.config
    with pytest.raises(ValueError, match="seed: 0 there, 1 now"):
        open_run(dataclasses.replace(config, seed=1, **changes))
    (tmp_path / "run/config.json").write_text("nothing")
    with pytest.raises(ValueError, match="not valid JSON"):
        open_run(config)


def test_options_that_are_newer_than_the_run_have_their_defaults(tmp_path):
    config = LightSERNetConfig(output_dir=str(tmp_path))
    open_run(config)
    file = tmp_path / "config.json"
    record = json.loads(file.read_text())
    for name in ("final", "loss", "groups"):
        del record["config"][name]
    file.write_text(json.dumps(record))
    assert open_run(config).resumed
    with pytest.raises(ValueError, match='loss: missing there, "focal" now'):
        open_run(dataclasses.replace(config, loss="focal"))


def test_the_saved_model_has_a_place_to_go(tmp_path):
    (tmp_path / "served").write_text("a file")
    for name in ("served", "served/deeper"):
        config = EmoDARTSConfig(
            output_dir=str(tmp_path / "run"), export_dir=str(tmp_path / name)
        )
        with pytest.raises(ValueError, match="served is a file"):
            open_run(config)
    assert not (tmp_path / "run").exists()


def test_options_that_are_newer_than_a_run_are_dropped_at_their_defaults():
    config = ToyConfig(hold_out=("a",))
    settings = {"labels": (), "hold_out": ("a",), "seed": 0, "method": "x"}
    drop_newer(settings, config, {"seed": 0})
    assert settings == {"hold_out": ("a",), "seed": 0, "method": "x"}


@pytest.mark.parametrize(
    ("output_dir", "name"),
    [("results/run", "run"), (".", "here"), ("a/..", "here"), ("c:x", "c_x~")],
)
def test_an_export_folder_has_a_safe_name(
    tmp_path, monkeypatch, output_dir, name
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    folder = default_export_dir(ToyConfig(output_dir=output_dir))
    assert folder.parent == pathlib.Path("saved_models")
    assert folder.name.startswith(name)
