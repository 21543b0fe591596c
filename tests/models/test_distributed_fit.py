"""Networks on two replicas train as on one device, whatever the batches."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ser_keras as ser
from ser_keras.optimizers.fused import FusedSGD
from ser_keras.training.runtime import strategy
from tests.models.small_network import SITUATIONS
from tests.models.small_network import SPACE
from tests.models.small_network import Small
from tests.models.small_network import arrays
from tests.models.small_network import batches
from tests.models.small_network import clips
from tests.models.small_network import trained


def check_equal(one, two):
    for a, b in zip(one[0].weights, two[0].weights, strict=True):
        np.testing.assert_allclose(
            np.array(b.value), np.array(a.value), atol=1e-5, err_msg=a.path
        )
    assert set(one[1]) == set(two[1])
    for name, values in one[1].items():
        np.testing.assert_allclose(two[1][name], values, 1e-5, err_msg=name)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_equal_to_one_device(situation):
    fit = SITUATIONS[situation]
    steps_per_execution = 1 + list(SITUATIONS).index(situation) % 2
    two = trained("mirrored", fit(), steps_per_execution)
    assert two[0].distribute_strategy.num_replicas_in_sync == 2
    check_equal(trained("none", fit()), two)


def test_eager_steps():
    fit = SITUATIONS["fewer clips than replicas"]
    two = trained("mirrored", fit(), run_eagerly=True)
    check_equal(trained("none", fit()), two)


def test_evaluate_is_the_mean_over_clips():
    one, _ = trained("none", SITUATIONS["uneven"]())
    two, _ = trained("mirrored", SITUATIONS["uneven"]())
    for data in (batches(15, 7), batches(1, 7)):
        np.testing.assert_allclose(
            two.evaluate(data, verbose=0), one.evaluate(data, verbose=0), 1e-5
        )
    x, y, weights = clips(15)
    found = [
        model.evaluate(x, y, 7, 0, sample_weight=weights, return_dict=True)
        for model in (one, two)
    ]
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        np.testing.assert_allclose(found[1][name], value, 1e-5, err_msg=name)


def test_callbacks_are_called_as_by_keras():
    seen = {}

    class Recorder(keras.callbacks.Callback):
        def __init__(self, name):
            super().__init__()
            self.calls = seen[name] = []

        def __getattribute__(self, name):
            if name.startswith("on_"):
                return lambda *args, logs=None: self.calls.append(
                    (name, *(x for x in args if isinstance(x, int)))
                )
            return super().__getattribute__(name)

    for devices in ("none", "mirrored"):
        fit = SITUATIONS["fewer clips than replicas"]()
        trained(devices, fit | {"callbacks": [Recorder(devices)]})
    assert ("on_epoch_end", 1) in seen["none"]
    assert seen["mirrored"] == seen["none"]


def test_a_callback_stops_the_training():
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 1

    fit = SITUATIONS["uneven"]() | {"callbacks": [Stop()]}
    model, history = trained("mirrored", fit)
    assert len(history["loss"]) == 1
    assert int(model.optimizer.iterations.numpy()) == 2


def test_backup_of_keras_is_resumed(tmp_path):
    fit = SITUATIONS["uneven"]()

    class Killed(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    def backup():
        return keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))

    with pytest.raises(KeyboardInterrupt):
        trained("mirrored", fit | {"callbacks": [backup(), Killed()]})
    with strategy("mirrored").scope():
        model = Small()
        model.compile(
            FusedSGD(0.1, momentum=0.9),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
    model.fit(**fit, epochs=2, verbose=0, callbacks=[backup()])
    whole, _ = trained("none", fit)
    for a, b in zip(whole.weights, model.weights, strict=True):
        np.testing.assert_allclose(
            np.array(b.value), np.array(a.value), atol=1e-5, err_msg=a.path
        )


def generator():
    yield clips(7)[:2]


@pytest.mark.parametrize(
    ("fit", "compiled", "message"),
    [
        ({"x": generator()}, {}, "tf.data.Dataset or as arrays"),
        (
            {"x": batches(15, 7).filter(lambda *_: True)},
            {},
            "assert_cardinality",
        ),
        ({"x": batches(15, 7).repeat()}, {}, "needs `steps_per_epoch`"),
        ({"x": batches(15, 7).take(0)}, {}, "no batch"),
        ({"x": batches(15, 7)}, {"jit_compile": True}, "--xla off"),
        (arrays(15, validation_split=1.0), {}, "both sides"),
        (arrays(15, weights=True, class_weight={0: 2.0}), {}, "not both"),
        (
            {"x": batches(15, 7), "validation_split": 0.5},
            {},
            "needs arrays",
        ),
    ],
)
def test_what_cannot_be_is_said_before(fit, compiled, message):
    with pytest.raises(ValueError, match=message):
        trained("mirrored", fit, **compiled)


@pytest.mark.parametrize("order", [1, 2])
def test_search_with_fewer_clips_than_replicas(order):
    """Last batches are of 1 and of 3 clips: one half has an empty part."""
    searched = []
    for devices in ("none", "mirrored"):
        keras.utils.set_random_seed(0)
        with strategy(devices).scope():
            supernet = ser.SuperNet(
                SPACE,
                (5, 4, 1),
                3,
                seed=0,
                num_cells=0,
                recurrent_filters=4,
                dropout=0.0,
            )
            supernet.compile(
                architecture_optimizer=keras.optimizers.SGD(1.0),
                order=order,
                metrics=["accuracy"],
                steps_per_execution=1 if devices == "none" else 2,
                run_eagerly=devices == "none",
            )
        history = supernet.fit(
            ser.bilevel(batches(15, 7), batches(17, 7, seed=1)),
            validation_data=batches(8, 7, seed=2),
            verbose=0,
        )
        searched.append((supernet, history.history))
    check_equal(*searched)
    assert np.ptp(searched[0][0].alphas()["recurrent"]) > 1e-2


def test_a_batch_at_a_time():
    x, y, _ = clips(6)
    models = []
    for devices in ("none", "mirrored"):
        fit = SITUATIONS["uneven"]()
        model, _ = trained(devices, fit)
        model.train_on_batch(x, y)
        model.reset_metrics()
        models.append((model, model.test_on_batch(x, y, return_dict=True)))
    for name, value in models[0][1].items():
        np.testing.assert_allclose(models[1][1][name], value, 1e-5)


def test_one_device_compiled_by_xla():
    fit = SITUATIONS["static"]
    one, _ = trained("none", fit())
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        model, _ = trained("none", fit(), jit_compile=True, run_eagerly=False)
    assert model.jit_compile
    for a, b in zip(one.weights, model.weights, strict=True):
        np.testing.assert_allclose(
            np.array(b.value), np.array(a.value), atol=1e-5, err_msg=a.path
        )
