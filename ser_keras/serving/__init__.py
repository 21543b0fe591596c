"""Trained models at work: on streams of sound, and for other programs."""

from ser_keras.serving.client import Client
from ser_keras.serving.client import ServerError
