"""SavedModels in TensorFlow Serving's layout, and reading them back."""

import json
import pathlib
import shutil
import tempfile

import numpy as np
import tensorflow as tf

from ser_keras._registry import package_versions
from ser_keras.models.waveform_model import WaveformModel
from ser_keras.models.waveform_model import with_frontend

CARD = "labels.json"


def export_serving(
    model,
    path,
    labels,
    frontend=None,
    normalization=None,
    version=None,
    sample_rate=None,
):
    """Writes a SavedModel `<path>/<version>/` with the front end inside.

    It runs without this library. Batch and length are
    dynamic. Every signature returns `probabilities` `(batch, classes)`,
    `label` `(batch,)`, the name of the most probable class, and `labels`
    `(batch, classes)`, the names in the order of the probabilities (repeated,
    because TensorFlow Serving's REST rows need a batch axis everywhere).

    | signature         | inputs                                              |
    |-------------------|-----------------------------------------------------|
    | `serving_default` | `waveform` float32 `(batch, samples)` in [-1, 1]    |
    | `serving_lengths` | the same, and `lengths` int32 `(batch,)` in samples |
    | `features`        | `features` float32 `(batch, time, features)`, as    |
    |                   | `make_dataset` yields them: normalized, zero-padded |

    Use `serving_lengths` for clips of several lengths in one batch: a clip's
    answer does not depend on its padding then. The version's folder appears
    at once when complete, so a running server never reads half of it.
    `labels.json` in it holds labels, sample rate and package versions.

    Args:
        model: A `WaveformModel`, or a network from features `(batch, time,
            features, 1)` to logits, which needs `frontend`.
        path: The model's folder, such as `"saved_models/emodb"`. Its name is
            what TensorFlow Serving should call the model.
        labels: Class names in the order of the logits.
        frontend: Layer from waveforms to features, such as `MFCC`.
        normalization: Per-utterance normalization of the features, or `None`.
        version: A positive integer, 1 more than the highest by default.
        sample_rate: Of the waveforms in Hz; the front end's by default.

    Returns:
        `pathlib.Path` of the version's folder.

    Raises:
        FileExistsError: This version exists; nothing is overwritten.
        ValueError: `labels` are not as many as the classes, there is no front
            end, or `version` is not a positive integer.

    Example:
    >>> from ser_keras import MFCC
    >>> mfcc = MFCC(sample_rate=16000)
    >>> inputs = keras.Input((None, mfcc.num_features, 1))
    >>> pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    >>> network = keras.Model(inputs, keras.layers.Dense(2)(pooled))
    >>> folder = getfixture("tmp_path") / "tiny"
    >>> export_serving(network, folder, ("calm", "anger"), mfcc).name
    '1'
    """
    path = pathlib.Path(path)
    if not isinstance(model, WaveformModel):
        if frontend is None:
            raise ValueError(
                "`frontend` must be given for a model of features. "
                f"Received: model={model.name!r}, frontend=None"
            )
        model = with_frontend(model, frontend, normalization)
    elif frontend is not None or normalization is not None:
        raise ValueError("`model` has a front end already.")
    labels = tuple(str(label) for label in labels)
    card = {
        "labels": labels,
        "sample_rate": sample_rate or model.frontend.sample_rate,
        "versions": package_versions(),
    }
    target = path / str(_new_version(path, version))
    signatures = _signatures(model, labels)
    path.mkdir(parents=True, exist_ok=True)
    # A hidden name beside it: no server looks there, and renaming is atomic.
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=".export-", dir=path))
    try:
        folder = temporary / "model"
        _write(model, signatures, folder)
        (folder / CARD).write_text(json.dumps(card, indent=2) + "\n")
        if target.exists():  # Another process was quicker.
            raise _exists(target)
        folder.rename(target)
    finally:
        shutil.rmtree(temporary)
    return target


def load_serving(path, version=None):
    """Reads what `export_serving` wrote.

    Args:
        path: The model's folder, or one version's.
        version: A number; the highest by default.

    Returns:
        A `ServingModel`.

    Raises:
        FileNotFoundError: There is no such version, or it is not complete.
    """
    path = pathlib.Path(path)
    if not (path / "saved_model.pb").exists():
        versions = _versions(path)
        if not versions or (version or versions[-1]) not in versions:
            raise FileNotFoundError(
                f"{path} has no version {version or ''}".rstrip()
                + f" of a SavedModel; versions there: {versions}"
            )
        path = path / str(version or versions[-1])
    return ServingModel(path)


