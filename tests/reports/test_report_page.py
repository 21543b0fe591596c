"""The report's page, as a person sees it on a desktop and on a phone."""

import numpy as np
import pytest

import ser_keras as ser
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.evaluation.baselines import cross_validate_classifier
from ser_keras.features.feature_set import FeatureSet
from ser_keras.reports.html import write_html
from ser_keras.reports.report import write_report

LABELS = ("anger", "disgust", "fear", "happiness", "neutral", "sadness")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Of two runs, one of which overstates."""
    folder = tmp_path_factory.mktemp("runs")
    random = np.random.default_rng(0)
    corpus = Manifest(
        [
            Utterance(f"{speaker}{i}", "gone.wav", label, speaker)
            for speaker in "abcd"
            for i, label in enumerate(LABELS)
        ],
        LABELS,
    )
    arrays = [random.normal(size=(1, 3)) for _ in corpus]
    runs = []
    for name, protocol in (
        ("compare_rbf_with_a_long_name", "leave-one-speaker-out"),
        ("random", "random-folds"),
    ):
        run = ser.training.RunFolder(
            folder / name, {"data_dir": "/corpus", "seed": 0}
        )
        outcome = cross_validate_classifier(
            "majority",
            FeatureSet(corpus, arrays),
            ser.get_protocol(protocol).folds(corpus),
            run=run,
            exposed=None,
        )
        write_report(run, outcome)
        runs.append(run.path)
    return write_html(runs, folder / "report.html")


@pytest.mark.filterwarnings("ignore:THIS SCORE OVERSTATES")
@pytest.mark.parametrize("width", [390, 1280])
def test_what_a_score_is_worth_is_in_view(page, browser, width):
    # A window cannot be this narrow; what it shows can.
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {
            "width": width,
            "height": 900,
            "deviceScaleFactor": 1,
            "mobile": width < 500,
        },
    )
    browser.get(page.as_uri())
    browser.save_screenshot(str(page.parent / f"{width}.png"))
    assert browser.execute_script("return innerWidth") == width
    wide = "return document.documentElement.scrollWidth"
    assert browser.execute_script(wide) <= width
    cells = browser.find_elements("css selector", ".runs tbody th")
    texts = [cell.text for cell in cells]
    assert len(texts) == 3  # Two runs, and one of them compared.
    assert "leave-one-speaker-out" in texts[0] and "new speakers" in texts[0]
    assert "random-folds" in texts[1]
    assert "OVERSTATES: leaks speakers" in texts[1]
    assert "not comparable: another protocol" in texts[2]
    for cell in cells:
        for part in [cell, *cell.find_elements("css selector", "*")]:
            box = part.rect
            assert box["width"] and box["height"]
            assert 0 <= box["x"] and box["x"] + box["width"] <= width
    drawings = browser.find_elements("css selector", "svg")
    assert len(drawings) == 4  # Reliability and coverage of each run.
    for drawing in drawings:
        assert drawing.rect["x"] + drawing.rect["width"] <= width
