import keras
import numpy as np
import pytest
import tensorflow as tf

from ser_keras import testing
from ser_keras.training.runtime import strategy


@keras.saving.register_keras_serializable("tests")
class Scale(keras.layers.Layer):
    """A correct layer; subclasses break it in one way each."""

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, input_shape):
        self.weight = self.add_weight(shape=(), initializer="ones")

    def call(self, x):
        return x * self.factor * self.weight

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable("tests")
class ForgetsConfig(Scale):
    def get_config(self):
        return keras.layers.Layer.get_config(self)


@keras.saving.register_keras_serializable("tests")
class WrongConfig(Scale):
    def get_config(self):
        return {**super().get_config(), "factor": 1.0}


class NotRegistered(Scale):
    pass


@keras.saving.register_keras_serializable("tests")
class NoGradient(Scale):
    def call(self, x):
        return x * self.factor + 0 * tf.stop_gradient(self.weight)


@keras.saving.register_keras_serializable("tests")
class WrongType(Scale):
    def call(self, x):
        return tf.cast(super().call(x), "float64")


@keras.saving.register_keras_serializable("tests")
class WrongShape(Scale):
    def compute_output_spec(self, x):
        return keras.KerasTensor((*x.shape, 7))


X = np.linspace(-1, 1, 12, dtype="float32").reshape(4, 3)


def test_correct_layer_passes():
    output = testing.check_layer(Scale, {"factor": 2.0}, X)
    np.testing.assert_allclose(output, 2 * X)


@pytest.mark.parametrize(
    "layer_class",
    [ForgetsConfig, WrongConfig, NoGradient, WrongType, WrongShape],
)
def test_incorrect_layer_fails(layer_class):
    with pytest.raises(AssertionError):
        testing.check_layer(layer_class, {"factor": 2.0}, X)


def test_unregistered_layer_fails():
    with pytest.raises(TypeError, match="NotRegistered"):
        testing.check_layer(NotRegistered, {"factor": 2.0}, X)


@keras.saving.register_keras_serializable("tests")
class Pair(keras.layers.Layer):
    """A correct layer of two; subclasses break its precision."""

    def build(self, input_shape):
        self.inner = self.make_inner()
        self.inner.build(input_shape)

    def make_inner(self):
        return keras.layers.Dense(2, dtype=self.dtype_policy, name="inner")

    def call(self, x):
        return self.inner(x)

    def get_config(self):
        return super().get_config()


@keras.saving.register_keras_serializable("tests")
class IgnoresPolicy(Pair):
    def make_inner(self):
        return keras.layers.Dense(2, name="inner")


@keras.saving.register_keras_serializable("tests")
class FixedPolicy(Pair):
    def make_inner(self):
        return keras.layers.Dense(2, dtype="float32", name="inner")


@keras.saving.register_keras_serializable("tests")
class FixedVariable(Pair):
    def build(self, input_shape):
        super().build(input_shape)
        self.statistic = self.add_weight(
            shape=(), name="statistic", trainable=False, dtype="float32"
        )


@keras.saving.register_keras_serializable("tests")
class FixedOutput(Pair):
    def call(self, x):
        return tf.cast(super().call(x), "float32")


@keras.saving.register_keras_serializable("tests")
class ForgetsPolicy(Pair):
    def get_config(self):
        return {"name": self.name}


def test_precision_check():
    testing.check_precision(Pair, {}, X)
    testing.check_precision(FixedVariable, {}, X, float32=["statistic"])
    testing.check_precision(FixedOutput, {}, X, output_dtype="float32")
    testing.check_precision(
        FixedPolicy, {}, X, float32=["inner"], output_dtype="float32"
    )
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize(
    ("layer_class", "message"),
    [
        (IgnoresPolicy, "has the policy float64"),
        (FixedPolicy, "has the policy float32"),
        (FixedVariable, "statistic is float32"),
        (FixedOutput, "an output is float32"),
        (ForgetsPolicy, "has the policy float64"),
    ],
)
def test_precision_check_finds(layer_class, message):
    with pytest.raises(AssertionError, match=message):
        testing.check_precision(layer_class, {}, X)


def test_tf_data_check_finds_dependence_on_the_batch():
    testing.check_tf_data(Scale(3.0), X)
    with pytest.raises(AssertionError):
        testing.check_tf_data(lambda x: x - tf.reduce_max(x), X)


def test_saving_check_finds_lost_state(tmp_path):
    @keras.saving.register_keras_serializable("tests")
    class Forgets(Scale):
        def load_own_variables(self, store):
            pass

    model = keras.Sequential([keras.Input((3,)), Forgets(2.0)])
    testing.check_model_saving(model, X, tmp_path / "same.keras")
    model.layers[0].weight.assign(5.0)
    with pytest.raises(AssertionError):
        testing.check_model_saving(model, X, tmp_path / "other.keras")


@pytest.mark.parametrize("synchronized", [True, False])
def test_replica_check_finds_statistics_of_half_a_batch(synchronized):
    def build():
        model = keras.Sequential(
            [
                keras.Input((3,)),
                keras.layers.BatchNormalization(synchronized=synchronized),
                keras.layers.Dense(2),
            ]
        )
        model.compile(keras.optimizers.SGD(0.1), "mse")
        return model

    random = np.random.default_rng(0)
    x = random.normal(size=(24, 3)).astype("float32")
    y = random.normal(size=(24, 2)).astype("float32")
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    if synchronized:
        one, two = testing.check_replicas(build, dataset)
        assert one.optimizer.iterations == two.optimizer.iterations == 3
    else:
        with pytest.raises(AssertionError):
            testing.check_replicas(build, dataset)


def test_strategies():
    assert strategy("none").num_replicas_in_sync == 1
    assert strategy("mirrored").num_replicas_in_sync == 2
    assert strategy("auto").num_replicas_in_sync == 1


def test_unavailable_strategies_say_what_is_missing(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.delenv("TPU_NAME", raising=False)
    with pytest.raises(ValueError, match="`name` must be one of auto, none"):
        strategy("gpu")
    with pytest.raises(RuntimeError, match="TF_CONFIG"):
        strategy("multi_worker")
    with pytest.raises(RuntimeError, match="found no TPU"):
        strategy("tpu")
