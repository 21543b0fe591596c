from .focal import (
    SparseCategoricalFocalCrossentropy as SparseCategoricalFocalCrossentropy,
)
