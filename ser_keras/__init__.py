"""Speech emotion recognition in Keras 3, with architecture search.

Names are imported on first use, so that `import ser_keras` is quick and quiet,
and so that a genotype can be read where there is no TensorFlow. The most used
ones are here; all others are in the namespaces: `ser_keras.layers.Cell`.

>>> import ser_keras
>>> ser_keras.UnweightedAverageRecall.__module__
'ser_keras.metrics.recall'
"""

import os

from ser_keras import _deprecated
from ser_keras._lazy import attach

__version__ = "0.2.0"

# TensorFlow's oneDNN kernels, which it switches on by itself only where the
# processor has AVX-512 VNNI. Elsewhere they make our steps faster as well (see
# the benchmarks in the documentation). It must be said before TensorFlow is
# imported. A value that the user has set, such as 0, is kept.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

__getattr__, __dir__, __all__ = attach(__name__, __file__)

_deprecated.install()
