"""Genotypes: plain data that survives JSON and refuses nonsense."""

import dataclasses
import json
import subprocess
import sys

import pytest

from ser_keras.genotype import CNN_OPERATIONS
from ser_keras.genotype import RECURRENT_OPERATIONS
from ser_keras.genotype import CellGenotype
from ser_keras.genotype import Edge
from ser_keras.genotype import Genotype
from ser_keras.genotype import check_operation
from ser_keras.genotype import register_operation_name


def cell(first="sep_conv_3x3", second="skip_connect"):
    return CellGenotype((Edge(0, 2, first), Edge(1, 2, second)), (2,))


def whole():
    recurrent = CellGenotype(
        (
            Edge(0, 2, "lstm_att_2"),
            Edge(1, 2, "rnn_4"),
            Edge(1, 3, "skip_connect"),
            Edge(2, 3, "lstm_1"),
        ),
        (2, 3),
    )
    return Genotype(cell(), cell("max_pool_3x3", "dil_conv_5x5"), recurrent)


@pytest.mark.parametrize(
    "genotype",
    [whole(), Genotype(recurrent=cell("rnn_1")), Genotype(cell(), cell())],
)
def test_json_round_trip_gives_an_equal_genotype(genotype, tmp_path):
    path = tmp_path / "genotype.json"
    genotype.save(path)
    loaded = Genotype.load(path)
    assert loaded == genotype
    assert hash(loaded) == hash(genotype)
    assert loaded.cells == genotype.cells
    assert [p.name for p in tmp_path.iterdir()] == ["genotype.json"]
    assert json.loads(path.read_text())["version"] == Genotype.VERSION


def test_equality_sees_every_part():
    assert whole() == whole()
    assert len({whole(), whole(), Genotype(cell(), cell())}) == 2
    changed = dataclasses.replace(whole(), normal=cell("sep_conv_5x5"))
    assert changed != whole()
    assert Genotype(cell(), cell()) != whole()


def test_a_genotype_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        whole().normal = None


def test_edges_and_counts():
    genotype = whole()
    assert genotype.edges("reduce") == [
        [0, 2, ["max_pool_3x3"]],
        [1, 2, ["dil_conv_5x5"]],
    ]
    assert genotype.concat("recurrent") == [2, 3]
    assert genotype.recurrent.num_nodes == 2
    assert genotype.count("skip_connect") == 2
    assert genotype.count("skip_connect", "recurrent") == 1
    assert Genotype(recurrent=cell("rnn_1")).edges("normal") == []
    for name in ("lstm_att_2(0)", "output: 2, 3", "reduce"):
        assert name in genotype.describe()


@pytest.mark.parametrize(
    ("edges", "concat", "message"),
    [
        ([], [2], "needs `edges`"),
        ([Edge(0, 2, "none")], [], "needs `edges`"),
        ([Edge(2, 2, "none")], [2], "earlier state"),
        ([Edge(3, 2, "none"), Edge(0, 3, "none")], [2], "earlier state"),
        ([Edge(0, 1, "none")], [2], "earlier state"),
        ([Edge(-1, 2, "none")], [2], "earlier state"),
        ([Edge(0, 2, "none"), Edge(0, 2, "rnn_1")], [2], "twice"),
        ([Edge(0, 3, "none")], [3], "an incoming edge"),
        ([Edge(0, 2, "none")], [3], "each once"),
    ],
)
def test_impossible_cells_raise(edges, concat, message):
    with pytest.raises(ValueError, match=message):
        CellGenotype(edges, concat)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "at least one cell"),
        ({"normal": cell()}, "given together"),
        ({"recurrent": cell("sep_conv_3x3")}, "sep_conv_3x3"),
        ({"normal": cell("lstm_1"), "reduce": cell()}, "lstm_1"),
        ({"normal": cell("conv"), "reduce": cell()}, "register_primitive"),
    ],
)
def test_impossible_genotypes_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        Genotype(**arguments)


def edited(**changes):
    config = whole().to_dict()
    config["cells"]["normal"] |= changes
    return json.dumps(config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"version": 1,', "broken JSON"),
        ("", "broken JSON"),
        ("[]", "Not a genotype"),
        ("{}", "Not a genotype"),
        ('{"version": 1, "cells": []}', "Not a genotype"),
        ('{"version": 1, "cells": null}', "Not a genotype"),
        ('{"version": 1, "cells": {"normal": []}}', "Not a genotype"),
        ('{"version": 1, "cells": {"normal": null}}', "Not a genotype"),
        ('{"version": 1, "cells": {"normal": {}}}', "Not a genotype"),
        ('{"version": 1, "cells": {"cnn": {}}}', "Unknown kinds"),
        ('{"version": 1, "cells": {}}', "at least one cell"),
        ('{"version": 2, "cells": {}}', "version=2"),
        ('{"cells": {}}', "version=None"),
        (edited(edges=[[0, 2]]), "Not a genotype"),
        (edited(edges=[[0, 2, "none", 1]]), "Not a genotype"),
        (edited(edges=[["a", 2, "none"]]), "Not a genotype"),
        (edited(edges=[[0.9, 2, "none"]]), "Not a genotype"),
        (edited(edges=[[True, 2, "none"]]), "Not a genotype"),
        (edited(edges="02"), "Not a genotype"),
        (edited(concat="2"), "Not a genotype"),
        (edited(concat=["2"]), "Not a genotype"),
        (edited(edges=[[2, 2, "none"]]), "earlier state"),
        (edited(edges=[[0, 2, "conv"]]), "Unknown operation 'conv'"),
        (edited(edges=[[0, 2, "lstm_1"]]), "Unknown operation 'lstm_1'"),
    ],
)
def test_unusable_files_raise_and_are_named(text, message, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        Genotype.load(path)
    assert str(path) in str(error.value)


def test_binary_and_missing_files_are_named(tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(b"PK\x03\x04\xff\xfe\x80")
    with pytest.raises(ValueError, match="model.keras"):
        Genotype.load(path)
    with pytest.raises(FileNotFoundError, match="nothing.json"):
        Genotype.load(tmp_path / "nothing.json")


def test_operations_are_known_by_kind():
    for op in CNN_OPERATIONS:
        check_operation(op, "normal")
        check_operation(op, "reduce")
    for op in RECURRENT_OPERATIONS:
        check_operation(op, "recurrent")
    with pytest.raises(ValueError, match="kind='cnn'"):
        check_operation("none", "cnn")
    with pytest.raises(ValueError, match="family='normal'"):
        register_operation_name("x", "normal")
    register_operation_name("genotype_test_op", "recurrent")
    assert Genotype(recurrent=cell("genotype_test_op")).count("skip_connect")
    with pytest.raises(ValueError, match="genotype_test_op"):
        Genotype(cell("genotype_test_op"), cell())


def test_no_tensorflow_is_imported():
    code = (
        "import sys, ser_keras.genotype, ser_keras.search_space;"
        "heavy = {'tensorflow', 'keras', 'numpy'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
