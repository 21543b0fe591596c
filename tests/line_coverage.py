"""Plugin of pytest: which lines of ser_keras ran, for `coverage report`.

On Python 3.11 coverage's own tracer is called for the lines of TensorFlow and
Keras as well, and the tests take a third longer. SlipCover instruments our
modules only, when they are imported.

    python -m pytest -p tests.line_coverage
    coverage combine
    coverage report
"""

import pathlib

import coverage
import slipcover

SOURCE = pathlib.Path(__file__).resolve().parent.parent / "ser_keras"

_lines = slipcover.Slipcover(source=[str(SOURCE)], d_miss_threshold=10**9)
# This module is loaded before tests/conftest.py, the first to import us.
slipcover.ImportManager(
    _lines, slipcover.FileMatcher([str(SOURCE)])
).__enter__()


def pytest_sessionfinish():
    """Writes a file for `coverage combine`, in each test process."""
    files = {
        str(SOURCE.parent / name): found["executed_lines"]
        for name, found in _lines.get_coverage()["files"].items()
    }
    data = coverage.CoverageData(suffix=True)
    data.add_lines(files)
    data.touch_files(files)  # Those of which no line ran.
    data.write()
