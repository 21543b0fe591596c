"""`ser_keras predict` with the model that comes along, in its own process."""

import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from ser_keras._quiet import without_information

HEAVY = ("tensorflow", "keras", "librosa", "sklearn", "scipy", "matplotlib")


def run(*argv):
    """Runs the program, then says on stdout which heavy packages it took."""
    code = (
        "import sys\n"
        "from ser_keras.cli.main import main\n"
        "try:\n"
        f"    status = main({[str(argument) for argument in argv]})\n"
        "except SystemExit as stop:\n"
        "    status = stop.code\n"
        f"print(status, sorted(set({HEAVY}) & set(sys.modules)))\n"
    )
    # As a user has it: without the variables of the tests.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TF_")
    }
    process = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    *out, last = process.stdout.splitlines()
    return out, process.stderr, last


def test_predict_needs_no_tensorflow_and_is_quiet(tmp_path):
    file = tmp_path / "noise.wav"
    noise = np.random.default_rng(0).normal(0, 0.1, 16000)
    soundfile.write(file, noise, 16000)
    out, err, last = run("predict", file)
    assert last == "0 []"
    assert err == ""
    (row,) = [line for line in out if str(file) in line]
    assert row.split()[1] in (
        "anger boredom disgust fear happiness neutral sadness".split()
    )


@pytest.mark.parametrize(
    "argv",
    [
        ["--help"],
        ["--version"],
        ["train", "encoder", "--help"],
        ["train", "emotionnas", "--help"],
        ["search", "emodarts", "--help"],
        ["compare", "--help"],
        ["tune", "light_sernet", "--help"],
        ["evaluate", "--help"],
        ["corpora", "list"],
    ],
    ids=" ".join,
)
def test_help_imports_nothing_heavy(argv):
    out, err, last = run(*argv)
    assert last == "0 []"
    assert out
    assert err == ""


def test_only_information_is_left_out(capfd):
    """Warnings and errors of a native library are passed on."""
    lines = (
        b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n",
        b"I0000 00:00:17 port.cc:153] oneDNN custom operations are on.\n",
        b"W0000 00:00:17 model.cc:1] The file is of a newer version.\n",
        b"ERROR: Op builtin_code out of range: 900.\n",
    )
    with (
        pytest.raises(RuntimeError, match="kept"),
        without_information(),
    ):
        os.write(2, b"".join(lines))
        raise RuntimeError("kept")
    assert capfd.readouterr().err == b"".join(lines[2:]).decode()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("train light_sernet --protocl x", "Did you mean --protocol?"),
        ("train light_sernet --protocol emodb-pair", "mean emodb-pairs?"),
        ("train hand_made --epochs 0", "`train_epochs` must be a positive"),
        ("compare --protocol speaker-groups-x", "speaker-groups"),
        ("tune light_sernet --trials 0", "`trials`"),
    ],
)
def test_mistakes_are_told_before_anything_heavy_is_imported(argv, message):
    out, err, last = run(*argv.split())
    assert (out, last) == ([], "2 []")
    assert message in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("train encoder --corpus emodbb --data-dir /", "Did you mean emodb?"),
        (
            "compare --corpus emodb --data-dir nowhere",
            "nowhere: no such folder",
        ),
    ],
)
def test_no_such_corpus(argv, message):
    out, err, last = run(*argv.split())
    assert (out, last) == ([], "1 []")
    assert message in err.splitlines()[-1]


@pytest.mark.parametrize("level", [None, "0"])
def test_tensorflow_is_quiet_unless_it_is_asked(level):
    """Also where it looks for devices."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TF_")
    }
    if level:
        environment["TF_CPP_MIN_LOG_LEVEL"] = level
    process = subprocess.run(
        [
            sys.executable,
            "-c",
            "from ser_keras import _quiet\n"
            "_quiet.import_tensorflow_quietly()\n"
            "_quiet.import_tensorflow_quietly()\n"
            "import keras, tensorflow\n"
            "print(tensorflow.constant(1).numpy())",
        ],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert process.stdout == "1\n"
    assert bool(process.stderr) == bool(level)
