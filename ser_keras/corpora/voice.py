"""A small source-filter synthesizer of nonsense speech, in numpy.

A glottal source with jitter and a variable spectral tilt is filtered by four
formant resonators for each vowel; fricatives are coloured noise. It sounds like
babble, not like a person.
"""

import dataclasses

import numpy as np

SAMPLE_RATE = 16000  # Hz

# First four formants of an adult male, Hz; shorter vocal tracts scale them.
_VOWELS = {
    "a": (730, 1090, 2440, 3400),
    "e": (530, 1840, 2480, 3500),
    "i": (270, 2290, 3010, 3600),
    "o": (570, 840, 2410, 3300),
    "u": (300, 870, 2240, 3300),
    "m": (250, 1100, 2200, 3200),
    "l": (360, 1300, 2700, 3300),
}
_BANDWIDTHS = (60, 90, 140, 200)  # Hz
# Lower and upper edge of the noise, Hz.
_FRICATIVES = {"s": (4500, 7500), "x": (2200, 5500), "f": (1500, 7000)}

SENTENCES = tuple(
    tuple(sentence.split())
    for sentence in (
        "masi luxe fomi",
        "soli mexa lufa",
        "lami sofu xelo ma",
        "xoma filu sela",
        "fulo masexi lo",
        "milu xafo lesi",
        "semo luxi fala mu",
        "lofi saxu meli",
        "xemi solafu me",
        "falu moxe silo",
    )
)


@dataclasses.dataclass(frozen=True)
class _Style:
    """What an emotion changes, relative to neutral speech."""

    pitch: float  # Semitones.
    pitch_range: float  # Factor.
    level: float  # dB.
    tempo: float  # Factor.
    tilt: float  # Of the source above 1 kHz, in dB per octave.


STYLES = {
    "neutral": _Style(0.0, 1.0, 0.0, 1.0, 0.0),
    "happiness": _Style(4.0, 1.8, 3.0, 1.08, 1.5),
    "sadness": _Style(-1.5, 0.6, -4.0, 0.82, -2.5),
    "anger": _Style(2.5, 1.4, 6.0, 1.15, 4.0),
}


@dataclasses.dataclass(frozen=True)
class Speaker:
    """A voice and its habits.

    Args:
        pitch: Median fundamental frequency, Hz.
        tract: Factor of all formants.
        tempo: Factor of the speaking rate.
        level: dB.
        tilt: dB per octave.
        expressiveness: How far emotions move this speaker, 1 on average.
    """

    pitch: float
    tract: float
    tempo: float
    level: float
    tilt: float
    expressiveness: float

    @classmethod
    def draw(cls, sex, rng):
        """A random female (`"F"`) or male (`"M"`) voice."""
        female = sex == "F"
        semitones = rng.normal(0, 1.8)
        return cls(
            pitch=(200.0 if female else 112.0) * 2 ** (semitones / 12),
            tract=(1.16 if female else 1.0) * (1 + rng.normal(0, 0.04)),
            tempo=float(np.clip(1 + rng.normal(0, 0.08), 0.75, 1.25)),
            level=rng.normal(0, 2.0),
            tilt=rng.normal(0, 0.8),
            expressiveness=rng.uniform(0.75, 1.25),
        )


def speak(words, speaker, emotion, rng):
    """Says words in an emotion.

    Args:
        words: Strings of consonant-vowel syllables.
        speaker: `Speaker`.
        emotion: Key of `STYLES`.
        rng: numpy `Generator`; no two utterances are alike.

    Returns:
        Float32 samples in [-1, 1] at `SAMPLE_RATE`.
    """
    style = STYLES[emotion]
    # How strongly this one utterance shows its emotion.
    degree = speaker.expressiveness * rng.uniform(0.6, 1.3)
    pitch = speaker.pitch * 2 ** (
        (degree * style.pitch + rng.normal(0, 1.2)) / 12
    )
    pitch_range = style.pitch_range**degree * rng.uniform(0.75, 1.3)
    tempo = speaker.tempo * style.tempo**degree * rng.uniform(0.9, 1.1)
    level = speaker.level + degree * style.level + rng.normal(0, 1.5)
    tilt = speaker.tilt + degree * style.tilt + rng.normal(0, 0.8)

    phones = [phone for word in words for phone in word]
    last = np.cumsum([len(word) for word in words]) - 1
    seconds = np.where([p in "aeiou" for p in phones], 0.15, 0.09)
    seconds[last] *= 1.3  # Words end slowly, and a pause may follow.
    seconds = seconds * rng.uniform(0.8, 1.25, len(phones)) / tempo
    lengths = np.round(seconds * SAMPLE_RATE).astype(int)
    samples = _articulate(phones, lengths, speaker, pitch, pitch_range, rng)
    samples = _tilted(samples, tilt)
    samples *= 0.05 * 10 ** (level / 20) / _rms(samples)
    silence = rng.integers(800, 3200, 2)
    samples = np.pad(samples, tuple(silence))
    # A quiet room; without it, pauses would be digital silence.
    samples += rng.normal(
        0, 0.05 * 10 ** (-rng.uniform(32, 42) / 20), samples.shape
    )
    return np.clip(samples, -0.99, 0.99).astype(np.float32)


