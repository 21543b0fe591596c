import dataclasses
import json
import pathlib

import numpy as np
import pytest

from ser_keras import package_versions
from ser_keras.training.run_folder import RunFolder
from ser_keras.training.run_folder import fold_paths


@dataclasses.dataclass
class Search:
    epochs: int = 3
    kernel: tuple = (3, 5)
    rate: float = 0.1


CONFIG = {
    "seed": 7,
    "search": Search(),
    "data_dir": pathlib.Path("corpus"),
    "weights": np.float32([0.5, 2]),
    "flags": {"smoke": True, "labels": ("a", "b")},
}


def contents(path):
    return {
        file.relative_to(path): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file()
    }


def test_config_is_written_with_versions(tmp_path):
    run = RunFolder(tmp_path / "runs" / "one", CONFIG)
    assert not run.resumed
    written = json.loads((tmp_path / "runs/one/config.json").read_text())
    assert written["config"] == run.config
    assert written["config"]["search"]["kernel"] == [3, 5]
    assert written["seed"] == 7
    assert written["versions"] == package_versions()
    assert {"python", "ser_keras", "tensorflow", "keras", "numpy"} <= set(
        written["versions"]
    )
    assert written["created"].endswith("+00:00")


def test_same_config_resumes_and_changes_nothing(tmp_path):
    RunFolder(tmp_path, CONFIG).write_json("result.json", {"uar": 0.5})
    before = contents(tmp_path)
    again = RunFolder(tmp_path, {**CONFIG, "search": Search(epochs=3)})
    assert again.resumed
    assert again.read_json("result.json") == {"uar": 0.5}
    assert again.read_json("none.json") is None
    assert contents(tmp_path) == before


def test_other_versions_are_written_down(tmp_path, monkeypatch):
    RunFolder(tmp_path, CONFIG)
    monkeypatch.setattr(
        "ser_keras.training.run_folder.package_versions",
        lambda: {"keras": "9"},
    )
    RunFolder(tmp_path, CONFIG)
    RunFolder(tmp_path, CONFIG)
    record = json.loads((tmp_path / "config.json").read_text())
    assert [row["versions"] for row in record["resumed"]] == [{"keras": "9"}]
    assert record["versions"] == package_versions()


def test_other_config_is_refused(tmp_path):
    RunFolder(tmp_path, {**CONFIG, "old": 1})
    before = contents(tmp_path)
    changed = {
        **CONFIG,
        "search": Search(epochs=4, kernel=(3, 7)),
        "flags": {"smoke": 1, "labels": ("a", "b")},
        "new": None,
    }
    with pytest.raises(ValueError, match="another output folder") as error:
        RunFolder(tmp_path, changed)
    lines = str(error.value).splitlines()[1:]
    assert [line.strip() for line in lines] == [
        "search.epochs: 3 there, 4 now",
        "search.kernel: [3, 5] there, [3, 7] now",
        "flags.smoke: true there, 1 now",
        "old: 1 there, missing now",
        "new: missing there, null now",
    ]
    assert contents(tmp_path) == before


def test_folders_of_others_are_refused(tmp_path):
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("all my work")
    for path in (tmp_path, thesis):
        with pytest.raises(ValueError, match="thesis.txt"):
            RunFolder(path, CONFIG)
    thesis.rename(tmp_path / "config.json")
    with pytest.raises(ValueError, match="not valid JSON"):
        RunFolder(tmp_path, CONFIG)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(ValueError, match="not written by ser_keras"):
        RunFolder(tmp_path, CONFIG)
    assert contents(tmp_path) == {pathlib.Path("config.json"): b"[1]"}


def test_killed_at_the_start_can_start_again(tmp_path):
    (tmp_path / ".config.json.12.tmp").write_text("{")
    RunFolder(tmp_path, CONFIG)


def test_bad_values_are_refused_before_anything_is_made(tmp_path):
    with pytest.raises(ValueError, match="<object"):
        RunFolder(tmp_path / "run", {"seed": object()})
    assert not (tmp_path / "run").exists()


def test_metrics(tmp_path):
    run = RunFolder(tmp_path, CONFIG)
    assert run.rows("search") == []
    for epoch in (1, 2, 3):
        run.log("search", epoch, loss=np.float32(0.5), uar=float("nan"))
    run.log("train", 1, loss=1.0)
    assert run.rows("search")[1] == {"epoch": 2, "loss": 0.5, "uar": None}
    run.truncate("search", 1)
    assert [row["epoch"] for row in run.rows("search")] == [1]
    assert len(run.rows("train")) == 1
    run.truncate("missing", 1)
    assert run.rows("missing") == []


def test_line_cut_off_by_a_kill(tmp_path):
    run = RunFolder(tmp_path, CONFIG)
    run.log("search", 1, loss=0.5)
    file = tmp_path / "search_metrics.jsonl"
    file.write_text(file.read_text() + '{"epoch": 2, "lo')
    assert [row["epoch"] for row in run.rows("search")] == [1]
    run.log("search", 2, loss=0.25)
    assert [row["loss"] for row in run.rows("search")] == [0.5, 0.25]
    file.write_text("nonsense\n" + file.read_text())
    with pytest.raises(ValueError, match="search_metrics.jsonl, line 1"):
        run.rows("search")


def test_folders_of_folds_stay_in_the_run(tmp_path):
    paths = fold_paths(tmp_path, ["03", "../x", "A", "a"])
    assert paths["03"] == tmp_path / "folds" / "03"
    assert {path.parent for path in paths.values()} == {tmp_path / "folds"}
    assert len({path.name.lower() for path in paths.values()}) == 4
