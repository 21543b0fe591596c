import concurrent.futures
import http.server
import json
import threading

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from ser_keras.audio.mfcc import MFCC
from ser_keras.audio.normalization import UtteranceNormalization
from ser_keras.export.saved_model.export import export_saved_model
from ser_keras.export.saved_model.serving_files import WARM_UP
from ser_keras.models.light_sernet import LightSERNet
from ser_keras.models.waveform_model import with_frontend
from ser_keras.serving.client import Client
from ser_keras.serving.client import ServerError

pytest.importorskip("httpx")


def test_files_arrays_and_bad_files(
    serving, served_model, server_url, clips, tmp_path
):
    model, _ = served_model
    wide = tmp_path / "48k_24bit_stereo.flac"
    tone = np.sin(np.arange(48000) / 20) / 2
    soundfile.write(wide, np.stack([tone, tone], 1), 48000, "PCM_24")
    plain = tmp_path / "plain.wav"
    plain.write_bytes(serving.wav(clips[0]))
    (tmp_path / "text.wav").write_text("not audio")
    with Client(server_url, batch_size=2) as client:
        rows = client.predict(
            [plain, tmp_path / "text.wav", clips[1], wide, tmp_path / "none"]
        )
    for row, clip in ((rows[0], clips[0]), (rows[2], clips[1])):
        expected = model(clip[None])["probabilities"][0]
        assert tuple(row["probabilities"]) == serving.labels
        np.testing.assert_allclose(
            list(row["probabilities"].values()), expected, atol=1e-5
        )
        assert row["label"] == serving.labels[int(np.argmax(expected))]
    assert rows[0]["file"] == str(plain)
    assert "file" not in rows[2]
    assert sum(rows[3]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert "not audio" in rows[1]["error"]
    assert rows[4]["error"].startswith("no such file. ")


def test_a_bad_clip_fails_by_itself(server_url, clips):
    with Client(server_url + "/v1/models/tiny") as client:
        long = np.tile(clips[0], 62)
        rows = client.predict([clips[0], long, clips[1]])
        assert rows[1] == {"error": "longer than 60 s"}
        assert "label" in rows[0]
        assert "label" in rows[2]
        (row,) = client.predict([long])
        assert "longer than 60 s" in row["error"]
        (row,) = client.predict([np.float32([np.nan])])
        assert "must be finite" in row["error"]


def test_errors_of_the_server(server_url, clips):
    with Client(server_url, model="unknown") as client:
        with pytest.raises(ServerError, match=r"No model 'unknown'.*tiny"):
            client.predict(clips[:1])
    # Nobody listens on a port that has just been free.
    with Client("http://127.0.0.1:9", retries=2, back_off=0.01) as client:
        with pytest.raises(ServerError, match="refused, 3 times"):
            client.predict(clips[:1])


@pytest.fixture
def moody_server():
    """Answers as its `answers` say: a status, or None for never."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            status = server.answers.pop(0)
            if status is None:
                done.wait()
                return
            columns = {
                "probabilities": [[0.25, 0.75]],
                "label": ["joy"],
                "labels": [["anger", "joy"]],
                "error": [""],
            }
            content = (
                server.content or json.dumps({"outputs": columns}).encode()
            )
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    done = threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content = b""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    done.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_tries_again(moody_server, clips):
    moody_server.answers = [503, 429, 200]
    url = f"http://127.0.0.1:{moody_server.server_port}/v1/models/x"
    with Client(url, retries=2, back_off=0.01) as client:
        (row,) = client.predict(clips[:1])
    assert row == {
        "label": "joy",
        "probabilities": {"anger": 0.25, "joy": 0.75},
    }
    assert moody_server.answers == []


def test_gives_up_in_time(moody_server, clips):
    moody_server.answers = [None, None]
    url = f"http://127.0.0.1:{moody_server.server_port}/v1/models/x"
    with Client(url, timeout=0.2, retries=1, back_off=0.01) as client:
        with pytest.raises(ServerError, match="no answer within 0.2 s, 2 time"):
            client.predict(clips[:1])


def test_what_was_answered_before_an_error_is_kept(moody_server, clips):
    moody_server.answers = [200, 500, 200]
    broken = np.float32([np.nan])
    url = f"http://127.0.0.1:{moody_server.server_port}/v1/models/x"
    with Client(url, batch_size=1) as client:
        first, *others = client.predict([clips[0], broken, *clips[1:3]])
    assert first["label"] == "joy"
    assert "finite" in others[0]["error"]
    for row in others[1:]:
        assert row.keys() == {"error"} and "(500)" in row["error"]
    assert moody_server.answers == [200]  # Nobody was asked any more.


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>hello</html>", r"must be JSON.*<html>"),
        (b'{"outputs": {"scores": [[1]]}}', r"'x' is not a model of .*labels"),
        (b'{"outputs": [[1]]}', r"'x' is not a model of .*\[\[1\]\]"),
        (b"[]", r"'x' is not a model of "),
    ],
)
def test_something_else_answers(moody_server, clips, content, message):
    moody_server.answers, moody_server.content = [200], content
    url = f"http://127.0.0.1:{moody_server.server_port}/v1/models/x"
    with Client(url) as client:
        with pytest.raises(ServerError, match=message):
            client.predict(clips[:1])


def test_invalid_url():
    for url in (
        "127.0.0.1:8501",
        "ftp://host",
        "http://",
        "http://127.0.0.1:notaport",
        "http://127.0.0.1:99999",
        "http://[::1",
    ):
        with pytest.raises(ValueError, match="`url` must be http://"):
            Client(url)


class Loaded:
    """A SavedModel as TensorFlow Serving runs it: a session, no Keras."""

    def __init__(self, folder):
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            meta = tf.compat.v1.saved_model.loader.load(
                self.session, ["serve"], str(folder)
            )
        self.signatures = meta.signature_def

    def run(self, signature, inputs):
        signature = self.signatures[signature]
        feed = {
            signature.inputs[name].name: value for name, value in inputs.items()
        }
        outputs = {key: x.name for key, x in signature.outputs.items()}
        return self.session.run(outputs, feed)


@pytest.fixture(scope="module")
def light_sernet(tmp_path_factory):
    """A network of the library's, and the folder it was exported to."""
    network = LightSERNet((None, 40, 1), num_classes=4, width=0.25)
    # As training leaves them, and not 0 and 1.
    rng = np.random.default_rng(0)
    for variable in network.variables:
        if "norm" in variable.path:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    model = with_frontend(
        network, MFCC.light_sernet(), UtteranceNormalization()
    )
    folder = tmp_path_factory.mktemp("models") / "light"
    export_saved_model(
        model, folder, ("anger", "happiness", "neutral", "sadness")
    )
    return model, folder


@pytest.fixture(scope="module")
def grpc_url(served_model, light_sernet):
    """A gRPC PredictionService of `served_model` and `light_sernet`."""
    grpc = pytest.importorskip("grpc")
    pytest.importorskip("tensorflow_serving")
    from tensorflow_serving.apis import predict_pb2
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    models = {
        folder.name: Loaded(folder / "1")
        for _, folder in (served_model, light_sernet)
    }

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):  # noqa: N802
            loaded = models.get(request.model_spec.name)
            if loaded is None:
                context.abort(grpc.StatusCode.NOT_FOUND, "no such servable")
            inputs = {k: tf.make_ndarray(v) for k, v in request.inputs.items()}
            try:
                outputs = loaded.run(request.model_spec.signature_name, inputs)
            except tf.errors.InvalidArgumentError as error:
                code = grpc.StatusCode.INVALID_ARGUMENT
                context.abort(code, error.message)
            response = predict_pb2.PredictResponse()
            for key, value in outputs.items():
                tensor = tf.make_tensor_proto(value)
                response.outputs[key].CopyFrom(tensor)
            return response

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            Service(), server
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"grpc://127.0.0.1:{port}"
        server.stop(None).wait()


