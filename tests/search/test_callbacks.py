"""Logs, early stops and schedules of a search."""

import json
import math
import os

import keras
import numpy as np
import pytest

import ser_keras as ser
from ser_keras._files import read_rows
from ser_keras.models import DropPathSchedule
from ser_keras.search.callbacks import ArchitectureLogger
from ser_keras.search.callbacks import SkipConnectionStop

SPACE = ser.SearchSpace(
    ("skip_connect", "max_pool_3x3", "none"), (), num_nodes=1
)


def make_supernet():
    return ser.SuperNet(
        SPACE, (8, 8, 1), 2, filters=2, num_cells=3, num_recurrent_cells=0
    )


def run_epochs(callback, model, epochs):
    callback.set_model(model)
    callback.on_train_begin()
    for epoch in epochs:
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, {})
    callback.on_train_end()


def test_architecture_log(tmp_path):
    supernet = make_supernet()
    supernet.architecture.alphas["normal"].assign([[9, 0, 0], [0, 1, 0]])
    path = tmp_path / "architecture.jsonl"
    run_epochs(ArchitectureLogger(path), supernet, range(2))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[1]["alphas"] == supernet.alphas()
    assert rows[1]["skip_connections"] == 1
    assert ser.Genotype.from_dict(rows[1]["genotype"]) == supernet.derive()
    entropies = []
    for row in ([9, 0, 0], [0, 1, 0]):
        p = np.exp(row) / np.sum(np.exp(row))
        entropies.append(-np.sum(p * np.log(p)) / math.log(3))
    np.testing.assert_allclose(
        rows[1]["entropy"]["normal"], np.mean(entropies), rtol=1e-6
    )


def test_architecture_log_after_a_kill(tmp_path):
    supernet = make_supernet()
    path = tmp_path / "architecture.jsonl"
    run_epochs(ArchitectureLogger(path), supernet, range(3))
    with open(path, "a") as file:
        file.write('{"epoch": 4, "alph')
    # The last checkpoint was that of epoch 2.
    run_epochs(ArchitectureLogger(path), supernet, range(2, 4))
    assert [row["epoch"] for row in read_rows(path)] == [1, 2, 3, 4]


def test_a_kill_while_the_log_is_rewritten_loses_nothing(tmp_path, monkeypatch):
    supernet = make_supernet()
    path = tmp_path / "architecture.jsonl"
    run_epochs(ArchitectureLogger(path), supernet, range(3))
    before = path.read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        run_epochs(ArchitectureLogger(path), supernet, range(2, 4))
    assert path.read_bytes() == before


def test_stop_at_skip_connections(capsys):
    supernet = make_supernet()
    alpha = supernet.architecture.alphas["normal"]
    for value, stopped in (
        ([[1, 0, 0], [0, 1, 0]], False),
        ([[1, 0, 0], [1, 0, 0]], True),
    ):
        alpha.assign(value)
        supernet.stop_training = False
        run_epochs(SkipConnectionStop(2), supernet, [0])
        assert supernet.stop_training is stopped
    assert "2 skip connections" in capsys.readouterr().out


def test_drop_path_rises_linearly():
    genotype = ser.SearchSpace(num_nodes=1).sample(0)
    network = ser.CellNetwork(
        genotype,
        (8, 8, 1),
        2,
        filters=2,
        num_cells=3,
        recurrent_filters=2,
        drop_path_rate=0.4,
    )
    network.compile("sgd", "sparse_categorical_crossentropy")
    seen = []

    def rates(epoch, logs):
        cells = [*network.cells, *network.recurrent_cells]
        seen.append([float(c.drop_path.current_rate.value) for c in cells])

    network.fit(
        np.zeros((2, 8, 8, 1), "float32"),
        np.zeros(2, "int32"),
        epochs=3,
        verbose=0,
        callbacks=[
            DropPathSchedule(3),
            keras.callbacks.LambdaCallback(on_epoch_end=rates),
        ],
    )
    np.testing.assert_allclose(seen, np.outer([0, 0.2, 0.4], np.ones(4)))
