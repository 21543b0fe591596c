"""Makes the files of this folder; see README.md."""

import gzip
import os
import sys

import keras
import numpy as np

import ser_keras as ser
from ser_keras.genotype import TwoStreamGenotype

SHAPE, DEEP_SHAPE = (None, 10, 1), (None, 6, 1)
SIZE = {"filters": 2, "num_cells": 3, "recurrent_filters": 4}


def make_models():
    """Small networks of every kind, with random weights."""
    space = ser.SearchSpace(
        (
            "sep_conv_3x3",
            "dil_conv_3x3",
            "max_pool_3x3",
            "skip_connect",
            "none",
        ),
        ("lstm_2", "lstm_att_2", "rnn_1", "skip_connect", "none"),
        num_nodes=2,
    )
    deep = ser.SearchSpace((), ("lstm_att_1", "rnn_2"), num_nodes=1)
    sample = ser.TwoStreamSearchSpace(space, deep).sample(1)
    models = {
        "cell_network": ser.CellNetwork(
            space.sample(3),
            SHAPE,
            3,
            auxiliary_weight=0.4,
            drop_path_rate=0.1,
            **SIZE,
        ),
        "light_sernet": ser.LightSERNet(SHAPE, 3, width=0.25, separable=True),
        "two_stream": ser.TwoStreamNet(
            TwoStreamGenotype(
                sample.handcrafted, sample.deep, "cross_attention"
            ),
            {"handcrafted": SHAPE, "deep": DEEP_SHAPE},
            3,
            handcrafted=SIZE,
            deep={"recurrent_filters": 4, "layer_mixture": 2},
            fusion_units=4,
        ),
        "supernet": ser.SuperNet(space, SHAPE, 3, seed=1, **SIZE),
        "waveform": ser.with_frontend(
            ser.CellNetwork(space.sample(5), SHAPE, 3, **SIZE),
            ser.MFCC(10, sample_rate=16000),
            ser.UtteranceNormalization(),
        ),
    }
    models["supernet"].compile()
    rng = np.random.default_rng(0)
    for model in models.values():
        for weight in model.weights:
            if weight.path.endswith(("current_rate", "seed_generator_state")):
                continue
            shape = weight.shape
            if len(shape) == 1:
                value = rng.uniform(0.5, 1.5, shape)
            else:
                inputs = np.prod(shape[:-1]) if len(shape) == 4 else shape[-2]
                value = rng.normal(scale=(2 / inputs) ** 0.5, size=shape)
            weight.assign(value)
    return models


def main():
    """Writes the files to the folder that is the argument."""
    folder = sys.argv[1]
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(1)
    arrays = {
        "features": rng.normal(size=(2, 17, 10, 1)).astype("float32"),
        "deep": rng.normal(size=(2, 5, 6, 1)).astype("float32"),
        "waveforms": rng.normal(scale=0.1, size=(2, 4000)).astype("float32"),
    }
    arrays["features"][1, 11:] = 0
    arrays["waveforms"][1] = np.sin(np.arange(4000) / 5) / 3
    inputs = {
        "two_stream": {
            "handcrafted": arrays["features"],
            "deep": arrays["deep"],
        },
        "waveform": arrays["waveforms"],
    }
    for name, model in make_models().items():
        outputs = model(inputs.get(name, arrays["features"]), training=False)
        if name == "waveform":
            outputs = outputs["probabilities"]
        arrays[name] = np.asarray(outputs)
        path = os.path.join(folder, f"{name}.keras")
        model.save(path)
        with open(path, "rb") as file, gzip.open(path + ".gz", "wb") as packed:
            packed.write(file.read())
        os.remove(path)
    np.savez_compressed(os.path.join(folder, "outputs.npz"), **arrays)


if __name__ == "__main__":
    main()
