"""Genotypes: architectures as plain, comparable data.

A genotype is the result of a search: for each kind of cell, which operation
runs on which edge. This package uses the standard library alone, so a genotype
can be read, compared and drawn where TensorFlow is not installed.
"""

from ser_keras.genotype.cells import CellGenotype
from ser_keras.genotype.cells import Edge
from ser_keras.genotype.cells import Genotype
from ser_keras.genotype.operations import CELL_KINDS
from ser_keras.genotype.operations import CNN_OPERATIONS
from ser_keras.genotype.operations import FUSIONS
from ser_keras.genotype.operations import RECURRENT_OPERATIONS
from ser_keras.genotype.operations import STREAMS
from ser_keras.genotype.operations import check_fusion
from ser_keras.genotype.operations import check_operation
from ser_keras.genotype.operations import register_operation_name
from ser_keras.genotype.two_stream import TwoStreamGenotype
from ser_keras.genotype.two_stream import load_genotype
