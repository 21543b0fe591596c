"""Every system that is registered has what commands and users need of it."""

import dataclasses
import json
import typing

import docstring_parser
import pytest

import ser_keras as ser
from ser_keras.cli import parse
from ser_keras.cli.main import COMMANDS
from ser_keras.experiments import registry
from ser_keras.experiments.experiment import Experiment
from ser_keras.experiments.experiment import Range
from ser_keras.experiments.options import Options

CONFIGS = [
    *(registry.config_class(name) for name in registry.SYSTEMS),
    *(
        registry.search_config_class(name)
        for name, system in registry.SYSTEMS.items()
        if system.searches
    ),
    ser.experiments.CompareConfig,
]


@pytest.mark.parametrize("name", registry.SYSTEMS)
def test_a_system_has_a_configuration_and_hooks(name):
    config = registry.config_class(name)()
    experiment = registry.system_class(name)(config)
    assert isinstance(experiment, Experiment) and isinstance(config, Options)
    assert registry.system_of(config) == name
    system = registry.SYSTEMS[name]
    assert len(system.help.split()) > 2
    # What is spelled out once stays as it is, and so repeats the run.
    assert experiment.config.resolved() == experiment.config
    assert experiment.searches == system.searches
    if system.searches:
        search = registry.search_config_class(name)()
        assert registry.system_of(search) == name
    training = experiment.training()
    assert training["epochs"] > 0 and training["batch_size"] > 0


@pytest.mark.parametrize("name", registry.SYSTEMS)
def test_what_is_tuned_are_options_of_the_system(name):
    """And every value is one that its configuration takes."""
    kind = registry.config_class(name)
    tunable = registry.system_class(name).tunable
    assert len(tunable) > 2
    for option, values in tunable.items():
        if isinstance(values, Range):
            assert values.low < values.high
            values = values[:2]
        for value in values:
            assert getattr(kind(**{option: value}), option) == value


@pytest.mark.parametrize("kind", CONFIGS, ids=lambda kind: kind.__name__)
def test_every_option_is_explained(kind):
    explained = {
        param.arg_name: param.description
        for owner in reversed(kind.__mro__)
        if dataclasses.is_dataclass(owner)
        for param in docstring_parser.parse_from_object(owner).params
    }
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        assert len((explained[field.name] or "").split()) > 1, field.name
        # A value that each schedule has of its own: both are in the help.
        if type(None) in typing.get_args(hints[field.name]):
            assert "default" in explained[field.name].lower() or (
                "published:" in explained[field.name]
            ), field.name
    config = kind()
    json.dumps(dataclasses.asdict(config))
    assert parse(kind, []) == config


def test_every_system_has_its_commands():
    for verb in ("train", "tune"):
        assert set(COMMANDS[verb][1]) == set(registry.SYSTEMS)
    searched = {k for k, x in registry.SYSTEMS.items() if x.searches}
    assert set(COMMANDS["search"][1]) == searched


def test_names_of_no_system_are_refused():
    with pytest.raises(ValueError, match="one of emodarts.*Received: lstm"):
        registry.config_class("lstm")
    with pytest.raises(ValueError, match="Received: CompareConfig"):
        registry.system_of(ser.experiments.CompareConfig())
