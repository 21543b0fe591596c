"""Configurations that come along are taken by `ser_keras train`."""

import json

from ser_keras.cli import parse
from ser_keras.experiments.light_sernet import LightSERNetConfig


def test_what_tuning_found_on_emodb(repository):
    """All of it is taken, and it holds what the record says."""
    file = repository / "recipes/configurations/emodb_light_sernet_tuned.json"
    config = parse(LightSERNetConfig, ["--config", str(file)])
    for name, value in json.loads(file.read_text()).items():
        found = getattr(config, name)
        assert (list(found) if isinstance(found, tuple) else found) == value
    assert (config.dropout, config.loss) == (0.2, "focal")
    assert config.resolved().learning_rate == config.learning_rate
