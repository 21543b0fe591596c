"""Demo: a web page on which models classify recorded or uploaded speech."""

import dataclasses
import html
import json
import pathlib
import socket

import numpy as np

from ser_keras._errors import needs_extra
from ser_keras.audio.bandwidth import missing_band
from ser_keras.audio.io import AudioError
from ser_keras.audio.io import load_audio
from ser_keras.evaluation.predictions import Predictions
from ser_keras.export.saved_model.model import CARD
from ser_keras.serving.confidence import calibration_note
from ser_keras.serving.confidence import overstates
from ser_keras.serving.confidence import predictions_beside
from ser_keras.serving.demo_figure import as_html
from ser_keras.serving.demo_figure import draw_recording
from ser_keras.serving.predictor import load_predictor
from ser_keras.serving.streaming import StreamingRecognizer

_NONE = "none"
_LEAST = 0.1  # Seconds of the shortest recording.
_SHORTEST, _LONGEST = 1.0, 3.0  # Seconds of a window.
_HOP = 0.25  # Smallest hop of windows, seconds.
_POINTS = 200  # Largest number of windows.
_LARGEST = "100mb"
_INTRODUCTION = """\
# Which emotion does a voice express?
Record or upload speech. It is analysed by the program that shows this page and
not sent anywhere else. A model classifies how a voice **sounds**, compared with
the recordings it was trained on; it does not know what a person feels.
"""


@dataclasses.dataclass(frozen=True)
class DemoModel:
    """A model on the page.

    Args:
        name: Its name on the page.
        predictor: What `load_predictor` returns.
        predictions: `Predictions` of its test, for a note on calibration.
        overstates: Whether the protocol of that test overstates.
    """

    name: str
    predictor: object
    predictions: Predictions | None = None
    overstates: bool = False

    @classmethod
    def load(cls, path):
        """Reads a model; see `load_predictor`."""
        predictor = load_predictor(path)
        path = pathlib.Path(path or predictor.path)
        name = path.parent.name if path.name == "model.tflite" else path.name
        return cls(name, predictor, predictions_beside(path), overstates(path))

    def recognise(self, recording):
        """Classifies a recording, as a whole and in windows.

        Args:
            recording: Audio file.

        Returns:
            `(probabilities, note, curve)`: a dict by label; a text; and
            `(labels, times, table)`, with the probabilities `(times, classes)`
            of windows centred at `times`, in seconds.

        Raises:
            ValueError: The file cannot be used, see `load_audio`, or it is
                shorter than 0.1 s.
        """
        rate, labels = self.predictor.sample_rate, self.predictor.labels
        waveform = load_audio(recording, rate)
        if len(waveform) < _LEAST * rate:
            raise ValueError(
                f"too short: {len(waveform) / rate:.2f} s, and at least "
                f"{_LEAST:g} s are needed"
            )
        limit = self._limit()  # Of a single clip, not of the curves.
        start = max(len(waveform) - limit, 0) // 2
        middle = waveform[start : start + limit]
        answer = self.predictor([middle])["probabilities"][0]
        probabilities = {
            label: float(p) for label, p in zip(labels, answer, strict=True)
        }
        note = calibration_note(
            max(probabilities.values()), self.predictions, self.overstates
        )
        missing = missing_band(middle, rate, self.predictor.bandwidth)
        if missing:
            note += f" **This recording has {missing}.**"
        if len(waveform) > limit:
            note += f" The answer is for the middle {limit / rate:g} s."
        longest = limit / rate if self.predictor.samples else _LONGEST
        # Half of a short recording, so that there are several windows.
        window = min(max(len(waveform) / rate / 2, _SHORTEST), longest)
        note += f" Each point of the curves is for {window:.1f} s around it."
        hop = max(len(waveform) / rate / _POINTS, _HOP)
        recognizer = StreamingRecognizer(
            self.predictor, window=window, hop=hop, smoothing=None
        )
        updates = list(recognizer.stream([waveform]))
        times = np.array([max(u.time - window / 2, 0) for u in updates])
        return (
            probabilities,
            note,
            (labels, times, np.array([u.probabilities for u in updates])),
        )

    def _limit(self):
        """Samples of the longest clip that the model takes."""
        if self.predictor.samples:  # A fixed duration.
            return self.predictor.samples
        card = json.loads((self.predictor.path / CARD).read_text())
        return round(card["max_duration"] * self.predictor.sample_rate)


