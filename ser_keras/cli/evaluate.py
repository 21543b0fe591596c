"""`ser_keras evaluate`: scores of a run, or of a model on a corpus."""

import dataclasses
import functools
import json
import pathlib
import sys

import numpy as np
import rich.console
import rich.progress

from ser_keras._files import write_text
from ser_keras._quiet import without_information
from ser_keras.audio.io import AudioError
from ser_keras.audio.io import load_audio
from ser_keras.cli.command import Command
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.parsers import load_corpus
from ser_keras.corpora.spelling import emotion_of
from ser_keras.evaluation.predictions import Predictions
from ser_keras.evaluation.scores import confidence_interval
from ser_keras.evaluation.scores import score
from ser_keras.experiments.corpus import check_label_map
from ser_keras.experiments.corpus import pairs_of
from ser_keras.experiments.corpus import with_label_map
from ser_keras.serving.predictor import load_predictor
from ser_keras.training.run_folder import to_json_types


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Scores a run, or a model on a corpus.

    A run is scored on the predictions that it made for its test speakers. A
    model does not say whom it was trained on: that the corpus' speakers are
    new to it is yours to know.
    """

    path: str = dataclasses.field(metadata={"positional": True, "path": True})
    """Folder of a run; or with `--corpus` a SavedModel's folder or a LiteRT
    file."""
    corpus: str = ""
    """Name of the corpus in `--data-dir`, such as emodb."""
    data_dir: str = ""
    """Folder of the corpus."""
    speakers: tuple[str, ...] = ()
    """Only these speakers of the corpus; `unknown`, of a list that does not
    say who speaks."""
    columns: tuple[str, ...] = ()
    """Of a list (`--corpus manifest`): FIELD=COLUMN for columns of other names,
    such as path=recording label=mood."""
    label_map: tuple[str, ...] = ()
    """OLD=NEW for each label of the corpus to rename, such as joy=happiness; or
    the name of a label map: 4, 6, 7, 8 or 8-contempt."""
    labels: tuple[str, ...] = ()
    """Labels of the corpus to score, after `--label-map`; default all that the
    model knows, by this or another word for them."""
    predictions: str = dataclasses.field(default="", metadata={"path": True})
    """CSV file to write, with every utterance's probabilities."""
    skip_bad_audio: bool = False
    """Leave out files that cannot be used, and count them, instead of
    stopping."""
    stress: bool = False
    """Also score altered copies of the recordings: bandwidth, codecs, noise,
    rooms, level and length. Of a run, each fold's network hears the speakers
    that it was tested on. Writes stress.json and stress.png."""
    stress_dir: str = dataclasses.field(default="", metadata={"path": True})
    """Folder of these files; default that of the run, or `stress`."""
    cache_dir: str = ".cache/features"
    """Folder of the feature cache, for `--stress` of a run."""

    def __post_init__(self):
        if bool(self.corpus) != bool(self.data_dir):
            raise ValueError(
                "`corpus` and `data_dir` must be given together. Received: "
                f"corpus={self.corpus!r}, data_dir={self.data_dir!r}"
            )
        for name in ("speakers", "columns", "label_map", "labels"):
            if getattr(self, name) and not self.corpus:
                raise ValueError(f"`{name}` needs `corpus` and `data_dir`.")
        pairs_of("columns", self.columns)
        check_label_map(self.label_map)


def evaluate(config):
    """Scores with their interval, and what was left out."""
    from ser_keras.evaluation.calibration import measure_calibration
    from ser_keras.reports.data import read_run

    if pathlib.Path(config.predictions or ".").is_file():
        raise FileExistsError(
            f"{config.predictions} exists and is not overwritten."
        )
    facts = {"left_out": {}, "skipped": []}
    if config.corpus:
        with without_information():
            model = load_predictor(config.path)
        kept, waveforms, facts = _read(config, model)
        facts["warnings"] = _calibrated_elsewhere(model, config.corpus)
        answers = functools.partial(_answers, model, kept, waveforms)
        predictions = answers()
    else:
        if not (pathlib.Path(config.path) / "config.json").exists():
            raise FileNotFoundError(
                f"{config.path}/config.json: no such file. {config.path} must "
                "be the folder of a finished run; to score a model, give "
                "--corpus and --data-dir"
            )
        run = read_run(config.path)
        predictions = run.predictions
        facts |= {
            "protocol": run.protocol,
            **run.facts,
            "worth": run.mark,
            "warnings": run.warnings,
        }
    if config.predictions:
        predictions.save_csv(config.predictions)
    if config.stress:
        if not config.corpus:
            from ser_keras.evaluation.stress import answers_of_run

            answers = answers_of_run(config.path, config.cache_dir)
        facts["stress"] = _stress(config, answers)
    scores, found = score(predictions), measure_calibration(predictions)
    return to_json_types(
        {
            "scores": scores.to_dict(),
            "uar_interval_95": confidence_interval(predictions),
            "calibration": {"ece": found.ece, "n_bins": len(found.counts)},
            **facts,
        }
    )


