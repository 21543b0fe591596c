"""Signal to features: reading audio, front ends, normalising, augmenting.

Names are imported on first use: who only reads audio files, such as a client
of a server, does not wait for TensorFlow.
"""

from typing import TYPE_CHECKING

from ser_keras._lazy import lazy

if TYPE_CHECKING:
    from ser_keras.audio.augmentation.base import derive_seed
    from ser_keras.audio.augmentation.layers import FeatureNoise
    from ser_keras.audio.augmentation.layers import FrequencyWarp
    from ser_keras.audio.augmentation.layers import Gain
    from ser_keras.audio.augmentation.layers import GaussianNoise
    from ser_keras.audio.augmentation.layers import SpecAugment
    from ser_keras.audio.augmentation.layers import TimeShift
    from ser_keras.audio.augmentation.layers import TimeStretch
    from ser_keras.audio.augmentation.speed import AtSpeed
    from ser_keras.audio.batches import compute_features
    from ser_keras.audio.batches import features_from_files
    from ser_keras.audio.fixed_duration import FixedDuration
    from ser_keras.audio.io import AudioError
    from ser_keras.audio.io import fit_length
    from ser_keras.audio.io import inspect_audio
    from ser_keras.audio.io import load_audio
    from ser_keras.audio.io import load_many
    from ser_keras.audio.io import stream_audio
    from ser_keras.audio.log_mel import LogMelSpectrogram
    from ser_keras.audio.mfcc import MFCC
    from ser_keras.audio.normalization import UtteranceNormalization
    from ser_keras.audio.spectrogram import Spectrogram

_MODULE_OF = {
    "AtSpeed": "ser_keras.audio.augmentation.speed",
    "AudioError": "ser_keras.audio.io",
    "FeatureNoise": "ser_keras.audio.augmentation.layers",
    "FixedDuration": "ser_keras.audio.fixed_duration",
    "FrequencyWarp": "ser_keras.audio.augmentation.layers",
    "Gain": "ser_keras.audio.augmentation.layers",
    "GaussianNoise": "ser_keras.audio.augmentation.layers",
    "LogMelSpectrogram": "ser_keras.audio.log_mel",
    "MFCC": "ser_keras.audio.mfcc",
    "SpecAugment": "ser_keras.audio.augmentation.layers",
    "Spectrogram": "ser_keras.audio.spectrogram",
    "TimeShift": "ser_keras.audio.augmentation.layers",
    "TimeStretch": "ser_keras.audio.augmentation.layers",
    "UtteranceNormalization": "ser_keras.audio.normalization",
    "compute_features": "ser_keras.audio.batches",
    "derive_seed": "ser_keras.audio.augmentation.base",
    "features_from_files": "ser_keras.audio.batches",
    "fit_length": "ser_keras.audio.io",
    "inspect_audio": "ser_keras.audio.io",
    "load_audio": "ser_keras.audio.io",
    "load_many": "ser_keras.audio.io",
    "stream_audio": "ser_keras.audio.io",
}

__all__ = list(_MODULE_OF)

__getattr__, __dir__ = lazy(__name__, _MODULE_OF)
