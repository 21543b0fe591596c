"""MFCC and LogMelSpectrogram against librosa, scipy and tf.signal."""

import keras
import librosa
import numpy as np
import pytest
import tensorflow as tf

from ser_keras.audio.batches import pad_batch
from ser_keras.audio.log_mel import LogMelSpectrogram
from ser_keras.audio.mfcc import MFCC
from ser_keras.testing import check_layer
from ser_keras.testing import check_tf_data

RATE = 16000
WINDOW = {"n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 64}


def melspectrogram(x, **options):
    return librosa.feature.melspectrogram(y=x, sr=RATE, **WINDOW, **options)


def mfcc_with_deltas(x):
    m = librosa.feature.mfcc(
        y=x, sr=RATE, n_mfcc=40, center=True, pad_mode="reflect", **WINDOW
    )
    slope = librosa.feature.delta(m)
    return np.concatenate([m, slope, librosa.feature.delta(m, order=2)])


CASES = {
    "librosa_defaults": (
        MFCC.librosa(RATE),
        lambda x: librosa.feature.mfcc(y=x, sr=RATE),
    ),
    "reflect_and_deltas": (
        MFCC(center=True, pad_mode="reflect", top_db=80.0, delta_order=2),
        mfcc_with_deltas,
    ),
    "not_centred_htk": (
        LogMelSpectrogram(mel_scale="htk", low_frequency=50.0, top_db=80.0),
        lambda x: librosa.power_to_db(
            melspectrogram(x, center=False, htk=True, fmin=50)
        ),
    ),
    "magnitude_edge": (
        LogMelSpectrogram(power=1, top_db=60.0, center=True, pad_mode="edge"),
        lambda x: librosa.amplitude_to_db(
            melspectrogram(x, power=1, pad_mode="edge"), top_db=60
        ),
    ),
    "natural_log_no_norm": (
        LogMelSpectrogram(log="natural", mel_norm=None, center=True),
        lambda x: np.log(1e-6 + melspectrogram(x, norm=None)),
    ),
}


@pytest.mark.parametrize("transform", ["fft", "matrix_products"])
@pytest.mark.parametrize("case", CASES)
def test_equals_librosa_on_real_speech(speech, case, transform):
    layer, oracle = CASES[case]
    if transform == "matrix_products":  # As LiteRT files have it.
        layer = layer.without_fft()
    for x in speech:
        expected = oracle(x).T
        assert layer.num_frames(len(x)) == len(expected)
        np.testing.assert_allclose(layer(x), expected, rtol=0, atol=1e-3)


def test_float32_holds_without_top_db(speech):
    # librosa transforms in float64. More than 90 dB below a frame's loudest
    # part, float32 is a thousandth of a dB off.
    layer = LogMelSpectrogram(mel_scale="htk")
    for x in speech:
        mel = melspectrogram(x, center=False, htk=True)
        difference = np.abs(layer(x) - librosa.power_to_db(mel, top_db=None).T)
        assert difference.max() < 1e-2
        assert np.mean(difference > 1e-3) < 1e-3


def test_light_sernet_equals_tf_signal(speech):
    filters = tf.signal.linear_to_mel_weight_matrix(128, 513, RATE, 80.0, 7600)
    for x in speech:
        magnitude = tf.abs(tf.signal.stft(x, 1024, 256, 1024))
        mel = tf.math.log(tf.matmul(magnitude, filters) + 1e-6)
        mfcc = tf.signal.mfccs_from_log_mel_spectrograms(mel)[:, :40]
        expected = np.clip(mfcc, -10, 10)
        np.testing.assert_allclose(
            MFCC.light_sernet()(x), expected, rtol=0, atol=1e-3
        )


# Two steps of float32 at 512 to 1024, the size of coefficient 0: how many clips
# and threads share a product decides in which order it is added up.
ROUNDING = 1.3e-4
LAYERS = {
    "mfcc": MFCC(),
    "light_sernet": MFCC.light_sernet(),
    "librosa": MFCC.librosa(RATE),
    "reflect_and_deltas": CASES["reflect_and_deltas"][0],
}


@pytest.mark.parametrize("name", LAYERS)
def test_no_clip_depends_on_its_batch(speech, name):
    layer = LAYERS[name]
    batch, lengths = pad_batch([*speech, 30 * speech[0][:6000]])
    together = layer(batch, lengths=lengths)
    for x, y, frames in zip(
        [*speech, 30 * speech[0][:6000]],
        together,
        layer.num_frames(lengths),
        strict=True,
    ):
        np.testing.assert_allclose(y[:frames], layer(x), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("name", LAYERS)
def test_same_numbers_in_tf_data_and_under_xla(speech, name):
    batch = np.stack([x[:16000] for x in speech])
    direct = check_tf_data(LAYERS[name], batch, rtol=0, atol=ROUNDING)
    compiled = tf.function(LAYERS[name], jit_compile=True)
    np.testing.assert_allclose(compiled(batch), direct, rtol=0, atol=1e-3)


def test_saved_model_with_dynamic_batch_and_length(speech, tmp_path):
    waveform = keras.Input((None,))
    model = keras.Model(waveform, MFCC.librosa(RATE)(waveform))
    assert model.output.shape == (None, None, 20)
    assert not model.weights
    model.export(tmp_path / "model", verbose=False)
    serve = tf.saved_model.load(str(tmp_path / "model")).serve
    for x in speech[:3]:
        expected = MFCC.librosa(RATE)(x)
        np.testing.assert_allclose(serve(x[None])[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"power": 1, "log": "natural", "mel_scale": "htk", "mel_norm": None},
        {"center": True, "top_db": 50.0, "frame_length": 512},
    ],
)
def test_layer_contract(config):
    x = np.random.default_rng(0).normal(size=(2, 4000)).astype("float32")
    check_layer(LogMelSpectrogram, config, x, trains=False)
    config = {**config, "num_coefficients": 13, "delta_order": 2}
    check_layer(MFCC, config, x, trains=False)


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("samples", [512, 513, 671, 672, 16000])
def test_num_frames(center, samples):
    layer = LogMelSpectrogram(center=center)
    frames = layer(np.ones(samples, "float32")).shape[0]
    assert layer.num_frames(samples) == frames
    assert layer.num_frames(np.array([samples])).tolist() == [frames]
    assert layer.num_frames(tf.constant([samples])).numpy() == [frames]
    assert layer.compute_output_shape((samples,)) == (frames, 64)


def test_short_clip_is_an_error_or_padded():
    layer = LogMelSpectrogram()
    short = np.random.default_rng(0).normal(size=300).astype("float32")
    with pytest.raises(ValueError, match="at least 512 samples.*300 samples"):
        layer(short)
    dynamic = tf.function(
        layer, input_signature=[tf.TensorSpec((None,), tf.float32)]
    )
    padded = np.pad(short, (0, 212))
    np.testing.assert_allclose(dynamic(short), layer(padded), atol=1e-5)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"frame_step": 0}, "frame_step=0"),
        ({"fft_length": 256}, "fft_length=256"),
        ({"high_frequency": 9000.0}, "high_frequency=9000.0"),
        ({"mel_scale": "bark"}, "mel_scale='bark'"),
        ({"amin": 0.0}, "amin=0.0"),
        ({"num_coefficients": 65}, "num_coefficients=65"),
        ({"delta_order": 3}, "delta_order=3"),
        ({"delta_width": 4}, "delta_width=4"),
        ({"dct_norm": "other"}, "dct_norm='other'"),
    ],
)
def test_wrong_arguments(config, message):
    with pytest.raises(ValueError, match=f"Received: .*{message}"):
        MFCC(**config)


def test_empty_filters_are_reported():
    with pytest.warns(UserWarning, match="mel filters"):
        LogMelSpectrogram(fft_length=512, num_mel_bins=200)


def test_wrong_rank():
    with pytest.raises(ValueError, match="batch, samples"):
        MFCC()(np.ones((1, 16000, 1), "float32"))
