"""Conventions of every registered layer and network, in one place.

A class enters these tests by being registered; it then needs an example below:
constructor arguments, an input, and whatever else its call needs.
"""

import dataclasses

import keras
import numpy as np
import pytest

from ser_keras._registry import register_all
from ser_keras.genotype import FUSIONS
from ser_keras.layers import register_primitive
from ser_keras.search_space import SearchSpace
from ser_keras.search_space import TwoStreamSearchSpace
from ser_keras.testing import POLICIES
from ser_keras.testing import check_layer
from ser_keras.testing import check_precision

# Three clips: two padded ones. The first has all frames.
LENGTHS = np.array([6, 4, 1])
MASK = np.arange(6) < LENGTHS[:, None]


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


SEQUENCES = normal(3, 6, 4) * MASK[..., None]
MAPS = normal(3, 6, 5, 4) * MASK[..., None, None]
PAIR = (SEQUENCES, normal(3, 2, 3))
# Added to attention scores: nothing, or what hides padding.
SCORE_BIAS = np.where(MASK, 0, -1e4).astype("float32")[:, None, None]
FEATURES = normal(3, 6, 5, 1) * MASK[..., None, None]
PAIR_OF_PRESENCE = (np.ones(3, "float32"), np.float32([1, 0, 1]))


@register_primitive("registered_test_conv", "cnn")
def user_convolution(filters, strides):
    return keras.Sequential(
        [
            keras.layers.Conv2D(filters, 1, strides, padding="same"),
            keras.layers.BatchNormalization(),
        ]
    )


@register_primitive("registered_test_gru", "recurrent")
def user_recurrence(filters):
    # Keras cannot make orthogonal matrices in bfloat16.
    return keras.layers.GRU(
        filters,
        return_sequences=True,
        recurrent_initializer="glorot_uniform",
    )


SPACE = SearchSpace(
    ("sep_conv_3x3", "skip_connect", "registered_test_conv"),
    ("rnn_1", "lstm_att_1", "registered_test_gru"),
    num_nodes=1,
)
DEEP = SearchSpace((), ("lstm_1", "skip_connect"), num_nodes=1)
SIZE = {"filters": 2, "num_cells": 3, "recurrent_filters": 3}
TWO_STREAMS = {
    "input_shape": {"handcrafted": (None, 5, 1), "deep": (None, 3, 1)},
    "num_classes": 3,
    "handcrafted": SIZE,
    "deep": {"recurrent_filters": 3},
    "fusion_units": 3,
}
ENCODER = {
    "num_layers": 2,
    "units": 4,
    "num_heads": 2,
    "feed_forward_units": 6,
    "dropout": 0.1,
}
TWO_SPACES = TwoStreamSearchSpace(SPACE, DEEP)
CLIPS = {"handcrafted": FEATURES, "deep": normal(3, 4, 3, 1)}

TWO_POLICIES = ("mixed_bfloat16", "bfloat16")

#: Layers and variables in float32 under every policy.
FLOAT32 = (
    # Classifiers, for their logits.
    *("classifier", "classifier_0", "classifier_1", "auxiliary"),
    # Variables of batch norms, and the rate of drop path.
    *("gamma", "beta", "moving_mean", "moving_variance", "current_rate"),
    # Standardisation of an encoder's statistics.
    *("mean", "deviation"),
    # Architecture parameters.
    *(f"alphas_{kind}" for kind in TWO_SPACES.kinds),
)


@dataclasses.dataclass
class Example:
    """How to make and call a layer.

    Attributes:
        config: Constructor arguments.
        inputs: First argument of a call.
        call: Other arguments.
        symbolic: Whether the first axis of inputs is the batch, so that there
            can be a functional model.
        output_dtype: Dtype of outputs under every policy; `None`: the compute
            dtype.
        policies: Dtype policies. Two of networks, whose layers have examples
            of their own: one of variables in float32, and one of none.
    """

    config: dict
    inputs: object
    call: dict = dataclasses.field(default_factory=dict)
    symbolic: bool = True
    output_dtype: str | None = None
    policies: tuple = POLICIES


def fusion(**call):
    return Example(
        {"num_classes": 3, "units": 4},
        PAIR,
        {"masks": (MASK, None), "present": PAIR_OF_PRESENCE, **call},
        output_dtype="float32",
    )


