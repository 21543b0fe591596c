import base64
import json

import numpy as np
import pytest
import tensorflow as tf

from ser_keras.serving.rest import BadRequestError
from ser_keras.serving.rest import format_outputs
from ser_keras.serving.rest import parse_predict

SIGNATURES = {
    "serving_default": {
        "waveform": tf.TensorSpec((None, None), tf.float32),
    },
    "serving_lengths": {
        "waveform": tf.TensorSpec((None, None), tf.float32),
        "lengths": tf.TensorSpec((None,), tf.int32),
    },
    "serving_bytes": {"audio": tf.TensorSpec((None,), tf.string)},
}


def parse(request):
    return parse_predict(json.dumps(request).encode(), SIGNATURES)


@pytest.mark.parametrize(
    "request_",
    [
        {"instances": [[0.5, 1.0], [2.0, 3.0]]},
        {"instances": [{"waveform": [0.5, 1.0]}, {"waveform": [2.0, 3.0]}]},
        {"inputs": [[0.5, 1.0], [2.0, 3.0]]},
        {"inputs": {"waveform": [[0.5, 1.0], [2.0, 3.0]]}},
    ],
)
def test_rows_and_columns_with_and_without_names(request_):
    name, rows, inputs = parse(request_)
    assert name == "serving_default"
    assert rows == ("instances" in request_)
    np.testing.assert_equal(inputs["waveform"], [[0.5, 1.0], [2.0, 3.0]])
    assert inputs["waveform"].dtype == "float32"


def test_bytes_are_base64():
    encoded = {"b64": base64.b64encode(b"\0\xff").decode()}
    for element in (encoded, {"audio": encoded}):
        _, _, inputs = parse(
            {"signature_name": "serving_bytes", "instances": [element]}
        )
        assert inputs == {"audio": [b"\0\xff"]}


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ([], "must be a JSON object"),
        ({}, "`instances` .* or `inputs`"),
        ({"instances": [[1.0]], "inputs": [[1.0]]}, "not both"),
        ({"instances": []}, "not empty"),
        ({"instances": 3}, "must be a list"),
        ({"instances": [[1.0], [1.0, 2.0]]}, "equally long"),
        ({"instances": [["a"]]}, "must be numbers"),
        (
            {"instances": [1.0]},
            r"must have shape \(any, any\), a list for each",
        ),
        ({"instances": [[]]}, "not be empty"),
        ({"inputs": {"sound": [[1.0]]}}, r"\['waveform'\]"),
        ({"signature_name": "nothing", "inputs": []}, "must be one of"),
        ({"signature_name": 7, "inputs": []}, "must be one of"),
        (
            {"signature_name": "serving_lengths", "inputs": [[1.0]]},
            "must be named",
        ),
        (
            {
                "signature_name": "serving_lengths",
                "inputs": {"waveform": [[1.0], [2.0]], "lengths": [1]},
            },
            "same batch size",
        ),
        ({"signature_name": "serving_bytes", "instances": ["x"]}, "base64"),
        (
            {"signature_name": "serving_bytes", "instances": [{"b64": "A"}]},
            "not base64",
        ),
    ],
)
def test_errors(request_, message):
    with pytest.raises(BadRequestError, match=message):
        parse(request_)


@pytest.mark.parametrize(
    "form", ["standard", "url", "unpadded", "lines", "data"]
)
def test_forms_of_base64(form):
    content = bytes(range(251, 256)) * 50
    text = base64.b64encode(content).decode()
    text = {
        "standard": text,
        "url": base64.urlsafe_b64encode(content).decode(),
        "unpadded": base64.urlsafe_b64encode(content[:-1]).decode().rstrip("="),
        "lines": base64.encodebytes(content).decode(),
        "data": f"data:audio/wav;base64,{text}",
    }[form]
    _, _, inputs = parse(
        {"signature_name": "serving_bytes", "inputs": [{"b64": text}]}
    )
    assert inputs["audio"] == [content[: -1 if form == "unpadded" else None]]


@pytest.mark.parametrize("text", ["UklGR!", "UklGR\u00e9==", "A"])
def test_what_is_no_base64_is_refused(text):
    with pytest.raises(BadRequestError, match="`audio` is not base64"):
        parse({"signature_name": "serving_bytes", "inputs": [{"b64": text}]})


@pytest.mark.parametrize(
    ("request_", "fits"),
    [
        ({"instances": [{"b64": "UklGRg=="}]}, "serving_bytes"),
        (
            {"signature_name": "serving_bytes", "instances": [[0.5, 1.0]]},
            "serving_default",
        ),
    ],
)
def test_a_wrong_signature_names_the_one_that_fits(request_, fits):
    with pytest.raises(BadRequestError, match=f"The signature {fits} takes"):
        parse(request_)


def test_a_form_is_told_where_it_belongs():
    form = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nRIFF'
    with pytest.raises(BadRequestError, match=":upload"):
        parse_predict(form, SIGNATURES)


@pytest.mark.parametrize("value", ["0.5", True, None])
def test_only_numbers_are_numbers(value):
    with pytest.raises(BadRequestError, match="`waveform` must be"):
        parse({"instances": [[0.5, value]]})


@pytest.mark.parametrize("value", [2.7, True, "2"])
def test_only_integers_are_integers(value):
    inputs = {"waveform": [[0.5, 0.5, 1]], "lengths": [value]}
    body = {"signature_name": "serving_lengths", "inputs": inputs}
    with pytest.raises(BadRequestError, match="must be integers. Rec"):
        parse(body)


def test_no_json():
    for body in (b"", b"\xff", b"{", b"[" * 100_000):
        with pytest.raises(BadRequestError, match="not JSON"):
            parse_predict(body, SIGNATURES)


def test_answers_are_json_whatever_they_hold():
    outputs = {
        "probabilities": np.float32([[0.25, 0.75], [np.nan, np.inf]]),
        "label": np.array([b"joy", "Ärger".encode()], object),
    }
    rows = json.loads(format_outputs(outputs, rows=True))
    assert rows["predictions"] == [
        {"probabilities": [0.25, 0.75], "label": "joy"},
        {"probabilities": [None, None], "label": "Ärger"},
    ]
    columns = json.loads(format_outputs(outputs, rows=False))["outputs"]
    assert columns["label"] == ["joy", "Ärger"]
