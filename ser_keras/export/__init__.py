"""Trained models as files that other programs run."""

from ser_keras.export.model_card import ModelCard
from ser_keras.export.serving import export_serving
from ser_keras.export.serving_model import ServingModel
from ser_keras.export.serving_model import load_serving
