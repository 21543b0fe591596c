"""The program, in this process: what each command prints, and how it ends."""

import configparser
import csv
import dataclasses
import importlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

import ser_keras as ser
from ser_keras.audio import io
from ser_keras.cli.command import Command
from ser_keras.cli.config import make_parser
from ser_keras.cli.main import COMMANDS
from ser_keras.cli.main import main
from ser_keras.cli.serve import ServeConfig
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.evaluation.predictions import Predictions
from ser_keras.serving import predictor
from ser_keras.training.run_folder import RunFolder
from tests.conftest import MaskedNetwork

LABELS = ("anger", "fear", "neutral", "sadness")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A SavedModel and a LiteRT file of an untrained network."""
    folder = tmp_path_factory.mktemp("models")
    frontend = ser.MFCC(sample_rate=16000, num_coefficients=20, delta_order=0)
    parts = (LABELS, ser.Preprocessor(frontend, ser.UtteranceNormalization()))
    ser.export_saved_model(MaskedNetwork(), folder / "served", *parts)
    ser.export_litert(MaskedNetwork(), folder / "model.tflite", *parts)
    return folder


@pytest.fixture(scope="module")
def speech(corpora_root, tmp_path_factory):
    """A real utterance as FLAC at 16 kHz, and as WAV of two channels."""
    flac = sorted((corpora_root / "emodb").glob("*.flac"))[0]
    samples, rate = soundfile.read(flac)
    wav = tmp_path_factory.mktemp("speech") / "stereo.wav"
    soundfile.write(wav, np.stack([samples, samples], 1), rate)
    return str(flac), str(wav)


def run(capfd, *argv):
    """Exit status, stdout and stderr of the program."""
    try:
        status = main([str(argument) for argument in argv])
    except SystemExit as stop:
        status = stop.code
    output = capfd.readouterr()
    return status, output.out, output.err


def leaves(commands=COMMANDS, path=()):
    for name, (_, target) in commands.items():
        if isinstance(target, dict):
            yield from leaves(target, (*path, name))
        else:
            yield (*path, name), target


def test_help_needs_no_tensorflow():
    program = (
        "import sys\n"
        "from ser_keras.cli.main import main\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "finally:\n"
        "    print('tensorflow' in sys.modules, 'keras' in sys.modules)\n"
    )
    for argv in (["--help"], ["train", "--help"]):
        process = subprocess.run(
            [sys.executable, "-c", program, *argv],
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == 0, process.stderr
        assert process.stdout.endswith("False False\n")


@pytest.mark.parametrize(
    ("path", "target"), [pytest.param(*x, id=" ".join(x[0])) for x in leaves()]
)
def test_every_option_is_explained(path, target, capfd):
    module, name = target.split(":")
    command = getattr(importlib.import_module(module), name)
    for action in make_parser(command.config)._actions:
        assert len(action.help.split()) > 1, action
    status, out, _ = run(capfd, *path, "--help")
    assert status == 0
    for flag in ("--json", "--traceback", "--config"):
        assert flag in out


def test_command_line_mistakes_end_with_2(capfd):
    for argv in (["predict"], ["nonsense"], ["predict", "--nope", "x"], []):
        status, out, err = run(capfd, *argv)
        assert (status, out) == (2, "")
        assert "Traceback" not in err and err


def test_version(capfd):
    assert ser.__version__ in run(capfd, "--version")[1]


def test_predict_prints_a_table(models, speech, capfd):
    status, out, err = run(
        capfd, "predict", *speech, "--model", models / "served"
    )
    assert status == 0
    served = ser.load_saved_model(models / "served")
    for file in speech:
        answer = served([ser.audio.load_audio(file, 16000)])
        (line,) = [line for line in out.splitlines() if file in line]
        assert answer["label"][0] in line
        assert f"{answer['probabilities'][0].max():.2f}" in line


@pytest.mark.parametrize("name", ["served", "model.tflite"])
def test_predict_json_is_all_there_is_on_stdout(models, speech, name, capfd):
    status, out, _ = run(
        capfd, "predict", *speech, "--json", "--model", models / name
    )
    assert status == 0
    result = json.loads(out)
    model = predictor.load_predictor(models / name)
    for file, row in zip(speech, result["files"], strict=True):
        waveform = ser.audio.load_audio(file, 16000)
        expected = model([waveform])["probabilities"][0]
        assert row["file"] == file
        assert list(row["probabilities"]) == list(LABELS)
        np.testing.assert_allclose(
            list(row["probabilities"].values()), expected, atol=1e-6
        )


def test_bad_files_do_not_stop_the_good_ones(models, speech, tmp_path, capfd):
    silent, text = tmp_path / "silent.wav", tmp_path / "text.wav"
    soundfile.write(silent, np.zeros(8000), 16000)
    text.write_text("no audio")
    files = [text, speech[0], "nowhere.wav", silent]
    status, out, err = run(
        capfd, "predict", *files, "--model", models / "model.tflite"
    )
    assert status == 1
    assert speech[0] in out
    for file, reason in (
        (text, "not audio"),
        ("nowhere.wav", "no such file"),
        (silent, "silent"),
    ):
        assert f"error: {file}: {reason}" in err
    assert "3 of 4 files failed:" in err
    assert err.splitlines()[-1].startswith(f"error: {silent}: silent")
    assert "Traceback" not in err


def test_predict_over_time(models, speech, tmp_path, capfd):
    folder = tmp_path / "over_time"
    argv = ["predict", speech[0], "--model", models / "model.tflite"]
    argv += ["--over-time", folder, "--window", "1", "--hop", "0.5"]
    status, out, _ = run(capfd, *argv)
    assert status == 0
    (table,) = folder.glob("*.csv")
    rows = list(csv.DictReader(table.read_text().splitlines()))
    seconds = soundfile.info(speech[0]).duration
    assert float(rows[-1]["time"]) == pytest.approx(seconds, abs=1e-3)
    assert [float(row["time"]) for row in rows[:2]] == [1.0, 1.5]
    for row in rows:
        probabilities = {label: float(row[label]) for label in LABELS}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert row["label"] == max(probabilities, key=probabilities.get)
    assert table.with_suffix(".png").stat().st_size > 5000
    assert {row["smoothing"] for row in rows} == {"exponential 2 s"}
    # The answer is the mean of the windows, unsmoothed.
    status, out, _ = run(
        capfd, *argv[:5], folder / "raw", *argv[6:], "--json",
        "--smoothing", "none",
    )  # fmt: skip
    assert status == 0
    (row,) = json.loads(out)["files"]
    (raw,) = (folder / "raw").glob("*.csv")
    windows = list(csv.DictReader(raw.read_text().splitlines()))
    assert row["windows"] == len(windows) == len(rows)
    assert {window["smoothing"] for window in windows} == {"none"}
    for label in LABELS:
        mean = np.mean([float(window[label]) for window in windows])
        assert row["probabilities"][label] == pytest.approx(mean, abs=2e-6)
    assert windows != rows
    before = table.read_bytes()
    status, _, err = run(capfd, *argv)  # Nothing is overwritten.
    assert status == 1 and "exists" in err
    assert table.read_bytes() == before


def test_predict_says_what_it_heard(models, tmp_path, capfd):
    rng = np.random.default_rng(0)
    long = tmp_path / "long.wav"
    soundfile.write(long, rng.normal(0, 0.1, 16000 * 5), 16000)
    argv = ["predict", long, "--model", models / "model.tflite"]
    status, out, _ = run(capfd, *argv)
    assert status == 0 and "only 1 to 4 s were used" in out
    status, out, _ = run(capfd, *argv, "--json")
    assert json.loads(out)["files"][0]["heard"] == [1, 4]


def test_over_time_never_loads_a_whole_file(
    models, speech, tmp_path, monkeypatch, capfd
):
    def load(*arguments):
        raise MemoryError

    monkeypatch.setattr(io, "load_audio", load)
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(16000), 16000)
    argv = ["predict", speech[0], silent, "--model", models / "model.tflite"]
    status, out, err = run(capfd, *argv, "--over-time", tmp_path / "curves")
    assert status == 1 and "mean of" in out
    assert f"error: {silent}: silent" in err and "1 of 2 files" in err
    assert not (tmp_path / "curves/silent.csv").exists()


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        (["--window", "-1"], 2, "window=-1.0"),
        (["--hop", "0"], 2, "hop=0.0"),
        (["--window", "3.5"], 1, "`window` must not be longer"),
    ],
)
def test_windows_are_no_matter_of_the_file(
    models, speech, tmp_path, capfd, flags, status, message
):
    argv = ["predict", speech[0], "--model", models / "model.tflite"]
    argv += ["--over-time", tmp_path / "curves", *flags]
    found, _, err = run(capfd, *argv)
    assert found == status
    assert message in err and speech[0] not in err
    assert not (tmp_path / "curves").exists()


def test_predict_without_a_model(monkeypatch, models, speech, tmp_path, capfd):
    monkeypatch.setattr(predictor, "BUNDLED", tmp_path)
    status, _, err = run(capfd, "predict", speech[0])
    assert status == 1
    assert "ser_keras train light_sernet" in err
    (tmp_path / "small").mkdir()
    shutil.copy(models / "model.tflite", tmp_path / "small")
    status, out, _ = run(capfd, "predict", speech[0], "--json")
    assert status == 0
    assert json.loads(out)["model"] == str(tmp_path / "small/model.tflite")


def test_the_model_that_comes_along_is_small_and_has_a_card():
    for folder in predictor.BUNDLED.iterdir():
        if folder.is_dir():
            assert (folder / "model.tflite").stat().st_size < 6e6
            assert (folder / "card.md").read_text()


def test_errors_are_one_line_and_json(models, capfd):
    argv = ["evaluate", models / "nowhere", "--json"]
    status, out, err = run(capfd, *argv)
    assert status == 1
    assert "no such file" in json.loads(out)["error"]
    assert "Traceback" not in err
    with pytest.raises(FileNotFoundError):
        main([str(argument) for argument in [*argv, "--traceback"]])


def test_an_error_is_the_last_line(tmp_path):
    process = subprocess.run(
        [sys.executable, "-m", "ser_keras", "evaluate", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1 and process.stdout == ""
    *others, last = process.stderr.splitlines()
    assert last.startswith(f"error: {tmp_path}/config.json: no such file")
    assert "error: " not in "".join(others) and "Traceback" not in str(others)


def test_the_first_commands_need_no_extra(repository):
    """`predict` with the model that comes along, and `train light_sernet`."""
    settings = configparser.ConfigParser()
    settings.read(repository / "setup.cfg")
    assert "ai-edge-litert" in settings["options"]["install_requires"]


def test_what_a_command_prints_is_kept_from_json(monkeypatch, capfd):
    @dataclasses.dataclass(frozen=True)
    class Config:
        """Says something."""

    def noisy(config):
        print("from Python")
        subprocess.run(["echo", "from a child"], check=True)
        return {"failed": 0}

    module = sys.modules[__name__]
    monkeypatch.setattr(
        module, "NOISY", Command(Config, noisy, print), raising=False
    )
    monkeypatch.setitem(COMMANDS, "noisy", ("Noise.", f"{__name__}:NOISY"))
    status, out, err = run(capfd, "noisy", "--json")
    assert (status, out) == (0, '{"failed": 0}\n')
    assert "from Python" in err and "from a child" in err


def test_json_has_no_nan(monkeypatch, capfd):
    @dataclasses.dataclass(frozen=True)
    class Config:
        """Has no answer."""

    def undefined(config):
        return {"scores": [float("nan"), 0.5, (float("inf"),)]}

    module = sys.modules[__name__]
    monkeypatch.setattr(
        module, "UNDEFINED", Command(Config, undefined, print), raising=False
    )
    monkeypatch.setitem(COMMANDS, "undefined", ("-", f"{__name__}:UNDEFINED"))
    status, out, _ = run(capfd, "undefined", "--json")
    assert (status, out) == (0, '{"scores": [null, 0.5, [null]]}\n')


@pytest.mark.parametrize("name", ["served", "model.tflite"])
def test_too_loud_to_be_computed_is_an_error(models, name, tmp_path, capfd):
    loud = tmp_path / "loud.wav"
    noise = np.random.default_rng(0).normal(size=48000) * 1e25
    soundfile.write(loud, noise.astype("float32"), 16000, "FLOAT")
    argv = ["predict", loud, "--model", models / name, "--json"]
    status, out, _ = run(capfd, *argv)
    (row,) = json.loads(out)["files"]
    assert status == 1 and "too large" in row["error"]


def test_an_unexpected_error_names_its_type(monkeypatch, capfd):
    @dataclasses.dataclass(frozen=True)
    class Config:
        """Fails."""

    def fail(config):
        raise KeyError("gone")

    module = sys.modules[__name__]
    monkeypatch.setattr(
        module, "FAIL", Command(Config, fail, print), raising=False
    )
    monkeypatch.setitem(COMMANDS, "fail", ("Fails.", f"{__name__}:FAIL"))
    status, _, err = run(capfd, "fail")
    assert status == 1
    assert err == "error: KeyError: 'gone' (see --traceback)\n"


def finished_run(path):
    """A run's folder with predictions of two speakers."""
    folder = RunFolder(path, {"seed": 0})
    rng = np.random.default_rng(0)
    predictions = Predictions(
        ids=tuple(str(i) for i in range(40)),
        speakers=("a",) * 20 + ("b",) * 20,
        sexes=(None,) * 40,
        labels=np.arange(40) % 4,
        probabilities=rng.dirichlet(np.ones(4), 40),
        label_names=LABELS,
    )
    predictions.save_csv(folder.path / "predictions.csv")
    Manifest(
        [
            Utterance(name, "x.wav", LABELS[label], speaker)
            for name, label, speaker in zip(
                predictions.ids,
                predictions.labels,
                predictions.speakers,
                strict=True,
            )
        ],
        LABELS,
    ).save(folder.path / "utterances.jsonl")
    protocol = {"name": "random-folds", "hash": "abc"}
    folder.write_json(
        "result.json",
        {
            "folds": {"random1": {}},
            "protocol": protocol,
            "leaks_speakers": True,
        },
    )
    return predictions


