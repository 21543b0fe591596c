"""Search spaces: which operations compete on which edges.

Like `ser_keras.genotype`, this package needs no TensorFlow.
"""

from ser_keras.search_space.one_stream import SEQUENCES
from ser_keras.search_space.one_stream import SearchSpace
from ser_keras.search_space.one_stream import softmax
from ser_keras.search_space.two_stream import TwoStreamSearchSpace
from ser_keras.search_space.two_stream import search_space_from_config
