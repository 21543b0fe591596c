"""Published weights: folders in the layout of Hugging Face, or its hub."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any
from typing import NamedTuple

import numpy as np

from ser_keras._errors import needs_extra
from ser_keras._errors import shortened
from ser_keras._files import read_json

_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
# What is downloaded: no pickles, and no copies of the weights in other formats.
_FILES = (
    "config.json",
    "preprocessor_config.json",
    _WEIGHTS,
    _INDEX,
    "model-*.safetensors",
)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
# Weight normalisation: magnitude and direction of a tensor `weight`, as old and
# new versions of torch name them.
_MAGNITUDES = {
    "parametrizations.weight.original0": "parametrizations.weight.original1",
    "weight_g": "weight_v",
}


class Weight(NamedTuple):
    """Tensor of a file, and what is made of it.

    Attributes:
        name: Of the tensor, without the encoder's prefix.
        shape: Of the tensor.
        assign: Called with the tensor, float32, in torch's order of axes.
    """

    name: str
    shape: tuple[int, ...]
    assign: Callable[[np.ndarray], Any]


def weights_of(name: str, layer: Any) -> Iterator[Weight]:
    """The weights of a Dense, convolution, embedding or layer normalisation.

    Args:
        name: Of the layer in the file.
        layer: Keras layer, built.
    """
    # Torch's axes of a kernel are those of Keras in reverse.
    for suffix, attribute, reverse in (
        ("weight", "kernel", True),
        ("weight", "embeddings", False),
        ("weight", "gamma", False),
        ("bias", "beta", False),
        ("bias", "bias", False),
    ):
        variable = getattr(layer, attribute, None)
        if variable is not None:
            yield _weight(f"{name}.{suffix}", variable, reverse)


def _weight(name, variable, reverse):
    shape = tuple(variable.shape)
    if not reverse:
        return Weight(name, shape, variable.assign)
    return Weight(name, shape[::-1], lambda x: variable.assign(x.T))


class Checkpoint:
    """Configuration and tensors of a published model.

    Args:
        model: Folder, or a model's name on the hub.
        revision: Commit, branch or tag of a model on the hub.

    Attributes:
        model: As it was given, for messages.
        config: Content of `config.json`.
        preprocessor: Content of `preprocessor_config.json`, or None.

    Raises:
        FileNotFoundError: There is no such folder or model, or a file of it is
            missing.
        PermissionError: The model is gated.
        ConnectionError: The hub cannot be reached, and there is no copy in the
            cache.
        ValueError: A file is no such file, or weights are a pickle.
    """

    def __init__(
        self, model: str | os.PathLike[str], revision: str | None = None
    ):
        self.model = os.fspath(model)
        self.folder = _find(self.model, revision)
        config = read_json(self.folder / "config.json")
        if not isinstance(config, dict):
            raise FileNotFoundError(
                f"{self.model} must be a folder with a config.json, as those "
                "that transformers' `save_pretrained` writes. Found: "
                f"{shortened(sorted(os.listdir(self.folder)))}"
            )
        self.config = config
        self.preprocessor = read_json(self.folder / "preprocessor_config.json")
        self._tensors = {}
        for path in self._files():
            self._tensors |= _open(path)

    def read(self, **names: str) -> dict[str, Any]:
        """Positive integers of `config.json`.

        Args:
            **names: Entry of `config.json`, by the name that it gets.

        Raises:
            ValueError: One is missing or no such number.
        """
        values = {}
        for argument, name in names.items():
            value = self.config.get(name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"{self.model}: `{name}` in config.json must be a positive "
                    f"integer. Received: {value!r}"
                )
            values[argument] = value
        return values

    def expect(self, **values: Any) -> None:
        """Checks entries of `config.json` which have one value here.

        Raises:
            ValueError: One has another value.
        """
        for name, value in values.items():
            received = self.config.get(name, value)
            if received != value:
                raise ValueError(
                    f"{self.model} is a variant that is not supported: `{name}`"
                    f" in config.json must be {value!r}. Received: {received!r}"
                )

    def load(
        self,
        weights: list[Weight],
        prefixes: tuple[str, ...],
        unused: Callable[[str], bool],
    ) -> None:
        """Assigns all weights of an encoder.

        Args:
            weights: What the encoder needs.
            prefixes: Of the encoder's tensors in files of this kind; the first
                one that is there is taken. Tensors without it are of another
                part of the model, such as a decoder or a classifier.
            unused: Whether a tensor, by its name without the prefix, is of the
                encoder but not needed.

        Raises:
            ValueError: A tensor is missing, unknown or has another shape.
        """
        prefix = next(
            (
                p
                for p in prefixes
                if any(n.startswith(p) for n in self._tensors)
            ),
            None,
        )
        if prefix is None:
            raise ValueError(
                f"{self.model} has no encoder: no tensor's name begins with "
                f"one of {prefixes}. Found: {shortened(sorted(self._tensors))}"
            )
        found = self._folded(prefix)
        needed = {weight.name for weight in weights}
        missing = sorted(needed - set(found))
        unknown = sorted(
            name for name in set(found) - needed if not unused(name)
        )
        if missing or unknown:
            raise ValueError(
                f"{self.model} must have the tensors of its config.json, whose "
                f"names begin with {prefix!r}. Missing: {shortened(missing)}. "
                f"Unknown: {shortened(unknown)}."
            )
        for name, shape, _ in weights:
            if found[name][0] != shape:
                raise ValueError(
                    f"{self.model}: tensor {prefix}{name} must have shape "
                    f"{shape} by config.json. Received: {found[name][0]}"
                )
        for name, _, assign in weights:
            assign(found[name][1]())

    def _files(self):
        """Paths of the files of weights."""
        if (self.folder / _WEIGHTS).is_file():
            return [self.folder / _WEIGHTS]
        index = read_json(self.folder / _INDEX)
        if index is not None:
            return [self.folder / name for name in _shards(self.model, index)]
        pickles = [x.name for p in _PICKLES for x in self.folder.glob(p)]
        if pickles:
            raise ValueError(
                f"{self.model} has its weights only as {shortened(pickles)}: a "
                "pickle can run code when it is read, so it is not. Write "
                f"{_WEIGHTS}, as transformers' `save_pretrained` does, or "
                "give the `revision` that has it."
            )
        raise FileNotFoundError(
            f"{self.model} must have {_WEIGHTS}, or its parts with {_INDEX}. "
            f"Found: {shortened(sorted(os.listdir(self.folder)))}"
        )

    def _folded(self, prefix):
        """Shape and reader of the tensors with the prefix, by name without it.

        Weight normalisation is folded: `weight` stands for its two parts.
        """
        found = {
            name.removeprefix(prefix): tensor
            for name, tensor in self._tensors.items()
            if name.startswith(prefix)
        }
        for name in list(found):
            for magnitude, direction in _MAGNITUDES.items():
                base = name.removesuffix(magnitude)
                if base != name and base + direction in found:
                    g, v = found.pop(name), found.pop(base + direction)
                    found[f"{base}weight"] = (v[0], _WeightNorm(g[1], v[1]))
        return found


class _WeightNorm:
    """Reads `g v / |v|`, the norm over the axes that `g` does not have.

    Salimans and Kingma, "Weight normalization", arXiv 1602.07868, equation 2.
    """

    def __init__(self, magnitude, direction):
        self.magnitude = magnitude
        self.direction = direction

    def __call__(self):
        g, v = self.magnitude(), self.direction()
        axes = tuple(i for i, size in enumerate(g.shape) if size == 1)
        return v * (g / np.sqrt(np.sum(v * v, axes, keepdims=True)))


def _shards(model, index):
    """Names of the files of an index."""
    names = index.get("weight_map") if isinstance(index, dict) else None
    names = sorted(set(names.values())) if isinstance(names, dict) else []
    # Files of this folder, whatever the index says.
    if not names or any(pathlib.PurePath(x).name != x for x in names):
        raise ValueError(
            f"{model}: {_INDEX} must have a `weight_map` from tensors to files "
            f"of the same folder. Received files: {shortened(names)}"
        )
    return names


def _open(path):
    """Dict from a tensor's name to its shape and a function that reads it."""
    with needs_extra("Reading published weights", "encoders"):
        import safetensors

    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; {_INDEX} names it.")
    try:
        file = safetensors.safe_open(path, framework="numpy")
        return {
            name: (
                tuple(file.get_slice(name).get_shape()),
                lambda name=name: _read(file, name),
            )
            for name in file.keys()  # noqa: SIM118
        }
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path} is no whole safetensors file; was it downloaded to its "
            f"end? ({error})"
        ) from error


