"""`ser_keras report`: one page about runs."""

import dataclasses
import pathlib

from ser_keras.cli.command import Command


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """Writes one page about one or several runs.

    An HTML page holds recordings of the corpus: whether it may be passed on is
    up to the corpus' licence.
    """

    runs: tuple[str, ...] = dataclasses.field(
        metadata={"positional": True, "path": True}
    )
    """Folders of finished runs."""
    output: str = dataclasses.field(
        default="report.html", metadata={"path": True}
    )
    """File to write: a page, or with the ending .md a Markdown table."""
    replace: bool = False
    """Replace the file if it exists."""


def report(config):
    """Writes the page."""
    from ser_keras.evaluation.html_report import write_html
    from ser_keras.evaluation.html_report import write_markdown

    output = pathlib.Path(config.output)
    if output.exists() and not config.replace:
        raise FileExistsError(
            f"{output} exists. Choose another --output, or --replace it."
        )
    write = write_markdown if output.suffix == ".md" else write_html
    return {"report": str(write(list(config.runs), output))}


def show(result):
    """Prints where the page is."""
    print(f"report in {result['report']}")


REPORT = Command(ReportConfig, report, show)
