"""`ser_keras predict` with the model that comes along, in its own process."""

import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from ser_keras.cli.predict import _without_information

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


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(flag):
    out, err, last = run(flag)
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
        _without_information(),
    ):
        os.write(2, b"".join(lines))
        raise RuntimeError("kept")
    assert capfd.readouterr().err == b"".join(lines[2:]).decode()
