"""Keras metrics."""

from ser_keras.metrics.recall import UnweightedAverageRecall
