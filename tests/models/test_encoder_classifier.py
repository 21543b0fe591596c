"""A speech encoder with a classifier: parts, padding, files."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ser_keras.audio.encoder_frames import EncoderStatistics
from ser_keras.audio.encoder_frames import front_end_of
from ser_keras.encoders import Wav2Vec2Encoder
from ser_keras.encoders import WhisperEncoder
from ser_keras.features import Preprocessor
from ser_keras.models import AttentiveClassifier
from ser_keras.models import CellNetwork
from ser_keras.models import EncoderClassifier
from ser_keras.models import StatisticsClassifier
from ser_keras.search_space import SearchSpace
from ser_keras.testing import check_model_saving

BINS, UNITS = 6, 8


def encoder():
    return WhisperEncoder(2, UNITS, 2, 16, num_mel_bins=BINS, max_frames=40)


def statistics_head():
    head = StatisticsClassifier((2, 2 * UNITS, 1), 3)
    rng = np.random.default_rng(0)
    size = 4 * UNITS
    head.set_standardization(rng.normal(size=size), rng.uniform(1, 2, size))
    return head


def attentive_head():
    return AttentiveClassifier((None, 2 * UNITS, 1), 3, num_layers=2, units=5)


def cells_head():
    genotype = SearchSpace(cnn=(), num_nodes=1).sample(0)
    return CellNetwork(
        genotype,
        (None, 2 * UNITS, 1),
        3,
        num_cells=0,
        recurrent_filters=4,
        layer_mixture=2,
    )


HEADS = [statistics_head, attentive_head, cells_head]


def clips(*lengths, seed=0):
    """Padded batch of clips, `(batch, time, bins, 1)`."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(len(lengths), max(lengths), BINS, 1))
    for row, length in zip(x, lengths, strict=True):
        row[length:] = 0
    return x.astype("float32")


@pytest.mark.parametrize("make", HEADS)
def test_padding_changes_nothing(make):
    network = EncoderClassifier(encoder(), make(), layer_numbers=(0, 2))
    # The last is longer than the encoder sees at once.
    batch = clips(50, 31, 130)
    together = np.asarray(network(batch))
    for row, length in enumerate((50, 31, 130)):
        alone = np.asarray(network(batch[row : row + 1, :length]))
        np.testing.assert_allclose(together[row], alone[0], atol=1e-5)


def test_silence_at_the_end_of_a_waveform_is_no_padding():
    """Neither where statistics are computed, nor in the network."""
    encoder = Wav2Vec2Encoder(
        1,
        UNITS,
        2,
        16,
        conv_filters=[4] * 7,
        position_kernel=4,
        position_groups=2,
    )
    rng = np.random.default_rng(0)
    clip = rng.normal(0, 0.1, 8000).astype("float32")
    clip[5000:] = 0
    head = StatisticsClassifier((2, 2 * UNITS, 1), 3)
    statistics = EncoderStatistics(encoder)
    features = Preprocessor(front_end_of(encoder))(clip[None])
    network = EncoderClassifier(encoder, head)
    np.testing.assert_allclose(
        network(features[..., None]),
        head(statistics(clip[None], lengths=np.array([8000]))[..., None]),
        atol=1e-4,
    )


@pytest.mark.parametrize("make", HEADS)
def test_files(make, tmp_path):
    network = EncoderClassifier(encoder(), make(), layer_numbers=(0, 2))
    again = check_model_saving(network, clips(20, 12), tmp_path / "n.keras")
    assert again.layer_numbers == (0, 2)


@pytest.mark.parametrize("make", HEADS)
def test_head_gets_the_states_of_its_layers(make):
    parts = encoder(), make()
    network = EncoderClassifier(*parts, layer_numbers=(2, 0))
    x = clips(30)
    states = [np.asarray(parts[0](x[..., 0])[layer]) for layer in (2, 0)]
    wanted = np.concatenate(states, -1)
    if make is statistics_head:
        wanted = np.stack(
            [np.concatenate([s.mean(1), s.std(1)], -1) for s in states], 1
        )
    np.testing.assert_allclose(
        network(x), parts[1](wanted[..., None]), atol=1e-4
    )


@pytest.mark.parametrize("make", HEADS)
def test_from_hidden_states_of_a_layer_on(make):
    parts = encoder(), make()
    whole = EncoderClassifier(*parts, layer_numbers=(1, 2))
    upper = EncoderClassifier(*parts, first_layer=1)
    assert upper.layer_numbers == (1, 2)
    batch = clips(50, 31, 130)
    states = parts[0](batch[..., 0], lengths=np.array([50, 31, 130]))[1]
    np.testing.assert_allclose(
        upper(states[..., None]), whole(batch), atol=1e-5
    )


def test_statistics_classifier_is_scikit_learns_pipeline():
    rng = np.random.default_rng(1)
    x = rng.normal(3, 2, (60, 3, 2 * UNITS)).astype("float32")
    y = rng.integers(0, 3, 60)
    rows = [2, 0]
    vectors = x[:, rows].reshape(60, -1)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
    pipeline.fit(vectors, y)
    head = StatisticsClassifier((3, 2 * UNITS, 1), 3, rows=rows)
    scale, classifier = pipeline
    head.set_standardization(scale.mean_, scale.scale_)
    head.classifier.set_weights([classifier.coef_.T, classifier.intercept_])
    np.testing.assert_allclose(
        head(x[..., None]), pipeline.decision_function(vectors), atol=1e-4
    )


@pytest.mark.parametrize(
    ("head", "layers", "message"),
    [
        (statistics_head, (0,), r"must take \(1, 16, 1\)"),
        (attentive_head, (0, 1, 2), r"must take \(None, 24, 1\)"),
        (attentive_head, (0, 3), "from 0 to 2"),
    ],
)
def test_parts_that_do_not_fit(head, layers, message):
    with pytest.raises(ValueError, match=message):
        EncoderClassifier(encoder(), head(), layers)
    with pytest.raises(ValueError, match="first_layer=2"):
        EncoderClassifier(encoder(), statistics_head(), (1, 2), first_layer=2)


@pytest.mark.parametrize("make", HEADS)
def test_all_parts_learn(make):
    network = EncoderClassifier(encoder(), make(), layer_numbers=(0, 2))
    network.compile("adam", "sparse_categorical_crossentropy")
    before = [w.numpy() for w in network.trainable_weights]
    network.fit(clips(20, 20, 12, 9), np.array([0, 1, 2, 0]), verbose=0)
    same = [
        w.path
        for w, old in zip(network.trainable_weights, before, strict=True)
        if np.array_equal(w, old)
    ]
    # Of the last layer's norms and its feed-forward all is used.
    assert not same, same
