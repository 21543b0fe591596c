"""Configuration of Sphinx, which builds these pages: `make docs`."""

import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["MPLBACKEND"] = "Agg"

import ser_keras  # noqa: E402

project = "ser_keras"
copyright = "the ser_keras authors"
version = release = ser_keras.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
    # In docs/_ext:
    "api_reference",
    "docstrings",
    "notebook_page",
    "record_tables",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "_ext"]
# Objects that a page names with a role must exist. What is not ours (Keras,
# TensorFlow, NumPy) is not looked up, as that needs a network; single
# backticks in docstrings link where they can (docs/_ext/api_reference.py).
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!ser_keras\.)[\s\S]*"),
    (r"py:obj", r"[\s\S]*"),
    # Types of annotations that are in no namespace, so not public.
    (r"py:.*", r"ser_keras\.\w+\.[a-z_]+\.[\s\S]*"),
]
default_role = "py:obj"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3  # `page.md#heading` is checked, and must exist.

autodoc_inherit_docstrings = False  # Keras' own are written in Markdown.
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 72
autosummary_generate = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = [
    ("Call arguments", "params_style"),
    "Input shape",
    "Output shape",
]

# Examples of docstrings (`>>>`) are run by pytest; those of the pages are
# `{testcode}` blocks. They run in a folder of their own.
doctest_test_doctest_blocks = ""
doctest_global_setup = """
import logging, os, tempfile, warnings
os.chdir(tempfile.mkdtemp())
logging.getLogger("tensorflow").setLevel("ERROR")
warnings.simplefilter("ignore")
"""

html_theme = "furo"
html_title = f"ser_keras {version}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0072B2"},
}
html_show_sphinx = False
html_copy_source = False
