"""Directive `notebook`: the cells of a notebook as text and code.

    ```{notebook} ../notebooks/from_corpus_to_served_model.ipynb
    ```

The notebook is the only copy; the tests execute it.
"""

import json
import pathlib

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective


class Notebook(SphinxDirective):
    """The cells, without the title."""

    required_arguments = 1

    def run(self):
        """Returns the parsed cells."""
        page = pathlib.Path(self.env.doc2path(self.env.docname))
        file = (page.parent / self.arguments[0]).resolve()
        self.env.note_dependency(str(file))
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        lines = []
        for cell in cells:
            text = "".join(cell["source"]).splitlines()
            if cell["cell_type"] == "code":
                text = ["```python", *text, "```"]
            elif text[0].startswith("# "):
                text = text[1:]  # The page has a title of its own.
            lines += [*text, ""]
        node = nodes.Element()
        node.document = self.state.document
        content = StringList(lines, source=str(file))
        self.state.nested_parse(
            content, self.content_offset, node, match_titles=True
        )
        return node.children


def setup(app):
    """Adds the directive."""
    app.add_directive("notebook", Notebook)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
