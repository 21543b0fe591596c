"""SavedModels in the layout of TensorFlow Serving."""

import contextlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Sequence

import keras
import tensorflow as tf

from ser_keras._files import written
from ser_keras._registry import package_versions
from ser_keras.evaluation.predictions import Predictions
from ser_keras.export.card import ModelCard
from ser_keras.export.saved_model.model import CARD
from ser_keras.export.saved_model.model import versions_in
from ser_keras.export.saved_model.serving_files import write_model_config
from ser_keras.export.saved_model.serving_files import write_warm_up
from ser_keras.export.saved_model.signatures import WaveformFunctions
from ser_keras.export.saved_model.two_streams import StreamFunctions
from ser_keras.features.deep_features import DeepFeatures
from ser_keras.features.preprocessor import Preprocessor
from ser_keras.features.preprocessor import StreamPreprocessors
from ser_keras.models.two_stream import TwoStreamNet
from ser_keras.models.waveform_model import WaveformModel
from ser_keras.models.waveform_model import check_temperature


def export_saved_model(
    model: keras.Model,
    path: str | os.PathLike[str],
    labels: Sequence[str],
    preprocessor: Preprocessor
    | DeepFeatures
    | StreamPreprocessors
    | None = None,
    *,
    version: int | None = None,
    card: ModelCard | None = None,
    max_duration: float = 60.0,
    temperature: float = 1.0,
    bandwidth: float | None = None,
    predictions: Predictions | None = None,
    overstates: bool = False,
    calibrated_on: str | None = None,
) -> pathlib.Path:
    """Writes a SavedModel `<path>/<version>/` with the preprocessor inside.

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

    Each clip has its own error, so that on a server which batches requests a
    bad file does not fail the others'. A call of `serving_bytes` none of whose
    files can be used is an error itself. Use `serving_lengths` for waveforms of
    several lengths in one batch: a clip's answer does not depend on its
    padding then.

    A network that reads deep features has other signatures for features, and
    those of waveforms only if its extractor is a Keras model, which is then in
    the graph; a waveform too short for a deep frame has an error as well:

    | signature                       | inputs                               |
    |---------------------------------|--------------------------------------|
    | `handcrafted_and_deep_features` | `handcrafted` `(batch, time,         |
    |                                 | features)` and `deep` `(batch,       |
    |                                 | frames, channels)`, as `make_dataset`|
    |                                 | yields them; a stream that is zero   |
    |                                 | throughout is missing                |
    | `deep_features`                 | `deep`, for a network of that alone  |

    A version's folder appears at once when complete, so a running server never
    reads half of it. Beside the graph it holds `labels.json` (labels, sample
    rate, preprocessor, package versions), `card.md`, and requests with which
    TensorFlow Serving warms up. `model.config` and `batching.config` for
    TensorFlow Serving are in the model's folder; each export renews the
    former.

    Args:
        model: A `WaveformModel`, or a network from features `(batch, time,
            features, 1)` to logits, which needs `preprocessor`.
        path: The model's folder, such as `"saved_models/emodb"`. Its name is
            what TensorFlow Serving should call the model.
        labels: Class names in the order of the logits.
        preprocessor: That of the network's training: `Preprocessor`,
            `DeepFeatures` or `StreamPreprocessors`.
        version: A positive integer, 1 more than the highest by default.
        card: `ModelCard` with corpus, protocol, scores, licence and limits.
        max_duration: Longest clip that the model takes, in seconds.
        temperature: Logits are divided by it: calibration by temperature
            scaling. A `WaveformModel` has its own.
        bandwidth: Up to which frequency nearly all recordings of the training
            have content, Hz, see `ser_keras.audio.bandwidth`: `predict` and
            the demo warn of a recording without. None: not known.
        predictions: `Predictions` of the model's test, which are kept beside
            it: a single answer's accuracy, and thresholds, are read off them.
        overstates: Whether the protocol of that test overstates.
        calibrated_on: Corpus whose speakers gave the temperature; with another
            one, `ser_keras evaluate` warns.

    Returns:
        `pathlib.Path` of the version's folder.

    Raises:
        FileExistsError: This version exists; nothing is overwritten.
        ValueError: `labels` are not as many as the classes, there is no
            preprocessor or one that the network does not fit, or `version`,
            `max_duration` or `temperature` is not positive.

    Example:
    >>> from ser_keras import MFCC, Preprocessor
    >>> mfcc = Preprocessor(MFCC(sample_rate=16000))
    >>> inputs = keras.Input((None, mfcc.num_features, 1))
    >>> pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    >>> network = keras.Model(inputs, keras.layers.Dense(2)(pooled))
    >>> folder = getfixture("tmp_path") / "tiny"
    >>> export_saved_model(network, folder, ("calm", "anger"), mfcc).name
    '1'
    """
    if isinstance(model, WaveformModel):
        if preprocessor is not None or temperature != 1:
            raise ValueError(
                "`model` has a preprocessor and a temperature already. "
                f"Received: preprocessor={preprocessor}, "
                f"temperature={temperature}"
            )
        preprocessor, temperature = model.preprocessor, model.temperature
        model = model.model
    _check_fits(model, preprocessor)
    check_temperature(temperature)
    if not 0 < max_duration < float("inf"):
        raise ValueError(
            "`max_duration` must be positive seconds. "
            f"Received: max_duration={max_duration}"
        )
    labels = tuple(str(label) for label in labels)
    path = pathlib.Path(path)
    target = path / str(new_version(path, version))
    facts = {
        "labels": labels,
        "max_duration": max_duration,
        "temperature": temperature,
        "bandwidth": bandwidth,
        "overstates": overstates,
        "calibrated_on": calibrated_on,
        "features": preprocessor.describe(),  # type: ignore[union-attr]
        "preprocessor": keras.saving.serialize_keras_object(preprocessor),
        "versions": package_versions(),
    }
    served = StreamFunctions
    if isinstance(preprocessor, Preprocessor):
        served = WaveformFunctions
    served = served(model, labels, preprocessor, max_duration, temperature)
    facts = {**facts, **served.facts()}
    with new_folder(target, facts, card, model.count_params()) as folder:
        module = tf.Module()
        module.variables_of_model = served.variables
        signatures = served.signatures
        tf.saved_model.save(
            module,
            str(folder),
            signatures=signatures,
            # A process that loads gradient functions never frees their graphs,
            # so that a server would grow with every new version. None is used.
            options=tf.saved_model.SaveOptions(
                experimental_custom_gradients=False
            ),
        )
        requests = served.warm_up_features()
        write_warm_up(folder, path.name, served.warm_up_rate, **requests)
        if predictions is not None:
            predictions.save_csv(folder / "predictions.csv")
    return target


