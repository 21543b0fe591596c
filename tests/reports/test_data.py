import json

import numpy as np
import pytest

import ser_keras as ser
from ser_keras.corpora.manifest import Manifest
from ser_keras.evaluation.predictions import Predictions
from ser_keras.reports.data import comparisons
from ser_keras.reports.data import confident_errors
from ser_keras.reports.data import holm
from ser_keras.reports.data import protocol_mark
from ser_keras.reports.data import read_runs
from ser_keras.reports.html import markdown
from ser_keras.reports.html import write_html
from tests.reports.conftest import LABELS
from tests.reports.conftest import make_run


def test_other_folds_are_not_compared(corpus, tmp_path):
    """The same utterances, tested by networks of other training parts."""
    paths = [make_run(tmp_path / x, corpus, seed=i) for i, x in enumerate("ab")]

    def verdict(**changes):
        record = json.loads((paths[1] / "result.json").read_text())
        (paths[1] / "result.json").write_text(json.dumps(record | changes))
        return comparisons(read_runs(paths))[0]["verdict"]

    other = "not comparable: another protocol"
    pairs = ser.get_protocol("speaker-groups-2").record
    assert verdict() != other
    assert verdict(protocol=pairs) == other
    # The hash of the folds decides, not the name of the protocol.
    first = json.loads((paths[0] / "result.json").read_text())
    first["folds_hash"] = "one"
    (paths[0] / "result.json").write_text(json.dumps(first))
    assert verdict(folds_hash="one") != other
    assert verdict(folds_hash="two") == other
    assert verdict(folds_hash=None, protocol=None) != other
    assert verdict(folds={"a+b": {}, "c+d": {}}) == other


def test_few_test_speakers_get_no_verdict(corpus, tmp_path):
    paths = [make_run(tmp_path / x, corpus, seed=i) for i, x in enumerate("ab")]
    runs = read_runs(paths)
    speakers = len(runs[0].scores.per_speaker)
    assert speakers < 6  # What this test is about.
    found = f"nothing can be shown with {speakers} test speakers"
    assert comparisons(runs)[0]["verdict"].startswith(found)
    assert f"p is {2 ** (1 - speakers):.3g} at the least" in (
        runs[0].few_speakers
    )
    # Once of all runs of a report.
    assert markdown(runs).count("FEW TEST SPEAKERS") == 1
    page = write_html(paths, tmp_path / "page.html").read_text("utf-8")
    assert page.count("FEW TEST SPEAKERS") == 1


def test_a_part_of_the_folds_and_unknown_speakers_are_marked():
    part = {"part": {"folds": [1, 3], "of": 5}}
    assert protocol_mark(part) == "new speakers; folds 1, 3 of 5"
    record = {"protocol": {"name": "SPEAKER-UNKNOWN"}, "leaks_speakers": True}
    assert protocol_mark(record).startswith("OVERSTATES: speakers unknown")


def test_result_has_calibration_and_protocol(runs, corpus, tmp_path):
    result = json.loads((runs[0] / "result.json").read_text())
    found = Predictions.load_csv(runs[0] / "predictions.csv")
    confidence = found.probabilities.max(axis=1)
    right = found.predicted == found.labels
    index = np.digitize(confidence, np.arange(1, 15) / 15, right=True)
    gaps = [abs((right - confidence)[index == i].sum()) for i in set(index)]
    assert result["calibration"] == {
        "ece": pytest.approx(sum(gaps) / len(right)),
        "n_bins": 15,
    }
    protocol = ser.get_protocol("leave-one-speaker-out")
    assert result["protocol"] == {
        "name": "leave-one-speaker-out",
        "leaks_speakers": False,
        "selects_on_test": False,
        "hash": protocol.hash,
    }
    assert read_runs(runs[0])[0].protocol == (
        f"leave-one-speaker-out ({protocol.hash})"
    )
    unnamed = make_run(tmp_path / "run", corpus, protocol=None)
    result = json.loads((unnamed / "result.json").read_text())
    assert result["protocol"] == {
        "name": None,
        "leaks_speakers": False,
        "selects_on_test": False,
        "hash": None,
    }
    assert read_runs(unnamed)[0].protocol is None


def test_names_tell_runs_apart(corpus, tmp_path):
    paths = [make_run(tmp_path / x / "run", corpus) for x in "ab"]
    assert [run.name for run in read_runs(paths)] == ["a/run", "b/run"]


def test_confident_errors_and_holm():
    found = Predictions(
        "abcd", "xxyy", (None,) * 4, [0, 0, 1, 1],
        [[0.9, 0.1], [0.1, 0.9], [0.6, 0.4], [0.2, 0.8]], ("A", "N"),
    )  # fmt: skip
    rows = confident_errors(found, 5)
    assert [row["id"] for row in rows] == ["b", "c"]
    assert rows[0]["truth"] == "A" and rows[0]["answer"] == "N"
    assert confident_errors(found, 1) == rows[:1]
    assert holm([0.02, 0.02, 0.5]) == pytest.approx([0.06, 0.06, 0.5])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


def test_predictions_must_cover_the_test_set(corpus, tmp_path):
    run = make_run(tmp_path / "run", corpus)
    lines = (run / "predictions.csv").read_text().splitlines()
    (run / "predictions.csv").write_text("\n".join(lines[:-2]) + "\n")
    with pytest.raises(ValueError, match=r"2 of 24.*d4.*d5"):
        read_runs(run)
    (run / "utterances.jsonl").unlink()
    with pytest.raises(ValueError, match="24 test utterances.*22 rows"):
        read_runs(run)


def test_runs_must_have_the_same_utterances(runs, corpus, tmp_path):
    fewer = Manifest([u for u in corpus if u.id != "b3"], LABELS)
    other = make_run(tmp_path / "other", fewer)
    with pytest.raises(ValueError, match=r"other \(the second\).*b3"):
        read_runs([runs[0], other])
