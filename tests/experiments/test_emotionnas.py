"""Runs with two streams: configuration, networks, tables of several.

Whole runs are in tests/test_emotionnas_recipes.py.
"""

import csv
import dataclasses
import json

import numpy as np
import pytest
import soundfile
from ser_keras.experiments.deep_stream import deep_extractor
from ser_keras.experiments.deep_stream import deep_features
from ser_keras.experiments.deep_stream import untrained_network

import ser_keras as ser
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.corpora.synthetic import write_synthetic_corpus
from ser_keras.evaluation.predictions import Predictions
from ser_keras.experiments.ablation import CONTROLS
from ser_keras.experiments.ablation import VARIANTS
from ser_keras.experiments.ablation import markdown
from ser_keras.experiments.ablation import run_ablation
from ser_keras.experiments.emotionnas import EmotionNASConfig
from ser_keras.experiments.emotionnas import find_genotype
from ser_keras.experiments.emotionnas import open_with_streams
from ser_keras.experiments.emotionnas import read_streams
from ser_keras.experiments.emotionnas import run_emotionnas
from ser_keras.experiments.emotionnas_network import build_network
from ser_keras.experiments.emotionnas_network import hand_made
from ser_keras.experiments.emotionnas_network import search_space
from ser_keras.features.extraction import extract_features
from ser_keras.features.extractors.keras import KerasExtractor
from ser_keras.features.feature_set import FeatureSet
from ser_keras.features.streams import FeatureStreams
from ser_keras.genotype import FUSIONS
from ser_keras.genotype import load_genotype


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpus")
    write_synthetic_corpus(root, utterances_per_emotion=2)
    return ser.load_corpus("iemocap", root)


def smoke(**changes):
    return EmotionNASConfig(smoke=True, **changes).resolved()


def features(manifest, streams):
    rng = np.random.default_rng(0)
    sets = {
        name: FeatureSet(
            manifest,
            [rng.normal(size=(n, width)) for _ in manifest],
            frame_rate=rate,
        )
        for name, n, width, rate in (
            ("handcrafted", 30, 16, 62.5),
            ("deep", 4, 5, 8.0),
        )
    }
    return FeatureStreams(sets) if streams == "both" else sets[streams]


@pytest.mark.parametrize("streams", ["both", "handcrafted", "deep"])
def test_network_and_space_are_what_the_configuration_asks_for(corpus, streams):
    config = smoke(streams=streams, architecture="random")
    data = features(corpus, streams)
    space = search_space(config)
    network = build_network(config, space.sample(0), data)
    batch = next(iter(ser.make_dataset(data, 3, duration_frames=None)))
    assert network(batch[0]).shape == (3, len(corpus.labels))
    if streams == "both":
        assert space.fusions == ("supplement",)
        assert network.stream_dropout == 0.1
        assert search_space(smoke(fusion="search")).fusions == FUSIONS
    # What is the same in all variants: each stream's own space.
    assert space.candidates(space.kinds[-1]) == ser.SearchSpace.emodarts(
        "rnn"
    ).candidates("recurrent")


def test_derivatives_are_features_of_their_own_size(corpus, tmp_path):
    config = smoke(
        streams="handcrafted",
        features="mfcc_deltas",
        cache_dir=str(tmp_path / "c"),
    )
    features = read_streams(config, corpus[:3], None)
    assert features.num_features == 3 * 16
    for array in features.arrays:
        np.testing.assert_allclose(array.std(0), 1, atol=1e-3)
    network = build_network(config, search_space(config).sample(0), features)
    assert network.feature_shape == (None, 48, 1)


def test_layers_of_an_encoder_are_mixed(corpus, tmp_path):
    for streams in ("both", "deep"):
        data = features(corpus, streams)
        config = smoke(streams=streams, deep_layers=5)  # Of 5 features.
        network = build_network(config, search_space(config).sample(0), data)
        encoder = network.deep_encoder if streams == "both" else network
        assert encoder.mixture.num_layers == 5
    with pytest.raises(ValueError, match="`deep_layers` must be a positive"):
        smoke(deep_layers=0)
    with pytest.raises(ValueError, match="are 32 in all.*deep_layers=5"):
        own = KerasExtractor(untrained_network(), hop=0.128)
        config = dataclasses.replace(config, cache_dir=str(tmp_path))
        deep_features(config, corpus[:1], own)


