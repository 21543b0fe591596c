"""AtSpeed: speed perturbation, as a front end around another one."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

from ser_keras._registry import serializable
from ser_keras.audio.front_end import FrontEndWrapper

if TYPE_CHECKING:
    import tensorflow as tf

    from ser_keras.audio.front_end import FrontEnd


@serializable
class AtSpeed(FrontEndWrapper):
    """Front end with speed perturbation: clips are played faster or slower.

    Pitch and formants change with the speed, which gives training more voices
    than the corpus has speakers. The layer only asks for another sample rate:
    audio files are resampled to its `sample_rate` when they are read, and the
    inner front end treats the result as if it were at its own rate. For
    training data only, not for prediction.

    Args:
        frontend: `FrontEnd`, such as `MFCC`.
        speed: Factor; 1.1 is 10 % faster, with a pitch 10 % higher.

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

    def __init__(self, frontend: FrontEnd, speed: float, **kwargs: Any):
        super().__init__(frontend, **kwargs)
        if not speed > 0:
            raise ValueError(
                f"`speed` must be positive. Received: speed={speed}"
            )
        self.speed = speed

    @property
    def sample_rate(self) -> int:
        """Of the waveforms, Hz."""
        return round(self.frontend.sample_rate / self.speed)

    @property
    def min_samples(self) -> int:
        """Length of the shortest clip that has a frame, samples."""
        return self.frontend.min_samples

    @property
    def duration(self) -> float | None:
        """Seconds of a recording in each clip of one duration, or None."""
        inner = self.frontend.duration
        return None if inner is None else inner * self.speed

    def call(
        self, waveform: tf.Tensor, lengths: tf.Tensor | None = None
    ) -> tf.Tensor:
        return self.frontend(waveform, lengths=lengths)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "speed": self.speed}
