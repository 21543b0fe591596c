"""Experiments: a system as hooks, and one driver that runs all of them."""

from ser_keras._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
