"""Reading LiteRT files of `export_litert` back, and predicting with them."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from ser_keras.audio.io import fit_length
from ser_keras.export.litert.file_format import is_litert
from ser_keras.export.litert.file_format import read_metadata

# What a prediction needs of the metadata; the rest is for the reader.
_FIELDS = (
    "labels",
    "inputs",
    "precision",
    "padding",
    "samples",
    "frames",
    "features",
    "sample_rate",
    "min_samples",
)


def load_litert(
    path: str | os.PathLike[str], num_threads: int = 1
) -> LiteRTModel:
    """Reads what `export_litert` wrote.

    Args:
        path: The `.tflite` file.
        num_threads: Threads that one prediction may use.

    Returns:
        A `LiteRTModel`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no LiteRT file, it is damaged, another program made
            it, or its graph is not what its metadata says.
    """
    return LiteRTModel(path, num_threads)


class LiteRTModel:
    """A LiteRT file of `export_litert`. It predicts one clip at a time.

    Not to be shared between threads: the interpreter has one set of tensors.

    Args:
        path: The `.tflite` file.
        num_threads: Threads that one prediction may use.

    Attributes:
        labels: Class names in the order of the probabilities.
        sample_rate: Of the waveforms, Hz; None if it was exported without a
            front end.
        samples: Length of a clip, or None likewise.
        min_samples: Shortest clip that has a frame.
        inputs: `"waveform"` or `"features"`.
        precision: `"float32"`, `"float16"`, `"int8"` or `"int8_weights"`.
        bandwidth: Up to which frequency the training's recordings had content,
            Hz, or None if it is not known.
        metadata: Dict of all that `export_litert` wrote down.
        path: The file.
    """

    def __init__(self, path: str | os.PathLike[str], num_threads: int = 1):
        self.path = pathlib.Path(path)
        content = self.path.read_bytes()
        if not is_litert(content):
            raise ValueError(
                f"{self.path} is not a LiteRT file: it has no identifier TFL3. "
                "`export_litert` writes one."
            )
        try:
            self._interpreter = Interpreter(
                model_content=content, num_threads=num_threads
            )
            self._interpreter.allocate_tensors()
            self.metadata = read_metadata(content)
        except (ValueError, RuntimeError) as error:
            raise ValueError(
                f"{self.path} is damaged, or needs operations that this "
                f"runtime lacks: {error}. Export it again."
            ) from error
        if self.metadata is None:
            raise ValueError(
                f"{self.path} was not made by `export_litert`: it has no "
                "metadata of ser_keras. Use `ai_edge_litert` itself to run it."
            )
        self._check_graph()
        self.labels = tuple(self.metadata["labels"])
        self.sample_rate = self.metadata["sample_rate"]
        self.samples = self.metadata["samples"]
        self.min_samples = self.metadata["min_samples"]
        self.inputs = self.metadata["inputs"]
        self.precision = self.metadata["precision"]
        self.bandwidth = self.metadata.get("bandwidth")
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def _check_graph(self):
        """Raises ValueError unless the graph is what the metadata says."""
        said = self.metadata
        missing = [name for name in _FIELDS if name not in said]
        if missing:
            raise ValueError(
                f"{self.path} has metadata without {missing}. Export it again."
            )
        shape = {
            "waveform": (1, said["samples"]),
            "features": (1, said["frames"], said["features"]),
        }.get(said["inputs"])
        named = [("float32", shape)], [("float32", (1, len(said["labels"])))]
        found = tuple(
            [(x["dtype"].__name__, tuple(x["shape"].tolist())) for x in details]
            for details in (
                self._interpreter.get_input_details(),
                self._interpreter.get_output_details(),
            )
        )
        if found != named:
            raise ValueError(
                f"{self.path} is not what its metadata says: it takes "
                f"{found[0]} and gives {found[1]}, and should take {named[0]}, "
                f"as inputs={said['inputs']!r}, and give {named[1]}, for the "
                f"labels {said['labels']}. Export it again."
            )

    def __call__(
        self,
        waveforms: np.ndarray | Sequence[np.ndarray],
        sample_rate: int | None = None,
    ) -> dict[str, np.ndarray]:
        """Classifies clips of any lengths.

        Of a clip longer than `samples` the middle is taken; a shorter one is
        padded with zeros, at its end or, with `padding="waveform"`, at both.

        Args:
            waveforms: One array `(samples,)`, a list of them, or an array
                `(batch, samples)`; floats in [-1, 1] at `sample_rate`.
            sample_rate: Hz, if you want it checked.

        Returns:
            Dict of numpy arrays: `probabilities` `(batch, classes)` and
            `label` `(batch,)`, strings.

        Raises:
            ValueError: The file takes features, the sample rate is another
                one, or a clip is empty, shorter than one frame, not
                one-dimensional or not finite.
        """
        if self.inputs != "waveform":
            raise ValueError(
                f"{self.path} takes features, not waveforms: call "
                "`predict_features`, or export with inputs='waveform'"
            )
        if sample_rate not in (None, self.sample_rate):
            raise ValueError(
                f"{self.path} takes waveforms at {self.sample_rate} Hz; "
                f"`load_audio` resamples. Received: sample_rate={sample_rate}"
            )
        if isinstance(waveforms, np.ndarray) and waveforms.ndim == 1:
            waveforms = [waveforms]
        needed = self.min_samples
        clips = []
        for i, clip in enumerate(waveforms):
            clip = np.asarray(clip)
            if clip.ndim != 1 or len(clip) < needed or not _is_finite(clip):
                raise ValueError(
                    "`waveforms` must be one-dimensional, finite floats of at "
                    f"least one frame ({needed} samples). Received: clip {i} "
                    f"of {clip.dtype}, shape {clip.shape}"
                )
            mode = "center"
            if self.metadata["padding"] == "features":
                mode = "start"
            clips.append(_fit(clip, self.samples, mode))
        return self._predict(clips)

    def predict_features(
        self, features: np.ndarray | Sequence[np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Classifies features, for a file of `inputs="features"`.

        Args:
            features: One array `(time, features)`, a list of them, or an
                array `(batch, time, features)`: normalized as in training.
                Longer ones are cropped to their middle, shorter ones are
                followed by zeros, as in `make_dataset`.

        Returns:
            As of a call.

        Raises:
            ValueError: The file takes waveforms, or an array has the wrong
                shape or is not finite.
        """
        if self.inputs != "features":
            raise ValueError(
                f"{self.path} takes waveforms, not features: call the model "
                "itself, or export with inputs='features'"
            )
        if isinstance(features, np.ndarray) and features.ndim == 2:
            features = [features]
        frames, width = self.metadata["frames"], self.metadata["features"]
        clips = []
        for i, clip in enumerate(features):
            clip = np.asarray(clip)
            if (
                clip.ndim != 2
                or clip.shape[1] != width
                or not len(clip)
                or not _is_finite(clip)
            ):
                raise ValueError(
                    f"`features` must be finite floats (time, {width}). "
                    f"Received: clip {i} of {clip.dtype}, shape {clip.shape}"
                )
            clips.append(_fit(clip, frames, "start"))
        return self._predict(clips)

    def _predict(self, clips):
        probabilities = np.zeros((len(clips), len(self.labels)), "float32")
        for row, clip in zip(probabilities, clips, strict=True):
            self._interpreter.set_tensor(self._input, clip[None])
            self._interpreter.invoke()
            row[:] = self._interpreter.get_tensor(self._output)[0]
        labels = np.array(self.labels)[probabilities.argmax(axis=1)]
        return {"probabilities": probabilities, "label": labels}


def _fit(clip, size, mode):
    """Crops to the middle; pads at the end or, with "center", at both."""
    mode = "center" if len(clip) > size else mode
    return fit_length(clip, size, mode).astype("float32")


def _is_finite(clip):
    return clip.dtype.kind == "f" and bool(np.isfinite(clip).all())
