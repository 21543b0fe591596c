"""The public API is annotated, and the package says so to type checkers.

`make types` checks that the annotations are right; this, that they are there.
"""

import functools
import importlib
import inspect
import pathlib
import types

import pytest

import ser_keras

ROOT = pathlib.Path(ser_keras.__file__).parent
# Of Python and Keras, beside public methods.
SPECIAL = ("__init__", "__call__")


def function_of(member):
    """The function behind a method or property, or None."""
    if isinstance(member, property):
        member = member.fget
    elif isinstance(member, functools.cached_property):
        member = member.func
    member = inspect.unwrap(getattr(member, "__func__", member))
    return member if isinstance(member, types.FunctionType) else None


def missing(function):
    """Names of a function's arguments, or "return", without annotation."""
    signature = inspect.signature(function)
    first = next(iter(signature.parameters), None)
    names = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.annotation is parameter.empty
        and not (name == first and name in ("self", "cls"))
    ]
    if function.__name__ != "__init__":
        if signature.return_annotation is signature.empty:
            names.append("return")
    return names


def public_callables():
    """Functions, and methods that a public class of ours defines itself.

    A method that overrides an annotated one of a base class of ours, such as a
    hook of `Experiment`, has its types there.
    """
    found = {}
    for stub in sorted(ROOT.rglob("__init__.pyi")):
        parts = stub.parent.relative_to(ROOT).parts
        package = importlib.import_module(".".join(("ser_keras", *parts)))
        for name in package.__all__:
            value = getattr(package, name)
            if inspect.isfunction(value):
                found[f"{value.__module__}.{name}"] = value
            elif inspect.isclass(value):
                found |= {
                    f"{value.__module__}.{name}.{attribute}": function
                    for attribute, function in methods(value).items()
                }
    return found


def methods(owner):
    """Public methods that a class defines, but does not inherit types of."""
    found = {}
    for attribute, member in vars(owner).items():
        function = function_of(member)
        ours = function is not None and function.__module__ == owner.__module__
        public = attribute in SPECIAL or not attribute.startswith("_")
        if not ours or not public:
            continue
        inherited = [
            function_of(vars(base)[attribute])
            for base in owner.__mro__[1:]
            if attribute in vars(base)
            and base.__module__.startswith("ser_keras.")
        ]
        if not any(x is not None and not missing(x) for x in inherited):
            found[attribute] = function
    return found


CALLABLES = public_callables()


@pytest.mark.parametrize("place", sorted(CALLABLES))
def test_public_callable_is_annotated(place):
    assert not missing(CALLABLES[place])


def test_package_is_typed():
    assert (ROOT / "py.typed").exists()
    assert len(CALLABLES) > 300
