import functools
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

import ser_keras
from ser_keras.audio.fixed_duration import FixedDuration
from ser_keras.audio.front_end import FrontEnd
from ser_keras.audio.log_mel import LogMelSpectrogram
from ser_keras.audio.mfcc import MFCC
from ser_keras.audio.normalization import UtteranceNormalization
from ser_keras.export.litert import export as litert_export
from ser_keras.export.litert.export import export_litert
from ser_keras.export.litert.file_format import chain
from ser_keras.export.litert.file_format import read_metadata
from ser_keras.export.litert.model import load_litert
from ser_keras.features.preprocessor import Preprocessor
from ser_keras.models.cell_network import CellNetwork
from ser_keras.models.waveform_model import with_frontend
from ser_keras.search_space import SearchSpace

LABELS = ("anger", "happiness", "neutral", "sadness")
SAMPLES = 48000
TEMPERATURE = 1.5


def small_network(frames=184, features=40):
    layers = keras.layers
    x = inputs = keras.Input((frames, features, 1))
    for filters in (8, 16):
        x = layers.Conv2D(filters, 3, strides=2, padding="same")(x)
        x = layers.BatchNormalization(momentum=0.5)(x)
        x = layers.ReLU()(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(4)(x))


@pytest.fixture(scope="module")
def model(recordings):
    """A network that has learnt six clips: its answers are far apart."""
    keras.utils.set_random_seed(0)
    frontend = MFCC.light_sernet()
    network = small_network()
    clips = np.stack([np.resize(clip, SAMPLES) for clip in recordings])
    network.compile("adam", keras.losses.CategoricalCrossentropy(True))
    network.optimizer.learning_rate = 0.01
    targets = np.eye(4)[[0, 1, 2, 3, 0, 1]]
    network.fit(frontend(clips)[..., None], targets, epochs=40, verbose=0)
    return with_frontend(network, frontend, temperature=TEMPERATURE)


@pytest.fixture(scope="module")
def file_of(model, recordings, tmp_path_factory):
    """`file_of(precision, inputs)`: a LiteRT file of it, written once."""

    @functools.cache
    def folder_of(precision):
        folder = tmp_path_factory.mktemp(precision) / "new"
        path = export_litert(
            model,
            folder / "waveform.tflite",
            LABELS,
            precision=precision,
            representative=recordings if precision == "int8" else None,
            features_path=folder / "features.tflite",
        )
        assert path == folder / "waveform.tflite"
        return folder

    def file(precision="float32", inputs="waveform"):
        return folder_of(precision) / f"{inputs}.tflite"

    return file


