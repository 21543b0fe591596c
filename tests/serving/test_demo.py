"""The demo's page, as a person sees it in a browser."""

import json
import shutil
import subprocess
import sys
import urllib.parse

import numpy as np
import pytest
import soundfile
import soxr

import ser_keras as ser
from ser_keras.cli.main import main
from ser_keras.evaluation.predictions import Predictions
from ser_keras.serving import demo
from ser_keras.serving.demo import DemoModel
from tests.conftest import MaskedNetwork

LABELS = ("anger", "fear", "neutral", "sadness")
WAIT = 120  # Seconds, for a machine that is busy with other work.


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A SavedModel and a LiteRT file, the second with its test beside it."""
    folder = tmp_path_factory.mktemp("models")
    frontend = ser.MFCC(sample_rate=16000, num_coefficients=20, delta_order=0)
    preprocessor = ser.Preprocessor(frontend, ser.UtteranceNormalization())
    parts = (LABELS, preprocessor)
    ser.export_saved_model(MaskedNetwork(), folder / "first", *parts)
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
    soundfile.write(file, soxr.resample(samples, rate, 44100), 44100)
    return file


@pytest.fixture(scope="module")
def url(models):
    """Where `ser_keras demo` shows its page.

    In a process of its own: Gradio leaves sockets open, which our settings
    make errors.
    """
    pytest.importorskip("gradio", reason="needs the extra `demo`")
    command = [sys.executable, "-m", "ser_keras", "demo", *map(str, models)]
    with subprocess.Popen(
        [*command, "--port", "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        line = process.stdout.readline()
        assert line.startswith("the page is at http://127.0.0.1:"), line
        yield line.split()[4]
        process.terminate()
        process.communicate(timeout=WAIT)


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


def upload(browser, url, file):
    browser.get(url)
    inputs = wait_for(
        browser,
        lambda: browser.find_elements(
            "css selector", "#recording input[type=file]"
        ),
    )
    inputs[0].send_keys(str(file))


def picture_text(browser):
    images = browser.find_elements("css selector", "#picture img")
    return images[0].get_attribute("alt") if images else ""


def requested_hosts(browser):
    hosts = set()
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            address = message["params"]["request"]["url"]
            if address.startswith(("http", "ws")):
                hosts.add(urllib.parse.urlparse(address).hostname)
    return hosts


def test_upload_wait_read_the_answer(models, recording, browser, url):
    browser.set_window_size(1280, 1000)
    upload(browser, url, recording)
    wait_for(browser, lambda: "%" in text_of(browser, "answer-1"))

    waveform = ser.audio.load_audio(recording, 16000)
    expected = ser.load_saved_model(models[0])([waveform])
    best = expected["label"][0]
    lines = text_of(browser, "answer-1").split("\n")
    assert best in lines
    assert f"{100 * expected['probabilities'][0].max():.0f}%" in lines
    assert "has not been measured" in text_of(browser, "note-1")
    wait_for(browser, lambda: f"first: {best}." in picture_text(browser))

    choose(browser, "Compare with", "second")
    wait_for(
        browser, lambda: "In the model's test" in text_of(browser, "note-2")
    )
    assert "%" in text_of(browser, "answer-2")
    assert "second: " in picture_text(browser)
    assert requested_hosts(browser) == {"127.0.0.1"}


def test_nothing_is_wider_than_a_phone(recording, browser, url):
    phone = {
        "width": 390,
        "height": 844,
        "deviceScaleFactor": 2,
        "mobile": True,
    }
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        upload(browser, url, recording)
        wait_for(browser, lambda: picture_text(browser))
        script = "return document.documentElement.scrollWidth"
        assert browser.execute_script(script) == 390
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_what_is_no_audio_is_said_on_the_page(browser, url, tmp_path):
    file = tmp_path / "speech.wav"
    file.write_text("not audio")
    upload(browser, url, file)
    wait_for(browser, lambda: "cannot be used" in text_of(browser, "note-1"))
    # Advice for corpora has no place here.
    assert "Restore the file" not in text_of(browser, "note-1")


def test_a_long_recording_is_answered_of_its_middle(models, tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, 70 * 16000)
    soundfile.write(tmp_path / "long.wav", noise, 16000)
    model = DemoModel.load(models[0])
    answer, note, (_, times, _) = model.recognise(tmp_path / "long.wav")
    assert "for the middle 60 s." in note and times[-1] > 65
    heard, _ = soundfile.read(tmp_path / "long.wav", dtype="float32")
    expected = model.predictor([heard[5 * 16000 : 65 * 16000]])
    np.testing.assert_allclose(
        list(answer.values()), expected["probabilities"][0], atol=1e-6
    )


def test_too_short_a_recording_is_said_so(models, tmp_path):
    soundfile.write(tmp_path / "short.wav", [0.1] * 160, 16000)
    for path in models:
        with pytest.raises(ValueError, match="10 ms long; .* need"):
            DemoModel.load(path).recognise(tmp_path / "short.wav")


def test_models_of_one_name_get_their_folders(models, tmp_path):
    for folder in ("a", "b"):
        shutil.copytree(models[0], tmp_path / folder / "first")
    loaded = [DemoModel.load(tmp_path / x / "first") for x in "ab"]
    several = [*loaded, loaded[0], DemoModel.load(models[1])]
    names = demo.different_names(several)
    assert names == ["a/first/1", "b/first/1", "a/first/1 (2)", "second"]
    assert demo.different_names(loaded[:1]) == ["first"]


def test_what_a_model_is_and_on_whom_it_was_measured(models):
    first, second = (DemoModel.load(path) for path in models)
    assert "has not been measured" in first.about()
    assert "anger, fear, neutral, sadness" in first.about()
    assert "# Model card: first" in first.card
    about = DemoModel.load(models[1], threshold=0.7).about()
    assert "on 200 recordings of 1 speaker," in about
    assert "below a probability of 0.70" in about
    assert "overstates" not in second.about()


def test_a_model_is_unsure_below_its_threshold(models, recording):
    answer, note, _ = DemoModel.load(models[0], 1.0).recognise(recording)
    assert note.startswith("**Unsure:** no emotion has a probability of 1.00.")
    assert sum(answer.values()) == pytest.approx(1, abs=1e-5)
    test = DemoModel.load(models[1]).predictions
    correct = test.predicted == test.labels
    wanted = correct.mean() + 0.01
    model = DemoModel.load(models[1], accuracy=wanted)
    sure = test.probabilities.max(axis=1) >= model.threshold
    assert correct[sure].mean() >= wanted and 10 <= sure.sum() < 200
    with pytest.raises(ValueError, match="needs the test answers"):
        DemoModel.load(models[0], accuracy=0.7)


def test_examples_come_along(models):
    for (path,) in demo._examples():
        answer, _, _ = DemoModel.load(models[0]).recognise(path)
        assert set(answer) == set(LABELS)


@pytest.mark.parametrize(
    ("host", "said"),
    [("127.0.0.1", "--host 0.0.0.0 --password"), ("0.0.0.0", "On a phone")],
)
def test_how_a_phone_reaches_it(host, said):
    text = demo._from_elsewhere(host, "http://127.0.0.1:7861")
    assert said in text and ":7861" in text and "HTTPS" in text


def test_the_command_without_gradio_names_the_extra(models, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["demo", str(models[0])]) == 1
    assert "ser_keras[demo]" in capfd.readouterr().err
