"""Commands that train, and what is made of their runs."""

import contextlib
import dataclasses
import io
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
import soundfile

import ser_keras as ser
from ser_keras.cli import parse
from ser_keras.cli.experiments import served_network
from ser_keras.cli.main import main
from ser_keras.corpora.built_in import built_in_corpus
from ser_keras.experiments.light_sernet import LightSERNetConfig
from ser_keras.features.preprocessor import load_preprocessor
from ser_keras.models.waveform_model import WaveformModel
from ser_keras.protocols.leak_guard import ExposedAudio
from ser_keras.serving.confidence import overstates
from ser_keras.serving.confidence import predictions_beside


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder with a finished smoke run of Light-SERNet."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("work"))
    argv = ["train", "light_sernet", "--smoke", "--no-litert", "--json"]
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        status = main([*argv, "--output-dir", "results/run"])
    work = pathlib.Path.cwd()
    (work / "train.json").write_text(output.getvalue())
    assert status == 0
    yield work
    os.chdir(before)


# The README's section on the command line has these lines.
COMMANDS = r"""
ser_keras export results/first --output saved_models/first
ser_keras serve saved_models/first &
JSON='{"signature_name": "serving_bytes", "instances": [{"b64": "%s"}]}'
printf "$JSON" "$(base64 -w0 speech.wav)" |
  curl -s -d @- http://127.0.0.1:8501/v1/models/first:predict
ser_keras predict --server http://127.0.0.1:8501 speech.wav
"""


WAIT = """until curl -sf http://127.0.0.1:{port}/health > health.txt
do sleep 0.2; kill -0 %1 || exit 1; done
"""


@pytest.fixture
def wav(folder):
    path = folder / "clip.wav"
    clip = sorted(built_in_corpus(smoke=True).iterdir())[0]
    soundfile.write(path, *soundfile.read(clip))
    return path


def run(capfd, *argv):
    capfd.readouterr()
    try:
        status = main([str(argument) for argument in argv])
    except SystemExit as stop:
        status = stop.code
    output = capfd.readouterr()
    return status, output.out, output.err


def test_training_answers_in_json(folder):
    result = json.loads((folder / "train.json").read_text())
    assert result == {
        "run": "results/run",
        **json.loads((folder / "results/run/result.json").read_text()),
    }
    assert (folder / result["saved_model"] / "saved_model.pb").exists()


def test_a_run_is_repeated_from_its_configuration(folder):
    argv = ["--config", "results/run/config.json", "--output-dir", "other"]
    config = parse(LightSERNetConfig, argv)
    first = parse(LightSERNetConfig, ["--smoke", "--no-litert"])
    assert config == dataclasses.replace(first.resolved(), output_dir="other")
    assert config.resolved() == config
    assert not (folder / "other").exists()


def test_predict_with_a_run(folder, wav, capfd):
    status, out, _ = run(
        capfd, "predict", wav, "--model", "results/run", "--json"
    )
    assert status == 0
    (row,) = json.loads(out)["files"]
    assert row["label"] in row["probabilities"]


def test_export_a_saved_model(folder, wav, capfd):
    argv = ["export", "results/run", "--output", "out", "--json"]
    status, out, _ = run(capfd, *argv)
    assert status == 0
    exported = json.loads(out)["exported"]
    assert exported == os.path.join("out", "1")
    (fold,) = (folder / "results/run/folds").iterdir()
    result = json.loads((folder / "results/run/result.json").read_text())
    model = WaveformModel(
        ser.load_model(fold / "network.keras"),
        load_preprocessor("results/run"),
        temperature=result["temperature"],
    )
    waveform, _ = soundfile.read(wav, dtype="float32")
    np.testing.assert_allclose(
        ser.load_saved_model("out")([waveform])["probabilities"],
        model(waveform[None])["probabilities"],
        atol=1e-5,
    )
    assert "UAR" in (folder / exported / "card.md").read_text()
    # What is known of its test goes with it.
    test = predictions_beside("out")
    assert test.ids == predictions_beside("results/run").ids
    assert not overstates("out")
    assert ser.load_saved_model("out").calibrated_on == "emodb"
    # The next one is the next version; nothing is overwritten.
    status, out, _ = run(capfd, *argv[:-1])
    lines = out.splitlines()
    assert lines[0].startswith(f"exported {os.path.join('out', '2')} (")
    assert lines[1].startswith(f"A new version beside {exported},")


def test_a_run_says_whose_network_it_exported(folder):
    result = json.loads((folder / "train.json").read_text())
    ((name, scores),) = result["folds"].items()
    said = served_network(result)
    assert f"the network of fold {name}, the only one" in said
    assert f"{scores['uar']:.3f} on {scores['n']} utterances" in said
    several = {**result, "folds": {"a": {}, name: scores}}
    assert f"{name}, the last of 2" in served_network(several)
    whole = served_network({**several, "final": True})
    assert "all speakers" in whole and "no score of its own" in whole


