"""Networks of one stream or of two, as a run's configuration asks for them.

A configuration is an `EmotionNASConfig`.
"""

from ser_keras.features.feature_set import FeatureSet
from ser_keras.features.streams import FeatureStreams
from ser_keras.genotype import FUSIONS
from ser_keras.genotype import Genotype
from ser_keras.genotype import TwoStreamGenotype
from ser_keras.models.cell_network import CellNetwork
from ser_keras.models.hand_made import hand_made_chain
from ser_keras.models.two_stream import TwoStreamNet
from ser_keras.search_space import SearchSpace
from ser_keras.search_space import TwoStreamSearchSpace


def build_network(
    config,
    genotype: Genotype | TwoStreamGenotype,
    features: FeatureSet | FeatureStreams,
) -> CellNetwork | TwoStreamNet:
    """The derived network that a configuration asks for."""
    options = {
        "dropout": config.dropout,
        "drop_path_rate": config.drop_path_rate,
        **network_sizes(config, features, config.filters),
    }
    if config.streams == "both":
        options["stream_dropout"] = config.stream_dropout
        return TwoStreamNet(genotype, **options)
    return CellNetwork(genotype, **options)


def search_space(config) -> SearchSpace | TwoStreamSearchSpace:
    """The search space that a configuration asks for."""
    nodes = {"num_nodes": config.num_nodes}
    spaces = {
        "handcrafted": SearchSpace.emodarts(config.sequence, **nodes),
        "deep": SearchSpace.emodarts(config.sequence, cnn=(), **nodes),
    }
    if config.streams != "both":
        return spaces[config.streams]
    searched = config.fusion == "search"
    fusions = FUSIONS if searched else (config.fusion,)
    return TwoStreamSearchSpace(**spaces, fusions=fusions)


def hand_made(config) -> Genotype | TwoStreamGenotype:
    """The architecture made by hand that a search has to beat.

    Of the nodes that the configuration gives to searched cells, and joined as
    it says; by concatenation where that is searched as well.
    """
    parts = {
        "handcrafted": hand_made_chain(config.num_nodes),
        "deep": hand_made_chain(config.num_nodes, cnn=False),
    }
    if config.streams != "both":
        return parts[config.streams]
    searched = config.fusion == "search"
    fusion = "concatenation" if searched else config.fusion
    return TwoStreamGenotype(**parts, fusion=fusion)


def network_sizes(config, features, filters, shared_stacks=False) -> dict:
    """Arguments of a network, or of the supernet over such networks.

    Args:
        config: The configuration.
        features: `FeatureSet`, or `FeatureStreams` of two streams.
        filters: Channels of the hand-crafted stream's first cell.
        shared_stacks: As of `CellNetwork`.
    """
    encoders = {
        "handcrafted": {
            "filters": filters,
            "num_cells": config.num_cells,
            "recurrent_filters": config.recurrent_filters,
            "stem_strides": 2,
            "frequency_pooling": "projection",
            "shared_stacks": shared_stacks,
        },
        "deep": {
            "num_cells": 0,
            "recurrent_filters": config.deep_filters,
            "shared_stacks": shared_stacks,
            "layer_mixture": config.deep_layers,
        },
    }
    labels = {"num_classes": len(features.manifest.labels)}
    if config.streams != "both":
        shape = (None, features.num_features, 1)
        return {"input_shape": shape, **labels, **encoders[config.streams]}
    shapes = {
        name: (None, stream.num_features, 1)
        for name, stream in features.streams.items()
    }
    units = {"fusion_units": config.fusion_units}
    return {"input_shape": shapes, **labels, **encoders, **units}
