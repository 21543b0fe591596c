"""The deep stream of a run: which extractor, and its features."""

import pathlib

import keras

from ser_keras.audio.log_mel import LogMelSpectrogram
from ser_keras.audio.normalization import UtteranceNormalization
from ser_keras.corpora.manifest import Manifest
from ser_keras.features.extraction import extract_features
from ser_keras.features.extraction import read_features
from ser_keras.features.extractors.base import Extractor
from ser_keras.features.extractors.base import check_file
from ser_keras.features.extractors.keras import KerasExtractor
from ser_keras.features.feature_set import FeatureSet

_UNTRAINED_HOP = 0.128  # Seconds; 8 frames of the front end.


def deep_extractor(config) -> Extractor | None:
    """The extractor that a configuration names.

    Args:
        config: With `deep_extractor`, a `.tflite`, `.onnx` or `.keras` file,
            a store of `extract_features`, or empty; `deep_output`, `deep_hop`
            and `deep_sample_rate`.

    Returns:
        `Extractor`; None for a store, which needs none.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is of no known kind, or does not fit.
    """
    if not config.deep_extractor:
        print(
            "NO --deep-extractor: the deep stream is an UNTRAINED network. It "
            "shows that everything works, and nothing about deep features."
        )
        return KerasExtractor(untrained_network(), hop=_UNTRAINED_HOP)
    path = check_file(config.deep_extractor)
    if path.is_dir():
        return None
    options = {
        "sample_rate": config.deep_sample_rate,
        "hop": config.deep_hop,
    }
    output = config.deep_output or None
    if path.suffix == ".tflite":
        from ser_keras.features.extractors.litert import LiteRTExtractor

        return LiteRTExtractor(path, output=output, **options)
    if path.suffix == ".onnx":
        from ser_keras.features.extractors.onnx import ONNXExtractor

        return ONNXExtractor(path, output=output, **options)
    if path.suffix == ".keras":
        return KerasExtractor(path, layer=output, **options)
    raise ValueError(
        "`deep_extractor` must be a .tflite, .onnx or .keras file, or a folder "
        f"that `extract_features` filled. Received: {path}"
    )


def deep_features(
    config, manifest: Manifest, extractor: Extractor | None
) -> FeatureSet:
    """The deep stream of a manifest, computed once or read.

    Raises:
        ValueError: The store is of another corpus, or not complete, or holds
            no `deep_layers` layers.
    """
    if extractor is None:
        deep = read_features(manifest, pathlib.Path(config.deep_extractor))
    else:
        deep = extract_features(
            manifest,
            extractor,
            config.cache_dir,
            skip_bad_audio=config.skip_bad_audio,
        )
    if deep.num_features % config.deep_layers:
        raise ValueError(
            "`deep_layers` must be the layers whose features are there, which "
            f"are {deep.num_features} in all. Received: "
            f"deep_layers={config.deep_layers}"
        )
    return deep


def untrained_network(filters=32) -> keras.Model:
    """A fixed network of random weights, in place of a real extractor.

    Log-mel bands and one convolution over time: it needs no download, and is
    the same everywhere.

    >>> untrained_network().output_shape
    (None, None, 32)
    """
    waveform = keras.Input((None,))
    bands = LogMelSpectrogram(
        sample_rate=16000,
        num_mel_bins=40,
        frame_length=1024,
        frame_step=256,
        fft_length=1024,
    )(waveform)
    bands = UtteranceNormalization(over="all")(bands)
    outputs = keras.layers.Conv1D(
        filters,
        kernel_size=8,
        strides=8,
        padding="same",
        activation="tanh",
        kernel_initializer=keras.initializers.GlorotUniform(seed=0),
    )(bands)
    return keras.Model(waveform, outputs)
