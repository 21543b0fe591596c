"""`ser_keras report`: one page about runs."""

import dataclasses
import pathlib

from ser_keras.cli.command import Command


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """Writes one page about one or several runs.

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
    """File to write: a page, or with the ending .md a Markdown table."""
    audio: bool = True
    """Let the most confident errors be heard; `--no-audio` makes a page that
    holds no recording."""
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
    runs = list(config.runs)
    if output.suffix == ".md":
        return {"report": str(write_markdown(runs, output))}
    return {"report": str(write_html(runs, output, audio=config.audio))}


def show(result):
    """Prints where the page is."""
    print(f"report in {result['report']}")


REPORT = Command(ReportConfig, report, show)