def test_a_temperature_of_another_corpus_is_warned_of(folder, capfd):
    corpus = folder / "list.csv"
    rows = [
        f"{path},{name},{path.stem[:2]}"
        for path in sorted(built_in_corpus(smoke=True).iterdir())
        for letter, name in (("W", "anger"), ("N", "neutral"))
        if path.stem[5] == letter
    ]
    corpus.write_text("\n".join(["path,label,speaker", *rows]) + "\n")
    model = json.loads((folder / "train.json").read_text())["saved_model"]
    argv = ["evaluate", model, "--data-dir", corpus, "--corpus", "manifest"]
    status, out, _ = run(capfd, *argv)
    assert status == 0
    assert "WARNING: the model's probabilities were calibrated on emodb" in out


def test_export_litert(folder, capfd):
    argv = ["export", "results/run", "--format", "litert"]
    argv += ["--precision", "float16"]
    status, out, _ = run(capfd, *argv)
    assert status == 0 and "run_float16.tflite" in out
    assert ser.load_litert("run_float16.tflite").precision == "float16"
    status, _, err = run(capfd, *argv)
    assert status == 1 and "not overwritten" in err
    argv[-1] = "int8"
    status, _, err = run(capfd, *argv)
    assert status == 1 and "--litert" in err
    (fold,) = (folder / "results/run/folds").iterdir()
    (fold / "int8.tflite").write_bytes(b"what the run wrote and scored")
    status, _, _ = run(capfd, *argv, "--output", "small.tflite")
    assert status == 0
    assert (folder / "small.tflite").read_bytes().startswith(b"what the run")


def test_export_litert_of_features(folder, capfd):
    argv = ["export", "results/run", "--inputs", "features", "--json"]
    status, out, _ = run(capfd, *argv, "--format", "litert")
    assert status == 0
    assert json.loads(out)["exported"] == "run_features_float32.tflite"
    read = ser.load_litert("run_features_float32.tflite")
    assert read.inputs == "features" and read.metadata["frames"] > 1
    status, _, err = run(capfd, *argv)
    assert status == 2 and "--format litert" in err


@pytest.mark.parametrize(
    ("duration", "status", "message"),
    [
        ("2", 1, "own, 1.0 s.*duration=2.0"),
        ("-1", 2, "duration=-1.0"),
        (".nan", 2, "duration=nan"),
    ],
)
def test_export_of_another_duration(folder, capfd, duration, status, message):
    argv = ["export", "results/run", "--format", "litert", "--output", "no"]
    found, _, err = run(capfd, *argv, "--duration", duration)
    assert found == status and re.search(message, err)
    assert not (folder / "no").exists()


def test_a_keras_file_of_foreign_classes_must_be_trusted(
    folder, capfd, waveform_model
):
    waveform_model(np.zeros((1, 16000), "float32"))
    waveform_model.save("model.keras")
    argv = ["export", "model.keras", "--output", "trusted"]
    status, _, err = run(capfd, *argv)
    assert status == 1 and "--trust" in err and "MaskedNetwork" in err
    assert not (folder / "trusted").exists()
    labels = ["--labels", "a", "b", "c", "d"]
    status, _, err = run(capfd, *argv, "--trust", *labels)
    assert status == 0, err
    assert ser.load_saved_model("trusted").labels == ("a", "b", "c", "d")
    status, _, err = run(capfd, "predict", "x.wav", "--model", "model.keras")
    assert status == 1 and "Export what you trust" in err


def test_a_keras_file_of_ours_is_read(folder, capfd, waveform_model):
    network = ser.LightSERNet((None, 20, 1), 4, width=0.25)
    ser.models.with_frontend(network, waveform_model.frontend).save(
        "ours.keras"
    )
    argv = ["export", "ours.keras", "--output", "ours"]
    status, _, err = run(capfd, *argv)
    assert status == 1 and "--labels" in err
    status, _, err = run(capfd, *argv, "--labels", "a", "b", "c", "d")
    assert status == 0, err
    assert ser.load_saved_model("ours").labels == ("a", "b", "c", "d")


def test_report_without_recordings(folder, capfd):
    recordings = {}
    for flag in ("--audio", "--no-audio"):
        output = folder / f"page{flag}.html"
        argv = ["report", "results/run", "--output", output, flag]
        assert run(capfd, *argv)[0] == 0
        recordings[flag] = output.read_text().count("data:audio/")
    assert recordings["--audio"] > 0 and recordings["--no-audio"] == 0


