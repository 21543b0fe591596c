"""What Keras does with any model: files, LoRA, int8, graphs, exports."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import ser_keras
from ser_keras._keras_private import flatten_layers
from ser_keras.audio import WhisperLogMel
from ser_keras.encoders import SpeechEncoder
from ser_keras.encoders import Wav2Vec2Encoder
from ser_keras.encoders import WhisperEncoder
from ser_keras.encoders.whisper import sinusoids
from tests.encoders.published import DATA
from tests.encoders.published import arrays
from tests.encoders.published import encoder
from tests.encoders.published import inputs
from tests.encoders.published import padded

variants = pytest.mark.parametrize("variant", ["whisper", "wavlm_base"])


def pretrained(variant, **options):
    """A new encoder of one layer."""
    return SpeechEncoder.from_pretrained(
        DATA / variant, num_layers=1, **options
    )


def last(model, variant):
    """The last of its hidden states of a clip."""
    return arrays(model(inputs(variant)[0][None]))[-1]


def check_saved(model, variant, path):
    model.save(path)
    copy = ser_keras.load_model(path)
    np.testing.assert_allclose(
        last(copy, variant), last(model, variant), atol=1e-6
    )
    return copy


@variants
def test_keras_file(variant, tmp_path):
    copy = check_saved(encoder(variant), variant, tmp_path / "encoder.keras")
    assert copy.get_config() == encoder(variant).get_config()


@variants
def test_lora(variant, tmp_path):
    model = pretrained(variant)
    frozen = last(model, variant)
    model.trainable = False
    adapted = [
        layer
        for layer in flatten_layers(model)
        if layer.name in ("query", "value", "intermediate")
    ]
    for layer in adapted:
        layer.trainable = True
        layer.enable_lora(2)
    np.testing.assert_allclose(last(model, variant), frozen, atol=1e-6)
    for layer in adapted:
        layer.lora_kernel_b.assign(np.ones(layer.lora_kernel_b.shape))
    tuned = last(model, variant)
    assert np.abs(tuned - frozen).max() > 0.01
    plain = model.truncated(model.num_layers)
    assert len(plain.weights) == len(model.weights) - 2 * len(adapted)
    np.testing.assert_allclose(last(plain, variant), tuned, atol=1e-4)
    check_saved(model, variant, tmp_path / "encoder.keras")


def test_quantized(tmp_path):
    model = pretrained("whisper")
    whole = last(model, "whisper")
    with warnings.catch_warnings():
        # Keras says so of every layer that has nothing to quantise.
        warnings.filterwarnings("ignore", "Layer .* does not have a `quantize`")
        model.quantize("int8")
    found = last(model, "whisper")
    assert np.corrcoef(found.ravel(), whole.ravel())[0, 1] > 0.999
    copy = check_saved(model, "whisper", tmp_path / "encoder.keras")
    kernel = copy.transformer_layers[0].intermediate.kernel
    assert keras.backend.standardize_dtype(kernel.dtype) == "int8"


@pytest.mark.parametrize(
    ("variant", "policy", "tolerance"),
    [
        ("whisper", "mixed_bfloat16", 0.05),
        ("wavlm_base", "mixed_float16", 0.01),
    ],
)
def test_half_precision_with_padding(variant, policy, tolerance):
    model = pretrained(variant, dtype=policy)
    batch, lengths = padded(inputs(variant))
    states = model(batch, lengths=lengths)
    whole = arrays(pretrained(variant)(batch, lengths=lengths))
    for state, expected in zip(states, whole, strict=True):
        state = keras.ops.convert_to_numpy(keras.ops.cast(state, "float32"))
        scale = np.abs(expected).max()
        np.testing.assert_allclose(state, expected, atol=tolerance * scale)


@variants
def test_positions_are_never_trained(variant):
    model = pretrained(variant)
    model.trainable = False
    assert not model.trainable_variables
    model.trainable = True
    names = {variable.name for variable in model.trainable_variables}
    assert "kernel" in names
    assert "positions" not in names


@variants
def test_one_graph_for_all_lengths(variant):
    model = encoder(variant)
    clips = inputs(variant)
    graph = tf.function(
        lambda x, lengths: model(x, lengths=lengths)[1],
        input_signature=[
            tf.TensorSpec((None, None, *clips[0].shape[1:])),
            tf.TensorSpec((None,), tf.int32),
        ],
    )
    for some in (clips, clips[1:]):
        batch, lengths = padded(some)
        expected = arrays(model(batch, lengths=lengths))[1]
        found = graph(np.nan_to_num(batch), lengths).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_from_waveforms_to_hidden_states_as_a_model_of_keras():
    waveform = keras.Input((None,))
    lengths = keras.Input((), dtype="int32")
    front_end = WhisperLogMel(8)
    features = front_end(waveform, lengths=lengths)
    states = encoder("whisper")(features, lengths=front_end.num_frames(lengths))
    model = keras.Model([waveform, lengths], states)
    assert [x.shape for x in states] == [(None, None, 16)] * 3
    batch, counts = padded(inputs("wavlm_base"))
    found = model([np.nan_to_num(batch), counts])
    alone = encoder("whisper")(front_end(batch[1:2, :3001]))
    np.testing.assert_allclose(found[2][1, :9], alone[2][0], atol=1e-4)
    assert not np.any(found[2][1, 9:])


def test_saved_model(tmp_path):
    model = pretrained("wavlm_base")
    signature = [keras.InputSpec("float32", (None, None))]
    model.export(tmp_path / "a", verbose=False, input_signature=signature)
    loaded = tf.saved_model.load(tmp_path / "a")
    for clip in inputs("wavlm_base")[:2]:
        expected = arrays(model(clip[None]))
        for x, y in zip(loaded.serve(clip[None]), expected, strict=True):
            np.testing.assert_allclose(x, y, atol=1e-5)


@variants
def test_litert_with_builtin_operations(variant):
    model = pretrained(variant)
    clip = inputs(variant)[2][None]
    graph = tf.function(lambda x: model(x)[-1])
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [graph.get_concrete_function(tf.TensorSpec(clip.shape))]
    )
    interpreter = Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], clip)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(found, arrays(model(clip))[-1], atol=1e-4)


def test_sinusoids_are_those_of_published_weights():
    found = encoder("whisper").positions
    np.testing.assert_allclose(found, sinusoids((20, 16)), atol=1e-5)


@pytest.mark.parametrize("graph", [False, True])
def test_a_clip_longer_than_whisper_hears_is_encoded_in_parts(graph):
    tf = pytest.importorskip("tensorflow")
    model = WhisperEncoder(2, 8, 2, 8, num_mel_bins=4, max_frames=5)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 23, 4)).astype("float32")
    lengths = np.array([23, 7], "int32")
    parts = [model(x[:1, i : i + 10]) for i in (0, 10, 20)]
    wanted = [np.concatenate(states, 1) for states in zip(*parts, strict=True)]
    call = model
    if graph:  # Which knows no length.
        call = tf.function(
            model,
            input_signature=[
                tf.TensorSpec((None, None, 4)),
                tf.TensorSpec((None,), tf.int32),
            ],
        )
    both = arrays(call(x, lengths))
    alone = arrays(model(x[1:, :7]))
    for states, long, short in zip(both, wanted, alone, strict=True):
        assert states.shape == (2, 12, 8)
        np.testing.assert_allclose(states[:1], long, atol=1e-5)
        np.testing.assert_allclose(states[1:, :4], short, atol=1e-5)
        assert not states[1, 4:].any()
    with pytest.raises(ValueError, match="at least one frame"):
        model(x[:, :0])


def test_fewer_layers_have_the_same_hidden_states():
    model = encoder("whisper")
    clip = np.random.default_rng(0).normal(size=(1, 30, model.num_mel_bins))
    all_of_them = arrays(model(clip.astype("float32")))
    few = model.truncated(1)
    assert few.num_layers == 1 and not few.final_norm
    found = arrays(few(clip.astype("float32")))
    assert len(found) == 2
    for ours, theirs in zip(found, all_of_them, strict=False):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ValueError, match="from 0 to 2.*num_layers=3"):
        model.truncated(3)


@pytest.mark.parametrize("variant", ["whisper", "wavlm_base", "wav2vec2_large"])
@pytest.mark.parametrize("layer", [0, 1])
def test_states_after_a_layer_are_those_of_the_whole(variant, layer):
    model = encoder(variant)
    x, lengths = padded(inputs(variant))
    states = arrays(model(x, lengths=lengths))
    frames = model.num_frames(np.asarray(lengths))
    after = arrays(model.states_after(states[layer], layer, frames))
    assert len(after) == model.num_layers + 1 - layer
    for ours, theirs in zip(after, states[layer:], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_states_after_a_layer_of_clips_in_parts():
    model = WhisperEncoder(2, 8, 2, 8, num_mel_bins=4, max_frames=5)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 23, 4)).astype("float32")
    lengths = np.array([23, 7], "int32")
    states = arrays(model(x, lengths))
    after = arrays(model.states_after(states[1], 1, model.num_frames(lengths)))
    for ours, theirs in zip(after, states[1:], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_shortest_clip_of_a_waveform():
    model = encoder("wav2vec2_base")
    assert (model.min_samples, model.num_frames(400)) == (400, 1)
    assert model(np.zeros((1, 400), "float32"))[0].shape == (1, 1, 16)
    with pytest.raises(ValueError, match="at least 400 samples.*399 samples"):
        model(np.zeros((1, 399), "float32"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WhisperEncoder(-1, 4, 2, 4), "num_layers=-1"),
        (lambda: WhisperEncoder(1, 5, 2, 4), "5 channels, num_heads=2"),
        (
            lambda: Wav2Vec2Encoder(1, 4, 2, 4, final_norm=True),
            "needs `norm_first`",
        ),
        (lambda: Wav2Vec2Encoder(1, 4, 2, 4, position_groups=3), "groups=3"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_inputs_of_another_kind():
    waveform, features = np.zeros((1, 500)), np.zeros((1, 9, 80))
    with pytest.raises(ValueError, match=r"time, 8\), of WhisperLogMel"):
        encoder("whisper")(features)
    with pytest.raises(ValueError, match=r"time, 8\).*shape \(1, 500\)"):
        encoder("whisper")(waveform)
    with pytest.raises(ValueError, match=r"waveforms.*shape \(1, 9, 80\)"):
        encoder("wav2vec2_base")(features)
