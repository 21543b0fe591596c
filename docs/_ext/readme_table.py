"""The README's result table, from the same records as the pages.

    python docs/_ext/readme_table.py

writes it between the comments `<!-- runs: RECORD ... -->` and
`<!-- end of runs -->`. A test fails where it differs.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from ser_keras.reports.records import read_record  # noqa: E402
from ser_keras.reports.records import runs_table  # noqa: E402

_TABLE = re.compile(
    r"(<!-- runs: ([\w ]+) -->\n).*?(<!-- end of runs -->)", re.S
)


def rendered(text):
    """The README with its table rendered anew."""

    def table(match):
        names = match[2].split()
        folder = ROOT / "docs/results"
        found = [read_record(folder / f"{name}.json") for name in names]
        return f"{match[1]}\n{runs_table(found)}\n\n{match[3]}"

    return _TABLE.sub(table, text)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(rendered(readme.read_text("utf-8")), encoding="utf-8")
