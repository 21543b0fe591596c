"""Private names of Keras are used in one module, and each of them exists."""

import ast
import inspect
import pathlib
import re

import keras
import pytest

import ser_keras
from ser_keras import _keras_private

PACKAGE = pathlib.Path(ser_keras.__file__).parent
CLASSES = (
    keras.Model,
    keras.Sequential,
    keras.Variable,
    keras.DTypePolicy,
    keras.callbacks.Callback,
    keras.callbacks.EarlyStopping,
    keras.losses.Loss,
    keras.metrics.Mean,
    keras.optimizers.SGD,
    keras.optimizers.Adam,
    keras.optimizers.LossScaleOptimizer,
    keras.optimizers.schedules.LearningRateSchedule,
    keras.random.SeedGenerator,
)


def private_names():
    """Private attributes and methods of Keras' classes."""
    names = set()
    for base in {b for c in CLASSES for b in c.__mro__}:
        if base.__module__.split(".")[0] == "keras":
            names |= set(vars(base))
            source = inspect.getsource(base)
            names |= set(re.findall(r"[.\"](_[a-z]\w+)", source))
    return {n for n in names if n.startswith("_") and not n.startswith("__")}


NAMES = private_names()


def found_in(path):
    """Names of Keras' privates that a module uses or overrides."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.ClassDef):
            found |= {getattr(item, "name", None) for item in node.body}
        elif isinstance(node, ast.Constant):
            found.add(node.value)  # Of `getattr` and the like.
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").startswith("keras.src"):
                return {node.module}
    return found & NAMES


MODULES = sorted(
    path
    for path in PACKAGE.rglob("*.py")
    # Those that use Keras at all.
    if re.search(r"^(import|from) keras", path.read_text(), re.MULTILINE)
    and path.name != "_keras_private.py"
)


@pytest.mark.parametrize(
    "path", MODULES, ids=[str(p.relative_to(PACKAGE)) for p in MODULES]
)
def test_no_other_module_uses_private_names_of_keras(path):
    assert not found_in(path)


def test_names_are_still_those_of_keras():
    """Those that `_keras_private` uses; a new version may rename one."""
    assert found_in(pathlib.Path(_keras_private.__file__)) == {
        "_default_save_signature",
        "_direction",
        "_flatten_layers",
        "_get_variable_index",
        "_initial_epoch",
        "_momentums",
        "_velocities",
    }
