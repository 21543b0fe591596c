"""Directives that render the records of `docs/results/` as tables.

    ```{runs} emodb_light_sernet emodb_light_sernet_ravdess
    ```

is a table of the runs of these records, best first, with what their protocol
overstates, and the commands that made them;

    ```{differences} emodb_emodarts_groups
    ```

is one of their paired differences,

    ```{before} emodb_emodarts_groups
    ```

of former scores that were found to be wrong, and

    ```{benchmark} front_end
    ```

of what a benchmark measured. Every record must be on some page.
"""

import pathlib

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from ser_keras.protocols.protocol import overstated
from ser_keras.reports import records

RESULTS = pathlib.Path(__file__).resolve().parent.parent / "results"
LOGGER = logging.getLogger(__name__)


def read(name):
    """The record of this name."""
    return records.read_record(RESULTS / f"{name}.json")


class Records(SphinxDirective):
    """A table of the records that are named."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self):
        """Returns the parsed table."""
        names = self.arguments[0].split()
        self.env.records_shown = getattr(self.env, "records_shown", set())
        self.env.records_shown |= set(names)
        for name in names:
            self.env.note_dependency(str(RESULTS / f"{name}.json"))
        found = [read(name) for name in names]
        lines = [*self.lines(found), "", *origins(found)]
        node = nodes.container(classes=["record"])
        content = StringList(
            "\n".join(lines).splitlines(), source=self.env.docname
        )
        self.state.nested_parse(content, self.content_offset, node)
        return [node]


class Runs(Records):
    """Runs, best first."""

    def lines(self, found):
        """Markdown."""
        protocol = found[0]["protocol"]
        facts = {
            name: protocol[name]
            for name in ("leaks_speakers", "selects_on_test")
        }
        if any(facts.values()):
            yield f":::{{warning}}\n{overstated(**facts)}\n:::\n"
        yield records.runs_table(found)


class Differences(Records):
    """Paired differences."""

    def lines(self, found):
        """Markdown."""
        yield from map(records.differences_table, found)


class Before(Records):
    """Runs that were repeated because the former measurement was wrong."""

    def lines(self, found):
        """Markdown."""
        yield "| run | protocol | before | now | why |"
        yield "|---|---|---|---|---|"
        for record in found:
            for run in record["runs"]:
                before = run["before"]
                now = run["scores"]["uar"]["value"]
                yield (
                    f"| {run['name']} | {record['corpus']}, "
                    f"{record['protocol']['name']} | {_numbers(before['uar'])} "
                    f"| {now:.3f} | {before['what']} |"
                )


def _numbers(value):
    """One former score, or those of several runs."""
    values = value if isinstance(value, list) else [value]
    return " and ".join(f"{x:.3f}" for x in values)


class Benchmark(Records):
    """What a benchmark measured."""

    def lines(self, found):
        """Markdown."""
        yield from map(records.benchmark_table, found)


def origins(found):
    """How each record was measured, as Markdown."""
    summary = "<details><summary>How this was measured</summary>"
    yield f"```{{raw}} html\n{summary}\n```"
    for record in found:
        versions = record["versions"] or {}
        facts = {
            "corpus": record.get("corpus"),
            "protocol": _protocol(record.get("protocol")),
            "seed": record.get("seed"),
            "commit": record["commit"],
            "date": record["date"],
            "machine": record["machine"],
            "versions": ", ".join(f"{k} {v}" for k, v in versions.items()),
            "taken over from": record.get("source"),
        }
        yield f"\n`{record['name']}`\n\n```sh\n{record['command']}\n```\n"
        if record.get("notes"):
            yield record["notes"] + "\n"
        yield (
            "; ".join(
                f"{name}: {value}"
                for name, value in facts.items()
                if value not in (None, "")
            )
            + ".\n"
        )
    yield "```{raw} html\n</details>\n```"


def _protocol(protocol):
    if protocol is None or protocol["hash"] is None:
        return protocol and protocol["name"]
    return f"{protocol['name']} ({protocol['hash']})"


def check_all_shown(app, env):
    """Warns of a record that no page shows."""
    shown = getattr(env, "records_shown", set())
    for file in sorted(RESULTS.glob("*.json")):
        if file.stem not in shown:
            LOGGER.warning("docs/results/%s is on no page", file.name)


def setup(app):
    """Adds the directives and the check."""
    for directive in (Runs, Differences, Before, Benchmark):
        app.add_directive(directive.__name__.lower(), directive)
    app.connect("env-check-consistency", check_all_shown)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
