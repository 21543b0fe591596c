"""Genotypes: architectures as plain data.

A genotype is the result of a search: for each kind of cell, the operation on
each edge. This package uses only the standard library, so a genotype can be
read, compared and drawn where TensorFlow is not installed.
"""

from ser_keras._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
