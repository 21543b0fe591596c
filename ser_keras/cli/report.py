"""`ser_keras report`: one page about runs."""

import dataclasses
import pathlib

from ser_keras.cli.command import Command


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """Writes one page and a table about one or several runs.

    The HTML page contains recordings of the corpus, so the corpus' licence
    decides whether it may be passed on. `--no-audio` leaves them out.
    """

    runs: tuple[str, ...] = dataclasses.field(
        metadata={"positional": True, "path": True}
    )
    """Folders of finished runs. The first one is the reference of the paired
    differences."""
    output: str = dataclasses.field(
        default="report.html", metadata={"path": True}
    )
    """Page to write; a Markdown table of the same name is written beside it.
    With the ending .md the table alone."""
    audio: bool = True
    """Include the recordings of the most confident errors; `--no-audio` writes
    a page without any recording."""
    record: str = dataclasses.field(default="", metadata={"path": True})
    """JSON file to write as well: scores with intervals, paired differences,
    versions, corpus, protocol and machine. Needs `--command`."""
    command: str = ""
    """Command that made the runs, for `--record`: a run's folder does not say
    it."""
    replace: bool = False
    """Replace the files if they exist."""

    def __post_init__(self):
        if bool(self.record) != bool(self.command):
            raise ValueError(
                "--record and --command must be given together. Received: "
                f"record={self.record!r}, command={self.command!r}"
            )


def report(config):
    """Writes the page, the table and the record."""
    from ser_keras.reports.html import write_html
    from ser_keras.reports.html import write_markdown
    from ser_keras.reports.records import run_record
    from ser_keras.reports.records import write_record

    output = pathlib.Path(config.output)
    table = output.with_suffix(".md")
    record = pathlib.Path(config.record) if config.record else None
    for file in filter(None, (output, table, record)):
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
    if record:
        found = run_record(runs, config.command, name=record.stem)
        result["record"] = str(write_record(found, record, config.replace))
    return result


def show(result):
    """Prints where the files are."""
    for file in dict.fromkeys(result.values()):
        print(f"report in {file}")


REPORT = Command(ReportConfig, report, show)
