"""The demo's page, as a person sees it in a browser."""

import json
import shutil
import subprocess
import sys
import urllib.parse

import numpy as np
import pytest
import soundfile

pytest.importorskip("gradio", reason="needs the extra `demo`")

import ser_keras as ser
from ser_keras.evaluation.predictions import Predictions
from ser_keras.serving.demo import DemoModel
from ser_keras.serving.demo import build_page
from ser_keras.serving.demo import launch
from tests.conftest import MaskedNetwork

LABELS = ("anger", "fear", "neutral", "sadness")
WAIT = 120  # Seconds, for a machine that is busy with other work.


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A SavedModel and a LiteRT file, the second with its test beside it."""
    folder = tmp_path_factory.mktemp("models")
    frontend = ser.MFCC(sample_rate=16000, num_coefficients=20, delta_order=0)
    normalization = ser.UtteranceNormalization()
    parts = (LABELS, frontend, normalization)
    ser.export_serving(MaskedNetwork(), folder / "first", *parts)
    file = folder / "second" / "model.tflite"
    ser.export_litert(MaskedNetwork(), file, *parts)
    rng = np.random.default_rng(0)
    answers = rng.dirichlet(np.ones(4), 200).astype("float32")
    truth = np.where(rng.random(200) < 0.5, answers.argmax(axis=1), 0)
    Predictions(
        ids=tuple(str(i) for i in range(200)),
        speakers=("a",) * 200,
        sexes=(None,) * 200,
        labels=truth,
        probabilities=answers,
        label_names=LABELS,
    ).save_csv(file.parent / "predictions.csv")
    return [folder / "first", file]


@pytest.fixture(scope="module")
def recording(corpora_root, tmp_path_factory):
    """A real utterance as WAV at another rate, as a browser would send."""
    path = sorted((corpora_root / "emodb").glob("*.flac"))[0]
    samples, rate = soundfile.read(path)
    file = tmp_path_factory.mktemp("speech") / "speech.wav"
    soundfile.write(file, samples[::2], rate // 2)
    return file


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip(
        "selenium.webdriver", reason="needs selenium"
    )
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no Chromium with its driver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    service = webdriver.ChromeService(driver)
    with webdriver.Chrome(options, service) as chrome:
        yield chrome


def wait_for(browser, condition):
    from selenium.webdriver.support.wait import WebDriverWait

    return WebDriverWait(browser, WAIT).until(lambda _: condition())


def text_of(browser, element):
    found = browser.find_elements("id", element)
    return found[0].text if found else ""


def choose(browser, label, name):
    field = browser.find_element("css selector", f"input[aria-label='{label}']")
    field.click()
    wait_for(
        browser,
        lambda: [
            option
            for option in browser.find_elements("css selector", "[role=option]")
            if option.text.endswith(name)
        ],
    )[0].click()


def test_upload_wait_read_the_answer(models, recording, browser, tmp_path):
    page = launch(models, port=0, wait=False)
    try:
        browser.set_window_size(1280, 1000)
        browser.get(page.local_url)
        upload = wait_for(
            browser,
            lambda: browser.find_elements(
                "css selector", "#recording input[type=file]"
            ),
        )[0]
        upload.send_keys(str(recording))
        wait_for(browser, lambda: "%" in text_of(browser, "answer-1"))

        served = ser.load_serving(models[0])
        waveform = ser.audio.load_audio(recording, 16000)
        expected = served([waveform])
        lines = text_of(browser, "answer-1").split("\n")
        best = expected["label"][0]
        assert best in lines
        share = f"{100 * expected['probabilities'][0].max():.0f}%"
        assert share in lines
        assert "has not been measured" in text_of(browser, "note-1")
        image = wait_for(
            browser,
            lambda: browser.find_elements("css selector", "#picture img"),
        )[0]
        assert f"first: {best}" in image.get_attribute("alt")
        wide = image.size
        assert wide["width"] > 900

        choose(browser, "Compare with", "second")
        wait_for(browser, lambda: "In its test" in text_of(browser, "note-2"))
        assert "%" in text_of(browser, "answer-2")
        alt = browser.find_element("css selector", "#picture img")
        assert "second: " in alt.get_attribute("alt")

        # A phone: nothing is wider than the screen.
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {
                "width": 390,
                "height": 844,
                "deviceScaleFactor": 2,
                "mobile": True,
            },
        )
        overflow = "return document.documentElement.scrollWidth"
        wait_for(browser, lambda: browser.execute_script(overflow) <= 390)
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

        hosts = set()
        for entry in browser.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = urllib.parse.urlparse(message["params"]["request"]["url"])
                if url.scheme in ("http", "https", "ws", "wss"):
                    hosts.add(url.hostname)
        assert hosts == {"127.0.0.1"}
    finally:
        page.close()


def test_what_is_no_audio_is_said_on_the_page(models, tmp_path):
    model = DemoModel.load(models[0])
    text = tmp_path / "speech.wav"
    text.write_text("not audio")
    with pytest.raises(ValueError, match="not audio"):
        model.recognise(text)
    page = build_page([model])
    (event,) = page.fns.values()
    answer = event.fn(str(text), "first", "none")
    assert "cannot be used" in answer[2]
    assert "Restore the file" not in answer[2]


def test_two_models_of_one_name_are_refused(models):
    model = DemoModel.load(models[0])
    with pytest.raises(ValueError, match="different names"):
        build_page([model, model])


def test_the_command_without_gradio_names_the_extra(models):
    program = (
        "import sys; sys.modules['gradio'] = None\n"
        "from ser_keras.cli.main import main\n"
        f"sys.exit(main(['demo', {str(models[0])!r}]))"
    )
    process = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert "ser_keras[demo]" in process.stderr
