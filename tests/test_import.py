import subprocess
import sys

import keras
import pytest


def run(code, **kwargs):
    """Runs Python code in a fresh process; returns what it printed."""
    process = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        **kwargs,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout + process.stderr


@pytest.mark.parametrize(
    "modules", ["ser_keras", "ser_keras.genotype, ser_keras.search_space"]
)
def test_import_is_quiet_and_light(modules, repository):
    printed = run(
        f"import sys, {modules}\n"
        "heavy = {'tensorflow', 'keras', 'numpy', 'librosa', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n",
        cwd=repository,
    )
    assert printed == ""


def test_what_computes_nothing_waits_for_nothing(repository):
    """A client, a report, folds, and who starts other processes."""
    printed = run(
        "import sys\n"
        "import ser_keras.corpora.parsers\n"
        "import ser_keras.reports.html\n"
        "import ser_keras.training.engines.fan_out\n"
        "import ser_keras.serving.client\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\n",
        cwd=repository,
    )
    assert printed == ""


def test_saved_model_loads_in_a_fresh_process(
    waveform_model, repository, tmp_path
):
    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((None,)), waveform_model.frontend]).save(path)
    printed = run(
        "import ser_keras\n"
        f"model = ser_keras.load_model({str(path)!r})\n"
        "print('loaded', type(model.layers[0]).__name__)\n",
        cwd=repository,
    )
    assert "loaded MFCC" in printed
