import keras
import numpy as np
import pytest
import tensorflow as tf

import ser_keras as ser
from ser_keras.features.extractors.base import content_hash
from ser_keras.features.extractors.base import windows
from ser_keras.features.extractors.keras import KerasExtractor
from ser_keras.features.extractors.litert import LiteRTExtractor
from ser_keras.features.extractors.litert_graph import pack
from ser_keras.features.extractors.litert_graph import read_model
from ser_keras.features.extractors.litert_graph import schema
from ser_keras.features.extractors.onnx import ONNXExtractor

RATE = 16000
HOP = 0.01  # Seconds: 160 samples.
KERNEL = np.random.default_rng(1).normal(size=(400, 1, 3)).astype("float32")


def noise(samples, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.1, samples).astype("float32")


def convolution(waveform):
    """What the networks below make of a waveform, in numpy."""
    frames = windows_by_hand(waveform, 400, 160, whole=True)
    return np.maximum(frames @ KERNEL[:, 0], 0)


def windows_by_hand(waveform, size, step, whole=False):
    parts, start = [], 0
    while True:
        part = waveform[start : start + size]
        if whole and len(part) < size:
            return np.array(parts)
        parts.append(np.concatenate([part, np.zeros(size - len(part), "f")]))
        if not whole and start + size >= len(waveform):
            return np.array(parts)
        start += step


def keras_model(samples=None):
    model = keras.Sequential(
        [
            keras.Input((samples,)),
            keras.layers.Reshape((-1, 1), name="column"),
            keras.layers.Conv1D(
                3, 400, strides=160, use_bias=False, name="convolution"
            ),
            keras.layers.ReLU(name="frames"),
            keras.layers.Dense(5, name="classifier"),
        ]
    )
    model.get_layer("convolution").set_weights([KERNEL])
    return model


def litert_file(path, samples=None, rank=2):
    """The same convolution, then its sum over features."""

    def network(waveform):
        x = tf.reshape(waveform, (1, -1, 1))
        x = tf.nn.relu(tf.nn.conv1d(x, KERNEL, 160, "VALID"))
        return tf.reduce_sum(x, -1, keepdims=True) * 2.0

    shape = [1, samples] if rank == 2 else [samples]
    concrete = tf.function(network).get_concrete_function(
        tf.TensorSpec(shape, tf.float32)
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [concrete], tf.Module()
    )
    path.write_bytes(converter.convert())
    return path


def onnx_file(path, shape, rate=None):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    kernel = KERNEL.transpose(2, 1, 0)
    graph = onnx.helper.make_graph(
        [
            node("Reshape", ["waveform", "shape"], ["column"]),
            node("Conv", ["column", "kernel"], ["x"], strides=[160]),
            node("Relu", ["x"], ["y"]),
            node("Transpose", ["y"], ["frames"], perm=[0, 2, 1]),
            node("Neg", ["frames"], ["negative"]),
        ],
        "convolution",
        [value("waveform", 1, shape)],
        [value(x, 1, [1, "time", 3]) for x in ("negative", "frames")],
        [
            onnx.numpy_helper.from_array(np.array([1, 1, -1]), "shape"),
            onnx.numpy_helper.from_array(kernel, "kernel"),
        ],
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, ir_version=8, opset_imports=opsets)
    if rate:
        onnx.helper.set_model_props(model, {"sample_rate": str(rate)})
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("samples", [1, 399, 400, 401, 560, 561, 4000])
def test_windows_reach_the_end_and_no_further(samples):
    waveform = noise(samples)
    expected = windows_by_hand(waveform, 400, 160)
    np.testing.assert_array_equal(windows(waveform, 400, 160), expected)
    assert (len(expected) - 1) * 160 < samples


def check(extractor, width=3, rate=100.0):
    assert (extractor.num_features, extractor.frame_rate) == (width, rate)
    assert extractor.sample_rate == RATE


def test_keras_model_on_whole_clips(tmp_path):
    model = keras_model()
    x = noise(8000)
    extractor = KerasExtractor(model, hop=HOP, layer="frames")
    check(extractor)
    got = extractor.extract(x)
    np.testing.assert_allclose(got, convolution(x), atol=1e-5)
    assert KerasExtractor(model, hop=HOP).extract(x).shape == (48, 5)
    # From a file, in another process or later, it is the same extractor.
    model.save(tmp_path / "model.keras")
    again = KerasExtractor(tmp_path / "model.keras", hop=HOP, layer="frames")
    np.testing.assert_allclose(again.extract(x), got, atol=1e-6)
    assert again.settings() == extractor.settings()
    model.get_layer("convolution").set_weights([1.5 * KERNEL])
    assert again.settings() != extractor.settings()


