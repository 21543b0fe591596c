"""Search spaces: the candidate operations of each edge.

Like `ser_keras.genotype`, this package does not import TensorFlow.
"""

from ser_keras._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
