"""Records: what a run's folder says, what is refused, what is rendered."""

import copy
import json

import numpy as np
import pytest

import ser_keras as ser
from ser_keras._registry import package_versions
from ser_keras.cli.main import main
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.evaluation.baselines import cross_validate_classifier
from ser_keras.features.feature_set import FeatureSet
from ser_keras.reports import records
from ser_keras.reports.report import write_report
from ser_keras.training.run_folder import RunFolder

LABELS = ("anger", "neutral")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders: a linear classifier and the majority class, four speakers."""
    folder = tmp_path_factory.mktemp("runs")
    random = np.random.default_rng(0)
    corpus = Manifest(
        [
            Utterance(f"{speaker}{i}", "gone.wav", LABELS[i > 3], speaker)
            for speaker in "abcd"
            for i in range(6)
        ],
        LABELS,
    )
    means = [[LABELS.index(u.label), 0, 0] for u in corpus]
    arrays = [random.normal(mean, size=(1, 3)) for mean in means]
    folds = ser.get_protocol("leave-one-speaker-out").folds(corpus)
    for name in ("linear_svm", "majority"):
        config = {"corpus": "emodb", "data_dir": "/corpus", "seed": 0}
        run = RunFolder(folder / name, config)
        features = FeatureSet(corpus, arrays)
        outcome = cross_validate_classifier(
            name, features, folds, run=run, exposed=None
        )
        write_report(run, outcome)
    return [folder / "linear_svm", folder / "majority"]


@pytest.fixture
def record(runs):
    return records.run_record(runs, "make them", "both", commit="abc1234")


def test_run_record_says_what_the_folders_hold(runs, record):
    result = json.loads((runs[0] / "result.json").read_text())
    linear, majority = record["runs"]
    assert linear["scores"]["uar"] == {
        "value": result["scores"]["uar"],
        "interval_95": result["uar_interval_95"],
    }
    assert linear["scores"]["n"] == 24
    assert linear["recall"] == result["scores"]["recall"]
    assert majority["scores"]["uar"]["value"] == 0.5
    assert record["protocol"]["name"] == "leave-one-speaker-out"
    assert record["protocol"]["hash"] == result["protocol"]["hash"]
    assert (record["corpus"], record["seed"]) == ("emodb", 0)
    assert record["versions"] == package_versions()


def test_differences_are_those_of_the_comparison(runs, record):
    (row,) = record["differences"]
    first, second = (
        ser.evaluation.Predictions.load_csv(run / "predictions.csv")
        for run in runs
    )
    expected = ser.compare_predictions(second, first)
    assert (row["run"], row["reference"]) == ("majority", "linear_svm")
    assert row["value"] == expected.difference < 0
    assert row["interval_95"] == [expected.low, expected.high]
    assert row["p_value"] == expected.p_value


def test_a_record_of_two_protocols_is_refused(runs, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for file in runs[1].iterdir():
        if file.is_file():
            (other / file.name).write_bytes(file.read_bytes())
    result = json.loads((other / "result.json").read_text())
    result["protocol"]["name"] = "another"
    (other / "result.json").write_text(json.dumps(result))
    with pytest.raises(ValueError, match="same protocol.*another"):
        records.run_record([runs[0], other], "make them", "both")


def without(record, *path):
    record = copy.deepcopy(record)
    *parents, last = path
    part = record
    for key in parents:
        part = part[key]
    del part[last]
    return record


@pytest.mark.parametrize(
    ("path", "named"),
    [
        (("command",), "`command`"),
        (("machine",), "`machine`"),
        (("protocol", "hash"), "`protocol.hash`"),
        (("runs", 0, "scores", "uar"), r"`runs\[0\].scores.uar`"),
        (
            ("runs", 1, "scores", "uar", "interval_95"),
            r"`runs\[1\].scores.uar.interval_95`",
        ),
        (("differences", 0, "p_value"), r"`differences\[0\].p_value`"),
    ],
)
def test_a_missing_field_is_named(record, path, named):
    with pytest.raises(ValueError, match=named):
        records.check_record(without(record, *path))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("seed", "0", "`seed` .* a number. Received: '0'"),
        ("seed", True, "`seed` .* a number. Received: True"),
        ("uar", 0.5, "no field `uar`"),
        ("schema", 0, "`schema` .* 1. Received: 0"),
        ("kind", "run", "`kind` .* runs, benchmark. Received: 'run'"),
        ("runs", {}, "`runs` .* a list"),
    ],
)
def test_a_wrong_field_is_named(record, field, value, message):
    with pytest.raises(ValueError, match=message):
        records.check_record({**record, field: value})


def test_an_interval_has_two_ends(record):
    record["runs"][0]["scores"]["wa"]["interval_95"] = [0.9, 0.1]
    with pytest.raises(ValueError, match=r"wa.interval_95.*\[low, high\]"):
        records.check_record(record)


def test_files(record, tmp_path):
    file = records.write_record(record, tmp_path / "new/both.json")
    assert records.read_record(file) == record
    with pytest.raises(FileExistsError, match="both.json exists"):
        records.write_record(record, file)
    file.write_text(json.dumps(without(record, "commit")))
    with pytest.raises(ValueError, match=r"both.json: .*`commit`"):
        records.read_record(file)


def test_runs_table(record):
    record["runs"][1]["parameters"] = 12345
    head, _, *rows = records.runs_table([record]).splitlines()
    assert "parameters" in head and "difference from linear_svm" in head
    linear, majority = rows  # The best first.
    assert linear.startswith("| linear_svm | ") and linear.endswith("|  |  |")
    low, high = record["differences"][0]["interval_95"]
    assert majority.startswith("| majority | 0.500 (0.500 to 0.500) | 0.667 |")
    assert "| 12 345 |" in majority
    assert f"({low:+.3f} to {high:+.3f})" in majority
    spelled = {**record, "corpus": "EMO-DB"}
    assert records.runs_table([record, spelled]).count("| linear_svm |") == 2
    elsewhere = {**record, "name": "elsewhere", "corpus": "RAVDESS"}
    with pytest.raises(ValueError, match="elsewhere with corpus='RAVDESS'"):
        records.runs_table([record, elsewhere])


def test_benchmark_table_leaves_out_what_was_not_measured():
    record = records.benchmark_record(
        "step",
        "python step.py",
        [
            records.measurement("ours", "step", 323, "ms"),
            records.measurement("ours", "file", 1930896, "bytes"),
            records.measurement("peer", "step", 536, "ms", (500, 600)),
            records.measurement("peer", "ratio", 0.5, "", (0.45, 0.6)),
        ],
    )
    assert records.benchmark_table(record).splitlines() == [
        "|  | step (ms) | file (bytes) | ratio |",
        "|---|---|---|---|",
        "| ours | 323 | 1 930 896 |  |",
        "| peer | 536 (500 to 600) |  | 0.500 (0.450 to 0.600) |",
    ]


def test_a_small_difference_is_not_printed_as_none():
    rows = [
        records.measurement("ours", f"q{i}", value, "")
        for i, value in enumerate((1.23e-6, 0.0, -2e-4, 0.0123))
    ]
    record = records.benchmark_record("equality", "python equality.py", rows)
    assert records.benchmark_table(record).splitlines()[-1] == (
        "| ours | 1.2e-06 | 0 | -2.0e-04 | 0.012 |"
    )


def test_a_benchmark_of_many_quantities_has_them_as_rows():
    rows = [records.measurement("ours", f"q{i}", i, "s") for i in range(5)]
    record = records.benchmark_record("many", "python many.py", rows)
    lines = records.benchmark_table(record).splitlines()
    assert lines[0] == "|  | ours |"
    assert lines[2:] == [f"| q{i} (s) | {i} |" for i in range(5)]


def test_the_command_writes_a_record(runs, tmp_path, capsys):
    page, file = tmp_path / "report.html", tmp_path / "both.json"
    command = ["report", *map(str, runs), "--output", str(page)]
    command += ["--record", str(file), "--command", "make them"]
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["record"] == str(file)
    record = records.read_record(file)
    assert (record["name"], record["command"]) == ("both", "make them")
    assert [run["name"] for run in record["runs"]] == ["linear_svm", "majority"]
    assert main(command) == 1  # Nothing is replaced unasked.
    assert "exists" in capsys.readouterr().err


def test_a_record_needs_its_command(runs, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["report", str(runs[0]), "--record", "both.json"])
    assert stop.value.code == 2
    assert "--command" in capsys.readouterr().err
