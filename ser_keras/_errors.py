"""What error messages of all packages have in common."""

import contextlib
from collections.abc import Iterable
from typing import Any

_SHOWN = 5


def shortened(names: Iterable[Any], most: int = _SHOWN) -> str:
    """The first of many names, for a message.

    Args:
        names: Sequence of names.
        most: How many of them are shown.

    >>> shortened(["a", "b", "c"], most=2)
    "['a', 'b'] and 1 more"
    """
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{names[:most]}{more}"


def counted(number: int, noun: str) -> str:
    """A number with its noun in the singular or plural.

    >>> counted(1, "test speaker"), counted(2, "test speaker")
    ('1 test speaker', '2 test speakers')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


@contextlib.contextmanager
def needs_extra(what, extra, note=""):
    """Context of imports that need an extra of this package.

    Args:
        what: What needs it, the subject of the message.
        extra: Name of the extra, as in setup.cfg.
        note: Sentence about the extra, such as on its licence.

    Raises:
        ImportError: Of the kind that the import raised, with a message that
            says what to install.

    >>> with needs_extra("The demo", "demo"):
    ...     import there_is_no_such_package
    Traceback (most recent call last):
    ModuleNotFoundError: The demo needs the extra `demo`: pip install ...
    """
    try:
        yield
    except ImportError as error:
        raise type(error)(
            f"{what} needs the extra `{extra}`: pip install "
            f"'ser_keras[{extra}]'.{note and f' {note}'} ({error})",
            name=error.name,
        ) from error


class WorkerLostError(RuntimeError):
    """Another process of a training on several workers has ended."""


class DeviceError(RuntimeError):
    """There are no such devices or workers, or they do not fit together."""
