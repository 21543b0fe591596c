"""The program `ser_keras`: its commands, its output, and how it ends."""

import contextlib
import importlib
import json
import math
import os
import sys

import jsonargparse

import ser_keras
from ser_keras._errors import WorkerLostError
from ser_keras._quiet import import_tensorflow_quietly
from ser_keras.cli.config import arguments
from ser_keras.cli.config import error_text
from ser_keras.cli.config import from_values
from ser_keras.cli.config import make_parser
from ser_keras.cli.config import print_error
from ser_keras.cli.config import start_again
from ser_keras.determinism import be_deterministic
from ser_keras.experiments.registry import SYSTEMS
from ser_keras.memory import keep_memory

_DESCRIPTION = """Speech emotion recognition: search, train, score and export
networks, and use them.

Exit status: 0 after success, 1 after an error, which is the last line, 2
after a mistake on the command line."""

_RUNS = "ser_keras.cli.experiments"

# Help, and either the module and name of a `Command` or more commands. Only
# what is asked for is imported: most of them need TensorFlow, which takes
# seconds.
COMMANDS = {
    "search": (
        "Search an architecture on a corpus.",
        {
            name: (system.help, f"{_RUNS}:SEARCH_{name.upper()}")
            for name, system in SYSTEMS.items()
            if system.searches
        },
    ),
    "train": (
        "Train on a corpus, score unseen speakers, and export.",
        {
            name: (system.help, f"{_RUNS}:TRAIN_{name.upper()}")
            for name, system in SYSTEMS.items()
        },
    ),
    "compare": (
        "Run several systems on the same folds, in one report.",
        f"{_RUNS}:COMPARE",
    ),
    "tune": (
        "Tune a system's options on training speakers.",
        {
            name: (system.help, f"{_RUNS}:TUNE_{name.upper()}")
            for name, system in SYSTEMS.items()
        },
    ),
    "evaluate": (
        "Score a run, or a model on a corpus.",
        "ser_keras.cli.evaluate:EVALUATE",
    ),
    "predict": (
        "Say which emotion recordings express.",
        "ser_keras.cli.predict:PREDICT",
    ),
    "export": (
        "Turn a run into a SavedModel or a LiteRT file.",
        "ser_keras.cli.export:EXPORT",
    ),
    "report": (
        "Write one page about one or several runs.",
        "ser_keras.cli.report:REPORT",
    ),
    "serve": (
        "Answer TensorFlow Serving's REST calls.",
        "ser_keras.cli.serve:SERVE",
    ),
    "demo": (
        "Open a web page to record or upload speech.",
        "ser_keras.cli.serve:DEMO",
    ),
    "corpora": (
        "List or fetch corpora, or check one before hours are spent on it.",
        {
            "list": (
                "Corpora and protocols that are known.",
                "ser_keras.cli.corpora:LIST",
            ),
            "check": (
                "Read a corpus and look for what is wrong with it.",
                "ser_keras.cli.corpora:CHECK",
            ),
            "download": (
                "Fetch a free corpus from its owners.",
                "ser_keras.cli.corpora:DOWNLOAD",
            ),
        },
    ),
}


def main(argv=None):
    """Runs the program.

    Args:
        argv: Arguments without the program's name. Default: `sys.argv[1:]`.

    Returns:
        The exit status: 0, 1 after an error, 130 after Ctrl-C.

    Raises:
        SystemExit: With status 2 after a usage error, 0 after `--help`.

    >>> main(["corpora", "list", "--json"])
    {"corpora": ["audformat", ...
    0
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    keep_memory()
    import_tensorflow_quietly()
    jsonargparse.set_parsing_settings(add_print_completion_argument=True)
    # Completion of a command line that is still being typed (argcomplete).
    typed = os.environ.get("COMP_LINE", "").split()
    parser = jsonargparse.ArgumentParser(
        prog="ser_keras",
        description=_DESCRIPTION,
        version=ser_keras.__version__,
    )
    complete = any("completion" in argument for argument in argv)
    leaves = {}
    wanted = None if complete else {*argv, *typed}
    try:
        _add_commands(parser, COMMANDS, leaves, wanted)
    except ImportError as error:  # Of an extra; the message names it.
        if "--traceback" in argv:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not argv and not typed:
        parser.print_help(sys.stderr)
        return 2
    values, path = parser.parse_args(arguments(argv)), ()
    while values.get("subcommand"):
        path = (*path, values.subcommand)
        values = values[values.subcommand]
    command, leaf = leaves[path]
    config = from_values(command.config, values, leaf)
    return _run(command, config, values.json, values.traceback)


def _add_commands(parser, commands, leaves, wanted, path=()):
    """Adds commands to a parser; those not wanted have no options."""
    subcommands = parser.add_subcommands(metavar="COMMAND")
    for name, (help_line, target) in commands.items():
        here = (*path, name)
        if isinstance(target, dict):
            subparser = jsonargparse.ArgumentParser(description=help_line)
        elif wanted is None or wanted.issuperset(here):
            module, attribute = target.split(":")
            command = getattr(importlib.import_module(module), attribute)
            subparser = make_parser(command.config)
            _add_common(subparser)
            leaves[here] = command, subparser
        else:
            subparser = jsonargparse.ArgumentParser()
        subcommands.add_subcommand(name, subparser, help=help_line)
        if isinstance(target, dict):
            _add_commands(subparser, target, leaves, wanted, here)


def _add_common(parser):
    parser.add_argument(
        "--json",
        action="store_true",
        help="Write one JSON object to stdout and nothing else there.",
    )
    parser.add_argument(
        "--traceback",
        action="store_true",
        help="Show where in the program an error came up.",
    )


def _run(command, config, as_json, traceback):
    try:
        if getattr(config, "deterministic", False):
            be_deterministic()
        with _stdout_to_stderr() if as_json else contextlib.nullcontext():
            result = command.run(config)
        if as_json:
            print(json.dumps(_without_nan(result), allow_nan=False))
        else:
            command.show(result)
        sys.stdout.flush()
    except BrokenPipeError:  # The reader of our output has ended: `| head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if isinstance(error, WorkerLostError):
            start_again(error)
        if traceback:
            raise
        if as_json:
            print(json.dumps({"error": error_text(error)}))
        print_error(error, "see --traceback")
        return 1
    return 1 if result.get("failed") else 0


def _without_nan(value):
    """The same with null for NaN and infinities, for which JSON has no word."""
    if isinstance(value, dict):
        return {key: _without_nan(element) for key, element in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(element) for element in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@contextlib.contextmanager
def _stdout_to_stderr():
    """Progress and messages go to stderr, of child processes as well."""
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
