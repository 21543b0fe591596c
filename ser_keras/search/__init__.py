"""Differentiable architecture search."""

from ser_keras.search.callbacks import ArchitectureLogger
from ser_keras.search.callbacks import DropPathSchedule
from ser_keras.search.callbacks import SkipConnectionStop
from ser_keras.search.inherit import derive_network
from ser_keras.search.inherit import inherit_weights
from ser_keras.search.schedules import DelayedStart
from ser_keras.search.supernet import SuperNet

__all__ = [
    "ArchitectureLogger",
    "DelayedStart",
    "DropPathSchedule",
    "SkipConnectionStop",
    "SuperNet",
    "derive_network",
    "inherit_weights",
]
