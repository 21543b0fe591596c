"""The option `--record FILE`, which every benchmark has.

The file has the measured values with their units, the command, commit,
versions and machine; the documentation's tables are rendered from such files
in `docs/results/`. See `ser_keras.reports.records`.
"""

import pathlib
import shlex
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ser_keras.reports.records import benchmark_record  # noqa: E402
from ser_keras.reports.records import measurement  # noqa: E402, F401
from ser_keras.reports.records import write_record  # noqa: E402


def add_record_argument(parser):
    """Adds the option to an `argparse.ArgumentParser`."""
    parser.add_argument(
        "--record",
        type=pathlib.Path,
        metavar="FILE",
        help="JSON file to write what was measured to; it is replaced",
    )


def record(arguments, measurements):
    """Writes the file, if the option was given.

    Args:
        arguments: What the parser returned.
        measurements: List of dicts from `measurement`.
    """
    if arguments.record is None:
        return
    name = arguments.record.stem
    found = benchmark_record(name, command(sys.argv), measurements)
    write_record(found, arguments.record, replace=True)


def command(argv):
    """The command line without `--record FILE`, from the repository's root."""
    script, *options = argv
    kept, skip = [], False
    for option in options:
        if skip or option.startswith("--record="):
            skip = False
        elif option == "--record":
            skip = True
        else:
            kept.append(option)
    name = f"benchmarks/{pathlib.Path(script).name}"
    return shlex.join(["python", name, *kept])
