"""Search spaces: which operations compete on which edges.

Like `ser_keras.genotype`, this package needs no TensorFlow.
"""

from ser_keras._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
