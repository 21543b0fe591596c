"""Three tiny folds, one worker each or all in this process."""

import functools
import os
import sys
import time

import keras

import ser_keras as ser
from ser_keras.audio.augmentation.layers import SpecAugment
from tests.training.killed_run import make_features


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


class StopOnce(keras.callbacks.Callback):
    """Waits to be killed, before the third epoch of the first fold there.

    Writes the number of its process and, in Ray, of its node.
    """

    def __init__(self, file):
        super().__init__()
        self.file = file

    def on_epoch_begin(self, epoch, logs=None):
        if epoch != 2:
            return
        try:
            descriptor = os.open(
                self.file, os.O_CREAT | os.O_EXCL | os.O_WRONLY
            )
        except FileExistsError:
            return
        node = None
        if "ray" in sys.modules:
            node = sys.modules["ray"].get_runtime_context().get_node_id()
        os.write(descriptor, f"{os.getpid()} {node}\n".encode())
        time.sleep(600)


def main(folder, jobs, engine="local", epochs=2, callbacks=()):
    features = make_features("abcd", 1, utterances=24)
    ser.cross_validate(
        functools.partial(build_network, 4),
        features,
        ser.protocols.leave_one_speaker_out(features.manifest)[:3],
        run=ser.training.RunFolder(folder, {"seed": 0}),
        jobs=jobs,
        engine=engine,
        exposed=None,  # There is no audio.
        epochs=epochs,
        batch_size=4,
        duration_frames=12,
        callbacks=callbacks,
        augment=SpecAugment(max_time_width=3, max_feature_width=2),
    )
