"""Packages whose names are imported on first use."""

import importlib
import sys


def lazy(package, module_of):
    """`__getattr__` and `__dir__` of such a package (PEP 562).

    Its modules are attributes as well: `import ser_keras as ser; ser.layers`.

    Args:
        package: Its name.
        module_of: Dict from a public name to the module that has it.

    Returns:
        Both functions.
    """
    names = vars(sys.modules[package])

    def __getattr__(name):
        if name in module_of:
            value = getattr(importlib.import_module(module_of[name]), name)
            names[name] = value  # Later look-ups do not come here.
            return value
        if not name.startswith("_"):
            try:
                return importlib.import_module(f"{package}.{name}")
            except ModuleNotFoundError as error:
                if error.name != f"{package}.{name}":
                    raise
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def __dir__():
        return sorted(set(names) | set(module_of))

    return __getattr__, __dir__