def test_features_that_do_not_fit_leave_no_folder(corpus, tmp_path):
    """A corrected command would be refused in it."""
    own = KerasExtractor(untrained_network(), hop=0.128)
    extract_features(corpus[:4], own, tmp_path / "c", verbose=False)
    (store,) = (tmp_path / "c").iterdir()
    config = smoke(
        streams="deep",
        deep_extractor=str(store),
        output_dir=str(tmp_path / "run"),
    )
    with pytest.raises(ValueError, match="of another corpus"):
        open_with_streams(config, corpus[4:8], None)
    assert not (tmp_path / "run").exists()
    run, streams = open_with_streams(config, corpus[:4], None)
    assert len(streams) == 4 and run.read_json("skipped.json") == []
    # What would be refused at once is not read before.
    other = dataclasses.replace(config, seed=1)
    with pytest.raises(ValueError, match="another configuration"):
        open_with_streams(other, corpus[4:8], None)


def test_what_one_stream_skips_both_know(corpus, tmp_path):
    """A clip of noise, one that is too short for log-mel frames, bad audio."""
    folder = tmp_path / "audio"
    folder.mkdir()
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 8000)
    soundfile.write(folder / "good.wav", noise, 16000)
    soundfile.write(folder / "short.wav", noise[:500], 16000)
    (folder / "bad.wav").write_text("this is not audio")
    manifest = Manifest(
        [
            Utterance(name, str(folder / f"{name}.wav"), "anger", "s")
            for name in ("good", "short", "bad")
        ]
    )
    config = smoke(
        skip_bad_audio=True,
        output_dir=str(tmp_path / "run"),
        cache_dir=str(tmp_path / "c"),
    )
    own = KerasExtractor(untrained_network(), hop=0.128)
    run, streams = open_with_streams(config, manifest, own)
    skipped = [entry["id"] for entry in run.read_json("skipped.json")]
    assert skipped == ["short", "bad"]
    # Folds have these utterances all the same.
    assert len(streams.select(manifest)) == 1


def fake_run(probabilities):
    """A run that "predicts" what it is told, by variant."""

    def run(config, folds):
        assert not config.ablate
        name = config.output_dir.rsplit("/", 1)[1]
        assert not config.controls
        variant = (VARIANTS | CONTROLS)[name]
        assert variant.items() <= dataclasses.asdict(config).items()
        assert config.export_dir.endswith(name)
        folder = ser.training.RunFolder(config.output_dir, {"name": name})
        predictions = Predictions(
            ids=tuple("abcdefgh"),
            speakers=tuple("uuvvwwxx"),
            sexes=(None,) * 8,
            labels=[0, 1] * 4,
            probabilities=np.eye(2)[probabilities[name]],
            label_names=("calm", "anger"),
        )
        predictions.save_csv(folder.path / "predictions.csv")
        return {
            "scores": ser.score(predictions).to_dict(),
            "uar_interval_95": ser.evaluation.confidence_interval(predictions),
            "parameters": 1000.4,
            "seconds": 12.3,
            "deep_extractor": "untrained",
            "protocol": {"name": "leave-one-speaker-out"},
            "leaks_speakers": False,
            "selects_on_test": False,
        }

    return run


