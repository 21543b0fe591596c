"""What a command of the program is."""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Command:
    """One command: its options, its work, and how a person sees the result.

    Args:
        config: Dataclass of its options; see `ser_keras.cli.parse`.
        run: Function from a `config` to a dict of JSON types. An entry
            `failed` that is true makes the program end with status 1.
        show: Function that prints such a dict for a person.
    """

    config: type
    run: Callable
    show: Callable