EXAMPLES = {
    "AttentionPooling": Example({"units": 4}, SEQUENCES, {"mask": MASK}),
    "MeanPooling": Example({}, SEQUENCES, {"mask": MASK}),
    "BatchNorm": Example({"affine": True}, MAPS),
    "Cell": Example(
        {
            "kind": "reduce",
            "edges": [
                [0, 2, ["sep_conv_3x3", "registered_test_conv"]],
                [1, 2, ["skip_connect", "none"]],
            ],
            "concat": [2],
            "filters": 4,
            "drop_path_rate": 0.1,
        },
        MAPS,
        {
            "newer": MAPS,
            "mask": MASK,
            "weights": np.full((2, 2), 0.5, "float32"),
        },
    ),
    "ConvMixedOp": Example(
        {
            "candidates": [
                ["sep_conv_3x3", "dil_conv_5x5"],
                ["max_pool_3x3", "registered_test_conv"],
                ["skip_connect", "avg_pool_3x3"],
            ],
            "filters": 4,
            "strides": 2,
            "affine": True,
        },
        MAPS,
        {"weights": [np.float32([0.4, 0.6])] * 3, "mask": MASK},
    ),
    "ConvNormPool": Example(
        {
            "filters": 3,
            "pool_size": [2, 2],
            "use_bias": True,
            "separable": True,
            "l2": 1e-3,
        },
        MAPS,
        {"mask": MASK},
    ),
    "DropPath": Example({"rate": 0.2, "seed": 3}, MAPS),
    "FactorizedReduce": Example(
        {"filters": 5, "num_edges": 2, "affine": True},
        MAPS,
        {"weights": np.float32([0.4, 0.6]), "mask": MASK[:, ::2]},
    ),
    "PoolNorm": Example(
        {"mode": "max", "strides": 2, "affine": True},
        MAPS,
        {"input_mask": MASK, "mask": MASK[:, ::2]},
    ),
    "ReLUConvNorm": Example(
        {"filters": 3, "affine": True}, MAPS, {"mask": MASK}
    ),
    "SeparableConvs": Example(
        {"num_edges": 2, "filters": 2, "kernel_size": 5, "stages": 2},
        MAPS,
        {"weights": np.float32([0.4, 0.6]), "mask": MASK},
    ),
    "SequenceProjection": Example({"filters": 3}, SEQUENCES),
    "LayerMixture": Example({"num_layers": 2}, MAPS[..., :1].repeat(2, 2)),
    "RecurrentMixedOp": Example(
        {
            "candidates": [
                ["lstm_att_2", "rnn_3"],
                ["registered_test_gru", "skip_connect"],
            ],
            "filters": 4,
            "shared_stacks": True,
            "dropout": 0.2,
        },
        SEQUENCES,
        {"weights": [np.float32([0.4, 0.6])] * 2, "mask": MASK},
    ),
    "RecurrentStacks": Example(
        {
            "cell": "lstm",
            "depths": [1, 2],
            "two_way_depths": [1],
            "filters": 4,
            "dropout": 0.1,
        },
        SEQUENCES.transpose(1, 0, 2)[None],
        {"lengths": LENGTHS},
        symbolic=False,
    ),
    "TemporalAttention": Example(
        {"heads": 2, "filters": 3},
        normal(2, 5, 3, 6),
        {"last": normal(2, 3, 6), "mask": MASK[:, :5]},
        symbolic=False,
    ),
    "StreamDropout": Example({"rate": 0.2, "seed": 1}, PAIR),
    "InformationSupplement": Example(
        {}, PAIR, {"masks": (MASK, None), "present": PAIR_OF_PRESENCE}
    ),
    "Fusion": dataclasses.replace(
        fusion(weights=np.full(5, 0.2, "float32")),
        config={"candidates": list(FUSIONS), "num_classes": 3, "units": 4},
    ),
    "ConcatenationFusion": fusion(),
    "CrossAttentionFusion": fusion(),
    "GatedFusion": fusion(),
    "LateFusion": fusion(),
    "SupplementFusion": fusion(),
    "SelfAttention": Example(
        {"num_heads": 2, "key_bias": False, "gated": True},
        SEQUENCES,
        {"bias": SCORE_BIAS, "position_bias": normal(2, 6, 6)},
    ),
    "TransformerLayer": Example(
        {
            "num_heads": 2,
            "feed_forward_units": 6,
            "norm_first": False,
            "dropout": 0.1,
            "epsilon": 1e-3,
        },
        SEQUENCES,
        {"bias": SCORE_BIAS},
    ),
    "RelativePositionBias": Example(
        {"num_buckets": 8, "num_heads": 2, "max_distance": 4}, SEQUENCES
    ),
    "TimeNormalization": Example({"epsilon": 1e-3}, SEQUENCES, {"mask": MASK}),
    "GroupedConvolution": Example({"kernel_size": 4, "groups": 2}, SEQUENCES),
    "WhisperEncoder": Example(
        {**ENCODER, "num_mel_bins": 4, "max_frames": 5, "final_norm": False},
        SEQUENCES,
        {"lengths": LENGTHS},
    ),
    "Wav2Vec2Encoder": Example(
        {
            **ENCODER,
            "conv_filters": [3, 4],
            "conv_kernels": [4, 3],
            "conv_strides": [2, 2],
            "position_kernel": 4,
            "position_groups": 2,
            "position_buckets": 8,
            "position_distance": 4,
            "norm_first": True,
            "final_norm": True,
        },
        normal(3, 40),
        {"lengths": np.array([40, 25, 8])},
    ),
    "CellNetwork": Example(
        {
            "architecture": SPACE.sample(seed=0),
            "input_shape": (None, 5, 1),
            "num_classes": 3,
            "auxiliary_weight": 0.4,
            "drop_path_rate": 0.1,
            "stack_dropout": 0.1,
            **SIZE,
        },
        FEATURES,
        output_dtype="float32",
        policies=TWO_POLICIES,
    ),
    "LightSERNet": Example(
        {
            "input_shape": (None, 5, 1),
            "num_classes": 3,
            "width": 0.125,
            "separable": True,
        },
        FEATURES,
        output_dtype="float32",
    ),
    "StatisticsClassifier": Example(
        {
            "input_shape": (6, 5, 1),
            "num_classes": 3,
            "rows": [2, 0],
            "dropout": 0.1,
        },
        FEATURES,
        output_dtype="float32",
    ),
    "AttentiveClassifier": Example(
        {
            "input_shape": (None, 4, 1),
            "num_classes": 3,
            "num_layers": 2,
            "units": 4,
        },
        SEQUENCES[..., None],
        output_dtype="float32",
    ),
    "TwoStreamNet": Example(
        {
            "architecture": TWO_SPACES.sample(seed=0),
            "drop_path_rate": 0.1,
            "stream_dropout": 0.1,
            **TWO_STREAMS,
        },
        CLIPS,
        output_dtype="float32",
        policies=TWO_POLICIES,
    ),
    "SuperNet": Example(
        {
            "search_space": TWO_SPACES,
            "seed": 1,
            **TWO_STREAMS,
        },
        CLIPS,
        output_dtype="float32",
        policies=TWO_POLICIES,
    ),
}