def _check_fits(model, preprocessor):
    """Raises `ValueError` unless a network reads what a preprocessor makes."""
    received = (
        f"Received: model={model.name!r}, a {type(model).__name__}, and "
        f"preprocessor={preprocessor!r}"
    )
    if isinstance(model, TwoStreamNet):
        streams = getattr(preprocessor, "streams", {})
        if set(streams) != {"handcrafted", "deep"}:
            raise ValueError(
                "`preprocessor` must be StreamPreprocessors of 'handcrafted' "
                f"and 'deep' for a network of two streams. {received}"
            )
    elif not isinstance(preprocessor, Preprocessor | DeepFeatures):
        raise ValueError(
            "`preprocessor` must be the Preprocessor or DeepFeatures of the "
            f"network's training. {received}"
        )


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
        # A page for people; labels.json has the preprocessor.
        shown = {k: v for k, v in facts.items() if k != "preprocessor"}
        page = (card or ModelCard()).markdown(
            f"{path.name}, version {target.name}",
            weights=f"{parameters:,}",
            **shown,
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


def export_serving(
    model,
    path,
    labels,
    frontend=None,
    normalization=None,
    version=None,
    card=None,
    max_duration=60.0,
):
    """Deprecated: `export_saved_model` with a `Preprocessor`."""
    preprocessor = None
    if frontend is not None:
        preprocessor = Preprocessor(frontend, normalization)
    return export_saved_model(
        model,
        path,
        labels,
        preprocessor,
        version=version,
        card=card,
        max_duration=max_duration,
    )


def export_streams(
    model,
    path,
    labels,
    frontend=None,
    normalization=None,
    extractor=None,
    version=None,
    max_duration=60.0,
    card=None,
):
    """Deprecated: `export_saved_model` with `StreamPreprocessors`."""
    streams = {}
    if frontend is not None:
        streams["handcrafted"] = Preprocessor(frontend, normalization)
    if extractor is not None:
        streams["deep"] = DeepFeatures(extractor)
    preprocessor = StreamPreprocessors(streams)
    if len(streams) == 1:
        (preprocessor,) = streams.values()
    return export_saved_model(
        model,
        path,
        labels,
        preprocessor,
        version=version,
        card=card,
        max_duration=max_duration,
    )
