"""Front ends and normalizations by the names that options have for them."""

from ser_keras import audio

_FRAMES = {
    "sample_rate": 16000,
    "frame_length": 1024,
    "frame_step": 256,
    "fft_length": 1024,
    "log": "natural",
}


def mfcc_or_log_mel(kind, num_features):
    """Front end at 16 kHz: 64 ms frames, 16 ms apart.

    Args:
        kind: `"log_mel"`, `"mfcc"` of 128 bands, `"mfcc_deltas"`, the same
            with first and second derivatives, or `"spectrogram"`, whose frames
            are 16 ms long: 129 features, 62.5 Hz apart.
        num_features: Bands or coefficients; not of a spectrogram.

    Returns:
        `FrontEnd`, such as `MFCC`.
    """
    if kind == "spectrogram":
        return audio.Spectrogram(
            **(_FRAMES | {"frame_length": 256, "fft_length": 256})
        )
    options = _FRAMES | {"low_frequency": 50.0}
    if kind in ("mfcc", "mfcc_deltas"):
        return audio.MFCC(
            num_mel_bins=128,
            num_coefficients=num_features,
            delta_order=2 if kind == "mfcc_deltas" else 0,
            **options,
        )
    return audio.LogMelSpectrogram(num_mel_bins=num_features, **options)


def utterance_normalization(kind):
    """Normalization that fits a front end of `mfcc_or_log_mel`."""
    if kind == "mfcc":
        # Coefficients differ too much in size for one mean of all.
        return audio.UtteranceNormalization(scale="all")
    if kind == "mfcc_deltas":
        # Derivatives are smaller than what they are of: each by its own.
        return audio.UtteranceNormalization()
    # The loudness goes, which is the microphone's; the spectrum's tilt stays,
    # which is the voice's.
    return audio.UtteranceNormalization(over="all")
