"""Files of earlier releases load and give the same outputs."""

import gzip
import pathlib

import numpy as np
import pytest

import ser_keras as ser

DATA = pathlib.Path(__file__).with_name("data")
OUTPUTS = np.load(DATA / "outputs.npz")
INPUTS = {
    "cell_network": OUTPUTS["features"],
    "light_sernet": OUTPUTS["features"],
    "two_stream": {
        "handcrafted": OUTPUTS["features"],
        "deep": OUTPUTS["deep"],
    },
    "supernet": OUTPUTS["features"],
    "waveform": OUTPUTS["waveforms"],
}


@pytest.mark.parametrize("name", INPUTS)
def test_file_loads_and_gives_the_stored_outputs(name, tmp_path):
    path = tmp_path / f"{name}.keras"
    path.write_bytes(gzip.decompress((DATA / f"{name}.keras.gz").read_bytes()))
    model = ser.load_model(path)
    outputs = model(INPUTS[name], training=False)
    if name == "waveform":
        outputs = outputs["probabilities"]
    # Clips differ by 0.01 and more.
    assert np.ptp(OUTPUTS[name], axis=0).max() > 0.01
    np.testing.assert_allclose(outputs, OUTPUTS[name], rtol=1e-5, atol=1e-5)
