import keras
import numpy as np
import pytest

from ser_keras.metrics import UnweightedAverageRecall
from ser_keras.training.progress import EpochProgress
from ser_keras.training.progress import MetricsLogger
from ser_keras.training.run_folder import RunFolder


def fit(callbacks, **arguments):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(
        "sgd",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[UnweightedAverageRecall(2)],
    )
    x = np.random.default_rng(0).normal(size=(16, 3))
    y = np.arange(16) % 2
    arguments = {"epochs": 3, "validation_data": (x, y), **arguments}
    return model.fit(
        x, y, batch_size=4, verbose=0, callbacks=callbacks, **arguments
    )


def test_one_line_an_epoch(capsys):
    fit([EpochProgress(3, stage="train")])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("train  1/3  loss 0.")
    for word in ("uar 0.", "val_loss 0.", "val_uar 0.", "s/epoch", "s left"):
        assert word in lines[0], word
    assert "left" not in lines[2]


def test_line():
    progress = EpochProgress(total_epochs=100)
    logs = {"loss": 1, "other": 2, "architecture_loss": np.float32(0.5)}
    # The median of all epochs but the first, which also traces the graph.
    assert progress.line(4, logs, [90.0, 40.0, 41.0, 50.0]) == (
        "search    4/100  loss 1.0000  architecture_loss 0.5000  41.0 s/epoch"
        "  1 h 05 min left"
    )
    assert progress.line(99, {}, [125.4]) == (
        "search   99/100  125 s/epoch  2 min 06 s left"
    )
    with pytest.raises(ValueError, match="total_epochs=0"):
        EpochProgress(0)


def test_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    progress = EpochProgress(3, stage="train")
    fit([progress])
    out = capsys.readouterr().out
    assert "train  3/3  loss" in out
    assert progress._bar is None

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit([progress, Stop()])
    bar = progress._bar
    assert bar.live.is_started
    fit([progress])  # A second training stops the bar that was left.
    assert not bar.live.is_started


def test_metrics_logger(tmp_path):
    run = RunFolder(tmp_path, {})
    history = fit([MetricsLogger(run, "train")]).history
    rows = run.rows("train")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for name in ("loss", "uar", "val_loss", "val_uar"):
        assert [row[name] for row in rows] == history[name]
    assert all(row["seconds"] > 0 for row in rows)


def test_metrics_logger_drops_epochs_that_run_again(tmp_path):
    run = RunFolder(tmp_path, {})
    logger = MetricsLogger(run, "train")
    fit([logger])
    first = run.rows("train")
    # The checkpoint is from the end of epoch 2.
    fit([logger], initial_epoch=2, epochs=4)
    rows = run.rows("train")
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert rows[:2] == first[:2] and rows[2] != first[2]