def build_page(models):
    """Builds the page of the demo.

    Args:
        models: List of `DemoModel`.

    Returns:
        `gradio.Blocks`.

    Raises:
        ValueError: Two models have the same name.
    """
    gradio = _import_gradio()
    named = {model.name: model for model in models}
    if len(named) < len(models):
        raise ValueError(
            "Models must have different names, which are those of their "
            f"folders or files. Received: {[model.name for model in models]}"
        )
    names = list(named)

    def analyse(recording, first, second):
        chosen = [first] if second in (_NONE, first) else [first, second]
        return _analyse(recording, [named[name] for name in chosen])

    # Without Gradio's telemetry.
    with gradio.Blocks(title="ser_keras", analytics_enabled=False) as page:
        gradio.Markdown(_INTRODUCTION)
        recording = gradio.Audio(
            sources=["upload", "microphone"],
            type="filepath",
            label="Speech",
            elem_id="recording",
            buttons=["download"],  # Without a button to share it.
        )
        with gradio.Row(visible=len(names) > 1):
            # On a phone below each other, so that names are not cut off.
            first, second = (
                gradio.Dropdown(
                    choices, value=choices[0], label=label, min_width=320
                )
                for choices, label in (
                    (names, "Model"),
                    ([_NONE, *names], "Compare with"),
                )
            )
        answers = []
        with gradio.Row():
            for number in (1, 2):
                with gradio.Column(visible=number == 1) as column:
                    label = gradio.Label(
                        label=names[0], elem_id=f"answer-{number}"
                    )
                    note = gradio.Markdown(elem_id=f"note-{number}")
                answers += [column, label, note]
        picture = gradio.HTML(elem_id="picture")
        gradio.on(
            [recording.change, first.change, second.change],
            analyse,
            [recording, first, second],
            [*answers, picture],
            api_visibility="private",
            # A LiteRT model serves one request at a time.
            concurrency_limit=1,
            trigger_mode="always_last",
        )
    return page


def launch(paths, host="127.0.0.1", port=7860, browser=False, wait=True):
    """Serves the page of the demo.

    Args:
        paths: Models, as `load_predictor` takes them.
        host: Address to listen on; by default only of this machine.
        port: Port to listen on; 0 takes a free one.
        browser: Whether to open the page in a browser.
        wait: Whether to serve until the program is stopped.

    Returns:
        `gradio.Blocks`, to be closed with `close()`, unless it waits.

    Raises:
        ModuleNotFoundError: The extra `demo` is not installed.
        ValueError: Two models have the same name.
    """
    _import_gradio()  # Fails before models are read, which takes longer.
    page = build_page([DemoModel.load(path) for path in paths])
    _, url, _ = page.launch(
        server_name=host,
        server_port=port or _free_port(host),
        inbrowser=browser,
        prevent_thread_lock=True,
        share=False,
        quiet=True,
        theme=_theme(),
        max_file_size=_LARGEST,
        footer_links=[],
        ssr_mode=False,
    )
    print(f"the page is at {url} (Ctrl-C stops it)", flush=True)
    if wait:
        page.block_thread()
    return page


def _analyse(recording, models):
    """Outputs of the page for a recording: columns, answers, notes, picture."""
    if not recording:
        return _shown(models, [(None, "")] * len(models), "")
    try:
        results = [model.recognise(recording) for model in models]
    except ValueError as error:
        # Without the name of an uploaded file, which the page gave it.
        reason = error.reason if isinstance(error, AudioError) else str(error)
        note = f"**This recording cannot be used:** {html.escape(reason)}"
        return _shown(models[:1], [(None, note)], "")
    curves = {
        model.name: curve
        for model, (_, _, curve) in zip(models, results, strict=True)
    }
    rate = models[0].predictor.sample_rate
    sound = load_audio(recording, rate), rate
    text = "Emotion over time, waveform and spectrogram. " + " ".join(
        f"{model.name}: {max(answer, key=answer.get)}."
        for model, (answer, _, _) in zip(models, results, strict=True)
    )
    picture = as_html(
        draw_recording(*sound, curves),
        draw_recording(*sound, curves, width=4.4),
        text,
    )
    return _shown(models, [(a, note) for a, note, _ in results], picture)


def _shown(models, answers, picture):
    gradio = _import_gradio()
    outputs = []
    for number in range(2):
        if number < len(models):
            answer, note = answers[number]
            label = gradio.Label(answer, label=models[number].name)
            outputs += [gradio.Column(visible=True), label, note]
        else:
            outputs += [gradio.Column(visible=False), None, ""]
    return [*outputs, picture]


def _theme():
    # With system fonts, so that none are downloaded.
    return _import_gradio().themes.Default(
        font=["system-ui", "sans-serif"], font_mono=["monospace"]
    )


def _free_port(host):
    with socket.socket() as free:
        free.bind((host, 0))
        return free.getsockname()[1]


def _import_gradio():
    with needs_extra("The demo", "demo"):
        import gradio
    return gradio
