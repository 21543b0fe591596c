"""Puts the cells of a notebook into a page, as text and code.

They replace a line such as

    % notebook: ../notebooks/from_corpus_to_served_model.ipynb

which is a comment in MyST. The notebook is the only copy; the tests run it.
"""

import json
import pathlib
import re

_LINE = re.compile(r"^% notebook: (\S+)$", re.M)


def cells(file):
    """Markdown of a notebook without its title, as the page has one."""
    found = json.loads(file.read_text(encoding="utf-8"))["cells"]
    for cell in found:
        text = "".join(cell["source"])
        if cell["cell_type"] == "code":
            yield f"```python\n{text}\n```"
        else:
            yield re.sub(r"\A# .*\n", "", text)


def insert(app, docname, source):
    """Before the page is parsed."""
    page = pathlib.Path(app.env.doc2path(docname))

    def text(match):
        file = (page.parent / match[1]).resolve()
        app.env.note_dependency(str(file))
        return "\n\n".join(cells(file))

    source[0] = _LINE.sub(text, source[0])


def setup(app):
    """Adds the step."""
    app.connect("source-read", insert)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
