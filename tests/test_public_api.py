import ast
import inspect

import pytest

import ser_keras


@pytest.mark.parametrize("name", sorted(ser_keras.__all__))
def test_public_name_is_there_and_documented(name):
    value = getattr(ser_keras, name)
    assert value.__name__ == name
    assert inspect.getdoc(value)
    assert name in dir(ser_keras)


@pytest.mark.parametrize("package", [ser_keras, ser_keras.audio])
def test_type_checkers_see_the_same_names(package):
    (seen,) = (
        node
        for node in ast.parse(inspect.getsource(package)).body
        if isinstance(node, ast.If)
    )
    imported = {
        alias.name: node.module for node in seen.body for alias in node.names
    }
    assert imported == package._MODULE_OF


def test_submodules_are_attributes():
    assert ser_keras.cli.parse is not None
    with pytest.raises(AttributeError, match="no attribute 'Mfcc'"):
        ser_keras.Mfcc  # noqa: B018
