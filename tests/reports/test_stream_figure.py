import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from ser_keras.reports.stream_figure import Outline
from ser_keras.reports.stream_figure import plot_stream

LABELS = ("anger", "joy", "calm")


def updates(seconds):
    rng = np.random.default_rng(0)
    for time in range(3, seconds):
        yield float(time), rng.dirichlet(np.ones(3)), "anger"


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved."""
    figures, save = [], Figure.savefig

    def remember(figure, *args, **kwargs):
        figures.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", remember)
    return figures


def test_curves_and_waveform_share_their_time(drawn, tmp_path):
    rng = np.random.default_rng(1)
    chunks = rng.uniform(-1, 1, size=(50, 40))
    path = tmp_path / "new" / "stream.png"
    plot_stream(updates(20), LABELS, path, iter(chunks), 100)
    width, height = drawn[0].get_size_inches() * 150
    assert imread(path).shape[:2] == (round(height), round(width))
    top, bottom = drawn[0].axes
    assert [line.get_label() for line in top.lines] == list(LABELS)
    expected = list(updates(20))
    for i, line in enumerate(top.lines):
        times, values = line.get_data()
        np.testing.assert_array_equal(times, [time for time, *_ in expected])
        np.testing.assert_array_equal(values, [p[i] for _, p, _ in expected])
    assert top.get_xlim() == bottom.get_xlim() == (0, 20)


def test_without_sound_and_with_many_classes(drawn, tmp_path):
    labels = [f"class {i}" for i in range(9)]
    path = tmp_path / "stream.svg"
    plot_stream([(1.0, np.full(9, 1 / 9), "class 0")], labels, path)
    lines = drawn[0].axes[0].lines
    looks = {(line.get_color(), line.get_linestyle()) for line in lines}
    assert len(drawn[0].axes) == 1 and len(looks) == 9


def test_bad_arguments(tmp_path):
    path = tmp_path / "stream.png"
    with pytest.raises(ValueError, match="Received: 0 updates"):
        plot_stream([], LABELS, path)
    with pytest.raises(ValueError, match="a probability for each"):
        plot_stream(updates(9), LABELS[:2], path)
    for sound in ({"chunks": [np.zeros(9)]}, {"sample_rate": 16000}):
        with pytest.raises(ValueError, match="must be given together"):
            plot_stream(updates(9), LABELS, path, **sound)
    assert not path.exists()


@pytest.mark.parametrize("samples", [0, 1, 7, 8, 9, 64, 1000, 4097])
@pytest.mark.parametrize("largest", [1, 3, 500])
def test_outline_equals_that_of_the_whole_array(samples, largest):
    rng = np.random.default_rng(samples)
    x = rng.normal(size=samples)
    outline = Outline(bins=4)
    for start in range(0, samples, largest):
        outline.add(x[start : start + largest])
    low, high, step = outline.get()
    segments = [x[i : i + step] for i in range(0, samples, step)]
    np.testing.assert_array_equal(low, [s.min() for s in segments])
    np.testing.assert_array_equal(high, [s.max() for s in segments])
    assert outline.total == samples
    # Full detail where it fits, otherwise at least half of it.
    assert step == 1 or 4 <= len(low) <= 8
