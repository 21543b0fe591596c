"""AtSpeed: a front end that hears its clips faster or slower."""

from ser_keras._registry import serializable
from ser_keras.audio.front_end import FrontEndWrapper


@serializable
class AtSpeed(FrontEndWrapper):
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
        super().__init__(frontend, **kwargs)
        if not speed > 0:
            raise ValueError(
                f"`speed` must be positive. Received: speed={speed}"
            )
        self.speed = speed

    @property
    def sample_rate(self):
        """Of the waveforms, Hz."""
        return round(self.frontend.sample_rate / self.speed)

    @property
    def min_samples(self):
        """Length of the shortest clip that has a frame, samples."""
        return self.frontend.min_samples

    @property
    def duration(self):
        """Seconds of a recording in each clip of one duration, or None."""
        inner = self.frontend.duration
        return None if inner is None else inner * self.speed

    def call(self, waveform, lengths=None):
        return self.frontend(waveform, lengths=lengths)

    def get_config(self):
        return {**super().get_config(), "speed": self.speed}