def _articulate(phones, lengths, speaker, pitch, pitch_range, rng):
    """Concatenates phones with cross-fades of 10 ms."""
    fade = SAMPLE_RATE // 100
    ramp = np.sin(np.linspace(0, np.pi / 2, fade)) ** 2
    edges = np.concatenate([[0], np.cumsum(lengths)])
    total = edges[-1] + fade
    source = _glottal_source(
        _pitch_contour(edges, total, pitch, pitch_range, rng), rng
    )
    noise = rng.normal(size=total)
    output = np.zeros(total)
    for phone, start, stop in zip(phones, edges, edges[1:], strict=False):
        part = slice(start, stop + fade)
        if phone in _FRICATIVES:
            sound = _fricative(noise[part], *_FRICATIVES[phone])
        else:
            sound = _resonate(source[part], _VOWELS[phone], speaker.tract)
        gain = 1.0 if phone in "aeiou" else 0.35
        sound = sound * gain * rng.uniform(0.7, 1.2) / _rms(sound)
        sound[:fade] *= ramp
        sound[-fade:] *= ramp[::-1]
        output[part] += sound
    return output


def _pitch_contour(edges, total, pitch, pitch_range, rng):
    """Declination and an accent now and then, in Hz for every sample."""
    accents = rng.normal(0, 1.6 * pitch_range, len(edges))
    declination = np.linspace(1.5, -2.5, len(edges)) * pitch_range
    semitones = np.interp(np.arange(total), edges, accents + declination)
    return np.clip(pitch * 2 ** (semitones / 12), 60, 500)


def _glottal_source(pitch, rng):
    """Derivative of Rosenberg's glottal flow, with 1 % jitter and some breath.

    References:
        Rosenberg, "Effect of glottal pulse shape on the quality of natural
        vowels", JASA 49(2B), 1971.
    """
    phase = np.cumsum(pitch) / SAMPLE_RATE
    cycle = phase.astype(int)
    jitter = 1 + rng.normal(0, 0.01, cycle[-1] + 1)
    phase = np.cumsum(pitch * jitter[cycle]) / SAMPLE_RATE % 1.0
    rise, fall = 0.4, 0.16  # Parts of a period.
    opening = 0.5 * (1 - np.cos(np.pi * phase / rise))
    closing = np.cos(0.5 * np.pi * (phase - rise) / fall)
    flow = np.where(phase < rise, opening, closing)
    flow[phase > rise + fall] = 0
    breath = rng.normal(0, 0.01, len(flow))
    return np.diff(flow, prepend=0.0) + breath * flow


def _resonate(source, formants, tract):
    """One all-pole filter with a resonance at each formant."""
    denominator = np.ones(1)
    for frequency, bandwidth in zip(formants, _BANDWIDTHS, strict=True):
        frequency = min(frequency * tract, 0.46 * SAMPLE_RATE)
        radius = np.exp(-np.pi * bandwidth / SAMPLE_RATE)
        angle = 2 * np.pi * frequency / SAMPLE_RATE
        denominator = np.convolve(
            denominator, [1, -2 * radius * np.cos(angle), radius**2]
        )
    # Only to write the corpus: what reads one need not wait for it.
    import scipy.signal

    return scipy.signal.lfilter([1.0], denominator, source)


def _fricative(noise, low, high):
    import scipy.signal

    taps = scipy.signal.butter(2, (low, high), "bandpass", fs=SAMPLE_RATE)
    return scipy.signal.lfilter(*taps, noise)


def _tilted(samples, tilt):
    """Changes the slope of the spectrum above 1 kHz by dB per octave."""
    spectrum = np.fft.rfft(samples)
    frequency = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    octaves = np.log2(np.maximum(frequency, 1000.0) / 1000.0)
    return np.fft.irfft(spectrum * 10 ** (tilt * octaves / 20), len(samples))


def _rms(samples):
    return np.sqrt(np.mean(samples**2))
