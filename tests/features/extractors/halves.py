"""An extractor that a process without TensorFlow can import."""

import os

import numpy as np

from ser_keras.features.extractors.base import Extractor


class Halves(Extractor):
    """Part of the samples, and what can go wrong."""

    sample_rate, num_features, frame_rate = 8000, 1, 8000.0

    def __init__(self, factor):
        if factor > 1:
            raise ValueError(f"Received: factor={factor}")
        self.factor = factor

    def extract(self, waveform):
        print("a library says something")
        if len(waveform) == 1:
            os._exit(3)
        if len(waveform) == 2:
            raise ValueError("too short")
        if len(waveform) == 3:
            raise KeyError("other")
        return self.factor * waveform[:, None]

    def settings(self):
        return {"extractor": "halves", "process": os.getpid()}


class Pid(Extractor):
    """Says in which process it runs."""

    sample_rate, num_features, frame_rate = 16000, 1, None

    def extract(self, waveform):
        return np.array([[os.getpid()]], "float32")

    def settings(self):
        return {"name": "pid"}
