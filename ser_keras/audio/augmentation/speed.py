"""AtSpeed: a front end that hears its clips faster or slower."""

import keras

from ser_keras._registry import serializable


@serializable
class AtSpeed(keras.layers.Layer):
    """Takes clips for faster or slower ones, pitch and formants with them.

    It asks for clips at another sample rate than the front end's and does not
    tell it: whoever reads audio files resamples them to that rate. So there
    are more voices to train on than speakers in a corpus. Not for prediction.

    Args:
        frontend: `MFCC` or another layer from waveforms to features.
        speed: Factor; 1.1 is a tenth faster, and higher.

    Call arguments:
        waveform: Float tensor, at the layer's own `sample_rate`.
        lengths: Samples of each clip of a padded batch, `(batch,)`.

    Input shape:
        `(batch, samples)` or `(samples,)`.

    Output shape:
        That of the front end.

    Raises:
        ValueError: If `speed` is not positive.

    References:
        Ko et al., "Audio augmentation for speech recognition", Interspeech
        2015, section 2.2.

    >>> from ser_keras.audio.mfcc import MFCC
    >>> AtSpeed(MFCC(sample_rate=16000), 0.8).sample_rate
    20000
    """

    def __init__(self, frontend, speed, **kwargs):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        if not speed > 0:
            raise ValueError(
                f"`speed` must be positive. Received: speed={speed}"
            )
        self.frontend = frontend
        self.speed = speed
        self.built = True

    @property
    def sample_rate(self):
        """Of the waveforms, Hz."""
        return round(self.frontend.sample_rate / self.speed)

    @property
    def frame_length(self):
        """Samples that a clip must have at least."""
        return self.frontend.frame_length

    @property
    def num_features(self):
        """Size of the last axis of the output."""
        return self.frontend.num_features

    def num_frames(self, samples):
        """Number of frames of clips of so many samples."""
        return self.frontend.num_frames(samples)

    def call(self, waveform, lengths=None):
        return self.frontend(waveform, lengths=lengths)

    def compute_output_shape(self, waveform_shape, lengths_shape=None):
        return self.frontend.compute_output_shape(waveform_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "frontend": keras.saving.serialize_keras_object(self.frontend),
            "speed": self.speed,
        }

    @classmethod
    def from_config(cls, config):
        frontend = keras.saving.deserialize_keras_object(config["frontend"])
        return cls(**{**config, "frontend": frontend})
