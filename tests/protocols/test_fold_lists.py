import json

import pytest

from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.protocols.fold_lists import FoldLists
from ser_keras.protocols.splits import SpeakerOverlapError


def write_lists(folder, lists):
    for fold, parts in lists.items():
        for which, stems in parts.items():
            path = folder / fold / f"x_{which}_{fold}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = [
                {"key": f"x-{stem}", "wav": f"downloads/x/wav/{stem}.wav"}
                for stem in stems
            ]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def manifest():
    return Manifest(
        [
            Utterance(name, f"{name}.wav", "anger", name[0])
            for name in ("a1", "a2", "b1", "b2")
        ]
    )


def test_fold_lists(tmp_path, manifest):
    lists = {
        "fold_10": {"train": ["a1", "a2"], "test": ["b1", "b2"]},
        "fold_2": {"train": ["b1", "b2"], "test": ["a1", "a2"]},
    }
    write_lists(tmp_path, lists)
    protocol = FoldLists.read(tmp_path, "emobox-x")
    folds = protocol.folds(manifest)
    assert [f.name for f in folds] == ["fold_2", "fold_10"]
    assert [u.id for u in folds[0].test] == ["a1", "a2"]
    assert protocol.hash != FoldLists.read(tmp_path, "other").hash
    write_lists(tmp_path, {"fold_2": {"test": ["a1"]}})
    shorter = FoldLists.read(tmp_path, "emobox-x")
    assert protocol.hash != shorter.hash
    # What no list has is counted: of all folds, or nothing was lost.
    assert folds[0].train.reading is None
    write_lists(tmp_path, {"fold_10": {"train": ["a1"]}})
    shorter = FoldLists.read(tmp_path, "emobox-x").folds(manifest)
    assert shorter[0].train.reading.left_out == {"in no fold": 1}


def test_fold_lists_that_leak_must_say_so(tmp_path, manifest):
    lists = {"fold_1": {"train": ["a1", "b1"], "test": ["b2", "a2"]}}
    write_lists(tmp_path, lists)
    with pytest.raises(
        SpeakerOverlapError, match="fold_1.*leaks_speakers=True"
    ):
        FoldLists.read(tmp_path).folds(manifest)
    (fold,) = FoldLists.read(tmp_path, leaks_speakers=True).folds(manifest)
    assert fold.overstates and [u.id for u in fold.test] == ["b2", "a2"]


def test_bad_fold_lists(tmp_path, manifest):
    with pytest.raises(ValueError, match="must hold fold_1/"):
        FoldLists.read(tmp_path)
    lists = {"fold_1": {"train": ["a1"], "test": ["b2", "c7"]}}
    write_lists(tmp_path, lists)
    with pytest.raises(ValueError, match="1 of 3 utterances.*'c7'"):
        FoldLists.read(tmp_path).folds(manifest)
    (tmp_path / "fold_1/x_test_fold_1.jsonl").write_text('{"key": 3}\n')
    with pytest.raises(
        ValueError, match="x_test_fold_1.jsonl, line 1: .*`wav`"
    ):
        FoldLists.read(tmp_path)
    (tmp_path / "fold_1/x_test_fold_1.jsonl").unlink()
    with pytest.raises(ValueError, match="one file .*_test_fold_1.jsonl"):
        FoldLists.read(tmp_path)
