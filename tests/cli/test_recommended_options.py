"""No message recommends an option that no command has."""

import ast
import importlib
import pathlib
import re

import pytest

import ser_keras
from ser_keras.cli import corpora
from ser_keras.cli.config import make_parser
from ser_keras.cli.evaluate import EVALUATE
from ser_keras.cli.experiments import train_command
from ser_keras.cli.main import COMMANDS
from ser_keras.experiments.registry import SYSTEMS

SOURCE = pathlib.Path(ser_keras.__file__).parent
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")
#: Of the program itself, and of other programs: git, TensorFlow Serving.
OTHER = {
    "--help",
    "--json",
    "--traceback",
    "--config",
    "--version",
    "--print-completion",
    "--print-config",
    "--enable",
    "--batching",
    "--short",
    "--porcelain",
    "--untracked-files",
    # Of the proxy caddy.
    "--from",
    "--to",
    # Other names of ours.
    "--calibration",
    "--no-calibration",
}


def leaves(commands):
    for _, target in commands.values():
        if isinstance(target, dict):
            yield from leaves(target)
        else:
            yield target


def options(command):
    actions = make_parser(command.config)._actions
    return {x for action in actions for x in action.option_strings}


def every_option():
    found = set(OTHER)
    for target in leaves(COMMANDS):
        module, name = target.split(":")
        try:
            command = getattr(importlib.import_module(module), name)
        except ImportError:  # Of an extra.
            continue
        found |= options(command)
    return found


def messages(file):
    """Texts in a module but for docstrings, with their lines."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    described = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in described
        ):
            yield node.lineno, node.value


def recommended(folder):
    for file in sorted(folder.rglob("*.py")):
        if file.name == "download.py":  # Of a command of its own.
            continue
        for line, text in messages(file):
            for option in OPTION.findall(text):
                yield f"{file.relative_to(SOURCE)}:{line}", option


def test_options_of_messages_exist():
    found = list(recommended(SOURCE))
    assert len(found) > 20  # The search finds what it should.
    known = every_option()
    assert [x for x in found if x[1] not in known] == []


@pytest.mark.parametrize("system", sorted(SYSTEMS))
def test_what_is_said_of_corpora_can_be_given(system):
    """Messages of corpora and folds reach these commands."""
    said = {
        option
        for package in ("corpora", "protocols")
        for _, option in recommended(SOURCE / package)
    } | {"--columns", "--speakers", "--labels", "--label-map"}
    assert said - OTHER <= options(train_command(system)) | {"--corpus"}


@pytest.mark.parametrize("command", [corpora.CHECK, EVALUATE])
def test_what_is_said_of_lists_can_be_given(command):
    said = {x for _, x in recommended(SOURCE / "corpora" / "parsers")}
    assert {"--columns", "--speakers"} <= said <= options(command)
