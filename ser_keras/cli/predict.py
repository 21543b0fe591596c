"""`ser_keras predict`: recordings in, emotions out."""

import csv
import dataclasses
import pathlib
import sys

import rich.box
import rich.console
import rich.progress
import rich.table

from ser_keras.cli.command import Command


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Says which emotion recordings express.

    WAV, FLAC, OGG, MP3 and others at any rate; channels are averaged. A file
    that cannot be used does not stop the others; the exit status is 1 then.
    """

    files: tuple[str, ...] = dataclasses.field(
        metadata={"positional": True, "path": True}
    )
    """Audio files."""
    model: str = dataclasses.field(default="", metadata={"path": True})
    """SavedModel folder, LiteRT file, or folder of a run. Default: the model
    that comes with the package."""
    server: str = ""
    """Ask a server instead, such as http://127.0.0.1:8501. `--model` is the
    model's name there, if the server has several."""
    over_time: str = dataclasses.field(default="", metadata={"path": True})
    """Folder for the emotions along each recording: `<name>.csv` with the
    probabilities of each window, and `<name>.png` above the waveform."""
    window: float = 3.0
    """Seconds heard at once, with `--over-time`."""
    hop: float = 1.0
    """Seconds from one window to the next, with `--over-time`."""

    def __post_init__(self):
        if self.server and self.over_time:
            raise ValueError(
                "`over_time` must be left out with `server`: it needs the "
                "model here."
            )


def predict(config):
    """Classifies each file by itself.

    Returns:
        Dict with `labels`, and `files`: for each `file` its `label` and
        `probabilities`, or an `error`.
    """
    if config.server:
        return _ask_server(config)
    from ser_keras.serving.predictor import load_predictor

    model = load_predictor(config.model or None)
    if config.over_time:
        targets = _targets(config)
    rows = []
    for file in _progress(config.files):
        try:
            row = _classify(model, file)
            if config.over_time:
                row |= _along(model, file, targets[file], config)
        except (ValueError, OSError) as error:
            # Advice on corpora is out of place here.
            reason = getattr(error, "found", None) or str(error)
            row = {"error": reason}
        rows.append({"file": file, **row})
    return _result(str(model.path), model.labels, rows)


def _classify(model, file):
    from ser_keras.audio.io import load_audio

    answer = model([load_audio(file, model.sample_rate)])
    probabilities = answer["probabilities"][0].astype("float64")
    return {
        "label": str(answer["label"][0]),
        "probabilities": dict(
            zip(model.labels, probabilities.round(6).tolist(), strict=True)
        ),
    }


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


def _along(model, file, target, config):
    from ser_keras.audio.io import stream_audio
    from ser_keras.evaluation.stream_figure import plot_stream
    from ser_keras.serving.streaming import StreamingRecognizer

    recognizer = StreamingRecognizer(
        model, window=config.window, hop=config.hop
    )
    rate = model.sample_rate
    updates = list(recognizer.stream(stream_audio(file, rate)))
    with open(target, "x", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["time", "label", *model.labels])
        for time, probabilities, label in updates:
            values = [f"{p:.6f}" for p in probabilities]
            writer.writerow([f"{time:.3f}", label, *values])
    picture = target.with_suffix(".png")
    plot_stream(updates, model.labels, picture, stream_audio(file, rate), rate)
    return {"over_time": str(target), "picture": str(picture)}


def _ask_server(config):
    from ser_keras.serving.client import Client
    from ser_keras.serving.client import ServerError

    try:
        with Client(config.server, config.model or None) as client:
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
    if good:
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
        if "over_time" in row:
            print(f"over time: {row['over_time']}, {row['picture']}")
    for row in result["files"]:
        if "error" in row:
            print(f"error: {row['file']}: {row['error']}", file=sys.stderr)
    if result["failed"]:
        print(
            f"{result['failed']} of {len(result['files'])} files failed",
            file=sys.stderr,
        )


PREDICT = Command(PredictConfig, predict, show)
