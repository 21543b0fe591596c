"""Whoever runs a network gives the answer that its run recorded.

Every system that is registered, with every feature and clip option that it
offers, on real recordings: predictions.csv of the run, its network.keras, its
SavedModel, a SavedModel and a LiteRT file exported again, `ser_keras predict`
and the REST server must agree.

With the first value of each system's `features` its network is of the kind
that it is in a run. With the others, which change what comes before the
network, it is one that traces sooner.
"""

import itertools
import json
import typing

import numpy as np
import pytest
import scipy.special

from ser_keras._registry import load_model
from ser_keras.audio.io import load_audio
from ser_keras.cli.export import ExportConfig
from ser_keras.cli.export import export
from ser_keras.cli.predict import PredictConfig
from ser_keras.cli.predict import predict
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.parsers import load_corpus
from ser_keras.evaluation.predictions import Predictions
from ser_keras.experiments.driver import run_experiment
from ser_keras.experiments.registry import SYSTEMS
from ser_keras.experiments.registry import config_class
from ser_keras.export.litert.model import load_litert
from ser_keras.features.preprocessor import load_preprocessor
from ser_keras.genotype import CellGenotype
from ser_keras.genotype import Edge
from ser_keras.genotype import Genotype
from ser_keras.genotype import TwoStreamGenotype
from ser_keras.protocols.splits import leave_one_speaker_out
from tests.conftest import free_memory

LABELS = ("anger", "neutral")
TOLERANCE = 1e-5
# Options that change what the network reads. `whole` clips are cropped at
# random in training and never in scoring.
INPUT_OPTIONS = ("features", "clips", "normalization", "streams", "head")


def one_node(first, second):
    """A cell of one node, which adds these operations on both inputs."""
    return CellGenotype((Edge(0, 2, first), Edge(1, 2, second)), concat=(2,))


RECURRENT = Genotype(recurrent=one_node("skip_connect", "rnn_1"))
CELLS = Genotype(
    normal=one_node("skip_connect", "avg_pool_3x3"),
    reduce=one_node("max_pool_3x3", "max_pool_3x3"),
    recurrent=RECURRENT.recurrent,
)
# By streams, which one system has.
GENOTYPES = {
    "both": TwoStreamGenotype(CELLS, RECURRENT, fusion="concatenation"),
    "handcrafted": CELLS,
    "deep": RECURRENT,
}


def smaller(kind, options, folder):
    """Options of what is not searched, and of a network that traces sooner."""
    fields = typing.get_type_hints(kind)
    first = (choices(kind, "features") or [None])[0]
    if options.get("features", first) == first and "streams" not in options:
        return {"architecture": "random"} if "architecture" in fields else {}
    if "genotype" in fields:
        streams = options.get("streams", getattr(kind(), "streams", None))
        GENOTYPES[streams or "handcrafted"].save(folder / "small.json")
        return {"genotype": "small.json"}
    return {"network": "lstm"} if "network" in fields else {}


def choices(kind, name):
    """Values of an option that is a Literal; none of another, or of none."""
    hint = typing.get_type_hints(kind).get(name)
    parts = [hint, *typing.get_args(hint)]
    return [
        value
        for part in parts
        if typing.get_origin(part) is typing.Literal
        for value in typing.get_args(part)
    ]


def cases():
    """System and options: each value of each, with the others' defaults.

    And all pairs of features and clips, where most can go wrong.
    """
    for name in SYSTEMS:
        kind = config_class(name)
        options = {x: choices(kind, x) for x in INPUT_OPTIONS}
        pairs = itertools.product(
            options["features"] or [None], options["clips"] or [None]
        )
        found = [
            {
                option: value
                for option, value in zip(
                    ("features", "clips"), pair, strict=True
                )
                if value is not None
            }
            for pair in pairs
        ]
        for option in ("normalization", "streams", "head"):
            default = getattr(kind(), option, None)
            found += [{option: x} for x in options[option] if x != default]
        for case in found:
            label = "-".join(case.values()) or "defaults"
            yield pytest.param(name, case, id=f"{name}-{label}")


