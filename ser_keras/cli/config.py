"""One dataclass is a program's flags, its help and its configuration file."""

import dataclasses
import difflib
import json
import os
import pathlib
import re
import sys
import types
import typing
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import docstring_parser
import jsonargparse

from ser_keras._errors import DeviceError
from ser_keras._errors import WorkerLostError
from ser_keras._files import write_text
from ser_keras._quiet import import_tensorflow_quietly
from ser_keras.determinism import be_deterministic
from ser_keras.memory import keep_memory

_Config = typing.TypeVar("_Config")

# Bad input, files that are not there, an extra that is not installed, devices.
_MENDABLE = (ValueError, OSError, ImportError, DeviceError, WorkerLostError)

# How often this program has started again, as another worker was lost.
_LOST = "SER_KERAS_WORKERS_LOST"
_MOST_LOST = 20

# What shtab completes to file names, written out: it is no dependency.
_FILES = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}


# What flags are called elsewhere.
_ALSO = {
    "--calibration": "--calibrate",
    "--no-calibration": "--no-calibrate",
}


def parse(
    config_class: type[_Config], argv: Sequence[str] | None = None
) -> _Config:
    """Reads a configuration from the command line and configuration files.

    Every field is a flag, written with hyphens or underscores. A field of type
    `bool` is a flag without a value (`--smoke`, `--no-smoke`), one of type
    `tuple[X, ...]` takes several values (`--labels anger sadness`) and one of
    type `typing.Literal` lists its values in the help. The help text of a
    field is the string literal below it. `--config FILE` reads fields from
    YAML or JSON, such as the `config.json` of a run's folder; flags after it
    take precedence. `--print_config` shows the result as YAML and exits.

    Args:
        config_class: A dataclass, frozen or not, with type annotations. A
            `ValueError` from its `__post_init__` is shown as a usage error.
        argv: Arguments without the program's name. Default: `sys.argv[1:]`.

    Returns:
        An instance of `config_class`.

    Raises:
        SystemExit: With status 2 after a usage error, 0 after `--help`.

    Example:
    >>> @dataclasses.dataclass(frozen=True)
    ... class Config:
    ...     labels: tuple[str, ...] = ("anger", "sadness")
    ...     smoke: bool = False
    >>> parse(Config, ["--smoke", "--labels", "fear", "calm"])
    Config(labels=('fear', 'calm'), smoke=True)
    """
    parser = make_parser(config_class)
    argv = sys.argv[1:] if argv is None else argv
    values = parser.parse_args(arguments(argv))
    return from_values(config_class, values, parser)


class _Parser(jsonargparse.ArgumentParser):
    """A parser that names the option which a mistake is like."""

    def error(self, message, *args, **kwargs):
        found = re.search(r"unrecognized arguments: (--[\w-]+)", message)
        options = [x for action in self._actions for x in action.option_strings]
        likely = found and difflib.get_close_matches(found[1], options, 1)
        if likely:
            message += f". Did you mean {likely[0]}?"
        super().error(message, *args, **kwargs)


def make_parser(config_class: type[Any]) -> jsonargparse.ArgumentParser:
    """A parser with an argument for each field; see `parse`.

    Args:
        config_class: A dataclass. Entries of a field's metadata: `positional`,
            given by its place and not by a flag; `also`, a tuple of further
            flags; and `path`, completed to files in a shell, as one whose name
            ends in `_dir` is.

    Returns:
        `jsonargparse.ArgumentParser`.
    """
    doc = docstring_parser.parse_from_object(config_class)
    helps = {
        param.arg_name: param.description
        for owner in reversed(config_class.__mro__)
        if dataclasses.is_dataclass(owner)
        for param in docstring_parser.parse_from_object(owner).params
    }
    hints = typing.get_type_hints(config_class)
    parser = _Parser(description=_prose(doc))
    parser.add_argument(
        "--config", action="config", help="YAML or JSON file with fields."
    )
    groups: dict[str, Any] = {}
    for field in dataclasses.fields(config_class):
        options = _options(hints[field.name])
        if field.metadata.get("positional"):
            name = field.name
            has_default = field.default is not dataclasses.MISSING
            if options.get("nargs") and not has_default:
                options["nargs"] = "+"
            elif has_default and not options.get("nargs"):
                options["nargs"] = "?"
        else:
            name = "--" + field.name.replace("_", "-")
        title = _group(config_class, field.name)
        if title and title not in groups:
            groups[title] = parser.add_argument_group(title)
        action = groups.get(title, parser).add_argument(
            name,
            *field.metadata.get("also", ()),
            help=helps.get(field.name) or " ",
            **_default(field),
            **options,
        )
        if field.metadata.get("path") or field.name.endswith("_dir"):
            action.complete = _FILES
    return parser


def _group(config_class, name):
    """Heading of an option in the help, or nothing.

    Options that a configuration has from a group of `experiments.options` are
    shown together, under the group's first sentence.
    """
    declared = [
        owner
        for owner in config_class.__mro__
        if name in owner.__dict__.get("__annotations__", {})
    ]
    # By name, as most commands need no experiment to be imported.
    if not any(x.__name__ == "Options" for x in declared[-1].__bases__):
        return ""
    doc = docstring_parser.parse_from_object(declared[-1])
    return doc.short_description.rstrip(".").lower()


