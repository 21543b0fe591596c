"""SavedModels in programs that know neither Keras nor this library."""

import io
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from ser_keras.audio.mfcc import MFCC
from ser_keras.audio.normalization import UtteranceNormalization
from ser_keras.export.saved_model.export import export_saved_model
from ser_keras.models.cell_network import CellNetwork
from ser_keras.models.light_sernet import LightSERNet
from ser_keras.models.waveform_model import with_frontend
from ser_keras.search_space import SearchSpace

LABELS = ("anger", "happiness", "neutral", "sadness")
SOURCE = pathlib.Path(__file__).with_name("run_saved_model.c")


def wav_bytes(clip, rate=16000, **options):
    file = io.BytesIO()
    options = {"subtype": "PCM_16", "format": "WAV"} | options
    soundfile.write(file, clip, rate, **options)
    return file.getvalue()


def light_sernet():
    network = LightSERNet((None, 40, 1), num_classes=4, width=0.25)
    # Untrained statistics are 0 and 1: then nothing would show that they, or
    # their folding into the convolutions, are in the file.
    rng = np.random.default_rng(0)
    for variable in network.variables:
        if "norm" in variable.path:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return network


def cell_network():
    genotype = SearchSpace.emodarts("lstm_att", num_nodes=2).sample(seed=1)
    return CellNetwork(
        genotype,
        (None, 40, 1),
        num_classes=4,
        filters=4,
        num_cells=3,
        recurrent_filters=8,
        stem_strides=2,
    )


@pytest.fixture(scope="module", params=[light_sernet, cell_network])
def exported(request, tmp_path_factory):
    model = with_frontend(
        request.param(), MFCC.light_sernet(), UtteranceNormalization()
    )
    folder = tmp_path_factory.mktemp("models") / request.param.__name__
    return model, export_saved_model(model, folder, LABELS)


def tensor_names(folder, signature):
    """Names in the graph of a signature's inputs and outputs."""
    saved_model = saved_model_pb2.SavedModel()
    saved_model.ParseFromString((folder / "saved_model.pb").read_bytes())
    found = saved_model.meta_graphs[0].signature_def[signature]
    return [
        {key: info.name for key, info in side.items()}
        for side in (found.inputs, found.outputs)
    ]


@pytest.fixture(scope="module")
def c_program(tmp_path_factory):
    """The C program beside this file, linked against TensorFlow's wheel."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: `cc` is not on the path")
    libraries = pathlib.Path(tf.sysconfig.get_lib())
    program = tmp_path_factory.mktemp("c") / "run_saved_model"
    compiled = subprocess.run(
        [
            compiler,
            str(SOURCE),
            f"-I{tf.sysconfig.get_include()}",
            f"-L{libraries}",
            "-l:libtensorflow_cc.so.2",
            "-l:libtensorflow_framework.so.2",
            f"-Wl,-rpath,{libraries}",
            "-o",
            str(program),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert compiled.returncode == 0, compiled.stderr
    return program


@pytest.mark.parametrize("kind", ["pcm", "wav"])
def test_c_api_without_python(exported, c_program, recordings, tmp_path, kind):
    model, folder = exported
    signature, key = {
        "pcm": ("serving_default", "waveform"),
        "wav": ("serving_bytes", "audio"),
    }[kind]
    inputs, outputs = tensor_names(folder, signature)
    for clip in recordings[:2]:
        content = clip.tobytes() if kind == "pcm" else wav_bytes(clip)
        (tmp_path / "clip").write_bytes(content)
        process = subprocess.run(
            [
                str(c_program),
                str(folder),
                inputs[key],
                outputs["probabilities"],
                kind,
                str(tmp_path / "clip"),
            ],
            env={"TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == 0, process.stderr[-2000:]
        theirs = [float(line) for line in process.stdout.split()]
        ours = model(clip[None])["probabilities"][0]
        np.testing.assert_allclose(theirs, ours, atol=1e-5)


OPENVINO = """
import os, sys
import numpy as np
import openvino

folder, clips, answers, precision = sys.argv[1:]
converted = openvino.convert_model(folder)
# The names of the classes are strings, which its CPU plugin does not have.
kept = [
    output.node.input_value(0)
    for output in converted.outputs
    if "probabilities" in output.get_names()
]
model = openvino.Model(kept, converted.get_parameters())
# Told nothing, it computes in bfloat16 where the processor is fast at that.
options = {"INFERENCE_PRECISION_HINT": precision}
compiled = openvino.compile_model(model, "CPU", options)
print(compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())
clips = np.load(clips)
np.savez(answers, **{name: compiled([clips[name]])[0] for name in clips})
sys.stdout.flush()
# Its 2026.4 aborts when the process frees the strings.
os._exit(0)
"""


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_openvino(exported, recordings, tmp_path, precision):
    """OpenVINO is another runtime, with an FFT and kernels of its own.

    The bound of bfloat16 is no promise: it has 8 bits of precision, so each
    factor of a product has a relative error of up to 2e-3, and the
    probabilities of an untrained network of six convolutions had errors of
    1e-3. It shows what is lost where the precision is left to the processor.
    """
    pytest.importorskip("openvino")
    model, folder = exported
    if "cell" in folder.parent.name:
        pytest.skip("one network of convolutions is enough")
    clips = {str(i): clip[None] for i, clip in enumerate(recordings[:3])}
    np.savez(tmp_path / "clips.npz", **clips)
    process = subprocess.run(
        [
            sys.executable,
            "-c",
            OPENVINO,
            str(folder),
            str(tmp_path / "clips.npz"),
            str(tmp_path / "answers.npz"),
            precision,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    used = process.stdout.split()[-1]
    answers = np.load(tmp_path / "answers.npz")
    ours = {k: model(clip)["probabilities"] for k, clip in clips.items()}
    difference = max(np.abs(answers[k] - ours[k]).max() for k in clips)
    if precision == "f32":
        assert used == "f32" and difference < 1e-5
    elif used == "f32":
        pytest.skip("this processor has no bfloat16")
    else:
        assert used == "bf16" and 1e-5 < difference < 1e-2