def test_grpc(serving, served_model, grpc_url, clips):
    model, _ = served_model
    with Client(grpc_url + "/tiny", batch_size=4) as client:
        rows = client.predict([*clips, np.zeros(61 * 16000)])
        for row, clip in zip(rows[:-1], clips, strict=True):
            expected = model(clip[None])["probabilities"][0]
            np.testing.assert_allclose(
                list(row["probabilities"].values()), expected, atol=1e-5
            )
            assert row["label"] == serving.labels[int(np.argmax(expected))]
        assert rows[-1] == {"error": "longer than 60 s"}
        # Alone, it is the call that fails.
        (row,) = client.predict([np.zeros(61 * 16000)])
        assert "longer than 60 s" in row["error"]
    with Client(grpc_url, model="unknown") as client:
        with pytest.raises(ServerError, match="no such servable"):
            client.predict(clips[:1])
    with Client(grpc_url) as client:
        with pytest.raises(ServerError, match="name the model"):
            client.predict(clips[:1])


def test_grpc_equals_keras_on_real_recordings(
    serving, light_sernet, grpc_url, recordings
):
    model, _ = light_sernet
    with Client(grpc_url + "/light", batch_size=4) as client:
        rows = client.predict(recordings)
    answers = [list(row["probabilities"].values()) for row in rows]
    expected = [model(clip[None])["probabilities"][0] for clip in recordings]
    assert np.ptp(expected, 0).max() > 1e-3
    np.testing.assert_allclose(answers, expected, atol=1e-5)
    names = [serving.labels[i] for i in np.argmax(expected, 1)]
    assert [row["label"] for row in rows] == names


def test_warm_up_requests_replay(served_model):
    pytest.importorskip("tensorflow_serving")
    from tensorflow_serving.apis import prediction_log_pb2

    folder = served_model[1] / "1"
    loaded = Loaded(folder)
    signatures = []
    for record in tf.data.TFRecordDataset([str(folder / WARM_UP)]):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        assert request.model_spec.name == "tiny"
        inputs = {k: tf.make_ndarray(v) for k, v in request.inputs.items()}
        outputs = loaded.run(request.model_spec.signature_name, inputs)
        assert not any(outputs["error"])
        assert np.isfinite(outputs["probabilities"]).all()
        signatures.append(request.model_spec.signature_name)
    assert set(signatures) == set(loaded.signatures) - {"__saved_model_init_op"}