def _calibrated_elsewhere(model, corpus):
    """A warning, if another corpus' speakers gave the temperature."""
    other = getattr(model, "calibrated_on", None)
    if other in (None, corpus):
        return []
    return [
        f"WARNING: the model's probabilities were calibrated on {other}. On "
        f"{corpus} they may be too high or too low: ECE says how far"
    ]


def _answers(model, kept, waveforms, alteration=None):
    """Predictions of a model, of recordings as they are or altered."""
    rows, rate = [], model.sample_rate
    for utterance, clip in zip(
        _track(kept, "utterances"), waveforms, strict=True
    ):
        if alteration is not None:
            clip = alteration.of_clip(clip, rate, utterance.id)
        rows.append(model([clip])["probabilities"][0])
    return Predictions.of(kept, np.array(rows))


def _stress(config, answers):
    """Rows of the stress report, whose files are written."""
    from ser_keras.evaluation.stress import stress_conditions
    from ser_keras.reports.figures import plot_stress

    default = "stress" if config.corpus else config.path
    folder = pathlib.Path(config.stress_dir or default)
    # Of a model each condition has its own bar: two cannot be shown at once.
    progress = iter
    if not config.corpus:
        progress = functools.partial(_track, description="conditions")
    rows = stress_conditions(answers, progress=progress)
    write_text(folder / "stress.json", json.dumps(rows, indent=1) + "\n")
    plot_stress(rows, folder / "stress.png")
    return rows


def _track(items, description):
    return rich.progress.track(
        items,
        description=description,
        console=rich.console.Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )


def _read(config, model):
    """Utterances of known classes, their waveforms, and what is left out."""
    options = {}
    if config.corpus == "manifest":
        options["columns"] = pairs_of("columns", config.columns)
        if config.speakers == ("unknown",):
            options["speakers"] = "unknown"
    corpus = load_corpus(config.corpus, config.data_dir, **options)
    corpus = with_label_map(corpus, config.label_map)
    if config.speakers and "speakers" not in options:
        corpus = corpus.select(speakers=config.speakers)
    if config.labels:
        corpus = corpus.select(labels=config.labels)
    # Another word for a class of the model, such as `angry` for `anger`.
    name_of = {emotion_of(label): label for label in model.labels}
    corpus = corpus.relabel(
        {
            label: name_of[emotion_of(label)]
            for label in corpus.labels
            if label not in model.labels and emotion_of(label) in name_of
        }
    )
    unknown = {
        label: count
        for label, count in corpus.counts().items()
        if label not in model.labels
    }
    known = [label for label in corpus.labels if label in model.labels]
    if not known:
        raise ValueError(
            "The corpus and the model must have classes in common. Received: "
            f"{corpus.labels} and {model.labels}"
        )
    corpus = corpus.select(labels=known)
    kept, waveforms, skipped = [], [], []
    for utterance in _track(corpus, "files"):
        try:
            waveform = load_audio(
                utterance.path,
                model.sample_rate,
                utterance.start,
                utterance.end,
            )
        except AudioError as error:
            if not config.skip_bad_audio:
                raise AudioError(
                    error.path,
                    error.found,
                    f"{error.advice}; or leave bad audio out with "
                    "--skip-bad-audio",
                ) from None
            skipped.append({"path": error.path, "reason": error.found})
            continue
        kept.append(utterance)
        waveforms.append(waveform)
    facts = {"left_out": unknown, "skipped": skipped}
    return Manifest(kept, model.labels), waveforms, facts


def show(result):
    """Prints scores and recalls."""
    scores, interval = result["scores"], result["uar_interval_95"]
    for line in result.get("warnings", ()):
        print(line)
    if "worth" in result:
        name = result["protocol"] or "unnamed"
        print(f"protocol     {name}: {result['worth']}")
    between = ""
    if interval is not None:
        between = " (95 % interval {:.3f} to {:.3f})".format(*interval)
    print(f"UAR          {scores['uar']:.3f}{between}")
    print(f"WA           {scores['wa']:.3f}")
    print(f"macro F1     {scores['macro_f1']:.3f}")
    print(f"ECE          {result['calibration']['ece']:.3f}")
    print(f"utterances   {scores['n']}")
    print(f"speakers     {len(scores['per_speaker'])}")
    print("recall")
    for label, recall in scores["recall"].items():
        value = "no utterances" if recall is None else f"{recall:.3f}"
        print(f"  {label:12s} {value}")
    for row in result.get("stress", ()):
        print(
            f"{row['altered']:10s} {row['condition']:14s} UAR {row['uar']:.3f}"
            f"  ECE {row['ece']:.3f}  mean confidence {row['confidence']:.2f}"
        )
    for label, count in result["left_out"].items():
        print(f"left out: {count} of {label}, which the model does not know")
    for entry in result["skipped"]:
        print(f"skipped: {entry['path']}: {entry['reason']}")


EVALUATE = Command(EvaluateConfig, evaluate, show)