def from_values(
    config_class: type[Any],
    values: jsonargparse.Namespace,
    parser: jsonargparse.ArgumentParser,
) -> Any:
    """The configuration that a parser's values make.

    Args:
        config_class: What `make_parser` made `parser` of.
        values: What it parsed.
        parser: Tells what is wrong with them, and exits with status 2.
    """
    hints = typing.get_type_hints(config_class)
    fields = {
        field.name: tuple(values[field.name])
        if typing.get_origin(hints[field.name]) is tuple
        else values[field.name]
        for field in dataclasses.fields(config_class)
    }
    try:
        return config_class(**fields)
    except ValueError as error:
        parser.error(str(error))


def arguments(argv: Sequence[str]) -> list[str]:
    """Arguments as the parser wants them.

    Flags are spelled with hyphens. `config.json` of a run's folder, which also
    says when and with which packages the run was made, becomes the
    configuration alone.
    """
    result, names_file = [], False
    for argument in argv:
        argument = argument if names_file else spelling(argument)
        flag, equals, value = argument.partition("=")
        if names_file:
            result.append(_configuration(argument))
        elif flag == "--config" and equals:
            result += [flag, _configuration(value)]
        else:
            result.append(argument)
        names_file = argument == "--config"
    return result


def _configuration(file):
    """The file's name, or what a run's `config.json` has as configuration."""
    try:
        record = json.loads(pathlib.Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return file  # YAML, or an error that the parser explains.
    if isinstance(record, dict) and {"config", "versions"} <= set(record):
        return json.dumps(record["config"])
    return file


def spelling(argument: str) -> str:
    """A flag with hyphens, however it was written.

    >>> spelling("--data_dir=my_corpus")
    '--data-dir=my_corpus'
    """
    flag, equals, value = argument.partition("=")
    if flag.startswith("--"):
        flag = flag.replace("_", "-")
        flag = _ALSO.get(flag, flag)
        # Not ours but the parsing library's, and spelled as it wants.
        if flag in ("--print-config", "--print-completion"):
            flag = "--" + flag[2:].replace("-", "_")
    return flag + equals + value


def run(
    main: Callable[[Any], Any],
    config_class: type[Any],
    argv: Sequence[str] | None = None,
) -> None:
    """A program: parses the command line and calls `main` with the result.

    What a user can mend is one message on stderr and exit status 1, without a
    traceback (see `print_error`); `python -X dev` shows that, too.

    Args:
        main: Function of a configuration.
        config_class: See `parse`.
        argv: Arguments without the program's name. Default: `sys.argv[1:]`.

    Raises:
        SystemExit: With status 1 after bad input; see also `parse`.
    """
    import_tensorflow_quietly()
    config = parse(config_class, argv)
    keep_memory()
    if getattr(config, "deterministic", False):
        be_deterministic()
    try:
        main(config)
    # An extractor raises RuntimeError, which names the file.
    except (*_MENDABLE, RuntimeError) as error:
        if isinstance(error, WorkerLostError):
            start_again(error)
        if sys.flags.dev_mode:
            raise
        print_error(error, "python -X dev shows where")
        raise SystemExit(1) from None


def start_again(error: WorkerLostError) -> None:
    """Starts this program again, which then waits for the worker that is lost.

    Only that worker must be started again, by whatever started it; all go on
    after the last epoch. A worker that is lost many times ends the others.

    Args:
        error: What TensorFlow said of it.
    """
    lost = int(os.environ.get(_LOST, "0")) + 1
    if lost > _MOST_LOST:
        return
    os.environ[_LOST] = str(lost)
    print(f"{error}\nThis one starts again, and waits for it.", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def error_text(error: Exception) -> str:
    """An error's message, after its type if it is none that a user can mend.

    >>> error_text(ValueError("`hop` must be positive. Received: hop=-1"))
    '`hop` must be positive. Received: hop=-1'
    >>> error_text(KeyError("label"))
    "KeyError: 'label'"
    """
    if isinstance(error, _MENDABLE):
        return str(error)
    return f"{type(error).__name__}: {error}"


def print_error(error: Exception, hint: str) -> None:
    """Prints an error on stderr, as its last line.

    A message of several lines is a sentence and a list, which goes before it.

    Args:
        error: The error.
        hint: How to see the traceback, for errors that a user cannot mend.
    """
    hint = "" if isinstance(error, _MENDABLE) else f" ({hint})"
    sentence, *details = error_text(error).strip().split("\n")
    for line in details:
        print(line, file=sys.stderr)
    print(f"error: {sentence.rstrip(':')}{hint}", file=sys.stderr)


def save(config: Any, path: str | os.PathLike[str]) -> None:
    """Writes a configuration as JSON that `--config` reads.

    Args:
        config: A dataclass instance with JSON values.
        path: The file; it is replaced if it exists.
    """
    text = json.dumps(dataclasses.asdict(config), indent=2)
    write_text(path, text + "\n")


def _prose(doc):
    return "\n\n".join(
        part for part in (doc.short_description, doc.long_description) if part
    )


def _default(field):
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    elif field.metadata.get("positional"):
        return {}
    else:
        return {"required": True}
    return {"default": list(value) if isinstance(value, tuple) else value}


def _options(hint):
    """How a field's type is parsed."""
    if hint is bool:
        # Not store_true, so that --no-x can undo a configuration file.
        return {"action": jsonargparse.ActionYesNo(no_prefix="no-")}
    if typing.get_origin(hint) is tuple:
        item, *rest = typing.get_args(hint)
        if rest != [...]:
            raise TypeError(
                f"A tuple field must be `tuple[X, ...]`. Received: {hint}"
            )
        return {"type": item, "nargs": "*"}
    if isinstance(hint, types.UnionType) and bool in typing.get_args(hint):
        raise TypeError(f"A field must be `bool` or not. Received: {hint}")
    return {"type": hint}
