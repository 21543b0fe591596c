"""SavedModels in TensorFlow Serving's layout, and reading them back."""

import contextlib
import json
import pathlib
import shutil
import tempfile

import tensorflow as tf

from ser_keras._files import written
from ser_keras._registry import package_versions
from ser_keras.export.card import ModelCard
from ser_keras.export.saved_model.model import CARD
from ser_keras.export.saved_model.model import load_serving as load_serving
from ser_keras.export.saved_model.model import versions_in
from ser_keras.export.saved_model.serving_files import write_model_config
from ser_keras.export.saved_model.serving_files import write_warm_up
from ser_keras.export.saved_model.signatures import serving_signatures
from ser_keras.models.two_stream import TwoStreamNet
from ser_keras.models.waveform_model import WaveformModel
from ser_keras.models.waveform_model import with_frontend


def export_serving(
    model,
    path,
    labels,
    frontend=None,
    normalization=None,
    version=None,
    sample_rate=None,
    card=None,
    max_duration=60.0,
):
    """Writes a SavedModel `<path>/<version>/` with the front end inside.

    It runs without this library. Batch and length are dynamic.

    | signature         | inputs                                              |
    |-------------------|-----------------------------------------------------|
    | `serving_default` | `waveform` float32 `(batch, samples)` in [-1, 1]    |
    | `serving_lengths` | the same, and `lengths` int32 `(batch,)` in samples |
    | `serving_bytes`   | `audio` strings `(batch,)`: whole WAV files, 16-bit |
    |                   | PCM of `sample_rate`, one or two channels           |
    | `features`        | `features` float32 `(batch, time, features)`, as    |
    |                   | `make_dataset` yields them: normalized, zero-padded |

    | output            | what it is                                          |
    |-------------------|-----------------------------------------------------|
    | `probabilities`   | `(batch, classes)`                                  |
    | `label`           | `(batch,)`, name of the most probable class         |
    | `labels`          | `(batch, classes)`, names in the order of the       |
    |                   | probabilities (repeated, because TensorFlow         |
    |                   | Serving's rows need a batch axis everywhere)        |
    | `error`           | `(batch,)`, empty, or what is wrong with a clip:    |
    |                   | its probabilities are NaN then, its label empty     |

    An error is a clip's own, so that on a server which gathers requests one
    bad file fails nobody else's. A call of `serving_bytes` none of whose files
    can be used is an error itself. Use `serving_lengths` for waveforms of
    several lengths in one batch: a clip's answer does not depend on its
    padding then.

    A version's folder appears at once when complete, so a running server never
    reads half of it. Beside the graph it holds `labels.json` (labels, sample
    rate, package versions), `card.md`, and requests with which TensorFlow
    Serving warms up. `model.config` and `batching.config` for TensorFlow
    Serving are in the model's folder; each export renews the former.

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
        card: `ModelCard` with corpus, protocol, scores, licence and limits.
        max_duration: Longest clip that the model takes, in seconds.

    Returns:
        `pathlib.Path` of the version's folder.

    Raises:
        FileExistsError: This version exists; nothing is overwritten.
        ValueError: `labels` are not as many as the classes, there is no front
            end, `version` or `max_duration` is not positive, or the model is
            of two streams (see `export_streams`).

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
    network = getattr(model, "model", model)  # In a `WaveformModel`.
    if isinstance(network, TwoStreamNet):
        raise ValueError(
            "`model` must be of one stream; `export_streams` writes those of "
            f"two. Received: model={model.name!r}, a TwoStreamNet"
        )
    if not isinstance(model, WaveformModel):
        if frontend is None:
            raise ValueError(
                "`frontend` must be given for a model of features. "
                f"Received: model={model.name!r}, frontend=None"
            )
        model = with_frontend(model, frontend, normalization)
    elif frontend is not None or normalization is not None:
        raise ValueError("`model` has a front end already.")
    if not 0 < max_duration < float("inf"):
        raise ValueError(
            "`max_duration` must be positive seconds. "
            f"Received: max_duration={max_duration}"
        )
    labels = tuple(str(label) for label in labels)
    facts = {
        "labels": labels,
        "sample_rate": sample_rate or model.frontend.sample_rate,
        "max_duration": max_duration,
        "versions": package_versions(),
    }
    target = path / str(new_version(path, version))
    rate = facts["sample_rate"]
    if hasattr(model.frontend, "duration"):  # Of a longer clip, the middle.
        facts["samples"] = round(model.frontend.duration * rate)
    signatures = serving_signatures(model, labels, rate, max_duration)
    parameters = model.count_params()
    with new_folder(target, facts, card, parameters) as folder:
        tf.saved_model.save(tf.Module(), str(folder), signatures=signatures)
        features = model.features(tf.zeros((1, rate))).numpy()
        write_warm_up(folder, path.name, rate, features={"features": features})
    return target


@contextlib.contextmanager
def new_folder(target, facts, card, parameters):
    """A version's folder, which appears when all has been written into it.

    Args:
        target: `<the model's folder>/<version>`.
        facts: Dict for `labels.json` and the card.
        card: `ModelCard`, or None.
        parameters: Weights of the model.

    Yields:
        `pathlib.Path` for the SavedModel.
    """
    path = target.parent
    path.mkdir(parents=True, exist_ok=True)
    # A hidden name beside it: no server looks there, and renaming is atomic.
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=".export-", dir=path))
    try:
        folder = temporary / "model"
        yield folder
        (folder / CARD).write_text(json.dumps(facts, indent=2) + "\n")
        page = (card or ModelCard()).markdown(
            f"{path.name}, version {target.name}",
            weights=f"{parameters:,}",
            **facts,
        )
        (folder / "card.md").write_text(page)
        if target.exists():  # Another process was quicker.
            raise _exists(target)
        folder.rename(target)
        written(target)
    finally:
        shutil.rmtree(temporary)
    write_model_config(path, versions_in(path))


def new_version(path, version):
    """Number of the version to write: the next one, or a given one.

    Raises:
        FileExistsError: It exists.
        ValueError: It is no positive integer.
    """
    if version is None:
        return (versions_in(path) or [0])[-1] + 1
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