@pytest.fixture(scope="module")
def folds(corpora_root):
    """Four speakers, three recordings each of two classes."""
    corpus = load_corpus("emodb", corpora_root / "emodb").select(labels=LABELS)
    kept = []
    for speaker in corpus.speakers[:4]:
        for label in LABELS:
            part = [
                u for u in corpus if (u.speaker, u.label) == (speaker, label)
            ]
            kept += part[:3]
    return leave_one_speaker_out(Manifest(kept, LABELS))


@pytest.mark.parametrize(("system", "options"), list(cases()))
def test_every_consumer_gives_the_recorded_answer(
    system,
    options,
    folds,
    tmp_path,
    monkeypatch,
    serve,
    eager_training,
    empty_figures,
):
    monkeypatch.chdir(tmp_path)
    kind = config_class(system)
    fields = typing.get_type_hints(kind)
    optional = {"speed_range": 0.0, "litert": False}
    config = kind(
        output_dir="run",
        cache_dir="cache",
        fold=1,
        smoke=True,
        **{k: v for k, v in optional.items() if k in fields},
        **smaller(kind, options, tmp_path),
        **options,
    )
    result = run_experiment(config, folds)

    recorded = Predictions.load_csv("run/predictions.csv")
    test = folds[0].test
    assert recorded.ids == tuple(u.id for u in test)
    # One fold held a speaker out, so its temperature is in every export.
    assert result["temperature"] > 0
    # A power of a probability may be too small for float32, and even for 64.
    logits = np.log(recorded.probabilities.astype("float64"))
    scaled = scipy.special.softmax(logits / result["temperature"], axis=1)

    folder = tmp_path / "run/folds" / folds[0].name
    preprocessor = load_preprocessor("run")
    assert preprocessor.hash == result["preprocessor"]
    assert (
        json.loads((tmp_path / "run/preprocessor.json").read_text())["kind"]
        == system
    )
    check(keras_answers(folder, preprocessor, test), recorded.probabilities)

    # This loads the SavedModel that the run has exported.
    files = [u.path for u in test]
    rows = predict(PredictConfig(tuple(files), model="run"))["files"]
    check([list(row["probabilities"].values()) for row in rows], scaled)

    # And the server loads one that is exported again.
    export(ExportConfig("run", output="again"))
    rows = serve(tmp_path / "again", files)
    check([list(row["probabilities"].values()) for row in rows], scaled)

    litert = ExportConfig(
        "run",
        output="model.tflite",
        format="litert",
        duration=0.0 if getattr(preprocessor, "fixes_duration", 0) else 9.0,
    )
    if hasattr(preprocessor, "frontend"):
        export(litert)
        waveforms = [load_audio(u.path, 16000) for u in test]
        check(answers(load_litert("model.tflite"), waveforms), scaled)
    else:  # An extractor cannot be in such a file.
        with pytest.raises(ValueError, match="must be a Preprocessor"):
            export(litert)


@pytest.fixture(autouse=True)
def freed():
    """Graphs of a case are large, and there are many cases."""
    yield
    free_memory()


@pytest.fixture
def serve():
    """`serve(folder, files)`: answers of a REST server of this model."""
    pytest.importorskip("starlette")
    from ser_keras.serving.client import Client
    from tests.serving.conftest import running

    def ask(folder, files):
        with running(folder) as url, Client(url) as client:
            return client.predict(files)

    return ask


def answers(model, waveforms):
    """One by one, as lengths differ."""
    assert model.labels == LABELS
    return [model([clip])["probabilities"][0] for clip in waveforms]


def keras_answers(folder, preprocessor, test):
    """The network on features of each clip by itself, without any cache."""
    network = load_model(folder / "network.keras")
    features = preprocessor.compute(test)
    rows = []
    for index in range(len(test)):
        streams = getattr(features, "streams", None)
        if streams is None:
            x = features.arrays[index][None, ..., None]
        else:
            x = {
                k: s.arrays[index][None, ..., None] for k, s in streams.items()
            }
        logits = np.asarray(network(x, training=False))[0]
        exponents = np.exp(logits - logits.max())
        rows.append(exponents / exponents.sum())
    return rows


def check(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
