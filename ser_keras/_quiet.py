"""What native libraries write for information, kept from the terminal."""

import contextlib
import importlib.machinery
import logging
import os
import re
import sys
import tempfile

# How LiteRT and TensorFlow mark messages that are neither warning nor error,
# and what TensorFlow calls an error on every machine without a GPU. Neither has
# a setting for what it writes while it is loaded.
_INFORMATION = re.compile(
    rb"INFO: |I\d{4} |WARNING: All log messages before|E\d{4} .*cuInit|"
    rb"fully_quantize: "
)
_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


@contextlib.contextmanager
def without_information():
    """Leaves out of stderr what native libraries write for information.

    They write to the file descriptor, whatever `sys.stderr` is.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            written.seek(0)
            for line in written:
                if not _INFORMATION.match(line):
                    os.write(2, line)


def import_tensorflow_quietly() -> None:
    """Has TensorFlow imported without its messages, whenever that is.

    Who wants them sets `TF_CPP_MIN_LOG_LEVEL` to 0 or 1.
    """
    if os.environ.setdefault(_LEVEL, "2") in ("0", "1"):
        return
    if "tensorflow" not in sys.modules and not any(
        isinstance(finder, _Finder) for finder in sys.meta_path
    ):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds TensorFlow, once, with a loader that is quiet."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader:
    """A module's loader, without what it writes for information."""

    def __init__(self, loader):
        self._loader = loader

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        with without_information():
            self._loader.exec_module(module)
            # Otherwise it looks for devices, and says so, when it first works.
            module.config.list_physical_devices()
        # Of its Python part, such as what Keras calls that is deprecated.
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