def test_keras_model_on_windows():
    extractor = KerasExtractor(keras_model(1600), hop=0.05, layer="frames")
    check(extractor, rate=20.0)
    x = noise(5000)
    parts = windows_by_hand(x, 1600, 800)
    expected = [convolution(part).mean(axis=0) for part in parts]
    np.testing.assert_allclose(extractor.extract(x), expected, atol=1e-5)


@pytest.mark.parametrize("rank", [1, 2])
def test_litert_file_on_windows(tmp_path, rank):
    extractor = LiteRTExtractor(
        litert_file(tmp_path / "x.tflite", 1600, rank), hop=0.05
    )
    check(extractor, width=1, rate=20.0)
    x = noise(5000)
    expected = [
        2 * convolution(part).sum(axis=1, keepdims=True).mean(axis=0)
        for part in windows_by_hand(x, 1600, 800)
    ]
    np.testing.assert_allclose(extractor.extract(x), expected, rtol=1e-4)


def test_litert_file_on_whole_clips_and_its_inner_tensors(tmp_path):
    path = litert_file(tmp_path / "x.tflite")
    x, short = noise(8000), noise(2000)
    frames = convolution(x)
    whole = LiteRTExtractor(path, hop=HOP)
    for clip in (x, short, x):
        expected = 2 * convolution(clip).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(whole.extract(clip), expected, rtol=1e-4)
    graph = read_model(path).subgraphs[0]
    names = [
        tensor.name.decode()
        for tensor in graph.tensors
        if "relu" in tensor.name.decode().lower()
    ]
    inner = LiteRTExtractor(path, hop=HOP, output=names[-1])
    check(inner)
    np.testing.assert_allclose(inner.extract(x), frames, atol=1e-5)
    assert inner.settings() != whole.settings()
    with pytest.raises(ValueError, match="name a tensor that the file"):
        LiteRTExtractor(path, hop=HOP, output="nothing")


@pytest.fixture
def yamnet(corpora_root):
    path = corpora_root.parent / "models/yamnet.tflite"
    if not path.exists():
        pytest.skip(f"no {path}")
    return path


def test_yamnet_against_the_interpreter(yamnet, recordings):
    """Its features are 8-bit numbers, of an inner tensor."""
    from ai_edge_litert.interpreter import Interpreter

    name = "tower0/network/layer28/reduce_mean"
    extractor = LiteRTExtractor(yamnet, output=name)
    check(extractor, 1024, RATE / 7680)
    with pytest.warns(UserWarning, match="debugging"):
        oracle = Interpreter(
            str(yamnet), experimental_preserve_all_tensors=True
        )
    oracle.allocate_tensors()
    details = {d["name"]: d for d in oracle.get_tensor_details()}
    scale, zero = details[name]["quantization"]
    clip = recordings[0]
    expected = []
    for part in windows_by_hand(clip, 15600, 7680):
        oracle.set_tensor(details["waveform_binary"]["index"], part)
        oracle.invoke()
        x = oracle.get_tensor(details[name]["index"]).ravel()
        expected.append((x.astype(float) - zero) * scale)
    got = extractor.extract(clip)
    assert got.min() >= 0 and got.max() > 1  # Means of rectified values.
    np.testing.assert_allclose(got, expected, atol=1e-6)
    scores = LiteRTExtractor(yamnet)
    check(scores, 521, RATE / 7680)


@pytest.mark.parametrize("shape", [[1, "samples"], ["samples"], ["n", "t"]])
def test_onnx_file_on_whole_clips(tmp_path, shape):
    path = onnx_file(tmp_path / "x.onnx", shape, RATE)
    x = noise(8000)
    extractor = ONNXExtractor(path, hop=HOP)
    check(extractor)
    np.testing.assert_allclose(extractor.extract(x), -convolution(x), atol=1e-5)
    other = ONNXExtractor(path, hop=HOP, output="frames")
    np.testing.assert_allclose(other.extract(x), convolution(x), atol=1e-5)
    assert other.settings() != extractor.settings()
    with pytest.raises(ValueError, match="negative.*output='x'"):
        ONNXExtractor(path, hop=HOP, output="x")
    with pytest.raises(ValueError, match="16000 Hz.*sample_rate=8000"):
        ONNXExtractor(path, hop=HOP, sample_rate=8000)