def test_evaluate_a_run(tmp_path, capfd):
    from sklearn.metrics import balanced_accuracy_score

    predictions = finished_run(tmp_path / "run")
    status, out, _ = run(capfd, "evaluate", tmp_path / "run", "--json")
    assert status == 0
    expected = balanced_accuracy_score(
        predictions.labels, predictions.probabilities.argmax(axis=1)
    )
    assert json.loads(out)["scores"]["uar"] == pytest.approx(expected)
    found = json.loads(out)["calibration"]
    assert 0 <= found["ece"] <= 1 and found["n_bins"] == 15
    status, out, _ = run(capfd, "evaluate", tmp_path / "run")
    assert f"UAR          {expected:.3f} (95 % interval " in out
    assert "random-folds (abc): OVERSTATES: leaks speakers" in out
    assert "THIS SCORE OVERSTATES" in out


def test_evaluate_wants_all_predictions_of_a_run(tmp_path, capfd):
    finished_run(tmp_path)
    file = tmp_path / "predictions.csv"
    file.write_text("\n".join(file.read_text().splitlines()[:-2]) + "\n")
    status, out, err = run(capfd, "evaluate", tmp_path)
    assert status == 1 and not out
    assert "2 of 40 utterances are missing: ['38', '39']" in err


def test_evaluate_a_model_on_real_speech(models, corpora_root, tmp_path, capfd):
    table = tmp_path / "predictions.csv"
    argv = ["evaluate", models / "model.tflite", "--corpus", "emodb"]
    argv += ["--data-dir", corpora_root / "emodb", "--speakers", "03"]
    status, out, _ = run(capfd, *argv, "--json", "--predictions", table)
    assert status == 0
    result = json.loads(out)
    corpus = ser.load_corpus("emodb", corpora_root / "emodb")
    corpus = corpus.select(speakers=["03"])
    known = corpus.select(labels=LABELS)
    assert result["scores"]["n"] == len(known)
    assert sum(result["left_out"].values()) == len(corpus) - len(known)
    model = ser.load_litert(models / "model.tflite")
    saved = Predictions.load_csv(table)
    waveform = ser.audio.load_audio(known[0].path, 16000)
    np.testing.assert_allclose(
        saved.probabilities[saved.ids.index(known[0].id)],
        model([waveform])["probabilities"][0],
        atol=1e-6,
    )
    status, _, err = run(capfd, *argv, "--predictions", table)
    assert status == 1 and "not overwritten" in err


