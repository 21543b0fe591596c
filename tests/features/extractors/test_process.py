"""Extractors in processes of their own, and packages that are not there."""

import concurrent.futures
import importlib
import io
import os
import pathlib
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

from ser_keras.features.extractors.onnx import ONNXExtractor
from ser_keras.features.extractors.opensmile import OpenSmileExtractor
from ser_keras.features.extractors.process import ProcessExtractor
from ser_keras.features.extractors.transformers import TransformersExtractor


def noise(samples):
    rng = np.random.default_rng(0)
    return rng.normal(0, 0.1, samples).astype("float32")


def opensmile_extractor(*arguments, **options):
    try:
        return OpenSmileExtractor(*arguments, **options)
    except ModuleNotFoundError:
        pytest.skip("openSMILE is not installed (extra: features)")


def test_opensmile():
    """Against openSMILE called by itself, without TensorFlow."""
    x = noise(16000)
    levels = {"lld": (25, 100.0), "func": (88, None)}
    extractors = {k: opensmile_extractor(level=k) for k in levels}
    script = (
        "import numpy as np, opensmile, pickle, sys\n"
        "x = np.frombuffer(sys.stdin.buffer.read(), 'f')\n"
        "for level in ('lld', 'func'):\n"
        "    s = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, level)\n"
        "    y = s.process_signal(x, 16000).to_numpy()\n"
        "    pickle.dump(y, sys.stdout.buffer)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", script],
        input=x.tobytes(),
        stdout=subprocess.PIPE,
        check=True,
    )
    answers = io.BytesIO(process.stdout)
    for level, extractor in extractors.items():
        found = extractor.num_features, extractor.frame_rate
        assert found == levels[level]
        expected = pickle.load(answers)
        for _ in range(2):
            got = extractor.extract(x)
            np.testing.assert_allclose(got, expected, rtol=1e-6)
    # Too short for functionals: NaN, which `extract_features` refuses.
    assert np.isnan(extractors["func"].extract(x[:100])).all()


def test_unknown_opensmile_feature_set():
    with pytest.raises(ValueError, match="eGeMAPSv02.*feature_set='GeMaps'"):
        opensmile_extractor("GeMaps")


def test_missing_extras(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModuleNotFoundError, match=r"ser_keras\[onnx\]"):
        ONNXExtractor("x.onnx")
    # These are imported in a process of their own.
    monkeypatch.syspath_prepend(tmp_path)
    for package in ("opensmile", "torch"):
        script = f"raise ModuleNotFoundError('no {package}')"
        (tmp_path / f"{package}.py").write_text(script)
    with pytest.raises(
        ModuleNotFoundError, match=r"ser_keras\[features\].*non-commercial"
    ):
        OpenSmileExtractor()
    with pytest.raises(ModuleNotFoundError, match=r"ser_keras\[transformers\]"):
        TransformersExtractor("x")


@pytest.fixture
def halves(monkeypatch):
    """An extractor, in a module that another process can import."""
    monkeypatch.syspath_prepend(str(pathlib.Path(__file__).parent))
    return importlib.import_module("halves").Halves


def test_extractor_in_a_process_of_its_own(halves):
    extractor = ProcessExtractor(halves, factor=0.5)
    assert (extractor.sample_rate, extractor.num_features) == (8000, 1)
    process = extractor.settings()["process"]
    assert process != os.getpid()
    clips = [noise(n) for n in range(100, 120)]
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        for clip, x in zip(
            clips, pool.map(extractor.extract, clips), strict=True
        ):
            np.testing.assert_array_equal(x, 0.5 * clip[:, None])
    with pytest.raises(ValueError, match="too short"):
        extractor.extract(noise(2))
    with pytest.raises(RuntimeError, match="KeyError: 'other'"):
        extractor.extract(noise(3))
    with pytest.raises(RuntimeError, match="of Halves ended at 1 samples"):
        extractor.extract(noise(1))
    with pytest.raises(ValueError, match="factor=2"):
        ProcessExtractor(halves, factor=2)
    # The process ends with its object.
    another = ProcessExtractor(halves, factor=1)
    process = another.settings()["process"]
    os.kill(process, 0)
    del another
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_as_many_processes_as_threads_that_call(halves):
    """Each thread keeps its own; what they say is the same."""
    extractor = ProcessExtractor(sys.modules["halves"].Pid, processes=2)
    start = threading.Barrier(3)

    def ask(_):
        start.wait()
        return {float(extractor.extract(noise(16000))[0, 0]) for _ in range(3)}

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        found = list(pool.map(ask, range(3)))
    assert [len(pids) for pids in found] == [1, 1, 1]
    assert len(set.union(*found)) == 2
    one = ProcessExtractor(sys.modules["halves"].Pid)
    assert one.settings() == extractor.settings()
