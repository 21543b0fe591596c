"""`train_network`: which weights are scored, chosen and kept."""

import keras
import numpy as np
import pytest

import ser_keras as ser
from ser_keras.corpora.manifest import Manifest
from ser_keras.training.fit import train_network
from ser_keras.training.run_folder import RunFolder
from tests.conftest import toy_features
from tests.conftest import toy_network


def options(**changes):
    return {"epochs": 2, "batch_size": 4, "balance_classes": False} | changes


def moving_averages(epochs, steps):
    return keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.5)


def test_shared_speakers_are_refused_unless_told(tmp_path):
    features = toy_features()
    train, held_out = (
        features.select(
            Manifest([u for u in features.manifest if int(u.id[1]) in part])
        )
        for part in ((0, 1, 2, 3), (4, 5))
    )
    run = RunFolder(tmp_path, {})
    with pytest.raises(ValueError, match="different speakers"):
        train_network(
            toy_network(), train, run=run, held_out=held_out, **options()
        )


def test_averaged_weights_are_scored_and_kept(tmp_path):
    """Against averages computed here, from the weights after each step."""
    features = toy_features("ab", each=8)
    held_out = toy_features("c", each=4, seed=1)
    model = toy_network()
    weights = []

    class Record(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            weights.append([w.numpy() for w in model.trainable_variables])

    run = RunFolder(tmp_path, {})
    train_network(
        model,
        features,
        held_out=held_out,
        run=run,
        optimizer=moving_averages,
        callbacks=[Record()],
        **options(epochs=1),
    )
    # Keras' average begins with the first step's weights.
    averages = weights[0]
    for new in weights[1:]:
        averages = [
            0.5 * a + 0.5 * b for a, b in zip(averages, new, strict=True)
        ]
    assert np.abs(averages[0] - weights[-1][0]).max() > 1e-4
    for average, kept in zip(averages, model.trainable_variables, strict=True):
        np.testing.assert_allclose(kept, average, rtol=1e-4, atol=1e-6)
    scored = ser.predict(
        model, ser.make_dataset(held_out, 4), held_out.manifest
    )
    (row,) = run.rows("train")
    assert ser.score(scored).uar == pytest.approx(row["val_uar"], abs=1e-6)


@pytest.mark.parametrize("epochs", [1, 2])
def test_averages_of_the_last_epoch_after_a_resume(tmp_path, epochs):
    features = toy_features("ab", each=8)
    kept = []
    for _ in range(2):  # The second time there is nothing left to train.
        keras.utils.set_random_seed(0)
        model = toy_network()
        train_network(
            model,
            features,
            run=RunFolder(tmp_path, {}),
            optimizer=moving_averages,
            **options(epochs=epochs),
        )
        kept.append([w.numpy() for w in model.trainable_variables])
    for first, second in zip(*kept, strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_training_stopped_at_an_epoch_follows_the_whole_schedule(tmp_path):
    """Its weights are those that a longer training has after that epoch."""
    features = toy_features("ab", each=8)

    def weights(name, epochs, stop_after=None):
        kept = []

        class Record(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                kept.append(self.model.get_weights())

        keras.utils.set_random_seed(0)
        epoch = train_network(
            toy_network(),
            features,
            run=RunFolder(tmp_path / name, {}),
            stop_after=stop_after,
            callbacks=[Record()],
            **options(epochs=epochs),
        )
        assert epoch == len(kept)
        return kept

    whole, stopped = weights("whole", 4), weights("stopped", 4, stop_after=2)
    assert len(stopped) == 2
    for a, b in zip(whole[1], stopped[-1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    short = weights("short", 2)
    assert np.abs(short[-1][0] - stopped[-1][0]).max() > 1e-4
