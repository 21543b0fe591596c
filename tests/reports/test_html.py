import base64
import html.parser
import io
import json
import re

import numpy as np
import pytest
import soundfile
from sklearn.metrics import recall_score

import ser_keras as ser
from ser_keras.corpora.built_in import FOLDER
from ser_keras.corpora.built_in import built_in_corpus
from ser_keras.corpora.synthetic import MARKER
from ser_keras.evaluation.calibration import coverage_curve
from ser_keras.evaluation.predictions import Predictions
from ser_keras.reports.data import read_runs
from ser_keras.reports.html import write_html
from ser_keras.reports.html import write_markdown
from tests.reports.conftest import make_run


class Page(html.parser.HTMLParser):
    """Text, addresses and unclosed elements of a page."""

    VOID = {"meta", "img", "br"}

    def __init__(self, path):
        super().__init__()
        self.open, self.addresses, self.ids, self.text = [], [], set(), ""
        self.images, self.source = [], path.read_text()
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.addresses += [
            attributes[key] for key in ("src", "href") if key in attributes
        ]
        self.ids.add(attributes.get("id"))
        if tag == "img":
            self.images.append(attributes)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data + " "


def test_page_is_whole_and_needs_nothing_else(runs, tmp_path):
    page = Page(write_html(runs, tmp_path / "new" / "report.html"))
    assert page.open == []
    for address in page.addresses:
        assert address.startswith("data:") or address[1:] in page.ids
    assert "http" not in page.source.split("</style>")[0]
    assert "@import" not in page.source and "url(" not in page.source
    assert "<script" not in page.source
    assert all(image["alt"] for image in page.images)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [
        "report.html"
    ]


def test_scores_on_the_page(runs, tmp_path):
    text = " ".join(Page(write_html(runs, tmp_path / "r.html")).text.split())
    for path in runs:
        found = Predictions.load_csv(path / "predictions.csv")
        uar = recall_score(found.labels, found.predicted, average="macro")
        # The protocol's name is under the run's, and so is what it is worth.
        protocol = ser.get_protocol("leave-one-speaker-out")
        name = f"leave-one-speaker-out ({protocol.hash})"
        worth = "new speakers"
        if path.name == "told":
            worth = "OVERSTATES: leaks speakers"
        assert f"{path.name} {name} {worth} {uar:.3f}" in text
    assert "OVERSTATES: leaks speakers" in text
    assert "THIS SCORE OVERSTATES" in text
    assert "not comparable: another protocol" in text
    assert "female" in text and "lstm" in text


def test_the_page_of_one_run_has_no_comparison(runs, tmp_path):
    text = Page(write_html(runs[0], tmp_path / "r.html")).text
    assert "Compared with" not in text and "OVERSTATES" not in text


def test_calibration_on_the_page(runs, tmp_path):
    found = Predictions.load_csv(runs[0] / "predictions.csv")
    confidence = found.probabilities.max(axis=1)
    right = found.predicted == found.labels
    edges = np.arange(1, 15) / 15
    index = np.digitize(confidence, edges, right=True)
    gaps = [
        abs(right[index == i].mean() - confidence[index == i].mean())
        * np.mean(index == i)
        for i in set(index)
    ]
    page = Page(write_html(runs[0], tmp_path / "r.html"))
    assert f"15 equal bins):  {sum(gaps):.3f}" in page.text
    result = json.loads((runs[0] / "result.json").read_text())
    assert f"{result['calibration']['ece']:.3f}" == f"{sum(gaps):.3f}"
    surest = right[np.argsort(-confidence)]
    assert f"{surest[:12].mean():.3f} at 50 %" in page.text
    last = index == 14
    assert (
        f"confidence {confidence[last].mean():.2f}: accuracy "
        f"{right[last].mean():.2f} of {last.sum()}"
    ) in page.text


def test_coverage_is_drawn(runs, tmp_path):
    found = Predictions.load_csv(runs[0] / "predictions.csv")
    curve = coverage_curve(found)
    page = Page(write_html(runs[0], tmp_path / "r.html"))
    half, every = (
        curve.accuracy_at(0.5),
        np.mean(found.predicted == found.labels),
    )
    assert f"at a coverage of 50% accuracy {half:.2f}" in page.source
    assert f"at a coverage of 100% accuracy {every:.2f}" in page.source
    lines = re.findall('<polyline points="([^"]*)"', page.source)
    # From a coverage of 5 % to 1, where the accuracy is WA.
    x, y = [float(value) for value in lines[1].split()[-1].split(",")]
    assert (x, y) == (44 + 260, pytest.approx(10 + 260 * (1 - every), abs=0.1))


def test_temperature_is_said_where_there_is_one(runs, corpus, tmp_path):
    page = Page(write_html(runs[0], tmp_path / "r.html"))
    assert "temperature" not in page.text
    run = make_run(tmp_path / "run", corpus)
    result = json.loads((run / "result.json").read_text())
    result["temperature_scaling"] = {
        "temperatures": {"a": 1.25, "b": 2.5},
        "ece_before": 0.125,
        "ece_after": 0.0625,
    }
    (run / "result.json").write_text(json.dumps(result))
    text = " ".join(Page(write_html(run, tmp_path / "t.html")).text.split())
    assert "temperature (1.25 to 2.50) fitted" in text
    assert "the ECE is 0.062 in place of 0.125" in text


@pytest.mark.parametrize(
    ("protocol", "name"),
    [
        (None, None),
        ("speaker-independent", "speaker-independent"),
        ({"name": "leave-one-speaker-out", "groups": 5}, "leave-one-speaker"),
    ],
)
def test_older_results_are_read(corpus, tmp_path, protocol, name):
    run = make_run(tmp_path / "run", corpus)
    result = json.loads((run / "result.json").read_text())
    del result["calibration"], result["protocol"]
    if protocol is not None:
        result["protocol"] = protocol
    (run / "result.json").write_text(json.dumps(result))
    found = read_runs(run)[0].protocol
    assert found is None if name is None else found.startswith(name)
    text = Page(write_html(run, tmp_path / "r.html")).text
    assert name is None or name in text
    write_markdown(run, tmp_path / "r.md")


