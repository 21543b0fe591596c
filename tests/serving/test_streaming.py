import tracemalloc

import numpy as np
import pytest
import soundfile

from ser_keras.audio.encoder_frames import front_end_of
from ser_keras.audio.fixed_duration import FixedDuration
from ser_keras.audio.io import stream_audio
from ser_keras.experiments.encoder import _untrained
from ser_keras.export.litert.export import export_litert
from ser_keras.export.litert.model import load_litert
from ser_keras.export.saved_model.export import export_saved_model
from ser_keras.export.saved_model.model import load_saved_model
from ser_keras.models.encoder_classifier import AttentiveClassifier
from ser_keras.models.encoder_classifier import EncoderClassifier
from ser_keras.models.encoder_classifier import StatisticsClassifier
from ser_keras.models.waveform_model import with_frontend
from ser_keras.serving.streaming import StreamingRecognizer

RATE = 100
LABELS = ("low", "middle", "high")
CLASSES = ("anger", "happiness", "neutral", "sadness")


class Means:
    """Probabilities that depend on each sample and its place."""

    labels, sample_rate = LABELS, RATE

    def __call__(self, clips):
        rows = []
        for clip in clips:
            weights = np.linspace(1, 2, len(clip))
            level = [clip.mean(), clip @ weights / len(clip), clip[-1]]
            rows.append(np.exp(level) / np.exp(level).sum())
        return {"probabilities": np.array(rows)}


def naive_windows(x, window, hop, rate=RATE):
    """Ends and windows of a whole recording, in samples."""
    size = round(window * rate)
    ends, number = [], 0
    while (end := round(number * hop * rate) + size) <= len(x):
        ends.append(end)
        number += 1
    if not ends or ends[-1] < len(x):
        ends.append(len(x))
    return ends, [x[max(end - size, 0) : end] for end in ends]


