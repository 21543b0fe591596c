"""Configurations on the command line, and the program `ser_keras`."""

from ser_keras.cli.config import parse
from ser_keras.cli.config import run
from ser_keras.cli.config import save
