"""Demo: a web page on which models classify recorded or uploaded speech."""

import collections
import dataclasses
import html
import json
import pathlib
import socket
import urllib.parse
from typing import Any

import numpy as np

from ser_keras._errors import needs_extra
from ser_keras._quiet import without_information
from ser_keras.audio.io import AudioError
from ser_keras.audio.io import load_audio
from ser_keras.corpora.built_in import built_in_corpus
from ser_keras.evaluation.calibration import measure_calibration
from ser_keras.evaluation.predictions import Predictions
from ser_keras.evaluation.scores import score
from ser_keras.export.saved_model.model import CARD
from ser_keras.serving.confidence import calibration_note
from ser_keras.serving.confidence import chosen_threshold
from ser_keras.serving.confidence import overstates
from ser_keras.serving.confidence import predictions_beside
from ser_keras.serving.demo_figure import as_html
from ser_keras.serving.demo_figure import draw_recording
from ser_keras.serving.predictor import load_predictor
from ser_keras.serving.recognition import read_clip
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
        threshold: Lowest probability of an answer.
        card: Its model card, Markdown, or nothing.
    """

    name: str
    predictor: Any
    predictions: Predictions | None = None
    overstates: bool = False
    threshold: float = 0.0
    card: str = ""

    @classmethod
    def load(cls, path, threshold=0.0, accuracy=0.0):
        """Reads a model; see `load_predictor` and `chosen_threshold`."""
        predictor = load_predictor(path)
        path = pathlib.Path(path or predictor.path)
        card = path / "card.md"
        if not card.exists():  # Of a SavedModel, or beside a LiteRT file.
            beside = pathlib.Path(predictor.path)
            beside = beside if beside.is_dir() else beside.parent
            card = beside / "card.md"
        return cls(
            _own_name(path),
            predictor,
            predictions_beside(path),
            overstates(path),
            chosen_threshold(path, threshold, accuracy),
            card.read_text(encoding="utf-8") if card.exists() else "",
        )

    def about(self):
        """What the model is and on whom it was measured, in Markdown."""
        lines = [
            f"**{self.name}** tells {', '.join(self.predictor.labels)} apart."
        ]
        if self.predictions is None:
            lines.append("How good it is has not been measured.")
        else:
            scores = score(self.predictions)
            error = measure_calibration(self.predictions).ece
            speakers = len(set(self.predictions.speakers))
            lines.append(
                f"In its test, on {scores.n} recordings of "
                f"{speakers} speaker{'s' * (speakers != 1)}, its unweighted "
                f"average recall was {scores.uar:.2f} (chance: "
                f"{1 / len(self.predictor.labels):.2f}), and its calibration "
                f"error {error:.2f}."
            )
            lines.append(
                "That overstates: test speakers were in training, or the "
                "model was selected on the test part."
                if self.overstates
                else "The test's speakers were not in the training of the "
                "networks that were tested."
            )
        if self.threshold:
            lines.append(
                f"Answers below a probability of {self.threshold:.2f} count "
                "as unsure."
            )
        return " ".join(lines)

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
        clip = read_clip(self.predictor, recording)
        waveform = clip.waveform
        if len(waveform) < _LEAST * rate:
            raise ValueError(
                f"{1000 * len(waveform) / rate:.0f} ms long; at least "
                f"{1000 * _LEAST:.0f} ms are needed. Record more"
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
        if max(probabilities.values()) < self.threshold:
            note = (
                "**Unsure:** no emotion has a probability of "
                f"{self.threshold:.2f}. {note}"
            )
        if clip.warning:
            note += f" **This recording has {clip.warning}.**"
        if clip.note:
            note += f" Of the file: {clip.note}."
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

    """
    gradio = _import_gradio()
    names = different_names(models)
    models = [
        dataclasses.replace(model, name=name)
        for name, model in zip(names, models, strict=True)
    ]
    named = dict(zip(names, models, strict=True))

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
        gradio.Examples(
            _examples(),
            recording,
            label="Examples: EMO-DB, acted German speech (CC0)",
            elem_id="examples",
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
        gradio.Markdown(
            "\n\n".join(model.about() for model in models), elem_id="about"
        )
        for model in models:
            if model.card:
                with gradio.Accordion(f"Card of {model.name}", open=False):
                    gradio.Markdown(model.card)
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


def launch(
    paths,
    host="127.0.0.1",
    port=7860,
    browser=False,
    wait=True,
    password="",
    root_path="",
    threshold=0.0,
    accuracy=0.0,
):
    """Serves the page of the demo.

    Args:
        paths: Models, as `load_predictor` takes them.
        host: Address to listen on; by default only of this machine.
        port: Port to listen on; 0 takes a free one.
        browser: Whether to open the page in a browser.
        wait: Whether to serve until the program is stopped.
        password: `"name:password"` that the page asks for; none by default.
        root_path: Path under which a proxy has the page.
        threshold: Lowest probability of an answer.
        accuracy: By which each model's threshold is chosen, see
            `threshold_for`.

    Returns:
        `gradio.Blocks`, to be closed with `close()`, unless it waits.

    Raises:
        ModuleNotFoundError: The extra `demo` is not installed.
        ValueError: There is no threshold for this accuracy.
    """
    _import_gradio()  # Fails before models are read, which takes longer.
    with without_information():
        models = [DemoModel.load(path, threshold, accuracy) for path in paths]
    page = build_page(models)
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
        auth=tuple(password.split(":", 1)) if password else None,
        root_path=root_path or None,
    )
    print(f"the page is at {url} (Ctrl-C stops it)")
    print(_from_elsewhere(host, url), flush=True)
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


def _from_elsewhere(host, url):
    """How the page can be opened on another device."""
    port = urllib.parse.urlsplit(url).port
    there = f"http://{_address()}:{port}"
    proxy = (
        "A microphone needs HTTPS there, by a proxy: caddy reverse-proxy "
        f"--from NAME --to localhost:{port} (under a path: --root-path)."
    )
    if host in ("127.0.0.1", "localhost", "::1"):
        return (
            "Only this machine can open it. For a phone in the same network: "
            f"--host 0.0.0.0 --password NAME:PASSWORD, then {there}. {proxy}"
        )
    return f"On a phone in the same network: {there}. {proxy}"


def _address():
    """Address of this machine in its network, as far as it is known."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:  # Nothing is sent.
            probe.connect(("10.255.255.255", 1))
            return probe.getsockname()[0]
        except OSError:
            return socket.gethostname()


def _own_name(path):
    return path.parent.name if path.name == "model.tflite" else path.name


def different_names(models):
    """A name for each model on a page.

    Of two with one name it is the end of their paths, and else a number.

    Args:
        models: List of `DemoModel`.
    """
    own = [model.name for model in models]
    names = [
        "/".join(model.predictor.path.resolve().parts[-3:])
        if own.count(model.name) > 1
        else model.name
        for model in models
    ]
    seen = collections.Counter()
    for i, name in enumerate(names):
        seen[name] += 1
        if seen[name] > 1:
            names[i] = f"{name} ({seen[name]})"
    return names


def _examples():
    """Clips of one speaker in four emotions."""
    folder = built_in_corpus()
    return [
        [str(folder / f"{name}.ogg")]
        for name in ("03a01Wa", "03a01Fa", "03a01Nc", "03a02Ta")
    ]


def _free_port(host):
    with socket.socket() as free:
        free.bind((host, 0))
        return free.getsockname()[1]


def _import_gradio():
    with needs_extra("The demo", "demo"):
        import gradio
    return gradio