def _read(file, name):
    return np.asarray(file.get_tensor(name)).astype(np.float32)


def _find(model, revision):
    """Folder of a model: itself, or of its files in the hub's cache."""
    folder = pathlib.Path(model)
    if folder.is_dir():
        return folder
    neither = f"{model} is neither a folder nor a model on the hub"
    if folder.exists() or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model):
        raise FileNotFoundError(f"{neither}, whose name is `owner/model`.")
    with needs_extra("Downloading published weights", "encoders"):
        import huggingface_hub
        from huggingface_hub import errors

    try:
        return pathlib.Path(
            huggingface_hub.snapshot_download(
                model, revision=revision, allow_patterns=list(_FILES)
            )
        )
    except errors.GatedRepoError as error:
        raise PermissionError(
            f"{model} is gated: accept its conditions on its page on the hub, "
            "then log in (`hf auth login`) or set HF_TOKEN to a token of yours."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise FileNotFoundError(
            f"{model} has no such revision on the hub. Received: "
            f"revision={revision!r}"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"{neither} that you may read; for a private one, log in with "
            "`hf auth login`."
        ) from error
    except OSError as error:
        raise ConnectionError(
            f"{model} is no folder, is not in the cache of the hub, and the "
            "hub cannot be reached. Download it where there is a network, and "
            f"give its folder. ({str(error).splitlines()[0]})"
        ) from error
