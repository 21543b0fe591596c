"""Genotypes: architectures as plain, comparable data.

A genotype is the result of a search: for each kind of cell, which operation
runs on which edge. This package uses the standard library alone, so a genotype
can be read, compared and drawn where TensorFlow is not installed.
"""

from ser_keras._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
