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


def test_type_checkers_see_the_same_names():
    tree = ast.parse(inspect.getsource(ser_keras))
    imported = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module != "typing"
        for alias in node.names
    }
    assert imported == ser_keras._MODULE_OF


def test_submodules_are_attributes():
    assert ser_keras.cli.parse is not None
    with pytest.raises(AttributeError, match="no attribute 'Mfcc'"):
        ser_keras.Mfcc  # noqa: B018
