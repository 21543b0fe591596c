"""Trained models as files that other programs run."""

from ser_keras.export.card import ModelCard
from ser_keras.export.saved_model.export import export_serving
from ser_keras.export.saved_model.model import ServingModel
from ser_keras.export.saved_model.model import load_serving
