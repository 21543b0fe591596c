"""Docstrings as people write them, made reStructuredText for autodoc.

Ours are plain text with a little Markdown, which reads well in an editor:
fenced code, tables, examples right below `Example:`, code indented after a
colon, and plurals of code such as `Fold`s.
"""

import re

_SECTION = re.compile(r"\s*[A-Z][\w ]*:$")
# `Output shape: (batch, ...` on one line, as Keras has it below a heading.
_SHAPE = re.compile(r"((?:In|Out)put shape): (\S.*)")
_PLURAL = re.compile(r"(?<!`)(`[^`\n]+`)(?=\w)")


def to_rst(lines):
    r"""The lines of a docstring as reStructuredText.

    >>> to_rst(["Example:", ">>> 1", "1"])
    ['', '.. rubric:: Example', '', '>>> 1', '1']
    >>> to_rst(["List of `Fold`s."])
    ['List of `Fold`\\ s.']
    """
    result, lines = [], list(lines)
    while lines:
        line = lines.pop(0)
        indent = line[: len(line) - len(line.lstrip())]
        if line.strip().startswith("```"):
            language = line.strip().removeprefix("```") or "text"
            result += [f"{indent}.. code-block:: {language}", ""]
            while lines and lines[0].strip() != "```":
                result.append(f"   {lines.pop(0)}".rstrip())
            result.append("")
            del lines[:1]
        elif line.strip().startswith("|") and line.rstrip().endswith("|"):
            rows = [line]
            while lines and lines[0].strip().startswith("|"):
                rows.append(lines.pop(0))
            result += _table(rows, indent)
        elif line.strip().startswith(">>>"):
            if result and result[-1].strip():
                result.append("")
            result.append(line)
            while lines and lines[0].strip():
                result.append(lines.pop(0))
        elif line.strip() == "Example:" and lines[0].startswith(indent + ">>>"):
            # Not a section for napoleon, which wants its lines indented.
            result += ["", f"{indent}.. rubric:: Example", ""]
        elif match := _SHAPE.fullmatch(line):
            result += [f"{match[1]}:", f"    {match[2]}"]
        elif _begins_code(result, line):
            result += [f"{indent[:-4]}::", "", line]
            while lines and (
                not lines[0].strip() or lines[0].startswith(indent)
            ):
                result.append(lines.pop(0))
        else:
            result.append(_PLURAL.sub(r"\1\\ ", line))
    return result


def _begins_code(before, line):
    """Whether a line is code that is indented below a sentence."""
    if len(before) < 2 or before[-1].strip() or not before[-2].strip():
        return False
    sentence = before[-2]
    deeper = (
        len(line)
        - len(line.lstrip())
        - (len(sentence) - len(sentence.lstrip()))
    )
    return deeper == 4 and not _SECTION.match(sentence)


def _table(rows, indent):
    """A Markdown table as a list-table.

    A row whose first cell is empty goes on with the one above it.
    """
    cells = []
    for row in (rows[0], *rows[2:]):
        found = [cell.strip() for cell in row.strip().strip("|").split("|")]
        if found[0] or not cells:
            cells.append(found)
        else:
            pairs = zip(cells[-1], found, strict=True)
            cells[-1] = [f"{above} {cell}".strip() for above, cell in pairs]
    lines = [f"{indent}.. list-table::", f"{indent}   :header-rows: 1", ""]
    for row in cells:
        for number, cell in enumerate(row):
            lines.append(f"{indent}   {' ' if number else '*'} - {cell}")
    return [*lines, ""]


def process(app, what, name, obj, options, lines):
    """Before napoleon, which reads the sections."""
    lines[:] = to_rst(lines)


def setup(app):
    """Adds the step."""
    app.connect("autodoc-process-docstring", process, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
