"""FrontEnd: what every layer from waveforms to features has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


class FrontEnd(keras.layers.Layer):
    """Base of front ends: layers from waveforms to frames of features.

    A subclass sets the attributes below and implements `num_frames` and
    `call(waveform, lengths=None)`. Nothing of it is trained, and nothing has
    to be built.

    Args:
        **kwargs: Arguments of `keras.layers.Layer`. `dtype` is float32 unless
            it is given: half precision has too few digits for a spectrum, so
            the global policy does not reach front ends.

    Attributes:
        sample_rate: Of the waveforms, Hz.
        frame_length: Window, samples.
        frame_step: Distance between frames, samples.
        num_features: Size of the last axis of the output.
        duration: Seconds of which the layer makes every clip; None where clips
            keep their lengths.
        splits_spectrum: Whether the layer can be called in two halves,
            `from_spectrum(spectrum(waveform, lengths), lengths)`.

    Call arguments:
        waveform: Float tensor, in [-1, 1].
        lengths: Samples of each clip of a padded batch, `(batch,)`.

    Input shape:
        `(batch, samples)` or `(samples,)`.

    Output shape:
        `(batch, time, num_features)` or `(time, num_features)`.

    >>> class Energy(FrontEnd):
    ...     sample_rate, frame_length, frame_step = 16000, 400, 400
    ...     num_features = 1
    ...
    ...     def num_frames(self, samples):
    ...         return samples // 400
    ...
    ...     def call(self, waveform, lengths=None):
    ...         frames = tf.signal.frame(waveform, 400, 400)
    ...         return tf.reduce_sum(frames**2, -1, keepdims=True)
    >>> layer = Energy()
    >>> layer(np.ones((2, 800), "float32")).shape, layer.frame_rate
    (TensorShape([2, 2, 1]), 40.0)
    """

    sample_rate: int
    frame_length: int
    frame_step: int
    num_features: int
    duration: float | None = None
    splits_spectrum: bool = False

    def __init__(self, **kwargs: Any):
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.built = True

    @property
    def min_samples(self) -> int:
        """Length of the shortest clip that has a frame, samples."""
        return self.frame_length

    @property
    def frame_rate(self) -> float | None:
        """Frames in a second of a recording; None if there is no such number.

        It is None where the layer makes clips of one duration: how much of a
        recording is in a clip then depends on the recording.
        """
        if self.duration is not None:
            return None
        return self.sample_rate / self.frame_step

    def num_frames(self, samples: Any) -> Any:
        """Number of frames of clips of so many samples.

        Args:
            samples: Length in samples: an int, an int array or tensor.

        Returns:
            The same type.
        """
        raise NotImplementedError

    def without_fft(self) -> FrontEnd:
        """A layer with the same numbers that uses no Fourier transform.

        For LiteRT, whose FFT is slow. By default the layer itself.
        """
        return self

    def compute_output_shape(
        self,
        waveform_shape: Sequence[Any],
        lengths_shape: Sequence[Any] | None = None,
    ) -> Any:
        *batch, samples = waveform_shape
        time = None if samples is None else self.num_frames(samples)
        return (*batch, time, self.num_features)


class FrontEndWrapper(FrontEnd):
    """Base of front ends that change the clips which another one reads.

    Args:
        frontend: The other `FrontEnd`.
        **kwargs: Arguments of `FrontEnd`.
    """

    def __init__(self, frontend, **kwargs):
        super().__init__(**kwargs)
        self.frontend = frontend

    @property
    def sample_rate(self):
        """Of the waveforms, Hz."""
        return self.frontend.sample_rate

    @property
    def frame_length(self):
        """Window, samples."""
        return self.frontend.frame_length

    @property
    def frame_step(self):
        """Distance between frames, samples."""
        return self.frontend.frame_step

    @property
    def num_features(self):
        """Size of the last axis of the output."""
        return self.frontend.num_features

    def num_frames(self, samples):
        return self.frontend.num_frames(samples)

    def compute_output_shape(self, waveform_shape, lengths_shape=None):
        return self.frontend.compute_output_shape(waveform_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "frontend": keras.saving.serialize_keras_object(self.frontend),
        }

    @classmethod
    def from_config(cls, config):
        frontend = keras.saving.deserialize_keras_object(config["frontend"])
        return cls(**{**config, "frontend": frontend})
