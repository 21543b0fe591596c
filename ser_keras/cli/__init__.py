"""Configurations on the command line."""

from ser_keras.cli.config import parse
from ser_keras.cli.config import run
from ser_keras.cli.config import save
