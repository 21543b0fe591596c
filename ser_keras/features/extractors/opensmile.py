"""Hand-crafted features of openSMILE, under its own licence."""

import warnings

import numpy as np

from ser_keras.features.extractors.base import Extractor
from ser_keras.features.extractors.process import ProcessExtractor


class OpenSmileExtractor(ProcessExtractor):
    """Low-level descriptors or functionals of openSMILE.

    openSMILE is audEERING's; its licence is for private, research and
    educational use, not for commercial products, whatever the classifier of
    its package says. It runs in a process of its own (see `ProcessExtractor`).
    A clip of less than 0.1 s has no functionals, and `extract_features`
    refuses it.

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
        super().__init__(
            _OpenSmile,
            feature_set=feature_set,
            level=level,
            sample_rate=sample_rate,
        )


class _OpenSmile(Extractor):
    """As above, in a process without TensorFlow."""

    def __init__(self, feature_set, level, sample_rate):
        try:
            import opensmile
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "openSMILE's features need the package opensmile, whose "
                "licence is for research and non-commercial use: "
                "pip install 'ser_keras[features]'"
            ) from error
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
        # It fills a clip that is too short with NaN, which we refuse by name.
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
