"""Keras layers of searched and hand-made networks."""

from ser_keras.layers.architecture_weights import ArchitectureWeights
from ser_keras.layers.attention_pooling import AttentionPooling
from ser_keras.layers.attention_pooling import MeanPooling
from ser_keras.layers.batch_norm import BatchNorm
from ser_keras.layers.cell import Cell
from ser_keras.layers.conv_mixed_op import ConvMixedOp
from ser_keras.layers.conv_norm_pool import ConvNormPool
from ser_keras.layers.drop_path import DropPath
from ser_keras.layers.factorized_reduce import FactorizedReduce
from ser_keras.layers.fusion import Fusion
from ser_keras.layers.information_supplement import InformationSupplement
from ser_keras.layers.layer_mixture import LayerMixture
from ser_keras.layers.masking import frame_mask
from ser_keras.layers.pool_norm import PoolNorm
from ser_keras.layers.primitives import build_primitive
from ser_keras.layers.primitives import register_primitive
from ser_keras.layers.recurrent_ops import RecurrentMixedOp
from ser_keras.layers.separable_convs import SeparableConvs
from ser_keras.layers.stream_dropout import StreamDropout

__all__ = [
    "ArchitectureWeights",
    "AttentionPooling",
    "BatchNorm",
    "Cell",
    "ConvMixedOp",
    "ConvNormPool",
    "DropPath",
    "FactorizedReduce",
    "Fusion",
    "InformationSupplement",
    "LayerMixture",
    "MeanPooling",
    "PoolNorm",
    "RecurrentMixedOp",
    "SeparableConvs",
    "StreamDropout",
    "build_primitive",
    "frame_mask",
    "register_primitive",
]