def test_evaluate_options_belong_together(models, capfd):
    for flags in (["--corpus", "emodb"], ["--speakers", "03"]):
        assert run(capfd, "evaluate", models, *flags)[0] == 2


def test_completion_knows_commands_options_and_files(capfd):
    pytest.importorskip("shtab")
    status, out, _ = run(capfd, "--print_completion", "shtab-bash")
    assert status == 0
    script = out + (
        "\nCOMP_WORDS=(ser_keras predict --mo); COMP_CWORD=2\n"
        "_shtab_ser_keras; echo ${COMPREPLY[@]}\n"
        "COMP_WORDS=(ser_keras tr); COMP_CWORD=1\n"
        "_shtab_ser_keras; echo ${COMPREPLY[@]}\n"
    )
    process = subprocess.run(
        ["bash"], input=script, capture_output=True, text=True, check=False
    )
    assert process.stdout.split() == ["--model", "train"]
    assert "_predict_pos_0_COMPGEN=_shtab_compgen_files" in out


def test_the_module_is_the_program():
    process = subprocess.run(
        [sys.executable, "-m", "ser_keras", "corpora", "list", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert "emodb" in json.loads(process.stdout)["corpora"]


def test_limits_of_the_server_and_the_client(capfd):
    pytest.importorskip("uvicorn", reason="needs the extra `serve`")
    from ser_keras.serving.server import Limits

    assert Limits(**ServeConfig("x").limits()) == Limits()
    for argv in (
        ["serve", "x", "--request-seconds", "0"],
        ["serve", "x", "--batch-clips", "-1"],
        ["predict", "x.wav", "--timeout", "0"],
        ["predict", "x.wav", "--retries", "-1"],
    ):
        status, _, err = run(capfd, *argv)
        assert status == 2 and "must be" in err
    # Nobody listens there, and it is not tried again.
    argv = ["predict", "x.wav", "--server", "http://127.0.0.1:9", "--retries"]
    status, _, err = run(capfd, *argv, "0")
    assert status == 1 and "refused, 1 times" in err
