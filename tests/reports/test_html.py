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
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.corpora.synthetic import MARKER
from ser_keras.evaluation.calibration import coverage_curve
from ser_keras.evaluation.cross_validation import CrossValidation
from ser_keras.evaluation.cross_validation import protocol_of
from ser_keras.evaluation.cross_validation import save_tested
from ser_keras.evaluation.predictions import Predictions
from ser_keras.evaluation.scores import score
from ser_keras.features.feature_set import FeatureSet
from ser_keras.reports.data import comparisons
from ser_keras.reports.data import confident_errors
from ser_keras.reports.data import holm
from ser_keras.reports.data import read_runs
from ser_keras.reports.html import write_html
from ser_keras.reports.html import write_markdown
from ser_keras.reports.report import write_report

LABELS = ("anger", "calm", "fear")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    utterances = []
    for speaker in "abcd":
        for i in range(6):
            path = folder / f"{speaker}{i}.wav"
            tone = 0.1 * np.sin(np.arange(8000) * (0.05 + 0.01 * i))
            soundfile.write(path, tone, 16000)
            sex = "female" if speaker in "ab" else "male"
            utterances.append(
                Utterance(path.stem, str(path), LABELS[i % 3], speaker, sex=sex)
            )
    return Manifest(utterances, LABELS)


def make_run(folder, corpus, skill=1.0, seed=0, genotype=None, **facts):
    """The folder of a run whose network is a random number generator."""
    run = ser.training.RunFolder(folder, {"data_dir": "/corpus", "seed": seed})
    folds = ser.get_protocol("leave-one-speaker-out").folds(corpus)
    random = np.random.default_rng(seed)
    parts = {}
    for fold in folds:
        truth = np.eye(len(corpus.labels))[fold.test.label_ids]
        logits = skill * truth + random.gumbel(size=truth.shape)
        outputs = np.exp(logits)
        parts[fold.name] = Predictions(
            [u.id for u in fold.test],
            [u.speaker for u in fold.test],
            [u.sex for u in fold.test],
            fold.test.label_ids,
            outputs / outputs.sum(axis=1, keepdims=True),
            corpus.labels,
        )
        folder = ser.training.RunFolder(
            run.path / "folds" / fold.name, run.config
        )
        parts[fold.name].save_csv(folder.path / "predictions.csv")
    if genotype is not None:
        genotype.save(run.path / "genotype.json")
    pooled = Predictions.concatenate(parts.values())
    pooled.save_csv(run.path / "predictions.csv")
    features = FeatureSet(corpus, [np.zeros((1, 1))] * len(corpus))
    save_tested(folds, features, run)
    scores = {name: score(part) for name, part in parts.items()}
    facts.setdefault("protocol", protocol_of(folds))
    outcome = CrossValidation(pooled, score(pooled), scores, None, **facts)
    write_report(run, outcome)
    return run.path


@pytest.fixture(scope="module")
def runs(tmp_path_factory, corpus):
    folder = tmp_path_factory.mktemp("runs")
    genotype = ser.SearchSpace.emodarts("lstm", num_nodes=2).sample(0)
    return [
        make_run(folder / "good", corpus, 4.0),
        make_run(folder / "poor", corpus, 0.5, 1, genotype),
        make_run(folder / "told", corpus, 9.0, 2, leaks_speakers=True),
    ]


class Page(html.parser.HTMLParser):
    """What a browser would see, and whether every element is closed."""

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
    # Who is in which part decides, whatever a protocol is called.
    first = json.loads((paths[0] / "result.json").read_text())
    first["folds_hash"] = "one"
    (paths[0] / "result.json").write_text(json.dumps(first))
    assert verdict(folds_hash="one") != other
    assert verdict(folds_hash="two") == other
    assert verdict(folds_hash=None, protocol=None) != other
    assert verdict(folds={"a+b": {}, "c+d": {}}) == other


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
    assert f"surest 50 %, {surest[:12].mean():.3f}" in page.text
    last = index == 14
    assert (
        f"confidence {confidence[last].mean():.2f}: {right[last].mean():.2f} "
        f"right of {last.sum()}"
    ) in page.text


def test_coverage_is_drawn(runs, tmp_path):
    found = Predictions.load_csv(runs[0] / "predictions.csv")
    curve = coverage_curve(found)
    page = Page(write_html(runs[0], tmp_path / "r.html"))
    half, every = (
        curve.accuracy_at(0.5),
        np.mean(found.predicted == found.labels),
    )
    assert f"of the surest 50% {half:.2f} right" in page.source
    assert f"of the surest 100% {every:.2f} right" in page.source
    lines = re.findall('<polyline points="([^"]*)"', page.source)
    # From the surest 5 % to all of them, the last point being WA.
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
    text = Page(write_html(runs[0], tmp_path / "r.html")).text
    assert f"leave-one-speaker-out ({protocol.hash})" in text
    unnamed = make_run(tmp_path / "run", corpus, protocol=None)
    result = json.loads((unnamed / "result.json").read_text())
    assert result["protocol"] == {
        "name": None,
        "leaks_speakers": False,
        "selects_on_test": False,
        "hash": None,
    }
    assert read_runs(unnamed)[0].protocol is None


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
    assert "older version" in Page(write_html(run, tmp_path / "r.html")).text


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


def test_what_is_no_finished_run(runs, corpus, tmp_path):
    output = tmp_path / "report.html"

    def refused(paths, message):
        with pytest.raises(ValueError, match=message):
            write_html(paths, output)
        assert not output.exists()

    refused([], "at least one")
    refused(tmp_path / "nowhere", "nowhere must be the folder of a run")
    refused(runs[0] / "folds", "not a run of ser_keras")
    refused([runs[0], runs[0]], "given twice")
    run = make_run(tmp_path / "run", corpus)
    (run / "result.json").unlink()
    refused(run, "not finished.*Finished folds: a, b, c, d")
    (run / "result.json").write_text("{")
    refused(run, "result.json is not valid JSON")
    (run / "config.json").write_text("[]")
    refused(run, "not a run of ser_keras")


def test_predictions_must_cover_the_test_set(corpus, tmp_path):
    run = make_run(tmp_path / "run", corpus)
    lines = (run / "predictions.csv").read_text().splitlines()
    (run / "predictions.csv").write_text("\n".join(lines[:-2]) + "\n")
    with pytest.raises(ValueError, match=r"2 of 24.*such as d4, d5"):
        read_runs(run)
    (run / "utterances.jsonl").unlink()
    with pytest.raises(ValueError, match="24 test utterances.*22 rows"):
        read_runs(run)


def test_runs_must_have_the_same_utterances(runs, corpus, tmp_path):
    fewer = Manifest([u for u in corpus if u.id != "b3"], LABELS)
    other = make_run(tmp_path / "other", fewer)
    with pytest.raises(ValueError, match=r"other \(the second\).*b3"):
        read_runs([runs[0], other])


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
