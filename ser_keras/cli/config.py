"""One dataclass is a program's flags, its help and its configuration file."""

import dataclasses
import json
import pathlib
import sys
import types
import typing

import docstring_parser
import jsonargparse


def parse(config_class, argv=None):
    """Reads a configuration from the command line and configuration files.

    Every field is a flag, written with hyphens or underscores. A field of type
    `bool` is a flag without a value (`--smoke`, `--no-smoke`), one of type
    `tuple[X, ...]` takes several values (`--labels anger sadness`) and one of
    type `typing.Literal` lists its values in the help. The help text of a
    field is the string literal below it. `--config FILE` reads fields from
    YAML or JSON; flags after it take precedence. `--print_config` shows the
    result as YAML and exits.

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
    doc = docstring_parser.parse_from_object(config_class)
    helps = {
        param.arg_name: param.description
        for owner in reversed(config_class.__mro__)
        if dataclasses.is_dataclass(owner)
        for param in docstring_parser.parse_from_object(owner).params
    }
    hints = typing.get_type_hints(config_class)
    parser = jsonargparse.ArgumentParser(description=_prose(doc))
    parser.add_argument(
        "--config", action="config", help="YAML or JSON file with fields."
    )
    flags = {"--print-config": "--print_config"}
    tuples = set()
    for field in dataclasses.fields(config_class):
        flag = "--" + field.name.replace("_", "-")
        flags["--" + field.name] = flag
        options, is_tuple = _options(hints[field.name])
        if is_tuple:
            tuples.add(field.name)
        parser.add_argument(
            flag,
            help=helps.get(field.name) or " ",
            **_default(field, is_tuple),
            **options,
        )
    argv = sys.argv[1:] if argv is None else argv
    values = vars(parser.parse_args([_spelling(a, flags) for a in argv]))
    values.pop("config")
    values |= {name: tuple(values[name]) for name in tuples}
    try:
        return config_class(**values)
    except ValueError as error:
        parser.error(str(error))


def run(main, config_class, argv=None):
    """A program: parses the command line and calls `main` with the result.

    What a user can mend (bad input, files that are not there) is one message
    on stderr and exit status 1, without a traceback; `python -X dev` shows
    that, too.

    Args:
        main: Function of a configuration.
        config_class: See `parse`.
        argv: Arguments without the program's name. Default: `sys.argv[1:]`.

    Raises:
        SystemExit: With status 1 after bad input; see also `parse`.
    """
    config = parse(config_class, argv)
    try:
        main(config)
    except (ValueError, OSError) as error:
        if sys.flags.dev_mode:
            raise
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def save(config, path):
    """Writes a configuration as JSON that `--config` reads.

    Args:
        config: A dataclass instance with JSON values.
        path: The file; it is replaced if it exists.
    """
    text = json.dumps(dataclasses.asdict(config), indent=2)
    pathlib.Path(path).write_text(text + "\n", encoding="utf-8")


def _prose(doc):
    return "\n\n".join(
        part for part in (doc.short_description, doc.long_description) if part
    )


def _spelling(argument, flags):
    flag, equals, value = argument.partition("=")
    return flags.get(flag, flag) + equals + value


def _default(field, is_tuple):
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return {"required": True}
    return {"default": list(value) if is_tuple else value}


def _options(hint):
    """How a field's type is parsed, and whether it is a tuple."""
    if hint is bool:
        # Not store_true, so that --no-x can undo a configuration file.
        return {"action": jsonargparse.ActionYesNo(no_prefix="no-")}, False
    if typing.get_origin(hint) is tuple:
        item, *rest = typing.get_args(hint)
        if rest != [...]:
            raise TypeError(
                f"A tuple field must be `tuple[X, ...]`. Received: {hint}"
            )
        return {"type": item, "nargs": "*"}, True
    if isinstance(hint, types.UnionType) and bool in typing.get_args(hint):
        raise TypeError(f"A field must be `bool` or not. Received: {hint}")
    return {"type": hint}, False
