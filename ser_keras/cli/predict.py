"""`ser_keras predict`: recordings in, emotions out."""

import csv
import dataclasses
import math
import os
import pathlib
import sys
import typing

import numpy as np
import rich.box
import rich.console
import rich.progress
import rich.table

from ser_keras._quiet import without_information
from ser_keras.cli.command import Command

# What is looked for in a folder.
_AUDIO = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".opus")


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
    """Audio files, or folders of them: all that are below a folder."""
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
    if config.output_dir:
        return _bulk(config)
    model = _load(config.model)
    if config.over_time:
        recognizer = _recognizer(model, config)
        targets = _targets(config)
    rows = []
    for file in _progress(config.files):
        try:
            if config.over_time:
                row = _along(recognizer, file, targets[file])
            else:
                row = _classify(model, file)
        except (ValueError, OSError) as error:
            row = _failed(error)
        rows.append({"file": file, **row})
    return _result(str(model.path), model.labels, rows)


def _failed(error):
    # The file is named beside it.
    return {"error": getattr(error, "reason", None) or str(error)}


def _found(paths):
    """The files, with those below folders in place of the folders."""
    files = []
    for path in paths:
        if not os.path.isdir(path):
            files.append(path)
            continue
        below = [
            str(file)
            for file in sorted(pathlib.Path(path).rglob("*"))
            if file.suffix.lower() in _AUDIO
        ]
        if not below:
            raise ValueError(
                f"{path} has no audio files. Looked for: {', '.join(_AUDIO)}"
            )
        files += below
    return tuple(files)


def _bulk(config):
    from ser_keras.cli.bulk import predict_shards

    rows = predict_shards(
        _load,
        _answer_or_error,
        config.files,
        config.model,
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


def _answer_or_error(model, file):
    try:
        return _classify(model, file)
    except (ValueError, OSError) as error:
        return _failed(error)


def _classify(model, file):
    from ser_keras.audio.bandwidth import missing_band
    from ser_keras.audio.io import load_audio

    waveform = load_audio(file, model.sample_rate)
    row = _answer(model, model([waveform])["probabilities"][0])
    missing = missing_band(waveform, model.sample_rate, model.bandwidth)
    if missing:
        row["warning"] = missing
    samples = getattr(model, "samples", None)  # Of a LiteRT file.
    if samples and len(waveform) > samples:
        first = (len(waveform) - samples) // 2
        row["heard"] = [
            round(end / model.sample_rate, 3)
            for end in (first, first + samples)
        ]
    return row


def _answer(model, probabilities):
    probabilities = probabilities.astype("float64")
    if not np.isfinite(probabilities).all():
        raise ValueError("samples too large: the model's answer is not finite")
    return {
        "label": model.labels[int(probabilities.argmax())],
        "probabilities": dict(
            zip(model.labels, probabilities.round(6).tolist(), strict=True)
        ),
    }


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


def _along(recognizer, file, target):
    from ser_keras.audio.io import stream_audio
    from ser_keras.reports.stream_figure import plot_stream

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
        **_answer(model, model.mean),
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
            rows = client.predict(config.files)
    except ServerError as error:
        raise ConnectionError(str(error)) from error
    labels = next((list(r["probabilities"]) for r in rows if "label" in r), [])
    return _result(config.server, labels, rows)


def _result(model, labels, rows):
    return {
        "model": model,
        "labels": list(labels),
        "files": rows,
        "failed": sum("error" in row for row in rows),
    }


def _progress(files):
    """A bar on stderr, where a person waits for many files."""
    return rich.progress.track(
        files,
        description="files",
        console=rich.console.Console(stderr=True),
        transient=True,
        disable=len(files) < 2 or not sys.stderr.isatty(),
    )


def show(result):
    """Prints a table of what `predict` returned, and errors to stderr."""
    good = [row for row in result["files"] if "error" not in row]
    if "output_dir" in result:
        print(f"the answers are in {result['output_dir']}/predictions.csv")
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
        if "warning" in row:
            print(f"warning: {row['file']}: {row['warning']}", file=sys.stderr)
        if "over_time" in row:
            print(
                f"{row['file']}: mean of {row['windows']} windows; over time: "
                f"{row['over_time']}, {row['picture']}"
            )
    for row in result["files"]:
        if "error" in row:
            print(f"error: {row['file']}: {row['error']}", file=sys.stderr)
    if result["failed"]:
        print(
            f"{result['failed']} of {len(result['files'])} files failed",
            file=sys.stderr,
        )


PREDICT = Command(PredictConfig, predict, show)
