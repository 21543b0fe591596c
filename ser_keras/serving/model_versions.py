"""ModelVersions: the versions of a SavedModel, and the one that is served."""

import logging
import pathlib
import re
import threading

from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2

from ser_keras.export.saved_model.model import CARD
from ser_keras.export.saved_model.model import SavedModel
from ser_keras.export.saved_model.model import versions_in

_LOG = logging.getLogger(__name__)
_LABEL = re.compile(
    r'version_labels\s*\{\s*key:\s*"([^"]*)"\s*value:\s*(\d+)\s*\}'
)


def complete_versions(path):
    """Version numbers of the SavedModels in a folder, sorted.

    Args:
        path: `pathlib.Path`. Only folders with a SavedModel count: the folder
            of a run, too, has folders whose names are numbers.
    """
    return [
        version
        for version in versions_in(path)
        if (path / str(version) / "saved_model.pb").is_file()
    ]


class ModelVersions:
    """Loads the highest version of a model, and newer ones as they appear.

    A version that is incomplete or cannot be loaded is skipped until its files
    change; the version before it is served. Requests in progress keep their
    version.

    Args:
        path: Folder of the model, with a folder for each version.
        warm_up: Called with a `SavedModel` before it is served.

    Attributes:
        name: Of the model: its folder's.
        version: Number of the version that is served, `None` without any.
        model: Its `SavedModel`, `None` without any.
        failed: `{version: message}` of those that could not be loaded.
    """

    def __init__(self, path, warm_up=lambda model: None):
        self.path = pathlib.Path(path)
        self.name = self.path.resolve().name
        self.version = self.model = None
        self.failed = {}
        self._warm_up = warm_up
        self._tried = {}
        self._lock = threading.Lock()

    def refresh(self):
        """Looks for a higher version, and loads it.

        Returns:
            Whether another version is served now.
        """
        with self._lock:
            versions = versions_in(self.path)
            for version in self.failed.keys() - set(versions):
                # Its folder was deleted, and may be written again.
                del self.failed[version], self._tried[version]
            for version in reversed(versions):
                if self.version is not None and version <= self.version:
                    return False
                if self._load(version):
                    return True
            return False

    def _load(self, version):
        folder = self.path / str(version)
        files = _fingerprint(folder)
        needed = {"saved_model.pb", CARD}
        if not needed <= {name for name, *_ in files}:
            return False  # It is being written.
        if self._tried.get(version) == files:
            return False
        self._tried[version] = files
        try:
            model = SavedModel(folder)
            self._warm_up(model)
        except Exception as error:
            # Whatever the error, the version before must be served.
            reason = f"{folder}: {type(error).__name__}: {error}"[:500]
            self.failed[version] = reason
            _LOG.warning("not served: %s", reason)
            return False
        self.failed.pop(version, None)
        self.model, self.version = model, version
        _LOG.info("%s: served", folder)
        return True

    def labels(self):
        """Version numbers by label, of `model.config` beside the versions.

        `export_saved_model` writes it, for TensorFlow Serving, which assigns
        the labels.
        """
        try:
            text = (self.path / "model.config").read_text(encoding="utf-8")
        except OSError:
            return {}
        return {label: int(n) for label, n in _LABEL.findall(text)}

    def status(self):
        """Status of the versions, as TensorFlow Serving reports it."""
        rows = []
        if self.version is not None:
            rows.append(_status(self.version, "AVAILABLE", "OK", ""))
        for version, message in sorted(self.failed.items()):
            rows.append(_status(version, "END", "UNKNOWN", message))
        return {"model_version_status": rows}

    def metadata(self):
        """Signatures of the model, as TensorFlow Serving reports them."""
        saved_model = saved_model_pb2.SavedModel()
        saved_model.ParseFromString(
            (self.model.path / "saved_model.pb").read_bytes()
        )
        signatures = {
            name: json_format.MessageToDict(
                signature, preserving_proto_field_name=True
            )
            for name, signature in saved_model.meta_graphs[
                0
            ].signature_def.items()
            if not name.startswith("__")
        }
        return {
            "model_spec": {
                "name": self.name,
                "signature_name": "",
                "version": str(self.version),
            },
            "metadata": {"signature_def": {"signature_def": signatures}},
        }


def _fingerprint(folder):
    return tuple(
        sorted(
            (str(file.relative_to(folder)), stat.st_size, stat.st_mtime_ns)
            for file in folder.rglob("*")
            if file.is_file()
            for stat in [file.stat()]
        )
    )


def _status(version, state, code, message):
    return {
        "version": str(version),
        "state": state,
        "status": {"error_code": code, "error_message": message},
    }
