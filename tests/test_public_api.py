import importlib
import inspect
import pathlib
import pkgutil
import sys
import types

import pytest

import ser_keras
from ser_keras._deprecated import MODULES
from ser_keras._deprecated import NAMES

ROOT = pathlib.Path(ser_keras.__file__).parent
NAMESPACES = [
    ".".join(("ser_keras", *stub.parent.relative_to(ROOT).parts))
    for stub in sorted(ROOT.rglob("__init__.pyi"))
]
PUBLIC = [
    (namespace, name)
    for namespace in NAMESPACES
    for name in importlib.import_module(namespace).__all__
]


@pytest.mark.parametrize(("namespace", "name"), PUBLIC)
def test_public_name_is_there_and_documented(namespace, name):
    package = importlib.import_module(namespace)
    value = getattr(package, name)
    assert name in dir(package)
    if isinstance(value, types.ModuleType):
        assert value.__name__ == f"{namespace}.{name}"
    elif inspect.isroutine(value) or inspect.isclass(value):
        assert value.__name__ == name
        assert value.__module__.startswith("ser_keras.")
    else:  # A constant.
        assert name.isupper()
        return
    assert inspect.getdoc(value)


def test_every_package_is_a_namespace():
    packages = {
        f"ser_keras.{module.name}"
        for module in pkgutil.iter_modules(ser_keras.__path__)
        if module.ispkg
    }
    assert packages < set(NAMESPACES)
    for namespace in NAMESPACES:
        names = importlib.import_module(namespace).__all__
        assert names == sorted(names)


def test_top_level_is_small_enough_to_read():
    names = [
        name
        for name in ser_keras.__all__
        if not isinstance(getattr(ser_keras, name), types.ModuleType)
    ]
    assert len(names) <= 45
    # One object, whichever way it is reached.
    for name in names:
        value = getattr(ser_keras, name)
        module = importlib.import_module(value.__module__)
        assert getattr(module, name) is value


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'ser_keras'.*'Mfcc'"):
        ser_keras.Mfcc  # noqa: B018
    assert not hasattr(ser_keras.layers, "CellNetwork")


@pytest.mark.parametrize("old", sorted(NAMES))
def test_former_name_warns_and_works(old):
    package, _, name = f"ser_keras.{old}".rpartition(".")
    module, _, new = f"ser_keras.{NAMES[old]}".rpartition(".")
    package = importlib.import_module(package)
    with pytest.warns(DeprecationWarning) as warned:
        value = getattr(package, name)
    assert value is getattr(importlib.import_module(module), new)
    (warning,) = warned
    assert f"Use `ser_keras.{NAMES[old]}`" in str(warning.message)
    assert warning.filename == __file__
    assert name not in package.__all__


@pytest.fixture
def modules():
    """No module is left under its old name."""
    before = dict(sys.modules)
    yield
    for name in set(sys.modules) - set(before):
        if name.removeprefix("ser_keras.") in MODULES:
            del sys.modules[name]


@pytest.mark.parametrize("old", sorted(MODULES))
@pytest.mark.usefixtures("modules")
def test_former_module_warns_and_works(old):
    new = MODULES[old]
    if new is None:  # Nothing is left that it could stand for.
        assert importlib.import_module(f"ser_keras.{old}").__path__ == []
        return
    with pytest.warns(DeprecationWarning) as warned:
        module = importlib.import_module(f"ser_keras.{old}")
    assert f"Use `ser_keras.{new}`" in str(warned[-1].message)
    assert module is importlib.import_module(f"ser_keras.{new}")
    assert module.__spec__.name == module.__name__ == f"ser_keras.{new}"


@pytest.mark.usefixtures("modules")
def test_former_packages_hold_the_modules_of_now():
    with pytest.warns(DeprecationWarning) as warned:
        from ser_keras.data.corpora.emodb import load
        from ser_keras.experiment import compare
    assert (
        load is importlib.import_module("ser_keras.corpora.parsers.emodb").load
    )
    assert compare is importlib.import_module("ser_keras.experiments.compare")
    assert {warning.filename for warning in warned} == {__file__}
    with pytest.raises(ModuleNotFoundError, match="ser_keras.data.none"):
        importlib.import_module("ser_keras.data.none")


@pytest.mark.parametrize(
    ("function", "old", "new"),
    [
        (ser_keras.cross_validate, "copies", "augmented"),
        (ser_keras.cross_validate, "seen", "exposed"),
        (
            ser_keras.evaluation.cross_validate_classifier,
            "seen",
            "exposed",
        ),
        (ser_keras.protocols.guard_folds, "seen", "exposed"),
        (ser_keras.train_network, "copies", "augmented"),
    ],
)
def test_former_argument_warns_and_is_passed_on(function, old, new):
    assert new in inspect.signature(function).parameters
    # All others are missing.
    with (
        pytest.warns(DeprecationWarning, match=f"`{old}`.*Use `{new}`"),
        pytest.raises(TypeError, match="missing"),
    ):
        function(**{old: None})
