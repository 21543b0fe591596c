"""Three tiny folds, one process each or all in this one: see test_processes."""

import functools

import keras

import ser_keras as ser
from ser_keras.audio.augmentation.layers import SpecAugment


def build_network(units, fold, run):
    return keras.Sequential(
        [
            keras.Input((None, 8, 1)),
            keras.layers.Reshape((-1, 8)),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(units, "tanh"),
            keras.layers.Dense(3),
        ]
    )


def main(folder, jobs):
    # Beside this file; what only collects its doctests has no such path.
    from killed_run import make_features

    features = make_features("abcd", 1, utterances=24)
    ser.cross_validate(
        functools.partial(build_network, 4),
        features,
        ser.protocols.leave_one_speaker_out(features.manifest)[:3],
        run=ser.training.RunFolder(folder, {"seed": 0}),
        jobs=jobs,
        exposed=None,  # There is no audio.
        epochs=2,
        batch_size=4,
        duration_frames=12,
        augment=SpecAugment(max_time_width=3, max_feature_width=2),
    )
