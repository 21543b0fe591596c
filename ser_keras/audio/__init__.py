"""Signal to features: reading audio, front ends, normalising, augmenting."""

from ser_keras.audio.at_speed import AtSpeed
from ser_keras.audio.augment import FeatureNoise
from ser_keras.audio.augment import FrequencyWarp
from ser_keras.audio.augment import Gain
from ser_keras.audio.augment import GaussianNoise
from ser_keras.audio.augment import SpecAugment
from ser_keras.audio.augment import TimeShift
from ser_keras.audio.augment import TimeStretch
from ser_keras.audio.augmentation import derive_seed
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

__all__ = [
    "AtSpeed",
    "AudioError",
    "FeatureNoise",
    "FixedDuration",
    "FrequencyWarp",
    "Gain",
    "GaussianNoise",
    "LogMelSpectrogram",
    "MFCC",
    "SpecAugment",
    "Spectrogram",
    "TimeShift",
    "TimeStretch",
    "UtteranceNormalization",
    "compute_features",
    "derive_seed",
    "features_from_files",
    "fit_length",
    "inspect_audio",
    "load_audio",
    "load_many",
    "stream_audio",
]
