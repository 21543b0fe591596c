import keras
import numpy as np
import pytest
import tensorflow as tf

from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.evaluation.predict import predict
from ser_keras.training.runtime import strategy


@pytest.fixture
def manifest():
    labels = ("anger", "fear", "neutral")
    return Manifest(
        [
            Utterance(
                f"u{i}", "a.wav", labels[i % 3], f"s{i % 4}", sex="female"
            )
            for i in range(22)
        ],
        labels,
    )


def network(activation=None):
    model = keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(3, activation)]
    )
    return model


def batches(manifest, size=8):
    x = np.random.default_rng(0).normal(size=(len(manifest), 5))
    x = x.astype("float32")
    pairs = (x, manifest.label_ids[: len(x)])
    return x, tf.data.Dataset.from_tensor_slices(pairs).batch(size)


@pytest.mark.parametrize("devices", ["none", "mirrored"])
def test_predict(manifest, devices):
    x, dataset = batches(manifest)
    with strategy(devices).scope():
        model = network()
    predictions = predict(model, dataset, manifest)
    logits = x @ model.get_weights()[0]
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        predictions.probabilities, expected, rtol=1e-4, atol=1e-6
    )
    assert predictions.ids == tuple(u.id for u in manifest)
    assert predictions.speakers[:2] == ("s0", "s1")
    assert predictions.sexes[0] == "female"
    np.testing.assert_array_equal(predictions.labels, manifest.label_ids)
    assert predictions.label_names == manifest.labels


def test_predict_takes_probabilities_and_inputs_alone(manifest):
    x, dataset = batches(manifest)
    model = network("softmax")
    for data in (dataset, dataset.map(lambda x, y: x)):
        predictions = predict(model, data, manifest, from_logits=False)
        np.testing.assert_allclose(
            predictions.probabilities, model(x), atol=1e-6
        )


def test_predict_needs_no_shapes_of_the_dataset(manifest):
    x, dataset = batches(manifest)
    unknown = tf.data.Dataset.from_generator(
        lambda: (rows.numpy() for rows, _ in dataset), output_types=tf.float32
    )
    assert unknown.element_spec.shape.rank is None
    model = network("softmax")
    predictions = predict(model, unknown, manifest, from_logits=False)
    np.testing.assert_allclose(predictions.probabilities, model(x), atol=1e-6)


def test_predict_makes_one_graph_of_all_parts(manifest, monkeypatch):
    _, dataset = batches(manifest)  # The last batch is shorter.
    model, traced = network(), []
    call = model.call
    monkeypatch.setattr(
        model, "call", lambda x, **kwargs: traced.append(x) or call(x, **kwargs)
    )
    for data in (dataset, batches(manifest, size=5)[1]):
        predict(model, data, manifest)
    assert len(traced) == 1


def test_predict_notices_what_does_not_belong_together(manifest):
    _, dataset = batches(manifest)
    with pytest.raises(ValueError, match=r"\(22, 3\).*\(16, 3\)"):
        predict(network(), dataset.take(2), manifest)
    with pytest.raises(ValueError, match="labels differ"):
        shuffled = dataset.unbatch().shuffle(22, seed=1).batch(8)
        predict(network(), shuffled, manifest)
    model = network()
    model.set_weights([np.full((5, 3), np.nan), np.zeros(3)])
    with pytest.raises(ValueError, match="not finite.*such as u0"):
        predict(model, dataset, manifest)
