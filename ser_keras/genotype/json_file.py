"""JSON files of genotypes."""

import json
import os
from collections.abc import Callable
from typing import Any
from typing import ClassVar
from typing import TypeVar

from ser_keras._files import write_text

_Self = TypeVar("_Self", bound="JSONFile")


class JSONFile:
    """Mixin of classes with `to_dict` and `from_dict`: saving and loading."""

    to_dict: Callable[[], dict[str, Any]]
    from_dict: ClassVar[Any]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the genotype to a JSON file, atomically."""
        write_text(path, json.dumps(self.to_dict(), indent=1) + "\n")

    @classmethod
    def load(cls: type[_Self], path: str | os.PathLike[str]) -> _Self:
        """Reads a genotype from a JSON file.

        Raises:
            ValueError: The file is broken or holds no valid genotype; the
                message names the file.
        """
        return read_json(path, cls.from_dict)


def read_json(
    path: str | os.PathLike[str], from_dict: Callable[[Any], Any]
) -> Any:
    """Reads a JSON file; errors name the file.

    Args:
        path: The file.
        from_dict: Function of its content, whose result is returned.

    Raises:
        ValueError: The file is not JSON, or `from_dict` raises it.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return from_dict(json.load(file))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: broken JSON ({error}). Genotype files are written by "
            "`Genotype.save` and by searches, into their run folder."
        ) from error
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error