class ServingModel:
    """A SavedModel of `export_serving`, for Python.

    Args:
        path: Folder of a version, with `saved_model.pb` and `labels.json`.

    Attributes:
        labels: Class names in the order of the probabilities.
        sample_rate: Of the waveforms, Hz.
        path: The folder.
        signatures: The SavedModel's functions by name.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        card = self.path / CARD
        if not card.exists():
            raise FileNotFoundError(
                f"{card} is missing; was it written by export_serving?"
            )
        facts = json.loads(card.read_text())
        self.labels = tuple(facts["labels"])
        self.sample_rate = facts["sample_rate"]
        # Signatures do not keep the object alive that they belong to.
        self._module = tf.saved_model.load(str(path))
        self.signatures = self._module.signatures

    def __call__(self, waveforms):
        """Classifies clips of any lengths.

        Args:
            waveforms: One array `(samples,)`, a list of them, or an array
                `(batch, samples)`; floats in [-1, 1] at `sample_rate`.

        Returns:
            Dict of numpy arrays: `probabilities` `(batch, classes)` and
            `label` `(batch,)`, strings.

        Raises:
            ValueError: A clip is empty, not one-dimensional or not finite.
        """
        if isinstance(waveforms, np.ndarray) and waveforms.ndim == 1:
            waveforms = [waveforms]
        clips = [np.asarray(clip, "float32") for clip in waveforms]
        for i, clip in enumerate(clips):
            if clip.ndim != 1 or not clip.size or not np.isfinite(clip).all():
                raise ValueError(
                    "`waveforms` must be one-dimensional, not empty and "
                    f"finite. Received: clip {i} of shape {clip.shape}"
                )
        lengths = np.array([len(clip) for clip in clips], "int32")
        batch = np.zeros((len(clips), max(lengths, default=0)), "float32")
        for row, clip in zip(batch, clips, strict=True):
            row[: len(clip)] = clip
        outputs = self.signatures["serving_lengths"](
            waveform=tf.constant(batch), lengths=tf.constant(lengths)
        )
        return {
            "probabilities": outputs["probabilities"].numpy(),
            "label": outputs["label"].numpy().astype(str),
        }


def _signatures(model, labels):
    """The graph functions of a SavedModel by name."""
    names = tf.constant(labels)

    def named(outputs):
        probabilities = outputs["probabilities"]
        return {
            "probabilities": probabilities,
            "label": tf.gather(names, outputs["label_id"]),
            "labels": tf.tile(names[None], [tf.shape(probabilities)[0], 1]),
        }

    def serving_default(waveform):
        return named(model(waveform, training=False))

    def serving_lengths(waveform, lengths):
        return named(model(waveform, lengths=lengths, training=False))

    def features(features):
        return named(model.predict_features(features, training=False))

    second = tf.zeros((1, model.frontend.sample_rate))
    classes = model(second)["probabilities"].shape[-1]
    if classes != len(labels):
        raise ValueError(
            f"`labels` must be as many as the model's {classes} classes. "
            f"Received: labels={labels}"
        )
    width = model.features(second).shape[-1]
    waveform = tf.TensorSpec((None, None), tf.float32, "waveform")
    lengths = tf.TensorSpec((None,), tf.int32, "lengths")
    table = tf.TensorSpec((None, None, width), tf.float32, "features")
    return {
        function.__name__: tf.function(function, autograph=False)
        .get_concrete_function(*specs)
        for function, *specs in (
            (serving_default, waveform),
            (serving_lengths, waveform, lengths),
            (features, table),
        )
    }  # fmt: skip


def _write(model, signatures, folder):
    # The variables, not the model: of a Keras model, TensorFlow would trace
    # the default call of every model inside as well, with shapes of its own.
    module = tf.Module()
    module.variables_of_model = [v.value for v in model.variables]
    tf.saved_model.save(module, str(folder), signatures=signatures)


def _versions(path):
    """Version numbers in a model's folder, sorted."""
    if not path.is_dir():
        return []
    return sorted(
        int(child.name)
        for child in path.iterdir()
        if child.name.isdecimal() and child.is_dir()
    )


def _new_version(path, version):
    if version is None:
        return (_versions(path) or [0])[-1] + 1
    if not isinstance(version, int) or version < 1:
        raise ValueError(
            f"`version` must be a positive integer. Received: version={version}"
        )
    if (path / str(version)).exists():
        raise _exists(path / str(version))
    return version


def _exists(target):
    return FileExistsError(
        f"{target} exists and is never overwritten. Leave out `version` to "
        "write the next one."
    )
