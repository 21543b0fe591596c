"""`ser_keras report`: one page about runs."""

import dataclasses
import pathlib

from ser_keras.cli.command import Command


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """Writes one page and a table about one or several runs.

    An HTML page holds recordings of the corpus: whether it may be passed on is
    up to the corpus' licence. `--no-audio` leaves them out.
    """

    runs: tuple[str, ...] = dataclasses.field(
        metadata={"positional": True, "path": True}
    )
    """Folders of finished runs."""
    output: str = dataclasses.field(
        default="report.html", metadata={"path": True}
    )
    """Page to write; a Markdown table of the same name is written beside it.
    With the ending .md the table alone."""
    audio: bool = True
    """Let the most confident errors be heard; `--no-audio` makes a page that
    holds no recording."""
    replace: bool = False
    """Replace the files if they exist."""


def report(config):
    """Writes the page and the table."""
    from ser_keras.reports.html import write_html
    from ser_keras.reports.html import write_markdown

    output = pathlib.Path(config.output)
    table = output.with_suffix(".md")
    for file in (output, table):
        if file.exists() and not config.replace:
            raise FileExistsError(
                f"{file} exists. Choose another --output, or --replace it."
            )
    runs = list(config.runs)
    result = {"report": str(table), "table": str(table)}
    if output != table:
        page = write_html(runs, output, audio=config.audio)
        result["report"] = str(page)
    write_markdown(runs, table)
    return result


def show(result):
    """Prints where the page and the table are."""
    for file in dict.fromkeys(result.values()):
        print(f"report in {file}")


REPORT = Command(ReportConfig, report, show)
