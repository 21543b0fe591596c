"""Configuration of the architecture of a network."""

from typing import Any

from ser_keras.genotype import Genotype
from ser_keras.genotype import TwoStreamGenotype
from ser_keras.genotype import genotype_from_dict
from ser_keras.search_space import search_space_from_config


def architecture_to_config(architecture: Any) -> dict:
    """A genotype or a search space as plain JSON types.

    Args:
        architecture: A `Genotype`, a `SearchSpace`, or one of two streams.

    Returns:
        Dict `{"type": class name, "config": dict}`.

    Example:
    >>> from ser_keras.search_space import SearchSpace
    >>> config = architecture_to_config(SearchSpace())
    >>> config["type"], architecture_from_config(config) == SearchSpace()
    ('SearchSpace', True)
    """
    if isinstance(architecture, Genotype | TwoStreamGenotype):
        config = architecture.to_dict()
    else:
        config = architecture.get_config()
    return {"type": type(architecture).__name__, "config": config}


def architecture_from_config(config: dict) -> Any:
    """The architecture that a dict describes.

    Args:
        config: As `architecture_to_config` returns it; or a genotype's
            `to_dict()` itself.

    Raises:
        ValueError: It describes no architecture.
    """
    content = config.get("config", config)
    if str(config.get("type")).endswith("SearchSpace"):
        return search_space_from_config(content)
    return genotype_from_dict(content)
