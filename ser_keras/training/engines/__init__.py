"""Engines of fan-out: local processes, Ray, SLURM; tasks that they run."""

from ser_keras._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