def test_onnx_file_on_windows(tmp_path):
    path = onnx_file(tmp_path / "x.onnx", [1, 1600])
    extractor = ONNXExtractor(path, hop=0.05, output="frames")
    check(extractor, rate=20.0)
    x = noise(5000)
    parts = windows_by_hand(x, 1600, 800)
    expected = [convolution(part).mean(axis=0) for part in parts]
    np.testing.assert_allclose(extractor.extract(x), expected, atol=1e-5)


def onnx_matmul(path, weights, kind):
    """Uint8 of samples, in 16ths, times int8 weights: `(1, 64)` to `(1, 1, n)`.

    As onnxruntime's own quantization writes it, in the ways that it has.
    """
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    constants = {
        "scale": np.float32(1 / 16),
        "one": np.float32(1),
        "zero": np.uint8(0),
        "none": np.int8(0),
        "weights": weights,
        "axis": np.array([1]),
    }
    nodes = [node("QuantizeLinear", ["waveform", "scale", "zero"], ["q"])]
    if kind == "MatMulInteger":
        nodes += [
            node("MatMulInteger", ["q", "weights", "zero"], ["sum"]),
            node("Cast", ["sum"], ["sixteenths"], to=1),
            node("Mul", ["sixteenths", "scale"], ["y"]),
        ]
    else:
        nodes += [
            node("DequantizeLinear", ["q", "scale", "zero"], ["x"]),
            node("DequantizeLinear", ["weights", "one", "none"], ["w"]),
            node("MatMul", ["x", "w"], ["y"]),
        ]
    graph = onnx.helper.make_graph(
        [*nodes, node("Unsqueeze", ["y", "axis"], ["frames"])],
        "product",
        [value("waveform", 1, [1, 64])],
        [value("frames", 1, [1, 1, weights.shape[1]])],
        [
            onnx.numpy_helper.from_array(np.asarray(x), name)
            for name, x in constants.items()
        ],
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    onnx.save(
        onnx.helper.make_model(graph, ir_version=8, opset_imports=opsets), path
    )


@pytest.mark.parametrize("kind", ["MatMulInteger", "DequantizeLinear"])
def test_8_bits_are_the_same_on_every_processor(tmp_path, kind):
    """Two products of 255 and 127 do not fit 16 bits, in which AVX2 adds them.

    With a VNNI processor the numbers are right either way; so the option is
    asked for as well.
    """
    weights = np.full((64, 4), 127, np.int8)
    weights[:, 2:] = np.random.default_rng(0).integers(-127, 128, (64, 2))
    onnx_matmul(tmp_path / "x.onnx", weights, kind)
    extractor = ONNXExtractor(tmp_path / "x.onnx", hop=HOP)
    x = np.full(64, 255 / 16, np.float32)
    expected = 255 * weights.astype(int).sum(axis=0) / 16
    np.testing.assert_allclose(extractor.extract(x)[0], expected, rtol=1e-6)
    options = extractor._session.get_session_options()
    for name, setting in (
        ("session.x64quantprecision", "1"),
        ("mlas.enable_gemm_fastmath_arm64_bfloat16", "0"),
    ):
        assert options.get_session_config_entry(name) == setting


def make(kind, path, **options):
    if kind == "onnx":
        pytest.importorskip("onnxruntime")
        return ONNXExtractor(path, **options)
    return {"keras": KerasExtractor, "tflite": LiteRTExtractor}[kind](
        path, **options
    )


@pytest.mark.parametrize("kind", ["tflite", "onnx", "keras"])
def test_missing_and_foreign_files_are_named(tmp_path, kind):
    path = tmp_path / f"absent.{kind}"
    with pytest.raises(FileNotFoundError, match=f"absent.{kind}: no such"):
        make(kind, path)
    path.write_bytes(b"something else" * 10)
    with pytest.raises(ValueError, match=f"absent.{kind}"):
        make(kind, path)


def test_damaged_litert_file_is_named(tmp_path):
    path = litert_file(tmp_path / "x.tflite", 1600)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="x.tflite"):
        LiteRTExtractor(path)


