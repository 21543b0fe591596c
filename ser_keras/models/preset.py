"""Presets: trained networks as folders, with all that is needed to run them.

| file                | content                                              |
|---------------------|------------------------------------------------------|
| `config.json`       | architecture, as Keras serialises it                 |
| `model.weights.h5`  | weights, as `keras.Model.save_weights` writes them   |
| `preprocessor.json` | `Preprocessor`: front end, normalization, duration   |
| `metadata.json`     | class names, temperature of calibration, versions    |
| `card.md`           | model card: corpus, scores, licence, limits          |
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any
from typing import TypeVar

import keras

from ser_keras._files import replace_file
from ser_keras._files import write_text
from ser_keras._keras_file import check_config
from ser_keras._keras_file import check_weights
from ser_keras._registry import package_versions
from ser_keras._registry import register_all
from ser_keras.features.preprocessor import PREPROCESSOR_FILE
from ser_keras.features.preprocessor import load_preprocessor

if TYPE_CHECKING:
    from ser_keras.features.preprocessor import Preprocessor
    from ser_keras.features.preprocessor import StreamPreprocessors

BUNDLED = pathlib.Path(__file__).parent / "presets"
"""Folder of the presets that come with the package."""

_Network = TypeVar("_Network", bound="PresetMixin")


def presets() -> dict[str, dict[str, Any]]:
    """Lists the presets that come with the package.

    Returns:
        Dict from a preset's name to a dict: `class_name` of the network,
        `labels` of the classes, `description`, and `path` of the folder.

    >>> preset = presets()["emodb_light_sernet"]
    >>> preset["class_name"], preset["labels"][:2]
    ('LightSERNet', ['anger', 'boredom'])
    """
    found = {}
    for folder in sorted(BUNDLED.iterdir()):
        if (folder / "config.json").exists():
            card = (folder / "card.md").read_text(encoding="utf-8")
            found[folder.name] = {
                "class_name": _read_json(folder / "config.json")["class_name"],
                "labels": read_metadata(folder)["labels"],
                # The first paragraph below the title.
                "description": card.split("\n\n")[1],
                "path": str(folder),
            }
    return found


class PresetMixin:
    """`from_preset` and `save_to_preset` of a network, beside `keras.Model`.

    A subclass has its weights built when it is made.
    """

    num_classes: int
    # Of `keras.Model`.
    from_config: Callable[[dict], Any]
    get_config: Callable[[], dict]
    get_weights: Callable[[], list]

    @classmethod
    def from_preset(
        cls: type[_Network],
        preset: str | os.PathLike[str],
        load_weights: bool = True,
        **overrides: Any,
    ) -> _Network:
        """Reads a trained network.

        For the network with its front end, from waveforms to probabilities,
        see `WaveformModel.from_preset`.

        Args:
            preset: Name of a preset that comes with the package, one of
                `ser_keras.presets()`; or a folder of `save_to_preset`.
            load_weights: Whether to read the weights too, or only the
                architecture, with new weights.
            **overrides: Arguments of the network that replace the preset's,
                such as `dtype="mixed_bfloat16"`.

        Returns:
            The network, an instance of the class it was asked of.

        Raises:
            ValueError: There is no such preset; it holds another class of
                network; or it names a class that is refused, see
                `ser_keras.load_model`.

        >>> from ser_keras import LightSERNet
        >>> network = LightSERNet.from_preset("emodb_light_sernet")
        >>> network.num_classes
        7
        """
        return read_network(preset, cls, load_weights, overrides)

    def save_to_preset(
        self,
        folder: str | os.PathLike[str],
        preprocessor: Preprocessor | StreamPreprocessors | None = None,
        labels: Sequence[str] | None = None,
        temperature: float = 1.0,
        card: str | None = None,
    ) -> None:
        """Writes the network as a preset.

        Args:
            folder: Where; it is made if it is not there. Files in it of an
                earlier preset are replaced.
            preprocessor: What computes the network's inputs. Without it,
                there is no whole model to be had from the preset.
            labels: Class names in the order of the logits.
            temperature: Of calibration: what logits are divided by before the
                softmax.
            card: Text of the model card.

        Raises:
            ValueError: There are more or fewer labels than classes.

        >>> from ser_keras import LightSERNet
        >>> folder = getfixture("tmp_path") / "mine"
        >>> network = LightSERNet((None, 40, 1), 2, width=0.25)
        >>> network.save_to_preset(folder, labels=["calm", "angry"])
        >>> LightSERNet.from_preset(folder).count_params()
        29826
        """
        classes = self.num_classes
        if labels is not None and len(labels) != classes:
            raise ValueError(
                f"`labels` must be the names of the network's {classes} "
                f"classes. Received: labels={labels!r}"
            )
        folder = pathlib.Path(folder)
        # Of a compiled network Keras saves the state of its optimizer, too.
        copy = type(self).from_config(self.get_config())
        copy.set_weights(self.get_weights())
        _write_json(
            folder / "config.json", keras.saving.serialize_keras_object(copy)
        )
        replace_file(folder / "model.weights.h5", copy.save_weights)
        if preprocessor is not None:
            preprocessor.save(folder / PREPROCESSOR_FILE)
        metadata = {
            "labels": None if labels is None else list(labels),
            "temperature": temperature,
            "versions": package_versions(),
        }
        _write_json(folder / "metadata.json", metadata)
        if card is not None:
            write_text(folder / "card.md", card)


def read_network(
    preset: str | os.PathLike[str],
    cls: type[Any] = PresetMixin,
    load_weights: bool = True,
    overrides: dict[str, Any] | None = None,
) -> Any:
    """Reads the network of a preset; see `PresetMixin.from_preset`."""
    folder = find_preset(preset)
    register_all()
    config = _read_json(folder / "config.json")
    check_config(folder / "config.json", config)
    found = keras.saving.get_registered_object(config["registered_name"])
    if not (isinstance(found, type) and issubclass(found, cls)):
        raise ValueError(
            f"{preset} must hold a {cls.__name__}. Received: "
            f"a preset of {config['class_name']}"
        )
    network = keras.saving.deserialize_keras_object(
        {**config, "config": {**config["config"], **(overrides or {})}}
    )
    if load_weights:
        weights = folder / "model.weights.h5"
        check_weights(weights, weights)
        network.load_weights(weights)
    return network


def read_preprocessor(preset: str | os.PathLike[str]) -> Any:
    """Reads the preprocessor of a preset.

    Raises:
        ValueError: It has none.
    """
    folder = find_preset(preset)
    if not (folder / PREPROCESSOR_FILE).exists():
        raise ValueError(
            f"{preset} has no {PREPROCESSOR_FILE}: only the network can be "
            "read. Save it with `preprocessor`"
        )
    return load_preprocessor(folder / PREPROCESSOR_FILE)


def read_metadata(preset: str | os.PathLike[str]) -> dict[str, Any]:
    """The `labels`, `temperature` and `versions` of a preset."""
    return _read_json(find_preset(preset) / "metadata.json")


def find_preset(preset: str | os.PathLike[str]) -> pathlib.Path:
    """The folder of a preset that comes with the package, or the folder given.

    Raises:
        ValueError: There is no such preset.
    """
    for folder in (BUNDLED / preset, pathlib.Path(preset)):
        if (folder / "config.json").exists():
            return folder
    raise ValueError(
        f"`preset` must be one of {sorted(presets())}, or a folder of "
        f"`save_to_preset`. Received: preset={str(preset)!r}"
    )


def _read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def _write_json(path, value):
    write_text(path, json.dumps(value, indent=2) + "\n")