def fitted(clip, center=False):
    """Our own cropping and padding, as documented; and the length left."""
    surplus = len(clip) - SAMPLES
    if surplus >= 0:
        return clip[surplus // 2 :][:SAMPLES], SAMPLES
    before = -surplus // 2 if center else 0
    return np.pad(clip, (before, -surplus - before)), len(clip)


def keras_answer(model, clips):
    """What the model says of clips, padding being padding."""
    rows = []
    for clip in clips:
        clip, length = fitted(clip)
        outputs = model(clip[None], lengths=np.array([length]))
        rows.append(outputs["probabilities"].numpy()[0])
    return np.array(rows)


def features_of(model, clips):
    rows = []
    for clip in clips:
        clip, length = fitted(clip)
        features = model.preprocessor(clip[None], np.array([length]))
        rows.append(features[0].numpy())
    return rows


def test_a_front_end_is_converted_once(tmp_path, monkeypatch):
    """Files of a run have the same one, and are as if each had its own."""
    converted = []

    def convert(function, *arguments):
        converted.append(function.__name__)
        return original(function, *arguments)

    original = litert_export._convert
    monkeypatch.setattr(litert_export, "_convert", convert)
    network = keras.Sequential(
        [
            keras.Input((None, 40, 1)),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(4),
        ]
    )

    def export(preprocessor, **options):
        converted.clear()
        options = {"duration": 0.5, "temperature": 1.25, **options}
        path = tmp_path / "model.tflite"
        export_litert(network, path, LABELS, preprocessor, **options)
        return load_litert(path)([clip])["probabilities"]

    clip = np.random.default_rng(0).normal(0, 0.1, 8000).astype("float32")
    preprocessor = Preprocessor(MFCC(sample_rate=16000))
    first = export(preprocessor)
    assert converted.count("spectrum") == converted.count("features") == 1
    assert len(converted) == 4
    quantised = export(preprocessor, precision="int8_weights")
    assert converted == ["<lambda>"]  # The network.
    export(preprocessor, precision="float16")
    assert sorted(converted) == ["<lambda>", "features"]
    export(preprocessor, duration=0.4)
    assert sorted(converted) == ["<lambda>", "features", "spectrum"]
    other = Preprocessor(MFCC(sample_rate=16000))
    np.testing.assert_array_equal(export(other), first)
    again = export(other, precision="int8_weights")
    np.testing.assert_array_equal(again, quantised)


TOLERANCE = {"float32": 1e-4, "float16": 5e-3, "int8": 0.1}


@pytest.mark.parametrize("forms", [("waveform", "features"), ("features",)])
@pytest.mark.parametrize("precision", list(TOLERANCE))
def test_equals_keras(model, file_of, recordings, tmp_path, forms, precision):
    assert min(map(len, recordings)) < SAMPLES < max(map(len, recordings))
    files = {form: file_of(precision, form) for form in forms}
    if forms == ("features",):
        files["features"] = export_litert(
            model,
            tmp_path / "m",
            LABELS,
            inputs="features",
            precision=precision,
            representative=recordings if precision == "int8" else None,
        )
    expected = keras_answer(model, recordings)
    # A file that ignored its input could not pass.
    assert np.ptp(expected, axis=0).max() > 0.3
    for form, file in files.items():
        read = load_litert(file)
        if form == "waveform":
            outputs = read(recordings)
        else:
            outputs = read.predict_features(features_of(model, recordings))
        difference = np.abs(outputs["probabilities"] - expected).max()
        assert difference < TOLERANCE[precision]
        if precision != "float32":
            assert difference > 1e-6  # Otherwise it was not quantised.
        best = np.array(LABELS)[outputs["probabilities"].argmax(axis=1)]
        assert outputs["label"].tolist() == best.tolist()
        assert read.labels == LABELS
        assert read.precision == precision and read.inputs == form
        assert read.sample_rate == 16000 and read.samples == SAMPLES
        assert read.metadata["version"] == ser_keras.__version__
        preprocessor = keras.saving.deserialize_keras_object(
            read.metadata["preprocessor"]
        )
        assert preprocessor.hash == model.preprocessor.hash


def test_logits_are_divided_by_the_temperature(model, file_of, recordings):
    features = features_of(model, recordings[:1])[0]
    logits = np.asarray(model.model(features[None, ..., None], training=False))
    scaled = np.exp(logits / TEMPERATURE)
    expected = scaled / scaled.sum(-1, keepdims=True)
    plain = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert np.abs(expected - plain).max() > 1e-3
    read = load_litert(file_of())
    outputs = read(recordings[0])["probabilities"]
    np.testing.assert_allclose(outputs, expected, atol=1e-4)
    assert read.metadata["temperature"] == TEMPERATURE


def graph(path):
    """Operations of a file as `(name, input tensors, output tensors)`."""
    content = path.read_bytes()
    interpreter = Interpreter(model_content=content)
    # Before tensors are allocated, no delegate has taken operations away.
    tensors = {t["index"]: t for t in interpreter.get_tensor_details()}
    return [
        (
            op["op_name"],
            [tensors[i] for i in op["inputs"] if i >= 0],
            [tensors[i] for i in op["outputs"]],
        )
        for op in interpreter._get_ops_details()
    ]


def test_int8_is_integer_throughout_the_network(file_of):
    path = file_of("int8")
    names = [name for name, *_ in graph(path)]
    start, end = names.index("QUANTIZE"), names.index("DEQUANTIZE")
    inside = graph(path)[start + 1 : end]
    assert "CONV_2D" in [name for name, *_ in inside]
    for name, inputs, outputs in inside:
        kinds = {t["dtype"] for t in inputs + outputs if t["shape"].size}
        assert kinds <= {np.int8, np.int32}, name
    # The rest is the front end, and the softmax of the scaled logits.
    assert "CONV_2D" not in names[:start] + names[end:]
    assert names[end + 1 :] == ["MUL", "SOFTMAX"]
    for name, inputs, outputs in graph(path)[:start]:
        kinds = {t["dtype"] for t in inputs + outputs}
        assert np.int8 not in kinds, name


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_builtin_operations_only(file_of, precision):
    path = file_of(precision)
    content = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    codes = [code.builtinCode for code in content.operatorCodes]
    assert codes and schema.BuiltinOperator.CUSTOM not in codes
    assert not any(code.customCode for code in content.operatorCodes)
    assert "RFFT2D" not in [name for name, *_ in graph(path)]


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_no_file_leaves_its_precision_to_the_processor(file_of, precision):
    """Float16 is how weights are kept; sums are float32 everywhere.

    An entry `reduced_precision_support` would have XNNPACK compute in float16
    where the processor can, as Arm's do.
    """
    path = file_of(precision)
    content = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    names = {entry.name for entry in content.metadata}
    assert names == {b"ser_keras", b"min_runtime_version"}
    half = [
        name
        for name, inputs, outputs in graph(path)
        if np.float16 in {t["dtype"] for t in inputs + outputs}
    ]
    assert set(half) == ({"DEQUANTIZE"} if precision == "float16" else set())


def test_constants_are_aligned(file_of):
    content = file_of().read_bytes()
    root = schema.Model.GetRootAs(content, 0)
    starts = []
    for i in range(root.BuffersLength()):
        buffer = root.Buffers(i)
        field = buffer._tab.Offset(4)
        if field and buffer.DataLength():
            starts.append(buffer._tab.Vector(field))
    assert len(starts) > 20
    assert not [start for start in starts if start % 16]


def test_plain_interpreter_needs_nothing_of_ours(
    model, file_of, recordings, tmp_path
):
    path = file_of()
    clip, _ = fitted(recordings[0])
    np.save(tmp_path / "clip.npy", clip[None])
    script = (
        "import sys, numpy\n"
        "from ai_edge_litert.interpreter import Interpreter\n"
        f"model = Interpreter({str(path)!r})\n"
        "run = model.get_signature_runner('serving_default')\n"
        f"out = run(waveform=numpy.load({str(tmp_path / 'clip.npy')!r}))\n"
        "assert not {'tensorflow', 'ser_keras'} & set(sys.modules)\n"
        f"numpy.save({str(tmp_path / 'out.npy')!r}, out['probabilities'])\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    np.testing.assert_allclose(
        np.load(tmp_path / "out.npy"),
        keras_answer(model, recordings[:1]),
        atol=1e-4,
    )


def test_silence_as_padding_or_as_sound(model, file_of, recordings, tmp_path):
    clip = min(recordings, key=len)
    path = export_litert(model, tmp_path / "m", LABELS, padding="waveform")
    answers = {
        "features": load_litert(file_of())(clip)["probabilities"],
        "waveform": load_litert(path)(clip)["probabilities"],
    }
    sound, _ = fitted(clip, center=True)
    np.testing.assert_allclose(
        answers["waveform"], model(sound[None])["probabilities"], atol=1e-4
    )
    np.testing.assert_allclose(
        answers["features"], keras_answer(model, [clip]), atol=1e-4
    )
    assert np.abs(answers["waveform"] - answers["features"]).max() > 1e-3


@pytest.mark.parametrize(
    "frontend",
    [
        MFCC(sample_rate=16000, num_coefficients=20, delta_order=1),
        LogMelSpectrogram(num_mel_bins=40, center=True, pad_mode="reflect"),
        LogMelSpectrogram(num_mel_bins=40, top_db=60.0, fft_length=480),
    ],
    ids=["deltas", "reflect", "top_db_480"],
)
def test_other_front_ends_with_normalization(frontend, recordings, tmp_path):
    network = small_network(None, frontend.num_features)
    model = with_frontend(network, frontend, UtteranceNormalization())
    path = export_litert(model, tmp_path / "m", LABELS)
    np.testing.assert_allclose(
        load_litert(path)(recordings)["probabilities"],
        keras_answer(model, recordings),
        atol=1e-4,
    )


def test_masked_network_and_foreign_front_end(
    waveform_model, recordings, tmp_path
):
    class Foreign(FrontEnd):
        """A front end that only has what `FrontEnd` asks for."""

        inner = waveform_model.frontend
        sample_rate, num_features = inner.sample_rate, inner.num_features
        frame_length, frame_step = inner.frame_length, inner.frame_step
        num_frames = inner.num_frames

        def call(self, waveform, lengths=None):
            return self.inner(waveform, lengths=lengths)

    foreign = with_frontend(
        waveform_model.model, Foreign(), waveform_model.normalization
    )
    for number, model in enumerate((waveform_model, foreign)):
        path = export_litert(model, tmp_path / str(number), LABELS)
        np.testing.assert_allclose(
            load_litert(path)(recordings)["probabilities"],
            keras_answer(waveform_model, recordings),
            atol=1e-4,
        )


def test_recurrent_network_with_its_loops(recordings, tmp_path):
    frontend = LogMelSpectrogram(num_mel_bins=40)
    network = CellNetwork(
        SearchSpace.emodarts("lstm", num_nodes=1).sample(seed=0),
        input_shape=(None, 40, 1),
        num_classes=4,
        num_cells=3,
        filters=4,
        stem_strides=2,
        recurrent_filters=8,
    )
    model = with_frontend(network, frontend, UtteranceNormalization())
    path = export_litert(model, tmp_path / "m", LABELS, duration=2.0)
    content = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    assert len(content.subgraphs) > 1  # Bodies of loops.
    clips = [clip[:31000] for clip in recordings[:2]]
    outputs = load_litert(path)(clips)["probabilities"]
    for clip, answer in zip(clips, outputs, strict=True):
        expected = model(clip[None])["probabilities"][0]
        np.testing.assert_allclose(answer, expected, atol=1e-4)


def test_features_without_a_front_end(recordings, tmp_path):
    network = small_network(50, 20)
    path = export_litert(network, tmp_path / "m", LABELS, inputs="features")
    read = load_litert(path)
    rng = np.random.default_rng(0)
    clip = rng.normal(size=(70, 20)).astype("float32")
    short = clip[:30]
    outputs = read.predict_features([clip, short])["probabilities"]
    batch = np.stack([clip[10:60], np.pad(short, ((0, 20), (0, 0)))])
    expected = tf.nn.softmax(network(batch[..., None]))
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    assert read.sample_rate is None
    with pytest.raises(ValueError, match="takes features, not waveforms"):
        read(recordings[0])
    for bad in (clip[:, :19], clip[:0], clip * np.nan, clip.astype(int)):
        with pytest.raises(ValueError, match=r"must be finite floats \(time"):
            read.predict_features([bad])


def test_representative_features_are_as_good_as_waveforms(
    model, file_of, recordings, tmp_path
):
    path = export_litert(
        model, tmp_path / "m", LABELS, precision="int8",
        representative=iter(features_of(model, recordings)),
    )  # fmt: skip
    of_features, of_waveforms = (
        load_litert(file)(recordings)["probabilities"]
        for file in (path, file_of("int8"))
    )
    np.testing.assert_allclose(of_features, of_waveforms, atol=0.02)


def test_silence_has_no_length(model, file_of):
    # All of it is padding; the front end still makes one frame.
    read = load_litert(file_of())
    silence = np.zeros(20000, "float32")
    expected = model(np.zeros((1, SAMPLES)), lengths=np.array([0]))
    np.testing.assert_allclose(
        read(silence)["probabilities"], expected["probabilities"], atol=1e-4
    )


def test_invalid_arguments(model, recordings, tmp_path):
    path = tmp_path / "model.tflite"

    def export(match, network=model, labels=LABELS, **arguments):
        with pytest.raises(ValueError, match=match):
            export_litert(network, path, labels, **arguments)

    export("`representative` must be given", precision="int8")
    export("`representative` must be given", precision="int8",
           representative=[])  # fmt: skip
    export(r"`representative` must be waveforms.*clip 1 of", precision="int8",
           representative=[recordings[0], np.zeros((9, 3))])  # fmt: skip
    export("clip 0 with NaN", precision="int8",
           representative=[recordings[0] * np.nan])  # fmt: skip
    export("divide int16 by 32768.*clip 0 of int16", precision="int8",
           representative=[np.zeros(20000, "int16")])  # fmt: skip
    export("`labels` must be a sequence", labels="abcd")
    export("`model` must be a Keras model.*'net'", network="net")
    for duration in (-1.0, 0.0, float("nan"), float("inf"), "3"):
        export("`duration` must be positive, finite", duration=duration)
    export("`precision` must be one of", precision="int4")
    export("`inputs` must be one of", inputs="audio")
    export("`padding` must be one of", padding="zeros")
    export("`features_path` must be left out.*'features'", inputs="features",
           features_path=tmp_path / "x")  # fmt: skip
    export("`labels` must be as many", labels=LABELS[:3])
    export(r"of which the preprocessor makes \(434, 40\)", duration=7.0)
    export("has a preprocessor and a", preprocessor=model.preprocessor)
    export("temperature=2.0", temperature=2.0)
    export("`temperature` must be pos", network=model.model, temperature=-1.0)
    export("`preprocessor` must be a Prepr.*<MFCC", network=model.model,
           preprocessor=model.frontend)  # fmt: skip
    export("`preprocessor` must be given", network=model.model)
    path = tmp_path
    export("`path` must be the file to write.*folder")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("duration", [0.5, 2.0])
def test_a_front_end_of_one_duration_takes_no_other(tmp_path, duration):
    fixed = Preprocessor(FixedDuration(MFCC.light_sernet(), 3.0))
    with pytest.raises(ValueError, match=f"3.0 s.*duration={duration}"):
        export_litert(
            small_network(None), tmp_path / "m", LABELS, fixed,
            duration=duration,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 32000}, r"\(1, 48000\).*\(1, 32000\)"),
        ({"inputs": "features"}, r"\(1, 48000\).*\(1, 184, 40\)"),
        ({"inputs": "audio"}, "inputs='audio'"),
        ({"labels": LABELS[:3]}, r"\(1, 4\).*\(1, 3\)"),
        ({"min_samples": None}, r"without \['min_samples'\]"),
    ],
)
def test_a_graph_that_is_not_what_the_metadata_says(
    file_of, tmp_path, changes, message
):
    path = tmp_path / "m.tflite"
    content = file_of().read_bytes()
    metadata = read_metadata(content) | changes
    metadata = {k: v for k, v in metadata.items() if k != "min_samples" or v}
    path.write_bytes(chain([content], "waveform", "probabilities", metadata))
    with pytest.raises(ValueError, match=message) as caught:
        load_litert(path)
    assert str(path) in str(caught.value)
    assert "Export it again" in str(caught.value)


