"""Trained models as files that other programs run."""

from ser_keras.export.serving import ServingModel
from ser_keras.export.serving import export_serving
from ser_keras.export.serving import load_serving
