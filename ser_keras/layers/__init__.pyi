from .architecture_weights import ArchitectureWeights as ArchitectureWeights
from .attention_pooling import AttentionPooling as AttentionPooling
from .attention_pooling import MeanPooling as MeanPooling
from .batch_norm import BatchNorm as BatchNorm
from .cell import Cell as Cell
from .conv_mixed_op import ConvMixedOp as ConvMixedOp
from .conv_norm_pool import ConvNormPool as ConvNormPool
from .drop_path import DropPath as DropPath
from .factorized_reduce import FactorizedReduce as FactorizedReduce
from .fusion import Fusion as Fusion
from .information_supplement import (
    InformationSupplement as InformationSupplement,
)
from .layer_mixture import LayerMixture as LayerMixture
from .masking import frame_mask as frame_mask
from .pool_norm import PoolNorm as PoolNorm
from .primitives import build_primitive as build_primitive
from .primitives import register_primitive as register_primitive
from .recurrent_ops import RecurrentMixedOp as RecurrentMixedOp
from .separable_convs import SeparableConvs as SeparableConvs
from .stream_dropout import StreamDropout as StreamDropout
from .temporal_attention import TemporalAttention as TemporalAttention