def test_search_two_streams(folder, capfd):
    options = ["--streams", "deep", "--smoke", "--json"]
    argv = ["search", "emotionnas", *options, "--output-dir", "results/search"]
    status, out, err = run(capfd, *argv)
    assert status == 0, err
    result = json.loads(out)
    genotype = ser.Genotype.load(result["genotype"])
    assert ser.Genotype.from_dict(result["cells"]) == genotype
    assert genotype.normal is None and genotype.recurrent is not None
    assert (folder / "results/search/architecture.jsonl").exists()
    assert not (folder / "results/search/folds").exists()
    # Four utterances of each speaker of four pairs: none of them is tested on
    # the result.
    exposed = ExposedAudio.load(folder / "results/search").stages["search"]
    assert len(exposed) == 32 and len(result["searched_on"]) == 8
    argv = ["train", "emotionnas", *options, "--genotype", result["genotype"]]
    status, out, _ = run(
        capfd, *argv, "--fold", "2", "--output-dir", "results/second"
    )
    assert status == 1 and "(in search)" in json.loads(out)["error"]


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("search emotionnas", "--ablate"),
        ("search emodarts", "--seeds"),
        ("train emotionnas", "--litert"),
        ("train light_sernet", "--genotype"),
        ("compare", "--export-dir"),
    ],
)
def test_an_option_without_a_meaning_is_not_offered(capfd, command, option):
    status, _, err = run(capfd, *command.split(), option)
    assert status == 2 and option in err


def test_export_wants_a_finished_run(folder, capfd):
    (folder / "empty").mkdir(exist_ok=True)
    status, _, err = run(capfd, "export", "empty")
    assert status == 1 and "finished run" in err
    status, _, err = run(capfd, "export", "results/run", "--fold", "99")
    assert status == 1 and "03" in err


def test_report(folder, capfd):
    status, out, _ = run(capfd, "report", "results/run")
    assert status == 0 and "report.html" in out
    assert "<html" in (folder / "report.html").read_text()
    # The table is written beside the page.
    assert "| run | " in (folder / "report.md").read_text()
    status, _, err = run(capfd, "report", "results/run")
    assert status == 1 and "--replace" in err
    status, _, _ = run(capfd, "report", "results/run", "--output", "r.md")
    assert status == 0 and "UAR" in (folder / "r.md").read_text()


def test_check_a_corpus(folder, capfd):
    root = built_in_corpus(smoke=True)
    status, out, _ = run(capfd, "corpora", "check", root, "--json")
    result = json.loads(out)
    assert result["corpus"] == "emodb"
    assert result["utterances"] == 40 and result["speakers"] == 10
    status, _, err = run(capfd, "corpora", "check", folder / "results")
    assert status == 1 and "no known corpus" in err


@pytest.mark.parametrize(
    ("argv", "expected", "message"),
    [
        (["--corpus", "emodb"], 1, "together"),
        (["--smoke", "--fold", "9"], 1, "fold"),
        (["--protocol", "nonsense", "--smoke"], 2, "nonsense"),
        (["--corpus", "emodb", "--data-dir", "nowhere"], 1, "nowhere"),
    ],
)
def test_bad_input_is_one_clear_line(folder, capfd, argv, expected, message):
    status, _, err = run(
        capfd, "train", "light_sernet", "--output-dir", "results/bad", *argv
    )
    assert status == expected
    assert message in err and "Traceback" not in err
    assert not (folder / "results/bad").exists()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_commands_that_a_newcomer_copies(folder, wav, monkeypatch):
    pytest.importorskip("uvicorn", reason="needs the extra `serve`")
    program = folder / "bin" / "ser_keras"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m ser_keras "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    shutil.copy(wav, folder / "speech.wav")
    port = free_port()
    script = (
        COMMANDS.replace("results/first", "results/run")
        .replace("8501", str(port))
        .replace("models/first &", f"models/first --port {port} &")
        # A person sees when it listens.
        .replace("JSON=", WAIT.format(port=port) + "JSON=")
    )
    process = subprocess.run(
        ["bash", "-c", f"{script}\nkill -TERM %1; wait %1; echo end $?"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "end 0" in process.stdout, process.stdout + process.stderr
    waveform, _ = soundfile.read(wav, dtype="float32")
    expected = ser.load_saved_model("saved_models/first")([waveform])
    answer, _ = json.JSONDecoder().raw_decode(
        process.stdout[process.stdout.index("{") :]
    )
    (row,) = answer["predictions"]
    assert row["label"] == expected["label"][0]
    np.testing.assert_allclose(
        row["probabilities"], expected["probabilities"][0], atol=1e-5
    )
    (line,) = [x for x in process.stdout.splitlines() if " speech.wav " in x]
    assert expected["label"][0] in line


def test_the_readme_has_these_commands(repository):
    text = (repository / "README.md").read_text(encoding="utf-8")
    if "ser_keras serve" in text:
        for line in COMMANDS.splitlines():
            assert line in text
