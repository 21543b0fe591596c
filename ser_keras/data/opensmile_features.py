"""Hand-crafted features of openSMILE, under its own licence."""

import importlib.util
import json
import os
import pickle
import subprocess
import sys
import threading
import weakref

from ser_keras.data.deep_extractors import Extractor


class OpenSmileExtractor(Extractor):
    """Low-level descriptors or functionals of openSMILE.

    openSMILE is audEERING's; its licence is for private, research and
    educational use, not for commercial products, whatever the classifier of
    its package says. It runs in processes of its own, one for each thread that
    calls `extract`: in a process that has loaded TensorFlow, openSMILE 2.6
    writes over foreign memory. A clip of less than 0.1 s has no functionals,
    and is refused by `extract_features`.

    Args:
        feature_set: Name of a set, such as `"eGeMAPSv02"` (25 descriptors, 88
            functionals) or `"ComParE_2016"` (65 and 6373).
        level: `"lld"`: descriptors, 100 frames in a second; `"lld_de"`: their
            derivatives, where the set has them; `"func"`: functionals, one
            frame for a whole clip.
        sample_rate: Of the waveforms, Hz.

    Raises:
        ModuleNotFoundError: The package is not installed.
        ValueError: There is no such set or level.

    References:
        Eyben et al., "The Geneva Minimalistic Acoustic Parameter Set (GeMAPS)
        for Voice Research and Affective Computing", IEEE Trans. Affective
        Computing 7 (2016).

    Example:
        ```python
        extract_features(manifest, OpenSmileExtractor(level="lld"), "features")
        ```
    """

    def __init__(
        self, feature_set="eGeMAPSv02", level="lld", sample_rate=16000
    ):
        if not _installed():
            raise ModuleNotFoundError(
                "openSMILE's features need the package opensmile, whose "
                "licence is for research and non-commercial use: "
                "pip install 'ser_keras[features]'",
                name="opensmile",
            )
        self.feature_set = feature_set
        self.level = level
        self.sample_rate = sample_rate
        self._mine = threading.local()
        facts = self._worker().facts
        if "error" in facts:
            raise ValueError(
                f"{facts['error']}. Received: feature_set={feature_set!r}, "
                f"level={level!r}"
            )
        self.version = facts["version"]
        self.num_features = facts["num_features"]
        self.frame_rate = None if level == "func" else 100.0

    def extract(self, waveform):
        return self._worker()(waveform, self.sample_rate)

    def settings(self):
        return {
            "extractor": "OpenSmileExtractor",
            "opensmile": self.version,
            "feature_set": self.feature_set,
            "level": self.level,
            "sample_rate": self.sample_rate,
        }

    def _worker(self):
        """This thread's process."""
        if not hasattr(self._mine, "worker"):
            self._mine.worker = _Worker(self.feature_set, self.level)
        return self._mine.worker


class _Worker:
    """A process of `opensmile_worker`; it ends with this object."""

    def __init__(self, feature_set, level):
        module = "ser_keras.data.opensmile_worker"
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, feature_set, level],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Where this process found the library.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        weakref.finalize(self, _end, self._process)
        self.facts = json.loads(self._process.stdout.readline())

    def __call__(self, waveform, sample_rate):
        write, read = self._process.stdin, self._process.stdout
        try:
            pickle.dump((waveform, sample_rate), write)
            write.flush()
            return pickle.load(read)
        except (OSError, EOFError) as error:
            raise RuntimeError(
                "openSMILE's process ended (exit code "
                f"{self._process.poll()}) at a clip of {len(waveform)} samples"
            ) from error


def _end(process):
    process.stdin.close()
    process.stdout.close()
    process.wait()


def _installed():
    # Not imported: see above. ValueError: a test has made it None.
    try:
        return importlib.util.find_spec("opensmile") is not None
    except ValueError:
        return False
