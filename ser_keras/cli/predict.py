"""`ser_keras predict`: recordings in, emotions out."""

import csv
import dataclasses
import functools
import glob
import itertools
import math
import os
import pathlib
import sys
import typing

import rich.box
import rich.console
import rich.progress
import rich.table

from ser_keras._quiet import without_information
from ser_keras.cli.command import Command

# What is looked for in a folder.
_AUDIO = tuple(
    ".wav .flac .ogg .oga .opus .mp3 .aiff .aif .au .w64 .rf64 .caf .sph "
    # By ffmpeg.
    ".m4a .mp4 .webm .aac .amr .3gp .wma".split()
)


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Says which emotion recordings express.

    WAV, FLAC, OGG, MP3 and others at any rate; channels are averaged. A file
    that cannot be used does not stop the others; the exit status is 1 then. A
    LiteRT file uses the middle of a longer recording, and says so; with
    `--over-time` all of it is used, and the result is the mean over windows.
    """

    files: tuple[str, ...] = dataclasses.field(
        metadata={"positional": True, "path": True}
    )
    """Audio files; folders, for all that are below them; or patterns, such as
    'calls/**/*.wav'."""
    model: str = dataclasses.field(default="", metadata={"path": True})
    """SavedModel folder, LiteRT file, or folder of a run. Default: the model
    that comes with the package."""
    server: str = ""
    """Ask a server instead, such as http://127.0.0.1:8501. `--model` is the
    model's name there, if the server has several."""
    timeout: float = 30.0
    """Seconds that a request to `--server` may take, each time it is tried."""
    retries: int = 4
    """How often a request to `--server` is tried again."""
    over_time: str = dataclasses.field(default="", metadata={"path": True})
    """Folder for the emotions along each recording: `<name>.csv` with the
    probabilities after each window, smoothed (`--smoothing`), and `<name>.png`
    above the waveform. Memory does not grow with the recording."""
    window: float | None = None
    """Seconds of a window, with `--over-time`. Default: the length of a
    LiteRT file's clip, otherwise 3."""
    hop: float = 1.0
    """Seconds from one window to the next, with `--over-time`."""
    smoothing: typing.Literal["exponential", "median", "none"] = "exponential"
    """How windows are smoothed over 2 s, with `--over-time`: `exponential`,
    the newest one counts most; `median` of the last 2 s; or `none`, each
    window by itself."""

    output: str = dataclasses.field(default="", metadata={"path": True})
    """CSV file for the answers, to which each is added as it comes. Files that
    are in it already are not asked again, unless they failed."""
    threshold: float = 0.0
    """Lowest probability of an answer; below it, the answer is `unsure`."""
    accuracy: float = 0.0
    """Choose `--threshold` for this accuracy of the answers in the model's
    test, on speakers that it was not trained on, such as 0.9."""

    output_dir: str = ""
    """Folder for the answers of many recordings: `predictions.csv`. What was
    stopped goes on where it was."""
    jobs: int = 1
    """Shards of 256 recordings at the same time, with `--output-dir`."""
    engine: typing.Literal["local", "ray", "slurm"] = "local"
    """What runs the shards, with `--output-dir`: processes of this machine, a
    Ray cluster (extra `ray`), or SLURM (extra `slurm`)."""

    def __post_init__(self):
        if self.jobs < 1:
            raise ValueError(
                f"`jobs` must be a positive integer. Received: jobs={self.jobs}"
            )
        if (self.jobs > 1 or self.engine != "local") and not self.output_dir:
            raise ValueError(
                "`output_dir` must be given with `jobs` or `engine`: the "
                "folder in which workers leave their answers."
            )
        if self.output_dir and (self.server or self.over_time):
            raise ValueError(
                "`output_dir` must be left out with `server` and `over_time`."
            )
        if self.output and (self.output_dir or self.over_time):
            raise ValueError(
                "`output` must be left out with `output_dir` and `over_time`."
            )
        check_threshold(self)
        if self.accuracy and self.server:
            raise ValueError(
                "`accuracy` must be left out with `server`, which has the "
                "model's test: give it to `ser_keras serve`."
            )
        if self.timeout <= 0 or self.retries < 0:
            raise ValueError(
                "`timeout` must be positive and `retries` not negative. "
                f"Received: timeout={self.timeout}, retries={self.retries}"
            )
        if self.server and self.over_time:
            raise ValueError(
                "`over_time` must be left out with `server`: it needs the "
                "model here."
            )
        for name in ("window", "hop"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(
                    f"`{name}` must be positive seconds. Received: "
                    f"{name}={value}"
                )


def predict(config):
    """Classifies each file by itself.

    Returns:
        Dict with `labels`, and `files`: for each `file` its `label` and
        `probabilities`, or an `error`; `heard`, the seconds from and to, where
        that is not all of it; `windows`, how many there were over time.
    """
    config = dataclasses.replace(config, files=_found(config.files))
    if config.server:
        return _ask_server(config)
    threshold = _threshold(config)
    if config.output_dir:
        return _bulk(config, threshold)
    model = _load(config.model)
    if config.over_time:
        recognizer = _recognizer(model, config)
        targets = _targets(config)

    def answer(file):
        if not config.over_time:
            return _answer_or_error(model, file, threshold)
        try:
            return _along(recognizer, file, targets[file], threshold)
        except (ValueError, OSError) as error:
            return _failed(error)

    def answers(files):
        return ({"file": file, **answer(file)} for file in files)

    return _collect(config, str(model.path), model.labels, answers)


def _failed(error):
    # The file is named beside it.
    return {"error": getattr(error, "reason", None) or str(error)}


def _found(paths):
    """The files, with those below folders in place of the folders."""
    files = []
    for path in paths:
        if os.path.isdir(path):
            below = [
                str(file)
                for file in sorted(pathlib.Path(path).rglob("*"))
                if file.suffix.lower() in _AUDIO
            ]
            if not below:
                raise ValueError(
                    f"{path} has no audio files. Looked for: "
                    + ", ".join(_AUDIO)
                )
            files += below
        elif glob.has_magic(path) and not os.path.exists(path):
            matching = sorted(glob.glob(path, recursive=True))
            if not matching:
                raise ValueError(f"No file is like {path}")
            files += matching
        else:
            files.append(path)
    return tuple(dict.fromkeys(files))


def check_threshold(config):
    """Raises `ValueError` unless a threshold, or an accuracy, can be met."""
    for name in ("threshold", "accuracy"):
        if not 0 <= getattr(config, name) <= 1:
            raise ValueError(
                f"`{name}` must be from 0 to 1. Received: "
                f"{name}={getattr(config, name)}"
            )
    if config.threshold and config.accuracy:
        raise ValueError(
            "`accuracy` chooses the `threshold`: give one of the two."
        )


def _threshold(config):
    if not config.accuracy:
        return config.threshold
    from ser_keras.serving.confidence import chosen_threshold
    from ser_keras.serving.predictor import bundled_model

    model = config.model or bundled_model()
    chosen = chosen_threshold(model, accuracy=config.accuracy)
    print(
        f"answers below a probability of {chosen:.3f} are unsure",
        file=sys.stderr,
    )
    return chosen


def _collect(config, model, labels, answers):
    """Answers of those files that have none yet, in a file as they come.

    Args:
        config: The configuration.
        model: What to call the model.
        labels: Its classes; None of a server.
        answers: From files to an iterable of as many rows.
    """
    from ser_keras.cli.answers import AnswerFile
    from ser_keras.cli.answers import labels_in

    files, first = config.files, []
    if labels is None:
        labels = labels_in(config.output or os.devnull) or None
    if labels is None:  # A server tells them with an answer.
        answers_of_all = iter(answers(files))
        for row in answers_of_all:
            first.append(row)
            if "label" in row:
                break
        labels = list(first[-1].get("probabilities", ()))
    table, known = None, {}
    if config.output:
        table = AnswerFile(config.output, labels)
        known = table.answered
    todo = [file for file in files if file not in known]
    coming = itertools.chain(first, answers_of_all) if first else answers(todo)
    rows = {}
    for row in _progress(coming, len(todo)):
        rows[row["file"]] = row
        if table is not None:
            table.add(row)
    result = _result(model, labels, [{**known, **rows}[file] for file in files])
    if table is not None:
        earlier = len(files) - len(todo)
        result |= {"output": config.output, "earlier": earlier}
    return result


def _bulk(config, threshold):
    from ser_keras.cli.bulk import predict_shards

    rows = predict_shards(
        _load,
        functools.partial(_answer_or_error, threshold=threshold),
        config.files,
        config.model,
        threshold=threshold,
        output_dir=config.output_dir,
        jobs=config.jobs,
        engine=config.engine,
    )
    labels = next((list(r["probabilities"]) for r in rows if "label" in r), [])
    result = _result(config.model or "the bundled model", labels, rows)
    return {**result, "output_dir": config.output_dir}


def _load(path):
    from ser_keras.serving.predictor import load_predictor

    with without_information():
        return load_predictor(path or None)


def _answer_or_error(model, file, threshold=0.0):
    from ser_keras.serving.recognition import recognize

    try:
        return recognize(model, file, threshold)
    except (ValueError, OSError) as error:
        return _failed(error)


class _Mean:
    """A model that keeps the mean of its answers."""

    def __init__(self, model):
        self._model = model
        self.forget()

    def __getattr__(self, name):
        return getattr(self._model, name)

    def __call__(self, waveforms):
        answer = self._model(waveforms)
        self._sum += answer["probabilities"].astype("float64").sum(axis=0)
        self.windows += len(answer["probabilities"])
        return answer

    def forget(self):
        self._sum, self.windows = 0.0, 0

    @property
    def mean(self):
        return self._sum / self.windows


def _recognizer(model, config):
    from ser_keras.serving.streaming import StreamingRecognizer

    return StreamingRecognizer(
        _Mean(model),
        window=config.window,
        hop=config.hop,
        smoothing=None if config.smoothing == "none" else config.smoothing,
    )


def _targets(config):
    """CSV file of each recording; nothing is overwritten."""
    folder = pathlib.Path(config.over_time)
    targets = {f: folder / f"{pathlib.Path(f).stem}.csv" for f in config.files}
    if len(set(targets.values())) < len(targets):
        raise ValueError(
            "--over-time needs recordings of different names, as each gets a "
            f"file of its name in {folder}"
        )
    for target in targets.values():
        for path in (target, target.with_suffix(".png")):
            if path.exists():
                raise FileExistsError(
                    f"{path} exists and is not overwritten. Choose another "
                    "folder for --over-time."
                )
    folder.mkdir(parents=True, exist_ok=True)
    return targets


def _along(recognizer, file, target, threshold):
    from ser_keras.audio.io import stream_audio
    from ser_keras.reports.stream_figure import plot_stream
    from ser_keras.serving.recognition import describe

    model, rate = recognizer.predictor, recognizer.sample_rate
    model.forget()
    loudest = 0.0

    def chunks():
        nonlocal loudest
        for chunk in stream_audio(file, rate):
            loudest = max(loudest, abs(chunk).max())
            yield chunk

    updates = list(recognizer.stream(chunks()))
    if not loudest:
        raise ValueError("silent: all of its samples are 0")
    smoothing = "none"
    if recognizer.smoothing:
        smoothing = f"{recognizer.smoothing} {recognizer.smoothing_seconds:g} s"
    with open(target, "x", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["time", "label", *model.labels, "smoothing"])
        for time, probabilities, label in updates:
            values = [f"{p:.6f}" for p in probabilities]
            writer.writerow([f"{time:.3f}", label, *values, smoothing])
    picture = target.with_suffix(".png")
    plot_stream(updates, model.labels, picture, stream_audio(file, rate), rate)
    return {
        **describe(model.labels, model.mean, threshold),
        "windows": model.windows,
        "over_time": str(target),
        "picture": str(picture),
    }


def _ask_server(config):
    from ser_keras.serving.client import Client
    from ser_keras.serving.client import ServerError

    try:
        with Client(
            config.server,
            config.model or None,
            timeout=config.timeout,
            retries=config.retries,
        ) as client:
            return _collect(config, config.server, None, client.predict_each)
    except ServerError as error:
        raise ConnectionError(str(error)) from error


def _result(model, labels, rows):
    return {
        "model": model,
        "labels": list(labels),
        "files": rows,
        "failed": sum("error" in row for row in rows),
    }


def _progress(rows, total):
    """A bar on stderr, where a person waits for many files."""
    return rich.progress.track(
        rows,
        description="files",
        total=total,
        console=rich.console.Console(stderr=True),
        transient=True,
        disable=total < 2 or not sys.stderr.isatty(),
    )


def show(result):
    """Prints a table of what `predict` returned, and errors to stderr."""
    good = [row for row in result["files"] if "error" not in row]
    if "output_dir" in result:
        print(f"the answers are in {result['output_dir']}/predictions.csv")
    elif "output" in result:
        earlier = result["earlier"]
        said = f", {earlier} of them from before" if earlier else ""
        count = len(result["files"])
        print(f"{_files(count)} in {result['output']}{said}")
    elif good:
        table = rich.table.Table(box=rich.box.SIMPLE_HEAD)
        for column in ("file", "emotion", "probability", "others"):
            table.add_column(column, overflow="fold")
        for row in good:
            ranked = sorted(row["probabilities"].items(), key=lambda x: -x[1])
            (_, highest), *others = ranked
            table.add_row(
                row["file"],
                row["label"],
                f"{highest:.2f}",
                ", ".join(f"{name} {p:.2f}" for name, p in others),
            )
        # In a pipe, a line is a line.
        width = None if sys.stdout.isatty() else 1000
        rich.console.Console(width=width).print(table)
    for row in good:
        if "heard" in row:
            print(
                "{}: only {:g} to {:g} s were used; --over-time uses all "
                "of it".format(row["file"], *row["heard"])
            )
        if "note" in row:
            print(f"note: {row['file']}: {row['note']}", file=sys.stderr)
        if "warning" in row:
            print(f"warning: {row['file']}: {row['warning']}", file=sys.stderr)
        if "over_time" in row:
            print(
                f"{row['file']}: mean of {row['windows']} windows; over time: "
                f"{row['over_time']}, {row['picture']}"
            )
    # The last line is an error, and what to do about it.
    if result["failed"] and len(result["files"]) > 1:
        print(
            f"{result['failed']} of {_files(len(result['files']))} failed:",
            file=sys.stderr,
        )
    for row in result["files"]:
        if "error" in row:
            print(f"error: {row['file']}: {row['error']}", file=sys.stderr)


def _files(count):
    return f"{count} file{'s' * (count != 1)}"


PREDICT = Command(PredictConfig, predict, show)
