"""OpenSmileExtractor: hand-crafted features of openSMILE."""

import os
import warnings

import numpy as np

from ser_keras._errors import needs_extra
from ser_keras.features.extractors.base import Extractor
from ser_keras.features.extractors.process import ProcessExtractor


class OpenSmileExtractor(ProcessExtractor):
    """Low-level descriptors or functionals of openSMILE.

    openSMILE is audEERING's; its licence is for private, research and
    educational use, not for commercial products, although the metadata of its
    package say otherwise. It runs in processes of its own, as many as there
    are cores and threads that call it (see `ProcessExtractor`). A clip of less
    than 0.1 s has no functionals, and `extract_features` refuses it.

    Args:
        feature_set: Name of a feature set, such as `"eGeMAPSv02"` (25
            descriptors, 88 functionals) or `"ComParE_2016"` (65 and 6373).
        level: `"lld"`: descriptors, 100 frames per second; `"lld_de"`: their
            derivatives, where the set has them; `"func"`: functionals, one
            frame for a whole clip.
        sample_rate: Of the waveforms, Hz.

    Raises:
        ModuleNotFoundError: opensmile is not installed.
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
        self,
        feature_set: str = "eGeMAPSv02",
        level: str = "lld",
        sample_rate: int = 16000,
    ):
        super().__init__(
            _OpenSmile,
            # Each uses one core.
            processes=len(os.sched_getaffinity(0)),
            feature_set=feature_set,
            level=level,
            sample_rate=sample_rate,
        )


class _OpenSmile(Extractor):
    """The extractor itself, in a process without TensorFlow."""

    def __init__(self, feature_set, level, sample_rate):
        with needs_extra(
            "openSMILE",
            "features",
            "Its licence is for research and non-commercial use.",
        ):
            import opensmile
        sets = [x.name for x in opensmile.FeatureSet]
        levels = [x.value for x in opensmile.FeatureLevel]
        for name, value, known in (
            ("feature_set", feature_set, sets),
            ("level", level, levels),
        ):
            if value not in known:
                raise ValueError(
                    f"`{name}` must be one of {known}. Received: "
                    f"{name}={value!r}"
                )
        # Clips that are too short become NaN, for which `extract_features`
        # raises.
        warnings.filterwarnings("ignore", "Segment too short")
        self._smile = opensmile.Smile(
            opensmile.FeatureSet[feature_set], opensmile.FeatureLevel(level)
        )
        self.sample_rate = sample_rate
        self.num_features = self._smile.num_features
        self.frame_rate = None if level == "func" else 100.0
        self._settings = {
            "extractor": "OpenSmileExtractor",
            "opensmile": opensmile.__version__,
            "feature_set": feature_set,
            "level": level,
            "sample_rate": sample_rate,
        }

    def extract(self, waveform):
        x = self._smile(waveform, self.sample_rate)[0].T
        return np.ascontiguousarray(x, np.float32)

    def settings(self):
        return self._settings
