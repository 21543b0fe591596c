import ast
import pathlib

import keras
import pytest

import ser_keras
from ser_keras._registry import register_all

ROOT = pathlib.Path(ser_keras.__file__).parent
MODULES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))

# A module imports from its own row and those above it.
LAYERS = [
    ("_class_numbers", "_deprecated", "_errors", "_files", "_graphs"),
    ("_keras_file", "_quiet"),
    ("_versions",),
    ("determinism", "memory"),
    ("_lazy", "_replicas"),
    ("_keras_private",),
    ("_registry", "genotype"),
    ("search_space",),
    ("encoders",),  # Which an extractor of `features` runs.
    ("audio",),
    ("corpora",),
    ("protocols",),
    ("features",),
    ("layers", "metrics", "losses", "optimizers"),
    ("models",),
    ("search",),
    ("training",),
    ("evaluation",),
    ("reports",),
    ("export",),
    ("serving",),
    ("experiments",),
    ("cli",),
]
RANK = {name: rank for rank, row in enumerate(LAYERS) for name in row}
# The search works on any tensors; only models/waveform_model.py meets audio.
SOUND = ("audio", "corpora", "protocols", "features")
FORBIDDEN = {(a, b) for a in ("layers", "search") for b in SOUND}
# Encoders run on any backend of Keras; all of these import TensorFlow.
FORBIDDEN |= {
    ("encoders", b)
    for b in (*SOUND, "_graphs", "layers", "metrics", "losses", "optimizers")
}
# No part of the library proper: it may import from everywhere.
UNRANKED = {"__init__", "__main__", "testing"}


def imports(path):
    """Packages or modules of ser_keras that a module imports from.

    Without what only type checkers import.
    """
    names, pending = [], [ast.parse((ROOT / path).read_text())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == (
            "TYPE_CHECKING"
        ):
            continue
        pending += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.append(node.module)
            if node.module == "ser_keras":
                names += [f"ser_keras.{alias.name}" for alias in node.names]
    parts = [name.split(".") for name in names]
    return {p[1] for p in parts if p[0] == "ser_keras" and len(p) > 1}


def component(path):
    return path.parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_go_one_way(path):
    name = component(path)
    if name in UNRANKED:
        return
    for other in imports(path):
        assert other in RANK, f"{path} imports {other}"
        assert (name, other) not in FORBIDDEN, f"{path} imports {other}"
        assert RANK[other] <= RANK[name], f"{path} imports {other}"
        same_row = RANK[other] == RANK[name] and other != name
        assert not same_row or name in ("layers", "genotype"), (
            f"{path} imports {other} of its own row"
        )


def test_every_keras_class_is_registered():
    register_all()
    registered = keras.saving.get_custom_objects()
    bases = (keras.layers.Layer, keras.losses.Loss, keras.metrics.Metric)
    optimizers = keras.optimizers.Optimizer
    schedule = keras.optimizers.schedules.LearningRateSchedule
    pending, found = list((*bases, optimizers, schedule)), set()
    while pending:
        for subclass in pending.pop().__subclasses__():
            pending.append(subclass)
            ours = subclass.__module__.startswith("ser_keras.")
            # What others derive from may be abstract, and is never saved.
            if ours and not subclass.__subclasses__():
                found.add(subclass)
    assert len(found) > 10
    missing = {
        f"{c.__module__}.{c.__name__}"
        for c in found
        if registered.get(f"ser_keras>{c.__name__}") is not c
    }
    assert not missing
