"""Systems by name. A new one is one file, and one line here."""

import importlib
from typing import Any
from typing import NamedTuple


class System(NamedTuple):
    """Where a system is, and what it can do.

    Args:
        place: `<module>:<Name>`. The module has the `Experiment`
            `<Name>Experiment` and its configuration, `<Name>Config`.
        help: One line about it.
        searches: Whether its search is a command of its own, whose
            configuration is `<Name>SearchConfig`.
    """

    place: str
    help: str
    searches: bool = False


#: All systems, by the names that commands have for them.
SYSTEMS = {
    "emodarts": System(
        "ser_keras.experiments.emodarts:EmoDARTS",
        "CNN and recurrent cells, searched jointly.",
        searches=True,
    ),
    "emotionnas": System(
        "ser_keras.experiments.emotionnas:EmotionNAS",
        "Two streams: hand-crafted and deep features.",
        searches=True,
    ),
    "light_sernet": System(
        "ser_keras.experiments.light_sernet:LightSERNet",
        "Light-SERNet, small enough for any device.",
    ),
    "hand_made": System(
        "ser_keras.experiments.hand_made:HandMade",
        "CNN, LSTM or both, made by hand.",
    ),
    "encoder": System(
        "ser_keras.experiments.encoder:Encoder",
        "A pre-trained speech encoder, and a classifier of its layers.",
    ),
}


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
    for name, system in SYSTEMS.items():
        kinds = [config_class(name)]
        if system.searches:
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
    module, kind = SYSTEMS[name].place.split(":")
    return getattr(importlib.import_module(module), kind + suffix)
