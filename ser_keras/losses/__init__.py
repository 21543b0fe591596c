"""Keras losses."""

from ser_keras.losses.focal import SparseCategoricalFocalCrossentropy
