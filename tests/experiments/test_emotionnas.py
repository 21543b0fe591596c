"""Two streams: networks and spaces of a configuration, and bad input."""

import dataclasses

import numpy as np
import pytest

import ser_keras as ser
from ser_keras.corpora.synthetic import write_synthetic_corpus
from ser_keras.experiments.driver import run_experiment
from ser_keras.experiments.emotionnas import EmotionNASConfig
from ser_keras.experiments.emotionnas import EmotionNASExperiment
from ser_keras.features.deep_features import untrained_network
from ser_keras.features.extraction import extract_features
from ser_keras.features.extractors.keras import KerasExtractor
from ser_keras.features.feature_set import FeatureSet
from ser_keras.features.preprocessor import StreamPreprocessors
from ser_keras.features.streams import FeatureStreams
from ser_keras.genotype import FUSIONS
from tests.experiments.conftest import FOLDS
from tests.experiments.conftest import MANIFEST


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpus")
    write_synthetic_corpus(root, utterances_per_emotion=1)
    return ser.load_corpus("iemocap", root)


def smoke(**changes):
    return EmotionNASExperiment(EmotionNASConfig(smoke=True, **changes))


def features(streams):
    rng = np.random.default_rng(0)
    manifest = MANIFEST[:4]
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
def test_network_and_space_are_what_the_configuration_asks_for(streams):
    experiment = smoke(streams=streams, architecture="random")
    data, space = features(streams), experiment.space()
    assert experiment.genotype() == space.sample(experiment.config.seed)
    network = experiment.build(data, experiment.genotype())
    batch = next(iter(ser.make_dataset(data, 3, duration_frames=None)))
    assert network(batch[0]).shape == (3, 2)
    if streams == "both":
        assert space.fusions == ("supplement",)
        assert network.stream_dropout == 0.1
        assert smoke(fusion="search").space().fusions == FUSIONS
    # What is the same in all variants: each stream's own space.
    assert space.candidates(space.kinds[-1]) == ser.SearchSpace.emodarts(
        "rnn"
    ).candidates("recurrent")


@pytest.mark.parametrize("streams", ["both", "handcrafted", "deep"])
def test_features_are_those_of_the_streams(streams, capsys):
    preprocessor = smoke(streams=streams).preprocessor()
    sizes = {"handcrafted": 16, "deep": 32}
    both = streams == "both"
    assert isinstance(preprocessor, StreamPreprocessors) == both
    assert preprocessor.num_features == (sizes if both else sizes[streams])
    # A deep stream without an extractor is no result.
    told = "UNTRAINED" in capsys.readouterr().out
    assert told == (streams != "handcrafted")


def test_derivatives_are_features_of_their_own_size(corpus):
    experiment = smoke(streams="handcrafted", features="mfcc_deltas")
    features = experiment.preprocessor().compute(corpus[:3])
    assert features.num_features == 3 * 16
    for array in features.arrays:
        np.testing.assert_allclose(array.std(0), 1, atol=1e-3)
    network = experiment.build(features, experiment.space().sample(0))
    assert network.feature_shape == (None, 48, 1)


def test_layers_of_an_encoder_are_mixed():
    for streams in ("both", "deep"):
        experiment = smoke(streams=streams, deep_layers=5)  # Of 5 features.
        network = experiment.build(
            features(streams), experiment.space().sample(0)
        )
        encoder = network.deep_encoder if streams == "both" else network
        assert encoder.mixture.num_layers == 5
    with pytest.raises(ValueError, match="`deep_layers` must be a positive"):
        smoke(deep_layers=0)
    with pytest.raises(ValueError, match="are 32 in all.*layers=5"):
        smoke(deep_layers=5).preprocessor()


def test_features_that_do_not_fit_leave_no_folder(corpus, tmp_path):
    """A corrected command would be refused in it."""
    speakers = corpus.speakers
    kept = corpus.select(speakers=speakers[:3])
    own = KerasExtractor(untrained_network(), hop=0.128)
    extract_features(kept, own, tmp_path / "c", verbose=False)
    (store,) = (tmp_path / "c").iterdir()
    config = EmotionNASConfig(
        smoke=True,
        streams="deep",
        architecture="hand_made",
        batch_size=2,
        deep_extractor=str(store),
        output_dir=str(tmp_path / "run"),
    )
    other = corpus.select(speakers=speakers[3:7])
    with pytest.raises(ValueError, match="of another corpus"):
        run_experiment(config, ser.protocols.leave_one_speaker_out(other))
    assert not (tmp_path / "run").exists()
    preprocessor = EmotionNASExperiment(config).preprocessor()
    assert len(preprocessor.compute(kept)) == len(kept)


def test_the_architecture_made_by_hand_is_of_the_searched_size():
    """In the space itself, and no smaller or larger than random ones."""
    config = EmotionNASConfig(architecture="hand_made")
    experiment, data = EmotionNASExperiment(config), features("both")
    genotype = experiment.genotype()
    assert experiment.space().contains(genotype)
    assert genotype.count("sep_conv_3x3") == 6  # Three nodes, two cells.
    assert genotype.count("lstm_att_2") == 6  # Three nodes, two streams.

    def parameters(genotype):
        return experiment.build(data, genotype).count_params()

    others = [parameters(experiment.space().sample(seed)) for seed in range(5)]
    assert min(others) < parameters(genotype) < max(others)


@pytest.mark.parametrize("streams", ["both", "handcrafted", "deep"])
def test_controls_are_taken_without_a_search(streams):
    for fusion in ("gating", "search"):
        experiment = smoke(
            streams=streams, fusion=fusion, architecture="hand_made"
        )
        assert not experiment.searches
        genotype = experiment.genotype()
        assert genotype.count("lstm_att_2") == 1 + (streams == "both")
        if streams == "both":
            taken = "concatenation" if fusion == "search" else fusion
            assert genotype.fusion == taken
        network = experiment.build(features(streams), genotype)
        assert network.num_classes == 2


def test_a_genotype_of_the_wrong_number_of_streams_is_refused(
    tmp_path, no_audio
):
    file = tmp_path / "genotype.json"
    smoke(streams="deep").space().sample(0).save(file)
    config = EmotionNASConfig(
        smoke=True, genotype=str(file), output_dir=str(tmp_path / "run")
    )
    with pytest.raises(ValueError, match="must be a genotype of two streams"):
        run_experiment(config, FOLDS)
    assert not (tmp_path / "run").exists()
    alone = dataclasses.replace(config, streams="deep")
    assert EmotionNASExperiment(alone).genotype().normal is None