#: Registered classes without an example, and why.
EXCEPTIONS = {
    "ArchitectureWeights": "has no call: tests/layers/test_architecture.py",
    "EncoderClassifier": "its parts have policies of their own",
    "WaveformModel": "holds a front end, in float32 under every policy",
}


def registered():
    """Classes of layers and networks by name, as Keras finds them in files."""
    register_all()
    found = {}
    for name, item in keras.saving.get_custom_objects().items():
        package = getattr(item, "__module__", "").split(".")
        if (
            name.startswith("ser_keras>")
            and isinstance(item, type)
            and issubclass(item, keras.layers.Layer)
            # Front ends and augmentation compute in float32.
            and package[1] in ("encoders", "layers", "models", "search")
        ):
            found[name.removeprefix("ser_keras>")] = item
    return found


CLASSES = registered()
classes = pytest.mark.parametrize("name", sorted(set(CLASSES) - {*EXCEPTIONS}))


def test_every_class_has_an_example():
    assert set(EXAMPLES) | set(EXCEPTIONS) == set(CLASSES)


@classes
def test_layer(name):
    example = EXAMPLES[name]
    check_layer(
        CLASSES[name],
        example.config,
        example.inputs,
        symbolic=example.symbolic,
        rtol=1e-4,
        atol=1e-5,
        **example.call,
    )


@classes
def test_precision(name):
    example = EXAMPLES[name]
    check_precision(
        CLASSES[name],
        example.config,
        example.inputs,
        float32=FLOAT32,
        output_dtype=example.output_dtype,
        policies=example.policies,
        **example.call,
    )