def test_ablation_is_one_table(tmp_path, capsys):
    right = [0, 1] * 4
    answers = {
        "handcrafted": [0, 1, 0, 1, 0, 0, 0, 0],
        "deep": [0] * 8,
        "concatenation": [0, 1, 0, 1, 0, 1, 0, 0],
        "supplement": right,
    }
    config = EmotionNASConfig(ablate=True, output_dir=str(tmp_path / "run"))
    table = run_ablation(config, [], fake_run(answers))
    uar = {name: row["uar"] for name, row in table["variants"].items()}
    assert uar == {
        "handcrafted": 0.75,
        "deep": 0.5,
        "concatenation": 0.875,
        "supplement": 1.0,
    }
    assert len(table["comparisons"]) == 6
    best = next(
        row
        for row in table["comparisons"]
        if (row["variant"], row["reference"]) == ("supplement", "deep")
    )
    assert (best["first"], best["second"]) == (1.0, 0.5)
    assert best["difference"] == 0.5
    # 16 exchanges of four speakers; only none and all are so far apart.
    assert best["p_value"] == 2 / 16
    folder = tmp_path / "run"
    assert json.loads((folder / "ablation.json").read_text()) == table
    with open(folder / "ablation.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == list(VARIANTS)
    assert [float(row["uar"]) for row in rows] == list(uar.values())
    text = (folder / "ablation.md").read_text()
    assert "| both, supplement | 1.000 |" in text
    assert "+0.500" in text
    assert text in capsys.readouterr().out
    assert "Protocol: leave-one-speaker-out: new speakers." in text
    told = markdown({**table, "selects_on_test": True})
    assert "leave-one-speaker-out: OVERSTATES: selects on test." in told
    assert "**THIS SCORE OVERSTATES: the epoch is selected on the test" in told


def test_controls_are_added_to_a_finished_ablation(tmp_path):
    answers = dict.fromkeys([*VARIANTS, *CONTROLS], [0, 1] * 4)
    answers["random"] = answers["hand_made"] = [0, 1, 0, 1, 0, 0, 0, 0]
    config = EmotionNASConfig(ablate=True, output_dir=str(tmp_path / "run"))
    run_ablation(config, [], fake_run(answers))
    config = dataclasses.replace(config, controls=True)
    table = run_ablation(config, [], fake_run(answers))
    assert list(table["variants"]) == [*VARIANTS, "random", "hand_made"]
    assert len(table["comparisons"]) == 15
    text = (tmp_path / "run/ablation.md").read_text()
    name = "both, supplement, architecture made by hand"
    assert f"| {name} | 0.750 |" in text
    assert f"| {name} - both, supplement | -0.250 |" in text


def test_controls_need_an_ablation():
    with pytest.raises(ValueError, match="give `ablate` as well"):
        EmotionNASConfig(controls=True)


def test_the_architecture_made_by_hand_is_of_the_searched_size(corpus):
    """In the space itself, and no smaller or larger than random ones."""
    config = EmotionNASConfig(architecture="hand_made")
    space, data = search_space(config), features(corpus, "both")
    genotype = hand_made(config)
    assert space.contains(genotype)
    assert genotype.count("sep_conv_3x3") == 6  # Three nodes, two cells.
    assert genotype.count("lstm_att_2") == 6  # Three nodes, two streams.

    def parameters(genotype):
        return build_network(config, genotype, data).count_params()

    others = [parameters(space.sample(seed)) for seed in range(5)]
    assert min(others) < parameters(genotype) < max(others)


@pytest.mark.parametrize("streams", ["both", "handcrafted", "deep"])
def test_controls_are_taken_without_a_search(corpus, tmp_path, streams):
    for fusion in ("gating", "search"):
        config = smoke(streams=streams, fusion=fusion, architecture="hand_made")
        run = ser.training.RunFolder(tmp_path / fusion, {})
        genotype = find_genotype(config, features(corpus, streams), run)
        assert load_genotype(run.path / "genotype.json") == genotype
        assert genotype.count("lstm_att_2") == 1 + (streams == "both")
        if streams == "both":
            taken = "concatenation" if fusion == "search" else fusion
            assert genotype.fusion == taken
        network = build_network(config, genotype, features(corpus, streams))
        assert network.num_classes == len(corpus.labels)


def test_files_that_are_no_extractor_are_refused(tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match="nowhere.tflite"):
        deep_extractor(smoke(deep_extractor=str(tmp_path / "nowhere.tflite")))
    text = tmp_path / "notes.txt"
    text.write_text("no network")
    with pytest.raises(ValueError, match="must be a .tflite"):
        deep_extractor(smoke(deep_extractor=str(text)))
    assert deep_extractor(smoke()).num_features == 32
    assert "UNTRAINED" in capsys.readouterr().out


def test_a_genotype_of_the_wrong_number_of_streams_is_refused(corpus, tmp_path):
    file = tmp_path / "genotype.json"
    search_space(smoke(streams="deep")).sample(0).save(file)
    config = EmotionNASConfig(
        smoke=True, genotype=str(file), output_dir=str(tmp_path / "run")
    )
    with pytest.raises(ValueError, match="must be a genotype of two streams"):
        run_emotionnas(config, ser.protocols.leave_one_session_out(corpus))
    assert not (tmp_path / "run").exists()


def test_the_untrained_network_is_the_same_everywhere():
    x = np.random.default_rng(0).normal(size=(1, 16000)).astype("float32")
    first, second = untrained_network()(x), untrained_network()(x)
    np.testing.assert_array_equal(first, second)
    assert first.shape[1:] == (8, 32)