@pytest.mark.parametrize("kind", ["tflite", "onnx", "keras"])
def test_shortest_clip_of_a_network_on_whole_clips(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    if kind == "tflite":
        litert_file(path)
    elif kind == "onnx":
        onnx_file(path, [1, "samples"])
    else:
        keras_model().save(path)
    extractor = make(kind, path, hop=HOP)
    frames = extractor.extract(noise(8000))
    assert extractor.shortest == 400
    # A clip that it refuses leaves no trace.
    with pytest.raises(Exception, match=r"(?s)."):
        extractor.extract(noise(399))
    np.testing.assert_array_equal(extractor.extract(noise(8000)), frames)


def test_windows_take_any_clip():
    assert KerasExtractor(keras_model(1600), hop=0.05).shortest == 1


@pytest.mark.parametrize("hop", [0.02, 0.48])
def test_frame_rate_that_is_not_the_networks_is_refused(tmp_path, hop):
    with pytest.raises(ValueError, match="`hop` must be the seconds between"):
        KerasExtractor(keras_model(), hop=hop)
    with pytest.raises(ValueError, match="positive.*hop=-1"):
        KerasExtractor(keras_model(), hop=-1)


def test_other_sample_rates_are_refused(waveform_model, tmp_path):
    with pytest.raises(ValueError, match="16000 Hz.*sample_rate=8000"):
        KerasExtractor(waveform_model, sample_rate=8000)
    # As `export_litert` writes it.
    path = litert_file(tmp_path / "x.tflite", 1600)
    model = read_model(path)
    entry, buffer = schema.MetadataT(), schema.BufferT()
    entry.name, entry.buffer = b"ser_keras", len(model.buffers)
    buffer.data = np.frombuffer(b'{"sample_rate": 8000}', np.uint8)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    path.write_bytes(pack(model))
    with pytest.raises(ValueError, match="x.tflite takes waveforms at 8000"):
        LiteRTExtractor(path)
    assert LiteRTExtractor(path, sample_rate=8000).sample_rate == 8000


def test_sample_rate_of_any_layer_is_checked():
    frontend = ser.MFCC(sample_rate=8000)
    model = keras.Sequential([keras.Input((None,)), frontend])
    outer = keras.Sequential([keras.Input((None,)), model])
    for network in (model, outer):
        with pytest.raises(ValueError, match="8000 Hz.*sample_rate=16000"):
            KerasExtractor(network)
    assert KerasExtractor(outer, 8000, hop=160 / 8000).sample_rate == 8000


def test_sample_rate_in_standard_litert_metadata(yamnet, tmp_path):
    """AudioProperties of TFLITE_METADATA; YAMNet has them."""
    with pytest.raises(ValueError, match="takes waveforms at 16000 Hz.*=8000"):
        LiteRTExtractor(yamnet, sample_rate=8000)
    # Damaged, they are named; without them there is nothing to compare.
    model = read_model(yamnet)
    (entry,) = [x for x in model.metadata if x.name == b"TFLITE_METADATA"]
    content = model.buffers[entry.buffer].data
    model.buffers[entry.buffer].data = content[:30]
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(pack(model))
    with pytest.raises(ValueError, match="damaged.tflite has damaged metadata"):
        LiteRTExtractor(damaged)
    path = litert_file(tmp_path / "x.tflite", 1600)
    assert LiteRTExtractor(path, sample_rate=8000).sample_rate == 8000


def test_networks_that_take_no_waveform_are_refused(tmp_path):
    pictures = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Flatten()]
    )
    with pytest.raises(ValueError, match="must take one waveform"):
        KerasExtractor(pictures)
    with pytest.raises(ValueError, match="layers of|one of"):
        KerasExtractor(keras_model(), hop=HOP, layer="absent")
    scores = keras.Sequential(
        [
            keras.Input((None,)),
            keras.layers.Reshape((-1, 1)),
            keras.layers.GlobalAveragePooling1D(),
        ]
    )
    with pytest.raises(ValueError, match=r"give frames.*\(1, 1\)|`hop` must"):
        KerasExtractor(scores, hop=HOP)
    path = tmp_path / "x.onnx"
    onnx_file(path, [1, 2, "samples"])
    with pytest.raises(ValueError, match="one input, a float32 waveform"):
        make("onnx", path)


def test_content_hash_is_of_the_content(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x").write_bytes(b"1")
    (tmp_path / "y").write_bytes(b"1")
    assert content_hash(tmp_path / "a/x") == content_hash(tmp_path / "y")
    before = content_hash(tmp_path / "a")
    (tmp_path / "a/x").rename(tmp_path / "a/z")
    renamed = content_hash(tmp_path / "a")
    (tmp_path / "a/z").write_bytes(b"2")
    assert len({before, renamed, content_hash(tmp_path / "a")}) == 3
