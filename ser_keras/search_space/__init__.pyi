from .one_stream import SEQUENCES as SEQUENCES
from .one_stream import SearchSpace as SearchSpace
from .one_stream import softmax as softmax
from .two_stream import TwoStreamSearchSpace as TwoStreamSearchSpace
from .two_stream import search_space_from_config as search_space_from_config
