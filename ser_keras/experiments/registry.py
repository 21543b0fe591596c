"""Systems by name. A new one is one file, and one line here."""

import importlib
from typing import Any

#: Module and name of each system, and one line of help. The module has the
#: `Experiment` `<name>Experiment`, its configuration `<name>Config` and, of a
#: system that searches, that of the search alone, `<name>SearchConfig`.
SYSTEMS = {
    "emodarts": (
        "ser_keras.experiments.emodarts:EmoDARTS",
        "CNN and recurrent cells, searched jointly.",
    ),
    "emotionnas": (
        "ser_keras.experiments.emotionnas:EmotionNAS",
        "Two streams: hand-crafted and deep features.",
    ),
    "light_sernet": (
        "ser_keras.experiments.light_sernet:LightSERNet",
        "Light-SERNet, small enough for any device.",
    ),
    "hand_made": (
        "ser_keras.experiments.hand_made:HandMade",
        "CNN, LSTM or both, made by hand.",
    ),
}
#: Systems that search.
SEARCHED = ("emodarts", "emotionnas")


def system_class(name):
    """The `Experiment` class of a system.

    Raises:
        ValueError: There is no system of that name.
    """
    return _find(name, "Experiment")


def config_class(name):
    """The configuration class of a system.

    Raises:
        ValueError: There is no system of that name.
    """
    return _find(name, "Config")


def search_config_class(name):
    """The configuration class of a system's search alone."""
    return _find(name, "SearchConfig")


def system_of(config: Any) -> str:
    """Name of the system that a configuration is of.

    Raises:
        ValueError: It is of none.
    """
    for name in SYSTEMS:
        kinds = [config_class(name)]
        if name in SEARCHED:
            kinds.append(search_config_class(name))
        if isinstance(config, tuple(kinds)):
            return name
    raise ValueError(
        f"`config` must be a configuration of {', '.join(SYSTEMS)}. Received: "
        f"{type(config).__name__}"
    )


def _find(name, suffix):
    if name not in SYSTEMS:
        raise ValueError(
            f"The system must be one of {', '.join(SYSTEMS)}. Received: {name}"
        )
    module, kind = SYSTEMS[name][0].split(":")
    return getattr(importlib.import_module(module), kind + suffix)
