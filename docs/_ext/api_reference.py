"""Directive `package`: the reference of a namespace, from its docstrings.

    ```{package} ser_keras.layers
    ```

lists and documents every public name of the namespace, which are those of its
stub `__init__.pyi`. Each name is documented once, where users import it from,
and links that name it by the module that defines it lead there.
"""

import ast
import importlib
import inspect
import pathlib
import types

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective
from sphinx.util.inspect import stringify_signature
from sphinx.util.nodes import make_refnode

# Names and first sentences: with arguments it is too wide for a phone.
_SUMMARY = [".. autosummary::", "   :nosignatures:", ""]


class Package(SphinxDirective):
    """A table of the names, then the documentation of each."""

    required_arguments = 1

    def run(self):
        """Returns the parsed documentation."""
        package = importlib.import_module(self.arguments[0])
        found = {name: getattr(package, name) for name in package.__all__}
        found = {
            name: value
            for name, value in found.items()
            if not isinstance(value, types.ModuleType)
        }
        lines = ["```{eval-rst}", f".. currentmodule:: {package.__name__}", ""]
        documented = [name for name in found if callable(found[name])]
        lines += [*_SUMMARY, *(f"   {name}" for name in documented), ""]
        for name, value in found.items():
            lines += [*_directive(package, name, value), ""]
        lines.append("```")
        node = nodes.container()
        content = StringList(lines, source=self.env.docname)
        self.state.nested_parse(content, self.content_offset, node)
        return node.children


class TopLevel(SphinxDirective):
    """A table of the names at the top, and links to where they are."""

    def run(self):
        """Returns the parsed table."""
        package = importlib.import_module("ser_keras")
        lines = ["```{eval-rst}", *_SUMMARY]
        for name in package.__all__:
            if not isinstance(getattr(package, name), types.ModuleType):
                lines.append(f"   ser_keras.{name}")
        node = nodes.container()
        content = StringList([*lines, "```"], source=self.env.docname)
        self.state.nested_parse(content, self.content_offset, node)
        return node.children


def _directive(package, name, value):
    if inspect.isclass(value):
        kind = "exception" if issubclass(value, Exception) else "class"
        return [f".. auto{kind}:: {name}", "   :members:"]
    if callable(value):
        return [f".. autofunction:: {name}"]
    # The comment that documents a constant is in the module that defines it.
    module = _defining_module(package, name)
    return [f".. autodata:: {module}.{name}", "   :no-value:"]


def _defining_module(package, name):
    stub = pathlib.Path(package.__file__).with_suffix(".pyi")
    for node in ast.parse(stub.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            if name in [alias.name for alias in node.names]:
                return f"{package.__name__}.{node.module}"
    raise LookupError(f"{stub} does not import {name}")


def link_by_name(app, env, node, contnode):
    """Links a name of ours that is documented under another path."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"].removesuffix("()")
    name = target.rpartition(".")[2]
    is_default_role = node.get("reftype") == "obj"
    # In docstrings, `score` is more often an argument than the function.
    if is_default_role and name.islower() and "_" not in name:
        return None
    if "." in target and not target.startswith("ser_keras."):
        return None
    domain = env.get_domain("py")
    found = [
        (full, entry)
        for full, entry in domain.objects.items()
        if full.endswith(f".{name}")
        and entry.objtype in ("class", "function", "exception", "data")
    ]
    if len(found) != 1:
        return None
    ((full, entry),) = found
    return make_refnode(
        app.builder,
        node["refdoc"],
        entry.docname,
        entry.node_id,
        contnode,
        full,
    )


def constructor_signature(app, what, name, obj, options, signature, returns):
    """The arguments of `__init__`, where Keras' `__new__` hides them."""
    if what != "class" or signature != "(*args, **kwargs)":
        return None
    found = inspect.signature(obj.__init__)
    parameters = list(found.parameters.values())[1:]
    found = found.replace(
        parameters=parameters, return_annotation=inspect.Signature.empty
    )
    return stringify_signature(found, unqualified_typehints=True), None


def setup(app):
    """Adds the directive and the links."""
    app.connect("autodoc-process-signature", constructor_signature)
    app.add_directive("package", Package)
    app.add_directive("top-level", TopLevel)
    app.connect("missing-reference", link_by_name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
