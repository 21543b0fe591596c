"""Packages whose names are imported on first use."""

from collections.abc import Callable

import lazy_loader

from ser_keras._deprecated import find_deprecated


def attach(package: str, file: str) -> tuple[Callable, Callable, list[str]]:
    """The three names of such a package: `__getattr__`, `__dir__`, `__all__`.

    The public names of a package are listed once, as imports of the stub
    `__init__.pyi` beside its `__init__.py`, which type checkers read too. A
    name that has moved or was renamed is still found for one release, with a
    DeprecationWarning; see `ser_keras._deprecated`.

    Args:
        package: Its name, `__name__`.
        file: Its `__init__.py`, `__file__`.

    Returns:
        `__getattr__` and `__dir__` of a module (PEP 562), and `__all__`.
    """
    find, names, public = lazy_loader.attach_stub(package, file)

    def __getattr__(name):
        if name in public:
            return find(name)
        return find_deprecated(package, name)

    return __getattr__, names, public
