"""What a `.keras` file may hold to be read without trust in its maker.

Such a file names the classes and functions that are to be made of it, and Keras
looks them up: a Lambda layer is code, a `TFSMLayer` a graph that may write
files, a `StringLookup` reads any file, and a name may stand for any function of
Keras. `safe_mode` forbids the first alone. So everything that a file names is
compared with a list of what can do no more than compute, before any of it is
made.
"""

import inspect
import json
import os
import pathlib
import sys
import zipfile
from collections.abc import Iterable
from typing import Any

import h5py
import keras

_MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}

# Where Keras defines classes that do nothing but compute. Not among them, for
# example: `layers.preprocessing` reads vocabularies from files,
# `layers.core.lambda_layer`, and the layers of JAX, Flax, Torch, SavedModels.
_PLAIN = tuple(
    f"keras.src.{name}."
    for name in (
        "constraints",
        "dtype_policies",
        "initializers",
        "layers.activations",
        "layers.attention",
        "layers.convolutional",
        "layers.core.dense",
        "layers.core.einsum_dense",
        "layers.core.embedding",
        "layers.core.identity",
        "layers.core.input_layer",
        "layers.core.masking",
        "layers.merging",
        "layers.normalization",
        "layers.pooling",
        "layers.regularization",
        "layers.reshaping",
        "layers.rnn",
        "losses",
        "metrics",
        "models.functional",
        "models.model",
        "models.sequential",
        "ops.nn",
        "ops.numpy",
        "optimizers",
        "regularizers",
    )
)
_FUNCTIONS = ("keras.activations", "keras.losses", "keras.metrics")
# How Keras writes tensors, arrays and slices: data, without a module.
_DATA = {
    "__keras_tensor__",
    "__tensor__",
    "__numpy__",
    "__bytes__",
    "__ellipsis__",
    "__slice__",
}


def check_keras_file(
    path: str | os.PathLike[str], own: Iterable[str] = ()
) -> None:
    """Raises unless a file holds plain layers of Keras and ours alone.

    Args:
        path: A `.keras` file. Our classes must be registered already.
        own: Further names of classes and functions that it may hold.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no `.keras` file, or holds anything else; the message
            names it.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if path.suffix != ".keras" or not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} must be a .keras file, as `model.save` writes it. "
            f"{_WAY_OUT}"
        )
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            # Keras never compresses; what is compressed may be a bomb.
            stored = member.compress_type == zipfile.ZIP_STORED
            if member.filename not in _MEMBERS or not stored:
                _refuse(path, f"the member {member.filename!r}")
        missing = _MEMBERS - set(archive.namelist())
        if missing:
            raise ValueError(f"{path} has no {', '.join(sorted(missing))}")
        try:
            config = json.loads(archive.read("config.json"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}, config.json: {error}") from error
        check_config(path, config, own)
        with archive.open("model.weights.h5") as weights:
            check_weights(path, weights)


_WAY_OUT = (
    "If you or people you trust made it, say so: `trust=True` in Python, "
    "`--trust` on the command line."
)


def _refuse(path, found):
    raise ValueError(
        f"{path} holds {found}. Without trust only plain layers of Keras and "
        "classes of ser_keras are read, with weights in the file itself: "
        "anything else could run code that came with the file, or read and "
        f"write other files. {_WAY_OUT}"
    )


def check_config(path, config, own=()):
    """Raises `ValueError` unless a configuration makes harmless objects only.

    Args:
        path: Where it was read, for the message.
        config: What Keras would deserialize, JSON types.
        own: Registered names that the caller trusts.
    """
    registered = keras.saving.get_custom_objects()
    pending = [config]  # No recursion: a file may nest as deep as it likes.
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
        elif isinstance(node, str):
            # Where Keras expects a function, any registered name will do.
            if node in registered and not _ours(node) and node not in own:
                _refuse(path, repr(node))
        elif isinstance(node, dict):
            pending += node.values()
            if "class_name" in node and not _allowed(node, own):
                module, name = node.get("module"), node["class_name"]
                if name == "function":
                    name = f"{name} {node.get('config')}"
                known = node.get("registered_name") or name
                _refuse(path, f"{name!r} of {module!r} ({known!r})")


def _allowed(node, own):
    """Whether Keras will make something harmless of a dict."""
    module, name = node.get("module"), node["class_name"]
    function = name == "function"
    if function:
        name = node.get("config")
    registered = node.get("registered_name") or name
    if not all(isinstance(x, str) for x in (name, registered)):
        return False
    if name.startswith("__"):  # Keras looks at nothing but these names.
        return name in _DATA and not function and module is None
    # Where Keras looks a class up, a registered name comes first; a function
    # has no other name than its own.
    if function and registered != name:
        return False
    if _ours(registered) or registered in own:
        return True
    if function:
        modules = _FUNCTIONS if module == "builtins" else (module,)
        return any(_is_function(x, name) for x in modules if x in _FUNCTIONS)
    return registered == name and _is_plain(module, name)


def _ours(registered):
    found = keras.saving.get_custom_objects().get(registered)
    return found is not None and found.__module__.startswith("ser_keras.")


def _is_plain(module, name):
    # `sys.modules`, so that a file has nothing imported.
    if not isinstance(module, str) or module.partition(".")[0] != "keras":
        return False
    found = getattr(sys.modules.get(module), name, None)
    return isinstance(found, type) and f"{found.__module__}.".startswith(_PLAIN)


def _is_function(module, name):
    found = getattr(sys.modules[module], name, None)
    looks_up = name in ("get", "serialize", "deserialize")
    return inspect.isfunction(found) and not looks_up


def check_weights(path: str | os.PathLike[str], stream: Any) -> None:
    """Raises unless an HDF5 file holds its weights itself.

    Args:
        path: Where it was read, for the message.
        stream: The HDF5 file, or its path.

    Raises:
        ValueError: It links to other files, or is no HDF5 file.
    """

    def check(name, link):
        item = weights[name] if isinstance(link, h5py.HardLink) else None
        linked = isinstance(item, h5py.Dataset) and (
            item.external or item.is_virtual
        )
        # What is returned ends the visit; h5py cannot pass on an error.
        return name if item is None or linked else None

    try:
        weights = h5py.File(stream, "r")
    except OSError as error:
        raise ValueError(f"{path}, model.weights.h5: {error}") from error
    with weights:
        elsewhere = weights.visititems_links(check)
    if elsewhere is not None:
        _refuse(path, f"weights that are elsewhere, {elsewhere!r}")