def test_errors_can_be_heard(runs, corpus, tmp_path):
    page = Page(write_html(runs[1], tmp_path / "r.html", errors=3))
    sounds = [x for x in page.addresses if x.startswith("data:audio/mpeg")]
    assert len(sounds) == 3
    for address in sounds:
        content = base64.b64decode(address.partition(",")[2])
        samples, rate = soundfile.read(io.BytesIO(content))
        assert rate == 16000 and 7000 < len(samples) < 12000
        assert np.abs(samples).max() > 0.05
    silent = Page(write_html(runs[1], tmp_path / "s.html", audio=False))
    assert not any("audio" in address for address in silent.addresses)
    assert "licence" in page.text and "licence" not in silent.text


def test_missing_recordings_are_said(runs, corpus, tmp_path):
    run = make_run(tmp_path / "run", corpus, 0.0)
    text = (run / "utterances.jsonl").read_text()
    (run / "utterances.jsonl").write_text(text.replace(".wav", ".gone"))
    assert "no such file" in Page(write_html(run, tmp_path / "r.html")).text
    (run / "utterances.jsonl").unlink()
    text = Page(write_html(run, tmp_path / "r.html")).text
    assert "cannot be played" in text


def test_names_are_escaped(corpus, tmp_path):
    run = make_run(tmp_path / "a<b>&", corpus)
    page = Page(write_html(run, tmp_path / "r.html"))
    assert page.open == [] and "a<b>&" in page.text


def test_markdown(runs, tmp_path):
    text = write_markdown(runs, tmp_path / "r.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    widths = [line.count("|") for line in rows]
    assert widths == [8] * 5 + [7] * 4
    assert text.startswith("**told: THIS SCORE OVERSTATES")
    protocol = ser.get_protocol("leave-one-speaker-out")
    name = f"leave-one-speaker-out ({protocol.hash})"
    assert f"| {name}: new speakers |" in text
    assert f"| {name}: OVERSTATES: leaks speakers |" in text
    assert re.search(r"\| good \| \d\.\d{3} \(\d\.\d{3} to \d\.\d{3}\)", text)


def test_what_is_no_finished_run(runs, corpus, tmp_path):
    output = tmp_path / "report.html"

    def refused(paths, message):
        with pytest.raises(ValueError, match=message):
            write_html(paths, output)
        assert not output.exists()

    refused([], "at least one")
    refused(tmp_path / "nowhere", "nowhere is not a folder")
    refused(runs[0] / "folds", "not a run of ser_keras")
    refused([runs[0], runs[0]], "given twice")
    run = make_run(tmp_path / "run", corpus)
    (run / "result.json").unlink()
    refused(run, "not finished.*Finished folds: a, b, c, d")
    (run / "result.json").write_text("{")
    refused(run, "result.json is not valid JSON")
    (run / "config.json").write_text("[]")
    refused(run, "not a run of ser_keras")


def test_synthetic_corpus_is_said_loudly(corpus, tmp_path):
    run = make_run(tmp_path / "run", corpus)
    record = json.loads((run / "config.json").read_text())
    record["config"]["data_dir"] = ""
    (run / "config.json").write_text(json.dumps(record))
    text = Page(write_html(run, tmp_path / "r.html")).text
    assert "SYNTHETIC CORPUS" not in text  # Recordings of the user's own.
    marked = tmp_path / "babble"
    marked.mkdir()
    (marked / MARKER).write_text("{}")
    (marked / "a0.wav").write_bytes(b"")
    text = (run / "utterances.jsonl").read_text()
    path = corpus[0].path
    text = text.replace(path, str(marked / "a0.wav"))
    (run / "utterances.jsonl").write_text(text)
    text = Page(write_html(run, tmp_path / "r.html", audio=False)).text
    assert "SYNTHETIC CORPUS" in text


@pytest.mark.parametrize("installed", [True, False])
def test_built_in_corpus_is_not_iemocap(tmp_path, installed):
    manifest = ser.load_corpus("emodb", built_in_corpus(smoke=True))
    run = make_run(tmp_path / "run", manifest)
    record = json.loads((run / "config.json").read_text())
    record["config"]["data_dir"] = ""
    (run / "config.json").write_text(json.dumps(record))
    if not installed:  # The run is read on another machine.
        table = run / "utterances.jsonl"
        root = str(FOLDER.parents[2])
        table.write_text(table.read_text().replace(root, "/elsewhere"))
    text = Page(write_html(run, tmp_path / "r.html", audio=False)).text
    assert "BUILT-IN CORPUS" in text and "SYNTHETIC CORPUS" not in text


def test_confusion_of_each_speaker(runs, tmp_path):
    from ser_keras.reports.data import read_run
    from ser_keras.reports.html import _of_speakers

    predictions = read_run(runs[0]).predictions
    rows = _of_speakers(predictions)
    total = sum(np.array(row["counts"]) for row in rows)
    assert total.sum() == len(predictions)
    speaker = predictions.speakers[0]
    mine = np.array(predictions.speakers) == speaker
    right = (predictions.predicted == predictions.labels)[mine].sum()
    names = list(predictions.label_names)
    assert right == sum(
        row["counts"][names.index(row["truth"])]
        for row in rows
        if row["speaker"] == speaker
    )
    page = write_html(runs, tmp_path / "page.html").read_text()
    assert page.count("Confusion of each speaker</summary>") == len(runs)
