import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from ser_keras.losses import SparseCategoricalFocalCrossentropy


@pytest.fixture
def examples():
    random = np.random.default_rng(3)
    labels = random.integers(5, size=64)
    return labels, random.normal(0, 2, (64, 5)).astype("float32")


def softmax(logits):
    logits = logits.astype("float64")
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("gamma", [0.5, 2.0, 3.5])
def test_equals_the_dense_loss_of_keras(
    examples, gamma, smoothing, from_logits
):
    labels, logits = examples
    y_pred = logits if from_logits else softmax(logits).astype("float32")
    ours = SparseCategoricalFocalCrossentropy(
        gamma, from_logits=from_logits, label_smoothing=smoothing
    )
    theirs = keras.losses.CategoricalFocalCrossentropy(
        alpha=1.0,
        gamma=gamma,
        from_logits=from_logits,
        label_smoothing=smoothing,
    )
    expected = float(theirs(np.eye(5)[labels], y_pred))
    assert float(ours(labels, y_pred)) == pytest.approx(expected, rel=1e-5)
    column = ours(labels[:, None], y_pred)
    assert float(column) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_without_gamma_it_is_cross_entropy(examples, smoothing):
    labels, logits = examples
    ours = SparseCategoricalFocalCrossentropy(0, label_smoothing=smoothing)
    theirs = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=smoothing
    )
    expected = float(theirs(np.eye(5)[labels], logits))
    assert float(ours(labels, logits)) == pytest.approx(expected, rel=1e-6)


def test_definition_with_everything(examples):
    labels, logits = examples
    weights = [0.5, 1.0, 2.0, 0.0, 3.0]
    sample_weight = np.linspace(0, 1, 64)
    loss = SparseCategoricalFocalCrossentropy(
        1.5, label_smoothing=0.1, class_weights=weights
    )
    p = softmax(logits)
    q = np.eye(5)[labels] * 0.9 + 0.1 / 5
    each = -(q * (1 - p) ** 1.5 * np.log(p)).sum(axis=1)
    expected = np.mean(each * np.array(weights)[labels] * sample_weight)
    ours = loss(labels, logits, sample_weight=sample_weight)
    assert float(ours) == pytest.approx(expected, rel=1e-5)


def test_class_weights_are_those_of_fit(examples):
    labels, logits = examples
    weights = [0.5, 1.0, 2.0, 1.5, 3.0]
    loss = SparseCategoricalFocalCrossentropy(class_weights=weights)
    plain = SparseCategoricalFocalCrossentropy()
    expected = plain(labels, logits, sample_weight=np.array(weights)[labels])
    assert float(loss(labels, logits)) == pytest.approx(float(expected))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("from_logits", [True, False])
def test_gradient_is_finite_for_confident_predictions(gamma, from_logits):
    loss = SparseCategoricalFocalCrossentropy(gamma, from_logits=from_logits)
    y_pred = [[200.0, 0.0], [200.0, 0.0]] if from_logits else np.eye(2)[[0, 0]]
    y_pred = tf.constant(y_pred, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(y_pred)
        value = loss(np.array([0, 1]), y_pred)
    gradient = tape.gradient(value, y_pred).numpy()
    assert np.isfinite(float(value)) and np.isfinite(gradient).all()
    if from_logits:  # Probabilities are clipped, as in Keras.
        assert np.abs(gradient[1]).max() > 0.1  # The wrong one still learns.


def test_saved_in_a_model_and_compiled(examples, tmp_path):
    labels, logits = examples
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(5)])
    model.compile(
        "sgd",
        SparseCategoricalFocalCrossentropy(
            1.0, label_smoothing=0.1, class_weights=[1, 2, 3, 4, 5]
        ),
        jit_compile=True,
    )
    model.fit(logits, labels, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(logits, labels, verbose=0) == pytest.approx(
        model.evaluate(logits, labels, verbose=0)
    )
    config = loaded.loss.get_config()
    assert json.loads(json.dumps(config)) == model.loss.get_config()
    assert config["class_weights"] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "arguments",
    [
        {"gamma": -1},
        {"gamma": float("nan")},
        {"label_smoothing": 1.0},
        {"class_weights": [1, -1]},
        {"class_weights": []},
    ],
)
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        SparseCategoricalFocalCrossentropy(**arguments)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("labels", [[0, 4, -1], [0, 4, 1], [[0], [-1], [1]]])
def test_class_numbers_out_of_range(labels, graph, smoothing):
    loss = SparseCategoricalFocalCrossentropy(label_smoothing=smoothing)
    call = tf.function(loss) if graph else loss
    with pytest.raises(tf.errors.InvalidArgumentError, match="from 0 to 3"):
        call(tf.constant(labels), tf.zeros((3, 4)))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_numbers_out_of_range_in_xla(smoothing):
    loss = SparseCategoricalFocalCrossentropy(
        label_smoothing=smoothing, reduction=None
    )
    call = tf.function(loss, jit_compile=True)
    each = call(tf.constant([0, 4, -1]), tf.zeros((3, 4))).numpy()
    assert np.isnan(each).tolist() == [False, True, True]


@pytest.mark.parametrize("jit_compile", [False, True])
def test_training_does_not_learn_from_class_numbers_out_of_range(jit_compile):
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4)])
    model.compile(
        "sgd", SparseCategoricalFocalCrossentropy(), jit_compile=jit_compile
    )

    def fit():
        history = model.fit(np.ones((4, 5)), np.arange(1, 5), verbose=0)
        return history.history["loss"][0]

    if jit_compile:
        assert np.isnan(fit())
    else:
        with pytest.raises(
            tf.errors.InvalidArgumentError,
            match="class numbers from 0 to 3. Received others",
        ):
            fit()


def test_bad_inputs():
    with pytest.raises(ValueError, match="each of the 2 classes"):
        SparseCategoricalFocalCrossentropy(class_weights=[1, 2, 3])(
            np.array([0]), np.zeros((1, 2))
        )
    with pytest.raises(ValueError, match="not one-hot"):
        SparseCategoricalFocalCrossentropy()(np.eye(2), np.zeros((2, 2)))
