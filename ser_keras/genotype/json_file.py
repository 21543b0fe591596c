"""What is written to a JSON file of its own."""

import json

from ser_keras._files import write_text


class JSONFile:
    """Saves and loads what has `to_dict` and `from_dict`."""

    def save(self, path) -> None:
        """Writes the genotype to a JSON file, in one step."""
        write_text(path, json.dumps(self.to_dict(), indent=1) + "\n")

    @classmethod
    def load(cls, path):
        """Reads a genotype from a JSON file.

        Raises:
            ValueError: The file is broken or holds no usable genotype; the
                message names the file.
        """
        return read_json(path, cls.from_dict)


def read_json(path, from_dict):
    """What `from_dict` makes of a file; its errors name the file."""
    try:
        with open(path, encoding="utf-8") as file:
            return from_dict(json.load(file))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: broken JSON ({error}). A genotype file is written "
            "by `Genotype.save` or by a search's run folder."
        ) from error
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error
