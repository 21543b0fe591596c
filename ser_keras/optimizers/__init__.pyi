from .fused import FusedAdamW as FusedAdamW
from .fused import FusedSGD as FusedSGD