def test_reading_errors(file_of, recordings, tmp_path):
    path = file_of()
    content = path.read_bytes()
    with pytest.raises(FileNotFoundError):
        load_litert(tmp_path / "nowhere.tflite")
    other = tmp_path / "other.tflite"
    other.write_bytes(b"RIFF1234WAVE")
    with pytest.raises(ValueError, match=r"other.tflite is not a LiteRT file"):
        load_litert(other)
    other.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"other.tflite is damaged"):
        load_litert(other)
    concrete = tf.function(tf.nn.relu).get_concrete_function(
        tf.TensorSpec((1, 3))
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [concrete], tf.Module()
    )
    other.write_bytes(converter.convert())
    with pytest.raises(ValueError, match="was not made by `export_litert`"):
        load_litert(other)

    read = load_litert(path)
    with pytest.raises(ValueError, match="takes waveforms at 16000 Hz"):
        read(recordings[0], sample_rate=44100)
    with pytest.raises(ValueError, match="takes waveforms, not features"):
        read.predict_features(np.zeros((184, 40), "float32"))
    frame = np.ones(1024, "float32")
    assert read(frame, sample_rate=16000)["probabilities"].shape == (1, 4)
    for bad in (frame[:0], frame[:1023], frame * np.nan, frame[None, None],
                frame.astype("int16")):  # fmt: skip
        with pytest.raises(ValueError, match=r"one frame \(1024 samples\)"):
            read([bad])


def test_parts_must_fit():
    def part(shape):
        concrete = tf.function(tf.nn.relu).get_concrete_function(
            tf.TensorSpec(shape)
        )
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [concrete], tf.Module()
        )
        return converter.convert()

    with pytest.raises(ValueError, match=r"takes \[1, 4\] .* follows one"):
        chain([part((1, 3)), part((1, 4))], "x", "y", {})