def pieces(x, rng, largest):
    """Chunks of random sizes, some of them empty."""
    cuts = np.cumsum(rng.integers(0, largest, size=2 * len(x) // largest + 2))
    return np.split(x, cuts[cuts < len(x)])


@pytest.mark.parametrize(
    "window, hop", [(3, 1), (1, 1), (0.5, 1.3), (2, 0.333)]
)
@pytest.mark.parametrize("samples", [1, 40, 300, 500, 1234])
def test_windows_equal_those_of_the_whole_array(window, hop, samples):
    rng = np.random.default_rng(samples)
    x = rng.normal(size=samples).astype("float32")
    ends, windows = naive_windows(x, window, hop)
    recognizer = StreamingRecognizer(
        Means(), window=window, hop=hop, smoothing=None
    )
    expected = Means()(windows)["probabilities"]
    for largest in (2, 7, 150, 3000):
        updates = list(recognizer.stream(pieces(x, rng, largest)))
        assert [time for time, *_ in updates] == [end / RATE for end in ends]
        np.testing.assert_allclose(
            [p for _, p, _ in updates], expected, rtol=1e-6
        )
        names = [LABELS[p.argmax()] for p in expected]
        assert [label for *_, label in updates] == names


def test_updates_come_as_soon_as_their_window_is_complete():
    given = []

    def chunks():
        for _ in range(60):
            given.append(10)
            yield np.zeros(10)

    recognizer = StreamingRecognizer(Means(), window=2.0, hop=1.0)
    for update in recognizer.stream(chunks()):
        assert sum(given) == round(update.time * RATE)


@pytest.fixture
def noise():
    return np.random.default_rng(0).normal(size=1550).astype("float32")


def test_exponential_smoothing(noise):
    ends, windows = naive_windows(noise, 3, 1)
    raw = Means()(windows)["probabilities"]
    times = np.array(ends) / RATE
    # Its closed form: every window weighs what time has left of it.
    recognizer = StreamingRecognizer(Means(), smoothing_seconds=2.5)
    updates = list(recognizer.stream([noise]))
    for n, (time, probabilities, _) in enumerate(updates):
        decay = np.exp(-(time - times[: n + 1]) / 2.5)
        steps = np.diff(times[: n + 1])
        share = np.append(1.0, 1 - np.exp(-steps / 2.5))
        expected = (decay * share) @ raw[: n + 1]
        np.testing.assert_allclose(probabilities, expected, rtol=1e-9)
    assert times[-1] - times[-2] == 0.5  # The last step is a shorter one.


def test_median_smoothing(noise):
    _, windows = naive_windows(noise, 3, 1)
    raw = Means()(windows)["probabilities"]
    recognizer = StreamingRecognizer(
        Means(), smoothing="median", smoothing_seconds=5.0
    )
    for n, (_, probabilities, _) in enumerate(recognizer.stream([noise])):
        expected = np.median(raw[max(n - 4, 0) : n + 1], axis=0)
        np.testing.assert_allclose(probabilities, expected / expected.sum())


def test_median_of_contradictory_windows():
    class Sure(Means):
        def __call__(self, clips):
            return {"probabilities": np.eye(3)[[int(c[-1]) for c in clips]]}

    recognizer = StreamingRecognizer(
        Sure(), window=1, smoothing="median", smoothing_seconds=3
    )
    chunks = [np.full(100, float(i)) for i in range(3)]
    *_, (_, probabilities, _) = recognizer.stream(chunks)
    np.testing.assert_allclose(probabilities, np.full(3, 1 / 3))


def test_memory_does_not_grow():
    def peak(seconds):
        block = np.ones(1000)
        tracemalloc.start()
        for _ in recognizer.stream(block for _ in range(seconds // 10)):
            pass
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    recognizer = StreamingRecognizer(Means())
    peak(1000)
    # Held whole, the longer one would take 8 MB more as float64.
    assert peak(11000) < peak(1000) + 50_000


def test_streams_do_not_disturb_each_other(noise):
    recognizer = StreamingRecognizer(Means())
    alone = [p for _, p, _ in recognizer.stream([noise])]
    pairs = zip(
        recognizer.stream([noise]), recognizer.stream([-noise]), strict=True
    )
    together = [first[1] for first, _ in pairs]
    np.testing.assert_array_equal(together, alone)


def test_bad_streams():
    recognizer = StreamingRecognizer(Means())
    for chunks in ([], [np.zeros(0)]):
        with pytest.raises(ValueError, match="an empty stream"):
            list(recognizer.stream(chunks))
    good = np.zeros(250)
    bad = np.zeros(100)
    bad[[50, 70]] = np.nan, np.inf
    with pytest.raises(ValueError, match="2 NaN or .* first 3.000 s into"):
        list(recognizer.stream([good, bad]))
    for chunk in (np.zeros(9, "int16"), np.zeros((9, 2)), 0.5, ["a"]):
        with pytest.raises(ValueError, match="float arrays .* 2.500 s into"):
            list(recognizer.stream([good, chunk]))


def test_invalid_arguments(waveform_model):
    for name in ("window", "hop", "smoothing_seconds"):
        for value in (0, -1.0, float("inf"), float("nan"), "3"):
            with pytest.raises(ValueError, match=f"`{name}` must be positive"):
                StreamingRecognizer(Means(), **{name: value})
    for window in (1e-6, 0.001):
        with pytest.raises(ValueError, match=f"one frame.*window={window}"):
            StreamingRecognizer(Means(), window=window)
    with pytest.raises(ValueError, match="one sample, 0.01 s.*hop=0.009"):
        StreamingRecognizer(Means(), hop=0.009)
    with pytest.raises(ValueError, match="`smoothing` must be"):
        StreamingRecognizer(Means(), smoothing="mean")
    with pytest.raises(ValueError, match="`predictor` must take waveforms"):
        StreamingRecognizer(lambda clips: clips)
    with pytest.raises(ValueError, match="`labels` must be given for"):
        StreamingRecognizer(Means(), LABELS)
    for labels in (None, LABELS):
        with pytest.raises(ValueError, match="as many as the model's 4"):
            StreamingRecognizer(waveform_model, labels)


class Clips(Means):
    """Takes clips of 0.5 s to 2 s."""

    samples, min_samples = 200, 50


def test_window_of_a_predictor_with_limits():
    assert StreamingRecognizer(Clips()).window == 2
    assert StreamingRecognizer(Means()).window == 3
    StreamingRecognizer(Clips(), window=0.5)
    with pytest.raises(ValueError, match="longer .* 2 s. .*window=2.01"):
        StreamingRecognizer(Clips(), window=2.01)
    with pytest.raises(ValueError, match="one frame .* 0.5 s.*window=0.49"):
        StreamingRecognizer(Clips(), window=0.49)
    with pytest.raises(ValueError, match="50 samples.*stream of 49 samples"):
        list(StreamingRecognizer(Clips()).stream([np.zeros(49)]))


def test_a_keras_front_end_of_one_duration_is_known(waveform_model):
    frontend = FixedDuration(waveform_model.frontend, 1.5)
    model = with_frontend(waveform_model.model, frontend)
    assert StreamingRecognizer(model, "abcd").window == 1.5
    with pytest.raises(ValueError, match="`window` must not be longer"):
        StreamingRecognizer(model, "abcd", window=1.6)


@pytest.fixture(scope="module")
def lite(waveform_model, tmp_path_factory):
    """`waveform_model` as a LiteRT file."""
    path = tmp_path_factory.mktemp("lite") / "m.tflite"
    return load_litert(export_litert(waveform_model, path, CLASSES))


def test_same_answers_from_keras_savedmodel_and_litert(
    waveform_model, lite, recordings, tmp_path
):
    served = load_saved_model(
        export_saved_model(waveform_model, tmp_path / "m", CLASSES)
    )
    x = np.concatenate(recordings)[:130000]
    predictors = ((waveform_model, CLASSES), (served, None), (lite, None))
    results = [
        list(StreamingRecognizer(*arguments).stream(np.array_split(x, 9)))
        for arguments in predictors
    ]
    assert len(results[0]) == 7
    for other in results[1:]:
        assert [u.label for u in other] == [u.label for u in results[0]]
        np.testing.assert_allclose(
            [u.probabilities for u in other],
            [u.probabilities for u in results[0]],
            atol=1e-4,
        )


def test_a_file_block_by_block(recordings, tmp_path):
    x = np.concatenate(recordings)
    path = tmp_path / "long.wav"
    soundfile.write(path, x, 16000, "FLOAT")

    class Wide(Means):
        sample_rate = 16000

    recognizer = StreamingRecognizer(Wide(), smoothing=None)
    updates = list(recognizer.stream(stream_audio(path, 16000, 0.3)))
    ends, windows = naive_windows(x, 3, 1, 16000)
    assert [u.time for u in updates] == [end / 16000 for end in ends]
    np.testing.assert_allclose(
        [u.probabilities for u in updates],
        Means()(windows)["probabilities"],
        rtol=1e-5,
    )


def test_a_stream_shorter_than_one_frame(lite):
    recognizer = StreamingRecognizer(lite)
    with pytest.raises(ValueError, match="at least one frame"):
        list(recognizer.stream([np.zeros(100)]))


@pytest.mark.parametrize("head", ["statistics", "attentive"])
def test_a_classifier_on_an_encoder(recordings, head):
    """Windows get the answers that the model has of them as clips."""
    encoder = _untrained()
    network = {
        "statistics": lambda: StatisticsClassifier((3, 64, 1), 4),
        "attentive": lambda: AttentiveClassifier(
            (None, 96, 1), 4, num_layers=3, units=8
        ),
    }[head]()
    model = with_frontend(
        EncoderClassifier(encoder, network, (0, 1, 2)), front_end_of(encoder)
    )
    recognizer = StreamingRecognizer(
        model, labels="abcd", window=1.0, hop=0.5, smoothing=None
    )
    clip = recordings[0]
    updates = list(recognizer.stream(np.array_split(clip, 7)))
    assert len(updates) > 1
    for time, probabilities, _ in updates:
        end = round(16000 * time)
        window = clip[None, end - 16000 : end]
        expected = model(window)["probabilities"][0]
        np.testing.assert_allclose(probabilities, expected, atol=1e-5)
